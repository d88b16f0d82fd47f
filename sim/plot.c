/* Draws a line plot as SVG: frame, grid, marks, bands, lines, legend. */
#include "plot_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PLOT_BYTES_MAX ((size_t)64 << 20)
#define COLOURS        8
#define DOTS_MAX       40   /* a line of so many points shows each of them */
#define ENDS_MAX       6    /* so many lines have their last value written beside them */
#define CHAR_WIDTH     0.56 /* of the font size, on average: texts cannot be measured here */
#define LEGEND_SIZE    12.5

static const char *const light[COLOURS] = {"#2463b4", "#d9622b", "#1f8a5b", "#8a4fbe",
                                           "#c2407f", "#8a6d1a", "#2a93b8", "#6b7280"};
static const char *const dark[COLOURS] = {"#6ea8ff", "#ff9a66", "#56c596", "#c39bf0",
                                          "#f288b8", "#d9b64a", "#6fd0ec", "#b4bac4"};

struct drawing {
    const struct plot *p;
    struct buf *out;
    struct plot_scale x, y;
    double width, height;
    double left, right, top, bottom; /* of the plotting area */
};

/* Length of the UTF-8 sequence at p (n bytes left) that XML may hold, or 0. */
static size_t utf8_length(const unsigned char *p, size_t n) {
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
        return 0;
    uint32_t code = p[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    bool wrong = (len == 3 && code < 0x800) || (len == 4 && code < 0x10000) || code > 0x10ffff ||
                 (code >= 0xd800 && code <= 0xdfff) || (code & 0xfffe) == 0xfffe ||
                 (code >= 0x80 && code < 0xa0);
    return wrong ? 0 : len;
}

static void put_text(struct buf *out, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    size_t n = strlen(text);
    while (n > 0) {
        size_t len = utf8_length(p, n);
        if (len == 0)
            buf_printf(out, "\xef\xbf\xbd"); /* U+FFFD */
        else if (*p == '&')
            buf_printf(out, "&amp;");
        else if (*p == '<')
            buf_printf(out, "&lt;");
        else if (*p == '>')
            buf_printf(out, "&gt;");
        else if (*p == '"')
            buf_printf(out, "&quot;");
        else
            buf_put(out, p, len);
        p += len ? len : 1;
        n -= len ? len : 1;
    }
}

static double text_width(const char *text, double size) {
    double n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n * CHAR_WIDTH * size;
}

/* <text class="cls" x y [anchor]>text</text> */
static void draw_text(struct drawing *d, const char *cls, double x, double y, const char *anchor,
                      const char *text) {
    buf_printf(d->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\"", cls, x, y);
    if (anchor)
        buf_printf(d->out, " text-anchor=\"%s\"", anchor);
    buf_printf(d->out, ">");
    put_text(d->out, text);
    buf_printf(d->out, "</text>\n");
}

static void draw_line(struct drawing *d, const char *cls, double x0, double y0, double x1,
                      double y1) {
    buf_printf(d->out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
               cls, x0, y0, x1, y1);
}

static void draw_style(struct drawing *d) {
    struct buf *o = d->out;
    buf_printf(o, "<style>\n"
                  ".sp text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu "
                  "Sans',sans-serif;font-size:12px;fill:#3c434d}\n"
                  ".sp .bg{fill:#fff}.sp .t{font-size:17px;font-weight:600;fill:#12161c}\n"
                  ".sp .u,.sp .v{fill:#69717d}.sp .e{font-weight:600}\n"
                  ".sp .g{stroke:#e4e7eb}.sp .a{stroke:#9aa2ad}\n"
                  ".sp .m{stroke:#8b939e;stroke-dasharray:4 4}\n"
                  ".sp .l{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}\n"
                  ".sp .b{fill-opacity:.16}\n");
    for (int i = 0; i < COLOURS; i++)
        buf_printf(o, ".sp .s%d{stroke:%s}.sp .f%d{fill:%s}\n", i, light[i], i, light[i]);
    buf_printf(o, "@media(prefers-color-scheme:dark){\n"
                  ".sp text{fill:#c6ccd4}.sp .bg{fill:#14171c}.sp .t{fill:#f2f4f7}\n"
                  ".sp .u,.sp .v{fill:#939ba6}.sp .g{stroke:#2a2f37}.sp .a{stroke:#5b636e}\n"
                  ".sp .m{stroke:#737b86}.sp .b{fill-opacity:.22}\n");
    for (int i = 0; i < COLOURS; i++)
        buf_printf(o, ".sp .s%d{stroke:%s}.sp .f%d{fill:%s}\n", i, dark[i], i, dark[i]);
    buf_printf(o, "}\n</style>\n");
}

static bool point_at(const struct drawing *d, const struct plot_series *s, const double *y,
                     size_t i, double *px, double *py) {
    if (!plot_drawable(&d->p->x, s->x[i]) || !plot_drawable(&d->p->y, y[i]))
        return false;
    *px = plot_scale_at(&d->x, s->x[i]);
    *py = plot_scale_at(&d->y, y[i]);
    /* Far outside a fixed axis: kept near, so that coordinates stay short; the frame clips them. */
    *px = fmin(fmax(*px, -4 * d->width), 4 * d->width);
    *py = fmin(fmax(*py, -4 * d->height), 4 * d->height);
    return true;
}

/* The data's range over all series (with bands) and marks. */
static bool data_range(const struct plot *p, bool of_y, double *low, double *high) {
    *low = INFINITY, *high = -INFINITY;
    for (size_t k = 0; k < p->series_count; k++) {
        const struct plot_series *s = &p->series[k];
        for (size_t i = 0; i < s->count; i++) {
            if (!plot_drawable(&p->x, s->x[i]) || !plot_drawable(&p->y, s->y[i]))
                continue;
            double values[3] = {of_y ? s->y[i] : s->x[i], NAN, NAN};
            if (of_y && s->low && s->high)
                values[1] = s->low[i], values[2] = s->high[i];
            for (int v = 0; v < 3; v++)
                if (plot_drawable(of_y ? &p->y : &p->x, values[v])) {
                    *low = fmin(*low, values[v]);
                    *high = fmax(*high, values[v]);
                }
        }
    }
    for (size_t k = 0; k < p->mark_count && *low <= *high; k++)
        if (p->marks[k].on_y == of_y && plot_drawable(of_y ? &p->y : &p->x, p->marks[k].at)) {
            *low = fmin(*low, p->marks[k].at);
            *high = fmax(*high, p->marks[k].at);
        }
    return *low <= *high;
}

/* Runs of drawable points become a closed shape each: along high, back along low. */
static void draw_band(struct drawing *d, const struct plot_series *s, unsigned colour) {
    double px, py;
    for (size_t i = 0; i < s->count;) {
        size_t end = i;
        while (end < s->count && point_at(d, s, s->high, end, &px, &py) &&
               point_at(d, s, s->low, end, &px, &py))
            end++;
        if (end - i >= 2) {
            buf_printf(d->out, "<path class=\"b f%u\" d=\"M", colour);
            for (size_t k = i; k < end; k++) {
                (void)point_at(d, s, s->high, k, &px, &py);
                buf_printf(d->out, "%.1f %.1f ", px, py);
            }
            for (size_t k = end; k-- > i;) {
                (void)point_at(d, s, s->low, k, &px, &py);
                buf_printf(d->out, "%.1f %.1f ", px, py);
            }
            buf_printf(d->out, "Z\"/>\n");
        }
        i = end + 1;
    }
}

static const char *dash_of(size_t k) {
    static const char *const dashes[] = {"", " stroke-dasharray=\"7 5\"",
                                         " stroke-dasharray=\"2 4\"",
                                         " stroke-dasharray=\"9 4 2 4\""};
    return dashes[k / COLOURS % ARRAY_LEN(dashes)];
}

static void draw_series(struct drawing *d, const struct plot_series *s, size_t k) {
    unsigned colour = (unsigned)(k % COLOURS);
    double px, py;
    bool down = false;
    buf_printf(d->out, "<path class=\"l s%u\"%s d=\"", colour, dash_of(k));
    for (size_t i = 0; i < s->count; i++) {
        bool here = point_at(d, s, s->y, i, &px, &py);
        if (here)
            buf_printf(d->out, "%s%.1f %.1f", down ? " " : i ? " M" : "M", px, py);
        down = here;
    }
    buf_printf(d->out, "\">");
    if (s->name) {
        buf_printf(d->out, "<title>");
        put_text(d->out, s->name);
        buf_printf(d->out, "</title>");
    }
    buf_printf(d->out, "</path>\n");
    for (size_t i = 0; s->count <= DOTS_MAX && i < s->count; i++)
        if (point_at(d, s, s->y, i, &px, &py))
            buf_printf(d->out, "<circle class=\"f%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"/>\n",
                       colour, px, py);
}

/* The last values, written to the right of the plot and pushed apart where they would overlap. */
static void draw_ends(struct drawing *d) {
    const struct plot *p = d->p;
    double at[ENDS_MAX], value[ENDS_MAX], px;
    size_t order[ENDS_MAX], n = 0;
    if (p->series_count > ENDS_MAX)
        return;
    for (size_t k = 0; k < p->series_count; k++) {
        const struct plot_series *s = &p->series[k];
        size_t i = s->count;
        while (i > 0 && !point_at(d, s, s->y, i - 1, &px, &at[k]))
            i--;
        if (i == 0 || at[k] < d->top || at[k] > d->bottom)
            continue;
        value[k] = s->y[i - 1];
        size_t place = n++;
        for (; place > 0 && at[order[place - 1]] > at[k]; place--)
            order[place] = order[place - 1];
        order[place] = k;
    }
    double shift = 0, last = -INFINITY;
    for (size_t i = 0; i < n; i++) { /* a group that grew past the bottom moves up as a whole */
        last = fmax(at[order[i]], last + 14);
        shift = fmax(shift, last - d->bottom);
    }
    last = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        char text[PLOT_LABEL_MAX], cls[16];
        last = fmax(at[order[i]] - shift, last + 14);
        snprintf(cls, sizeof cls, "e f%zu", order[i] % COLOURS);
        draw_text(d, cls, d->right + 8, last + 4, NULL,
                  plot_scale_text(&d->y, value[order[i]], d->y.unit == PLOT_NUMBER ? 2 : 1, text));
    }
}

/* Colours and names in rows below the title; returns the height that they take. draw false only
 * measures. */
static double draw_legend(struct drawing *d, double y, bool draw) {
    const struct plot *p = d->p;
    double x = 20, rows = 0;
    for (size_t k = 0; k < p->series_count; k++) {
        if (!p->series[k].name)
            continue;
        double width = 26 + text_width(p->series[k].name, LEGEND_SIZE) + 18;
        if (rows == 0 || x + width > d->width - 12) {
            rows++;
            x = 20;
        }
        if (draw) {
            double at = y + 20 * (rows - 1) + 10;
            buf_printf(d->out, "<path class=\"l s%zu\"%s d=\"M%.1f %.1fh18\"/>\n", k % COLOURS,
                       dash_of(k), x, at - 4);
            draw_text(d, "", x + 25, at, NULL, p->series[k].name);
        }
        x += width;
    }
    return rows * 20;
}

static void draw_axes(struct drawing *d) {
    char text[PLOT_LABEL_MAX];
    for (size_t i = 0; i < d->y.tick_count; i++) {
        double y = plot_scale_at(&d->y, d->y.ticks[i]);
        draw_line(d, "g", d->left, y, d->right, y);
        draw_text(d, "", d->left - 8, y + 4, "end", plot_scale_text(&d->y, d->y.ticks[i], 0, text));
    }
    for (size_t i = 0; i < d->x.tick_count; i++) {
        double x = plot_scale_at(&d->x, d->x.ticks[i]);
        draw_line(d, "a", x, d->bottom, x, d->bottom + 5);
        draw_text(d, "", x, d->bottom + 19, "middle",
                  plot_scale_text(&d->x, d->x.ticks[i], 0, text));
    }
    draw_line(d, "a", d->left, d->bottom, d->right, d->bottom);
    if (d->p->x.label)
        draw_text(d, "u", (d->left + d->right) / 2, d->bottom + 38, "middle", d->p->x.label);
    if (d->p->y.label)
        draw_text(d, "u", 20, d->top - 12, NULL, d->p->y.label);
}

static void draw_marks(struct drawing *d) {
    double row = 0, last = -INFINITY;
    for (size_t k = 0; k < d->p->mark_count; k++) {
        const struct plot_mark *m = &d->p->marks[k];
        if (!plot_drawable(m->on_y ? &d->p->y : &d->p->x, m->at))
            continue;
        double at = plot_scale_at(m->on_y ? &d->y : &d->x, m->at);
        if (m->on_y ? at < d->top || at > d->bottom : at < d->left || at > d->right)
            continue;
        const char *label = m->label ? m->label : "";
        double width = text_width(label, 12);
        if (m->on_y) {
            draw_line(d, "m", d->left, at, d->right, at);
            draw_text(d, "v", d->left + 6, at - 5, NULL, label);
            continue;
        }
        draw_line(d, "m", at, d->top, at, d->bottom);
        bool leftwards = at + width + 10 > d->right;
        row = fabs(at - last) < width + 16 ? row + 1 : 0; /* neighbours below one another */
        last = at;
        draw_text(d, "v", at + (leftwards ? -5 : 5), d->bottom - 8 - 15 * row,
                  leftwards ? "end" : NULL, label);
    }
}

/* Chooses scales and margins: the widest tick label decides the left one. */
static enum sotto_status lay_out(struct drawing *d, struct sotto_error *err) {
    const struct plot *p = d->p;
    double low, high;
    if (!data_range(p, false, &low, &high))
        return SOTTO_FAIL(err, SOTTO_INVALID, "plot '%.64s': there is no point to draw",
                          p->title ? p->title : "");
    d->top = 18 + (p->title ? 24 : 0) + (p->subtitle ? 19 : 0);
    d->top += draw_legend(d, 0, false) + (p->y.label ? 26 : 6);
    d->bottom = d->height - (p->x.label ? 56 : 36);
    if (d->bottom - d->top < 60)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "plot: %.0f pixels are too low for %zu legend entries",
                          d->height, p->series_count);
    enum sotto_status status =
        plot_scale_fit(&d->x, &p->x, low, high, (int)fmax(3, d->width / 95), false, err);
    if (status != SOTTO_OK)
        return status;
    (void)data_range(p, true, &low, &high);
    status =
        plot_scale_fit(&d->y, &p->y, low, high, (int)fmax(3, (d->bottom - d->top) / 52), true, err);
    if (status != SOTTO_OK)
        return status;
    char text[PLOT_LABEL_MAX];
    double widest = 0;
    for (size_t i = 0; i < d->y.tick_count; i++)
        widest = fmax(widest, text_width(plot_scale_text(&d->y, d->y.ticks[i], 0, text), 12.5));
    d->left = fmax(40, widest + 28);
    d->right = d->width - (p->series_count <= ENDS_MAX ? 68 : 24);
    d->x.from = d->left + 8, d->x.to = d->right - 8;
    d->y.from = d->bottom, d->y.to = d->top;
    return SOTTO_OK;
}

static enum sotto_status check_plot(const struct plot *p, struct sotto_error *err) {
    if (p->series_count > PLOT_SERIES_MAX || p->mark_count > PLOT_MARKS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "plot: %zu series and %zu marks, at most %d and %d",
                          p->series_count, p->mark_count, PLOT_SERIES_MAX, PLOT_MARKS_MAX);
    if ((p->width && (p->width < 200 || p->width > 4096)) ||
        (p->height && (p->height < 200 || p->height > 4096)))
        return SOTTO_FAIL(err, SOTTO_LIMIT, "plot: %u x %u pixels, expected 200 to 4096 each",
                          p->width, p->height);
    return SOTTO_OK;
}

static void draw_head(struct drawing *d) {
    const struct plot *p = d->p;
    buf_printf(d->out,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"sp\" role=\"img\" width=\"%.0f\" "
               "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n<title>",
               d->width, d->height, d->width, d->height);
    put_text(d->out, p->title ? p->title : "plot");
    buf_printf(d->out, "</title>\n");
    draw_style(d);
    buf_printf(d->out, "<rect class=\"bg\" width=\"100%%\" height=\"100%%\" rx=\"8\"/>\n");
    double y = 18;
    if (p->title)
        draw_text(d, "t", 20, y += 16, NULL, p->title);
    y += p->title ? 8 : 0;
    if (p->subtitle)
        draw_text(d, "u", 20, y += 12, NULL, p->subtitle);
    y += p->subtitle ? 7 : 0;
    (void)draw_legend(d, y + 4, true);
}

enum sotto_status plot_svg(const struct plot *p, struct buf *out, struct sotto_error *err) {
    struct drawing d = {.p = p,
                        .out = out,
                        .width = p->width ? p->width : 760,
                        .height = p->height ? p->height : 440};
    enum sotto_status status = check_plot(p, err);
    if (status == SOTTO_OK)
        status = lay_out(&d, err);
    if (status != SOTTO_OK)
        return status;
    draw_head(&d);
    draw_axes(&d);
    buf_printf(out,
               "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" viewBox=\"%.1f %.1f %.1f "
               "%.1f\">\n",
               d.left, d.top - 4, d.right - d.left, d.bottom - d.top + 4, d.left, d.top - 4,
               d.right - d.left, d.bottom - d.top + 4); /* clips what lies outside a fixed axis */
    for (size_t k = 0; k < p->series_count; k++)
        if (p->series[k].low && p->series[k].high)
            draw_band(&d, &p->series[k], (unsigned)(k % COLOURS));
    for (size_t k = p->series_count; k-- > 0;) /* the first on top */
        draw_series(&d, &p->series[k], k);
    buf_printf(out, "</svg>\n");
    draw_marks(&d);
    draw_ends(&d);
    buf_printf(out, "</svg>\n");
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "plot: the picture does not fit into %zu bytes",
                          out->max);
    return SOTTO_OK;
}

enum sotto_status plot_write(const struct plot *p, const char *path, struct sotto_error *err) {
    struct buf out;
    buf_init(&out, PLOT_BYTES_MAX);
    enum sotto_status status = plot_svg(p, &out, err);
    if (status == SOTTO_OK)
        status = io_write_file(path, out.data, out.len, 0644, false, err);
    buf_deinit(&out);
    return status;
}

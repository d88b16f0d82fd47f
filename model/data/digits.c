/* Drawn handwritten digits: writers with habits of their own, and the examples that each of them
 * writes. */
#include "digits_private.h"

#include "data_private.h"

#include <math.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* see digits_canvas.c */
#endif

#define CURVE_PIECES 4   /* straight pieces of one quadratic */
#define MARGIN       2.5 /* pixels between a skeleton and the edge of the image */
#define MIX_ORDER    3   /* the class mix is a Dirichlet draw with this concentration */

/* What stays the same in all that one writer writes. */
struct writer {
    double mix[10]; /* cumulative, ends at 1 */
    uint32_t style[10];
    double habit[10][GLYPH_POINTS_MAX][2]; /* displaced control points, box units */
    double slant, turn;                    /* shear, and tan of half the turning angle */
    double height, aspect;                 /* pixels; width over height */
    double radius, pressure; /* half line width in pixels; its change along a stroke, -1..1 */
    double wobble;           /* how much examples differ, box units */
    double offset_x, offset_y, roam; /* where the digit sits, pixels; and how much that varies */
    double reach;                /* strokes end beyond (or before) where they should, box units */
    double ink, softness, grain; /* darkness 0..1, edge width in pixels, noise in grey levels */
};

/* About normal with unit variance and bounded by 3.5: a sum of four uniforms, so that no libm
 * decides a pixel. */
static double bell(struct rng *r) {
    double sum = rng_f64(r) + rng_f64(r) + rng_f64(r) + rng_f64(r);
    return (sum - 2.0) * 1.7320508075688772;
}

static double between(struct rng *r, double low, double high) {
    return low + (high - low) * rng_f64(r);
}

/* Dirichlet(MIX_ORDER, ...) as spacings of sorted uniforms: exact, without logarithms. mix becomes
 * cumulative. */
static void draw_mix(struct rng *r, double mix[10]) {
    double cut[10 * MIX_ORDER];
    uint32_t n = 10 * MIX_ORDER - 1;
    for (uint32_t i = 0; i < n; i++) {
        double v = rng_f64(r);
        uint32_t at = i;
        for (; at > 0 && cut[at - 1] > v; at--)
            cut[at] = cut[at - 1];
        cut[at] = v;
    }
    cut[n] = 1.0;
    for (uint32_t c = 0; c < 10; c++)
        mix[c] = cut[(c + 1) * MIX_ORDER - 1];
}

static uint32_t draw_style(struct rng *r, uint32_t digit) {
    uint32_t count, at = rng_below(r, 100), style = 0;
    const struct glyph *styles = glyph_styles(digit, &count);
    while (style + 1 < count && at >= styles[style].weight)
        at -= styles[style++].weight;
    return style;
}

static void writer_draw(struct writer *w, uint64_t seed, uint32_t number) {
    struct rng r;
    rng_init(&r, seed, 0, number, RNG_GENERATE);
    draw_mix(&r, w->mix);
    w->slant = 0.14 + 0.18 * bell(&r);
    w->turn = 0.035 * bell(&r);
    w->height = 18.0 + 1.2 * bell(&r);
    w->aspect = 0.71 + 0.09 * bell(&r);
    w->radius = between(&r, 0.85, 1.6);
    w->pressure = 0.12 * bell(&r);
    w->wobble = between(&r, 0.020, 0.045);
    w->offset_x = 0.8 * bell(&r);
    w->offset_y = 0.8 * bell(&r);
    w->roam = between(&r, 0.8, 1.9);
    w->reach = 0.035 * bell(&r);
    w->ink = between(&r, 0.80, 1.0);
    w->softness = between(&r, 0.9, 1.5);
    w->grain = between(&r, 0, 10);
    for (uint32_t digit = 0; digit < 10; digit++) {
        w->style[digit] = draw_style(&r, digit);
        for (uint32_t i = 0; i < GLYPH_POINTS_MAX; i++) {
            w->habit[digit][i][0] = 0.045 * bell(&r);
            w->habit[digit][i][1] = 0.035 * bell(&r);
        }
    }
}

/* From the digit's box to pixels. */
struct pose {
    double xx, xy, yx, yy; /* pixel = matrix * (box - centre) + shift */
    double dx, dy;
    double radius, pressure;
};

static void pose_draw(struct pose *p, const struct writer *w, struct rng *r) {
    double height = w->height * (1.0 + 0.06 * bell(r));
    double width = height * w->aspect * (1.0 + 0.07 * bell(r));
    double slant = w->slant + 0.07 * bell(r);
    double t = w->turn + 0.04 * bell(r);
    double cosine = (1.0 - t * t) / (1.0 + t * t), sine = 2.0 * t / (1.0 + t * t);
    /* Shear (up leans right) after scaling, then turn. */
    double sx = width, sy = -slant * height;
    p->xx = cosine * sx;
    p->xy = cosine * sy - sine * height;
    p->yx = sine * sx;
    p->yy = sine * sy + cosine * height;
    p->dx = DIGIT_SIDE / 2.0 + w->offset_x + w->roam * bell(r);
    p->dy = DIGIT_SIDE / 2.0 + w->offset_y + w->roam * bell(r);
    p->radius = w->radius * (1.0 + 0.08 * bell(r));
    p->pressure = w->pressure + 0.05 * bell(r);
}

struct point {
    double x, y;
};

static struct pen_point pose_apply(const struct pose *p, struct point b, double along) {
    double x = b.x - 0.5, y = b.y - 0.5;
    double radius = p->radius * (1.0 + p->pressure * (2.0 * along - 1.0));
    return (struct pen_point){p->xx * x + p->xy * y + p->dx, p->yx * x + p->yy * y + p->dy,
                              radius < 0.4 ? 0.4 : radius};
}

static struct point middle(struct point a, struct point b) {
    return (struct point){0.5 * (a.x + b.x), 0.5 * (a.y + b.y)};
}

/* A quadratic Bézier curve in straight pieces; along0..along1 is its part of the stroke. */
static void draw_curve(struct canvas *c, const struct pose *p, struct point a, struct point control,
                       struct point b, double along0, double along1) {
    struct pen_point last = pose_apply(p, a, along0);
    for (int i = 1; i <= CURVE_PIECES; i++) {
        double t = (double)i / CURVE_PIECES, s = 1.0 - t;
        struct point at = {s * s * a.x + 2 * s * t * control.x + t * t * b.x,
                           s * s * a.y + 2 * s * t * control.y + t * t * b.y};
        struct pen_point next = pose_apply(p, at, along0 + (along1 - along0) * t);
        canvas_line(c, last, next);
        last = next;
    }
}

/* A stroke through its end points and corners, bending towards the points between them. */
static void draw_stroke(struct canvas *c, const struct pose *p, const struct point *points,
                        const struct glyph_point *joins, uint32_t count) {
    struct point at = points[0];
    for (uint32_t i = 1; i < count; i++) {
        double along0 = (double)(i - 1) / count, along1 = (double)i / count;
        bool through = joins[i].join == GLYPH_CORNER || i + 1 == count;
        if (through) {
            canvas_line(c, pose_apply(p, at, along0), pose_apply(p, points[i], along1));
            at = points[i];
            continue;
        }
        bool next_through = joins[i + 1].join == GLYPH_CORNER || i + 2 == count;
        struct point end = next_through ? points[i + 1] : middle(points[i], points[i + 1]);
        draw_curve(c, p, at, points[i], end, along0, along1);
        at = end;
        i += next_through ? 1 : 0;
    }
}

/* How far an interval must move to lie between the margins. */
static double nudge(double low, double high) {
    double under = MARGIN - low, over = high - (DIGIT_SIDE - MARGIN);
    return under > 0 ? under : over > 0 ? -over : 0;
}

/* Keeps a roaming digit on the paper: smaller when it does not fit, then moved. */
static void pose_keep_inside(struct pose *p, const struct point *points, uint32_t count) {
    struct pen_point first = pose_apply(p, points[0], 0.5);
    double left = first.x, right = first.x, top = first.y, bottom = first.y;
    for (uint32_t i = 1; i < count; i++) {
        struct pen_point at = pose_apply(p, points[i], 0.5);
        left = at.x < left ? at.x : left;
        right = at.x > right ? at.x : right;
        top = at.y < top ? at.y : top;
        bottom = at.y > bottom ? at.y : bottom;
    }
    double room = DIGIT_SIDE - 2 * MARGIN;
    double longer = right - left > bottom - top ? right - left : bottom - top;
    double scale = longer > room ? room / longer : 1.0;
    p->xx *= scale, p->xy *= scale, p->yx *= scale, p->yy *= scale;
    p->dx += nudge(p->dx + scale * (left - p->dx), p->dx + scale * (right - p->dx));
    p->dy += nudge(p->dy + scale * (top - p->dy), p->dy + scale * (bottom - p->dy));
}

/* Moves a stroke's last point along its direction: some writers overshoot, some stop early. */
static void stretch_end(struct point *points, uint32_t count, double reach) {
    struct point *end = &points[count - 1];
    double dx = end->x - points[count - 2].x, dy = end->y - points[count - 2].y;
    double length = sqrt(dx * dx + dy * dy);
    if (length < 1e-6)
        return;
    end->x += dx / length * reach;
    end->y += dy / length * reach;
}

static void draw_digit(const struct writer *w, uint32_t digit, struct rng *r, uint8_t *pixels) {
    uint32_t styles;
    /* Now and then a writer uses a style that is not the usual one. */
    uint32_t style = rng_below(r, 16) == 0 ? draw_style(r, digit) : w->style[digit];
    const struct glyph *glyph = &glyph_styles(digit, &styles)[style];
    struct pose pose;
    pose_draw(&pose, w, r);
    struct point points[GLYPH_POINTS_MAX];
    for (uint32_t i = 0; i < glyph->count; i++) {
        points[i].x = 0.01 * glyph->points[i].x + w->habit[digit][i][0] + w->wobble * bell(r);
        points[i].y = 0.01 * glyph->points[i].y + w->habit[digit][i][1] + w->wobble * bell(r);
    }
    pose_keep_inside(&pose, points, glyph->count);
    struct canvas canvas;
    canvas_clear(&canvas);
    for (uint32_t first = 0, end; first < glyph->count; first = end) {
        for (end = first + 1; end < glyph->count && glyph->points[end].join != GLYPH_DOWN;)
            end++;
        stretch_end(points + first, end - first, w->reach + 0.02 * bell(r));
        draw_stroke(&canvas, &pose, points + first, glyph->points + first, end - first);
    }
    double ink = 255.0 * w->ink;
    for (uint32_t i = 0; i < DIGIT_PIXELS; i += 4) {
        uint32_t noise = rng_u32(r);
        for (uint32_t k = 0; k < 4; k++, noise >>= 8) {
            double v = ink * canvas_coverage(&canvas, i + k, pose.radius, w->softness);
            v += w->grain * ((noise & 255) / 127.5 - 1.0);
            pixels[i + k] = v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)(v + 0.5);
        }
    }
}

static uint32_t draw_label(const struct writer *w, bool uniform, struct rng *r) {
    double at = rng_f64(r); /* drawn in both modes: the picture after it is the same */
    if (uniform)
        return (uint32_t)(at * 10.0);
    uint32_t label = 0;
    while (label < 9 && at >= w->mix[label])
        label++;
    return label;
}

enum sotto_status dataset_draw_digits(const struct digits_config *config, struct dataset *out,
                                      struct sotto_error *err) {
    dataset_init(out);
    const struct data_schema schema = {.dtype = DATA_U8,
                                       .rank = 3,
                                       .dims = {DIGIT_SIDE, DIGIT_SIDE, 1},
                                       .classes = 10,
                                       .scale = 1.0f / 255.0f,
                                       .shift = 0.0f};
    uint32_t last;
    if (config->writer_count == 0 || config->per_writer == 0 ||
        __builtin_add_overflow(config->writer_first, config->writer_count - 1, &last))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "digits: %u writers from number %u with %u examples each: expected at "
                          "least one of both, and numbers below 2^32",
                          config->writer_count, config->writer_first, config->per_writer);
    size_t total; /* two 32-bit factors always fit */
    if (!num_mul_size(config->writer_count, config->per_writer, &total))
        return SOTTO_FAIL(err, SOTTO_LIMIT, "digits: too many examples");
    enum sotto_status status = dataset_alloc(out, &schema, total, "digits", err);
    if (status != SOTTO_OK)
        return status;
    out->key_count = config->writer_count;
    out->keys = mem_array(total, sizeof *out->keys);
    struct writer *w = mem_alloc(sizeof *w);
    if (!out->keys || !w) {
        mem_free(w);
        dataset_deinit(out);
        return SOTTO_FAIL(err, SOTTO_NOMEM, "digits: no memory for %zu examples", total);
    }
    size_t at = 0;
    for (uint32_t key = 0; key < config->writer_count; key++) {
        uint32_t number = config->writer_first + key;
        writer_draw(w, config->seed, number);
        for (uint32_t i = 0; i < config->per_writer; i++, at++) {
            struct rng r;
            rng_init(&r, config->seed, i + 1, number, RNG_GENERATE);
            uint32_t label = draw_label(w, config->uniform_classes, &r);
            out->labels[at] = (int32_t)label;
            out->keys[at] = key;
            draw_digit(w, label, &r, (uint8_t *)out->x + at * DIGIT_PIXELS);
        }
    }
    mem_free(w);
    return SOTTO_OK;
}

/* Prints an image as text: half blocks (two rows a line) or ASCII. */
#include "data_private.h"

#include <string.h>

/* One value of the example as a darkness 0..1; f32 pixels are taken as model input, clamped. */
static double pixel_value(const struct data_schema *s, const void *example, uint32_t x,
                          uint32_t y) {
    uint32_t width = s->rank >= 2 ? s->dims[1] : s->dims[0];
    size_t at = (size_t)y * width + x;
    if (s->dtype == DATA_U8)
        return ((const uint8_t *)example)[at] / 255.0;
    double v = (double)((const float *)example)[at] * (double)s->scale + (double)s->shift;
    return v > 0 ? (v < 1 ? v : 1) : 0; /* NaN prints as blank */
}

void data_print_image(const struct data_schema *s, const void *example, bool unicode,
                      struct buf *out) {
    static const char shades[] = " .:-=+*#%@";
    /* Upper and lower half of a cell, each in three shades: blank, half tone, full. */
    static const char *const cells[3][3] = {{" ", "░", "▄"}, {"░", "▒", "▄"}, {"▀", "▀", "█"}};
    if (s->rank < 1 || s->rank > 3 || (s->rank == 3 && s->dims[2] != 1))
        return;
    uint32_t height = s->rank >= 2 ? s->dims[0] : 1;
    uint32_t width = s->rank >= 2 ? s->dims[1] : s->dims[0];
    for (uint32_t y = 0; y < height; y += 2) {
        for (uint32_t x = 0; x < width; x++) {
            double upper = pixel_value(s, example, x, y);
            double lower = y + 1 < height ? pixel_value(s, example, x, y + 1) : 0;
            if (unicode) {
                int u = upper > 0.5 ? 2 : upper > 0.2 ? 1 : 0;
                int l = lower > 0.5 ? 2 : lower > 0.2 ? 1 : 0;
                const char *cell = cells[u][l];
                buf_put(out, cell, strlen(cell));
            } else {
                double mean = y + 1 < height ? 0.5 * (upper + lower) : upper;
                buf_put_u8(out, (uint8_t)shades[(int)(mean * 9.0 + 0.5)]);
            }
        }
        buf_put_u8(out, '\n');
    }
}

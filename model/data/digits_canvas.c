/* The pen: lines of changing width as a distance field on 28x28 pixels. Plain double arithmetic and
 * sqrt only. */
#include "digits_private.h"

#include <math.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* a fused multiply-add would change pixels between machines; gcc     \
                                fuses none in ISO mode */
#endif

#define FAR_AWAY 1e9
#define REACH    1.0 /* pixels beyond the line's edge that may still be touched by its soft border */

void canvas_clear(struct canvas *c) {
    for (uint32_t i = 0; i < DIGIT_PIXELS; i++)
        c->nearest[i] = FAR_AWAY;
}

static int clamp_pixel(double v) {
    return v < 0 ? 0 : v > DIGIT_SIDE - 1 ? DIGIT_SIDE - 1 : (int)v;
}

void canvas_line(struct canvas *c, struct pen_point a, struct pen_point b) {
    double reach = (a.radius > b.radius ? a.radius : b.radius) + REACH;
    double left = a.x < b.x ? a.x : b.x, right = a.x < b.x ? b.x : a.x;
    double top = a.y < b.y ? a.y : b.y, bottom = a.y < b.y ? b.y : a.y;
    if (right + reach < 0 || bottom + reach < 0 || left - reach > DIGIT_SIDE ||
        top - reach > DIGIT_SIDE)
        return;
    int x0 = clamp_pixel(left - reach), x1 = clamp_pixel(right + reach);
    int y0 = clamp_pixel(top - reach), y1 = clamp_pixel(bottom + reach);
    double dx = b.x - a.x, dy = b.y - a.y;
    double length2 = dx * dx + dy * dy;
    double inverse = length2 > 1e-12 ? 1.0 / length2 : 0.0;
    double wa = 1.0 / (a.radius * a.radius), wb = 1.0 / (b.radius * b.radius);
    for (int y = y0; y <= y1; y++) {
        double py = y + 0.5 - a.y;
        for (int x = x0; x <= x1; x++) {
            double px = x + 0.5 - a.x;
            double t = (px * dx + py * dy) * inverse;
            t = t < 0 ? 0 : t > 1 ? 1 : t;
            double ex = px - t * dx, ey = py - t * dy;
            double d = (ex * ex + ey * ey) * (wa + t * (wb - wa));
            double *nearest = &c->nearest[y * DIGIT_SIDE + x];
            *nearest = d < *nearest ? d : *nearest;
        }
    }
}

double canvas_coverage(const struct canvas *c, uint32_t pixel, double radius, double softness) {
    double d = c->nearest[pixel];
    if (d >= FAR_AWAY)
        return 0;
    double v = 0.5 + radius * (1.0 - sqrt(d)) / softness;
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

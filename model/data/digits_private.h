/* Private to the digit generator: skeletons of the ten digits and the pen that draws strokes into
 * pixels. */
#ifndef SOTTO_MODEL_DIGITS_PRIVATE_H
#define SOTTO_MODEL_DIGITS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGIT_SIDE       28
#define DIGIT_PIXELS     (DIGIT_SIDE * DIGIT_SIDE)
#define GLYPH_POINTS_MAX 16 /* control points of one glyph, all strokes together */
#define GLYPH_STYLES_MAX 4

/* How a control point joins its stroke. */
enum glyph_join {
    GLYPH_DOWN,   /* the pen comes down here: a stroke starts */
    GLYPH_CURVE,  /* the line bends towards this point and passes by (quadratic B-spline) */
    GLYPH_CORNER, /* the line goes through this point and may turn sharply */
};

/* In percent of the digit's box: x to the right, y down. Curves reach past the box so that the line
 * touches its edge. */
struct glyph_point {
    int8_t x, y;
    uint8_t join;
};

/* One way to write a digit. */
struct glyph {
    const struct glyph_point *points;
    uint32_t count;
    uint32_t weight; /* how common the style is among writers, in percent */
};

/* The styles of a digit 0..9; *count of them, weights sum to 100. */
const struct glyph *glyph_styles(uint32_t digit, uint32_t *count);

/* A canvas holds, for each pixel, the smallest squared distance to the line in units of its half
 * width. */
struct canvas {
    double nearest[DIGIT_PIXELS];
};
struct pen_point {
    double x, y;
    double radius; /* half the line's width here, in pixels; > 0 */
};
void canvas_clear(struct canvas *c);
/* Draws a straight piece of line; the radius changes evenly along it. */
void canvas_line(struct canvas *c, struct pen_point a, struct pen_point b);
/* Coverage of a pixel, 0..1, for a pen of about this radius: a soft edge one pixel wide. */
double canvas_coverage(const struct canvas *c, uint32_t pixel, double radius, double softness);

#endif

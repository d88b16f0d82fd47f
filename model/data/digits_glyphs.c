/* The skeletons of the ten digits: control points of pen strokes, in two to four handwritten styles
 * each. */
#include "digits_private.h"

#define D(x, y)                                                                                    \
    { x, y, GLYPH_DOWN }
#define P(x, y)                                                                                    \
    { x, y, GLYPH_CURVE }
#define C(x, y)                                                                                    \
    { x, y, GLYPH_CORNER }

/* clang-format off */
static const struct glyph_point zero_round[] = {
    D(56, 2), P(12, -4), P(-4, 52), P(14, 104), P(52, 104), P(92, 102), P(104, 48), P(86, -4), P(48, 2)};
static const struct glyph_point zero_slim[] = {
    D(62, 4), P(28, -2), P(12, 50), P(24, 106), P(54, 102), P(86, 98), P(92, 40), P(78, -6), P(56, 6)};
static const struct glyph_point zero_tailed[] = {
    D(70, 0), P(30, 0), P(-2, 40), P(2, 102), P(48, 104), P(100, 100), P(102, 30), P(70, -4), P(46, 4), P(38, 14)};

static const struct glyph_point one_plain[] = {D(51, 0), P(50, 50), P(49, 100)};
static const struct glyph_point one_flag[] = {D(26, 24), P(46, 14), C(56, 0), P(54, 50), P(54, 100)};
static const struct glyph_point one_base[] = {
    D(26, 22), P(46, 12), C(54, 0), P(53, 50), C(53, 99), D(24, 100), P(54, 98), P(84, 99)};

static const struct glyph_point two_flat[] = {
    D(10, 26), P(16, -6), P(56, -4), P(98, 4), P(86, 44), P(40, 76), C(6, 100), P(50, 98), P(94, 98)};
static const struct glyph_point two_looped[] = {
    D(12, 22), P(24, -8), P(66, -4), P(98, 14), P(78, 52), P(42, 88), P(8, 112), P(0, 82), P(34, 78),
    P(60, 102), P(98, 92)};
static const struct glyph_point two_swan[] = {
    D(14, 30), P(8, -2), P(50, -2), P(92, 0), P(88, 36), P(60, 64), P(10, 98), P(20, 104), P(60, 94), P(96, 100)};

static const struct glyph_point three_round[] = {
    D(10, 14), P(26, -8), P(66, -4), P(98, 14), P(78, 44), C(40, 47), P(86, 46), P(104, 76), P(74, 106),
    P(28, 106), P(6, 84)};
static const struct glyph_point three_flat[] = {
    D(12, 2), C(86, 2), P(64, 24), C(42, 40), P(92, 38), P(104, 78), P(72, 108), P(28, 104), P(6, 86)};
static const struct glyph_point three_looped[] = {
    D(14, 10), P(34, -6), P(80, -4), P(92, 26), P(66, 46), P(36, 54), P(36, 38), P(66, 44), P(104, 62),
    P(84, 104), P(34, 106), P(4, 92)};

static const struct glyph_point four_open[] = {
    D(22, 0), P(16, 30), C(8, 58), P(50, 58), P(94, 56), D(74, 12), P(70, 56), P(66, 100)};
static const struct glyph_point four_closed[] = {
    D(66, 2), P(40, 34), C(4, 66), P(50, 66), P(96, 64), D(67, 2), P(67, 50), P(66, 100)};
static const struct glyph_point four_round[] = {
    D(16, 2), P(4, 56), P(40, 60), P(74, 56), C(86, 4), P(82, 54), P(76, 100)};
static const struct glyph_point four_tall[] = {
    D(30, 8), P(22, 30), C(12, 50), P(46, 52), P(90, 46), D(82, 0), P(64, 50), P(46, 100)};

static const struct glyph_point five_barred[] = {
    D(28, 4), P(24, 24), C(16, 44), P(50, 28), P(104, 46), P(94, 104), P(36, 108), P(4, 88), D(28, 4), P(60, 4),
    P(92, 0)};
static const struct glyph_point five_one_stroke[] = {
    D(90, 2), P(60, 2), C(30, 4), P(26, 22), C(20, 42), P(60, 34), P(100, 50), P(92, 100), P(44, 106), P(8, 94)};
static const struct glyph_point five_curvy[] = {
    D(90, 0), P(44, -2), P(18, 12), P(14, 44), P(56, 42), P(98, 52), P(92, 98), P(52, 104), P(8, 96)};

static const struct glyph_point six_curled[] = {
    D(78, 2), P(36, 8), P(2, 50), P(2, 108), P(54, 104), P(104, 96), P(84, 46), P(40, 48), P(12, 76)};
static const struct glyph_point six_upright[] = {
    D(40, 0), P(20, 34), P(4, 66), P(12, 106), P(54, 104), P(98, 98), P(90, 58), P(54, 52), P(14, 78)};
static const struct glyph_point six_hooked[] = {
    D(88, 12), P(70, -8), P(14, 8), P(-4, 70), P(16, 108), P(60, 104), P(100, 88), P(80, 50), P(36, 50), P(10, 70)};

static const struct glyph_point seven_plain[] = {D(8, 4), P(50, 3), C(92, 2), P(62, 46), P(40, 100)};
static const struct glyph_point seven_crossed[] = {
    D(10, 4), P(50, 3), C(90, 2), P(62, 42), P(44, 100), D(26, 50), P(54, 48), P(82, 46)};
static const struct glyph_point seven_serif[] = {
    D(8, 24), P(8, 12), C(10, 4), P(50, 6), C(92, 0), P(56, 44), P(46, 100)};
static const struct glyph_point seven_wavy[] = {
    D(6, 12), P(22, -8), P(56, 14), C(94, 0), P(66, 34), P(46, 64), P(42, 100)};

static const struct glyph_point eight_crossed[] = {
    D(78, 10), P(52, -8), P(4, 0), P(10, 40), P(86, 56), P(104, 98), P(48, 106), P(-6, 100), P(16, 58),
    P(88, 36), P(94, 6), P(68, 2)};
static const struct glyph_point eight_rings[] = {
    D(54, 2), P(14, -4), P(8, 44), P(50, 48), P(94, 44), P(88, -4), C(50, 2), D(52, 47), P(-2, 46), P(0, 106),
    P(50, 101), P(102, 106), P(104, 48), P(48, 47)};
static const struct glyph_point eight_slanted[] = {
    D(86, 2), P(40, -8), P(-4, 20), P(50, 48), P(98, 66), P(76, 106), P(40, 104), P(4, 94), P(30, 62),
    P(72, 36), P(84, 2)};

static const struct glyph_point nine_straight[] = {
    D(82, 14), P(60, -8), P(10, 0), P(2, 50), P(50, 54), P(80, 46), C(86, 8), P(80, 54), P(74, 100)};
static const struct glyph_point nine_curved[] = {
    D(84, 18), P(66, -6), P(14, -2), P(2, 46), P(46, 52), P(82, 48), C(86, 12), P(98, 80), P(66, 106), P(16, 96)};
static const struct glyph_point nine_one_stroke[] = {
    D(88, 10), P(50, -8), P(2, 12), P(14, 54), P(60, 50), P(92, 26), P(92, -2), P(78, 40), P(60, 70), P(44, 100)};
/* clang-format on */

#undef D
#undef P
#undef C

#define GLYPH(points, weight)                                                                      \
    { points, sizeof(points) / sizeof((points)[0]), weight }

static const struct glyph digit_glyphs[10][GLYPH_STYLES_MAX] = {
    {GLYPH(zero_round, 50), GLYPH(zero_slim, 30), GLYPH(zero_tailed, 20)},
    {GLYPH(one_plain, 55), GLYPH(one_flag, 30), GLYPH(one_base, 15)},
    {GLYPH(two_flat, 45), GLYPH(two_looped, 30), GLYPH(two_swan, 25)},
    {GLYPH(three_round, 55), GLYPH(three_flat, 20), GLYPH(three_looped, 25)},
    {GLYPH(four_open, 40), GLYPH(four_closed, 20), GLYPH(four_round, 25), GLYPH(four_tall, 15)},
    {GLYPH(five_barred, 40), GLYPH(five_one_stroke, 35), GLYPH(five_curvy, 25)},
    {GLYPH(six_curled, 45), GLYPH(six_upright, 35), GLYPH(six_hooked, 20)},
    {GLYPH(seven_plain, 40), GLYPH(seven_crossed, 25), GLYPH(seven_serif, 20),
     GLYPH(seven_wavy, 15)},
    {GLYPH(eight_crossed, 50), GLYPH(eight_rings, 25), GLYPH(eight_slanted, 25)},
    {GLYPH(nine_straight, 45), GLYPH(nine_curved, 30), GLYPH(nine_one_stroke, 25)},
};

const struct glyph *glyph_styles(uint32_t digit, uint32_t *count) {
    const struct glyph *styles = digit_glyphs[digit];
    *count = 0;
    while (*count < GLYPH_STYLES_MAX && styles[*count].count > 0)
        ++*count;
    return styles;
}

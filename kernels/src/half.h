/* IEEE binary16 held in a float: what the instructions on halves round their operands to. */
#ifndef SOTTO_KERN_HALF_H
#define SOTTO_KERN_HALF_H

#include <stdint.h>
#include <string.h>

#define KERN_HALF_TIE 0x477ff000u /* 65520 as bits: from here on a float rounds to infinity */
#define KERN_HALF_LOW 0x38800000u /* 2^-14: below it halves are multiples of 2^-24 */

/* x rounded to the nearest binary16, ties to even; infinite from 65520 on, subnormals kept, NaN
 * stays NaN. */
static inline float kern_half_round(float x) {
    uint32_t bits, sign;
    memcpy(&bits, &x, sizeof(bits));
    sign = bits & 0x80000000u;
    bits ^= sign;
    if (bits > 0x7f800000u)
        return x;
    if (bits >= KERN_HALF_TIE) {
        bits = 0x7f800000u;
    } else if (bits >= KERN_HALF_LOW) {
        bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
    } else { /* the last place of a float in [0.5, 1) is 2^-24 */
        float y;
        memcpy(&y, &bits, sizeof(y));
        y = (y + 0.5f) - 0.5f;
        memcpy(&bits, &y, sizeof(bits));
    }
    bits |= sign;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

#endif

// Floats to IEEE binary16, two a word: nearest, ties to even, infinite from 65520 on, subnormals kept. In integers, since
// drivers round and flush as they like when they convert.
#version 450
#include "common.glsl"
layout(std430, binding = 0) readonly buffer X { uint x[]; }; // bits of floats
layout(std430, binding = 2) writeonly buffer Y { uint y[]; };
#define COUNT PARAM(0)

uint half_of(uint bits) {
    uint sign = bits >> 16 & 0x8000u, v = bits & 0x7fffffffu;
    if (v > 0x7f800000u)
        return sign | 0x7e00u;
    if (v >= 0x477ff000u)
        return sign | 0x7c00u;
    if (v < 0x33000000u) // below half of the smallest
        return sign;
    uint drop = 13u, m = v;
    if (v < 0x38800000u) { // a multiple of 2^-24
        drop = 126u - (v >> 23);
        m = (v & 0x7fffffu) | 0x800000u;
    } else {
        m -= 0x38000000u; // the exponent's bias; carries from rounding run into it
    }
    uint kept = m >> drop, lost = m & ((1u << drop) - 1u), tie = 1u << (drop - 1u);
    return sign | (kept + (lost > tie || (lost == tie && (kept & 1u) != 0u) ? 1u : 0u));
}

void main() {
    if (RESTS)
        return;
    for (uint j = 0u; j < 4u; j++) {
        uint word = (GROUP * 4u + j) * THREADS + THREAD, i = word * 2u;
        if (i >= COUNT)
            return;
        uint high = i + 1u < COUNT ? half_of(x[BASE(0) + i + 1u]) : 0u;
        y[BASE(2) + word] = half_of(x[BASE(0) + i]) | high << 16;
    }
}

// Dropout by Philox4x32-10 (Salmon et al., SC'11, section 3.3): the elements that every backend keeps.
#version 450
#include "common.glsl"
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#define COUNT  PARAM(0)
#define LIMIT  PARAM(1)
#define KEEP   PARAM_F(2)
#define STREAM PARAM(3)

uvec4 philox(uvec4 c, uvec2 key) {
    for (int i = 0; i < 10; i++) {
        uint hi0, lo0, hi1, lo1;
        umulExtended(0xD2511F53u, c.x, hi0, lo0);
        umulExtended(0xCD9E8D57u, c.z, hi1, lo1);
        c = uvec4(hi1 ^ c.y ^ key.x, lo1, hi0 ^ c.w ^ key.y, lo0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

void main() {
    uint block = GROUP * THREADS + THREAD;
    if (RESTS || block >= (COUNT + 3u) / 4u)
        return;
    uvec4 word = philox(uvec4(block, STREAM, STEP.index, 0u), uvec2(STEP.seed_lo, STEP.seed_hi));
    for (uint j = 0u; j < 4u && block * 4u + j < COUNT; j++) {
        uint i = block * 4u + j;
        y[BASE(2) + i] = word[j] >= LIMIT ? x[BASE(0) + i] * KEEP : 0.0;
    }
}

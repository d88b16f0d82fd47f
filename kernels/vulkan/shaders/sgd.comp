// The update: weight decay, proximal term, momentum (also Nesterov's), as kernels.h defines it.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint HAS_STATE = 0;
layout(constant_id = 2) const uint HAS_ANCHOR = 0;
layout(constant_id = 3) const uint NESTEROV = 0;
layout(std430, binding = 0) buffer W { float w[]; };
layout(std430, binding = 1) readonly buffer G { float g[]; };
layout(std430, binding = 2) buffer V { float v[]; };
layout(std430, binding = 3) readonly buffer Anchor { float anchor[]; };
#define COUNT    PARAM(0)
#define MOMENTUM PARAM_F(1)
#define DECAY    PARAM_F(2)
#define PROX     PARAM_F(3)

void main() {
    if (RESTS)
        return;
    for (uint i = (GROUP * THREADS + THREAD) * 4u, end = min(i + 4u, COUNT); i < end; i++) {
        float old = w[BASE(0) + i], d = g[BASE(1) + i] + DECAY * old;
        if (HAS_ANCHOR != 0u)
            d += PROX * (old - anchor[BASE(3) + i]);
        if (HAS_STATE != 0u) {
            float moved = MOMENTUM * v[BASE(2) + i] + d;
            v[BASE(2) + i] = moved;
            d = NESTEROV != 0u ? d + MOMENTUM * moved : moved;
        }
        w[BASE(0) + i] = old - STEP.lr * d;
    }
}

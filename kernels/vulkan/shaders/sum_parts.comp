// Adds the parts of a product that was split along k, in order, and finishes it: scale, beta, bias, activation.
#version 450
#include "common.glsl"
layout(std430, binding = 0) readonly buffer Parts { float parts[]; };
layout(std430, binding = 2) buffer C { float c[]; };
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
#define COUNT  PARAM(0) // of C
#define SPLITS PARAM(1)
#define COLS   PARAM(2)
#define FLAGS  PARAM(3) // factors | activation << 8 | has bias << 12
#define SLOPE  PARAM_F(4)
#define DECAY  PARAM_F(5)

void main() {
    uint i = GROUP * THREADS + THREAD;
    if (RESTS || i >= COUNT)
        return;
    float v = 0.0;
    for (uint s = 0u; s < SPLITS; s++)
        v += parts[BASE(0) + s * COUNT + i];
    v *= scale_of(FLAGS & 255u);
    float beta = beta_of(FLAGS & 255u, DECAY);
    if (beta != 0.0)
        v += beta * c[BASE(2) + i];
    if ((FLAGS >> 12 & 1u) != 0u)
        v += bias[BASE(3) + i % COLS];
    c[BASE(2) + i] = activate(FLAGS >> 8 & 15u, SLOPE, v);
}

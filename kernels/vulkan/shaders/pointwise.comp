// One value at a time: activation, its derivative, addition, bias, copy, zeros.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint OP = 0; // 0 act, 1 act_dx, 2 add, 3 copy, 4 fill0, 5 bias_add
layout(constant_id = 2) const uint ACT = 0;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Y { float y[]; };
layout(std430, binding = 2) writeonly buffer Z { float z[]; };
#define COUNT PARAM(0)
#define SLOPE PARAM_F(1)
#define COLS  PARAM(2)

void main() {
    if (RESTS)
        return;
    for (uint i = (GROUP * THREADS + THREAD) * 4u, end = min(i + 4u, COUNT); i < end; i++) {
        float v = 0.0;
        if (OP == 0u)
            v = activate(ACT, SLOPE, x[BASE(0) + i]);
        else if (OP == 1u)
            v = y[BASE(1) + i] * activation_slope(ACT, SLOPE, x[BASE(0) + i]);
        else if (OP == 2u)
            v = x[BASE(0) + i] + y[BASE(1) + i];
        else if (OP == 3u)
            v = x[BASE(0) + i];
        else if (OP == 5u)
            v = x[BASE(0) + i] + y[BASE(1) + i % COLS];
        z[BASE(2) + i] = v;
    }
}

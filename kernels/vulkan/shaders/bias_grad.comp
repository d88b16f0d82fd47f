// Sums of columns: a workgroup takes some columns, its threads rows apart, and adds them as a tree.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint COLUMNS = 8; // of a workgroup, divides its threads
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
#define ROWS   PARAM(0)
#define COLS   PARAM(1)
#define FLAGS  PARAM(2)
#define DECAY  PARAM_F(3)

shared float sums[128];

void main() {
    if (RESTS)
        return;
    uint column = GROUP * COLUMNS + THREAD % COLUMNS;
    float sum = 0.0;
    if (column < COLS)
        for (uint r = THREAD / COLUMNS; r < ROWS; r += THREADS / COLUMNS)
            sum += x[BASE(0) + r * COLS + column];
    sums[THREAD] = sum;
    barrier();
    for (uint half_ = THREADS / 2u; half_ >= COLUMNS; half_ /= 2u) {
        if (THREAD < half_)
            sums[THREAD] += sums[THREAD + half_];
        barrier();
    }
    if (THREAD < COLUMNS && column < COLS) {
        float v = sums[THREAD] * scale_of(FLAGS), beta = beta_of(FLAGS, DECAY);
        if (beta != 0.0)
            v += beta * y[BASE(2) + column];
        y[BASE(2) + column] = v;
    }
}

// Softmax of rows, a thread each, the largest taken out first.
#version 450
#include "common.glsl"
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
#define ROWS PARAM(0)
#define COLS PARAM(1)

void main() {
    uint r = GROUP * THREADS + THREAD;
    if (RESTS || r >= ROWS)
        return;
    uint from = BASE(0) + r * COLS, to = BASE(2) + r * COLS;
    float most = x[from], sum = 0.0;
    for (uint j = 1u; j < COLS; j++)
        most = x[from + j] > most || isnan(most) ? x[from + j] : most;
    for (uint j = 0u; j < COLS; j++)
        sum += exp(x[from + j] - most);
    for (uint j = 0u; j < COLS; j++)
        y[to + j] = exp(x[from + j] - most) / sum;
}

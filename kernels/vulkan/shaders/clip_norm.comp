// Clipping by the norm: first a fixed number of workgroups sums squares, then every workgroup adds those sums in order.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint PHASE = 0;
layout(constant_id = 2) const uint PARTS = 64;
layout(std430, binding = 0) buffer G { float g[]; };
layout(std430, binding = 1) buffer Parts { float parts[]; }; // PARTS sums of squares
#define COUNT    PARAM(0)
#define MAX_NORM PARAM_F(1)

shared float sums[128];

void add_up() {
    for (uint half_ = THREADS / 2u; half_ > 0u; half_ /= 2u) {
        barrier();
        if (THREAD < half_)
            sums[THREAD] += sums[THREAD + half_];
    }
    barrier();
}

void main() {
    if (RESTS)
        return;
    if (PHASE == 0u) {
        float sum = 0.0;
        for (uint i = GROUP * THREADS + THREAD; i < COUNT; i += PARTS * THREADS)
            sum += g[BASE(0) + i] * g[BASE(0) + i];
        sums[THREAD] = sum;
        add_up();
        if (THREAD == 0u)
            parts[BASE(1) + GROUP] = sums[0];
        return;
    }
    sums[THREAD] = THREAD < PARTS ? parts[BASE(1) + THREAD] : 0.0;
    add_up();
    float norm = sqrt(sums[0]);
    if (!(norm > MAX_NORM))
        return;
    for (uint i = (GROUP * THREADS + THREAD) * 4u, end = min(i + 4u, COUNT); i < end; i++)
        g[BASE(0) + i] *= MAX_NORM / norm;
}

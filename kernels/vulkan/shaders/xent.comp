// Softmax cross-entropy with labels or with soft targets: gradient, and the step's loss, hits and rows. One workgroup takes
// all rows, so that sums have one order.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint SOFT = 0;
layout(constant_id = 2) const uint HAS_GRADIENT = 1;
layout(constant_id = 3) const uint HAS_METRIC = 1;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Target { float target[]; }; // SOFT
layout(std430, binding = 1) readonly buffer Label { int label[]; };
layout(std430, binding = 2) writeonly buffer D { float d[]; };
layout(std430, binding = 3) buffer Out { float metrics[]; };
#define ROWS        PARAM(0)
#define COLS        PARAM(1)
#define TEMPERATURE PARAM_F(2)
#define OFF         PARAM_F(3) // target of a wrong class, of the right one
#define ON          PARAM_F(4)

shared float losses[128];
shared uint hits[128], seen[128];

uint first_largest(uint at, bool soft) {
    uint best = 0u;
    for (uint j = 1u; j < COLS; j++) {
        float v = soft ? target[at + j] : x[at + j], b = soft ? target[at + best] : x[at + best];
        if (v > b || (isnan(b) && !isnan(v)))
            best = j;
    }
    return best;
}

bool counts(uint r) {
    if (r >= min(STEP.rows, ROWS))
        return false;
    if (SOFT != 0u)
        return true;
    int l = label[BASE(1) + r];
    return l >= 0 && uint(l) < COLS;
}

// One valid row's loss; its gradient is written.
float row(uint r, float scale, out bool hit) {
    float t = SOFT != 0u ? TEMPERATURE : 1.0;
    uint at = BASE(0) + r * COLS, best = first_largest(at, false);
    uint mine = SOFT != 0u ? first_largest(BASE(1) + r * COLS, true) : uint(label[BASE(1) + r]);
    float most = x[at + best] / t, sum = 0.0, loss = 0.0;
    for (uint j = 0u; j < COLS; j++)
        sum += exp(x[at + j] / t - most);
    float log_sum = log(sum);
    for (uint j = 0u; j < COLS; j++) {
        float q = SOFT != 0u ? target[BASE(1) + r * COLS + j] : j == mine ? ON : OFF;
        float log_p = x[at + j] / t - most - log_sum;
        if (q > 0.0)
            loss -= q * log_p;
        if (HAS_GRADIENT != 0u)
            d[BASE(2) + r * COLS + j] = (exp(x[at + j] / t - most) / sum - q) * scale;
    }
    hit = best == mine;
    return loss;
}

void main() {
    if (RESTS)
        return;
    uint mine = 0u, hit_count = 0u;
    for (uint r = THREAD; r < ROWS; r += THREADS)
        mine += counts(r) ? 1u : 0u;
    seen[THREAD] = mine;
    barrier();
    uint valid = 0u;
    for (uint i = 0u; i < THREADS; i++)
        valid += seen[i];
    float scale = SOFT != 0u ? TEMPERATURE / float(min(STEP.rows, ROWS)) : 1.0 / float(max(valid, 1u)), loss = 0.0;
    for (uint r = THREAD; r < ROWS; r += THREADS) {
        if (counts(r)) {
            bool hit;
            loss += row(r, scale, hit);
            hit_count += hit ? 1u : 0u;
        } else if (HAS_GRADIENT != 0u) {
            for (uint j = 0u; j < COLS; j++)
                d[BASE(2) + r * COLS + j] = 0.0;
        }
    }
    if (HAS_METRIC == 0u)
        return;
    losses[THREAD] = loss;
    hits[THREAD] = hit_count;
    barrier();
    if (THREAD == 0u) {
        for (uint i = 1u; i < THREADS; i++) {
            loss += losses[i];
            hit_count += hits[i];
        }
        // The view of metrics is [slots][lanes][4]: a slot's row begins at its number times the lanes.
        uint to = (STEP.slot * gl_NumWorkGroups.z + LANE) * 4u;
        metrics[to] += SOFT != 0u ? loss * TEMPERATURE * TEMPERATURE : loss;
        metrics[to + 1u] += float(hit_count);
        metrics[to + 2u] += float(valid);
    }
}

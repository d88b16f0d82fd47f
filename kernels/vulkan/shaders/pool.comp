// Pooling, forward and backward. Backward every input collects from the windows that hold it, in their order: no atomics.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint OP = 0; // 0 max, 1 max_dx, 2 average, 3 average_dx
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Arg { uint arg[]; }; // bytes
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#define COUNT    PARAM(0) // threads: outputs, four at a time with OP 0
#define IN_H     PARAM(1)
#define IN_W     PARAM(2)
#define CHANNELS PARAM(3)
#define OUT_H    PARAM(4)
#define OUT_W    PARAM(5)
#define KERNEL   ivec2(PARAM(6) & 0xffffu, PARAM(6) >> 16)
#define STRIDE   ivec2(PARAM(7) & 0xffffu, PARAM(7) >> 16)
#define PAD      ivec2(PARAM(8) & 0xffffu, PARAM(8) >> 16)
#define SIZE     ivec2(IN_H, IN_W)

// The window of output id: its first input, and the taps inside the image.
void window(ivec2 o, out ivec2 base, out ivec2 first, out ivec2 end) {
    base = o * STRIDE - PAD;
    first = max(-base, ivec2(0));
    end = min(SIZE - base, KERNEL);
}
uint input_at(uint image, ivec2 p, uint channel) {
    return ((image * IN_H + uint(p.x)) * IN_W + uint(p.y)) * CHANNELS + channel;
}

uint forward(uint id) {
    uint channel = id % CHANNELS, pixel = id / CHANNELS, image = pixel / (OUT_H * OUT_W), place = 0u;
    ivec2 base, first, end;
    window(ivec2(pixel / OUT_W % OUT_H, pixel % OUT_W), base, first, end);
    float best = 0.0, sum = 0.0;
    bool any_ = false;
    for (int ky = first.x; ky < end.x; ky++)
        for (int kx = first.y; kx < end.y; kx++) {
            float v = x[BASE(0) + input_at(image, base + ivec2(ky, kx), channel)];
            if (!any_ || v > best || (isnan(best) && !isnan(v))) {
                best = v;
                place = uint(ky * KERNEL.y + kx);
            }
            any_ = true;
            sum += v;
        }
    ivec2 n = end - first;
    y[BASE(2) + id] = OP == 0u ? best : sum / float(n.x * n.y);
    return place;
}

void backward(uint id) {
    uint channel = id % CHANNELS, pixel = id / CHANNELS, image = pixel / (IN_H * IN_W);
    ivec2 p = ivec2(pixel / IN_W % IN_H, pixel % IN_W) + PAD;
    // Windows o with o * stride <= p < o * stride + kernel.
    ivec2 lo = max((p - KERNEL + STRIDE) / STRIDE, ivec2(0)), hi = min(p / STRIDE, ivec2(OUT_H, OUT_W) - 1);
    lo = ivec2(p.x < KERNEL.x ? 0 : lo.x, p.y < KERNEL.y ? 0 : lo.y);
    float sum = 0.0;
    for (int oy = lo.x; oy <= hi.x; oy++)
        for (int ox = lo.y; ox <= hi.y; ox++) {
            uint o = ((image * OUT_H + uint(oy)) * OUT_W + uint(ox)) * CHANNELS + channel;
            ivec2 tap = p - ivec2(oy, ox) * STRIDE;
            if (OP == 1u) {
                uint place = arg[BASE(1) + o / 4u] >> (o % 4u * 8u) & 255u;
                if (place == uint(tap.x * KERNEL.y + tap.y))
                    sum += x[BASE(0) + o];
            } else {
                ivec2 base, first, end;
                window(ivec2(oy, ox), base, first, end);
                ivec2 n = end - first;
                sum += x[BASE(0) + o] * (1.0 / float(n.x * n.y));
            }
        }
    y[BASE(2) + id] = sum;
}

void main() {
    uint id = GROUP * THREADS + THREAD;
    if (RESTS)
        return;
    if (OP == 0u) { // a thread fills one word of places
        uint packed = 0u;
        for (uint j = 0u; j < 4u && id * 4u + j < COUNT; j++)
            packed |= forward(id * 4u + j) << (8u * j);
        if (id * 4u < COUNT)
            arg[BASE(1) + id] = packed;
    } else if (id < COUNT) {
        if (OP == 2u)
            forward(id);
        else
            backward(id);
    }
}

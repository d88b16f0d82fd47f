// Convolutions whose shape wastes tiles: few channels in a group (depthwise), or pooling windows that no tile holds. One
// thread an output; a filter's gradient takes one workgroup a weight, whose threads' sums are added as a tree.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint MODE = 1; // 1 forward, 2 dX, 3 dW, 4 forward and pooling

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) buffer C { float c[]; };
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
layout(std430, binding = 3) buffer Words { uint words[]; };

#define COUNT   PARAM(0)
#define FLAGS   PARAM(4)
#define SLOPE   PARAM_F(5)
#define DECAY   PARAM_F(6)
#define GROUPS  PARAM(7)
#define BATCH   PARAM(9)
#define IN_H    PARAM(10)
#define IN_W    PARAM(11)
#define IN_C    PARAM(12)
#define OUT_H   PARAM(13)
#define OUT_W   PARAM(14)
#define OUT_C   PARAM(15)
#define KERNEL  uvec2(PARAM(16) & 0xffffu, PARAM(16) >> 16)
#define STRIDE  ivec2(PARAM(17) & 0xffffu, PARAM(17) >> 16)
#define PAD     ivec2(PARAM(18) & 0xffffu, PARAM(18) >> 16)
#define POOL    uvec2(PARAM(19) & 0xffffu, PARAM(19) >> 16)
#define BIAS_AT PARAM(20)

shared float sums[128];

float forward(uint image, ivec2 o, uint oc) {
    uint ci = IN_C / GROUPS, co = OUT_C / GROUPS, first = oc / co * ci;
    ivec2 base = o * STRIDE - PAD;
    float sum = 0.0;
    for (int ky = 0; ky < int(KERNEL.x); ky++)
        for (int kx = 0; kx < int(KERNEL.y); kx++) {
            ivec2 p = base + ivec2(ky, kx);
            if (p.x < 0 || p.y < 0 || p.x >= int(IN_H) || p.y >= int(IN_W))
                continue;
            uint x = BASE(0) + ((image * IN_H + uint(p.x)) * IN_W + uint(p.y)) * IN_C + first;
            uint w = BASE(1) + (uint(ky) * KERNEL.y + uint(kx)) * ci * OUT_C + oc;
            for (uint i = 0u; i < ci; i++)
                sum = fma(a[x + i], b[w + i * OUT_C], sum);
        }
    return sum;
}

float backward_x(uint image, ivec2 at, uint ic) {
    uint ci = IN_C / GROUPS, co = OUT_C / GROUPS, g = ic / ci;
    float sum = 0.0;
    for (int ky = 0; ky < int(KERNEL.x); ky++)
        for (int kx = 0; kx < int(KERNEL.y); kx++) {
            ivec2 t = at + PAD - ivec2(ky, kx);
            if (t.x < 0 || t.y < 0)
                continue;
            ivec2 q = t / STRIDE;
            if (any(notEqual(q * STRIDE, t)) || q.x >= int(OUT_H) || q.y >= int(OUT_W))
                continue;
            uint d = BASE(0) + ((image * OUT_H + uint(q.x)) * OUT_W + uint(q.y)) * OUT_C + g * co;
            uint w = BASE(1) + ((uint(ky) * KERNEL.y + uint(kx)) * ci + ic % ci) * OUT_C + g * co;
            for (uint o = 0u; o < co; o++)
                sum = fma(a[d + o], b[w + o], sum);
        }
    return sum;
}

void backward_w(uint id) {
    uint ci = IN_C / GROUPS, co = OUT_C / GROUPS;
    uint oc = id % OUT_C, i = id / OUT_C % ci, tap = id / OUT_C / ci;
    ivec2 t = ivec2(tap / KERNEL.y, tap % KERNEL.y);
    float sum = 0.0;
    for (uint k = THREAD; k < BATCH * OUT_H * OUT_W; k += THREADS) {
        ivec2 p = ivec2(k / OUT_W % OUT_H, k % OUT_W) * STRIDE - PAD + t;
        if (p.x < 0 || p.y < 0 || p.x >= int(IN_H) || p.y >= int(IN_W))
            continue;
        uint x = ((k / (OUT_H * OUT_W) * IN_H + uint(p.x)) * IN_W + uint(p.y)) * IN_C;
        sum = fma(a[BASE(0) + x + oc / co * ci + i], b[BASE(1) + k * OUT_C + oc], sum);
    }
    sums[THREAD] = sum;
    barrier();
    for (uint half_ = THREADS / 2u; half_ > 0u; half_ /= 2u) {
        if (THREAD < half_)
            sums[THREAD] += sums[THREAD + half_];
        barrier();
    }
    if (THREAD == 0u) {
        float v = sums[0] * scale_of(FLAGS & 255u), beta = beta_of(FLAGS & 255u, DECAY);
        if (beta != 0.0)
            v += beta * c[BASE(2) + id];
        c[BASE(2) + id] = v;
    }
}

void forward_pooled(uint id) {
    uint ph = OUT_H / POOL.x, pw = OUT_W / POOL.y, oc = id % OUT_C, p = id / OUT_C, place = 0u;
    float best = 0.0, add = (FLAGS >> 12 & 1u) != 0u ? b[BASE(1) + BIAS_AT + oc] : 0.0;
    for (uint i = 0u; i < POOL.x * POOL.y; i++) {
        ivec2 o = ivec2((p / pw % ph) * POOL.x + i / POOL.y, (p % pw) * POOL.y + i % POOL.y);
        float v = activate(FLAGS >> 8 & 15u, SLOPE, forward(p / (ph * pw), o, oc) + add);
        if (i == 0u || v > best || (isnan(best) && !isnan(v))) {
            best = v;
            place = i;
        }
    }
    c[BASE(2) + id] = best;
    uint shift = id % 4u * 8u; // other threads own the other bytes
    atomicAnd(words[BASE(3) + id / 4u], ~(255u << shift));
    atomicOr(words[BASE(3) + id / 4u], place << shift);
}

void main() {
    if (RESTS)
        return;
    if (MODE == 3u) {
        if (GROUP < COUNT)
            backward_w(GROUP);
        return;
    }
    uint id = GROUP * THREADS + THREAD;
    if (id >= COUNT)
        return;
    if (MODE == 4u) {
        forward_pooled(id);
        return;
    }
    uint channels = MODE == 1u ? OUT_C : IN_C, w = MODE == 1u ? OUT_W : IN_W, h = MODE == 1u ? OUT_H : IN_H;
    uint channel = id % channels, pixel = id / channels;
    ivec2 at = ivec2(pixel / w % h, pixel % w);
    uint image = pixel / (h * w);
    if (MODE == 2u) {
        c[BASE(2) + id] = backward_x(image, at, channel);
        return;
    }
    float v = forward(image, at, channel);
    if ((FLAGS >> 12 & 1u) != 0u)
        v += bias[BASE(3) + channel];
    c[BASE(2) + id] = activate(FLAGS >> 8 & 15u, SLOPE, v);
}

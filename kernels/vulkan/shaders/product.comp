// Products by tiles in shared memory: gemm, and convolution forward, dX and dW as implicit gemm, C[m][n] = sum_k A[m][k] B[k][n].
// A convolution's A and B are gathered from images by tables made per tile. With several splits, k is cut in that many
// parts, whose sums sum_parts.comp adds in order: the same bits every time. With pooling, a thread's rows are whole windows.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#ifdef HALF
// gemm of halves in 16-bit storage
#extension GL_EXT_shader_16bit_storage : require
const uint MODE = 0u;
#else
layout(constant_id = 1) const uint MODE = 0; // 0 gemm, 1 forward, 2 dX, 3 dW
#endif
layout(constant_id = 2) const uint BM = 32;
layout(constant_id = 3) const uint BN = 32;
layout(constant_id = 4) const uint TM = 4;
layout(constant_id = 5) const uint TN = 4;
layout(constant_id = 6) const uint TRANS = 0; // gemm, 1: A is [k][m]; 2: B is [n][k]; 4: B is int8 with a scale a column; 8: A and B rounded to bfloat16;
                                               // 16: the loop over k in a tile may be unrolled (a GPU's compiler decides);
                                               // 32: A and B are binary16, two a word
layout(constant_id = 7) const uint WINDOW = 0; // rows of a pooling window, which divides TM; 0: none
layout(constant_id = 8) const uint ACT = 0; // after the bias; known here, it costs no code
const uint BK = 16;

#ifdef HALF
layout(std430, binding = 0) readonly buffer A16 { float16_t a16[]; };
layout(std430, binding = 1) readonly buffer B16 { float16_t b16[]; };
#else
layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 0) readonly buffer AWords { uint aw[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 1) readonly buffer Bytes { uint b8[]; }; // or words of halves
#endif
layout(std430, binding = 2) buffer C { float c[]; };
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
// With pooling the fourth view holds the places in the windows, a byte each, and the bias lies in B's view.
layout(std430, binding = 3) buffer Words { uint words[]; };

#define M       PARAM(0)
#define N       PARAM(1)
#define K       PARAM(2)
#define SPLITS  PARAM(3)
#define FLAGS   PARAM(4) // factors | has bias << 12
#define SLOPE   PARAM_F(5)
#define DECAY   PARAM_F(6)
#define GROUPS  PARAM(7)
#define LDC     PARAM(8) // of C, all groups
#define BATCH   PARAM(9)
#define IN_H    PARAM(10)
#define IN_W    PARAM(11)
#define IN_C    PARAM(12)
#define OUT_H   PARAM(13)
#define OUT_W   PARAM(14)
#define OUT_C   PARAM(15)
#define KERNEL  uvec2(PARAM(16) & 0xffffu, PARAM(16) >> 16) // h, w
#define STRIDE  ivec2(PARAM(17) & 0xffffu, PARAM(17) >> 16)
#define PAD     ivec2(PARAM(18) & 0xffffu, PARAM(18) >> 16)
#define POOL    uvec2(PARAM(19) & 0xffffu, PARAM(19) >> 16)
#define BIAS_AT  PARAM(20) // words from its view's start: the fourth, B's when pooling
#define SCALE_AT PARAM(21) // of int8 columns, in the fourth

shared float sa[BK][BM + 1];
shared float sb[BK][BN + 1];
// The tables: of a row of A (rows of the tile) and of a column of A (one step over k): index and place in the image.
shared ivec3 row_at[BM];
shared ivec3 col_at[2][BK];
shared int col_b[2][BK];

uint group_of; // of the convolution
float acc[TM * TN];

// Pixel (image, y, x) of an image of [h][w], in order or window by window.
uvec3 pixel(uint i, uint h, uint w) {
    if (WINDOW > 0u) {
        uint ph = h / POOL.x, pw = w / POOL.y, inside = i % WINDOW;
        i /= WINDOW;
        return uvec3(i / (ph * pw), (i / pw % ph) * POOL.x + inside / POOL.y, (i % pw) * POOL.y + inside % POOL.y);
    }
    return uvec3(i / (h * w), i / w % h, i % w);
}

ivec3 make_row(uint m) {
    uint ci = IN_C / GROUPS, co = OUT_C / GROUPS;
    if (MODE == 1u) {
        uvec3 p = pixel(m, OUT_H, OUT_W);
        ivec2 o = ivec2(p.yz) * STRIDE - PAD;
        return ivec3(((int(p.x * IN_H) + o.x) * int(IN_W) + o.y) * int(IN_C) + int(group_of * ci), o);
    }
    if (MODE == 2u) {
        uvec3 p = pixel(m, IN_H, IN_W);
        return ivec3(int(p.x * OUT_H * OUT_W * OUT_C + group_of * co), ivec2(p.yz) + PAD);
    }
    uint tap = m / ci;
    ivec2 t = ivec2(tap / KERNEL.y, tap % KERNEL.y);
    return ivec3((t.x * int(IN_W) + t.y) * int(IN_C) + int(group_of * ci + m % ci), t);
}

void make_col(uint at, uint i, uint k) {
    uint ci = IN_C / GROUPS, co = OUT_C / GROUPS;
    if (MODE == 3u) {
        uvec3 p = pixel(k, OUT_H, OUT_W);
        ivec2 o = ivec2(p.yz) * STRIDE - PAD;
        col_at[at][i] = ivec3(((int(p.x * IN_H) + o.x) * int(IN_W) + o.y) * int(IN_C), o);
        return;
    }
    uint per_tap = MODE == 1u ? ci : co;
    uint tap = k / per_tap, channel = k % per_tap;
    ivec2 t = ivec2(tap / KERNEL.y, tap % KERNEL.y);
    if (MODE == 1u) {
        col_at[at][i] = ivec3((t.x * int(IN_W) + t.y) * int(IN_C) + int(channel), t);
    } else {
        col_at[at][i] = ivec3(int(channel), -t);
        col_b[at][i] = int(tap * ci * OUT_C + group_of * co + channel);
    }
}

#ifdef HALF
float rounded(float v) {
    return v;
}
float load_a(uint at, uint m, uint k, uint tile_m, uint tile_k, uint k_end) {
    uint row = tile_m + m, col = tile_k + k;
    return row < M && col < k_end ? float(a16[BASE(0) * 2u + row * K + col]) : 0.0;
}
float load_b(uint at, uint k, uint n, uint tile_k, uint tile_n, uint k_end) {
    uint row = tile_k + k, col = tile_n + n;
    return col < N && row < k_end ? float(b16[BASE(1) * 2u + row * N + col]) : 0.0;
}
#else
// Half i of packed words. unpackHalf2x16 may flush subnormals.
float half_in(uint word, uint i) {
    uint bits = (i & 1u) != 0u ? word >> 16 : word & 0xffffu;
    float v = (bits & 0x7c00u) != 0u ? unpackHalf2x16(bits & 0x7fffu).x : float(bits & 0x3ffu) * (1.0 / 16777216.0);
    return (bits & 0x8000u) != 0u ? -v : v;
}

// To bfloat16 and back: nearest, ties to even; infinite past its range.
float rounded(float v) {
    if (MODE != 0u || (TRANS & 8u) == 0u || isnan(v))
        return v;
    uint bits = floatBitsToUint(v);
    return uintBitsToFloat((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

float load_a(uint at, uint m, uint k, uint tile_m, uint tile_k, uint k_end) {
    uint row = tile_m + m, col = tile_k + k;
    if (row >= M || col >= k_end)
        return 0.0;
    if (MODE == 0u && (TRANS & 32u) != 0u) {
        uint i = row * K + col;
        return half_in(aw[BASE(0) + i / 2u], i);
    }
    if (MODE == 0u)
        return a[BASE(0) + ((TRANS & 1u) != 0u ? col * M + row : row * K + col)];
    ivec3 r = row_at[m], s = col_at[at][k];
    ivec2 p = r.yz + s.yz;
    if (MODE == 2u) {
        if (p.x < 0 || p.y < 0)
            return 0.0;
        ivec2 q = p / STRIDE;
        if (any(notEqual(q * STRIDE, p)) || q.x >= int(OUT_H) || q.y >= int(OUT_W))
            return 0.0;
        return a[BASE(0) + uint(r.x + s.x + (q.x * int(OUT_W) + q.y) * int(OUT_C))];
    }
    if (p.x < 0 || p.y < 0 || p.x >= int(IN_H) || p.y >= int(IN_W))
        return 0.0;
    return a[BASE(0) + uint(r.x + s.x)];
}

float load_b(uint at, uint k, uint n, uint tile_k, uint tile_n, uint k_end) {
    uint row = tile_k + k, col = tile_n + n;
    if (col >= N || row >= k_end)
        return 0.0;
    if (MODE == 0u && (TRANS & 4u) != 0u) {
        uint at8 = row * N + col;
        return float(bitfieldExtract(int(b8[BASE(1) + at8 / 4u]), int(at8 % 4u * 8u), 8));
    }
    if (MODE == 0u && (TRANS & 32u) != 0u) {
        uint i = row * N + col;
        return half_in(b8[BASE(1) + i / 2u], i);
    }
    if (MODE == 0u)
        return b[BASE(1) + ((TRANS & 2u) != 0u ? col * K + row : row * N + col)];
    if (MODE == 2u)
        return b[BASE(1) + uint(col_b[at][k]) + col * OUT_C];
    return b[BASE(1) + row * OUT_C + group_of * (OUT_C / GROUPS) + col];
}
#endif

void store_plain(uint m0, uint n0, uint split) {
    uint factors = FLAGS & 255u;
    bool has_bias = (FLAGS >> 12 & 1u) != 0u;
    float scale = scale_of(factors), beta = beta_of(factors, DECAY);
    [[unroll]] for (uint i = 0u; i < TM; i++)
        [[unroll]] for (uint j = 0u; j < TN; j++) {
            uint m = m0 + i, n = n0 + j;
            if (m >= M || n >= N)
                continue;
            uint column = group_of * N + n;
            if (SPLITS > 1u) {
                c[BASE(2) + (split * M + m) * LDC + column] = acc[i * TN + j];
                continue;
            }
            uint to = BASE(2) + m * LDC + column;
            float v = acc[i * TN + j] * scale;
            if ((TRANS & 4u) != 0u)
                v *= bias[BASE(3) + SCALE_AT + column];
            if (beta != 0.0)
                v += beta * c[to];
            if (has_bias)
                v += bias[BASE(3) + BIAS_AT + column];
            c[to] = activate(ACT, SLOPE, v);
        }
}

#ifndef HALF
// Bytes of one word that other threads may own parts of: each changes only its own bits.
void put_byte(uint word, uint at, uint v) {
    uint shift = 8u * at;
    atomicAnd(words[word], ~(255u << shift));
    atomicOr(words[word], v << shift);
}

void store_pooled(uint m0, uint n0) {
    bool has_bias = (FLAGS >> 12 & 1u) != 0u;
    uint count = WINDOW > 0u ? WINDOW : 1u;
    [[unroll]] for (uint w = 0u; w < TM / count; w++) {
        uint m = m0 + w * count;
        if (m >= M)
            return;
        uint packed = 0u, column = group_of * N + n0;
        bool whole = TN == 4u && n0 + 4u <= N && (column & 3u) == 0u && (LDC & 3u) == 0u;
        [[unroll]] for (uint j = 0u; j < TN; j++) {
            if (n0 + j >= N)
                break;
            float add = has_bias ? b[BASE(1) + BIAS_AT + column + j] : 0.0, best = 0.0;
            uint place = 0u;
            for (uint i = 0u; i < count; i++) {
                float v = activate(ACT, SLOPE, acc[(w * count + i) * TN + j] + add);
                if (i == 0u || v > best || (isnan(best) && !isnan(v))) {
                    best = v;
                    place = i;
                }
            }
            uint to = m / count * LDC + column + j;
            c[BASE(2) + to] = best;
            if (whole)
                packed |= place << (8u * j);
            else
                put_byte(BASE(3) + to / 4u, to % 4u, place);
        }
        if (whole)
            words[BASE(3) + (m / count * LDC + column) / 4u] = packed;
    }
}
#endif

// acc += column k of A's tile times row k of B's.
void add_up(uint k, uint tm, uint tn) {
    float rows[TM], cols[TN];
    [[unroll]] for (uint i = 0u; i < TM; i++)
        rows[i] = sa[k][tm + i];
    [[unroll]] for (uint j = 0u; j < TN; j++)
        cols[j] = sb[k][tn + j];
    [[unroll]] for (uint i = 0u; i < TM; i++)
        [[unroll]] for (uint j = 0u; j < TN; j++)
            acc[i * TN + j] = fma(rows[i], cols[j], acc[i * TN + j]);
}

void main() {
    uint tiles_m = (M + BM - 1u) / BM, tiles_n = (N + BN - 1u) / BN;
    uint id = GROUP;
    if (RESTS || id >= tiles_m * tiles_n * GROUPS * SPLITS)
        return;
    uint split = id % SPLITS;
    id /= SPLITS;
    group_of = id % GROUPS;
    id /= GROUPS;
    uint tile_n = id % tiles_n * BN, tile_m = id / tiles_n * BM;
    uint steps_k = (K + BK - 1u) / BK, per = (steps_k + SPLITS - 1u) / SPLITS;
    uint k_first = split * per * BK, k_end = min(K, k_first + per * BK);
    uint tm = THREAD / (BN / TN) * TM, tn = THREAD % (BN / TN) * TN;

    [[unroll]] for (uint i = 0u; i < TM * TN; i++)
        acc[i] = 0.0;
    if (MODE != 0u) {
        for (uint i = THREAD; i < BM; i += THREADS)
            row_at[i] = make_row(min(tile_m + i, M - 1u));
        for (uint i = THREAD; i < BK; i += THREADS)
            make_col(0u, i, min(k_first + i, K - 1u));
        barrier();
    }
    uint at = 0u;
    for (uint k0 = k_first; k0 < k_end; k0 += BK, at ^= 1u) {
        // Neighbouring threads read neighbouring words: along k, or along m or n, by how the operand lies.
        bool a_by_m = MODE == 0u ? (TRANS & 1u) != 0u : MODE == 3u;
        bool b_by_k = MODE == 0u ? (TRANS & 2u) != 0u : MODE == 2u;
        for (uint i = THREAD; i < BM * BK; i += THREADS) {
            uint m = a_by_m ? i % BM : i / BK, k = a_by_m ? i / BM : i % BK;
            sa[k][m] = rounded(load_a(at, m, k, tile_m, k0, k_end));
        }
        for (uint i = THREAD; i < BN * BK; i += THREADS) {
            uint n = b_by_k ? i / BK : i % BN, k = b_by_k ? i % BK : i / BN;
            sb[k][n] = rounded(load_b(at, k, n, k0, tile_n, k_end));
        }
        barrier();
        if (MODE != 0u)
            for (uint i = THREAD; i < BK; i += THREADS)
                make_col(at ^ 1u, i, min(k0 + BK + i, K - 1u));
        if ((TRANS & 16u) != 0u) {
            for (uint k = 0u; k < BK; k++)
                add_up(k, tm, tn);
        } else {
            [[dont_unroll]] for (uint k = 0u; k < BK; k++)
                add_up(k, tm, tn);
        }
        barrier();
    }
#ifndef HALF
    if (WINDOW > 0u) {
        store_pooled(tile_m + tm, tile_n + tn);
        return;
    }
#endif
    store_plain(tile_m + tm, tile_n + tn, split);
}

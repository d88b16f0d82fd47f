// C = A B of int8 matrices, exact in int32. Four steps over k are one word: packed while tiles are loaded, multiplied by one
// OpSDot where the device has it (DOT), else by four multiply-adds.
#version 450
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#ifdef DOT
// glslang 11 knows no dot products; SPIR-V's own instruction, capabilities DotProduct and DotProductInput4x8BitPacked.
#extension GL_EXT_spirv_intrinsics : require
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int sdot_packed(uint a, uint b, spirv_literal int format);
int dot4(uint a, uint b) {
    return sdot_packed(a, b, 0);
}
#else
int dot4(uint a, uint b) {
    int x = int(a), y = int(b);
    return bitfieldExtract(x, 0, 8) * bitfieldExtract(y, 0, 8) + bitfieldExtract(x, 8, 8) * bitfieldExtract(y, 8, 8) +
           bitfieldExtract(x, 16, 8) * bitfieldExtract(y, 16, 8) + bitfieldExtract(x, 24, 8) * bitfieldExtract(y, 24, 8);
}
#endif
layout(std430, binding = 0) readonly buffer A { uint a[]; };
layout(std430, binding = 1) readonly buffer B { uint b[]; };
layout(std430, binding = 2) writeonly buffer C { int c[]; };
#define M PARAM(0)
#define N PARAM(1)
#define K PARAM(2)
const uint TILE = 32, WORDS = 8, EACH = 4; // of C, over k, of a thread: 64 threads

shared uint sa[WORDS][TILE + 1], sb[WORDS][TILE + 1];

uint a_byte(uint m, uint k) {
    uint i = m * K + k;
    return m < M && k < K ? a[BASE(0) + i / 4u] >> (i % 4u * 8u) & 255u : 0u;
}
uint b_byte(uint k, uint n) {
    uint i = k * N + n;
    return n < N && k < K ? b[BASE(1) + i / 4u] >> (i % 4u * 8u) & 255u : 0u;
}

void main() {
    uint tiles_n = (N + TILE - 1u) / TILE, tiles_m = (M + TILE - 1u) / TILE;
    if (RESTS || GROUP >= tiles_m * tiles_n)
        return;
    uint m0 = GROUP / tiles_n * TILE, n0 = GROUP % tiles_n * TILE;
    uint tm = THREAD / (TILE / EACH) * EACH, tn = THREAD % (TILE / EACH) * EACH;
    int acc[EACH][EACH];
    [[unroll]] for (uint i = 0u; i < EACH; i++)
        [[unroll]] for (uint j = 0u; j < EACH; j++)
            acc[i][j] = 0;
    for (uint k0 = 0u; k0 < K; k0 += WORDS * 4u) {
        for (uint i = THREAD; i < TILE * WORDS; i += THREADS) {
            uint row = i / WORDS, word = i % WORDS, k = k0 + word * 4u, col = i % TILE, deep = k0 + i / TILE * 4u;
            sa[word][row] = a_byte(m0 + row, k) | a_byte(m0 + row, k + 1u) << 8 | a_byte(m0 + row, k + 2u) << 16 |
                            a_byte(m0 + row, k + 3u) << 24;
            sb[i / TILE][col] = b_byte(deep, n0 + col) | b_byte(deep + 1u, n0 + col) << 8 |
                                b_byte(deep + 2u, n0 + col) << 16 | b_byte(deep + 3u, n0 + col) << 24;
        }
        barrier();
        [[dont_unroll]] for (uint w = 0u; w < WORDS; w++)
            [[unroll]] for (uint i = 0u; i < EACH; i++)
                [[unroll]] for (uint j = 0u; j < EACH; j++)
                    acc[i][j] += dot4(sa[w][tm + i], sb[w][tn + j]);
        barrier();
    }
    [[unroll]] for (uint i = 0u; i < EACH; i++)
        [[unroll]] for (uint j = 0u; j < EACH; j++)
            if (m0 + tm + i < M && n0 + tn + j < N)
                c[BASE(2) + (m0 + tm + i) * N + n0 + tn + j] = acc[i][j];
}

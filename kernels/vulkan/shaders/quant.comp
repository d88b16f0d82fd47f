// Int8 with a scale a channel, bit for bit as on the host: Vulkan's division may be off by some units in the last place, so
// quotients are worked out in integers.
#version 450
#include "common.glsl"
layout(constant_id = 1) const uint PHASE = 0; // 0 scales, 1 quantize, 2 dequantize
layout(std430, binding = 0) readonly buffer X { uint x[]; }; // bits of floats
layout(std430, binding = 1) buffer Q { uint q[]; };          // bytes
layout(std430, binding = 2) buffer S { uint scale[]; };      // bits of floats
layout(std430, binding = 3) writeonly buffer Y { float y[]; };
#define ROWS     PARAM(0)
#define CHANNELS PARAM(1)

shared uint most[128];

// A positive finite float's 24-bit significand with its top bit set, and the exponent of that significand's last bit.
void split_float(uint bits, out uint m, out int e) {
    e = int(bits >> 23) - 150;
    m = bits & 0x7fffffu;
    if (bits >= 0x800000u) {
        m |= 0x800000u;
    } else {
        int up = 23 - findMSB(m);
        m <<= up;
        e = -149 - up;
    }
}

// a / b of positive finite floats, rounded to nearest, ties to even; the bits of a float.
uint divide(uint a, uint b) {
    uint ma, mb;
    int ea, eb;
    if (a == 0u)
        return 0u;
    split_float(a, ma, ea);
    split_float(b, mb, eb);
    int e = ea - eb - 25;
    uint rest = ma, quotient = 0u;
    if (rest < mb) {
        rest <<= 1;
        e--;
    }
    for (int i = 0; i < 26; i++) { // 26 bits, the first is set
        bool fits = rest >= mb;
        quotient = quotient << 1 | (fits ? 1u : 0u);
        rest = (fits ? rest - mb : rest) << 1;
    }
    quotient |= rest != 0u ? 1u : 0u; // sticky; the value is quotient * 2^e, 2^25 <= quotient < 2^26
    int drop = max(2, -149 - e);
    if (drop > 27)
        return 0u;
    uint kept = quotient >> drop, lost = quotient & ((1u << drop) - 1u), tie = 1u << (drop - 1);
    if (lost > tie || (lost == tie && (kept & 1u) != 0u))
        kept++;
    int exponent = e + drop + 150; // of a normal number; carries from rounding run into it by addition
    if (e + drop == -149)
        return kept; // subnormal, or just normal
    if (exponent >= 255 || (exponent == 254 && kept == 0x1000000u))
        return 0x7f800000u;
    return (uint(exponent) << 23) + kept - 0x800000u;
}

void scales() {
    uint channel = GROUP, best = 0u;
    for (uint r = THREAD; r < ROWS; r += THREADS) {
        uint bits = x[BASE(0) + r * CHANNELS + channel] & 0x7fffffffu;
        best = bits <= 0x7f800000u ? max(best, bits) : best; // NaN never wins
    }
    most[THREAD] = best;
    for (uint half_ = THREADS / 2u; half_ > 0u; half_ /= 2u) {
        barrier();
        if (THREAD < half_)
            most[THREAD] = max(most[THREAD], most[THREAD + half_]);
    }
    if (THREAD == 0u) {
        uint s = most[0] == 0x7f800000u ? most[0] : divide(most[0], 0x42fe0000u); // 127
        scale[BASE(2) + channel] = s == 0u ? 0x3f800000u : s;
    }
}

// Bits of x and of a positive scale to round(x / scale) in [-127, 127].
int quantize(uint bits, uint s) {
    uint magnitude = bits & 0x7fffffffu;
    bool negative = bits >> 31 != 0u;
    if (magnitude > 0x7f800000u || (magnitude == 0x7f800000u && s == 0x7f800000u))
        return -127; // NaN, as the host's comparisons have it
    int t = 127;
    if (s == 0x7f800000u)
        t = 0;
    else if (magnitude < 0x7f800000u) {
        uint v = divide(magnitude, s);
        if (v < 0x42fe0000u) { // below 127: round the float to nearest, ties to even
            int e = int(v >> 23) - 127;
            uint m = (v & 0x7fffffu) | 0x800000u;
            if (e < -1) {
                t = 0;
            } else {
                uint drop = uint(23 - e), kept = m >> drop, lost = m & ((1u << drop) - 1u), tie = 1u << (drop - 1u);
                t = int(kept + (lost > tie || (lost == tie && (kept & 1u) != 0u) ? 1u : 0u));
            }
        }
    }
    return negative ? -t : t;
}

void main() {
    if (RESTS)
        return;
    if (PHASE == 0u) {
        if (GROUP < CHANNELS)
            scales();
        return;
    }
    uint word = GROUP * THREADS + THREAD, count = ROWS * CHANNELS, packed = 0u;
    if (word >= (count + 3u) / 4u)
        return;
    for (uint j = 0u; j < 4u && word * 4u + j < count; j++) {
        uint i = word * 4u + j, s = scale[BASE(2) + i % CHANNELS];
        if (PHASE == 1u)
            packed |= (uint(quantize(x[BASE(0) + i], s)) & 255u) << (8u * j);
        else
            y[BASE(3) + i] = uintBitsToFloat(s) * float(bitfieldExtract(int(q[BASE(1) + word]), int(8u * j), 8));
    }
    if (PHASE == 1u)
        q[BASE(1) + word] = packed;
}

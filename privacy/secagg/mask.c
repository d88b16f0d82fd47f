/* The ring Z_{2^bits} and the masks: bit-packed coordinates, ChaCha20 streams added or taken off.
 */
#include <sodium.h>
#include <string.h>

#include "secagg_int.h"

bool secagg_ring_valid(unsigned bits) {
    return bits == 16 || bits == 20 || bits == 24 || bits == 32;
}

size_t secagg_ring_bytes(unsigned bits, uint64_t count) {
    return (size_t)((count * bits + 7) / 8);
}

static uint32_t load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap16(v);
#endif
    return v;
}

static uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* One loop a ring, each over whole groups of coordinates, for the compiler to vectorise. OP is =,
 * += or -=. */
#define RING_LOOP(NAME, OP)                                                                        \
    static void NAME(unsigned bits, uint32_t *restrict acc, const uint8_t *restrict p,             \
                     size_t count) {                                                               \
        switch (bits) {                                                                            \
        case 16:                                                                                   \
            for (size_t i = 0; i < count; i++)                                                     \
                acc[i] OP load16(p + 2 * i);                                                       \
            break;                                                                                 \
        case 20:                                                                                   \
            for (size_t i = 0; i < count / 2; i++) {                                               \
                const uint32_t low = load32(p + 5 * i), high = p[5 * i + 4];                       \
                acc[2 * i] OP(low & 0xFFFFFu);                                                     \
                acc[2 * i + 1] OP(low >> 20 | high << 12);                                         \
            }                                                                                      \
            if (count % 2 != 0) {                                                                  \
                const uint8_t *q = p + 5 * (count / 2);                                            \
                acc[count - 1] OP(load16(q) | (uint32_t)(q[2] & 15u) << 16);                       \
            }                                                                                      \
            break;                                                                                 \
        case 24:                                                                                   \
            for (size_t i = 0; i < count; i++)                                                     \
                acc[i] OP(load16(p + 3 * i) | (uint32_t)p[3 * i + 2] << 16);                       \
            break;                                                                                 \
        default:                                                                                   \
            for (size_t i = 0; i < count; i++)                                                     \
                acc[i] OP load32(p + 4 * i);                                                       \
        }                                                                                          \
    }
RING_LOOP(ring_set, =)
RING_LOOP(ring_add, +=)
RING_LOOP(ring_sub, -=)

void secagg_ring_unpack(unsigned bits, const uint8_t *packed, size_t count, uint32_t *values) {
    ring_set(bits, values, packed, count);
}

void secagg_ring_add(unsigned bits, uint32_t *acc, const uint8_t *packed, size_t count) {
    ring_add(bits, acc, packed, count);
}

void secagg_ring_sub(unsigned bits, uint32_t *acc, const uint8_t *packed, size_t count) {
    ring_sub(bits, acc, packed, count);
}

void secagg_ring_reduce(unsigned bits, uint32_t *acc, size_t count) {
    if (bits == 32)
        return;
    const uint32_t mask = (UINT32_C(1) << bits) - 1u;
    for (size_t i = 0; i < count; i++)
        acc[i] &= mask;
}

void secagg_ring_pack(unsigned bits, const uint32_t *values, size_t count, uint8_t *out) {
    const unsigned whole = bits / 8;
    if (bits != 20) {
        for (size_t i = 0; i < count; i++)
            for (unsigned b = 0; b < whole; b++)
                out[i * whole + b] = (uint8_t)(values[i] >> (8 * b));
        return;
    }
    for (size_t i = 0; i < count; i += 2) {
        const uint32_t low = values[i], high = i + 1 < count ? values[i + 1] : 0;
        uint8_t *p = out + i / 2 * 5;
        p[0] = (uint8_t)low;
        p[1] = (uint8_t)(low >> 8);
        p[2] = (uint8_t)((low >> 16 & 15u) | high << 4);
        if (i + 1 < count) {
            p[3] = (uint8_t)(high >> 4);
            p[4] = (uint8_t)(high >> 12);
        }
    }
}

unsigned secagg_limb_bits(unsigned ring_bits, uint32_t n) {
    unsigned bits = 0;
    while (bits < 32 && n * ((UINT64_C(2) << bits) - 1) < UINT64_C(1) << ring_bits)
        bits++;
    return bits;
}

void secagg_limbs_split(uint64_t value, unsigned limb_bits, size_t limbs, uint32_t *out) {
    for (size_t i = 0; i < limbs; i++) {
        const size_t shift = i * limb_bits;
        out[i] = shift < 64 ? (uint32_t)(value >> shift & ((UINT64_C(1) << limb_bits) - 1)) : 0;
    }
}

uint64_t secagg_limbs_join(const uint32_t *sums, unsigned limb_bits, size_t limbs) {
    uint64_t value = 0;
    for (size_t i = 0; i < limbs; i++) {
        const size_t shift = i * limb_bits;
        value += shift < 64 ? (uint64_t)sums[i] << shift : 0;
    }
    return value;
}

/* Stream and coordinates of one step stay in the first-level cache together. */
enum { STEP = 2048 };
_Static_assert(SECAGG_BLOCK % STEP == 0 && STEP * 16 / 8 % 64 == 0 && STEP * 20 / 8 % 64 == 0,
               "a step starts at a whole ChaCha20 block in every ring");

void mask_apply(unsigned bits, const uint8_t key[SECAGG_KEY], bool add, uint64_t first,
                uint32_t *acc, size_t count) {
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES], zero[STEP * 4];
    _Alignas(64) uint8_t stream[STEP * 4];
    uint64_t block = first * bits / 8 / 64;
    for (size_t done = 0; done < count; done += STEP, block += STEP / 8 * bits / 64) {
        const size_t step = count - done < STEP ? count - done : STEP;
        (void)crypto_stream_chacha20_xor_ic(stream, zero, secagg_ring_bytes(bits, step), nonce,
                                            block, key);
        if (add)
            ring_add(bits, acc + done, stream, step);
        else
            ring_sub(bits, acc + done, stream, step);
    }
    sodium_memzero(stream, sizeof stream);
}

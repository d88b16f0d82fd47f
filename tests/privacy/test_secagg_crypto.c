/* The parts of secure aggregation against published vectors and second implementations: agreement,
 * streams, sharing, packing, sealed shares. */
#include <sodium.h>
#include <string.h>

#include "secagg/secagg_int.h"
#include "support.h"

static void hex(const char *text, uint8_t *out, size_t n) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(num_parse_hex(text, out, n, &err));
}

/* RFC 7748 section 6.1, and the agreement built on it computed step by step. */
static void test_agreement(void **state) {
    uint8_t a[32], b[32], a_pk[32], b_pk[32], shared[32], got[32], expect[32], prk[32], prk_b[32];
    const uint8_t session[32] = {3}, terms[32] = {4};
    (void)state;
    hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", a, 32);
    hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", b, 32);
    hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", a_pk, 32);
    hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", b_pk, 32);
    hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742", shared, 32);
    assert_int_equal(crypto_scalarmult_base(got, a), 0);
    assert_memory_equal(got, a_pk, 32);
    assert_int_equal(crypto_scalarmult_base(got, b), 0);
    assert_memory_equal(got, b_pk, 32);
    assert_true(keys_agree(a, a_pk, b_pk, session, terms, prk));
    assert_true(keys_agree(b, b_pk, a_pk, session, terms, prk_b));
    assert_memory_equal(prk, prk_b, 32);
    /* BLAKE2b-256 keyed with the published secret; a_pk sorts before b_pk. */
    uint8_t input[6 + 4 * 32];
    memcpy(input, "SOTTO1", 6);
    memcpy(input + 6, a_pk, 32);
    memcpy(input + 38, b_pk, 32);
    memcpy(input + 70, session, 32);
    memcpy(input + 102, terms, 32);
    crypto_generichash(expect, 32, input, sizeof input, shared, 32);
    assert_memory_equal(prk, expect, 32);
    uint8_t kdf[18] = "SOTTO1 kdf";
    kdf[10] = 2;
    crypto_generichash(expect, 32, kdf, sizeof kdf, prk, 32);
    keys_derive(prk, KDF_MASK, got);
    assert_memory_equal(got, expect, 32);
    keys_derive(prk, KDF_SEAL, got);
    assert_memory_not_equal(got, expect, 32);
    const uint8_t other_terms[32] = {5};
    assert_true(keys_agree(a, a_pk, b_pk, session, other_terms, prk_b));
    assert_memory_not_equal(prk, prk_b, 32);
}

/* Every key of low order is refused, with either top bit, by our list and by the agreement. */
static void test_low_order(void **state) {
    static const char *const keys[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    const uint8_t own[32] = {9}, zero[32] = {0};
    uint8_t pk[32], prk[32], good[32];
    (void)state;
    assert_int_equal(crypto_scalarmult_base(good, own), 0);
    assert_true(keys_public_usable(good));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        for (unsigned top = 0; top < 2; top++) {
            hex(keys[i], pk, 32);
            pk[31] = (uint8_t)(pk[31] | top << 7);
            assert_false(keys_public_usable(pk));
            assert_false(keys_agree(own, good, pk, zero, zero, prk));
        }
}

/* RFC 8439 appendix A.1: the all-zero key's first and second block, and that of key 00..01. */
static void test_stream(void **state) {
    uint8_t block0[64], block1[64], got[SECAGG_BLOCK * 4], key[32] = {0};
    uint32_t acc[SECAGG_BLOCK] = {0};
    (void)state;
    hex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
        block0, 64);
    hex("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
        block1, 64);
    mask_apply(32, key, true, 0, acc, 64);
    secagg_ring_pack(32, acc, 32, got);
    assert_memory_equal(got, block0, 64);
    assert_memory_equal(got + 64, block1, 64);
    keys_expand(key, got, 128);
    assert_memory_equal(got + 64, block1, 64);
    key[31] = 1;
    hex("3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
        block0, 64);
    memset(acc, 0, sizeof acc);
    mask_apply(32, key, true, 0, acc, SECAGG_BLOCK); /* A.1 number 3 has counter 1 */
    secagg_ring_pack(32, acc, SECAGG_BLOCK, got);
    assert_memory_equal(got + 64, block0, 64);
}

/* Any range of a mask is the same as that part of the whole; adding and taking off cancel. */
static void test_mask_offsets(void **state) {
    static const unsigned rings[] = {16, 20, 24, 32};
    const uint8_t key[32] = {7, 7};
    enum { LENGTH = 3 * SECAGG_BLOCK + 77 };
    static uint32_t whole[LENGTH], part[LENGTH];
    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rings); r++) {
        memset(whole, 0, sizeof whole);
        mask_apply(rings[r], key, true, 0, whole, LENGTH);
        /* The stream as one piece, unpacked bit by bit. */
        static uint8_t stream[LENGTH * 4 + 8];
        keys_expand(key, stream, LENGTH * 4);
        for (size_t i = 0; i < LENGTH; i++) {
            uint32_t value = 0;
            for (unsigned b = 0; b < rings[r]; b++) {
                const size_t bit = i * rings[r] + b;
                value |= (uint32_t)(stream[bit / 8] >> (bit % 8) & 1u) << b;
            }
            assert_int_equal(whole[i], value);
        }
        for (size_t first = 0; first < LENGTH; first += SECAGG_BLOCK) {
            const size_t count = LENGTH - first < SECAGG_BLOCK ? LENGTH - first : SECAGG_BLOCK;
            memset(part, 0, sizeof part);
            mask_apply(rings[r], key, false, first, part, count);
            for (size_t i = 0; i < count; i++)
                assert_true(part[i] + whole[first + i] == 0);
        }
    }
}

static void test_packing(void **state) {
    static const unsigned rings[] = {16, 20, 24, 32};
    uint32_t values[101], back[101];
    uint8_t packed[101 * 4];
    struct rng rng;
    (void)state;
    rng_init(&rng, test_seed(), 0, 0, RNG_FAULT);
    for (size_t r = 0; r < ARRAY_LEN(rings); r++)
        for (size_t count = 0; count <= 101; count++) {
            const uint32_t mask = UINT32_MAX >> (32 - rings[r]);
            for (size_t i = 0; i < count; i++)
                values[i] = rng_u32(&rng); /* only the low bits are taken */
            memset(packed, 0xAA, sizeof packed);
            secagg_ring_pack(rings[r], values, count, packed);
            const size_t bytes = secagg_ring_bytes(rings[r], count);
            assert_int_equal(bytes, (count * rings[r] + 7) / 8);
            assert_true(bytes == sizeof packed || packed[bytes] == 0xAA);
            secagg_ring_unpack(rings[r], packed, count, back);
            for (size_t i = 0; i < count; i++)
                assert_int_equal(back[i], values[i] & mask);
            secagg_ring_add(rings[r], back, packed, count);
            secagg_ring_sub(rings[r], back, packed, count);
            secagg_ring_sub(rings[r], back, packed, count);
            secagg_ring_reduce(rings[r], back, count);
            for (size_t i = 0; i < count; i++)
                assert_int_equal(back[i], 0);
        }
}

/* A second implementation: carry-less product reduced bit by bit, inverses by powers, Lagrange
 * interpolation straight from its definition. */
static uint16_t slow_mul(uint16_t a, uint16_t b) {
    uint32_t product = 0;
    for (unsigned i = 0; i < 16; i++)
        if (b >> i & 1u)
            product ^= (uint32_t)a << i;
    for (unsigned i = 31; i >= 16; i--)
        if (product >> i & 1u)
            product ^= UINT32_C(0x1100B) << (i - 16);
    return (uint16_t)product;
}

static uint16_t slow_inverse(uint16_t a) {
    uint16_t result = 1;
    for (unsigned i = 0; i < 65534; i++)
        result = slow_mul(result, a);
    return result;
}

static void slow_split(const uint8_t *secret, const uint8_t *coefficients, uint32_t t, uint16_t x,
                       uint8_t *share) {
    for (unsigned lane = 0; lane < 16; lane++) {
        uint16_t sum = (uint16_t)(secret[2 * lane] | secret[2 * lane + 1] << 8), power = 1;
        for (uint32_t j = 1; j < t; j++) {
            const uint8_t *c = coefficients + (size_t)(j - 1) * 32 + 2 * lane;
            power = slow_mul(power, x);
            sum ^= slow_mul(power, (uint16_t)(c[0] | c[1] << 8));
        }
        share[2 * lane] = (uint8_t)sum;
        share[2 * lane + 1] = (uint8_t)(sum >> 8);
    }
}

static void test_shamir(void **state) {
    enum { N = 40, T = 27 };
    uint8_t secret[32], coefficients[(T - 1) * 32], shares[N * 32], slow[32], got[32];
    uint32_t points[N], chosen[T];
    const uint8_t *picked[T];
    uint16_t weights[T];
    struct shamir_field *field = shamir_field_new();
    (void)state;
    assert_non_null(field);
    keys_expand((const uint8_t[32]){42}, coefficients, sizeof coefficients);
    keys_expand((const uint8_t[32]){43}, secret, sizeof secret);
    for (uint32_t i = 0; i < N; i++)
        points[i] = i < N - 1 ? i * 401 + 1 : 65535;
    shamir_split(secret, T, coefficients, points, N, shares);
    for (uint32_t i = 0; i < N; i++) {
        slow_split(secret, coefficients, T, (uint16_t)points[i], slow);
        assert_memory_equal(slow, shares + (size_t)i * 32, 32);
    }
    for (uint32_t skip = 0; skip + T <= N; skip++) { /* any t of them */
        for (uint32_t i = 0; i < T; i++) {
            const uint32_t at = (i * 7 + skip) % N; /* 7 and 40 are coprime: distinct */
            chosen[i] = points[at];
            picked[i] = shares + (size_t)at * 32;
        }
        shamir_weights(field, chosen, T, weights);
        shamir_combine(weights, picked, T, got);
        assert_memory_equal(got, secret, 32);
        shamir_weights(field, chosen, T - 1, weights); /* one too few gives something else */
        shamir_combine(weights, picked, T - 1, got);
        assert_memory_not_equal(got, secret, 32);
    }
    for (uint32_t i = 0; i < 3; i++) { /* weights by definition */
        uint16_t top = 1, below = 1;
        shamir_weights(field, chosen, T, weights);
        for (uint32_t j = 0; j < T; j++)
            if (j != i) {
                top = slow_mul(top, (uint16_t)chosen[j]);
                below = slow_mul(below, (uint16_t)(chosen[j] ^ chosen[i]));
            }
        assert_int_equal(weights[i], slow_mul(top, slow_inverse(below)));
    }
    mem_free(field);
}

static void test_commitments(void **state) {
    const uint8_t session[32] = {1}, share[32] = {2};
    uint8_t a[SHAMIR_COMMIT], b[SHAMIR_COMMIT];
    (void)state;
    shamir_commit(session, SHARE_PAIR, 3, 4, share, a);
    shamir_commit(session, SHARE_PAIR, 3, 4, share, b);
    assert_memory_equal(a, b, sizeof a);
    shamir_commit(session, SHARE_SELF, 3, 4, share, b);
    assert_memory_not_equal(a, b, sizeof a);
    shamir_commit(session, SHARE_PAIR, 4, 3, share, b);
    assert_memory_not_equal(a, b, sizeof a);
}

/* Sealed shares open only at their place: dealer, holder, threshold, degree, commitments. */
static void test_sealing(void **state) {
    const uint8_t key[32] = {1}, session[32] = {2}, commits[32] = {3}, shares[64] = {4};
    const uint8_t other_commits[32] = {5}, other_session[32] = {6};
    uint8_t sealed[SEALED_SHARES], got[64];
    const struct share_context at = {session, 1, 2, 7, 9};
    const struct share_context wrong[] = {{session, 2, 1, 7, 9},
                                          {session, 1, 2, 8, 9},
                                          {session, 1, 2, 7, 10},
                                          {other_session, 1, 2, 7, 9}};
    (void)state;
    keys_seal_shares(key, &at, commits, shares, sealed);
    assert_true(keys_open_shares(key, &at, commits, sealed, got));
    assert_memory_equal(got, shares, 64);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(keys_open_shares(key, &wrong[i], commits, sealed, got));
    assert_false(keys_open_shares(key, &at, other_commits, sealed, got));
    sealed[70] ^= 1;
    assert_false(keys_open_shares(key, &at, commits, sealed, got));
}

static int setup(void **state) {
    (void)state;
    return sodium_init() < 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreement),   cmocka_unit_test(test_low_order),
        cmocka_unit_test(test_stream),      cmocka_unit_test(test_mask_offsets),
        cmocka_unit_test(test_packing),     cmocka_unit_test(test_shamir),
        cmocka_unit_test(test_commitments), cmocka_unit_test(test_sealing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

/* Sealed reports: a content key for the round key, every part by XChaCha20-Poly1305 under it. */
#include "sotto/protocol/seal.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#define SEAL_MAGIC     0x50455253u /* "SREP" */
#define SEAL_VERSION   1u
#define SEAL_TAG       crypto_aead_xchacha20poly1305_ietf_ABYTES
#define SEAL_NONCE     crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define SEAL_PARTS_MAX (1u << 20)
#define SEAL_PART_MAX                                                                              \
    (1u << 26) /* plain bytes; a head of 4096 scales and a block of fp32 are far below */
#define SEALED_KEY (crypto_box_SEALBYTES + SEAL_KEY)
#define AD_BYTES   (WIRE_HASH + 8 + 4 + 4)

_Static_assert(SEAL_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "content key");
_Static_assert(SEAL_PUBLIC == crypto_box_PUBLICKEYBYTES, "round key");
_Static_assert(SEAL_SECRET == crypto_box_SECRETKEYBYTES, "round key");

void seal_keypair(uint8_t public_key[SEAL_PUBLIC], uint8_t secret_key[SEAL_SECRET]) {
    crypto_box_keypair(public_key, secret_key);
}

static void put_u32(uint8_t *p, uint32_t v) {
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* (terms hash, device serial, part, part count), and the part as nonce. */
static void bind(uint8_t ad[AD_BYTES], uint8_t nonce[SEAL_NONCE], const struct wire_hash *terms,
                 uint64_t serial, uint32_t part, uint32_t part_count) {
    memcpy(ad, terms->b, WIRE_HASH);
    put_u32(ad + WIRE_HASH, (uint32_t)serial);
    put_u32(ad + WIRE_HASH + 4, (uint32_t)(serial >> 32));
    put_u32(ad + WIRE_HASH + 8, part);
    put_u32(ad + WIRE_HASH + 12, part_count);
    memset(nonce, 0, SEAL_NONCE);
    put_u32(nonce, part);
}

enum sotto_status seal_report(const struct codec_update *update,
                              const uint8_t round_key[SEAL_PUBLIC], const struct wire_hash *terms,
                              uint64_t serial, const uint8_t content_key[SEAL_KEY], struct buf *out,
                              struct sotto_error *err) {
    const uint32_t parts = update->part_count;
    uint8_t sealed[SEALED_KEY], ad[AD_BYTES], nonce[SEAL_NONCE];
    if (parts < 1 || parts > SEAL_PARTS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "an update of %" PRIu32 " parts cannot be sealed",
                          parts);
    if (crypto_box_seal(sealed, content_key, SEAL_KEY, round_key) != 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "the round key is no valid public key");
    buf_reset(out);
    buf_put_u32(out, SEAL_MAGIC);
    buf_put_u8(out, SEAL_VERSION);
    buf_put_u32(out, parts);
    for (uint32_t i = 0; i < parts; i++) {
        const struct view part = codec_update_part(update, i);
        if (part.n > SEAL_PART_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT, "part %" PRIu32 " has %zu bytes, limit is %u", i,
                              part.n, SEAL_PART_MAX);
        buf_put_u32(out, (uint32_t)part.n);
    }
    buf_put(out, sealed, sizeof sealed);
    for (uint32_t i = 0; i < parts && out->status == SOTTO_OK; i++) {
        const struct view part = codec_update_part(update, i);
        uint8_t *to = buf_grow(out, part.n + SEAL_TAG);
        if (to == NULL)
            break;
        bind(ad, nonce, terms, serial, i, parts);
        crypto_aead_xchacha20poly1305_ietf_encrypt(to, NULL, part.p, part.n, ad, sizeof ad, NULL,
                                                   nonce, content_key);
    }
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "a sealed report does not fit %zu bytes", out->max);
    return SOTTO_OK;
}

struct seal_opener {
    struct view report;
    struct wire_hash terms;
    uint64_t serial;
    uint32_t parts;
    uint8_t *key;   /* SEAL_KEY bytes of guarded memory */
    uint8_t *plain; /* the last opened part */
    size_t plain_bytes;
    size_t *ends; /* of the sealed parts in the report */
    size_t begin; /* of the first */
};

void seal_opener_free(struct seal_opener *o) {
    if (o == NULL)
        return;
    sodium_free(o->key); /* wipes */
    if (o->plain != NULL)
        sodium_memzero(o->plain, o->plain_bytes);
    mem_free(o->plain);
    mem_free(o->ends);
    mem_free(o);
}

/* Magic, version and part count. */
static enum sotto_status read_frame(struct reader *r, uint32_t parts_expected,
                                    struct sotto_error *err) {
    if (reader_u32(r, "magic") != SEAL_MAGIC)
        reader_fail(r, SOTTO_CORRUPT, "magic");
    if (reader_u8(r, "version") != SEAL_VERSION)
        reader_fail(r, SOTTO_VERSION, "version");
    if (reader_u32(r, "part count") != parts_expected)
        reader_fail(r, SOTTO_CORRUPT, "part count");
    return reader_finish(r, false, "sealed report", err);
}

/* The table of lengths must give exactly the bytes that are there, before anything is allocated for
 * a part. */
static enum sotto_status read_lengths(struct seal_opener *o, struct reader *r,
                                      struct sotto_error *err) {
    size_t end = r->off + (size_t)o->parts * 4 + SEALED_KEY;
    size_t most = 1;
    o->begin = end;
    for (uint32_t i = 0; i < o->parts; i++) {
        const uint32_t n = reader_u32(r, "part length");
        if (n > SEAL_PART_MAX)
            reader_fail(r, SOTTO_LIMIT, "part length");
        if (end > r->n || n + SEAL_TAG > r->n - end) {
            reader_fail(r, SOTTO_CORRUPT, "part lengths");
            break;
        }
        end += n + SEAL_TAG;
        o->ends[i] = end;
        most = n > most ? n : most;
    }
    if (end != r->n)
        reader_fail(r, SOTTO_CORRUPT, "part lengths");
    const enum sotto_status status = reader_finish(r, false, "sealed report", err);
    o->plain_bytes = most;
    return status;
}

enum sotto_status seal_open(struct view report, const uint8_t round_public[SEAL_PUBLIC],
                            const uint8_t round_secret[SEAL_SECRET], const struct wire_hash *terms,
                            uint64_t serial, uint32_t parts_expected, struct seal_opener **out,
                            struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct seal_opener *o = NULL;
    struct reader r;
    *out = NULL;
    reader_init(&r, report);
    if (parts_expected < 1 || parts_expected > SEAL_PARTS_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a report of %" PRIu32 " parts cannot be opened",
                          parts_expected);
    TRY(read_frame(&r, parts_expected, err));
    o = mem_zalloc(sizeof *o);
    if (o == NULL || (o->ends = mem_array(parts_expected, sizeof *o->ends)) == NULL ||
        (o->key = sodium_malloc(SEAL_KEY)) == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to open a sealed report");
    o->report = report;
    o->terms = *terms;
    o->serial = serial;
    o->parts = parts_expected;
    TRY(read_lengths(o, &r, err));
    o->plain = mem_alloc(o->plain_bytes);
    if (o->plain == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to open a sealed report");
    const struct view sealed = reader_bytes(&r, SEALED_KEY, "content key");
    if (crypto_box_seal_open(o->key, sealed.p, sealed.n, round_public, round_secret) != 0)
        TRY_FAIL(err, SOTTO_CORRUPT,
                 "sealed report: the content key does not open; the report is "
                 "damaged or sealed to another round");
    *out = o;
    o = NULL;
out:
    seal_opener_free(o);
    return status;
}

uint32_t seal_part_count(const struct seal_opener *o) {
    return o->parts;
}

enum sotto_status seal_open_part(struct seal_opener *o, uint32_t part, struct view *out,
                                 struct sotto_error *err) {
    uint8_t ad[AD_BYTES], nonce[SEAL_NONCE];
    *out = view_of(NULL, 0);
    if (part >= o->parts)
        return SOTTO_FAIL(err, SOTTO_INVALID, "a report of %" PRIu32 " parts has no part %" PRIu32,
                          o->parts, part);
    const size_t begin = part == 0 ? o->begin : o->ends[part - 1];
    const size_t n = o->ends[part] - begin;
    bind(ad, nonce, &o->terms, o->serial, part, o->parts);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(o->plain, NULL, NULL, o->report.p + begin, n, ad,
                                                   sizeof ad, nonce, o->key) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "sealed report: part %" PRIu32 " is not authentic",
                          part);
    *out = view_of(o->plain, n - SEAL_TAG);
    return SOTTO_OK;
}

/* Fuzzes the opener of sealed reports. An even first byte: the rest is a report. An odd one: the
 * rest is edits (offset, xor) of a good report, and a report that then differs must not open whole.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/protocol/seal.h"

enum { PARTS = 3 };

static uint8_t public_key[SEAL_PUBLIC], secret_key[SEAL_SECRET];
static const struct wire_hash terms = {{1, 2, 3}};
static struct buf good;

static void must(bool ok) {
    if (!ok)
        abort();
}

static void setup(void) {
    static const uint8_t seed[crypto_box_SEEDBYTES] = {7};
    static const uint8_t content_key[SEAL_KEY] = {9};
    static uint32_t ends[PARTS] = {5, 5, 40};
    struct codec_update u;
    must(sodium_init() >= 0);
    crypto_box_seed_keypair(public_key, secret_key, seed);
    codec_update_init(&u);
    u.bytes.max = 40;
    memset(buf_grow(&u.bytes, 40), 0x5a, 40);
    u.part_count = PARTS;
    u.ends = ends;
    buf_init(&good, 1024);
    must(seal_report(&u, public_key, &terms, 11, content_key, &good, NULL) == SOTTO_OK);
    u.ends = NULL;
    codec_update_deinit(&u);
}

/* Whether every part opens. */
static bool opens(struct view report) {
    struct seal_opener *o;
    struct view part;
    bool all = true;
    if (seal_open(report, public_key, secret_key, &terms, 11, PARTS, &o, NULL) != SOTTO_OK)
        return false;
    for (uint32_t i = 0; i < seal_part_count(o); i++)
        all = seal_open_part(o, i, &part, NULL) == SOTTO_OK && all;
    seal_opener_free(o);
    return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    uint8_t edited[1024];
    if (!ready)
        setup();
    ready = true;
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0) {
        (void)opens(view_of(data + 1, size - 1));
        return 0;
    }
    memcpy(edited, good.data, good.len);
    for (size_t i = 1; i + 2 < size; i += 3)
        edited[(data[i] | (size_t)data[i + 1] << 8) % good.len] ^= data[i + 2];
    must(opens(view_of(edited, good.len)) == (memcmp(edited, good.data, good.len) == 0));
    return 0;
}

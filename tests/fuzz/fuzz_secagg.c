/* Fuzzes what both sides of secure aggregation read. First byte: whose message; second: even, the
 * rest is the message; odd, the rest is edits (offset, xor) of a good one. A group list and a set
 * of signatures that were edited must not be taken. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "secagg_world.h"

enum { N = 10, KINDS = 9 };

static struct world w;
static struct buf good[KINDS + 1]; /* of member 0, by kind; MASKED: the head alone */
static struct buf records[N], shares[N], heads[N], signatures[N];

static void must(bool ok) {
    if (!ok)
        abort();
}

static void put(struct buf *b, const uint8_t *p, size_t n) {
    buf_init(b, 1 << 16);
    buf_put(b, p, n);
    must(b->status == SOTTO_OK);
}

/* One whole session, every message of member 0 kept, and what the server needs of the others. */
static void setup(void) {
    struct secagg_config config = world_config(20, 30, N);
    struct secagg_server *s;
    world_init(&w, N, &config, 7, true);
    s = w.server;
    for (uint32_t i = 0; i < N; i++) {
        buf_init(&records[i], 1 << 16);
        must(secagg_client_advertise(w.members[i].client, &records[i], NULL) == SOTTO_OK);
        must(secagg_server_advertise(s, w.members[i].serial, buf_view(&records[i]), NULL) == 0);
    }
    must(secagg_server_close(s, SECAGG_ADVERTISE, NULL) == SOTTO_OK);
    world_say(&w, SECAGG_LIST, 0, &good[SECAGG_LIST]);
    for (uint32_t i = 0; i < N; i++) {
        struct buf in;
        world_say(&w, SECAGG_LIST, i, &in);
        buf_init(&shares[i], 1 << 16);
        must(secagg_client_list(w.members[i].client, buf_view(&in), &shares[i], NULL) == SOTTO_OK);
        must(secagg_server_shares(s, w.members[i].serial, buf_view(&shares[i]), NULL) == SOTTO_OK);
        buf_deinit(&in);
    }
    must(secagg_server_close(s, SECAGG_SHARES, NULL) == SOTTO_OK);
    world_say(&w, SECAGG_DELIVERY, 0, &good[SECAGG_DELIVERY]);
    must(world_masked(&w, NULL) == SOTTO_OK);
    world_say(&w, SECAGG_SURVIVORS, 0, &good[SECAGG_SURVIVORS]);
    for (uint32_t i = 0; i < N; i++) {
        put(&heads[i], w.members[i].masked.data, SECAGG_MASKED_HEAD);
        buf_init(&signatures[i], 1 << 16);
        must(secagg_client_survivors(w.members[i].client, buf_view(&good[SECAGG_SURVIVORS]),
                                     &signatures[i], NULL) == SOTTO_OK);
    }
    must(world_signatures(&w, NULL) == SOTTO_OK);
    world_say(&w, SECAGG_SIGNATURES, 0, &good[SECAGG_SIGNATURES]);
    buf_init(&good[SECAGG_UNMASK], 1 << 16);
    must(secagg_client_signatures(w.members[0].client, buf_view(&good[SECAGG_SIGNATURES]),
                                  &good[SECAGG_UNMASK], NULL) == SOTTO_OK);
    put(&good[SECAGG_ADVERTISE], records[0].data, records[0].len);
    put(&good[SECAGG_SHARES], shares[0].data, shares[0].len);
    put(&good[SECAGG_MASKED], heads[0].data, heads[0].len);
    put(&good[SECAGG_SIGNATURE], signatures[0].data, signatures[0].len);
}

/* Member 0 as it waits for this message. */
static struct secagg_client *client_at(enum secagg_kind kind, struct buf *out) {
    struct world_member *m = &w.members[0];
    const struct secagg_identity id = world_identity(m);
    struct secagg_client *c;
    must(secagg_client_new(&m->config, &id, m->serial, view_of(m->certificate, WORLD_CERT),
                           m->random, false, &c, NULL) == SOTTO_OK);
    must(secagg_client_advertise(c, out, NULL) == SOTTO_OK);
    if (kind > SECAGG_LIST)
        must(secagg_client_list(c, buf_view(&good[SECAGG_LIST]), out, NULL) == SOTTO_OK);
    if (kind > SECAGG_DELIVERY) {
        must(secagg_client_delivery(c, buf_view(&good[SECAGG_DELIVERY]), NULL) == SOTTO_OK);
        must(secagg_client_mask(c, 0, m->values, 30, out, NULL) == SOTTO_OK);
    }
    if (kind > SECAGG_SURVIVORS)
        must(secagg_client_survivors(c, buf_view(&good[SECAGG_SURVIVORS]), out, NULL) == SOTTO_OK);
    return c;
}

static enum sotto_status client_try(enum secagg_kind kind, struct view message) {
    struct buf out;
    enum sotto_status status = SOTTO_OK;
    buf_init(&out, 1 << 20);
    struct secagg_client *c = client_at(kind, &out);
    buf_reset(&out);
    if (kind == SECAGG_LIST)
        status = secagg_client_list(c, message, &out, NULL);
    else if (kind == SECAGG_DELIVERY)
        status = secagg_client_delivery(c, message, NULL);
    else if (kind == SECAGG_SURVIVORS)
        status = secagg_client_survivors(c, message, &out, NULL);
    else
        status = secagg_client_signatures(c, message, &out, NULL);
    must(status == SOTTO_OK || out.len == 0);
    secagg_client_free(c);
    buf_deinit(&out);
    return status;
}

/* The server as it collects this kind; member 0 has not spoken yet. */
static enum sotto_status server_try(enum secagg_kind kind, struct view message) {
    struct secagg_server *s;
    const uint64_t first = w.members[0].serial;
    enum sotto_status status = SOTTO_OK;
    must(secagg_server_new(&w.config, &w.identity, &s, NULL) == SOTTO_OK);
    for (uint32_t i = kind == SECAGG_ADVERTISE; i < N; i++)
        must(secagg_server_advertise(s, w.members[i].serial, buf_view(&records[i]), NULL) == 0);
    if (kind > SECAGG_ADVERTISE)
        must(secagg_server_close(s, SECAGG_ADVERTISE, NULL) == SOTTO_OK);
    for (uint32_t i = kind == SECAGG_SHARES; kind >= SECAGG_SHARES && i < N; i++)
        must(secagg_server_shares(s, w.members[i].serial, buf_view(&shares[i]), NULL) == SOTTO_OK);
    if (kind > SECAGG_SHARES)
        must(secagg_server_close(s, SECAGG_SHARES, NULL) == SOTTO_OK);
    for (uint32_t i = kind == SECAGG_MASKED; kind >= SECAGG_MASKED && i < N; i++)
        must(secagg_server_masked(s, w.members[i].serial, buf_view(&heads[i]),
                                  w.members[i].masked.len, NULL) == SOTTO_OK);
    if (kind > SECAGG_MASKED)
        must(secagg_server_close(s, SECAGG_MASKED, NULL) == SOTTO_OK);
    for (uint32_t i = kind == SECAGG_SIGNATURE; kind >= SECAGG_SIGNATURE && i < N; i++)
        must(secagg_server_signature(s, w.members[i].serial, buf_view(&signatures[i]), NULL) == 0);
    if (kind > SECAGG_SIGNATURE)
        must(secagg_server_close(s, SECAGG_SIGNATURE, NULL) == SOTTO_OK);
    if (kind == SECAGG_ADVERTISE)
        status = secagg_server_advertise(s, first, message, NULL);
    else if (kind == SECAGG_SHARES)
        status = secagg_server_shares(s, first, message, NULL);
    else if (kind == SECAGG_MASKED)
        status = secagg_server_masked(s, first, message, w.members[0].masked.len, NULL);
    else if (kind == SECAGG_SIGNATURE)
        status = secagg_server_signature(s, first, message, NULL);
    else
        status = secagg_server_unmask(s, first, message, NULL);
    secagg_server_free(s);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    static uint8_t edited[1 << 16];
    if (!ready)
        setup();
    ready = true;
    if (size < 2)
        return 0;
    const enum secagg_kind kind = (enum secagg_kind)(1 + data[0] % KINDS);
    const struct buf *g = &good[kind];
    struct view message = view_of(data + 2, size - 2);
    if (data[1] % 2 != 0) {
        memcpy(edited, g->data, g->len);
        for (size_t i = 2; i + 2 < size; i += 3)
            edited[(data[i] | (size_t)data[i + 1] << 8) % g->len] ^= data[i + 2];
        message = view_of(edited, g->len);
    }
    const bool same = message.n == g->len && memcmp(message.p, g->data, g->len) == 0;
    const bool server_says = kind == SECAGG_LIST || kind == SECAGG_DELIVERY ||
                             kind == SECAGG_SURVIVORS || kind == SECAGG_SIGNATURES;
    const enum sotto_status status =
        server_says ? client_try(kind, message) : server_try(kind, message);
    if (same)
        must(status == SOTTO_OK);
    else if (kind == SECAGG_LIST || kind == SECAGG_SIGNATURES || kind == SECAGG_ADVERTISE ||
             kind == SECAGG_SIGNATURE || kind == SECAGG_UNMASK || kind == SECAGG_MASKED)
        must(status != SOTTO_OK);
    return 0;
}

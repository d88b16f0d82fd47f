/* Documents, requests, tickets, tokens and certificates from any bytes. To get past the signatures,
 * one mode signs the body first. */
#include "sotto/protocol/identity.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

/* The same key in every run, so that a finding can be replayed. */
static const struct id_keys *authority(void) {
    static struct id_keys keys;
    static bool made;
    if (!made) {
        struct id_token t = {.secret = {1, 2, 3}};
        struct id_curve curve;
        require(id_setup(NULL) == SOTTO_OK);
        id_token_keys(&t, &keys, &curve);
        made = true;
    }
    return &keys;
}

/* A document that is well-formed up to its signature, if the fuzzer finds one: body with our key
 * put in, signed. */
static void signed_document(struct view v) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    struct buf b;
    uint8_t sig[ID_SIG];
    buf_init(&b, 1u << 17);
    buf_put(&b, v.p, v.n);
    if (b.status == SOTTO_OK && b.len >= 48) {
        memcpy(b.data + 16, authority()->public_key, ID_KEY);
        id_sign(authority(), "sotto document v1", buf_view(&b), sig);
        buf_put(&b, sig, sizeof sig);
        if (id_document_read(buf_view(&b), authority()->public_key, &d, &err) == SOTTO_OK) {
            struct buf again;
            buf_init(&again, 1u << 17);
            require(d.endpoint_count >= 1 && d.endpoint_count <= ID_ENDPOINTS_MAX);
            /* One form for one content: signing it anew gives the same bytes. */
            require(id_document_sign(&d, authority(), &again, &err) == SOTTO_OK);
            require(again.len == b.len && memcmp(again.data, b.data, b.len) == 0);
            buf_deinit(&again);
            id_document_deinit(&d);
        }
    }
    buf_deinit(&b);
}

static void token(struct view v) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_token t;
    char *text = mem_alloc(v.n + 8);
    require(text != NULL);
    memcpy(text, "sotto1:", 7);
    memcpy(text + 7, v.p, v.n);
    text[7 + v.n] = '\0';
    if (id_token_decode(text, &t, &err) == SOTTO_OK)
        id_token_deinit(&t);
    mem_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    struct id_ticket ticket;
    struct id_cert cert;
    if (size < 2)
        return 0;
    (void)authority();
    const struct view v = view_of(data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        if (id_document_read(v, NULL, &d, &err) == SOTTO_OK)
            id_document_deinit(&d);
        break;
    case 1:
        if (id_document_request_read(v, &d, &err) == SOTTO_OK)
            id_document_deinit(&d);
        break;
    case 2:
        (void)id_ticket_decode(v, NULL, &ticket, &err);
        break;
    case 3:
        (void)id_cert_decode(v, authority()->public_key, &cert, &err);
        break;
    case 4:
        token(v);
        break;
    default:
        signed_document(v);
        break;
    }
    return 0;
}

/* Holds live connections to a coordinator, for bench_footprint: footprint_hold TOKEN-FILE...
 *
 * Each connects with its token's CURVE key and asks to enrol with an empty certificate, which is
 * refused: so each connection has carried messages both ways, and the fleet stays as it is. Prints
 * how many it holds, and holds them until standard input ends. */
#include "sotto/protocol/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000

struct held {
    struct transport_client *link;
    bool asked, answered;
};

static enum sotto_status open_link(const char *path, struct held *h, struct sotto_error *err) {
    enum sotto_status status;
    struct id_token token = {0};
    struct id_document document = {0};
    struct id_keys one_time;
    struct id_curve curve;
    struct buf text;
    buf_init(&text, ID_TOKEN_MAX + 64);
    TRY(io_read_file(path, ID_TOKEN_MAX + 8, &text, err));
    buf_put_u8(&text, 0);
    TRY(id_token_decode((const char *)text.data, &token, err));
    TRY(id_document_read(view_of(token.document, token.document_bytes), token.ticket.fleet,
                         &document, err));
    id_token_keys(&token, &one_time, &curve);
    const struct transport_client_config config = {document.endpoints[0].address,
                                                   document.endpoints[0].curve_key, &curve};
    TRY(transport_client_open(&config, &h->link, err));
out:
    id_document_deinit(&document);
    id_token_deinit(&token);
    buf_deinit(&text);
    return status;
}

/* Moves one connection on; true once its question is answered. */
static bool drive(struct held *h, struct view question) {
    struct view control, payload;
    if (transport_client_state(h->link) == TRANSPORT_CONNECTED && !h->asked)
        h->asked = transport_client_send(h->link, question, view_of(NULL, 0), NULL) == SOTTO_OK;
    if (!h->answered && transport_client_recv(h->link, 1, &control, &payload, NULL) == SOTTO_OK)
        h->answered = true;
    return h->answered;
}

static enum sotto_status hold(int count, char **paths, struct held *held, struct sotto_error *err) {
    enum sotto_status status;
    struct buf question;
    sotto_Envelope m = sotto_Envelope_init_zero;
    int answered = 0;
    buf_init(&question, WIRE_CONTROL_MAX);
    TRY(id_setup(err));
    for (int i = 0; i < count; i++)
        TRY(open_link(paths[i], &held[i], err));
    m.which_body = sotto_Envelope_enroll_tag;
    m.body.enroll.certificate.size = ID_CERT_BYTES;
    TRY(wire_encode(&m, &question, err));
    const uint64_t end = clock_mono_ms() + PATIENCE_MS;
    while (answered < count && clock_mono_ms() < end) {
        answered = 0;
        for (int i = 0; i < count; i++)
            answered += drive(&held[i], buf_view(&question));
    }
    if (answered < count)
        TRY_FAIL(err, SOTTO_TIMEOUT, "only %d of %d connections were answered", answered, count);
out:
    buf_deinit(&question);
    return status;
}

int main(int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const int count = argc - 1;
    struct held *held = mem_array((size_t)argc, sizeof *held);
    if (held == NULL)
        return EXIT_FAILURE;
    const enum sotto_status status = hold(count, argv + 1, held, &err);
    if (status == SOTTO_OK) {
        printf("%d\n", count);
        (void)fflush(stdout);
        while (getchar() != EOF)
            ;
    } else {
        (void)fprintf(stderr, "footprint_hold: %s\n", err.message);
    }
    for (int i = 0; i < count; i++)
        transport_client_close(held[i].link);
    mem_free(held);
    return status == SOTTO_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Enrolment: a token makes an identity, the coordinator answers once; retries send the same
 * (protocol.md section 1). */
#include "lib/client_int.h"

#include <string.h>

enum sotto_status client_identity_load(struct sotto_client *c, struct sotto_error *err) {
    struct buf bytes;
    struct id_document document;
    enum sotto_status status;
    buf_init(&bytes, (size_t)16 << 20);
    status = devstore_identity_get(c->store, &c->identity, err);
    c->have_identity = status == SOTTO_OK;
    if (status == SOTTO_NOT_FOUND) {
        status = SOTTO_OK;
        goto out;
    }
    if (status != SOTTO_OK)
        goto out;
    TRY(devstore_document_get(c->store, &bytes, err));
    TRY(id_document_read(buf_view(&bytes), c->identity.authority, &document, err));
    if (c->have_document)
        id_document_deinit(&c->document);
    c->document = document;
    c->have_document = true;
out:
    buf_deinit(&bytes);
    return status;
}

enum sotto_status client_enroll_take(struct sotto_client *c, const char *token,
                                     struct sotto_error *err) {
    struct id_token t;
    struct id_document document;
    struct devstore_identity fresh;
    struct buf text;
    enum sotto_status status;
    memset(&t, 0, sizeof t);
    memset(&document, 0, sizeof document);
    memset(&fresh, 0, sizeof fresh);
    buf_init(&text, ID_TOKEN_MAX + 1);
    TRY(id_token_decode(token, &t, err));
    if (c->have_identity && c->identity.enrolled) {
        if (memcmp(c->identity.authority, t.ticket.fleet, ID_KEY) != 0)
            TRY_FAIL(err, SOTTO_DENIED,
                     "this device belongs to another fleet already; use another state folder");
        TRY_FAIL(err, SOTTO_EXISTS, "this device is enrolled already, with serial %llu",
                 (unsigned long long)c->identity.serial);
    }
    TRY(id_document_read(view_of(t.document, t.document_bytes), t.ticket.fleet, &document, err));
    if (devstore_token_get(c->store, &text, NULL) == SOTTO_OK && text.len == strlen(token) &&
        memcmp(text.data, token, text.len) == 0)
        goto out; /* the same again: the same keys go on */
    fresh.serial = t.ticket.serial;
    memcpy(fresh.authority, t.ticket.fleet, ID_KEY);
    id_keys_generate(&fresh.keys);
    id_curve_generate(&fresh.curve);
    struct id_cert cert;
    id_cert_make(&t, fresh.keys.public_key, fresh.curve.public_key, &cert);
    id_cert_encode(&cert, fresh.cert);
    fresh.certified = true;
    TRY(devstore_identity_put(c->store, &fresh, token, document.version,
                              view_of(t.document, t.document_bytes), err));
    client_enroll_close(c);
    c->enroll.failed = SOTTO_OK;
    c->enroll.failures = c->enroll.refused = 0;
    c->enroll.due_ms = 0;
    TRY(client_identity_load(c, err));
out:
    if (text.len > 0)
        id_wipe(text.data, text.len);
    buf_deinit(&text);
    devstore_identity_wipe(&fresh);
    id_document_deinit(&document);
    id_token_deinit(&t);
    return status;
}

void client_enroll_close(struct sotto_client *c) {
    transport_client_close(c->enroll.link);
    c->enroll.link = NULL;
    c->enroll.sent = false;
    if (c->enroll.have_token)
        id_token_deinit(&c->enroll.token);
    c->enroll.have_token = false;
}

static void try_later(struct sotto_client *c, const char *why) {
    struct client_enroll *e = &c->enroll;
    client_enroll_close(c);
    e->failures++;
    e->endpoint++;
    const uint32_t n = e->failures > 10 ? 10 : e->failures;
    uint16_t jitter;
    id_random(&jitter, sizeof jitter);
    const uint64_t step = UINT64_C(500) << n;
    e->due_ms = clock_mono_ms() + step / 2 + jitter * step / 131072;
    client_log(c, "enrolment: %s; tried again in %llu ms", why,
               (unsigned long long)(e->due_ms - clock_mono_ms()));
    wire_set_text(c->note, sizeof c->note, why);
}

static enum sotto_status connect_once(struct sotto_client *c, struct sotto_error *err) {
    struct client_enroll *e = &c->enroll;
    struct id_keys one_time;
    struct id_curve curve;
    struct buf text;
    enum sotto_status status;
    memset(&curve, 0, sizeof curve);
    buf_init(&text, ID_TOKEN_MAX + 1);
    TRY(devstore_token_get(c->store, &text, err));
    buf_put_u8(&text, 0);
    if (text.status != SOTTO_OK)
        TRY_FAIL(err, text.status, "the stored token is too long");
    TRY(id_token_decode((const char *)text.data, &e->token, err));
    e->have_token = true;
    id_token_keys(&e->token, &one_time, &curve);
    id_wipe(&one_time, sizeof one_time);
    e->endpoint %= c->document.endpoint_count;
    const struct id_endpoint *to = &c->document.endpoints[e->endpoint];
    const struct transport_client_config config = {to->address, to->curve_key, &curve};
    TRY(transport_client_open(&config, &e->link, err));
    e->due_ms = clock_mono_ms() + CLIENT_ENROLL_WAIT_MS;
    client_log(c, "enrolment: asking %s", to->address);
out:
    id_wipe(&curve, sizeof curve);
    if (text.len > 0)
        id_wipe(text.data, text.len);
    buf_deinit(&text);
    return status;
}

static enum sotto_status send_enroll(struct sotto_client *c, struct sotto_error *err) {
    struct id_cert cert;
    sotto_Envelope m = sotto_Envelope_init_zero;
    id_cert_make(&c->enroll.token, c->identity.keys.public_key, c->identity.curve.public_key,
                 &cert);
    m.which_body = sotto_Envelope_enroll_tag;
    m.body.enroll.certificate.size = ID_CERT_BYTES;
    id_cert_encode(&cert, m.body.enroll.certificate.bytes);
    WIRE_SET_TEXT(m.body.enroll.version, SOTTO_VERSION_TEXT);
    enum sotto_status status = wire_encode(&m, &c->frame, err);
    if (status == SOTTO_OK)
        status = transport_client_send(c->enroll.link, buf_view(&c->frame), view_of(NULL, 0), err);
    c->enroll.sent = status == SOTTO_OK;
    return status;
}

static enum sotto_status take_reply(struct sotto_client *c, const sotto_EnrollReply *reply,
                                    struct view payload, struct sotto_error *err) {
    struct id_document newer;
    enum sotto_status status;
    const enum sotto_status said = (enum sotto_status)reply->status;
    if (said != SOTTO_OK && sotto_status_retryable(said)) {
        try_later(c, reply->reason);
        return SOTTO_OK;
    }
    if (said != SOTTO_OK) {
        client_enroll_close(c);
        c->enroll.failed = said;
        return SOTTO_FAIL(err, SOTTO_DENIED, "the coordinator refuses the token: %.140s",
                          reply->reason);
    }
    memset(&newer, 0, sizeof newer);
    TRY(devstore_begin(c->store, err));
    if (payload.p != NULL &&
        id_document_read(payload, c->identity.authority, &newer, NULL) == SOTTO_OK &&
        newer.version > c->document.version)
        status = devstore_document_put(c->store, newer.version, payload, err);
    id_document_deinit(&newer);
    if (status == SOTTO_OK)
        status = devstore_enrolled(c->store, err);
    if (status == SOTTO_OK)
        status = devstore_history_add(c->store, clock_wall_ms(), "", 0, "enrolled", err);
    if (status == SOTTO_OK)
        status = devstore_commit(c->store, err);
    if (status != SOTTO_OK) {
        devstore_rollback(c->store);
        goto out;
    }
    (void)devstore_scrub(c->store, NULL); /* else when the store is closed */
    client_enroll_close(c);
    client_log(c, "enrolled with serial %llu", (unsigned long long)c->identity.serial);
    TRY(client_identity_load(c, err));
out:
    return status;
}

enum sotto_status client_enroll_poll(struct sotto_client *c, int timeout_ms,
                                     struct sotto_error *err) {
    struct client_enroll *e = &c->enroll;
    struct view control, payload;
    sotto_Envelope m;
    const uint64_t now = clock_mono_ms();
    if (e->failed != SOTTO_OK)
        return SOTTO_FAIL(err, e->failed, "this token is refused; ask for a new one");
    if (e->link == NULL) {
        if (now < e->due_ms) {
            client_sleep(num_min_u64((uint64_t)(timeout_ms > 0 ? timeout_ms : 0), e->due_ms - now));
            return SOTTO_OK;
        }
        const enum sotto_status status = connect_once(c, err);
        if (status != SOTTO_OK)
            client_enroll_close(c);
        return status;
    }
    enum sotto_status status = transport_client_recv(e->link, timeout_ms, &control, &payload, NULL);
    const enum transport_state state = transport_client_state(e->link);
    if (status == SOTTO_OK) {
        if (wire_decode(control, &m, NULL) == SOTTO_OK) {
            if (m.which_body == sotto_Envelope_enroll_reply_tag)
                return take_reply(c, &m.body.enroll_reply, payload, err);
            if (m.which_body == sotto_Envelope_error_tag)
                try_later(c, m.body.error.text);
        }
    } else if (state == TRANSPORT_REFUSED) {
        if (++e->refused >= 3) {
            client_enroll_close(c);
            e->failed = SOTTO_DENIED;
            return SOTTO_FAIL(err, SOTTO_DENIED,
                              "the coordinator does not know this token, or it has expired");
        }
        try_later(c, "the coordinator does not know this token");
    } else if (state == TRANSPORT_LOST) {
        try_later(c, "connection lost");
    } else if (clock_mono_ms() >= e->due_ms) {
        try_later(c, "no answer");
    } else if (state == TRANSPORT_CONNECTED && !e->sent) {
        (void)send_enroll(c, NULL); /* else the time-out leads on */
    }
    return SOTTO_OK;
}

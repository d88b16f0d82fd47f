/* The host's part of a session of secure aggregation: the member's cryptography in slices, the
 * masked update stored before it leaves, and the device's own record. */
#include "lib/client_int.h"

#include <string.h>

#include "sotto/protocol/tap.h"

static void end_masking(struct client_masks *k) {
    devstore_masking_free(k->masking);
    k->masking = NULL;
    if (k->codes != NULL)
        id_wipe(k->codes, SECURE_MASK_BLOCK * sizeof *k->codes);
    mem_free(k->codes);
    k->codes = NULL;
    buf_deinit(&k->bytes);
}

void client_masks_end(struct sotto_client *c) {
    struct client_masks *k = &c->masks;
    end_masking(k);
    secure_member_free(k->member);
    memset(k, 0, sizeof *k);
}

bool client_masks_due(const struct sotto_client *c) {
    return c->masks.work != CLIENT_MASKS_NONE;
}

enum sotto_status client_masks_act(struct sotto_client *c, const struct session_action *a,
                                   struct sotto_error *err) {
    struct client_masks *k = &c->masks;
    struct sotto_error why = SOTTO_ERROR_INIT;
    (void)err;
    if (a->kind == SESSION_DO_SECURE_BEGIN) {
        client_masks_end(c);
        k->work = CLIENT_MASKS_BEGIN;
        k->attempt = a->attempt;
    } else if (a->kind == SESSION_DO_SECURE_CHUNK) {
        if (k->member != NULL &&
            secure_member_chunk(k->member, (enum secagg_kind)a->exchange, a->chunk, a->blob_bytes,
                                a->bytes, &why) != SOTTO_OK)
            client_log(c, "%s", why.message); /* taking it will fail */
    } else if (a->kind == SESSION_DO_SECURE_TAKE) {
        k->work = CLIENT_MASKS_TAKE;
        k->kind = (enum secagg_kind)a->exchange;
        k->hash = a->blob;
    } else if (a->kind == SESSION_DO_SECURE_END) {
        client_masks_end(c);
    }
    return SOTTO_OK;
}

enum sotto_status client_masks_chunk(struct sotto_client *c, const struct session_action *a,
                                     struct view *out, struct sotto_error *err) {
    *out = view_of(NULL, 0);
    if (a->exchange == 0 || a->exchange == SECAGG_MASKED) {
        const enum sotto_status status =
            devstore_report_chunk(c->store, &a->terms_hash, a->chunk, &c->chunk, err);
        *out = buf_view(&c->chunk);
        return status;
    }
    if (c->masks.member != NULL)
        *out = secure_member_out_chunk(c->masks.member, a->chunk);
    return SOTTO_OK;
}

/* The device's own record; what the member has seen so far. */
static enum sotto_status record(struct sotto_client *c, struct sotto_error *err) {
    const sotto_Terms *t = session_terms(c->session);
    struct devstore_secure r;
    if (t == NULL || c->masks.member == NULL)
        return SOTTO_OK;
    memset(&r, 0, sizeof r);
    r.terms = session_terms_hash(c->session);
    r.attempt = c->masks.attempt;
    r.at_ms = clock_wall_ms();
    wire_set_text(r.task, sizeof r.task, t->task);
    r.round = t->round;
    r.beside = c->document.authority_beside;
    secure_member_report(c->masks.member, &r.report);
    return devstore_secure_put(c->store, &r, err);
}

static enum sotto_status begin(struct sotto_client *c, struct sotto_error *err) {
    const struct wire_hash hash = session_terms_hash(c->session);
    uint8_t random[SECAGG_CLIENT_RANDOM];
    struct secure_member_config config;
    enum sotto_status status;
    memset(&config, 0, sizeof config);
    config.terms = session_terms(c->session);
    config.terms_hash = &hash;
    config.minimum_group = c->policy.session.minimum_group;
    config.serial = c->identity.serial;
    config.certificate = view_of(c->identity.cert, ID_CERT_BYTES);
    memcpy(config.ids.authority, c->identity.authority, ID_KEY);
    config.ids.document = &c->document;
    config.ids.keys = &c->identity.keys;
    if (config.terms == NULL || !c->identity.certified)
        return SOTTO_FAIL(err, SOTTO_STATE, "nothing to sum under masks");
    /* An update that is masked has no vector any more. */
    status = devstore_ready_length(c->store, &hash, &config.length, err);
    if (status != SOTTO_OK)
        return status;
    id_random(random, sizeof random);
    status = secure_member_new(&config, c->masks.attempt, random, &c->masks.member, err);
    id_wipe(random, sizeof random);
    return status;
}

static enum sotto_status take(struct sotto_client *c, struct sotto_error *err) {
    struct client_masks *k = &c->masks;
    const struct wire_hash hash = session_terms_hash(c->session);
    if (k->member == NULL)
        return SOTTO_FAIL(err, SOTTO_STATE, "there is no session");
    enum sotto_status status = secure_member_take(k->member, k->kind, &k->hash, err);
    if (status != SOTTO_OK || k->kind != SECAGG_DELIVERY)
        return status;
    buf_init(&k->bytes, SECAGG_MASKED_HEAD + (size_t)SECURE_MASK_BLOCK * 4);
    k->codes = mem_array(SECURE_MASK_BLOCK, sizeof *k->codes);
    if (k->codes == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory to mask an update");
    status = devstore_masking_new(c->store, &hash, &k->masking, err);
    if (status == SOTTO_OK)
        k->work = CLIENT_MASKS_MASK;
    return status;
}

/* Masks for a slice's time; *done: the message and the mark are stored. */
static enum sotto_status mask(struct sotto_client *c, bool *done, struct session_event *e,
                              struct sotto_error *err) {
    struct client_masks *k = &c->masks;
    const struct wire_hash terms = session_terms_hash(c->session);
    const uint64_t begin_ms = clock_mono_ms();
    enum sotto_status status;
    size_t count = 0;
    *done = false;
    do {
        TRY(devstore_masking_codes(k->masking, k->codes, SECURE_MASK_BLOCK, &count, err));
        if (count == 0)
            break;
        buf_reset(&k->bytes);
        tap_values("vector", terms.b, &c->identity.serial, sizeof c->identity.serial,
                   secure_member_masked(k->member), k->codes, count);
        TRY(secure_member_mask(k->member, k->codes, count, &k->bytes, err));
        TRY(devstore_masking_put(k->masking, buf_view(&k->bytes), err));
    } while (clock_mono_ms() - begin_ms < c->slice_ms);
    if (count == 0) {
        TRY(devstore_masking_commit(k->masking, &e->secure.bytes, &e->secure.hash, err));
        *done = true;
    }
out:
    if (*done || status != SOTTO_OK)
        end_masking(k);
    return status;
}

/* Whether the device's disk is to blame, and not the session. */
static bool of_the_store(enum sotto_status status) {
    return status == SOTTO_IO || status == SOTTO_FULL || status == SOTTO_BUSY;
}

static void tell_out(struct sotto_client *c, enum secagg_kind kind, struct session_event *e) {
    const struct view out = secure_member_out(c->masks.member);
    e->secure.exchange = kind;
    e->secure.bytes = out.n;
    e->secure.hash = secure_message_hash(out);
}

enum sotto_status client_masks_slice(struct sotto_client *c, struct sotto_error *err) {
    struct client_masks *k = &c->masks;
    struct sotto_error why = SOTTO_ERROR_INIT;
    struct session_event e = {.kind = SESSION_SECURE_OUT, .secure.attempt = k->attempt};
    enum sotto_status status = SOTTO_OK;
    bool done = true;
    if (k->work == CLIENT_MASKS_BEGIN) {
        status = begin(c, &why);
        if (status == SOTTO_OK)
            tell_out(c, SECAGG_ADVERTISE, &e);
    } else if (k->work == CLIENT_MASKS_TAKE) {
        status = take(c, &why);
        done = k->work != CLIENT_MASKS_MASK;
        if (status == SOTTO_OK && done)
            tell_out(c, k->kind + 1, &e);
    } else {
        status = mask(c, &done, &e, &why);
        e.secure.exchange = SECAGG_MASKED;
    }
    if (status == SOTTO_OK && !done)
        return SOTTO_OK;
    if (status == SOTTO_OK && e.secure.exchange)
        tap_die("device", e.secure.exchange);
    k->work = CLIENT_MASKS_NONE;
    if (of_the_store(status)) {
        if (err != NULL)
            *err = why;
        return status;
    }
    if (status != SOTTO_OK) {
        client_log(c, "%s", why.message);
        e.kind = SESSION_SECURE_FAILED;
        e.error = &why;
    }
    status = record(c, err);
    return status == SOTTO_OK ? client_step(c, &e, err) : status;
}

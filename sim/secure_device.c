/* Rounds under masks, the devices' half: what the session asks its host for. It mirrors the client
 * library's masks.c; the coded vector lies in the device's job, as its masked message. */
#include "secure.h"

#include <string.h>

void masks_free(struct sim_masks *k) {
    if (!k)
        return;
    secure_member_free(k->member);
    buf_deinit(&k->in);
    id_wipe(&k->keys, sizeof k->keys);
    mem_free(k);
}

void device_masks_end(struct sim_device *d) {
    masks_free(d->masks);
    d->masks = NULL;
}

/* ---- Real: a device that an authority certified */

static enum sotto_status certify(const struct sim *s, uint32_t device, struct sim_masks *k,
                                 struct sotto_error *err) {
    struct id_token token;
    struct id_cert cert;
    struct id_curve curve;
    struct buf document;
    enum sotto_status status;
    memset(&token, 0, sizeof token);
    buf_init(&document, 4096);
    id_keys_generate(&k->keys);
    id_curve_generate(&curve);
    TRY(id_document_sign(&s->document, &s->authority, &document, err));
    TRY(id_token_issue(&s->authority, (uint64_t)device + 1, INT64_MAX / 2, buf_view(&document),
                       &token, err));
    id_cert_make(&token, k->keys.public_key, curve.public_key, &cert);
    id_cert_encode(&cert, k->certificate);
out:
    id_token_deinit(&token);
    id_wipe(&curve, sizeof curve);
    buf_deinit(&document);
    return status;
}

static enum sotto_status member_make(const struct sim *s, uint32_t device, struct sim_masks *k,
                                     struct sotto_error *err) {
    uint8_t random[SECAGG_CLIENT_RANDOM];
    const struct sim_plan *p = s->devices[device].plan;
    enum sotto_status status = certify(s, device, k, err);
    if (status != SOTTO_OK)
        return status;
    struct secure_member_config config = {.terms = &p->terms,
                                          .terms_hash = &p->keys.terms,
                                          .length = masked_length(p->masked),
                                          .serial = (uint64_t)device + 1,
                                          .certificate =
                                              view_of(k->certificate, sizeof k->certificate)};
    memcpy(config.ids.authority, s->document.authority_key, ID_KEY);
    config.ids.document = &s->document;
    config.ids.keys = &k->keys;
    id_random(random, sizeof random);
    status = secure_member_new(&config, k->attempt, random, &k->member, err);
    id_wipe(random, sizeof random);
    return status;
}

/* The codes in the job become the masked message. While a journal is read there are no codes, and
 * nobody looks at the message. */
static enum sotto_status mask(struct sim_job *j, struct sim_masks *k, struct sotto_error *err) {
    const struct secagg_config *c = &k->config;
    enum sotto_status status = SOTTO_OK;
    struct buf masked;
    uint32_t *codes = mem_array(SECURE_MASK_BLOCK, sizeof *codes);
    buf_init(&masked, WIRE_BLOB_MAX); /* the job's from here on, of any round */
    if (!codes)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to mask an update");
    for (uint64_t first = 0; first < c->length; first += SECURE_MASK_BLOCK) {
        const size_t count = (size_t)num_min_u64(c->length - first, SECURE_MASK_BLOCK);
        if (j->report.len > 0)
            secagg_ring_unpack(c->ring_bits,
                               j->report.data + SECAGG_MASKED_HEAD + first * c->ring_bits / 8,
                               count, codes);
        TRY(secure_member_mask(k->member, codes, count, &masked, err));
    }
    buf_deinit(&j->report);
    j->report = masked;
    buf_init(&masked, 0);
out:
    buf_deinit(&masked);
    mem_free(codes);
    return status;
}

static enum sotto_status take_message(struct sim_masks *k, struct sotto_error *err) {
    const enum secagg_kind kind = (enum secagg_kind)k->in_kind;
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_SECURE, buf_view(&k->in));
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < chunk_count(k->in.len); i++)
        TRY(secure_member_chunk(
            k->member, kind, i, k->in.len,
            view_of(k->in.data + (size_t)i * CHUNK_BYTES, chunk_size(k->in.len, i)), err));
    status = secure_member_take(k->member, kind, &hash, err);
out:
    buf_deinit(&k->in);
    buf_init(&k->in, secagg_message_max(&k->config, SECAGG_LIST) +
                         secagg_message_max(&k->config, SECAGG_DELIVERY));
    return status;
}

/* ---- What the session asks for */

enum sotto_status device_masks_act(struct sim *s, uint32_t device, const struct session_action *a,
                                   struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    uint32_t kind = 0;
    if (a->kind == SESSION_DO_SECURE_END || a->kind == SESSION_DO_SECURE_BEGIN)
        device_masks_end(d);
    if (a->kind == SESSION_DO_SECURE_END)
        return SOTTO_OK;
    if (a->kind == SESSION_DO_SECURE_BEGIN) {
        if (!d->plan)
            return SOTTO_FAIL(err, SOTTO_INTERNAL, "client %u has no terms to mask under", device);
        d->masks = mem_zalloc(sizeof *d->masks);
        if (!d->masks)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a secure session");
        d->masks->attempt = a->attempt;
        d->masks->config = d->plan->secagg;
        buf_init(&d->masks->in, secagg_message_max(&d->masks->config, SECAGG_LIST) +
                                    secagg_message_max(&d->masks->config, SECAGG_DELIVERY));
    } else {
        kind = a->exchange;
    }
    const struct vtime_event e = {.at_ms = s->time.now_ms,
                                  .kind = SIM_EV_MASKS,
                                  .device = device,
                                  .tag = (uint64_t)a->attempt << 8 | kind};
    return vtime_add(&s->time, &e, err);
}

/* Bytes of what it says after the coordinator's message of this kind; 0: its record. */
static uint64_t answer_bytes(const struct sim_masks *k, uint32_t kind) {
    struct secagg_config c = k->config;
    c.members_max = kind == SECAGG_LIST ? k->holders : k->sharers;
    return secagg_message_max(&c, (enum secagg_kind)(kind + 1));
}

static enum sotto_status work(struct sim *s, uint32_t device, uint32_t kind,
                              struct session_event *e, struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    struct sim_masks *k = d->masks;
    const bool real = sim_is_real(s);
    enum sotto_status status = SOTTO_OK;
    e->secure.exchange = kind + 1;
    if (kind == 0 && real)
        TRY(member_make(s, device, k, err));
    if (kind != 0 && real)
        TRY(take_message(k, err));
    if (kind == SECAGG_DELIVERY) {
        if (!d->job)
            TRY_FAIL(err, SOTTO_STATE, "the group has ended");
        if (real)
            TRY(mask(d->job, k, err));
        mass_free(d->mass); /* it leaves, and never comes back */
        d->mass = NULL;
    }
    e->secure.bytes = answer_bytes(k, kind);
    e->secure.hash.b[0] = (uint8_t)(kind + 1);
    if (real && kind != SECAGG_DELIVERY) {
        e->secure.bytes = secure_member_out(k->member).n;
        e->secure.hash = secure_message_hash(secure_member_out(k->member));
    }
    k->out_bytes = e->secure.bytes;
out:
    return status;
}

enum sotto_status device_masks(struct sim *s, uint32_t device, uint64_t tag,
                               struct sotto_error *err) {
    struct sim_device *d = &s->devices[device];
    const uint32_t attempt = (uint32_t)(tag >> 8), kind = tag & 0xff;
    struct sotto_error why = SOTTO_ERROR_INIT;
    struct session_event e = {.kind = SESSION_SECURE_OUT, .secure.attempt = attempt};
    if (!d->session || !d->masks || d->masks->attempt != attempt)
        return SOTTO_OK; /* it left that session meanwhile */
    if (fleet_leaves(s, device, d->last_round) == kind + 1) {
        device_go_home(s, device); /* and is not heard of any more */
        return SOTTO_OK;
    }
    const enum sotto_status status = work(s, device, kind, &e, &why);
    if (status == SOTTO_NOMEM)
        return SOTTO_FAIL(err, status, "%s", why.message);
    if (status != SOTTO_OK) {
        LOG(LOG_INFO, "device.masks", LU("client", device), LS("reason", why.message));
        e.kind = SESSION_SECURE_FAILED;
        e.error = &why;
    }
    return device_event(s, device, &e, err);
}

struct view device_masks_chunk(const struct sim_device *d, uint32_t chunk) {
    static const uint8_t unread[1];
    return d->masks ? view_of(unread, chunk_size(d->masks->out_bytes, chunk)) : view_of(NULL, 0);
}

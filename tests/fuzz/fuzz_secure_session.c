/* Fuzzes a device's session under masks: whatever a coordinator says, in whatever order, one masked
 * update leaves under one terms at most, and what is returned never left. The input is a program:
 * an operation a byte, with its arguments behind. The host is a pretended one (it says that the
 * cryptography went well, or badly) with a real member for chunks and messages. */
#include <stdlib.h>
#include <string.h>

#include "sotto/client/secure.h"
#include "sotto/client/session.h"

#define LENGTH 5000u
#define SERIAL 7u

static struct id_keys authority, keys;
static uint8_t cert[ID_CERT_BYTES];
static struct id_document document;
static sotto_Terms terms;
static struct buf terms_bytes;
static struct wire_hash terms_hash;

static void must(bool ok) {
    if (!ok)
        abort();
}

static void setup_identity(void) {
    struct id_token token;
    struct id_cert c;
    struct id_curve curve;
    struct buf bytes;
    id_keys_generate(&authority);
    id_keys_generate(&keys);
    id_curve_generate(&curve);
    document.version = 1;
    memcpy(document.authority_key, authority.public_key, ID_KEY);
    memcpy(document.signing_key, keys.public_key, ID_KEY);
    document.endpoint_count = 1;
    memcpy(document.endpoints[0].address, "tcp://127.0.0.1:7", 18);
    memcpy(document.endpoints[0].curve_key, curve.public_key, ID_KEY);
    buf_init(&bytes, 4096);
    must(id_document_sign(&document, &authority, &bytes, NULL) == SOTTO_OK);
    must(id_token_issue(&authority, SERIAL, INT64_MAX / 2, buf_view(&bytes), &token, NULL) ==
         SOTTO_OK);
    id_cert_make(&token, keys.public_key, curve.public_key, &c);
    id_cert_encode(&c, cert);
    id_token_deinit(&token);
    buf_deinit(&bytes);
}

static void setup(void) {
    must(id_setup(NULL) == SOTTO_OK);
    setup_identity();
    memcpy(terms.task, "digits", 7);
    terms.round = 1;
    terms.kind = sotto_Kind_KIND_EVALUATE;
    terms.package_hash.size = WIRE_HASH;
    terms.package_bytes = 5;
    terms.has_privacy = true;
    terms.privacy.secure_aggregation = SECURE_REQUIRED;
    terms.privacy.minimum_group = 10;
    terms.privacy.ring_bits = 16;
    terms.privacy.adversary = SECAGG_CURIOUS;
    terms.weight_max = 10;
    terms.n_max = 20;
    terms.report_bytes_max = 1000000;
    terms.task_id.size = WIRE_TASK_ID;
    buf_init(&terms_bytes, WIRE_TERMS_MAX);
    must(wire_terms_encode(&terms, &terms_bytes, NULL) == SOTTO_OK);
    terms_hash = wire_terms_hash(buf_view(&terms_bytes));
}

struct fuzz {
    const uint8_t *p;
    size_t n;
    struct session *session;
    struct secure_member *member;
    uint64_t now_ms;
    /* the store */
    enum session_stage stage;
    uint32_t attempt;
    bool masked;
    uint32_t masked_attempt;
    /* work ordered */
    bool working;
    uint32_t work_attempt;
    enum secagg_kind taking; /* 0: begin */
    struct wire_hash taking_hash;
};

static uint8_t byte(struct fuzz *f) {
    if (f->n == 0)
        return 0;
    f->n--;
    return *f->p++;
}

static struct view bytes(struct fuzz *f, size_t n) {
    n = n < f->n ? n : f->n;
    const struct view v = view_of(f->p, n);
    f->p += n;
    f->n -= n;
    return v;
}

static void make_session(struct fuzz *f) {
    struct session_config config;
    struct session_saved saved;
    memset(&config, 0, sizeof config);
    memset(&saved, 0, sizeof saved);
    config.serial = SERIAL;
    memcpy(config.authority_key, authority.public_key, ID_KEY);
    session_policy_defaults(&config.policy);
    config.certified = true;
    saved.document = &document;
    saved.stage = f->stage;
    saved.terms = buf_view(&terms_bytes);
    saved.secure_attempt = f->attempt;
    saved.masked = f->masked;
    saved.report_bytes = 10056;
    saved.bytes_left = saved.rounds_left = -1;
    session_free(f->session);
    secure_member_free(f->member);
    f->member = NULL;
    f->working = false;
    must(session_new(&config, &saved, &f->session, NULL) == SOTTO_OK);
}

static void begin(struct fuzz *f, const struct session_action *a) {
    must(f->stage == SESSION_READY && !f->masked);
    must(a->attempt > f->attempt && a->attempt <= WIRE_ATTEMPTS_MAX);
    f->attempt = f->work_attempt = a->attempt;
    secure_member_free(f->member);
    f->member = NULL;
    f->working = true;
    f->taking = 0;
}

static void execute(struct fuzz *f, const struct session_action *a) {
    switch (a->kind) {
    case SESSION_DO_SEND:
        if (a->has_chunk && a->exchange == SECAGG_MASKED)
            must(f->masked && a->attempt == f->masked_attempt);
        break;
    case SESSION_DO_STORE_OUTCOME:
        must(f->stage == SESSION_READY);
        must(a->outcome == sotto_Outcome_OUTCOME_KEPT || !f->masked);
        f->stage = SESSION_NONE;
        break;
    case SESSION_DO_SECURE_BEGIN:
        begin(f, a);
        break;
    case SESSION_DO_SECURE_CHUNK:
        if (f->member != NULL)
            (void)secure_member_chunk(f->member, (enum secagg_kind)a->exchange, a->chunk,
                                      a->blob_bytes, a->bytes, NULL);
        break;
    case SESSION_DO_SECURE_TAKE:
        f->working = true;
        f->work_attempt = a->attempt;
        f->taking = (enum secagg_kind)a->exchange;
        f->taking_hash = a->blob;
        break;
    case SESSION_DO_SECURE_END:
        secure_member_free(f->member);
        f->member = NULL;
        f->working = false;
        break;
    case SESSION_DO_STORE_TERMS:
    case SESSION_DO_TRAIN:
        abort(); /* never again under these terms */
    case SESSION_DO_CONNECT:
    case SESSION_DO_DISCONNECT:
    case SESSION_DO_STORE_CHUNK:
    case SESSION_DO_PREPARE:
    case SESSION_DO_DROP_TERMS:
    case SESSION_DO_STORE_DOCUMENT:
    case SESSION_DO_STORE_COUNTERS:
    case SESSION_DO_CANCEL:
    case SESSION_DO_NOTE:
        break;
    }
}

static void step(struct fuzz *f, struct session_event *e) {
    struct session_action actions[SESSION_ACTIONS_MAX];
    static const uint8_t nonce[WIRE_NONCE] = {1, 2, 3};
    size_t count = SESSION_ACTIONS_MAX;
    e->now_ms = f->now_ms;
    must(session_step(f->session, e, nonce, actions, &count, NULL) == SOTTO_OK);
    for (size_t i = 0; i < count; i++)
        execute(f, &actions[i]);
}

/* The host's part, done well or badly. */
static void work(struct fuzz *f, bool well) {
    struct sotto_error error = SOTTO_ERROR_INIT;
    struct session_event e = {.kind = SESSION_SECURE_OUT, .error = &error};
    const struct secure_member_config config = {
        .terms = &terms,
        .terms_hash = &terms_hash,
        .length = LENGTH,
        .serial = SERIAL,
        .ids = {.document = &document, .keys = &keys},
        .certificate = view_of(cert, sizeof cert),
    };
    const uint8_t random[SECAGG_CLIENT_RANDOM] = {9};
    if (!f->working)
        return;
    f->working = false;
    e.secure.attempt = f->work_attempt;
    e.secure.bytes = 700;
    e.secure.exchange = f->taking == 0 ? SECAGG_ADVERTISE : (uint32_t)f->taking + 1;
    if (f->taking == 0)
        must(secure_member_new(&config, f->work_attempt, random, &f->member, NULL) == SOTTO_OK);
    else if (!well && f->member != NULL &&
             secure_member_take(f->member, f->taking, &f->taking_hash, &error) != SOTTO_OK)
        e.kind = SESSION_SECURE_FAILED;
    if (e.kind == SESSION_SECURE_OUT && e.secure.exchange == SECAGG_MASKED) {
        must(!f->masked); /* once */
        f->masked = true;
        f->masked_attempt = f->work_attempt;
    }
    step(f, &e);
}

static void say(struct fuzz *f, sotto_Envelope *m, struct view payload) {
    struct session_event e = {.kind = SESSION_MESSAGE, .message = m, .payload = payload};
    step(f, &e);
}

static void state(struct fuzz *f, uint8_t how, struct view message) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    sotto_SecureState *s = &m.body.secure_state;
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_SECURE, message);
    m.which_body = sotto_Envelope_secure_state_tag;
    WIRE_SET_HASH(s->terms_hash, &terms_hash);
    s->terms_hash.bytes[0] ^= how == 255;
    s->attempt = byte(f) % (WIRE_ATTEMPTS_MAX + 2);
    s->exchange = byte(f) % (WIRE_EXCHANGE_MAX + 2);
    s->bytes = message.n > 0 ? message.n : (uint64_t)byte(f) << (byte(f) % 33);
    if (how % 4 != 0)
        WIRE_SET_HASH(s->hash, &hash);
    s->wait_ms = how * 100u;
    s->outcome = how > 250 ? (sotto_Outcome)(how - 251) : 0;
    say(f, &m, view_of(NULL, 0));
}

static void chunk(struct fuzz *f, struct view message, uint32_t attempt, uint32_t exchange) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_secure_chunk_tag;
    WIRE_SET_HASH(m.body.secure_chunk.terms_hash, &terms_hash);
    m.body.secure_chunk.attempt = attempt;
    m.body.secure_chunk.exchange = exchange;
    m.body.secure_chunk.chunks = 1;
    m.body.secure_chunk.bytes = message.n;
    say(f, &m, message);
}

/* Announced and delivered as it should be. */
static void show(struct fuzz *f, uint32_t exchange, struct view message) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    const struct wire_hash hash = wire_hash_of(WIRE_LABEL_SECURE, message);
    m.which_body = sotto_Envelope_secure_state_tag;
    WIRE_SET_HASH(m.body.secure_state.terms_hash, &terms_hash);
    WIRE_SET_HASH(m.body.secure_state.hash, &hash);
    m.body.secure_state.attempt = f->attempt;
    m.body.secure_state.exchange = exchange;
    m.body.secure_state.bytes = message.n;
    say(f, &m, view_of(NULL, 0));
    chunk(f, message, f->attempt, exchange);
}

static void upload(struct fuzz *f, bool ack) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    if (ack) {
        m.which_body = sotto_Envelope_report_ack_tag;
        WIRE_SET_HASH(m.body.report_ack.terms_hash, &terms_hash);
        m.body.report_ack.attempt = byte(f) % 6;
        m.body.report_ack.exchange = byte(f) % 11;
        m.body.report_ack.status = byte(f) % 3;
        m.body.report_ack.outcome = (sotto_Outcome)(byte(f) % 16 < 14 ? 0 : 2 + byte(f) % 2);
    } else {
        m.which_body = sotto_Envelope_report_grant_tag;
        WIRE_SET_HASH(m.body.report_grant.terms_hash, &terms_hash);
        m.body.report_grant.attempt = byte(f) % 6;
        m.body.report_grant.exchange = byte(f) % 11;
        m.body.report_grant.next_index = byte(f);
        m.body.report_grant.credit = byte(f);
    }
    say(f, &m, view_of(NULL, 0));
}

static void check_in_reply(struct fuzz *f) {
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = byte(f) % 2 ? sotto_Envelope_check_in_reply_tag : sotto_Envelope_error_tag;
    if (m.which_body == sotto_Envelope_check_in_reply_tag && byte(f) > 200) {
        m.body.check_in_reply.outcomes_count = 1;
        WIRE_SET_HASH(m.body.check_in_reply.outcomes[0].terms_hash, &terms_hash);
        m.body.check_in_reply.outcomes[0].outcome = (sotto_Outcome)(byte(f) % 4);
    }
    say(f, &m, view_of(NULL, 0));
}

static void tick(struct fuzz *f) {
    struct session_event e = {.kind = SESSION_TICK};
    const uint64_t next = session_next_ms(f->session);
    const uint8_t how = byte(f);
    f->now_ms = how % 2 && next != UINT64_MAX && next > f->now_ms ? next : f->now_ms + how;
    e.conditions.online = how != 4;
    e.conditions.battery_percent = -1;
    step(f, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz f = {.p = data, .n = size, .now_ms = 5, .stage = SESSION_READY};
    if (terms_bytes.len == 0)
        setup();
    make_session(&f);
    for (int steps = 0; f.n > 0 && steps < 2000; steps++) {
        const uint8_t op = byte(&f), how = byte(&f);
        if (op % 12 < 3)
            tick(&f);
        else if (op % 12 == 3)
            step(&f, &(struct session_event){.kind = SESSION_CONNECTED});
        else if (op % 12 == 4)
            step(&f, &(struct session_event){.kind = how % 2 ? SESSION_LOST : SESSION_REFUSED});
        else if (op % 12 == 5)
            state(&f, how, bytes(&f, how % 64));
        else if (op % 12 == 6)
            show(&f, 1u + how % 9, bytes(&f, 1u + how / 9));
        else if (op % 12 == 7)
            chunk(&f, bytes(&f, how), byte(&f) % 6, byte(&f) % 11);
        else if (op % 12 == 8)
            upload(&f, how % 2);
        else if (op % 12 == 9)
            work(&f, how % 4 != 0);
        else if (op % 12 == 10)
            check_in_reply(&f);
        else if (how % 8 == 0 && f.stage == SESSION_READY)
            make_session(&f);
    }
    session_free(f.session);
    secure_member_free(f.member);
    return 0;
}

/* Checks of every control message but Terms: lengths, ranges, known enums, printable text. */
#include "wire/check.h"

#include <math.h>
#include <string.h>

#define TEXT_MAX 256u

void check_that(struct check *c, bool holds, const char *field, const char *rule) {
    if (holds || c->status != SOTTO_OK)
        return;
    c->status =
        SOTTO_FAIL(c->err, c->failed_as, "message %s: field %s: %s", c->message, field, rule);
}

void check_size(struct check *c, size_t size, size_t n, bool optional, const char *field) {
    if (c->status != SOTTO_OK || size == n || (optional && size == 0))
        return;
    c->status = SOTTO_FAIL(c->err, c->failed_as, "message %s: field %s: %zu bytes instead of %zu",
                           c->message, field, size, n);
}

void check_range(struct check *c, uint64_t value, uint64_t min, uint64_t max, const char *field) {
    if (c->status != SOTTO_OK || (value >= min && value <= max))
        return;
    c->status = SOTTO_FAIL(c->err, c->failed_as, "message %s: field %s: %llu is not in %llu..%llu",
                           c->message, field, (unsigned long long)value, (unsigned long long)min,
                           (unsigned long long)max);
}

void check_float(struct check *c, float value, float min, float max, const char *field) {
    if (c->status != SOTTO_OK || (isfinite(value) && value >= min && value <= max))
        return;
    c->status = SOTTO_FAIL(c->err, c->failed_as, "message %s: field %s: %g is not in %g..%g",
                           c->message, field, (double)value, (double)min, (double)max);
}

/* base's reader owns the rule of what is printable; this hands it the text in the form it reads. */
static bool printable(const char *text, size_t n) {
    uint8_t form[2 + TEXT_MAX];
    char copy[TEXT_MAX + 1];
    size_t head = 0;
    if (n > TEXT_MAX)
        return false;
    if (n >= 0x80)
        form[head++] = (uint8_t)(0x80u | (n & 0x7fu));
    form[head++] = (uint8_t)(n >= 0x80 ? n >> 7 : n);
    memcpy(form + head, text, n);
    struct reader r;
    reader_init(&r, view_of(form, head + n));
    reader_str(&r, copy, sizeof copy, "text");
    return reader_finish(&r, true, "text", NULL) == SOTTO_OK;
}

void check_text(struct check *c, const char *text, size_t cap, bool needed, const char *field) {
    const size_t n = strnlen(text, cap);
    check_that(c, n < cap, field, "text is not terminated");
    if (c->status != SOTTO_OK)
        return;
    check_that(c, n > 0 || !needed, field, "text is empty");
    check_that(c, printable(text, n), field, "text is not printable UTF-8");
}

void wire_set_text(char *field, size_t cap, const char *text) {
    if (cap == 0)
        return;
    size_t n = text == NULL ? 0 : strnlen(text, cap);
    if (n == cap)
        n = cap - 1;
    if (n > 0 && text[n] != '\0') /* cut: not within a character */
        while (n > 0 && ((uint8_t)text[n] & 0xc0u) == 0x80u)
            n--;
    if (n > 0)
        memcpy(field, text, n);
    memset(field + n, 0, cap - n);
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)field[i] < 0x20 || field[i] == 0x7f)
            field[i] = '?';
    if (printable(field, n))
        return;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)field[i] >= 0x80)
            field[i] = '?';
}

static void check_outcome(struct check *c, sotto_Outcome outcome, bool needed) {
    check_range(c, (uint64_t)outcome, needed ? sotto_Outcome_OUTCOME_OPEN : 0,
                sotto_Outcome_OUTCOME_RETURNED, "outcome");
}

static void check_status(struct check *c, uint32_t status) {
    check_range(c, status, 0, UINT16_MAX, "status"); /* values grow: an unknown one is a failure */
}

static void check_duration(struct check *c, uint64_t ms, const char *field) {
    check_range(c, ms, 0, WIRE_DURATION_MAX_MS, field);
}

static void check_check_in(struct check *c, const sotto_CheckIn *m) {
    check_size(c, m->nonce.size, WIRE_NONCE, false, "nonce");
    CHECK_TEXT(c, m->backend, false, "backend");
    CHECK_TEXT(c, m->tier, false, "tier");
    CHECK_TEXT(c, m->version, false, "version");
    check_size(c, m->package_held.size, WIRE_HASH, true, "package_held");
    check_size(c, m->terms_held.size, WIRE_HASH, true, "terms_held");
    check_float(c, m->samples_per_s, 0, 1e12f, "samples_per_s");
    check_range(c, m->open_reports_count, 0, ARRAY_LEN(m->open_reports), "open_reports");
    for (size_t i = 0; c->status == SOTTO_OK && i < m->open_reports_count; i++)
        check_size(c, m->open_reports[i].terms_hash.size, WIRE_HASH, false,
                   "open_reports.terms_hash");
}

static void check_check_in_reply(struct check *c, const sotto_CheckInReply *m) {
    check_duration(c, m->come_back_ms, "come_back_ms");
    CHECK_TEXT(c, m->reason, false, "reason");
    if (m->terms.size > 0) {
        check_size(c, m->terms_signature.size, 64, false, "terms_signature");
        check_size(c, m->signing_key.size, 32, false, "signing_key");
        check_that(c, m->has_invitation, "invitation", "terms without an invitation");
    } else {
        check_size(c, m->terms_signature.size, 0, false, "terms_signature");
        check_size(c, m->signing_key.size, 0, false, "signing_key");
        check_that(c, !m->has_invitation, "invitation", "an invitation without terms");
    }
    if (m->has_invitation) {
        check_size(c, m->invitation.terms_hash.size, WIRE_HASH, false, "invitation.terms_hash");
        check_size(c, m->invitation.nonce.size, WIRE_NONCE, false, "invitation.nonce");
        check_duration(c, m->invitation.valid_ms, "invitation.valid_ms");
    }
    check_range(c, m->outcomes_count, 0, ARRAY_LEN(m->outcomes), "outcomes");
    for (size_t i = 0; c->status == SOTTO_OK && i < m->outcomes_count; i++) {
        check_size(c, m->outcomes[i].terms_hash.size, WIRE_HASH, false, "outcomes.terms_hash");
        check_outcome(c, m->outcomes[i].outcome, true);
    }
}

static void check_package_chunk(struct check *c, const sotto_PackageChunk *m) {
    check_size(c, m->hash.size, WIRE_HASH, false, "hash");
    check_range(c, m->chunks, 1, WIRE_CHUNKS_MAX, "chunks");
    check_that(c, m->index < m->chunks, "index", "is not below chunks");
    check_range(c, m->bytes, 1, WIRE_BLOB_MAX, "bytes");
}

static void check_get_package(struct check *c, const sotto_GetPackage *m) {
    check_size(c, m->hash.size, WIRE_HASH, false, "hash");
    check_size(c, m->base.size, WIRE_HASH, true, "base");
    check_range(c, m->index, 0, WIRE_CHUNKS_MAX - 1, "index");
    check_range(c, m->count, 1, WIRE_CHUNKS_MAX, "count");
}

/* Of a report: both 0, or both of a session. */
static void check_exchange(struct check *c, uint32_t attempt, uint32_t exchange) {
    check_range(c, attempt, 0, WIRE_ATTEMPTS_MAX, "attempt");
    check_range(c, exchange, 0, WIRE_EXCHANGE_MAX, "exchange");
    check_that(c, (attempt == 0) == (exchange == 0), "exchange", "goes with an attempt only");
}

static void check_secure(struct check *c, const sotto_Envelope *m) {
    switch (m->which_body) {
    case sotto_Envelope_secure_ready_tag:
        check_size(c, m->body.secure_ready.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, m->body.secure_ready.attempt, 0, WIRE_ATTEMPTS_MAX, "attempt");
        check_range(c, m->body.secure_ready.have, 0, WIRE_EXCHANGE_MAX, "have");
        break;
    case sotto_Envelope_secure_state_tag: {
        const sotto_SecureState *s = &m->body.secure_state;
        check_size(c, s->terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, s->attempt, 0, WIRE_ATTEMPTS_MAX, "attempt");
        check_range(c, s->exchange, 0, WIRE_EXCHANGE_MAX, "exchange");
        check_range(c, s->bytes, 0, WIRE_BLOB_MAX, "bytes");
        check_size(c, s->hash.size, WIRE_HASH, s->bytes == 0, "hash");
        check_duration(c, s->wait_ms, "wait_ms");
        check_outcome(c, s->outcome, false);
        CHECK_TEXT(c, s->reason, false, "reason");
        check_duration(c, s->come_back_ms, "come_back_ms");
        break;
    }
    case sotto_Envelope_secure_get_tag:
        check_size(c, m->body.secure_get.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, m->body.secure_get.attempt, 1, WIRE_ATTEMPTS_MAX, "attempt");
        check_range(c, m->body.secure_get.exchange, 1, WIRE_EXCHANGE_MAX, "exchange");
        check_range(c, m->body.secure_get.index, 0, WIRE_CHUNKS_MAX - 1, "index");
        check_range(c, m->body.secure_get.count, 1, WIRE_CHUNKS_MAX, "count");
        break;
    default: /* secure_chunk */
        check_size(c, m->body.secure_chunk.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, m->body.secure_chunk.attempt, 1, WIRE_ATTEMPTS_MAX, "attempt");
        check_range(c, m->body.secure_chunk.exchange, 1, WIRE_EXCHANGE_MAX, "exchange");
        check_range(c, m->body.secure_chunk.chunks, 1, WIRE_CHUNKS_MAX, "chunks");
        check_that(c, m->body.secure_chunk.index < m->body.secure_chunk.chunks, "index",
                   "is not below chunks");
        check_range(c, m->body.secure_chunk.bytes, 1, WIRE_BLOB_MAX, "bytes");
        break;
    }
}

static void check_report(struct check *c, const sotto_Envelope *m) {
    switch (m->which_body) {
    case sotto_Envelope_report_open_tag:
        check_size(c, m->body.report_open.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_size(c, m->body.report_open.hash.size, WIRE_HASH, false, "hash");
        check_range(c, m->body.report_open.bytes, 1, WIRE_BLOB_MAX, "bytes");
        check_exchange(c, m->body.report_open.attempt, m->body.report_open.exchange);
        break;
    case sotto_Envelope_report_grant_tag:
        check_size(c, m->body.report_grant.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, m->body.report_grant.next_index, 0, WIRE_CHUNKS_MAX, "next_index");
        check_range(c, m->body.report_grant.credit, 0, WIRE_CHUNKS_MAX, "credit");
        check_exchange(c, m->body.report_grant.attempt, m->body.report_grant.exchange);
        break;
    case sotto_Envelope_report_chunk_tag:
        check_size(c, m->body.report_chunk.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, m->body.report_chunk.index, 0, WIRE_CHUNKS_MAX - 1, "index");
        check_exchange(c, m->body.report_chunk.attempt, m->body.report_chunk.exchange);
        break;
    default: /* report_ack */
        check_size(c, m->body.report_ack.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_status(c, m->body.report_ack.status);
        check_outcome(c, m->body.report_ack.outcome, false);
        CHECK_TEXT(c, m->body.report_ack.reason, false, "reason");
        check_duration(c, m->body.report_ack.come_back_ms, "come_back_ms");
        check_exchange(c, m->body.report_ack.attempt, m->body.report_ack.exchange);
        break;
    }
}

static void check_heartbeat(struct check *c, const sotto_Envelope *m) {
    if (m->which_body == sotto_Envelope_heartbeat_tag) {
        check_size(c, m->body.heartbeat.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_range(c, m->body.heartbeat.permille, 0, 1000, "permille");
    } else {
        check_size(c, m->body.heartbeat_reply.terms_hash.size, WIRE_HASH, false, "terms_hash");
        CHECK_TEXT(c, m->body.heartbeat_reply.reason, false, "reason");
    }
}

static void check_decline(struct check *c, const sotto_Envelope *m) {
    if (m->which_body == sotto_Envelope_decline_tag) {
        check_size(c, m->body.decline.terms_hash.size, WIRE_HASH, false, "terms_hash");
        CHECK_TEXT(c, m->body.decline.rule, true, "rule");
        CHECK_TEXT(c, m->body.decline.detail, false, "detail");
    } else {
        check_size(c, m->body.decline_reply.terms_hash.size, WIRE_HASH, false, "terms_hash");
        check_duration(c, m->body.decline_reply.come_back_ms, "come_back_ms");
    }
}

void check_envelope(struct check *c, const sotto_Envelope *m) {
    switch (m->which_body) {
    case sotto_Envelope_enroll_tag:
        check_that(c, m->body.enroll.certificate.size > 0, "certificate", "is missing");
        CHECK_TEXT(c, m->body.enroll.version, false, "version");
        break;
    case sotto_Envelope_enroll_reply_tag:
        check_status(c, m->body.enroll_reply.status);
        CHECK_TEXT(c, m->body.enroll_reply.reason, false, "reason");
        break;
    case sotto_Envelope_check_in_tag:
        check_check_in(c, &m->body.check_in);
        break;
    case sotto_Envelope_check_in_reply_tag:
        check_check_in_reply(c, &m->body.check_in_reply);
        break;
    case sotto_Envelope_get_package_tag:
        check_get_package(c, &m->body.get_package);
        break;
    case sotto_Envelope_package_chunk_tag:
        check_package_chunk(c, &m->body.package_chunk);
        break;
    case sotto_Envelope_report_open_tag:
    case sotto_Envelope_report_grant_tag:
    case sotto_Envelope_report_chunk_tag:
    case sotto_Envelope_report_ack_tag:
        check_report(c, m);
        break;
    case sotto_Envelope_heartbeat_tag:
    case sotto_Envelope_heartbeat_reply_tag:
        check_heartbeat(c, m);
        break;
    case sotto_Envelope_decline_tag:
    case sotto_Envelope_decline_reply_tag:
        check_decline(c, m);
        break;
    case sotto_Envelope_error_tag:
        check_status(c, m->body.error.status);
        CHECK_TEXT(c, m->body.error.text, false, "text");
        check_duration(c, m->body.error.retry_ms, "retry_ms");
        break;
    case sotto_Envelope_secure_ready_tag:
    case sotto_Envelope_secure_state_tag:
    case sotto_Envelope_secure_get_tag:
    case sotto_Envelope_secure_chunk_tag:
        check_secure(c, m);
        break;
    default:
        check_that(c, false, "body", "is missing or not known to this version");
        break;
    }
}

/* One valid message of each kind and valid terms: for golden bytes, mutations and fuzz seeds. */
#ifndef SOTTO_TESTS_WIRE_SAMPLES_H
#define SOTTO_TESTS_WIRE_SAMPLES_H

#include "sotto/protocol/wire.h"

#include <string.h>

#define SAMPLE_COUNT 15

#define SAMPLE_FILL(field, n, first)                                                               \
    do {                                                                                           \
        (field).size = (pb_size_t)(n);                                                             \
        for (size_t fill_ = 0; fill_ < (size_t)(n); fill_++)                                       \
            (field).bytes[fill_] = (uint8_t)((first) + fill_);                                     \
    } while (0)

static inline void sample_terms(sotto_Terms *t) {
    *t = (sotto_Terms)sotto_Terms_init_zero;
    WIRE_SET_TEXT(t->task, "vibration");
    t->round = 7;
    t->kind = sotto_Kind_KIND_TRAIN;
    WIRE_SET_TEXT(t->tier, "small");
    SAMPLE_FILL(t->package_hash, 32, 1);
    t->package_bytes = 123456;
    WIRE_SET_TEXT(t->collection, "shaft");
    t->has_rule = true;
    t->rule =
        (sotto_LocalRule){.epochs = 2, .batch = 32, .lr = 0.1f, .momentum = 0.9f, .algorithm = 1};
    t->has_pipeline = true;
    t->pipeline = (sotto_Pipeline){.clip_norm = 10.0f,
                                   .clip_inf = 1.0f,
                                   .keep = 0.25f,
                                   .bits = 8,
                                   .stochastic = true,
                                   .error_feedback = true,
                                   .residual_rounds_max = 20,
                                   .fraction_bits = 24};
    t->has_privacy = true;
    t->weight_max = 1000;
    t->n_max = 100;
    SAMPLE_FILL(t->round_key, 32, 65);
    t->task_seed = 99;
    t->report_bytes_max = 1u << 20;
    t->train_ms = 600000;
    t->heartbeat_ms = 30000;
    t->examples_min = 10;
    SAMPLE_FILL(t->task_id, 16, 33);
}

static inline void sample_check_in(sotto_Envelope *m) {
    m->which_body = sotto_Envelope_check_in_tag;
    SAMPLE_FILL(m->body.check_in.nonce, 16, 3);
    m->body.check_in.document_version = 4;
    m->body.check_in.memory_bytes = 64u << 20;
    WIRE_SET_TEXT(m->body.check_in.backend, "cpu/avx2");
    WIRE_SET_TEXT(m->body.check_in.tier, "small");
    WIRE_SET_TEXT(m->body.check_in.version, "0.1.0");
    SAMPLE_FILL(m->body.check_in.package_held, 32, 5);
    m->body.check_in.open_reports_count = 1;
    SAMPLE_FILL(m->body.check_in.open_reports[0].terms_hash, 32, 6);
    SAMPLE_FILL(m->body.check_in.terms_held, 32, 7);
    m->body.check_in.samples_per_s = 1234.5f;
}

static inline void sample_check_in_reply(sotto_Envelope *m) {
    m->which_body = sotto_Envelope_check_in_reply_tag;
    sotto_CheckInReply *r = &m->body.check_in_reply;
    r->come_back_ms = 60000;
    SAMPLE_FILL(r->terms, 5, 8);
    SAMPLE_FILL(r->terms_signature, 64, 9);
    SAMPLE_FILL(r->signing_key, 32, 10);
    r->has_invitation = true;
    SAMPLE_FILL(r->invitation.terms_hash, 32, 11);
    r->invitation.serial = 42;
    SAMPLE_FILL(r->invitation.nonce, 16, 3);
    r->invitation.valid_ms = 600000;
    r->outcomes_count = 1;
    SAMPLE_FILL(r->outcomes[0].terms_hash, 32, 6);
    r->outcomes[0].outcome = sotto_Outcome_OUTCOME_KEPT;
    r->document_follows = true;
}

static inline void sample_report(sotto_Envelope *m, unsigned which) {
    if (which == 6) {
        m->which_body = sotto_Envelope_report_open_tag;
        SAMPLE_FILL(m->body.report_open.terms_hash, 32, 11);
        m->body.report_open.bytes = 70000;
        SAMPLE_FILL(m->body.report_open.hash, 32, 14);
    } else if (which == 7) {
        m->which_body = sotto_Envelope_report_grant_tag;
        SAMPLE_FILL(m->body.report_grant.terms_hash, 32, 11);
        m->body.report_grant.next_index = 1;
        m->body.report_grant.credit = 4;
    } else if (which == 8) {
        m->which_body = sotto_Envelope_report_chunk_tag;
        SAMPLE_FILL(m->body.report_chunk.terms_hash, 32, 11);
        m->body.report_chunk.index = 1;
    } else {
        m->which_body = sotto_Envelope_report_ack_tag;
        SAMPLE_FILL(m->body.report_ack.terms_hash, 32, 11);
        m->body.report_ack.status = SOTTO_DENIED;
        m->body.report_ack.outcome = sotto_Outcome_OUTCOME_RETURNED;
        WIRE_SET_TEXT(m->body.report_ack.reason, "late");
        m->body.report_ack.come_back_ms = 1000;
    }
}

static inline void sample_small(sotto_Envelope *m, unsigned which) {
    if (which == 10) {
        m->which_body = sotto_Envelope_heartbeat_tag;
        SAMPLE_FILL(m->body.heartbeat.terms_hash, 32, 11);
        m->body.heartbeat.permille = 500;
    } else if (which == 11) {
        m->which_body = sotto_Envelope_heartbeat_reply_tag;
        SAMPLE_FILL(m->body.heartbeat_reply.terms_hash, 32, 11);
        m->body.heartbeat_reply.abort = true;
        WIRE_SET_TEXT(m->body.heartbeat_reply.reason, "round is over");
    } else if (which == 12) {
        m->which_body = sotto_Envelope_decline_tag;
        SAMPLE_FILL(m->body.decline.terms_hash, 32, 11);
        WIRE_SET_TEXT(m->body.decline.rule, "policy.bytes_per_day");
        WIRE_SET_TEXT(m->body.decline.detail, "\xc3\xbc"
                                              "ber 10 MiB");
    } else if (which == 13) {
        m->which_body = sotto_Envelope_decline_reply_tag;
        SAMPLE_FILL(m->body.decline_reply.terms_hash, 32, 11);
        m->body.decline_reply.come_back_ms = 3600000;
    } else {
        m->which_body = sotto_Envelope_error_tag;
        m->body.error.status = SOTTO_BUSY;
        WIRE_SET_TEXT(m->body.error.text, "disk is full");
        m->body.error.retry_ms = 5000;
    }
}

/* which: 0 .. SAMPLE_COUNT - 1, in the order of the schema. */
static inline void sample_message(sotto_Envelope *m, unsigned which) {
    *m = (sotto_Envelope)sotto_Envelope_init_zero;
    m->version = WIRE_VERSION;
    switch (which) {
    case 0:
        m->which_body = sotto_Envelope_enroll_tag;
        SAMPLE_FILL(m->body.enroll.certificate, 304, 1);
        WIRE_SET_TEXT(m->body.enroll.version, "0.1.0");
        break;
    case 1:
        m->which_body = sotto_Envelope_enroll_reply_tag;
        m->body.enroll_reply.serial = 42;
        WIRE_SET_TEXT(m->body.enroll_reply.reason, "welcome");
        break;
    case 2:
        sample_check_in(m);
        break;
    case 3:
        sample_check_in_reply(m);
        break;
    case 4:
        m->which_body = sotto_Envelope_get_package_tag;
        SAMPLE_FILL(m->body.get_package.hash, 32, 12);
        SAMPLE_FILL(m->body.get_package.base, 32, 13);
        m->body.get_package.index = 2;
        m->body.get_package.count = 8;
        break;
    case 5:
        m->which_body = sotto_Envelope_package_chunk_tag;
        SAMPLE_FILL(m->body.package_chunk.hash, 32, 12);
        m->body.package_chunk.index = 2;
        m->body.package_chunk.chunks = 3;
        m->body.package_chunk.bytes = 600000;
        m->body.package_chunk.delta = true;
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        sample_report(m, which);
        break;
    default:
        sample_small(m, which);
        break;
    }
}

#endif

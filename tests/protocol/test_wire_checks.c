/* The second pass: each rule of the messages and of the terms is broken once, and named in the
 * error. */
#include "support.h"

#include "wire_samples.h"

#include <math.h>
#include <stdio.h>

/* The message must be refused when sent (INTERNAL) and name the field. */
static void refused(const sotto_Envelope *m, const char *field) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char want[64];
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    (void)snprintf(want, sizeof want, "field %s:", field);
    ASSERT_FAILS(wire_encode(m, &b, &err), SOTTO_INTERNAL, want);
    buf_deinit(&b);
}

#define BREAK(which, change, field)                                                                \
    do {                                                                                           \
        sotto_Envelope m;                                                                          \
        sample_message(&m, (which));                                                               \
        change;                                                                                    \
        refused(&m, (field));                                                                      \
    } while (0)

static void check_ins(void **state) {
    (void)state;
    BREAK(0, m.body.enroll.certificate.size = 0, "certificate");
    BREAK(0, m.body.enroll.version[0] = '\n', "version");
    BREAK(1, m.body.enroll_reply.status = 70000, "status");
    BREAK(1, m.body.enroll_reply.reason[0] = '\x7f', "reason");
    BREAK(2, m.body.check_in.nonce.size = 15, "nonce");
    BREAK(2, m.body.check_in.nonce.size = 0, "nonce");
    BREAK(2, m.body.check_in.backend[0] = '\xff', "backend");
    BREAK(2, memset(m.body.check_in.tier, 'a', sizeof m.body.check_in.tier), "tier");
    BREAK(2, m.body.check_in.version[1] = '\x1b', "version");
    BREAK(2, m.body.check_in.package_held.size = 31, "package_held");
    BREAK(2, m.body.check_in.terms_held.size = 1, "terms_held");
    BREAK(2, m.body.check_in.samples_per_s = -1.0f, "samples_per_s");
    BREAK(2, m.body.check_in.samples_per_s = NAN, "samples_per_s");
    BREAK(2, m.body.check_in.open_reports_count = 17, "open_reports");
    BREAK(2, m.body.check_in.open_reports[0].terms_hash.size = 0, "open_reports.terms_hash");
    BREAK(3, m.body.check_in_reply.come_back_ms = WIRE_DURATION_MAX_MS + 1, "come_back_ms");
    BREAK(3, m.body.check_in_reply.reason[0] = '\x01', "reason");
    BREAK(3, m.body.check_in_reply.terms_signature.size = 63, "terms_signature");
    BREAK(3, m.body.check_in_reply.signing_key.size = 0, "signing_key");
    BREAK(3, m.body.check_in_reply.has_invitation = false, "invitation");
    BREAK(3, m.body.check_in_reply.terms.size = 0, "terms_signature");
    BREAK(3, m.body.check_in_reply.invitation.terms_hash.size = 2, "invitation.terms_hash");
    BREAK(3, m.body.check_in_reply.invitation.nonce.size = 2, "invitation.nonce");
    BREAK(3, m.body.check_in_reply.invitation.valid_ms = UINT64_MAX, "invitation.valid_ms");
    BREAK(3, m.body.check_in_reply.outcomes_count = 17, "outcomes");
    BREAK(3, m.body.check_in_reply.outcomes[0].terms_hash.size = 3, "outcomes.terms_hash");
    BREAK(3, m.body.check_in_reply.outcomes[0].outcome = sotto_Outcome_OUTCOME_UNSPECIFIED,
          "outcome");
    BREAK(3, m.body.check_in_reply.outcomes[0].outcome = (sotto_Outcome)4, "outcome");
    BREAK(3, m.which_body = 0, "body");
    BREAK(3, m.which_body = 99, "body");
}

static void packages_and_reports(void **state) {
    (void)state;
    BREAK(4, m.body.get_package.hash.size = 0, "hash");
    BREAK(4, m.body.get_package.base.size = 16, "base");
    BREAK(4, m.body.get_package.index = WIRE_CHUNKS_MAX, "index");
    BREAK(4, m.body.get_package.count = 0, "count");
    BREAK(4, m.body.get_package.count = WIRE_CHUNKS_MAX + 1, "count");
    BREAK(5, m.body.package_chunk.hash.size = 31, "hash");
    BREAK(5, m.body.package_chunk.chunks = 0, "chunks");
    BREAK(5, m.body.package_chunk.index = 3, "index");
    BREAK(5, m.body.package_chunk.bytes = 0, "bytes");
    BREAK(5, m.body.package_chunk.bytes = WIRE_BLOB_MAX + 1, "bytes");
    BREAK(6, m.body.report_open.terms_hash.size = 0, "terms_hash");
    BREAK(6, m.body.report_open.hash.size = 0, "hash");
    BREAK(6, m.body.report_open.bytes = 0, "bytes");
    BREAK(7, m.body.report_grant.terms_hash.size = 0, "terms_hash");
    BREAK(7, m.body.report_grant.next_index = WIRE_CHUNKS_MAX + 1, "next_index");
    BREAK(7, m.body.report_grant.credit = WIRE_CHUNKS_MAX + 1, "credit");
    BREAK(8, m.body.report_chunk.terms_hash.size = 0, "terms_hash");
    BREAK(8, m.body.report_chunk.index = WIRE_CHUNKS_MAX, "index");
    BREAK(9, m.body.report_ack.terms_hash.size = 0, "terms_hash");
    BREAK(9, m.body.report_ack.status = 65536, "status");
    BREAK(9, m.body.report_ack.outcome = (sotto_Outcome)9, "outcome");
    BREAK(9, m.body.report_ack.reason[2] = '\t', "reason");
    BREAK(9, m.body.report_ack.come_back_ms = UINT64_MAX, "come_back_ms");
    BREAK(10, m.body.heartbeat.terms_hash.size = 0, "terms_hash");
    BREAK(10, m.body.heartbeat.permille = 1001, "permille");
    BREAK(11, m.body.heartbeat_reply.terms_hash.size = 0, "terms_hash");
    BREAK(11, m.body.heartbeat_reply.reason[0] = '\r', "reason");
    BREAK(12, m.body.decline.terms_hash.size = 0, "terms_hash");
    BREAK(12, m.body.decline.rule[0] = '\0', "rule");
    BREAK(12, m.body.decline.detail[1] = 'x', "detail"); /* half a character before it */
    BREAK(13, m.body.decline_reply.terms_hash.size = 0, "terms_hash");
    BREAK(13, m.body.decline_reply.come_back_ms = UINT64_MAX, "come_back_ms");
    BREAK(14, m.body.error.status = UINT32_MAX, "status");
    BREAK(14, m.body.error.text[0] = '\x1b', "text");
    BREAK(14, m.body.error.retry_ms = UINT64_MAX, "retry_ms");
}

static void terms_refused(const sotto_Terms *t, const char *field) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char want[64];
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    (void)snprintf(want, sizeof want, "field %s:", field);
    ASSERT_FAILS(wire_terms_encode(t, &b, &err), SOTTO_INTERNAL, want);
    buf_deinit(&b);
}

#define BREAK_TERMS(change, field)                                                                 \
    do {                                                                                           \
        sotto_Terms t;                                                                             \
        sample_terms(&t);                                                                          \
        change;                                                                                    \
        terms_refused(&t, (field));                                                                \
    } while (0)

static void terms(void **state) {
    (void)state;
    BREAK_TERMS(t.task[0] = '\0', "task");
    BREAK_TERMS(t.task[0] = '\n', "task");
    BREAK_TERMS(t.task_id.size = 0, "task_id");
    BREAK_TERMS(t.kind = sotto_Kind_KIND_UNSPECIFIED, "kind");
    BREAK_TERMS(t.kind = (sotto_Kind)3, "kind");
    BREAK_TERMS(t.tier[0] = '\x02', "tier");
    BREAK_TERMS(t.package_hash.size = 0, "package_hash");
    BREAK_TERMS(t.package_bytes = 0, "package_bytes");
    BREAK_TERMS(t.package_bytes = WIRE_BLOB_MAX + 1, "package_bytes");
    BREAK_TERMS(t.collection[0] = '\x02', "collection");
    BREAK_TERMS(t.has_rule = false, "rule");
    BREAK_TERMS(t.has_pipeline = false, "pipeline");
    BREAK_TERMS(t.weight_max = 0, "weight_max");
    BREAK_TERMS(t.weight_max = (1u << 24) + 1, "weight_max");
    BREAK_TERMS(t.n_max = 0, "n_max");
    BREAK_TERMS(t.n_max = 1000001, "n_max");
    BREAK_TERMS(t.round_key.size = 0, "round_key");
    BREAK_TERMS(t.round_key.size = 31, "round_key");
    BREAK_TERMS(t.report_bytes_max = 0, "report_bytes_max");
    BREAK_TERMS(t.report_bytes_max = UINT64_MAX, "report_bytes_max");
    BREAK_TERMS(t.train_ms = UINT64_MAX, "train_ms");
    BREAK_TERMS(t.heartbeat_ms = UINT64_MAX, "heartbeat_ms");
    BREAK_TERMS(t.examples_min = UINT32_MAX, "examples_min");
    BREAK_TERMS(t.privacy.secure_aggregation = 3, "privacy.secure_aggregation");
    BREAK_TERMS(t.privacy.minimum_group = 1000001, "privacy.minimum_group");
    BREAK_TERMS(t.privacy.noise_multiplier = -1.0f, "privacy.noise_multiplier");
}

static void terms_rule_and_pipeline(void **state) {
    (void)state;
    BREAK_TERMS(t.rule.epochs = 0, "rule.epochs");
    BREAK_TERMS(t.rule.epochs = 10001, "rule.epochs");
    BREAK_TERMS(t.rule.batch = 65537, "rule.batch");
    BREAK_TERMS(t.rule.steps_max = UINT32_MAX, "rule.steps_max");
    BREAK_TERMS(t.rule.examples_max = UINT32_MAX, "rule.examples_max");
    BREAK_TERMS(t.rule.lr = 0.0f, "rule.lr");
    BREAK_TERMS(t.rule.lr = NAN, "rule.lr");
    BREAK_TERMS(t.rule.lr = INFINITY, "rule.lr");
    BREAK_TERMS(t.rule.lr = 1000.5f, "rule.lr");
    BREAK_TERMS(t.rule.momentum = 1.0f, "rule.momentum");
    BREAK_TERMS(t.rule.momentum = -0.1f, "rule.momentum");
    BREAK_TERMS(t.rule.weight_decay = NAN, "rule.weight_decay");
    BREAK_TERMS(t.rule.prox_mu = -1.0f, "rule.prox_mu");
    BREAK_TERMS(t.rule.clip_norm = INFINITY, "rule.clip_norm");
    BREAK_TERMS(t.rule.algorithm = WIRE_ALGORITHM_MAX + 1, "rule.algorithm");
    BREAK_TERMS((t.rule.algorithm = WIRE_ALGORITHM_SCAFFOLD, t.rule.prox_mu = 0.5f),
                "rule.prox_mu");
    BREAK_TERMS(t.pipeline.clip_norm = -1.0f, "pipeline.clip_norm");
    BREAK_TERMS(t.pipeline.clip_inf = 0.0f, "pipeline.clip_inf");
    BREAK_TERMS(t.pipeline.clip_inf = NAN, "pipeline.clip_inf");
    BREAK_TERMS(t.pipeline.keep = 0.0f, "pipeline.keep");
    BREAK_TERMS(t.pipeline.keep = 1.1f, "pipeline.keep");
    BREAK_TERMS(t.pipeline.bits = 1, "pipeline.bits");
    BREAK_TERMS(t.pipeline.bits = 17, "pipeline.bits");
    BREAK_TERMS(t.pipeline.bits = 33, "pipeline.bits");
    BREAK_TERMS(t.pipeline.residual_rounds_max = UINT32_MAX, "pipeline.residual_rounds_max");
    BREAK_TERMS(t.pipeline.fraction_bits = 7, "pipeline.fraction_bits");
    BREAK_TERMS(t.pipeline.fraction_bits = 41, "pipeline.fraction_bits");
}

/* Terms of sums under masks: nothing is sealed to the round, the pipeline is common to all. */
static void masked_terms(sotto_Terms *t) {
    sample_terms(t);
    t->round_key.size = 0;
    t->n_max = 100;
    t->privacy = (sotto_PrivacyTerms){.secure_aggregation = 2,
                                      .minimum_group = 10,
                                      .ring_bits = 16,
                                      .exchange_ms = 30000,
                                      .adversary = 2,
                                      .adversarial = 0.05f,
                                      .dropout = 0.3f};
    t->pipeline.clip_norm = 3.0f;
    t->pipeline.keep = 0.1f;
    t->pipeline.bits = 9;
    t->pipeline.support = 1;
    t->pipeline.rotate_log2 = 15;
    t->pipeline.range = 0.1f;
}

#define BREAK_MASKED(change, field) BREAK_TERMS((masked_terms(&t), change), field)

static void terms_under_masks(void **state) {
    (void)state;
    BREAK_MASKED(t.privacy.ring_bits = 18, "privacy.ring_bits");
    BREAK_MASKED(t.privacy.ring_bits = 0, "privacy.ring_bits");
    BREAK_MASKED(t.privacy.minimum_group = 9, "privacy.minimum_group");
    BREAK_MASKED(t.privacy.adversary = 0, "privacy.adversary");
    BREAK_MASKED(t.privacy.adversary = 3, "privacy.adversary");
    BREAK_MASKED(t.privacy.adversarial = 1.5f, "privacy.adversarial");
    BREAK_MASKED(t.privacy.dropout = NAN, "privacy.dropout");
    BREAK_MASKED(t.privacy.secure_aggregation = 3, "privacy.secure_aggregation");
    BREAK_MASKED(t.n_max = 9, "n_max");
    BREAK_MASKED(t.n_max = 16385, "n_max");
    BREAK_MASKED(t.pipeline.support = 0, "pipeline.support");
    BREAK_MASKED(t.pipeline.support = 3, "pipeline.support");
    BREAK_MASKED(t.pipeline.range = 0.0f, "pipeline.range");
    BREAK_MASKED(t.pipeline.range = INFINITY, "pipeline.range");
    BREAK_MASKED(t.pipeline.bits = 32, "pipeline.bits");
    BREAK_MASKED(t.pipeline.rotate_log2 = 16, "pipeline.rotate_log2");
    BREAK_MASKED(t.pipeline.rotate_log2 = 2, "pipeline.rotate_log2");
    /* A ring without masks is a mistake of its maker. */
    BREAK_TERMS(t.privacy.ring_bits = 16, "privacy.ring_bits");
}

/* What may be left out. */
static void accepted(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    sotto_Terms t;
    sample_terms(&t);
    t.kind = sotto_Kind_KIND_EVALUATE;
    t.has_rule = t.has_pipeline = t.has_privacy = false;
    ASSERT_OK(wire_terms_encode(&t, &b, &err));
    sample_terms(&t);
    t.pipeline.bits = 32;
    ASSERT_OK(wire_terms_encode(&t, &b, &err));
    masked_terms(&t);
    ASSERT_OK(wire_terms_encode(&t, &b, &err));
    t.kind = sotto_Kind_KIND_EVALUATE;
    t.pipeline.range = 0.0f;
    ASSERT_OK(wire_terms_encode(&t, &b, &err));
    sotto_Envelope m = sotto_Envelope_init_zero;
    m.which_body = sotto_Envelope_check_in_reply_tag;
    ASSERT_OK(wire_encode(&m, &b, &err));
    sample_message(&m, 2);
    m.body.check_in.package_held.size = m.body.check_in.terms_held.size = 0;
    ASSERT_OK(wire_encode(&m, &b, &err));
    buf_deinit(&b);
}

/* The same rules hold for bytes from a peer: CORRUPT, and terms of a device without the sender's
 * help. */
static void received(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf b;
    sotto_Envelope m;
    sotto_Terms t;
    buf_init(&b, WIRE_CONTROL_MAX);
    sample_message(&m, 10);
    ASSERT_OK(wire_encode(&m, &b, &err));
    b.data[b.len - 1] = 0x7f; /* permille 16,244 */
    ASSERT_FAILS(wire_decode(buf_view(&b), &m, &err), SOTTO_CORRUPT, "field permille");
    sample_terms(&t);
    ASSERT_OK(wire_terms_encode(&t, &b, &err));
    const float lr = 0.1f, bad = NAN;
    for (size_t i = 0; i + 4 <= b.len; i++)
        if (memcmp(b.data + i, &lr, 4) == 0)
            memcpy(b.data + i, &bad, 4);
    ASSERT_FAILS(wire_terms_decode(buf_view(&b), &t, &err), SOTTO_CORRUPT, "field rule.lr");
    ASSERT_FAILS(wire_terms_decode(view_of(b.data, 0), &t, &err), SOTTO_CORRUPT, "0 bytes");
    ASSERT_STATUS(wire_terms_decode(view_of(b.data, 40), &t, &err), SOTTO_CORRUPT);
    buf_deinit(&b);
}

static void set_text(void **state) {
    (void)state;
    char field[8];
    wire_set_text(field, sizeof field, "abc");
    assert_string_equal(field, "abc");
    wire_set_text(field, sizeof field, "a\nb\x7f");
    assert_string_equal(field, "a?b?");
    wire_set_text(field, sizeof field, "abcdefghij");
    assert_string_equal(field, "abcdefg");
    wire_set_text(field, sizeof field, "abcdef\xc3\xbc"); /* its second byte would not fit */
    assert_string_equal(field, "abcdef");
    wire_set_text(field, sizeof field, "ab\xff\xc3\xbc");
    assert_string_equal(field, "ab???");
    wire_set_text(field, sizeof field, NULL);
    assert_string_equal(field, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_ins),
        cmocka_unit_test(packages_and_reports),
        cmocka_unit_test(terms),
        cmocka_unit_test(terms_rule_and_pipeline),
        cmocka_unit_test(terms_under_masks),
        cmocka_unit_test(accepted),
        cmocka_unit_test(received),
        cmocka_unit_test(set_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Terms: their encoding, and the ranges that a device relies on. */
#include "wire/check.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

#define EXAMPLES_MAX 0x7fffffffu

_Static_assert(sotto_Terms_size <= WIRE_TERMS_MAX, "terms fit their field in CheckInReply");

static void check_rule(struct check *c, const sotto_LocalRule *r) {
    check_range(c, r->epochs, 1, 10000, "rule.epochs");
    check_range(c, r->batch, 0, 65536, "rule.batch");
    check_range(c, r->steps_max, 0, 1000000000, "rule.steps_max");
    check_range(c, r->examples_max, 0, EXAMPLES_MAX, "rule.examples_max");
    check_float(c, r->lr, 0.0f, 1000.0f, "rule.lr");
    check_that(c, r->lr > 0.0f, "rule.lr", "is not above 0");
    check_float(c, r->momentum, 0.0f, 1.0f, "rule.momentum");
    check_that(c, r->momentum < 1.0f, "rule.momentum", "is not below 1");
    check_float(c, r->weight_decay, 0.0f, 1000.0f, "rule.weight_decay");
    check_float(c, r->prox_mu, 0.0f, 1e6f, "rule.prox_mu");
    check_float(c, r->clip_norm, 0.0f, 1e9f, "rule.clip_norm");
    check_range(c, r->algorithm, 0, WIRE_ALGORITHM_MAX, "rule.algorithm");
    /* Control variates are displacements a step: a proximal pull is another such term. */
    check_that(c, r->algorithm != WIRE_ALGORITHM_SCAFFOLD || r->prox_mu <= 0.0f, "rule.prox_mu",
               "does not go with control variates");
}

static void check_pipeline(struct check *c, const sotto_Pipeline *p) {
    check_float(c, p->clip_norm, 0.0f, 1e9f, "pipeline.clip_norm");
    check_float(c, p->clip_inf, 0.0f, 1e6f, "pipeline.clip_inf");
    check_that(c, p->clip_inf > 0.0f, "pipeline.clip_inf", "is not above 0");
    check_float(c, p->keep, 0.0f, 1.0f, "pipeline.keep");
    check_that(c, p->keep > 0.0f, "pipeline.keep", "is not above 0");
    check_that(c, p->bits == 32 || (p->bits >= 2 && p->bits <= 16), "pipeline.bits",
               "is neither in 2..16 nor 32");
    check_range(c, p->residual_rounds_max, 0, 1000000, "pipeline.residual_rounds_max");
    check_range(c, p->fraction_bits, 8, 40, "pipeline.fraction_bits");
    check_range(c, p->support, 0, 2, "pipeline.support");
    check_that(c, p->rotate_log2 == 0 || (p->rotate_log2 >= 3 && p->rotate_log2 <= 15),
               "pipeline.rotate_log2", "is neither 0 nor in 3..15");
    check_float(c, p->range, 0.0f, 1e9f, "pipeline.range");
}

/* Under masks the whole pipeline is common to all members. */
static void check_privacy(struct check *c, const sotto_Terms *t) {
    const sotto_PrivacyTerms *p = &t->privacy;
    check_range(c, p->secure_aggregation, 0, 2, "privacy.secure_aggregation");
    check_range(c, p->minimum_group, 0, 1000000, "privacy.minimum_group");
    check_float(c, p->noise_multiplier, 0.0f, 1e6f, "privacy.noise_multiplier");
    check_range(c, p->exchange_ms, 0, WIRE_DURATION_MAX_MS, "privacy.exchange_ms");
    check_float(c, p->adversarial, 0.0f, 1.0f, "privacy.adversarial");
    check_float(c, p->dropout, 0.0f, 1.0f, "privacy.dropout");
    if (p->secure_aggregation < 2) {
        check_range(c, p->ring_bits, 0, 0, "privacy.ring_bits");
        return;
    }
    check_that(c,
               p->ring_bits == 16 || p->ring_bits == 20 || p->ring_bits == 24 || p->ring_bits == 32,
               "privacy.ring_bits", "is none of 16, 20, 24, 32");
    check_range(c, p->minimum_group, 10, 16384, "privacy.minimum_group");
    check_range(c, p->adversary, 1, 2, "privacy.adversary");
    check_range(c, t->n_max, 10, 16384, "n_max");
    if (t->kind != sotto_Kind_KIND_TRAIN || !t->has_pipeline)
        return;
    check_that(c, t->pipeline.support != 0 || !(t->pipeline.keep < 1.0f), "pipeline.support",
               "is each device's own, sums under masks need a common one");
    check_that(c, t->pipeline.range > 0.0f, "pipeline.range", "is not above 0");
    check_that(c, t->pipeline.bits <= 16, "pipeline.bits", "is not in 2..16");
}

void check_terms(struct check *c, const sotto_Terms *t) {
    CHECK_TEXT(c, t->task, true, "task");
    check_size(c, t->task_id.size, WIRE_TASK_ID, false, "task_id");
    check_range(c, (uint64_t)t->kind, sotto_Kind_KIND_TRAIN, sotto_Kind_KIND_EVALUATE, "kind");
    CHECK_TEXT(c, t->tier, false, "tier");
    check_size(c, t->package_hash.size, WIRE_HASH, false, "package_hash");
    check_range(c, t->package_bytes, 1, WIRE_BLOB_MAX, "package_bytes");
    CHECK_TEXT(c, t->collection, false, "collection");
    if (t->kind == sotto_Kind_KIND_TRAIN) {
        check_that(c, t->has_rule, "rule", "is missing");
        check_that(c, t->has_pipeline, "pipeline", "is missing");
    }
    if (t->has_rule)
        check_rule(c, &t->rule);
    if (t->has_pipeline)
        check_pipeline(c, &t->pipeline);
    if (t->has_privacy)
        check_privacy(c, t);
    check_range(c, t->weight_max, 1, 1u << 24, "weight_max");
    check_range(c, t->n_max, 1, 1000000, "n_max");
    /* Under masks nothing is sealed to the round. */
    check_size(c, t->round_key.size, 32, t->has_privacy && t->privacy.secure_aggregation == 2,
               "round_key");
    check_range(c, t->report_bytes_max, 1, WIRE_BLOB_MAX, "report_bytes_max");
    check_range(c, t->train_ms, 0, WIRE_DURATION_MAX_MS, "train_ms");
    check_range(c, t->heartbeat_ms, 0, WIRE_DURATION_MAX_MS, "heartbeat_ms");
    check_range(c, t->examples_min, 0, EXAMPLES_MAX, "examples_min");
}

enum sotto_status wire_terms_encode(const sotto_Terms *terms, struct buf *out,
                                    struct sotto_error *err) {
    uint8_t bytes[sotto_Terms_size];
    struct check c = {"terms", SOTTO_OK, SOTTO_INTERNAL, err};
    check_terms(&c, terms);
    if (c.status != SOTTO_OK)
        return c.status;
    pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
    if (!pb_encode(&stream, sotto_Terms_fields, terms))
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "cannot encode terms: %s", PB_GET_ERROR(&stream));
    buf_reset(out);
    buf_put(out, bytes, stream.bytes_written);
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "cannot keep %zu bytes of terms", stream.bytes_written);
    return SOTTO_OK;
}

enum sotto_status wire_terms_decode(struct view bytes, sotto_Terms *out, struct sotto_error *err) {
    memset(out, 0, sizeof *out);
    if (bytes.n == 0 || bytes.n > WIRE_TERMS_MAX)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "terms have %zu bytes instead of 1..%u", bytes.n,
                          WIRE_TERMS_MAX);
    pb_istream_t stream = pb_istream_from_buffer(bytes.p, bytes.n);
    if (!pb_decode(&stream, sotto_Terms_fields, out))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "terms do not decode: %s", PB_GET_ERROR(&stream));
    struct check c = {"terms", SOTTO_OK, SOTTO_CORRUPT, err};
    check_terms(&c, out);
    return c.status;
}

struct wire_hash wire_terms_hash(struct view bytes) {
    return wire_hash_of("sotto terms v1", bytes);
}

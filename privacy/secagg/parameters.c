/* What secure aggregation would cost and claim for so many clients: the operator's question. */
#include "secagg_int.h"

/* Seconds on one 3.6 GHz x86 core with libsodium 1.0.18: an agreement, a verification, a byte of
 * ChaCha20, one multiplication of a 32-byte secret. */
#define AGREE_S  44e-6
#define VERIFY_S 67e-6
#define STREAM_S (1.0 / 1.2e9)
#define FIELD_S  50e-9

static void costs(const struct secagg_question *q, struct secagg_answer *a) {
    const uint64_t n = q->clients, holders = (uint64_t)a->used_degree + 1,
                   cert = q->cert_bytes ? q->cert_bytes : 304, record = RECORD_FIXED + cert,
                   set = bitmap_bytes(q->clients),
                   masked = secagg_ring_bytes(q->ring_bits, q->dimension);
    a->bytes_up = MSG_HEAD + record + (MSG_HEAD + holders * ENTRY_SHARES) +
                  (SECAGG_MASKED_HEAD + masked) + (MSG_HEAD + SECAGG_SIG) +
                  (MSG_HEAD + holders * ENTRY_UNMASK);
    a->bytes_down = MSG_HEAD + 8 + holders * record + (a->complete ? 0 : n * SECAGG_KEY) +
                    (MSG_HEAD + set + (holders - 1) * ENTRY_SHARES) + (MSG_HEAD + set) +
                    (MSG_HEAD + holders * ENTRY_SIG);
    a->client_seconds = (double)holders * (4 * AGREE_S + 4 * VERIFY_S) +
                        (double)holders * (double)masked * STREAM_S +
                        (double)holders * a->used_threshold * 2 * FIELD_S;
}

enum sotto_status secagg_parameters_answer(const struct secagg_question *q,
                                           struct secagg_answer *out, struct sotto_error *err) {
    struct secagg_graph_params searched, used;
    struct secagg_answer a = {0};
    if (!secagg_ring_valid(q->ring_bits))
        return SOTTO_FAIL(err, SOTTO_INVALID, "ring of %u bits: 16, 20, 24 or 32 are known",
                          q->ring_bits);
    if (q->dimension > SECAGG_LENGTH_MAX || q->cert_bytes > SECAGG_CERT_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "dimension above 2^32, or certificate above %u bytes",
                          SECAGG_CERT_MAX);
    if (q->clients < SECAGG_MEMBERS_MIN)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "a secure group of %u is refused: at least %u members",
                          q->clients, SECAGG_MEMBERS_MIN);
    enum sotto_status status =
        secagg_graph_search(q->clients, q->adversarial, q->dropout, q->adversary, &searched, err);
    if (status == SOTTO_OK)
        status =
            secagg_group_params(q->clients, q->adversarial, q->dropout, q->adversary, &used, err);
    if (status != SOTTO_OK)
        return status;
    a.degree = searched.degree;
    a.threshold = searched.threshold;
    a.used_degree = used.degree;
    a.used_threshold = used.threshold;
    a.complete = used.complete;
    a.groups = (q->clients + SECAGG_COMPLETE_MAX - 1) / SECAGG_COMPLETE_MAX;
    a.group_min = q->clients / a.groups;
    a.group_max = a.group_min + (q->clients % a.groups != 0);
    a.group_threshold = 2 * a.group_max / 3 + 1;
    costs(q, &a);
    *out = a;
    return SOTTO_OK;
}

static void describe_json(const struct secagg_question *q, const struct secagg_answer *a,
                          struct buf *out) {
    char seconds[32];
    buf_printf(out,
               "{\"clients\":%u,\"degree\":%u,\"threshold\":%u,\"used_degree\":%u,"
               "\"used_threshold\":%u,\"complete\":%s,\"groups\":%u,\"group_min\":%u,"
               "\"group_max\":%u,\"group_threshold\":%u,\"bytes_up\":%llu,\"bytes_down\":%llu,"
               "\"client_seconds\":%s}\n",
               q->clients, a->degree, a->threshold, a->used_degree, a->used_threshold,
               a->complete ? "true" : "false", a->groups, a->group_min, a->group_max,
               a->group_threshold, (unsigned long long)a->bytes_up,
               (unsigned long long)a->bytes_down,
               num_format_f64(seconds, sizeof seconds, a->client_seconds));
}

void secagg_parameters_describe(const struct secagg_question *q, const struct secagg_answer *a,
                                bool json, struct buf *out) {
    char up[32], down[32];
    if (json) {
        describe_json(q, a, out);
        return;
    }
    buf_printf(out, "search           degree %u, threshold %u (failure below 2^-%d, 2^-%d)\n",
               a->degree, a->threshold, SECAGG_SIGMA, SECAGG_ETA);
    if (a->complete)
        buf_printf(out,
                   "one group of %-4u complete graph: degree %u, threshold %u; holds against a "
                   "cheating coordinator\n",
                   q->clients, a->used_degree, a->used_threshold);
    else
        buf_printf(out,
                   "one group of %-4u random graph: degree %u, threshold %u; holds against a "
                   "curious coordinator\n"
                   "or %-4u groups   of %u to %u, complete graphs: threshold %u; hold against a "
                   "cheating one\n",
                   q->clients, a->used_degree, a->used_threshold, a->groups, a->group_min,
                   a->group_max, a->group_threshold);
    buf_printf(out, "a client sends   %s, receives %s, works about %.3f s\n",
               num_format_size(up, sizeof up, a->bytes_up),
               num_format_size(down, sizeof down, a->bytes_down), a->client_seconds);
}

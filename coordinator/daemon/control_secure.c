/* What rounds show says of a masked round's groups: who took part, who fell out where, and what can
 * be claimed of the sum. */
#include "daemon/control_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const states[] = {"running", "summed", "failed"};
static const char *const dropped_in[] = {"advertise", "shares", "masked", "signature", "unmask"};

static const char *state_name(const struct store_secure *g) {
    return (unsigned)g->state < ARRAY_LEN(states) ? states[g->state] : "unknown";
}

static void group_json(struct json *j, const struct store_secure *g) {
    char hex[2 * sizeof g->session + 1];
    const enum secure_claim claim = secure_claim_of(g->beside, g->members);
    json_object_begin(j);
    json_put_u64(j, "group", g->group);
    json_put_u64(j, "session", g->attempt);
    json_put_str(j, "state", state_name(g));
    json_put_u64(j, "members", g->members);
    json_put_u64(j, "sharers", g->sharers);
    json_put_u64(j, "survivors", g->survivors);
    json_put_u64(j, "signers", g->signers);
    json_put_u64(j, "unmaskers", g->unmaskers);
    json_key(j, "dropped");
    json_object_begin(j);
    for (size_t i = 0; i < ARRAY_LEN(dropped_in); i++)
        json_put_u64(j, dropped_in[i], g->dropped[i]);
    json_object_end(j);
    json_put_u64(j, "degree", g->degree);
    json_put_u64(j, "threshold", g->threshold);
    json_put_u64(j, "minimum", g->minimum);
    json_put_bool(j, "complete", g->complete);
    json_put_bool(j, "authority_beside", g->beside);
    json_put_str(j, "claim", claim == SECURE_CLAIM_CHEATING ? "cheating" : "curious");
    json_put_u64(j, "bad_shares", g->bad_shares);
    json_put_u64(j, "bytes_up", g->bytes_up);
    json_put_u64(j, "bytes_down", g->bytes_down);
    json_put_f64(j, "unmask_seconds", g->seconds);
    json_put_u64(j, "started_ms", (uint64_t)g->started_ms);
    json_put_u64(j, "ended_ms", (uint64_t)g->ended_ms);
    json_put_str(j, "id", num_format_hex(hex, g->session, sizeof g->session));
    json_put_str(j, "reason", g->reason);
    json_object_end(j);
}

enum sotto_status control_secure_json(struct coordinator *c, const struct store_round *round,
                                      struct json *j, struct sotto_error *err) {
    struct store_secure *g = NULL;
    uint32_t count = 0;
    enum sotto_status status =
        store_secure_list(c->store, round->task, round->round, &g, &count, err);
    if (status != SOTTO_OK)
        return status;
    json_key(j, "secure_groups");
    json_array_begin(j);
    for (uint32_t i = 0; i < count; i++)
        group_json(j, &g[i]);
    json_array_end(j);
    mem_free(g);
    return SOTTO_OK;
}

static void group_text(struct buf *out, const struct store_secure *g) {
    char up[32], down[32];
    bool any = false;
    buf_printf(out, "group %u, session %u: %s%s%s\n", g->group, g->attempt, state_name(g),
               g->reason[0] ? ": " : "", g->reason);
    buf_printf(out, "  members %u, shared %u, survivors %u, signed %u; dropped", g->members,
               g->sharers, g->survivors, g->signers);
    for (size_t i = 0; i < ARRAY_LEN(dropped_in); i++)
        if (g->dropped[i]) {
            buf_printf(out, "%s %u in %s", any ? "," : "", g->dropped[i], dropped_in[i]);
            any = true;
        }
    buf_printf(out, "%s\n", any ? "" : " none");
    if (g->threshold)
        buf_printf(out, "  threshold %u of %u%s; the sum holds at least %u members\n", g->threshold,
                   g->degree + 1, g->complete ? " (everybody shares with everybody)" : "",
                   g->minimum);
    buf_printf(out, "  %s\n", secure_claim_text(secure_claim_of(g->beside, g->members)));
    buf_printf(out, "  up %s, down %s", num_format_size(up, sizeof up, g->bytes_up),
               num_format_size(down, sizeof down, g->bytes_down));
    if (g->state == STORE_SECURE_SUMMED)
        buf_printf(out, ", unmasked in %.3f s", g->seconds);
    if (g->bad_shares)
        buf_printf(out, ", %u bad shares left out", g->bad_shares);
    buf_put_u8(out, '\n');
}

enum sotto_status control_secure_text(struct coordinator *c, const struct store_round *round,
                                      struct buf *out, struct sotto_error *err) {
    struct store_secure *g = NULL;
    uint32_t count = 0;
    enum sotto_status status =
        store_secure_list(c->store, round->task, round->round, &g, &count, err);
    for (uint32_t i = 0; status == SOTTO_OK && i < count; i++)
        group_text(out, &g[i]);
    mem_free(g);
    return status;
}

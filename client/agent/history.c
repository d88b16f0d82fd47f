/* history: what the device did, and the secure groups that it took part in, by its own record. */
#include "agent/agent.h"

#include "lib/client_int.h"

#include <stdlib.h>
#include <time.h>

struct entry {
    int64_t at_ms;
    uint32_t order; /* of entries of one moment */
    struct buf line;
};
struct entries {
    const struct agent_args *args;
    struct entry *list;
    uint32_t count, cap;
};

static struct buf *add(struct entries *e, int64_t at_ms) {
    if (e->count >= e->cap)
        return NULL;
    struct entry *entry = &e->list[e->count];
    entry->at_ms = at_ms;
    entry->order = e->count++;
    buf_init(&entry->line, 4096);
    return &entry->line;
}

static void put_time(struct buf *line, int64_t at_ms) {
    const time_t seconds = (time_t)(at_ms / 1000);
    struct tm tm;
    char when[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(line, "%s  ", when);
}

static void collect_note(void *ctx, const struct devstore_history *h) {
    struct entries *e = ctx;
    struct buf *line = add(e, h->at_ms);
    if (line == NULL)
        return;
    if (e->args->json) {
        struct json j;
        json_init(&j, line);
        json_object_begin(&j);
        json_key(&j, "at_ms");
        json_i64(&j, h->at_ms);
        json_put_str(&j, "task", h->task);
        json_put_u64(&j, "round", h->round);
        json_put_str(&j, "text", h->text);
        json_object_end(&j);
        buf_put_u8(line, '\n');
        return;
    }
    put_time(line, h->at_ms);
    if (h->task[0] != '\0')
        buf_printf(line, "%s/%u  %s\n", h->task, h->round, h->text);
    else
        buf_printf(line, "%s\n", h->text);
}

/* How far the device got. */
static const char *state_text(enum secagg_stage stage) {
    switch (stage) {
    case SECAGG_STAGE_NEW:
    case SECAGG_STAGE_LIST:
        return "advertised";
    case SECAGG_STAGE_DELIVERY:
        return "shared";
    case SECAGG_STAGE_MASK:
        return "delivered";
    case SECAGG_STAGE_SURVIVORS:
        return "masked";
    case SECAGG_STAGE_SIGNATURES:
        return "signed";
    case SECAGG_STAGE_DONE:
        return "unmasked";
    case SECAGG_STAGE_REFUSED:
        break;
    }
    return "refused";
}

static const char *outcome_text(sotto_Outcome outcome) {
    return outcome == sotto_Outcome_OUTCOME_KEPT       ? "kept"
           : outcome == sotto_Outcome_OUTCOME_RETURNED ? "returned"
                                                       : "none";
}

static void json_session(struct buf *line, const struct devstore_secure *r) {
    const struct secagg_client_report *p = &r->report;
    struct json j;
    json_init(&j, line);
    json_object_begin(&j);
    json_key(&j, "at_ms");
    json_i64(&j, r->at_ms);
    json_put_str(&j, "task", r->task);
    json_put_u64(&j, "round", r->round);
    json_key(&j, "secure_group");
    json_object_begin(&j);
    json_put_u64(&j, "attempt", r->attempt);
    json_key(&j, "session");
    json_hex(&j, p->session, SECAGG_KEY);
    json_key(&j, "terms");
    json_hex(&j, r->terms.b, WIRE_HASH);
    json_put_u64(&j, "members", p->members);
    json_put_u64(&j, "sharers", p->sharers);
    json_put_u64(&j, "survivors", p->survivors);
    json_put_u64(&j, "signatures", p->signatures);
    json_put_u64(&j, "degree", p->degree);
    json_put_u64(&j, "threshold", p->threshold);
    json_put_u64(&j, "minimum", p->minimum);
    json_put_str(&j, "claim",
                 p->members == 0                                                   ? NULL
                 : secure_claim_of(r->beside, p->members) == SECURE_CLAIM_CHEATING ? "cheating"
                                                                                   : "curious");
    json_put_str(&j, "state", state_text(p->stage));
    json_put_str(&j, "outcome", outcome_text(r->outcome));
    json_object_end(&j);
    json_object_end(&j);
    buf_put_u8(line, '\n');
}

static void collect_session(void *ctx, const struct devstore_secure *r) {
    struct entries *e = ctx;
    const struct secagg_client_report *p = &r->report;
    char hex[2 * SECAGG_KEY + 1];
    struct buf *line = add(e, r->at_ms);
    if (line == NULL)
        return;
    if (e->args->json) {
        json_session(line, r);
        return;
    }
    put_time(line, r->at_ms);
    buf_printf(line, "%s/%u  secure group, session %u", r->task, r->round, r->attempt);
    if (p->members == 0) {
        buf_printf(line, ": %s, no group came about\n",
                   p->stage == SECAGG_STAGE_REFUSED ? "refused" : "advertised");
        return;
    }
    buf_printf(line, " (%.16s): %u members", num_format_hex(hex, p->session, SECAGG_KEY),
               p->members);
    if (p->survivors > 0)
        buf_printf(line, ", %u survivors", p->survivors);
    buf_printf(line, ", threshold %u, minimum %u; %s; %s, outcome %s\n", p->threshold, p->minimum,
               secure_claim_text(secure_claim_of(r->beside, p->members)), state_text(p->stage),
               outcome_text(r->outcome));
}

/* Newest last; notes of one moment come newest first out of the store. */
static int compare(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->order > y->order ? -1 : 1;
}

int agent_history(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = NULL;
    struct entries entries = {.args = a};
    enum sotto_status status;
    const uint32_t limit = (uint32_t)(a->limit == 0                 ? 50
                                      : a->limit > DEVSTORE_HISTORY ? DEVSTORE_HISTORY
                                                                    : a->limit);
    TRY(agent_open_store(a, &s, &err));
    entries.cap = 2 * limit;
    entries.list = mem_array(entries.cap, sizeof *entries.list);
    if (entries.list == NULL)
        TRY_FAIL(&err, SOTTO_NOMEM, "no memory for %u entries", limit);
    TRY(devstore_history_each(s, limit, collect_note, &entries, &err));
    TRY(devstore_secure_each(s, limit, collect_session, &entries, &err));
    qsort(entries.list, entries.count, sizeof *entries.list, compare);
    for (uint32_t i = entries.count > limit ? entries.count - limit : 0; i < entries.count; i++)
        agent_print(&entries.list[i].line);
out:
    for (uint32_t i = 0; i < entries.count; i++)
        buf_deinit(&entries.list[i].line);
    mem_free(entries.list);
    devstore_close(s);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}

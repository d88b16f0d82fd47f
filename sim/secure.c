/* Rounds under masks, the coordinator's half: a round's sessions as the engine asks for them, and
 * their end. It mirrors the daemon's secure.c, without a store. */
#include "secure.h"

#include <string.h>

/* ---- A round's beginning and end */

enum sotto_status sim_secure_plan_make(struct sim *s, struct sim_plan *p, struct sotto_error *err) {
    const struct task_config *t = &s->x->settings.task;
    enum sotto_status status = SOTTO_OK;
    buf_init(&p->support, PACKAGE_BYTES_MAX);
    /* A journal tells of packages without their bytes: nobody codes by such a plan. */
    if (!p->evaluation && p->base->package->bytes.len > 0)
        TRY(advance_mask(t, buf_view(&p->base->package->bytes), &p->support, err));
    const struct masked_terms terms = {.ring_bits = (unsigned)t->ring_bits,
                                       .members_max = task_group_max(t, p->evaluation),
                                       .task_seed = t->seed,
                                       .round = p->round,
                                       .mask = buf_view(&p->support)};
    TRY(masked_plan_new(&p->spec, &terms, &p->masked, err));
    p->terms.report_bytes_max =
        SECAGG_MASKED_HEAD + secagg_ring_bytes(terms.ring_bits, masked_length(p->masked));
out:
    return status;
}

enum sotto_status sim_secure_open(struct sim *s, uint32_t members, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct sim_plan *p = s->plan;
    sim_secure_close(s);
    TRY(secure_config(&p->terms, &p->keys.terms, masked_length(p->masked), &p->secagg, err));
    s->secure = mem_zalloc(sizeof *s->secure);
    if (!s->secure)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a round under masks");
    memcpy(s->secure->ids.authority, s->document.authority_key, ID_KEY);
    secure_identity(&s->secure->ids, &s->secure->identity);
    s->secure->member_count = members;
    s->secure->inputs = mem_array(members ? members : 1, sizeof(struct sim_job *));
    if (!s->secure->inputs)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a round of %u members", members);
out:
    return status;
}

void sim_secure_close(struct sim *s) {
    struct sim_secure *r = s->secure;
    if (!r)
        return;
    for (uint32_t i = 0; i < r->group_count; i++)
        secagg_server_free(r->groups[i].server);
    for (uint32_t i = 0; r->inputs && i < r->member_count; i++)
        job_drop(r->inputs[i]);
    mem_free(r->groups);
    mem_free(r->inputs);
    mem_free(r);
    s->secure = NULL;
}

/* ---- Sessions */

static enum sotto_status session_begin(struct sim *s, uint32_t group, struct sotto_error *err) {
    struct sim_secure_group *g = &s->secure->groups[group];
    secagg_server_free(g->server);
    memset(g, 0, sizeof *g);
    s->round.sessions++;
    return sim_is_real(s)
               ? secagg_server_new(&s->plan->secagg, &s->secure->identity, &g->server, err)
               : SOTTO_OK;
}

static void grouped(struct sim *s, uint32_t group) {
    const struct round_event e = {.kind = ROUND_EV_GROUPED,
                                  .now_ms = s->time.now_ms,
                                  .round = s->plan->round,
                                  .group = group,
                                  .ok = true};
    host_queue(s, &e);
}

static enum sotto_status make_groups(struct sim *s, struct sotto_error *err) {
    enum sotto_status status;
    uint32_t count = 0;
    (void)round_groups(s->engine, &count);
    TRY(sim_slots_prepare(s, count, s->plan->evaluation, err));
    s->secure->groups = mem_array(count ? count : 1, sizeof *s->secure->groups);
    if (!s->secure->groups)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u groups", count);
    s->secure->group_count = count;
    for (uint32_t i = 0; i < count; i++)
        TRY(session_begin(s, i, err));
    grouped(s, ROUND_ALL_GROUPS);
out:
    return status;
}

static enum sotto_status make_again(struct sim *s, const struct round_action *a,
                                    struct sotto_error *err) {
    const enum sotto_status status = session_begin(s, a->group, err);
    LOG(LOG_INFO, "secure.again", LU("round", a->round), LU("group", a->group),
        LS("text", a->text));
    if (status == SOTTO_OK)
        grouped(s, a->group);
    return status;
}

/* ---- Exchanges, without keys: what secagg's server counts */

static uint64_t size_at(const struct secagg_config *config, enum secagg_kind kind, uint32_t n) {
    struct secagg_config c = *config;
    c.members_max = n;
    return secagg_message_max(&c, kind);
}

/* Of a member's neighbours and itself, on a graph that is not complete: as many as on average. */
static uint32_t near(const struct sim_secure_group *g, uint32_t set) {
    const uint32_t holders = g->params.degree + 1;
    if (g->params.complete || g->members == 0)
        return set;
    return (uint32_t)(((uint64_t)set * holders + g->members / 2) / g->members);
}

uint64_t sim_secure_shown_bytes(const struct sim_secure_group *g,
                                const struct secagg_config *config, enum secagg_kind kind) {
    const uint32_t holders = g->params.degree + 1;
    const uint64_t head = size_at(config, SECAGG_SHARES, 0),
                   set = size_at(config, SECAGG_SURVIVORS, g->members);
    switch ((int)kind) {
    case SECAGG_LIST: /* all records, or all hashes and the neighbours' records */
        return size_at(config, kind, holders) +
               (uint64_t)SECAGG_KEY * (g->params.complete ? 0 : g->members) -
               (uint64_t)SECAGG_KEY * holders;
    case SECAGG_DELIVERY:
        return set + size_at(config, SECAGG_SHARES, near(g, g->sharers) - 1) - head;
    case SECAGG_SURVIVORS:
        return set;
    case SECAGG_SIGNATURES:
        return size_at(config, kind, near(g, g->signers));
    default:
        return 0;
    }
}

bool sim_secure_group_ready(const struct sim_secure_group *g) {
    if (g->server)
        return secagg_server_ready(g->server);
    return near(g, g->unmaskers) >= g->params.threshold;
}

static enum sotto_status close_advertise(const struct sim *s, struct sim_secure_group *g,
                                         struct sotto_error *why) {
    const struct secagg_config *c = &s->plan->secagg;
    g->minimum = c->members_min > SECAGG_MEMBERS_MIN ? c->members_min : SECAGG_MEMBERS_MIN;
    if (g->members < g->minimum)
        return SOTTO_FAIL(why, SOTTO_CHECK, "%u members are below the minimum group of %u",
                          g->members, g->minimum);
    const enum sotto_status status =
        secagg_group_params(g->members, c->gamma, c->delta, c->adversary, &g->params, why);
    if (status == SOTTO_OK && g->params.complete && g->params.threshold > g->minimum)
        g->minimum = g->params.threshold;
    return status;
}

static enum sotto_status close_exact(const struct sim *s, struct sim_secure_group *g,
                                     enum secagg_kind kind, struct sotto_error *why) {
    if (g->failed)
        return SOTTO_FAIL(why, SOTTO_STATE, "this secure group has failed");
    if (kind == SECAGG_ADVERTISE)
        return close_advertise(s, g, why);
    if (kind == SECAGG_UNMASK)
        return sim_secure_group_ready(g)
                   ? SOTTO_OK
                   : SOTTO_FAIL(why, SOTTO_CHECK,
                                "too few shares: %u of %u survivors have answered", g->unmaskers,
                                g->survivors);
    const uint32_t count = kind == SECAGG_SHARES   ? g->sharers
                           : kind == SECAGG_MASKED ? g->survivors
                                                   : g->signers;
    return count >= g->minimum ? SOTTO_OK
                               : SOTTO_FAIL(why, SOTTO_CHECK, "%u members are there, %u are needed",
                                            count, g->minimum);
}

static void close_exchange(struct sim *s, const struct round_action *a) {
    struct sim_secure_group *g = &s->secure->groups[a->group];
    struct sotto_error why = SOTTO_ERROR_INIT;
    const enum secagg_kind kind = (enum secagg_kind)a->exchange;
    const enum sotto_status closed =
        g->server ? secagg_server_close(g->server, kind, &why) : close_exact(s, g, kind, &why);
    g->failed = closed != SOTTO_OK;
    if (g->server && kind == SECAGG_ADVERTISE && closed == SOTTO_OK) {
        struct secagg_server_report r;
        secagg_server_report(g->server, &r);
        g->params = (struct secagg_graph_params){r.degree, r.threshold, r.complete};
    }
    if (g->failed)
        LOG(LOG_INFO, "secure.fail", LU("round", a->round), LU("group", a->group),
            LU("exchange", a->exchange), LS("reason", why.message));
    const struct round_event e = {.kind = ROUND_EV_CLOSED,
                                  .now_ms = s->time.now_ms,
                                  .round = s->plan->round,
                                  .group = a->group,
                                  .attempt = a->attempt,
                                  .exchange = a->exchange,
                                  .ok = closed == SOTTO_OK};
    host_queue(s, &e);
}

/* ---- Messages into sessions */

static void count(struct sim_secure_group *g, enum secagg_kind kind) {
    g->members += kind == SECAGG_ADVERTISE;
    g->sharers += kind == SECAGG_SHARES;
    g->survivors += kind == SECAGG_MASKED;
    g->signers += kind == SECAGG_SIGNATURE;
    g->unmaskers += kind == SECAGG_UNMASK;
}

enum sotto_status sim_secure_message_take(struct sim *s, const struct round_member *m,
                                          enum secagg_kind kind, uint64_t bytes, bool *taken,
                                          struct sotto_error *err) {
    uint32_t members = 0;
    const struct round_member *first = round_members(s->engine, &members);
    struct sim_secure_group *g = &s->secure->groups[m->group];
    struct sim_device *d = &s->devices[m->serial - 1];
    const bool masked = kind == SECAGG_MASKED;
    enum sotto_status status = SOTTO_OK;
    *taken = !g->server;
    if (masked && !d->job)
        return SOTTO_FAIL(err, SOTTO_STATE, "client %llu has no input",
                          (unsigned long long)m->serial);
    if (g->server) {
        const struct view message = masked ? view_of(d->job->report.data, SECAGG_MASKED_HEAD)
                                           : secure_member_out(d->masks->member);
        status = secure_take(g->server, kind, m->serial, message, bytes, taken, err);
    }
    if (!*taken)
        return status;
    count(g, kind);
    s->round.bytes_up += bytes;
    if (masked) {
        sim_secure_input_drop(s, (uint32_t)(m - first));
        s->secure->inputs[m - first] = d->job;
        d->job = NULL;
    }
    return status;
}

/* ---- The engine's actions */

static enum sotto_status tell_group(struct sim *s, uint32_t group, struct sotto_error *err) {
    uint32_t members = 0;
    enum sotto_status status = SOTTO_OK;
    const struct round_member *m = round_members(s->engine, &members);
    for (uint32_t i = 0; i < members; i++) {
        uint8_t attempt;
        if (m[i].group == group && round_secure_task(s->engine, m[i].serial, &attempt) != 0)
            TRY(sim_secure_tell(s, &m[i], err));
    }
out:
    return status;
}

void sim_secure_input_drop(struct sim *s, uint32_t member) {
    job_drop(s->secure->inputs[member]);
    s->secure->inputs[member] = NULL;
}

enum sotto_status sim_secure_action(struct sim *s, const struct round_action *a,
                                    struct sim_reply *to, struct sotto_error *err) {
    const struct round_member *m;
    if (!s->secure)
        return SOTTO_OK;
    switch ((int)a->kind) {
    case ROUND_DO_GROUP:
        return make_groups(s, err);
    case ROUND_DO_REGROUP:
        return make_again(s, a, err);
    case ROUND_DO_STATE:
        m = round_member_find(s->engine, a->serial);
        return m && to ? sim_secure_tell(s, m, err) : SOTTO_OK;
    case ROUND_DO_NOTIFY:
        return tell_group(s, a->group, err);
    case ROUND_DO_CLOSE:
        close_exchange(s, a);
        break;
    case ROUND_DO_RETURN:
        return sim_secure_return(s, a, to, err);
    default:
        break;
    }
    return SOTTO_OK;
}

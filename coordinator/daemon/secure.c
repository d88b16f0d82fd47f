/* Secure rounds: the sessions of a round's groups, as the engine asks for them: groups, closes,
 * another session, the sum, the end. */
#include "daemon/secure_int.h"

#include <stdio.h>
#include <string.h>

enum sotto_status masked_path(const struct coordinator *c, const struct wire_hash *terms,
                              uint64_t serial, uint32_t attempt, bool part, char *out, size_t cap,
                              struct sotto_error *err) {
    char dir[IO_PATH_MAX], name[48];
    enum sotto_status status = upload_dir(c, terms, dir, sizeof dir, err);
    snprintf(name, sizeof name, "%llu-%u%s", (unsigned long long)serial, attempt,
             part ? ".part" : ".masked");
    return status == SOTTO_OK ? io_join(out, cap, dir, name, err) : status;
}

/* ---- The round's object
 * --------------------------------------------------------------------------------------------------
 */

/* The support that the round's package publishes; empty where it is drawn. */
static enum sotto_status read_mask(struct task_host *t, struct buf *out, struct sotto_error *err) {
    struct store_version base;
    struct buf package;
    char path[IO_PATH_MAX];
    enum sotto_status status;
    buf_init(&package, PACKAGE_BYTES_MAX);
    if (t->settings.support != CODEC_SUPPORT_PUBLISHED)
        return SOTTO_OK;
    TRY(store_version_get(t->c->store, t->row.id, t->round.base_version, &base, err));
    TRY(blob_path(t->c, "packages", &base.package_hash, path, sizeof path, err));
    TRY(io_read_file(path, PACKAGE_BYTES_MAX, &package, err));
    TRY(advance_mask(&t->settings, buf_view(&package), out, err));
out:
    buf_deinit(&package);
    return status;
}

enum sotto_status secure_plan(struct task_host *t, uint32_t round, bool evaluate,
                              struct secure_round **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct secure_round *s = mem_zalloc(sizeof *s);
    if (!s)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "round: out of memory");
    buf_init(&s->mask, PACKAGE_BYTES_MAX);
    struct masked_terms terms = {.ring_bits = (unsigned)t->settings.ring_bits,
                                 .members_max = task_group_max(&t->settings, evaluate),
                                 .task_seed = t->settings.seed,
                                 .round = round};
    task_spec(&t->settings, &t->graph.layout, evaluate, &t->spec);
    if (!evaluate)
        TRY(read_mask(t, &s->mask, err));
    terms.mask = buf_view(&s->mask);
    TRY(masked_plan_new(&t->spec, &terms, &s->plan, err));
    s->config.ring_bits = terms.ring_bits;
    s->config.length = masked_length(s->plan);
    *out = s;
    s = NULL;
out:
    secure_free(s);
    return status;
}

uint64_t secure_report_max(const struct secure_round *s) {
    return secagg_message_max(&s->config, SECAGG_MASKED);
}

enum sotto_status secure_configure(struct task_host *t, uint32_t members, struct sotto_error *err) {
    enum sotto_status status;
    sotto_Terms terms;
    struct secure_round *s = t->secure;
    TRY(wire_terms_decode(view_of(t->round.terms, t->round.terms_bytes), &terms, err));
    TRY(secure_config(&terms, &t->round.terms_hash, masked_length(s->plan), &s->config, err));
    /* Revoked devices are the gate's and the engine's business: a message that was taken stays
     * taken, or a session could not be built again. */
    memcpy(s->ids.authority, t->c->authority_key, ID_KEY);
    secure_identity(&s->ids, &s->identity);
    s->peers = mem_array(members ? members : 1, sizeof *s->peers);
    if (!s->peers)
        TRY_FAIL(err, SOTTO_NOMEM, "round: out of memory");
    s->peer_count = members;
out:
    return status;
}

static void groups_free(struct secure_round *s) {
    for (uint32_t i = 0; i < s->group_count; i++)
        secagg_server_free(s->groups[i].server);
    mem_free(s->groups);
    s->groups = NULL;
    s->group_count = 0;
}

void secure_free(struct secure_round *s) {
    if (!s)
        return;
    groups_free(s);
    masked_plan_free(s->plan);
    buf_deinit(&s->mask);
    mem_free(s->peers);
    mem_free(s);
}

enum sotto_status secure_groups_new(struct task_host *t, uint32_t count, struct sotto_error *err) {
    struct secure_round *s = t->secure;
    groups_free(s);
    s->groups = mem_array(count ? count : 1, sizeof *s->groups);
    if (!s->groups)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "round: out of memory");
    s->group_count = count;
    return SOTTO_OK;
}

enum sotto_status secure_session_new(struct task_host *t, uint32_t group, struct sotto_error *err) {
    struct secure_group *g = &t->secure->groups[group];
    secagg_server_free(g->server);
    g->server = NULL;
    return secagg_server_new(&t->secure->config, &t->secure->identity, &g->server, err);
}

/* ---- Records
 * ---------------------------------------------------------------------------------------------------------
 */

void secure_row_update(struct task_host *t, uint32_t group) {
    struct secure_group *g = &t->secure->groups[group];
    struct secagg_server_report r;
    uint32_t out[10];
    if (!g->server)
        return;
    secagg_server_report(g->server, &r);
    g->row.sharers = r.sharers;
    g->row.survivors = r.survivors;
    g->row.signers = r.signers;
    g->row.unmaskers = r.unmaskers;
    g->row.degree = r.degree;
    g->row.threshold = r.threshold;
    g->row.minimum = r.minimum;
    g->row.complete = r.complete;
    g->row.bad_shares = r.bad_shares;
    memcpy(g->row.session, r.session, sizeof g->row.session);
    round_secure_counts(t->engine, group, out);
    for (uint32_t i = 0; i < ARRAY_LEN(g->row.dropped); i++)
        g->row.dropped[i] = out[2 * i + 1];
}

enum sotto_status secure_row_store(struct task_host *t, uint32_t group, struct sotto_error *err) {
    enum sotto_status status = store_begin(t->c->store, err);
    return status == SOTTO_OK ? store_secure_set(t->c->store, t->row.id, t->round.round,
                                                 &t->secure->groups[group].row, err)
                              : status;
}

static enum sotto_status begin_row(struct task_host *t, uint32_t group, struct sotto_error *err) {
    uint32_t count = 0;
    const struct round_group *g = round_groups(t->engine, &count);
    t->secure->groups[group].row = (struct store_secure){.group = group,
                                                         .attempt = g[group].attempt,
                                                         .members = g[group].members,
                                                         .beside = keys_authority_beside(t->c) ||
                                                                   t->c->document.authority_beside,
                                                         .started_ms = clock_wall_ms()};
    return secure_row_store(t, group, err);
}

/* ---- Groups
 * ----------------------------------------------------------------------------------------------------------
 */

static enum sotto_status grouped(struct task_host *t, uint32_t group, bool ok,
                                 struct sotto_error *err) {
    struct round_event e = {.kind = ROUND_EV_GROUPED,
                            .now_ms = clock_mono_ms(),
                            .round = t->round.round,
                            .group = group,
                            .ok = ok};
    return task_queue_event(t, &e, err);
}

/* Which session each member is in, as the engine has it. */
static enum sotto_status store_places(struct task_host *t, uint32_t group,
                                      struct sotto_error *err) {
    uint32_t members = 0;
    enum sotto_status status = SOTTO_OK;
    const struct round_member *m = round_members(t->engine, &members);
    for (uint32_t i = 0; i < members; i++)
        if (group == ROUND_ALL_GROUPS || m[i].group == group)
            TRY(store_member_group(t->c->store, t->row.id, t->round.round, m[i].serial, m[i].group,
                                   m[i].attempt, err));
out:
    return status;
}

static enum sotto_status make_groups(struct task_host *t, const struct round_action *a,
                                     struct sotto_error *err) {
    enum sotto_status status, made;
    uint32_t groups = 0;
    struct sotto_error why = SOTTO_ERROR_INIT;
    const struct round_group *g = round_groups(t->engine, &groups);
    TRY(round_group_hosts(t, groups, err));
    TRY(secure_groups_new(t, groups, err));
    TRY(store_begin(t->c->store, err));
    TRY(store_groups_replace(t->c->store, t->row.id, t->round.round, g, groups, err));
    TRY(store_places(t, ROUND_ALL_GROUPS, err));
    made = SOTTO_OK;
    for (uint32_t i = 0; i < groups && made == SOTTO_OK; i++) {
        made = secure_session_new(t, i, &why);
        TRY(begin_row(t, i, err));
    }
    TRY(task_event_log(t, "secure.groups", t->round.round, made == SOTTO_OK ? a->text : why.message,
                       err));
    TRY(grouped(t, ROUND_ALL_GROUPS, made == SOTTO_OK, err));
out:
    return status;
}

/* The messages of the session that failed are of no use to anybody. */
static enum sotto_status drop_messages(struct task_host *t, uint32_t group,
                                       struct sotto_error *err) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->upload_count; i++) {
        const struct round_member *m = round_member_find(t->engine, t->uploads[i].serial);
        if (!m || m->group != group)
            t->uploads[n++] = t->uploads[i];
    }
    t->upload_count = n;
    return store_messages_clear(t->c->store, t->row.id, t->round.round, group, err);
}

static enum sotto_status make_again(struct task_host *t, const struct round_action *a,
                                    struct sotto_error *err) {
    enum sotto_status status, made;
    char text[240];
    struct sotto_error why = SOTTO_ERROR_INIT;
    TRY(store_begin(t->c->store, err));
    TRY(drop_messages(t, a->group, err));
    TRY(store_places(t, a->group, err));
    made = secure_session_new(t, a->group, &why);
    TRY(begin_row(t, a->group, err));
    snprintf(text, sizeof text, "group %u: %.200s", a->group,
             made == SOTTO_OK ? a->text : why.message);
    TRY(task_event_log(t, "secure.again", t->round.round, text, err));
    TRY(grouped(t, a->group, made == SOTTO_OK, err));
out:
    return status;
}

/* ---- Closes
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *exchange_name(uint8_t exchange) {
    static const char *const names[] = {"advertise", "shares", "masked input", "consistency",
                                        "unmask"};
    return exchange % 2 == 1 && exchange / 2 < ARRAY_LEN(names) ? names[exchange / 2] : "?";
}

static enum sotto_status close_exchange(struct task_host *t, const struct round_action *a,
                                        struct sotto_error *err) {
    enum sotto_status status;
    char text[240];
    struct sotto_error why = SOTTO_ERROR_INIT;
    struct secure_group *g = &t->secure->groups[a->group];
    enum sotto_status closed =
        g->server ? secagg_server_close(g->server, (enum secagg_kind)a->exchange, &why)
                  : SOTTO_FAIL(&why, SOTTO_CHECK, "%s",
                               g->row.reason[0] ? g->row.reason : "its session is lost");
    TRY(store_begin(t->c->store, err));
    secure_row_update(t, a->group);
    if (closed == SOTTO_OK) {
        TRY(store_close_add(t->c->store, t->row.id, t->round.round, a->group, a->attempt,
                            a->exchange, clock_wall_ms(), err));
        snprintf(text, sizeof text, "group %u, session %u: %s closed: %s", a->group, a->attempt,
                 exchange_name(a->exchange), a->text);
    } else {
        g->row.state = STORE_SECURE_FAILED;
        g->row.ended_ms = clock_wall_ms();
        snprintf(g->row.reason, sizeof g->row.reason, "%.159s", why.message);
        snprintf(text, sizeof text, "group %u, session %u failed at %s: %.160s", a->group,
                 a->attempt, exchange_name(a->exchange), why.message);
    }
    TRY(secure_row_store(t, a->group, err));
    TRY(task_event_log(t, closed == SOTTO_OK ? "secure.exchange" : "secure.fail", t->round.round,
                       text, err));
    struct round_event e = {.kind = ROUND_EV_CLOSED,
                            .now_ms = clock_mono_ms(),
                            .round = t->round.round,
                            .group = a->group,
                            .attempt = a->attempt,
                            .exchange = a->exchange,
                            .ok = closed == SOTTO_OK};
    TRY(task_queue_event(t, &e, err));
out:
    return status;
}

/* ---- What members are told
 * -------------------------------------------------------------------------------------------- */

static enum sotto_status tell_group(struct task_host *t, uint32_t group, struct sotto_error *err) {
    uint32_t members = 0;
    enum sotto_status status = SOTTO_OK;
    const struct round_member *m = round_members(t->engine, &members);
    for (uint32_t i = 0; i < members; i++) {
        struct reply_to to;
        uint8_t attempt;
        if (m[i].group == group && round_secure_task(t->engine, m[i].serial, &attempt) != 0 &&
            secure_peer(t, m[i].serial, &to))
            TRY(secure_tell(t, &m[i], &to, err));
    }
out:
    return status;
}

enum sotto_status secure_action(struct task_host *t, const struct round_action *a,
                                struct reply_to *to, struct sotto_error *err) {
    const struct round_member *m;
    switch ((int)a->kind) {
    case ROUND_DO_GROUP:
        return make_groups(t, a, err);
    case ROUND_DO_REGROUP:
        return make_again(t, a, err);
    case ROUND_DO_STATE:
        m = round_member_find(t->engine, a->serial);
        return m && to && to->serial == a->serial ? secure_tell(t, m, to, err) : SOTTO_OK;
    case ROUND_DO_NOTIFY:
        return tell_group(t, a->group, err);
    case ROUND_DO_CLOSE:
        return close_exchange(t, a, err);
    default:
        return SOTTO_OK;
    }
}

/* ---- The end
 * ---------------------------------------------------------------------------------------------------------
 */

/* Masked inputs and messages have served; the summary stays. */
enum sotto_status secure_ended(struct task_host *t, uint32_t group, bool ok,
                               struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint32_t members = 0;
    char path[IO_PATH_MAX], text[240];
    const struct round_member *m = round_members(t->engine, &members);
    if (group >= t->secure->group_count)
        return SOTTO_OK; /* it never was a group */
    struct secure_group *g = &t->secure->groups[group];
    for (uint32_t i = 0; i < members; i++) {
        if (m[i].group != group)
            continue;
        for (uint32_t attempt = 1; attempt <= m[i].attempt; attempt++)
            for (int part = 0; part < 2; part++) {
                TRY(masked_path(t->c, &t->round.terms_hash, m[i].serial, attempt, part != 0, path,
                                sizeof path, err));
                TRY(outbox_remove(t->c->outbox, path, false, err));
            }
    }
    secure_row_update(t, group);
    g->row.state = ok ? STORE_SECURE_SUMMED : STORE_SECURE_FAILED;
    if (!g->row.ended_ms)
        g->row.ended_ms = clock_wall_ms();
    if (!ok && !g->row.reason[0])
        snprintf(g->row.reason, sizeof g->row.reason, "the group was given up");
    TRY(store_messages_clear(t->c->store, t->row.id, t->round.round, group, err));
    TRY(secure_row_store(t, group, err));
    if (ok) {
        snprintf(text, sizeof text,
                 "group %u: the sum of %u of %u members, threshold %u, unmasked in %.3f s: %s",
                 group, g->row.survivors, g->row.members, g->row.threshold, g->row.seconds,
                 secure_claim_text(secure_claim_of(g->row.beside, g->row.members)));
        TRY(task_event_log(t, "secure.sum", t->round.round, text, err));
    }
    secagg_server_free(g->server);
    g->server = NULL;
out:
    return status;
}

enum sotto_status secure_summed(struct task_host *t, uint32_t group, enum sotto_status sum,
                                const char *why, double seconds, struct sotto_error *err) {
    enum sotto_status status;
    char text[240];
    struct secure_group *g = &t->secure->groups[group];
    g->busy = false;
    g->row.seconds = seconds;
    if (sum == SOTTO_OK)
        return SOTTO_OK;
    snprintf(g->row.reason, sizeof g->row.reason, "%.159s", why);
    snprintf(text, sizeof text, "group %u: no sum: %.200s", group, why);
    TRY(task_event_log(t, "secure.fail", t->round.round, text, err));
    struct round_event e = {.kind = ROUND_EV_SUMMED,
                            .now_ms = clock_mono_ms(),
                            .round = t->round.round,
                            .group = group};
    TRY(task_event(t, &e, NULL, err));
out:
    return status;
}

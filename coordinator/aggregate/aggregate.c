/* A group's sums: each report is walked twice, part by part, first to check and then to add. */
#include "sotto/coordinator/aggregate.h"

#include <string.h>

enum sotto_status group_sums_init(struct group_sums *g, const struct codec_spec *spec,
                                  struct sotto_error *err) {
    memset(g, 0, sizeof *g);
    g->spec = *spec;
    return accumulator_init(&g->sums, spec, err);
}

void group_sums_deinit(struct group_sums *g) {
    accumulator_deinit(&g->sums);
    memset(g, 0, sizeof *g);
}

/* Where parts come from: a sealed report's opener, or an update in memory. */
struct parts {
    struct seal_opener *opener;
    const struct codec_update *update;
    uint32_t count;
};

static enum sotto_status parts_get(struct parts *p, uint32_t i, struct view *out,
                                   struct sotto_error *err) {
    if (p->opener)
        return seal_open_part(p->opener, i, out, err);
    *out = codec_update_part(p->update, i);
    return SOTTO_OK;
}

static enum sotto_status parts_open(struct parts *p, const struct codec_spec *spec,
                                    const struct report_keys *keys, uint64_t serial,
                                    struct view report, struct sotto_error *err) {
    *p = (struct parts){.count = codec_block_count(spec) + 1};
    return seal_open(report, keys->public_key, keys->secret_key, &keys->terms, serial, p->count,
                     &p->opener, err);
}

static enum sotto_status parts_of_update(struct parts *p, const struct codec_spec *spec,
                                         const struct codec_update *u, struct sotto_error *err) {
    *p = (struct parts){.update = u, .count = codec_block_count(spec) + 1};
    if (u->part_count != p->count)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "the update has %u parts instead of %u",
                          u->part_count, p->count);
    return SOTTO_OK;
}

static enum sotto_status parts_check(struct parts *p, const struct codec_spec *spec,
                                     struct sotto_error *err) {
    enum sotto_status status;
    struct codec_head *head = NULL;
    struct codec_check *check = NULL;
    struct view part;
    TRY(parts_get(p, 0, &part, err));
    TRY(codec_head_decode(spec, part, &head, err));
    check = codec_check_new(spec);
    if (!check)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory to check an update");
    for (uint32_t i = 1; i < p->count; i++) {
        TRY(parts_get(p, i, &part, err));
        TRY(codec_check_part(spec, head, check, part, err));
    }
    TRY(codec_check_finish(spec, head, check, err));
out:
    codec_check_free(check);
    codec_head_free(head);
    return status;
}

/* *begun: the sums have been touched. */
static enum sotto_status parts_add(struct parts *p, struct group_sums *g, bool *begun,
                                   struct sotto_error *err) {
    enum sotto_status status;
    struct codec_head *head = NULL;
    struct view part;
    if (g->sums.updates >= g->spec.accept_max)
        TRY_FAIL(err, SOTTO_LIMIT, "the group's sums hold %u updates, and were proved for no more",
                 g->sums.updates);
    TRY(parts_get(p, 0, &part, err));
    TRY(codec_head_decode(&g->spec, part, &head, err));
    for (uint32_t i = 1; i < p->count; i++) {
        TRY(parts_get(p, i, &part, err));
        *begun = true;
        TRY(accumulator_add_part(&g->sums, &g->spec, head, i, part, err));
    }
    *begun = true;
    TRY(accumulator_add_head(&g->sums, &g->spec, head));
out:
    codec_head_free(head);
    return status;
}

enum sotto_status report_check(const struct codec_spec *spec, const struct report_keys *keys,
                               uint64_t serial, struct view report, struct sotto_error *err) {
    struct parts p;
    enum sotto_status status = parts_open(&p, spec, keys, serial, report, err);
    if (status == SOTTO_OK)
        status = parts_check(&p, spec, err);
    seal_opener_free(p.opener);
    return status;
}

enum sotto_status report_add(struct group_sums *g, const struct report_keys *keys, uint64_t serial,
                             struct view report, bool *torn, struct sotto_error *err) {
    struct parts p;
    bool begun = false;
    enum sotto_status status = parts_open(&p, &g->spec, keys, serial, report, err);
    if (status == SOTTO_OK)
        status = parts_add(&p, g, &begun, err);
    seal_opener_free(p.opener);
    *torn = begun && status != SOTTO_OK;
    return status;
}

enum sotto_status update_check(const struct codec_spec *spec, const struct codec_update *u,
                               struct sotto_error *err) {
    struct parts p;
    enum sotto_status status = parts_of_update(&p, spec, u, err);
    return status == SOTTO_OK ? parts_check(&p, spec, err) : status;
}

enum sotto_status update_add(struct group_sums *g, const struct codec_update *u,
                             struct sotto_error *err) {
    struct parts p;
    bool begun = false;
    enum sotto_status status = parts_of_update(&p, &g->spec, u, err);
    return status == SOTTO_OK ? parts_add(&p, g, &begun, err) : status;
}

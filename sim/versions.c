/* The model's versions: made by a server step or told by a journal, dropped when nobody trains from
 * them any more. */
#include "versions.h"

#include <math.h>
#include <string.h>

void sim_package_drop(struct sim_package *p) {
    if (!p || --p->refs > 0)
        return;
    buf_deinit(&p->bytes);
    mem_free(p);
}

void sim_version_drop(struct sim_version *v) {
    if (!v || --v->refs > 0)
        return;
    if (v->params != v->master)
        mem_free(v->params);
    mem_free(v->control);
    mem_free(v->master);
    sim_package_drop(v->package);
    mem_free(v);
}

enum sotto_status sim_hash_put(struct wire_hash **list, size_t *cap, size_t at,
                               const struct wire_hash *h, struct sotto_error *err) {
    if (at >= *cap) {
        const size_t grow = at + at / 2 + 64;
        struct wire_hash *grown = mem_resize(*list, grow, sizeof *grown);
        if (!grown)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for %zu hashes", grow);
        *list = grown;
        *cap = grow;
    }
    (*list)[at] = *h;
    return SOTTO_OK;
}

enum sotto_status sim_version_params(const struct sim *s, struct sim_version *v,
                                     struct sotto_error *err) {
    struct package decoded;
    if (s->x->settings.task.downlink == PACKAGE_F32 && !s->has_control) {
        v->params = v->master; /* exactly what a device decodes */
        return SOTTO_OK;
    }
    memset(&decoded, 0, sizeof decoded);
    const enum sotto_status status = package_decode(buf_view(&v->package->bytes), &decoded, err);
    if (status == SOTTO_OK) {
        v->params = decoded.params;
        decoded.params = NULL;
    }
    for (uint32_t i = 0; s->has_control && i < decoded.extra_count; i++)
        if (strcmp(decoded.extras[i].name, PACKAGE_CONTROL) == 0) {
            v->control = decoded.extras[i].values;
            decoded.extras[i].values = NULL;
        }
    package_deinit(&decoded);
    return status;
}

/* The next version, empty. */
static struct sim_version *version_new(struct sim *s, struct sotto_error *err) {
    struct sim_version *v = mem_zalloc(sizeof *v);
    struct sim_package *p = mem_zalloc(sizeof *p);
    if (!v || !p) {
        mem_free(v);
        mem_free(p);
        (void)SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a version");
        return NULL;
    }
    v->refs = p->refs = 1;
    v->package = p;
    buf_init(&p->bytes, PACKAGE_BYTES_MAX);
    p->number = ++s->version_count;
    return v;
}

/* It becomes the current one. */
static enum sotto_status version_take(struct sim *s, struct sim_version *v,
                                      struct sotto_error *err) {
    struct sim_package *p = v->package;
    const enum sotto_status status =
        sim_hash_put(&s->version_hash, &s->version_cap, p->number, &p->hash, err);
    if (status != SOTTO_OK)
        return status;
    if (s->x->deltas) {
        struct sim_package **place = &s->kept[p->number % SIM_KEEP_VERSIONS];
        sim_package_drop(*place);
        *place = p;
        p->refs++;
    }
    sim_version_drop(s->version);
    s->version = v;
    return SOTTO_OK;
}

enum sotto_status sim_publish(struct sim *s, struct advance_out *a, struct sotto_error *err) {
    enum sotto_status status;
    struct sim_version *v = version_new(s, err);
    if (!v)
        return SOTTO_NOMEM;
    v->digest = a->digest;
    v->master = a->master;
    v->package->hash = a->package_hash;
    v->package->bytes = a->package;
    v->package->size = a->package.len;
    a->master = NULL;
    buf_init(&a->package, PACKAGE_BYTES_MAX);
    TRY(sim_version_params(s, v, err));
    TRY(version_take(s, v, err));
    v = NULL;
out:
    sim_version_drop(v);
    return status;
}

enum sotto_status sim_version_noted(struct sim *s, const struct wire_hash *digest,
                                    const struct wire_hash *package_hash, uint64_t package_bytes,
                                    struct sotto_error *err) {
    struct sim_version *v = version_new(s, err);
    if (!v)
        return SOTTO_NOMEM;
    v->digest = *digest;
    v->package->hash = *package_hash;
    v->package->size = package_bytes;
    const enum sotto_status status = version_take(s, v, err);
    if (status != SOTTO_OK)
        sim_version_drop(v);
    return status;
}

void sim_note_best(struct sim *s, const struct advance_out *a) {
    if (!isnan(a->validation_loss) && !(s->best_loss <= a->validation_loss))
        s->best_loss = a->validation_loss;
    if (!isnan(a->validation_accuracy) && !(s->best_accuracy >= a->validation_accuracy))
        s->best_accuracy = a->validation_accuracy;
}

enum sotto_status sim_first_version(struct sim *s, struct sotto_error *err) {
    struct advance_out a;
    memset(&a, 0, sizeof a);
    enum sotto_status status = advance_first(&s->x->settings.task, &s->x->graph, &s->x->schema,
                                             &s->x->data, s->x->params, s->backend, false, &a, err);
    if (status == SOTTO_OK) {
        sim_note_best(s, &a);
        status = sim_publish(s, &a, err);
    }
    advance_out_deinit(&a);
    return status;
}

/* A checkpoint's file: its parts, writing it in one step, and putting a run back. */
#include "checkpoint.h"

#include <string.h>

#include "sim.h"

#define MAGIC      "sotto-sim checkpoint"
#define FORMAT     2u
#define HASH_LABEL "sotto sim checkpoint v1"

/* ---- Parsing */

static struct view part(struct reader *r, const char *field) {
    const uint64_t n = reader_u64(r, field);
    return n <= CHECKPOINT_BYTES_MAX ? reader_bytes(r, (size_t)n, field) : view_of(NULL, 0);
}

static struct view list(struct reader *r, uint32_t *count, const char *field) {
    *count = reader_u32(r, field);
    if (*count > CHECKPOINT_LISTED)
        reader_fail(r, SOTTO_LIMIT, field);
    return part(r, field);
}

/* Each list's items, so that putting back need not doubt them. */
static void check_lists(struct reader *r, const struct checkpoint *c) {
    struct reader in;
    const uint64_t weights = (uint64_t)c->head.parameters * sizeof(float);
    bool good = c->master.n == weights && c->state.n % (weights ? weights : 1) == 0;
    reader_init(&in, c->packages);
    for (uint32_t i = 0; i < c->package_count && in.status == SOTTO_OK; i++) {
        (void)reader_u32(&in, "version");
        (void)part(&in, "package");
    }
    good = good && in.status == SOTTO_OK && reader_left(&in) == 0;
    reader_init(&in, c->versions);
    for (uint32_t i = 0; i < c->version_count && in.status == SOTTO_OK; i++) {
        (void)reader_u32(&in, "version");
        const uint8_t arrays = reader_u8(&in, "arrays");
        good = (arrays == 1 || arrays == 2) && good;
        (void)reader_bytes(&in, (size_t)weights * arrays, "weights");
    }
    good = good && in.status == SOTTO_OK && reader_left(&in) == 0;
    reader_init(&in, c->masses);
    for (uint32_t i = 0; i < c->mass_count && in.status == SOTTO_OK; i++) {
        good = reader_u32(&in, "client") < c->head.clients && good;
        const uint32_t n = reader_u32(&in, "count");
        for (uint32_t k = 0; k < n && in.status == SOTTO_OK; k++) {
            (void)reader_u32(&in, "index"); /* put back where it fits what clients keep */
            (void)reader_u32(&in, "value");
        }
    }
    if (!good || in.status != SOTTO_OK || reader_left(&in) != 0)
        reader_fail(r, SOTTO_CORRUPT, "list");
}

enum sotto_status checkpoint_parse(struct view file, struct checkpoint *out,
                                   struct sotto_error *err) {
    struct reader r;
    memset(out, 0, sizeof *out);
    if (file.n < sizeof MAGIC + WIRE_HASH || memcmp(file.p, MAGIC, sizeof MAGIC) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "this is not a checkpoint of sotto-sim");
    const struct view body = view_of(file.p, file.n - WIRE_HASH);
    const struct wire_hash hash = wire_hash_of(HASH_LABEL, body);
    if (memcmp(hash.b, file.p + body.n, WIRE_HASH) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "checkpoint: its hash is not that of its content");
    reader_init(&r, view_of(body.p + sizeof MAGIC, body.n - sizeof MAGIC));
    if (reader_u32(&r, "format") != FORMAT && r.status == SOTTO_OK)
        return SOTTO_FAIL(err, SOTTO_VERSION, "checkpoint: made by another version of sotto-sim");
    reader_str(&r, out->head.config_hash, sizeof out->head.config_hash, "config hash");
    reader_str(&r, out->head.version, sizeof out->head.version, "version");
    reader_str(&r, out->head.kernel_set, sizeof out->head.kernel_set, "kernels");
    out->head.clients = reader_u32(&r, "clients");
    out->head.parameters = reader_u32(&r, "parameters");
    out->journal = part(&r, "journal");
    out->master = part(&r, "model");
    out->state = part(&r, "state");
    out->packages = list(&r, &out->package_count, "packages");
    out->versions = list(&r, &out->version_count, "versions");
    out->masses = list(&r, &out->mass_count, "masses");
    out->residuals = part(&r, "residuals");
    if (r.status == SOTTO_OK)
        check_lists(&r, out);
    const enum sotto_status status = reader_finish(&r, true, "checkpoint", err);
    return status == SOTTO_OK ? journal_check(out->journal, &out->rounds, err) : status;
}

enum sotto_status checkpoint_fits(const struct checkpoint *c, const struct checkpoint_head *want,
                                  struct sotto_error *err) {
    const struct checkpoint_head *have = &c->head;
    if (strcmp(have->config_hash, want->config_hash) != 0)
        return SOTTO_FAIL(err, SOTTO_STATE,
                          "the checkpoint is of a run with other settings (config hash %.12s, not "
                          "%.12s)",
                          have->config_hash, want->config_hash);
    if (strcmp(have->version, want->version) != 0 ||
        strcmp(have->kernel_set, want->kernel_set) != 0)
        return SOTTO_FAIL(err, SOTTO_STATE,
                          "the checkpoint was made by sotto %s with kernels %s, this is %s with %s",
                          have->version, have->kernel_set, want->version, want->kernel_set);
    if (have->clients != want->clients || have->parameters != want->parameters)
        return SOTTO_FAIL(err, SOTTO_STATE,
                          "the checkpoint has %u clients and %u parameters, the run %u and %u",
                          have->clients, have->parameters, want->clients, want->parameters);
    return SOTTO_OK;
}

static void head_of(const struct sim *s, struct checkpoint_head *out) {
    memset(out, 0, sizeof *out);
    memcpy(out->config_hash, s->x->config_hash, sizeof out->config_hash);
    snprintf(out->version, sizeof out->version, "%s", SOTTO_VERSION_TEXT);
    snprintf(out->kernel_set, sizeof out->kernel_set, "%s", s->totals.kernel_set);
    out->clients = s->device_count;
    out->parameters = s->x->graph.layout.total;
}

/* ---- Writing */

static void put_part(struct buf *b, const void *p, size_t n) {
    buf_put_u64(b, n);
    if (n > 0)
        buf_put(b, p, n);
}

/* Room for a length, filled by end_part. */
static size_t begin_part(struct buf *b) {
    buf_put_u64(b, 0);
    return b->len;
}

static void end_part(struct buf *b, size_t begin) {
    const uint64_t n = b->len - begin;
    for (int i = 0; i < 8 && b->status == SOTTO_OK; i++)
        b->data[begin - 8 + (size_t)i] = (uint8_t)(n >> 8 * i);
}

static void put_packages(const struct sim *s, struct buf *b) {
    uint32_t count = 1;
    for (uint32_t i = 0; i < SIM_KEEP_VERSIONS; i++)
        count += s->kept[i] && s->kept[i] != s->version->package;
    buf_put_u32(b, count);
    const size_t begin = begin_part(b);
    buf_put_u32(b, s->version->package->number);
    put_part(b, s->version->package->bytes.data, s->version->package->bytes.len);
    for (uint32_t i = 0; i < SIM_KEEP_VERSIONS; i++)
        if (s->kept[i] && s->kept[i] != s->version->package) {
            buf_put_u32(b, s->kept[i]->number);
            put_part(b, s->kept[i]->bytes.data, s->kept[i]->bytes.len);
        }
    end_part(b, begin);
}

/* A client whose training is still to come, under an older version. */
static const struct sim_version *needs(const struct sim *s, uint32_t device) {
    const struct sim_job *j = s->devices[device].job;
    return j && j->kind == SIM_TRAIN && !j->told && j->plan->base != s->version ? j->plan->base
                                                                                : NULL;
}

static enum sotto_status put_versions(const struct sim *s, struct buf *b, struct sotto_error *err) {
    uint32_t count = 0;
    uint8_t *seen = mem_array((size_t)s->version_count + 1, 1);
    if (!seen)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a checkpoint");
    for (uint32_t i = 0; i < s->device_count; i++) {
        const struct sim_version *v = needs(s, i);
        if (v && !seen[v->package->number]++)
            count++;
    }
    buf_put_u32(b, count);
    const size_t begin = begin_part(b);
    for (uint32_t i = 0; i < s->device_count; i++) {
        const struct sim_version *v = needs(s, i);
        if (!v || seen[v->package->number] == 0)
            continue;
        seen[v->package->number] = 0;
        buf_put_u32(b, v->package->number);
        buf_put_u8(b, v->control ? 2 : 1);
        buf_put(b, v->params, (size_t)s->x->graph.layout.total * sizeof(float));
        if (v->control)
            buf_put(b, v->control, (size_t)s->x->graph.layout.total * sizeof(float));
    }
    end_part(b, begin);
    mem_free(seen);
    return SOTTO_OK;
}

static void put_masses(const struct sim *s, struct buf *b) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->device_count; i++)
        count += s->devices[i].mass != NULL;
    buf_put_u32(b, count);
    const size_t begin = begin_part(b);
    for (uint32_t i = 0; i < s->device_count; i++) {
        const struct sim_mass *m = s->devices[i].mass;
        if (!m)
            continue;
        buf_put_u32(b, i);
        buf_put_u32(b, m->count);
        for (uint32_t k = 0; k < m->count; k++) {
            buf_put_u32(b, m->index[k]);
            buf_put_f32(b, m->value[k]);
        }
    }
    end_part(b, begin);
}

static enum sotto_status put_all(struct sim *s, struct buf *b, struct sotto_error *err) {
    const size_t n = s->x->graph.layout.total;
    struct checkpoint_head head;
    enum sotto_status status;
    head_of(s, &head);
    buf_put(b, MAGIC, sizeof MAGIC);
    buf_put_u32(b, FORMAT);
    buf_put_str(b, head.config_hash);
    buf_put_str(b, head.version);
    buf_put_str(b, head.kernel_set);
    buf_put_u32(b, head.clients);
    buf_put_u32(b, head.parameters);
    put_part(b, s->journal.bytes.data, s->journal.bytes.len);
    put_part(b, s->version->master, n * sizeof(float));
    put_part(b, s->state,
             s->state ? strategy_state_arrays(&s->x->settings.task) * n * sizeof(float) : 0);
    put_packages(s, b);
    TRY(put_versions(s, b, err));
    put_masses(s, b);
    const size_t begin = begin_part(b);
    if (s->residuals)
        TRY(residuals_save(s->residuals, b, err));
    end_part(b, begin);
    const struct wire_hash hash = wire_hash_of(HASH_LABEL, buf_view(b));
    buf_put(b, hash.b, WIRE_HASH);
    if (b->status != SOTTO_OK)
        status = SOTTO_FAIL(err, b->status, "the checkpoint does not fit %zu MiB", b->max >> 20);
out:
    return status;
}

/* Whether a client is still to code by the support that an older package publishes, which a journal
 * does not have. */
static bool has_old_support(const struct sim *s) {
    for (uint32_t i = 0; i < s->device_count; i++)
        if (needs(s, i) && s->devices[i].job->plan->support.len > 0)
            return true;
    return false;
}

enum sotto_status checkpoint_write(struct sim *s, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf b;
    if (has_old_support(s)) /* the one before stands */
        return SOTTO_OK;
    buf_init(&b, CHECKPOINT_BYTES_MAX);
    TRY(put_all(s, &b, err));
    TRY(io_join(path, sizeof path, s->checkpoint_dir, CHECKPOINT_FILE, err));
    TRY(io_write_file(path, b.data, b.len, 0644, true, err));
    if (s->residuals)
        residuals_saved(s->residuals);
    s->checkpoint_ns = clock_mono_ns();
    s->checkpoint_round = s->round.round;
out:
    buf_deinit(&b);
    return status;
}

/* Checks under way would be lost: rare, and over by the end of a later round. */
static bool is_clean(const struct sim *s) {
    return s->adding == 0 && s->journal.mode == SIM_JOURNAL_WRITE;
}

enum sotto_status checkpoint_tick(struct sim *s, struct sotto_error *err) {
    const bool by_rounds =
        s->checkpoint_rounds && s->round.round - s->checkpoint_round >= s->checkpoint_rounds;
    const bool by_time = s->checkpoint_ms &&
                         clock_mono_ns() - s->checkpoint_ns >= s->checkpoint_ms * UINT64_C(1000000);
    if (!s->checkpoint_dir || !is_clean(s) || s->journal.bytes.status != SOTTO_OK)
        return SOTTO_OK;
    return by_rounds || by_time ? checkpoint_write(s, err) : SOTTO_OK;
}

void checkpoint_remove(struct sim *s) {
    static const char *const names[] = {CHECKPOINT_FILE, CHECKPOINT_RESIDUALS};
    char path[IO_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(names) && s->checkpoint_dir; i++)
        if (io_join(path, sizeof path, s->checkpoint_dir, names[i], NULL) == SOTTO_OK)
            (void)io_remove(path, NULL);
}

/* ---- Going on */

/* What a process that was killed while it wrote has left. */
static enum sotto_status sweep_up(void *ctx, const char *name) {
    static const char begin[] = CHECKPOINT_FILE ".tmp.";
    char path[IO_PATH_MAX];
    if (strncmp(name, begin, sizeof begin - 1) == 0 &&
        io_join(path, sizeof path, ctx, name, NULL) == SOTTO_OK)
        (void)io_remove(path, NULL);
    return SOTTO_OK;
}

enum sotto_status checkpoint_open(struct sim *s, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct checkpoint_head want;
    char dir[IO_PATH_MAX];
    s->journal.mode = SIM_JOURNAL_WRITE;
    snprintf(dir, sizeof dir, "%s", s->checkpoint_dir);
    TRY(io_list(dir, sweep_up, dir, err));
    TRY(io_join(path, sizeof path, s->checkpoint_dir, CHECKPOINT_FILE, err));
    if (!s->resume || !io_exists(path)) {
        s->resume = false;
        TRY(io_remove(path, err)); /* of an earlier run: it would be gone on with */
        return SOTTO_OK;
    }
    TRY(io_read_file(path, CHECKPOINT_BYTES_MAX, &s->saved, err));
    TRY(checkpoint_parse(buf_view(&s->saved), &s->checkpoint, err));
    head_of(s, &want);
    TRY(checkpoint_fits(&s->checkpoint, &want, err));
    buf_put(&s->journal.bytes, s->checkpoint.journal.p, s->checkpoint.journal.n);
    if (s->journal.bytes.status != SOTTO_OK)
        TRY_FAIL(err, s->journal.bytes.status, "no memory for a journal");
    reader_init(&s->journal.in, buf_view(&s->journal.bytes));
    s->journal.mode = s->checkpoint.rounds ? SIM_JOURNAL_READ : SIM_JOURNAL_WRITE;
out:
    if (status != SOTTO_OK)
        (void)sotto_error_prefix(err, "%s", s->checkpoint_dir);
    return status;
}

static enum sotto_status lost(struct sotto_error *err) {
    return SOTTO_FAIL(err, SOTTO_CORRUPT, "checkpoint: it lacks what a client works with");
}

static enum sotto_status restore_packages(struct sim *s, struct sotto_error *err) {
    struct reader in;
    enum sotto_status status = SOTTO_OK;
    reader_init(&in, s->checkpoint.packages);
    for (uint32_t i = 0; i < s->checkpoint.package_count; i++) {
        const uint32_t number = reader_u32(&in, "version");
        const struct view bytes = part(&in, "package");
        struct sim_package *p = s->version->package;
        if (number != p->number)
            p = s->kept[number % SIM_KEEP_VERSIONS];
        if (!p || p->number != number || p->size != bytes.n)
            TRY_FAIL(err, SOTTO_CORRUPT, "checkpoint: package %u is not of this run", number);
        buf_reset(&p->bytes);
        buf_put(&p->bytes, bytes.p, bytes.n);
        if (p->bytes.status != SOTTO_OK)
            TRY_FAIL(err, p->bytes.status, "no memory for a package");
    }
out:
    return status;
}

/* The current version, from its weights and package. */
static enum sotto_status restore_model(struct sim *s, struct sotto_error *err) {
    struct sim_version *v = s->version;
    const struct view state = s->checkpoint.state;
    const size_t arrays = strategy_state_arrays(&s->x->settings.task);
    enum sotto_status status = SOTTO_OK;
    if (v->params != v->master)
        mem_free(v->params);
    mem_free(v->control);
    mem_free(v->master);
    v->params = v->control = NULL;
    v->master = mem_dup(s->checkpoint.master.p, s->checkpoint.master.n);
    if (!v->master)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a model");
    TRY(sim_version_params(s, v, err));
    if (state.n > 0 && state.n != arrays * s->checkpoint.master.n)
        TRY_FAIL(err, SOTTO_CORRUPT, "checkpoint: the server step's state has the wrong size");
    mem_free(s->state);
    s->state = state.n ? mem_dup(state.p, state.n) : NULL;
    if (state.n && !s->state)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a server step's state");
out:
    return status;
}

/* Older weights that clients still train from. */
static enum sotto_status restore_versions(struct sim *s, struct sotto_error *err) {
    struct reader in;
    const size_t bytes = s->checkpoint.master.n;
    reader_init(&in, s->checkpoint.versions);
    for (uint32_t i = 0; i < s->checkpoint.version_count; i++) {
        const uint32_t number = reader_u32(&in, "version");
        const bool controlled = reader_u8(&in, "arrays") == 2;
        const struct view params = reader_bytes(&in, bytes, "weights");
        const struct view control = reader_bytes(&in, controlled ? bytes : 0, "control variates");
        for (uint32_t k = 0; k < s->device_count; k++) {
            const struct sim_version *v = needs(s, k);
            if (!v || v->package->number != number || v->params)
                continue;
            struct sim_version *to = s->devices[k].job->plan->base;
            to->params = mem_dup(params.p, bytes);
            if (controlled)
                to->control = mem_dup(control.p, bytes);
            if (!to->params || (controlled && !to->control))
                return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a version");
        }
    }
    for (uint32_t k = 0; k < s->device_count; k++)
        if (needs(s, k) && (!needs(s, k)->params || (s->has_control && !needs(s, k)->control)))
            return lost(err);
    return SOTTO_OK;
}

static enum sotto_status restore_masses(struct sim *s, struct sotto_error *err) {
    struct reader in;
    reader_init(&in, s->checkpoint.masses);
    for (uint32_t i = 0; i < s->checkpoint.mass_count; i++) {
        struct sim_device *d = &s->devices[reader_u32(&in, "client")];
        const uint32_t count = reader_u32(&in, "count");
        struct sim_mass *m = d->mass ? NULL : mem_zalloc(sizeof *m);
        if (!m)
            return d->mass ? lost(err) : SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a mass");
        d->mass = m;
        if (count == 0)
            continue;
        m->index = mem_array(count, sizeof *m->index);
        m->value = mem_array(count, sizeof *m->value);
        if (!m->index || !m->value)
            return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a mass");
        for (; m->count < count; m->count++) {
            const uint32_t index = reader_u32(&in, "index"), bits = reader_u32(&in, "value");
            if (index >= s->kept_count)
                return lost(err);
            m->index[m->count] = index;
            memcpy(&m->value[m->count], &bits, sizeof bits);
        }
    }
    return SOTTO_OK;
}

/* Clients whose training has begun but is not delivered: their work is handed out now. */
static enum sotto_status restart_jobs(struct sim *s, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < s->device_count && status == SOTTO_OK; i++) {
        struct sim_job *j = s->devices[i].job;
        if (j && j->kind == SIM_TRAIN && !j->told)
            status = job_plan(j, j->at_ms, err);
    }
    return status;
}

enum sotto_status checkpoint_restore(struct sim *s, struct sotto_error *err) {
    enum sotto_status status;
    struct reader in;
    s->journal.mode = SIM_JOURNAL_WRITE;
    TRY(restore_packages(s, err));
    TRY(restore_model(s, err));
    TRY(restore_versions(s, err));
    TRY(restore_masses(s, err));
    reader_init(&in, s->checkpoint.residuals);
    if (s->residuals)
        TRY(residuals_load(s->residuals, &in, err));
    TRY(reader_finish(&in, true, "checkpoint: residuals", err));
    TRY(restart_jobs(s, err));
    s->resumed_rounds = s->checkpoint.rounds;
    s->checkpoint_round = s->round.round;
    s->checkpoint_ns = clock_mono_ns();
    memset(&s->checkpoint, 0, sizeof s->checkpoint);
    buf_deinit(&s->saved);
    buf_init(&s->saved, CHECKPOINT_BYTES_MAX);
out:
    return status;
}

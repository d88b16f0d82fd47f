/* Which backend trains a model here: each that can is timed on steps of the model itself, once; the
 * fastest is remembered until a driver, a device or this program changes. A flag or the policy can
 * name one instead. */
#include "lib/client_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CHOOSE_STEPS  8u /* timed at a time, after one that warms up */
#define CHOOSE_PASSES 5u /* the fastest counts: others are at work on the device too */
#define CHOOSE_SLOW_MS                                                                             \
    100u                 /* no more passes after so long; a step that takes longer is timed alone */
#define SPEED_MEMORY 0.8 /* weight of the trainings before, in what is told */

size_t (*client_choose_candidates)(const struct kern_backend **out, size_t cap);
enum sotto_status (*client_choose_timing)(const struct kern_backend *b, double *samples_per_s,
                                          struct sotto_error *err);

/* A Vulkan driver that computes on the processor is the same machine by a longer way. */
static bool on_processor(const struct kern_backend *b) {
    struct kern_device_info devices[KERN_DEVICES_MAX];
    if (strcmp(kern_backend_name(b), "vulkan") != 0)
        return false;
    const size_t found = kern_device_list(devices, KERN_DEVICES_MAX, NULL, 0);
    for (size_t i = 0; i < found && i < KERN_DEVICES_MAX; i++)
        if (devices[i].selected)
            return strcmp(devices[i].type, "cpu") == 0;
    return false;
}

/* The oracle is for tests only; a device that is not there is no candidate. */
static size_t candidates(const struct kern_backend **out) {
    if (client_choose_candidates != NULL)
        return client_choose_candidates(out, CLIENT_BACKENDS_MAX);
    const struct kern_backend *all[CLIENT_BACKENDS_MAX];
    size_t n = 0, count = kern_backend_list(all, CLIENT_BACKENDS_MAX);
    for (size_t i = 0; i < count && i < CLIENT_BACKENDS_MAX; i++)
        if (strcmp(kern_backend_name(all[i]), "ref") != 0 && kern_backend_available(all[i]) &&
            !on_processor(all[i]))
            out[n++] = all[i];
    if (n == 0)
        out[n++] = kern_backend_find("ref");
    return n;
}

/* A backend's bit in backends_failed. */
static uint32_t bit_of(const struct kern_backend *b) {
    const struct kern_backend *all[CLIENT_BACKENDS_MAX];
    const size_t count = kern_backend_list(all, CLIENT_BACKENDS_MAX);
    for (size_t i = 0; i < count && i < CLIENT_BACKENDS_MAX; i++)
        if (all[i] == b)
            return 1u << i;
    return 0;
}

static struct wire_hash model_hash(const struct graph *g) {
    struct wire_hash hash;
    struct buf bytes;
    buf_init(&bytes, 1u << 20);
    graph_encode(g, &bytes);
    hash = wire_hash_of("sotto graph v1", buf_view(&bytes));
    buf_deinit(&bytes);
    return hash;
}

/* A device's compiled kernels and self-test results lie beside the store. */
static void setup_devices(const struct sotto_client *c) {
    char dir[IO_PATH_MAX];
    const struct kern_device_options options = {.cache_dir = dir};
    if (kern_backend_find("vulkan") != NULL &&
        io_join(dir, sizeof dir, devstore_dir(c->store), "kernels", NULL) == SOTTO_OK &&
        io_mkdir_p(dir, 0700, NULL) == SOTTO_OK)
        (void)kern_device_setup(&options, NULL); /* STATE: this process has set it up before */
}

enum sotto_status client_choose_open(struct sotto_client *c, const char *name,
                                     struct sotto_error *err) {
    setup_devices(c);
    if (name == NULL && strcmp(c->policy.backend, "auto") != 0)
        name = c->policy.backend;
    if (name != NULL) {
        c->backend_fixed = true;
        c->backend = kern_backend_find(name);
        if (c->backend == NULL)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "there is no backend \"%.40s\" in this program: see sotto-client "
                              "devices",
                              name);
        if (kern_backend_available(c->backend))
            return SOTTO_OK;
        client_log(c, "backend %.40s cannot be used here now; the processor trains", name);
    }
    c->backend = kern_backend_host();
    return SOTTO_OK;
}

void client_choose_tell(struct sotto_client *c) {
    struct devstore_choice last;
    if (c->session == NULL)
        return;
    if (c->told_kernels[0] != '\0')
        session_backend(c->session, c->told_kernels, (float)c->told_speed);
    else if (!c->backend_fixed &&
             devstore_choice_get(c->store, NULL, NULL, 0, &last, NULL) == SOTTO_OK)
        session_backend(c->session, last.kernels, (float)last.samples_per_s);
}

/* From now on this backend does the work, and the coordinator hears of it. */
static void take(struct sotto_client *c, const struct kern_backend *b, double samples_per_s) {
    if (c->speed_of != b) {
        c->speed_of = b;
        c->speed_samples = c->speed_seconds = 0;
    }
    c->work.backend = b;
    wire_set_text(c->told_kernels, sizeof c->told_kernels, kern_backend_kernel_set(b));
    c->told_speed = samples_per_s;
    client_choose_tell(c);
}

/* ---- Timing
 * ------------------------------------------------------------------------------------------------------------------
 */

static enum sotto_status run_steps(struct trainer *trainer, const struct sotto_client *c,
                                   const struct train_stream *stream, uint32_t steps,
                                   double *samples, double *seconds, struct sotto_error *err) {
    const struct examples examples = dataset_examples(&c->work.data);
    struct train_metrics metrics;
    enum sotto_status status;
    TRY(trainer_begin_package(trainer, &c->work.package, &examples, stream, err));
    const uint64_t begin = clock_mono_ns();
    TRY(trainer_advance(trainer, steps, NULL, err));
    trainer_finish(trainer, NULL, &metrics);
    *seconds = (double)(clock_mono_ns() - begin) * 1e-9;
    *samples = (double)metrics.seen;
out:
    return status;
}

static enum sotto_status time_backend(struct sotto_client *c, const sotto_Terms *t,
                                      const struct kern_backend *b, double *samples_per_s,
                                      struct sotto_error *err) {
    if (client_choose_timing != NULL)
        return client_choose_timing(b, samples_per_s, err);
    const struct train_stream stream = {t->task_seed, t->round, c->identity.serial};
    struct trainer *trainer = NULL;
    struct train_rule rule;
    double samples = 0, seconds = 0;
    enum sotto_status status = SOTTO_OK;
    terms_rule(t, &rule);
    rule.algorithm = TRAIN_SGD; /* control variates cost no time that could be told */
    TRY(trainer_new(&c->work.package.graph, &rule, c->work.data.count, b, &trainer, err));
    TRY(run_steps(trainer, c, &stream, 1, &samples, &seconds, err));
    const uint32_t steps = seconds * 1e3 > CHOOSE_SLOW_MS ? 1 : CHOOSE_STEPS;
    double spent = 0;
    *samples_per_s = 0;
    for (uint32_t i = 0; i < CHOOSE_PASSES && spent * 1e3 < CHOOSE_SLOW_MS; i++) {
        TRY(run_steps(trainer, c, &stream, steps, &samples, &seconds, err));
        spent += seconds;
        if (seconds > 0 && samples / seconds > *samples_per_s)
            *samples_per_s = samples / seconds;
    }
out:
    trainer_free(trainer);
    return status;
}

static void note(struct devstore_choice *c, const char *fmt, ...) SOTTO_PRINTF(2, 3);
static void note(struct devstore_choice *c, const char *fmt, ...) {
    const size_t used = strlen(c->detail);
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->detail + used, sizeof c->detail - used, fmt, args);
    va_end(args);
}

/* Times one candidate, unless it failed before in this process. */
static void try_one(struct sotto_client *c, const sotto_Terms *t, const struct kern_backend *b) {
    const uint32_t bit = bit_of(b);
    struct client_choosing *w = &c->work.choosing;
    struct sotto_error why = SOTTO_ERROR_INIT;
    const char *comma = w->best.detail[0] != '\0' ? ", " : "";
    double speed = 0;
    if ((c->backends_failed & bit) == 0 && time_backend(c, t, b, &speed, &why) != SOTTO_OK) {
        c->backends_failed |= bit;
        client_log(c, "backend %s is not taken: %s", kern_backend_name(b), why.message);
    }
    if ((c->backends_failed & bit) != 0) {
        note(&w->best, "%s%s failed", comma, kern_backend_name(b));
        return;
    }
    note(&w->best, "%s%s %.0f/s", comma, kern_backend_name(b), speed);
    if (w->fastest == NULL || speed > w->best.samples_per_s) {
        w->fastest = b;
        w->best.samples_per_s = speed;
    }
}

/* ---- Choosing
 * ----------------------------------------------------------------------------------------------------------------
 */

static void begin_choosing(struct sotto_client *c, const sotto_Terms *t) {
    struct client_choosing *w = &c->work.choosing;
    struct train_rule rule;
    terms_rule(t, &rule);
    memset(w, 0, sizeof *w);
    w->begun = true;
    w->best.model = model_hash(&c->work.package.graph);
    w->best.batch = rule.batch > 0 ? rule.batch : c->work.data.count;
    w->best.machine = client_machine();
}

static void set_kernels(struct devstore_choice *c, const struct kern_backend *b) {
    wire_set_text(c->backend, sizeof c->backend, kern_backend_name(b));
    wire_set_text(c->kernels, sizeof c->kernels, kern_backend_kernel_set(b));
}

/* What was remembered, if it still stands, on the same device, and its backend has not failed
 * since. */
static bool remembered(struct sotto_client *c, const sotto_Terms *t) {
    const struct client_choosing *w = &c->work.choosing;
    const uint32_t batch = t->kind == sotto_Kind_KIND_TRAIN ? w->best.batch : 0;
    struct devstore_choice known, now;
    if (devstore_choice_get(c->store, &w->best.machine, &w->best.model, batch, &known, NULL) !=
        SOTTO_OK)
        return false;
    const struct kern_backend *b = kern_backend_find(known.backend);
    if (b == NULL || (c->backends_failed & bit_of(b)) != 0 || !kern_backend_available(b))
        return false;
    set_kernels(&now, b);
    if (strcmp(now.kernels, known.kernels) != 0)
        return false;
    c->work.choosing.best = known;
    take(c, b, known.samples_per_s);
    return true;
}

static enum sotto_status keep(struct sotto_client *c, struct sotto_error *err) {
    struct client_choosing *w = &c->work.choosing;
    set_kernels(&w->best, c->work.backend);
    return devstore_choice_put(c->store, &w->best, err);
}

enum sotto_status client_choose(struct sotto_client *c, const sotto_Terms *t, bool *ready,
                                struct sotto_error *err) {
    const struct kern_backend *list[CLIENT_BACKENDS_MAX];
    struct client_choosing *w = &c->work.choosing;
    *ready = true;
    if (c->work.backend != NULL)
        return SOTTO_OK;
    if (c->backend_fixed) {
        take(c, c->backend, c->told_speed);
        return SOTTO_OK;
    }
    if (!w->begun) {
        begin_choosing(c, t);
        if (remembered(c, t))
            return SOTTO_OK;
    }
    const size_t count = candidates(list);
    if (w->next == 0) {
        if (t->kind != sotto_Kind_KIND_TRAIN || count == 1) { /* nothing to compare */
            c->work.backend = count == 1 ? list[0] : c->backend;
            return SOTTO_OK;
        }
    }
    if (w->next < count) {
        try_one(c, t, list[w->next]);
        w->next++;
        *ready = w->next == count;
        if (!*ready)
            return SOTTO_OK;
    }
    if (w->fastest == NULL) {
        c->backends_failed = 0;
        return SOTTO_FAIL(err, SOTTO_STATE, "no backend can train this model: %s", w->best.detail);
    }
    take(c, w->fastest, w->best.samples_per_s);
    client_log(c, "backend %s trains %s: %s", kern_backend_name(w->fastest), t->task,
               w->best.detail);
    return keep(c, err);
}

bool client_choose_again(struct sotto_client *c, const struct sotto_error *why) {
    struct client_work *w = &c->work;
    if (c->backend_fixed || w->backend == NULL || w->backend == c->backend || !w->have_package ||
        !w->have_data)
        return false;
    c->backends_failed |= bit_of(w->backend);
    client_log(c, "backend %s failed, another one goes on: %s", kern_backend_name(w->backend),
               why->message);
    if (w->choosing.begun)
        (void)devstore_choice_drop(c->store, &w->choosing.best.model, NULL);
    trainer_free(w->trainer);
    evaluator_free(w->evaluator);
    w->trainer = NULL;
    w->evaluator = NULL;
    w->backend = NULL;
    w->evaluated = 0;
    memset(&w->metrics, 0, sizeof w->metrics);
    memset(&w->choosing, 0, sizeof w->choosing);
    w->kind = CLIENT_WORK_TRAIN;
    return true;
}

void client_choose_trained(struct sotto_client *c, double samples, double seconds) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    if (c->work.backend == NULL || !isfinite(samples) || samples <= 0 || seconds <= 0)
        return;
    c->speed_samples = SPEED_MEMORY * c->speed_samples + samples;
    c->speed_seconds = SPEED_MEMORY * c->speed_seconds + seconds;
    const double speed = c->speed_samples / c->speed_seconds;
    take(c, c->work.backend, speed);
    if (!c->work.choosing.begun)
        return;
    c->work.choosing.best.samples_per_s = speed;
    if (keep(c, &why) != SOTTO_OK) /* it is measured again another time */
        client_log(c, "%s", why.message);
}

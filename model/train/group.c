/* Trainers that share one program: each is a lane, and steps that they ask for at the same time run
 * in grouped launches. Small batches starve a large device; many clients together do not. */
#include "train/train_int.h"

#include <pthread.h>
#include <string.h>

/* What a lane waits for: count steps, of which done are behind it. */
struct request {
    const struct kern_step *steps;
    uint32_t count, done;
    kern_fill_fn *fill;
    void *ctx;
    double (*metrics)[KERN_METRIC_COUNT];
    enum sotto_status status;
    struct sotto_error error;
    bool pending;
};

struct train_group {
    struct train_engine engine;
    struct train_rule rule;
    const struct graph *graph;
    uint32_t lanes, batch;
    struct request *requests;             /* [lanes] */
    struct kern_step *steps;              /* [TRAIN_CHUNK][lanes] of one grouped run */
    double (*metrics)[KERN_METRIC_COUNT]; /* the same */
    pthread_mutex_t lock;                 /* what follows, and the requests */
    pthread_cond_t change;
    bool *taken; /* [lanes]: has a trainer */
    bool busy;   /* the exec runs */
    uint32_t active, waiting;
};

enum sotto_status train_group_new(const struct graph *g, const struct train_rule *rule,
                                  uint32_t batch_max, const struct kern_backend *backend,
                                  uint32_t lanes, struct train_group **out,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct train_group *group = mem_zalloc(sizeof *group);
    struct graph_options options;
    *out = NULL;
    if (!group)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a group of trainers");
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->change, NULL);
    TRY(train_rule_options(rule, batch_max, &options, err));
    TRY(train_engine_init_lanes(&group->engine, g, &options, backend, lanes, err));
    group->rule = *rule;
    group->graph = g;
    group->lanes = lanes;
    group->batch = options.batch;
    group->requests = mem_array(lanes, sizeof *group->requests);
    group->steps = mem_array((size_t)lanes * TRAIN_CHUNK, sizeof *group->steps);
    group->metrics = mem_array((size_t)lanes * TRAIN_CHUNK, sizeof *group->metrics);
    group->taken = mem_array(lanes, sizeof *group->taken);
    if (!group->requests || !group->steps || !group->metrics || !group->taken)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a group of %u trainers", lanes);
    *out = group;
    group = NULL;
out:
    train_group_free(group);
    return status;
}

void train_group_free(struct train_group *group) {
    if (!group)
        return;
    train_engine_deinit(&group->engine);
    mem_free(group->requests);
    mem_free(group->steps);
    mem_free(group->metrics);
    mem_free(group->taken);
    pthread_cond_destroy(&group->change);
    pthread_mutex_destroy(&group->lock);
    mem_free(group);
}

bool train_group_take(struct train_group *group, uint32_t *lane) {
    bool found = false;
    pthread_mutex_lock(&group->lock);
    for (uint32_t i = 0; i < group->lanes && !found; i++)
        if (!group->taken[i]) {
            *lane = i;
            found = group->taken[i] = true;
        }
    pthread_mutex_unlock(&group->lock);
    return found;
}

void train_group_give(struct train_group *group, uint32_t lane) {
    pthread_mutex_lock(&group->lock);
    group->taken[lane] = false;
    pthread_mutex_unlock(&group->lock);
}

const struct train_engine *train_group_engine(const struct train_group *group) {
    return &group->engine;
}
const struct graph *train_group_graph(const struct train_group *group) {
    return group->graph;
}
const struct train_rule *train_group_rule(const struct train_group *group) {
    return &group->rule;
}

/* The exec belongs to the caller until leave. */
void train_group_enter(struct train_group *group) {
    pthread_mutex_lock(&group->lock);
    while (group->busy)
        pthread_cond_wait(&group->change, &group->lock);
}
void train_group_leave(struct train_group *group) {
    pthread_mutex_unlock(&group->lock);
}

/* A trainer that advances is waited for; one that does not is not. */
void train_group_join(struct train_group *group, bool advances) {
    pthread_mutex_lock(&group->lock);
    group->active += advances ? 1 : UINT32_MAX;
    pthread_cond_broadcast(&group->change);
    pthread_mutex_unlock(&group->lock);
}

static void fill_lane(void *ctx, uint32_t step, uint32_t lane) {
    const struct train_group *group = ctx;
    const struct request *r = &group->requests[lane];
    if (r->pending && r->fill)
        r->fill(r->ctx, r->done + step, lane);
}

/* Runs as many steps as every waiting lane still wants; called with the lock, which it gives up
 * meanwhile. Lanes that do not wait rest. */
static void lead(struct train_group *group) {
    struct sotto_error error = SOTTO_ERROR_INIT;
    uint32_t n = TRAIN_CHUNK, lanes = group->lanes;
    for (uint32_t l = 0; l < lanes; l++) {
        const struct request *r = &group->requests[l];
        if (r->pending && r->count - r->done < n)
            n = r->count - r->done;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t l = 0; l < lanes; l++) {
            const struct request *r = &group->requests[l];
            group->steps[i * lanes + l] =
                r->pending ? r->steps[r->done + i] : (struct kern_step){0};
        }
    group->busy = true;
    pthread_mutex_unlock(&group->lock);
    enum sotto_status status = kern_exec_run_many(group->engine.exec, group->steps, n, fill_lane,
                                                  group, group->metrics, &error);
    pthread_mutex_lock(&group->lock);
    group->busy = false;
    for (uint32_t l = 0; l < lanes; l++) {
        struct request *r = &group->requests[l];
        if (!r->pending)
            continue;
        for (uint32_t i = 0; i < n; i++)
            memcpy(r->metrics[r->done + i], group->metrics[i * lanes + l], sizeof *r->metrics);
        r->done += n;
        r->status = status;
        r->error = error;
        r->pending = status == SOTTO_OK && r->done < r->count;
        group->waiting -= r->pending ? 0 : 1;
    }
    pthread_cond_broadcast(&group->change);
}

enum sotto_status train_group_run(struct train_group *group, uint32_t lane,
                                  const struct kern_step *steps, uint32_t count, kern_fill_fn *fill,
                                  void *ctx, double (*metrics)[KERN_METRIC_COUNT],
                                  struct sotto_error *err) {
    struct request *r = &group->requests[lane];
    pthread_mutex_lock(&group->lock);
    while (group->busy) /* a lane joins between runs: the one that runs reads the requests */
        pthread_cond_wait(&group->change, &group->lock);
    *r = (struct request){.steps = steps,
                          .count = count,
                          .fill = fill,
                          .ctx = ctx,
                          .metrics = metrics,
                          .pending = true};
    group->waiting++;
    pthread_cond_broadcast(&group->change);
    while (r->pending) {
        if (!group->busy && group->waiting == group->active)
            lead(group);
        else
            pthread_cond_wait(&group->change, &group->lock);
    }
    enum sotto_status status = r->status;
    if (status != SOTTO_OK && err)
        *err = r->error;
    pthread_mutex_unlock(&group->lock);
    return status;
}

/* The partition schemes: each says which client owns each example. */
#include "partition_int.h"

#include <string.h>

#define DRAWS_MAX 1000 /* draws until every client has size_min examples */

static struct rng work_rng(const struct partition_work *w, uint32_t draw) {
    struct rng r;
    rng_init(&r, w->seed, draw, 0, RNG_PARTITION);
    return r;
}

/* Which of `parts` equal parts of n things the i-th lies in: part sizes differ by at most one. */
static uint32_t part_of(uint32_t i, uint32_t n, uint32_t parts) {
    return (uint32_t)((uint64_t)i * parts / n);
}

enum sotto_status partition_assign_iid(struct partition_work *w, struct sotto_error *err) {
    (void)err;
    struct rng r = work_rng(w, 0);
    uint32_t n = w->d->count;
    rng_shuffle_u32(&r, w->order, n);
    for (uint32_t i = 0; i < n; i++)
        w->owner[w->order[i]] = part_of(i, n, w->client_count);
    return SOTTO_OK;
}

/* Sorts order by label, equal labels by position; *first (classes + 1 entries) says where each
 * class starts. */
static enum sotto_status sort_by_label(struct partition_work *w, uint32_t **first,
                                       struct sotto_error *err) {
    const struct dataset *d = w->d;
    uint32_t *start = mem_array((size_t)d->schema.classes + 2, sizeof *start);
    if (!start)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "partition: no memory for %u classes",
                          d->schema.classes);
    /* start[c + 2] counts class c, then start[c + 1] is where the next of class c goes. */
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->labels[i] < 0 || (uint32_t)d->labels[i] >= d->schema.classes) {
            mem_free(start);
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "partition: example %u has no label (%d); this scheme needs them", i,
                              d->labels[i]);
        }
        start[d->labels[i] + 2]++;
    }
    for (uint32_t c = 2; c <= d->schema.classes; c++)
        start[c] += start[c - 1];
    for (uint32_t i = 0; i < d->count; i++)
        w->order[start[d->labels[i] + 1]++] = i;
    *first = start;
    return SOTTO_OK;
}

enum sotto_status partition_assign_shards(struct partition_work *w, struct sotto_error *err) {
    uint32_t n = w->d->count, per_client = w->config->shards;
    uint64_t shards = (uint64_t)w->client_count * per_client;
    if (shards > n)
        return SOTTO_FAIL(err, SOTTO_INVALID, "partition shards: %llu shards for %u examples",
                          (unsigned long long)shards, n);
    uint32_t *first = NULL;
    uint32_t *deal = mem_array((size_t)shards, sizeof *deal);
    enum sotto_status status;
    if (!deal)
        TRY_FAIL(err, SOTTO_NOMEM, "partition shards: no memory for %u shards", (uint32_t)shards);
    TRY(sort_by_label(w, &first, err));
    for (uint32_t s = 0; s < shards; s++)
        deal[s] = s / per_client;
    struct rng r = work_rng(w, 0);
    rng_shuffle_u32(&r, deal, (uint32_t)shards);
    for (uint32_t i = 0; i < n; i++)
        w->owner[w->order[i]] = deal[part_of(i, n, (uint32_t)shards)];
out:
    mem_free(first);
    mem_free(deal);
    return status;
}

/* share = Dir(alpha) over clients, where `full` may rule out some (NULL: none). False when all is
 * zero: draw again. */
static bool draw_shares(struct rng *r, double *share, uint32_t clients, double alpha,
                        const uint32_t *size, uint32_t full) {
    double sum = 0;
    for (uint32_t c = 0; c < clients; c++) {
        double g = rng_gamma(r, alpha);
        share[c] = size && size[c] >= full ? 0 : g;
        sum += share[c];
    }
    if (!(sum > 0))
        return false;
    for (uint32_t c = 0; c < clients; c++)
        share[c] /= sum;
    return true;
}

/* Gives the n examples at `list` to the clients by their shares, in list order; adds to size. */
static void deal_by_shares(struct partition_work *w, const uint32_t *list, uint32_t n,
                           uint32_t *size) {
    double cumulative = 0;
    uint32_t at = 0;
    for (uint32_t c = 0; c < w->client_count; c++) {
        cumulative += w->share[c];
        double edge = cumulative * n;
        uint32_t end = c + 1 == w->client_count || edge >= n ? n : (uint32_t)edge;
        for (; at < end; at++) {
            w->owner[list[at]] = c;
            size[c]++;
        }
    }
}

static bool all_reach(const uint32_t *size, uint32_t clients, uint32_t size_min) {
    for (uint32_t c = 0; c < clients; c++)
        if (size[c] < size_min)
            return false;
    return true;
}

static enum sotto_status check_size_min(const struct partition_work *w, const char *scheme,
                                        struct sotto_error *err) {
    if ((uint64_t)w->config->size_min * w->client_count > w->d->count)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "partition %s: %u clients with at least %u examples need more than the "
                          "%u there are",
                          scheme, w->client_count, w->config->size_min, w->d->count);
    return SOTTO_OK;
}

static enum sotto_status no_draw(const struct partition_work *w, const char *scheme,
                                 struct sotto_error *err) {
    return SOTTO_FAIL(err, SOTTO_INVALID,
                      "partition %s: no draw of %d gave every client %u examples; raise alpha (%g) "
                      "or lower size_min or clients (%u)",
                      scheme, DRAWS_MAX, w->config->size_min, w->config->alpha, w->client_count);
}

enum sotto_status partition_assign_dirichlet(struct partition_work *w, struct sotto_error *err) {
    uint32_t clients = w->client_count, classes = w->d->schema.classes;
    uint32_t full = (w->d->count - 1) / clients + 1;
    uint32_t *first = NULL;
    uint32_t *size = mem_array(clients, sizeof *size);
    enum sotto_status status;
    if (!size)
        TRY_FAIL(err, SOTTO_NOMEM, "partition dirichlet: no memory for %u clients", clients);
    TRY(check_size_min(w, "dirichlet", err));
    TRY(sort_by_label(w, &first, err));
    for (uint32_t draw = 0; draw < DRAWS_MAX; draw++) {
        struct rng r = work_rng(w, draw);
        bool drawn = true;
        memset(size, 0, (size_t)clients * sizeof *size);
        for (uint32_t c = 0; c < classes && drawn; c++) {
            uint32_t begin = first[c], n = first[c + 1] - begin;
            rng_shuffle_u32(&r, w->order + begin, n);
            drawn = n == 0 || draw_shares(&r, w->share, clients, w->config->alpha, size, full);
            if (drawn)
                deal_by_shares(w, w->order + begin, n, size);
        }
        if (drawn && all_reach(size, clients, w->config->size_min))
            goto out;
    }
    status = no_draw(w, "dirichlet", err);
out:
    mem_free(first);
    mem_free(size);
    return status;
}

enum sotto_status partition_assign_quantity(struct partition_work *w, struct sotto_error *err) {
    uint32_t clients = w->client_count;
    uint32_t *size = mem_array(clients, sizeof *size);
    enum sotto_status status;
    if (!size)
        TRY_FAIL(err, SOTTO_NOMEM, "partition quantity: no memory for %u clients", clients);
    TRY(check_size_min(w, "quantity", err));
    for (uint32_t draw = 0; draw < DRAWS_MAX; draw++) {
        struct rng r = work_rng(w, draw);
        memset(size, 0, (size_t)clients * sizeof *size);
        rng_shuffle_u32(&r, w->order, w->d->count);
        if (!draw_shares(&r, w->share, clients, w->config->alpha, NULL, 0))
            continue;
        deal_by_shares(w, w->order, w->d->count, size);
        if (all_reach(size, clients, w->config->size_min))
            goto out;
    }
    status = no_draw(w, "quantity", err);
out:
    mem_free(size);
    return status;
}

enum sotto_status partition_assign_natural(struct partition_work *w, struct sotto_error *err) {
    const struct dataset *d = w->d;
    if (!d->keys || d->key_count == 0)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "partition natural: the data set has no natural keys");
    uint32_t keys = d->key_count, per_client = w->config->keys;
    if (w->config->clients > keys)
        return SOTTO_FAIL(err, SOTTO_INVALID, "partition natural: %u clients for %u keys",
                          w->config->clients, keys);
    if (keys / per_client >= PARTITION_CLIENTS_MAX)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "partition natural: %u keys are too many", keys);
    uint32_t *client = mem_array(keys, sizeof *client);
    if (!client)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "partition natural: no memory for %u keys", keys);
    /* By numbers of keys the last client may have fewer; by clients the numbers differ by at most
     * one. */
    bool by_clients = w->config->clients > 0;
    w->client_count = by_clients ? w->config->clients : (keys - 1) / per_client + 1;
    for (uint32_t k = 0; k < keys; k++)
        client[k] = by_clients ? part_of(k, keys, w->client_count) : k / per_client;
    if (w->client_count < keys) { /* one key a client stays in order: client c is key c */
        struct rng r = work_rng(w, 0);
        rng_shuffle_u32(&r, client, keys);
    }
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < d->count && status == SOTTO_OK; i++) {
        if (d->keys[i] >= keys)
            status = SOTTO_FAIL(err, SOTTO_INVALID,
                                "partition natural: key %u of example %u, expected below %u",
                                d->keys[i], i, keys);
        else
            w->owner[i] = client[d->keys[i]];
    }
    mem_free(client);
    return status;
}

/* class_of[c * k ...] = the k different classes of client c: c mod `classes` first, then others at
 * random. */
static void draw_classes(struct rng *r, uint32_t *class_of, uint32_t clients, uint32_t k,
                         uint32_t *pack, uint32_t *place, uint32_t classes) {
    for (uint32_t i = 0; i < classes; i++)
        pack[i] = place[i] = i;
    for (uint32_t c = 0; c < clients; c++)
        for (uint32_t j = 0; j < k; j++) {
            /* The pack stays a permutation; its first j cards are this client's. */
            uint32_t from = j == 0 ? place[c % classes] : j + rng_below(r, classes - j);
            uint32_t card = pack[from];
            pack[from] = pack[j];
            place[pack[from]] = from;
            pack[j] = card;
            place[card] = j;
            class_of[(size_t)c * k + j] = card;
        }
}

/* Turns class_of around: the clients of class l, ascending, are holder[first_holder[l]] up to
 * first_holder[l + 1]; first_holder has classes + 2 entries, zeros. */
static void list_holders(const uint32_t *class_of, uint32_t clients, uint32_t k, uint32_t classes,
                         uint32_t *first_holder, uint32_t *holder) {
    for (size_t i = 0; i < (size_t)clients * k; i++)
        first_holder[class_of[i] + 2]++;
    for (uint32_t l = 2; l <= classes; l++)
        first_holder[l] += first_holder[l - 1];
    for (uint32_t c = 0; c < clients; c++)
        for (uint32_t j = 0; j < k; j++)
            holder[first_holder[class_of[(size_t)c * k + j] + 1]++] = c;
}

static enum sotto_status check_classes(const struct partition_work *w, struct sotto_error *err) {
    uint32_t k = w->config->classes;
    if (k > w->d->schema.classes)
        return SOTTO_FAIL(err, SOTTO_INVALID, "partition classes: %u classes a client of %u", k,
                          w->d->schema.classes);
    if ((uint64_t)k * w->client_count > w->d->count)
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "partition classes: %u clients with %u classes need more than the %u "
                          "examples there are",
                          w->client_count, k, w->d->count);
    return SOTTO_OK;
}

/* The examples of each class, shuffled, to its holders in even parts. */
static enum sotto_status deal_classes(struct partition_work *w, struct rng *r,
                                      const uint32_t *first, const uint32_t *first_holder,
                                      const uint32_t *holder, struct sotto_error *err) {
    for (uint32_t l = 0; l < w->d->schema.classes; l++) {
        uint32_t n = first[l + 1] - first[l], parts = first_holder[l + 1] - first_holder[l];
        uint32_t *list = w->order + first[l];
        if (n < parts)
            return SOTTO_FAIL(err, SOTTO_INVALID,
                              "partition classes: class %u has %u examples for %u clients; use "
                              "fewer clients or classes",
                              l, n, parts);
        rng_shuffle_u32(r, list, n);
        for (uint32_t i = 0; i < n && parts > 0; i++)
            w->owner[list[i]] = holder[first_holder[l] + part_of(i, n, parts)];
    }
    return SOTTO_OK;
}

enum sotto_status partition_assign_classes(struct partition_work *w, struct sotto_error *err) {
    uint32_t k = w->config->classes, clients = w->client_count, classes = w->d->schema.classes;
    uint32_t *first = NULL, *class_of = NULL, *holder = NULL, *first_holder = NULL, *pack = NULL;
    struct rng r = work_rng(w, 0);
    enum sotto_status status;
    TRY(check_classes(w, err));
    class_of = mem_array((size_t)clients * k, sizeof *class_of);
    holder = mem_array((size_t)clients * k, sizeof *holder);
    first_holder = mem_array((size_t)classes + 2, sizeof *first_holder);
    pack = mem_array((size_t)classes * 2, sizeof *pack);
    if (!class_of || !holder || !first_holder || !pack)
        TRY_FAIL(err, SOTTO_NOMEM, "partition classes: no memory for %u clients", clients);
    TRY(sort_by_label(w, &first, err));
    draw_classes(&r, class_of, clients, k, pack, pack + classes, classes);
    list_holders(class_of, clients, k, classes, first_holder, holder);
    TRY(deal_classes(w, &r, first, first_holder, holder, err));
out:
    mem_free(pack);
    mem_free(first_holder);
    mem_free(holder);
    mem_free(class_of);
    mem_free(first);
    return status;
}

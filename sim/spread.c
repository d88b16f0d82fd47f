/* Accuracy by natural key: test examples sorted by key, one part a key for the workers. */
#include "spread.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The positions of d's examples, sorted by key; start[k] .. start[k + 1] are those of key k. */
static void sort_by_key(const struct dataset *d, uint32_t *start, uint32_t *index) {
    memset(start, 0, ((size_t)d->key_count + 1) * sizeof *start);
    for (uint32_t i = 0; i < d->count; i++)
        start[d->keys[i] + 1]++;
    for (uint32_t k = 0; k < d->key_count; k++)
        start[k + 1] += start[k];
    for (uint32_t i = 0; i < d->count; i++)
        index[start[d->keys[i]]++] = i;
    for (uint32_t k = d->key_count; k > 0; k--) /* the starts have moved on by one key */
        start[k] = start[k - 1];
    start[0] = 0;
}

static int by_value(const void *a, const void *b) {
    const double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

static enum sotto_status summarize(struct sim_spread *p, struct sotto_error *err) {
    double *accuracy = mem_array(p->keys, sizeof *accuracy), sum = 0, squares = 0;
    if (!accuracy)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for the accuracy of %u keys", p->keys);
    for (uint32_t i = 0; i < p->keys; i++) {
        accuracy[i] = (double)p->correct[i] / p->seen[i];
        sum += accuracy[i];
    }
    p->mean = sum / p->keys;
    for (uint32_t i = 0; i < p->keys; i++)
        squares += (accuracy[i] - p->mean) * (accuracy[i] - p->mean);
    p->sd = p->keys > 1 ? sqrt(squares / (p->keys - 1)) : 0;
    qsort(accuracy, p->keys, sizeof *accuracy, by_value);
    p->min = accuracy[0];
    p->p10 = accuracy[(p->keys + 9) / 10 - 1];
    p->median = (accuracy[(p->keys - 1) / 2] + accuracy[p->keys / 2]) / 2;
    mem_free(accuracy);
    return SOTTO_OK;
}

enum sotto_status spread_measure(struct sim *s, struct sim_spread *out, struct sotto_error *err) {
    const struct dataset *d = &s->x->data.test;
    enum sotto_status status = SOTTO_OK;
    memset(out, 0, sizeof *out);
    if (!d->keys || d->key_count == 0 || d->count == 0)
        return SOTTO_OK;
    uint32_t *start = mem_array((size_t)d->key_count + 1, sizeof *start);
    uint32_t *index = mem_array(d->count, sizeof *index);
    struct examples *parts = mem_array(d->key_count, sizeof *parts);
    struct train_metrics *metrics = mem_array(d->key_count, sizeof *metrics);
    out->key = mem_array(d->key_count, sizeof *out->key);
    out->seen = mem_array(d->key_count, sizeof *out->seen);
    out->correct = mem_array(d->key_count, sizeof *out->correct);
    if (!start || !index || !parts || !metrics || !out->key || !out->seen || !out->correct)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a test of %u keys", d->key_count);
    sort_by_key(d, start, index);
    for (uint32_t k = 0; k < d->key_count; k++) {
        if (start[k + 1] == start[k])
            continue;
        parts[out->keys] = dataset_examples(d);
        parts[out->keys].index = index + start[k];
        parts[out->keys].count = start[k + 1] - start[k];
        out->key[out->keys++] = k;
    }
    TRY(work_parts(s, s->version->params, parts, out->keys, metrics, err));
    for (uint32_t i = 0; i < out->keys; i++) {
        out->seen[i] = parts[i].count;
        out->correct[i] = (uint32_t)metrics[i].correct;
    }
    TRY(summarize(out, err));
out:
    mem_free(start);
    mem_free(index);
    mem_free(parts);
    mem_free(metrics);
    return status;
}

void spread_deinit(struct sim_spread *p) {
    mem_free(p->key);
    mem_free(p->seen);
    mem_free(p->correct);
    memset(p, 0, sizeof *p);
}

void spread_print(const struct sim_spread *p, FILE *out) {
    fprintf(out,
            "by natural key of the test part (%u): mean %.2f%% (sd %.2f), median %.2f%%, a tenth "
            "at most "
            "%.2f%%, worst %.2f%%",
            p->keys, 100 * p->mean, 100 * p->sd, 100 * p->median, 100 * p->p10, 100 * p->min);
}

void spread_json(const struct sim_spread *p, struct json *j) {
    json_key(j, "by_key");
    json_object_begin(j);
    json_put_u64(j, "keys", p->keys);
    json_put_f64(j, "mean", p->mean);
    json_put_f64(j, "sd", p->sd);
    json_put_f64(j, "median", p->median);
    json_put_f64(j, "p10", p->p10);
    json_put_f64(j, "min", p->min);
    json_object_end(j);
}

enum sotto_status spread_write(const struct sim_spread *p, const struct experiment *x,
                               const char *path, struct sotto_error *err) {
    FILE *f = fopen(path, "w");
    if (!f)
        return SOTTO_FAIL(err, SOTTO_IO, "%s: %s", path, strerror(errno));
    fprintf(f, "run,seed,key,examples,correct,accuracy_fraction\n");
    for (uint32_t i = 0; i < p->keys; i++)
        fprintf(f, "%s,%llu,%u,%u,%u,%.6g\n", x->run_id, (unsigned long long)x->settings.task.seed,
                p->key[i], p->seen[i], p->correct[i], (double)p->correct[i] / p->seen[i]);
    const bool bad = ferror(f) != 0;
    return fclose(f) != 0 || bad ? SOTTO_FAIL(err, SOTTO_FULL, "%s cannot be written", path)
                                 : SOTTO_OK;
}

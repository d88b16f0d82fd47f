/* Training speed of the zoo's models on one core beside plain PyTorch in the same run: ours and
 * theirs take turns, medians count. Each of our runs is a process of its own, so that its peak
 * memory is that of a training process.
 *
 * bench_train [--json] [--seconds S] [--rounds N] [--model NAME] [--batch B] [--backend NAME]
 * [--peer SCRIPT|none] bench_train --worker MODEL BATCH BACKEND SECONDS [profile]   (what it
 * starts; prints samples/s, share of peak, peak KiB) */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sotto/zoo.h"

#define EXAMPLES   2000
#define ROUNDS_MAX 15

static int fail(const struct sotto_error *err) {
    fprintf(stderr, "bench_train: %s\n", err->message);
    return 1;
}

/* ---- The worker ---- */

static long peak_rss_kib(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    long kib = 0;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

/* Drawn digits, or noise where the model's input has another shape. */
static enum sotto_status make_examples(const struct data_schema *schema, struct dataset *out,
                                       struct sotto_error *err) {
    if (schema->rank == 3 && schema->dims[0] == 28 && schema->dims[2] == 1) {
        struct digits_config dc = {.seed = 1, .writer_count = 20, .per_writer = EXAMPLES / 20};
        return dataset_draw_digits(&dc, out, err);
    }
    struct rng rng;
    rng_init(&rng, 1, 0, 0, RNG_GENERATE);
    out->schema = *schema;
    out->count = EXAMPLES;
    size_t bytes = EXAMPLES * data_schema_example_bytes(schema);
    uint8_t *x = out->x = mem_alloc(bytes);
    out->labels = mem_array(EXAMPLES, sizeof(*out->labels));
    if (!x || !out->labels)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for examples");
    for (size_t i = 0; i < bytes; i++)
        x[i] = (uint8_t)rng_u32(&rng);
    for (uint32_t i = 0; i < EXAMPLES; i++)
        out->labels[i] = (int32_t)rng_below(&rng, schema->classes);
    return SOTTO_OK;
}

struct job {
    struct graph graph;
    struct dataset data;
    struct trainer *trainer;
    float *params;
    uint32_t epoch;
};

static enum sotto_status train_epoch(struct job *j, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct examples ex = dataset_examples(&j->data);
    struct train_stream stream = {1, j->epoch++, 0};
    struct train_metrics m;
    bool done = false;
    TRY(trainer_begin(j->trainer, j->params, &ex, &stream, err));
    while (!done)
        TRY(trainer_advance(j->trainer, 0, &done, err));
    trainer_finish(j->trainer, j->params, &m);
out:
    return status;
}

static enum sotto_status job_open(struct job *j, const char *model, uint32_t batch,
                                  const struct kern_backend *backend, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct data_schema schema;
    struct train_rule rule = TRAIN_RULE_INIT;
    rule.batch = batch;
    rule.lr = 0.02f;
    memset(j, 0, sizeof(*j));
    graph_init(&j->graph);
    dataset_init(&j->data);
    TRY(zoo_build(model, &j->graph, &schema, err));
    TRY(make_examples(&schema, &j->data, err));
    TRY(trainer_new(&j->graph, &rule, batch, backend, &j->trainer, err));
    j->params = mem_array(j->graph.layout.total, sizeof(float));
    if (!j->params)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for weights");
    graph_init_params(&j->graph, 1, j->params);
    TRY(train_epoch(j, err)); /* warms caches and clock up */
out:
    return status;
}

static int worker(char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct job j;
    const struct kern_backend *backend = kern_backend_find(argv[2]);
    uint32_t batch = (uint32_t)strtoul(argv[1], NULL, 10);
    double seconds = strtod(argv[3], NULL);
    bool profile = argv[4] && strcmp(argv[4], "profile") == 0;
    if (!backend || batch == 0) {
        fprintf(stderr, "bench_train: unknown backend \"%s\" or batch 0\n", argv[2]);
        return 2;
    }
    double peak = kern_peak_flops();
    if (job_open(&j, argv[0], batch, backend, &err) != SOTTO_OK)
        return fail(&err);
    kern_exec_profile(trainer_exec(j.trainer), profile);
    uint64_t start = clock_mono_ns(), samples = 0;
    double elapsed;
    do {
        if (train_epoch(&j, &err) != SOTTO_OK)
            return fail(&err);
        samples += j.data.count;
        elapsed = (double)(clock_mono_ns() - start) * 1e-9;
    } while (elapsed < seconds);
    double rate = (double)samples / elapsed;
    double flops = kern_program_flops(trainer_program(j.trainer)) / batch * rate;
    printf("%.1f %.4f %ld\n", rate, flops / peak, peak_rss_kib());
    if (profile) {
        struct buf text;
        buf_init(&text, 1 << 20);
        kern_exec_report(trainer_exec(j.trainer), &text);
        printf("%.*s", (int)text.len, (const char *)text.data);
        buf_deinit(&text);
    }
    trainer_free(j.trainer);
    mem_free(j.params);
    dataset_deinit(&j.data);
    graph_deinit(&j.graph);
    return 0;
}

struct measure {
    double rate, share, rss_mib;
};
static bool run_worker(const char *model, uint32_t batch, const char *backend, double seconds,
                       struct measure *out) {
    char command[512];
    snprintf(command, sizeof(command), "/proc/%ld/exe --worker %s %u %s %g", (long)getpid(), model,
             batch, backend, seconds);
    FILE *f = popen(command, "r");
    long kib = 0;
    bool ok = f && fscanf(f, "%lf %lf %ld", &out->rate, &out->share, &kib) == 3;
    out->rss_mib = (double)kib / 1024.0;
    if (f)
        ok = pclose(f) == 0 && ok;
    return ok;
}

/* ---- The peer: a Python process that answers on its pipe ---- */

struct peer {
    FILE *to, *from;
    pid_t pid;
    char about[512];
};

static void peer_close(struct peer *p) {
    if (p->to)
        fclose(p->to);
    if (p->from)
        fclose(p->from);
    if (p->pid > 0)
        waitpid(p->pid, NULL, 0);
    memset(p, 0, sizeof(*p));
}

static bool peer_open(struct peer *p, const char *script) {
    int in[2], out[2];
    memset(p, 0, sizeof(*p));
    if (strcmp(script, "none") == 0 || access(script, R_OK) != 0 || pipe(in) != 0)
        return false;
    if (pipe(out) != 0) {
        close(in[0]), close(in[1]);
        return false;
    }
    p->pid = fork();
    if (p->pid == 0) {
        dup2(in[0], 0), dup2(out[1], 1);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        /* Debian's Python: python3-torch is there and nowhere else. */
        execl("/usr/bin/python3", "python3", script, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    p->to = fdopen(in[1], "w");
    p->from = fdopen(out[0], "r");
    if (p->pid < 0 || !p->to || !p->from || !fgets(p->about, sizeof(p->about), p->from)) {
        peer_close(p);
        return false;
    }
    p->about[strcspn(p->about, "\n")] = '\0';
    return true;
}

/* The faster of the peer's memory formats, or 0 when it does not know the model. */
static double peer_run(struct peer *p, const char *model, uint32_t batch, double seconds) {
    char line[128], name[64];
    double best = 0.0, rate;
    fprintf(p->to, "%s %u %g\n", model, batch, seconds);
    fflush(p->to);
    while (fgets(line, sizeof(line), p->from) && strncmp(line, "end", 3) != 0)
        if (sscanf(line, "%63s %lf", name, &rate) == 2 && rate > best)
            best = rate;
    return best;
}

/* ---- Cases ---- */

struct options {
    bool json;
    double seconds;
    unsigned rounds;
    const char *model, *backend, *peer;
    uint32_t batch;
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *v, unsigned n) {
    qsort(v, n, sizeof(*v), by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2.0;
}

static bool run_case(const struct options *o, struct peer *peer, const char *model,
                     uint32_t batch) {
    double rate[ROUNDS_MAX], share[ROUNDS_MAX], theirs[ROUNDS_MAX], rss = 0.0;
    for (unsigned r = 0; r < o->rounds; r++) {
        struct measure m = {0};
        if (!run_worker(model, batch, o->backend, o->seconds, &m))
            return false;
        rate[r] = m.rate;
        share[r] = m.share;
        rss = m.rss_mib > rss ? m.rss_mib : rss;
        theirs[r] = peer->pid > 0 ? peer_run(peer, model, batch, o->seconds) : 0.0;
    }
    double ours = median(rate, o->rounds), other = median(theirs, o->rounds);
    double of_peak = median(share, o->rounds);
    if (o->json) {
        printf("{\"model\":\"%s\",\"batch\":%u,\"backend\":\"%s\",\"samples_per_s\":%.1f,"
               "\"share_of_peak\":%.4f,",
               model, batch, o->backend, ours, of_peak);
        if (other > 0.0)
            printf("\"peer_samples_per_s\":%.1f,\"peer\":\"%s\",", other, peer->about);
        printf("\"peak_rss_mib\":%.1f}\n", rss);
    } else {
        printf("%-10s %5u  %-7s %12.1f %8.3f ", model, batch, o->backend, ours, of_peak);
        if (other > 0.0)
            printf("%12.1f %6.2fx", other, ours / other);
        else
            printf("%12s %7s", "-", "-");
        printf(" %9.1f\n", rss);
    }
    fflush(stdout);
    return true;
}

static int run_all(const struct options *o) {
    static const struct {
        const char *model;
        uint32_t batch;
    } cases[] = {{"mnist-cnn", 10}, {"mnist-cnn", 20}, {"mnist-2nn", 10},
                 {"logreg", 10},    {"cifar-cnn", 10}, {"lenet5", 64}};
    struct peer peer;
    bool have = peer_open(&peer, o->peer);
    fprintf(stderr, "bench_train: backend %s, peer %s\n",
            kern_backend_kernel_set(kern_backend_find(o->backend)), have ? peer.about : "none");
    if (!o->json)
        printf("%-10s %5s  %-7s %12s %8s %12s %7s %9s\n", "model", "batch", "backend", "samples/s",
               "of peak", "peer", "ratio", "RSS MiB");
    int rc = 0;
    bool listed = false;
    for (size_t i = 0; i < ARRAY_LEN(cases) && rc == 0; i++) {
        if ((o->model && strcmp(o->model, cases[i].model) != 0) ||
            (o->batch && o->batch != cases[i].batch))
            continue;
        listed = true;
        rc = run_case(o, &peer, cases[i].model, cases[i].batch) ? 0 : 1;
    }
    if (!listed && o->model && o->batch)
        rc = run_case(o, &peer, o->model, o->batch) ? 0 : 1;
    peer_close(&peer);
    return rc;
}

int main(int argc, char **argv) {
    struct options o = {false, 2.0, 3, NULL, "cpu", SOTTO_PEER_SCRIPT, 0};
    if (argc >= 6 && strcmp(argv[1], "--worker") == 0)
        return worker(argv + 2);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--json") == 0) {
            o.json = true;
            continue;
        }
        if (value && strcmp(argv[i], "--seconds") == 0)
            o.seconds = strtod(value, NULL);
        else if (value && strcmp(argv[i], "--rounds") == 0)
            o.rounds = (unsigned)strtoul(value, NULL, 10);
        else if (value && strcmp(argv[i], "--model") == 0)
            o.model = value;
        else if (value && strcmp(argv[i], "--batch") == 0)
            o.batch = (uint32_t)strtoul(value, NULL, 10);
        else if (value && strcmp(argv[i], "--backend") == 0)
            o.backend = value;
        else if (value && strcmp(argv[i], "--peer") == 0)
            o.peer = value;
        else {
            fprintf(stderr,
                    "bench_train: unknown option \"%s\"; known: --json --seconds S "
                    "--rounds N --model NAME --batch B --backend NAME --peer SCRIPT|none\n",
                    argv[i]);
            return 2;
        }
        i++;
    }
    if (!(o.seconds > 0.0) || o.rounds == 0 || o.rounds > ROUNDS_MAX ||
        !kern_backend_find(o.backend) || (o.model && !zoo_find(o.model))) {
        fprintf(stderr, "bench_train: seconds above 0, 1 to %d rounds, a known model and backend\n",
                ROUNDS_MAX);
        return 2;
    }
    return run_all(&o);
}

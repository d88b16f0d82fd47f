/* Running a sweep: a process a run, so many at a time, each with its checkpoints. */
#include "sweep.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare.h"
#include "run.h"
#include "wire.h"

#define ERROR_FILE    "error.txt"
#define CHECKPOINT_MS 120000u
#define ALL_SETS_MAX  (CONFIG_LIST_MAX - 2)
#define TABLE_MAX     ((size_t)4 << 20)

enum state { WAITS, RUNS, ENDED, FAILED, STOPPED };
struct item {
    enum state state;
    pid_t pid;
    uint64_t begin_ns;
};

struct sweep {
    const struct sweep_request *q;
    struct sweep_settings settings;
    struct config *config;
    char out[IO_PATH_MAX];
    struct sweep_run *runs;
    struct item *items;
    uint32_t count, ended, failed, running, found; /* found: ended before */
    unsigned jobs;
    uint64_t begin_ns;
    bool told; /* children were told to stop */
};

static enum sotto_status sets_of(const struct sweep *w, uint32_t i, const char **sets, size_t *n,
                                 struct sotto_error *err) {
    const struct sweep_run *r = &w->runs[i];
    *n = 0;
    if (w->q->set_count + r->set_count > ALL_SETS_MAX)
        return SOTTO_FAIL(err, SOTTO_USAGE, "a run has more than %d settings", ALL_SETS_MAX);
    for (size_t k = 0; k < w->q->set_count; k++)
        sets[(*n)++] = w->q->sets[k];
    for (uint32_t k = 0; k < r->set_count; k++)
        sets[(*n)++] = r->sets[k];
    return SOTTO_OK;
}

static enum sotto_status dir_of(const struct sweep *w, uint32_t i, char out[IO_PATH_MAX],
                                struct sotto_error *err) {
    return io_join(out, IO_PATH_MAX, w->out, w->runs[i].name, err);
}

/* Every run's settings must be good before the first one starts; those that have ended are found.
 */
static enum sotto_status look_at_runs(struct sweep *w, struct sotto_error *err) {
    const char *sets[ALL_SETS_MAX];
    char dir[IO_PATH_MAX];
    size_t n;
    for (uint32_t i = 0; i < w->count; i++) {
        struct experiment x;
        enum sotto_status status = sets_of(w, i, sets, &n, err);
        if (status == SOTTO_OK)
            status = dir_of(w, i, dir, err);
        if (status != SOTTO_OK)
            return status;
        status = experiment_check(&x, w->settings.experiment, sets, n, err);
        if (status == SOTTO_OK && run_has_ended(dir, x.config_hash)) {
            w->items[i].state = ENDED;
            w->found++;
            w->ended++;
        }
        experiment_deinit(&x);
        if (status != SOTTO_OK)
            return sotto_error_prefix(err, "%s", w->runs[i].name);
    }
    return SOTTO_OK;
}

/* ---- A run, in a process of its own */

static void note_error(const char *dir, const struct sotto_error *error) {
    char path[IO_PATH_MAX];
    if (io_join(path, sizeof path, dir, ERROR_FILE, NULL) == SOTTO_OK)
        (void)io_write_file(path, error->message, strlen(error->message), 0644, false, NULL);
}

static int child_main(const struct sweep *w, uint32_t i) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *sets[ALL_SETS_MAX];
    char dir[IO_PATH_MAX], path[IO_PATH_MAX];
    enum sotto_status status;
    struct run_request q = {
        .file = w->settings.experiment, .data = w->q->data, .dir = dir, .sets = sets, .json = true};
    q.config = (struct sim_config){.workers = w->q->workers ? w->q->workers : 1,
                                   .checkpoint_dir = dir,
                                   .checkpoint_ms = CHECKPOINT_MS,
                                   .resume = true};
    q.out = fopen("/dev/null", "we");
    TRY(sets_of(w, i, sets, &q.set_count, &err));
    TRY(dir_of(w, i, dir, &err));
    TRY(io_mkdir_p(dir, 0755, &err));
    TRY(io_join(path, sizeof path, dir, ERROR_FILE, &err));
    TRY(io_remove(path, &err));
    TRY(q.out ? run_experiment(&q, &err) : SOTTO_FAIL(&err, SOTTO_IO, "/dev/null is not there"));
out:
    if (q.out)
        fclose(q.out);
    if (status != SOTTO_OK && status != SOTTO_CANCELLED)
        note_error(dir, &err);
    return status == SOTTO_OK ? 0 : status == SOTTO_CANCELLED ? 3 : 1;
}

static enum sotto_status start_run(struct sweep *w, uint32_t i, struct sotto_error *err) {
    fflush(NULL);
    const pid_t pid = fork();
    if (pid < 0)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "a process cannot be started: %s", strerror(errno));
    if (pid == 0)
        _exit(child_main(w, i));
    w->items[i] = (struct item){.state = RUNS, .pid = pid, .begin_ns = clock_mono_ns()};
    w->running++;
    return SOTTO_OK;
}

/* ---- Progress */

static void read_small(const char *dir, const char *name, struct buf *text) {
    char path[IO_PATH_MAX];
    if (io_join(path, sizeof path, dir, name, NULL) == SOTTO_OK)
        (void)io_read_file(path, text->max, text, NULL);
}

static void say_outcome(const struct sweep *w, uint32_t i, struct buf *line) {
    char dir[IO_PATH_MAX] = "", took[32];
    double accuracy = NAN, rounds = NAN;
    struct buf text;
    buf_init(&text, 1u << 20);
    (void)dir_of(w, i, dir, NULL);
    const uint64_t ms = (clock_mono_ns() - w->items[i].begin_ns) / 1000000;
    buf_printf(line, "%u/%u %s: ", w->ended + w->failed, w->count, w->runs[i].name);
    if (w->items[i].state == ENDED) {
        read_small(dir, "summary.json", &text);
        (void)wire_number(buf_view(&text), "accuracy", &accuracy);
        (void)wire_number(buf_view(&text), "rounds", &rounds);
        buf_printf(line, "accuracy %.2f%%, %.0f rounds, %s", 100 * accuracy, rounds,
                   num_format_duration(took, sizeof took, ms));
    } else {
        read_small(dir, ERROR_FILE, &text);
        buf_printf(line, "failed: %.*s", (int)text.len,
                   text.len ? (const char *)text.data : "the process ended");
    }
    buf_deinit(&text);
}

static void say_ended(const struct sweep *w, uint32_t i) {
    char left[32] = "";
    struct buf line;
    if (w->q->json)
        return;
    buf_init(&line, 4096);
    say_outcome(w, i, &line);
    const double seconds = (double)(clock_mono_ns() - w->begin_ns) / 1e9;
    const uint32_t made = w->ended + w->failed - w->found, to_do = w->count - w->ended - w->failed;
    if (made > 0 && to_do > 0)
        num_format_duration(left, sizeof left, (uint64_t)(seconds / made * to_do * 1e3));
    fprintf(w->q->say, "%s%.*s%s%s\n", w->q->live ? "\r\033[K" : "", (int)line.len,
            (const char *)line.data, left[0] ? ", left about " : "", left);
    if (w->q->live && to_do > 0)
        fprintf(w->q->say, "%u of %u ended, %u at work, %u failed", w->ended, w->count, w->running,
                w->failed);
    fflush(w->q->say);
    buf_deinit(&line);
}

/* ---- All of them */

static void take_end(struct sweep *w, pid_t pid, int how) {
    for (uint32_t i = 0; i < w->count; i++) {
        struct item *item = &w->items[i];
        if (item->state != RUNS || item->pid != pid)
            continue;
        w->running--;
        const int code = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
        item->state = code == 0 ? ENDED : code == 3 ? STOPPED : FAILED;
        w->ended += item->state == ENDED;
        w->failed += item->state == FAILED;
        if (item->state != STOPPED)
            say_ended(w, i);
        return;
    }
}

static void tell_children(struct sweep *w) {
    for (uint32_t i = 0; i < w->count; i++)
        if (w->items[i].state == RUNS)
            (void)kill(w->items[i].pid, SIGTERM);
    w->told = true;
}

static enum sotto_status make_all(struct sweep *w, struct sotto_error *err) {
    uint32_t next = 0;
    enum sotto_status status = SOTTO_OK;
    for (;;) {
        while (status == SOTTO_OK && !run_stop_asked() && w->running < w->jobs && next < w->count) {
            if (w->items[next].state == WAITS)
                status = start_run(w, next, err);
            next++;
        }
        if ((run_stop_asked() || status != SOTTO_OK) && !w->told)
            tell_children(w);
        if (w->running == 0)
            break;
        int how = 0;
        const pid_t pid = wait(&how);
        if (pid > 0)
            take_end(w, pid, how);
        else if (errno != EINTR)
            return SOTTO_FAIL(err, SOTTO_IO, "waiting for runs: %s", strerror(errno));
    }
    if (status == SOTTO_OK && run_stop_asked())
        return SOTTO_FAIL(err, SOTTO_CANCELLED,
                          "stopped with %u of %u runs made; the same command goes on", w->ended,
                          w->count);
    return status;
}

static enum sotto_status write_table(const struct runs *r, const double *targets, size_t n,
                                     const struct sweep *w, struct sotto_error *err) {
    enum sotto_status status;
    struct buf out;
    char path[IO_PATH_MAX];
    buf_init(&out, TABLE_MAX);
    TRY(compare_table(r, targets, n, COMPARE_CSV, &out, err));
    TRY(io_join(path, sizeof path, w->out, "report.csv", err));
    TRY(io_write_file(path, out.data, out.len, 0644, false, err));
    buf_reset(&out);
    TRY(compare_table(r, targets, n, w->q->json ? COMPARE_JSON : COMPARE_TEXT, &out, err));
    fprintf(w->q->say, "%s%.*s", w->q->json ? "" : "\n", (int)out.len, (const char *)out.data);
out:
    buf_deinit(&out);
    return status;
}

/* The table of the runs that have ended, whatever else lies in the folder. */
static enum sotto_status show(const struct sweep *w, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct runs r;
    double targets[COMPARE_TARGETS_MAX];
    size_t count = 0, n = 0;
    memset(&r, 0, sizeof r);
    char(*dirs)[IO_PATH_MAX] = mem_array(w->count, sizeof *dirs);
    const char **list = mem_array(w->count, sizeof *list);
    if (!dirs || !list)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for a table");
    for (; n < w->settings.targets.count && n < COMPARE_TARGETS_MAX; n++)
        TRY(num_parse_f64(w->settings.targets.v[n], 0, 1, &targets[n], err));
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->items[i].state != ENDED)
            continue;
        TRY(dir_of(w, i, dirs[count], err));
        list[count] = dirs[count];
        count++;
    }
    if (count > 0) {
        TRY(runs_read(&r, list, count, err));
        TRY(write_table(&r, targets, n, w, err));
    }
out:
    runs_deinit(&r);
    mem_free(dirs);
    mem_free(list);
    return status;
}

static enum sotto_status load(struct sweep *w, struct sotto_error *err) {
    enum sotto_status status;
    TRY(config_load(sweep_options, &w->settings, w->q->file, NULL, 0, &w->config, err));
    const char *out = w->q->out ? w->q->out : w->settings.out;
    if (!out[0])
        TRY_FAIL(err, SOTTO_USAGE, "say where the runs go, with --out DIR or the key out");
    if (snprintf(w->out, sizeof w->out, "%s", out) >= (int)sizeof w->out)
        TRY_FAIL(err, SOTTO_LIMIT, "the path of --out is too long");
    TRY(sweep_expand(&w->settings, &w->runs, &w->count, err));
    w->items = mem_array(w->count, sizeof *w->items);
    if (!w->items)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %u runs", w->count);
    TRY(look_at_runs(w, err));
    TRY(io_mkdir_p(w->out, 0755, err));
out:
    return status;
}

enum sotto_status sweep_make(const struct sweep_request *q, struct sotto_error *err) {
    struct sweep w = {.q = q, .begin_ns = clock_mono_ns()};
    const unsigned each = q->workers ? q->workers : 1;
    enum sotto_status status;
    w.jobs = q->jobs ? q->jobs : (pool_cpu_count() + each - 1) / each;
    TRY(load(&w, err));
    run_catch_signals();
    if (!q->json)
        fprintf(q->say, "%u runs, %u have ended already, %u at a time\n", w.count, w.found, w.jobs);
    TRY(make_all(&w, err));
    TRY(show(&w, err));
    if (w.failed > 0)
        TRY_FAIL(err, SOTTO_CHECK, "%u of %u runs failed; error.txt in their folders says why",
                 w.failed, w.count);
out:
    mem_free(w.items);
    mem_free(w.runs);
    config_free(w.config);
    return status;
}

/* What a run says while it goes on, and the files that it leaves. */
#include "report.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "plot.h"
#include "tensorboard.h"

#define LINE_MAX_BYTES (1u << 16)
#define EVENTS_FILE    "events.out.tfevents.0000000001.sotto"
#define BAR_WIDTH      20
#define SHOW_EVERY_NS  250000000u

static const char csv_head[] =
    "run,seed,round,kind,published,accuracy_fraction,loss_nats,train_accuracy_fraction,"
    "train_loss_nats,train_samples,clients_invited,clients_counted,clients_returned,"
    "clients_dropped,bytes_up,bytes_down,train_seconds,eval_seconds,server_seconds,wall_seconds,"
    "virtual_seconds,clock_seconds,energy_joules,config_hash,version\n";

static enum sotto_status open_file(const char *dir, const char *name, FILE **out,
                                   struct sotto_error *err) {
    char path[IO_PATH_MAX];
    const enum sotto_status status = io_join(path, sizeof path, dir, name, err);
    if (status != SOTTO_OK)
        return status;
    *out = fopen(path, "we");
    return *out ? SOTTO_OK
                : SOTTO_FAIL(err, SOTTO_IO, "%s: cannot be written: %s", path, strerror(errno));
}

/* TensorBoard wants the file's name to hold "tfevents". */
static void events_write(struct report *r, const struct buf *b) {
    if (b->status == SOTTO_OK)
        fwrite(b->data, 1, b->len, r->events);
}

static double wall_seconds(void) {
    return (double)clock_wall_ms() / 1e3;
}

static void events_begin(struct report *r, const struct buf *config) {
    struct buf b;
    buf_init(&b, CONFIG_FILE_MAX + 4096);
    tensorboard_begin(&b, wall_seconds());
    tensorboard_text(&b, wall_seconds(), "config", (const char *)config->data, config->len);
    events_write(r, &b);
    buf_deinit(&b);
}

static void events_round(struct report *r, const struct sim_round_result *o,
                         const struct sim_totals *t) {
    const struct tensorboard_scalar scalars[] = {
        {"accuracy/test", o->test_accuracy},   {"accuracy/training", o->train_accuracy},
        {"loss/test", o->test_loss},           {"loss/training", o->train_loss},
        {"bytes/up", (double)t->bytes_up},     {"bytes/down", (double)t->bytes_down},
        {"clients/counted", o->counted},       {"clients/dropped", o->dropped},
        {"energy/joules", t->energy_joules},   {"seconds/round", o->wall_seconds},
        {"seconds/fleet", t->virtual_seconds},
    };
    struct buf b;
    buf_init(&b, LINE_MAX_BYTES);
    tensorboard_step(&b, wall_seconds(), o->evaluation ? o->round : t->rounds, scalars,
                     ARRAY_LEN(scalars));
    events_write(r, &b);
    buf_deinit(&b);
    fflush(r->events);
}

static enum sotto_status write_buf(const struct report *r, const char *name, const struct buf *b,
                                   struct sotto_error *err) {
    char path[IO_PATH_MAX];
    enum sotto_status status = b->status;
    if (status != SOTTO_OK)
        return SOTTO_FAIL(err, status, "%s does not fit", name);
    status = io_join(path, sizeof path, r->dir, name, err);
    return status == SOTTO_OK ? io_write_file(path, b->data, b->len, 0644, false, err) : status;
}

static void head_of_run(const struct report *r, struct json *j) {
    json_put_str(j, "run", r->x->run_id);
    json_put_str(j, "config_hash", r->x->config_hash);
    json_put_u64(j, "seed", r->x->settings.task.seed);
    json_put_str(j, "version", SOTTO_VERSION_TEXT);
}

enum sotto_status report_open(struct report *r, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct buf config;
    struct json j;
    buf_init(&r->line, LINE_MAX_BYTES);
    buf_init(&config, CONFIG_FILE_MAX);
    r->begin_ns = clock_mono_ns();
    if (!r->dir)
        return SOTTO_OK;
    TRY(io_mkdir_p(r->dir, 0755, err));
    buf_printf(&config, "# sotto-sim %s, run %s, config hash %s\n", SOTTO_VERSION_TEXT,
               r->x->run_id, r->x->config_hash);
    config_dump(sim_options, &r->x->settings, &config);
    TRY(write_buf(r, "config.yaml", &config, err));
    TRY(open_file(r->dir, "rounds.csv", &r->csv, err));
    TRY(open_file(r->dir, "rounds.jsonl", &r->jsonl, err));
    TRY(open_file(r->dir, EVENTS_FILE, &r->events, err));
    fputs(csv_head, r->csv);
    events_begin(r, &config);
    json_init(&j, &r->line);
    json_object_begin(&j);
    json_put_str(&j, "event", "run");
    head_of_run(r, &j);
    json_object_end(&j);
    fprintf(r->jsonl, "%.*s\n", (int)r->line.len, (const char *)r->line.data);
out:
    buf_deinit(&config);
    return status;
}

/* ---- A round */

static void put_round(const struct sim_round_result *o, const struct sim_totals *t,
                      struct json *j) {
    json_object_begin(j);
    json_put_u64(j, "round", o->round);
    json_put_str(j, "kind", o->evaluation ? "evaluate" : "train");
    json_put_f64(j, "accuracy", o->test_accuracy);
    json_put_f64(j, "loss", o->test_loss);
    json_put_u64(j, "train_samples", o->train_samples);
    json_put_f64(j, "train_seconds", o->train_seconds);
    json_put_f64(j, "eval_seconds", o->eval_seconds);
    json_put_u64(j, "bytes_up", o->bytes_up);
    json_put_u64(j, "bytes_down", o->bytes_down);
    json_put_f64(j, "wall_seconds", o->wall_seconds);
    json_put_f64(j, "server_seconds", o->server_seconds);
    json_put_f64(j, "virtual_seconds", o->virtual_seconds);
    json_put_f64(j, "clock_seconds", t->virtual_seconds);
    json_put_f64(j, "energy_joules", o->energy_joules);
    json_put_f64(j, "train_accuracy", o->train_accuracy);
    json_put_f64(j, "train_loss", o->train_loss);
    json_put_u64(j, "invited", o->members);
    json_put_u64(j, "counted", o->counted);
    json_put_u64(j, "returned", o->returned);
    json_put_u64(j, "rejected", o->rejected);
    json_put_u64(j, "declined", o->declined);
    json_put_u64(j, "dropped", o->dropped);
    json_put_bool(j, "published", o->published);
    if (!isnan(o->distill_gain)) {
        json_put_bool(j, "distilled", o->distilled);
        json_put_f64(j, "distill_gain", o->distill_gain);
    }
    if (o->reason[0])
        json_put_str(j, "reason", o->reason);
    json_object_end(j);
}

static void csv_number(FILE *f, double v) {
    char text[32];
    fprintf(f, ",%s", isfinite(v) ? num_format_f64(text, sizeof text, v) : "");
}

static void csv_count(FILE *f, uint64_t v) {
    fprintf(f, ",%llu", (unsigned long long)v);
}

static void csv_round(struct report *r, const struct sim_round_result *o,
                      const struct sim_totals *t) {
    fprintf(r->csv, "%s,%llu,%u,%s,%d", r->x->run_id, (unsigned long long)r->x->settings.task.seed,
            o->round, o->evaluation ? "evaluate" : "train", o->published);
    csv_number(r->csv, o->test_accuracy);
    csv_number(r->csv, o->test_loss);
    csv_number(r->csv, o->train_accuracy);
    csv_number(r->csv, o->train_loss);
    csv_count(r->csv, o->train_samples);
    csv_count(r->csv, o->members);
    csv_count(r->csv, o->counted);
    csv_count(r->csv, o->returned);
    csv_count(r->csv, o->dropped);
    csv_count(r->csv, o->bytes_up);
    csv_count(r->csv, o->bytes_down);
    csv_number(r->csv, o->train_seconds);
    csv_number(r->csv, o->eval_seconds);
    csv_number(r->csv, o->server_seconds);
    csv_number(r->csv, o->wall_seconds);
    csv_number(r->csv, o->virtual_seconds);
    csv_number(r->csv, t->virtual_seconds);
    csv_number(r->csv, o->energy_joules);
    fprintf(r->csv, ",%s,%s\n", r->x->config_hash, SOTTO_VERSION_TEXT);
}

static void keep_point(struct report *r, const struct sim_round_result *o,
                       const struct sim_totals *t) {
    if (o->evaluation || isnan(o->test_accuracy))
        return;
    if (r->count == r->cap) {
        const size_t cap = r->cap ? r->cap * 2 : 256;
        double **lists[] = {&r->rounds, &r->accuracy, &r->bytes};
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            double *grown = mem_resize(*lists[i], cap, sizeof *grown);
            if (!grown)
                return; /* a plot with fewer points */
            *lists[i] = grown;
        }
        r->cap = cap;
    }
    r->rounds[r->count] = (double)t->rounds;
    r->accuracy[r->count] = o->test_accuracy;
    r->bytes[r->count++] = (double)t->bytes_up;
}

/* "[#####---------------] " on a terminal's last line. */
static void put_bar(FILE *out, double part) {
    char bar[BAR_WIDTH + 1];
    const size_t done = (size_t)(fmin(fmax(part, 0), 1) * BAR_WIDTH);
    memset(bar, '-', BAR_WIDTH);
    memset(bar, '#', done);
    bar[BAR_WIDTH] = '\0';
    fprintf(out, "[%s] ", bar);
}

static void say_round(struct report *r, const struct sim_round_result *o,
                      const struct sim_totals *t) {
    char up[32], down[32], left[32] = "";
    const uint64_t now = clock_mono_ns(), rounds = r->x->settings.task.rounds;
    const double seconds = (double)(now - r->begin_ns) / 1e9;
    const double rate = seconds > 0 ? (t->rounds - r->resumed) / seconds : 0;
    const bool told = !isnan(o->test_accuracy) || o->failed || o->evaluation;
    const bool last = rounds && t->rounds >= rounds;
    if (!last && now - r->shown_ns < SHOW_EVERY_NS && !(told && !r->live))
        return;
    r->shown_ns = now;
    if (rounds && rate > 0 && t->rounds < rounds)
        num_format_duration(left, sizeof left,
                            (uint64_t)((double)(rounds - t->rounds) / rate * 1e3));
    if (r->live)
        fputs("\r\033[K", r->out);
    if (r->live && rounds && !told && !last)
        put_bar(r->out, (double)t->rounds / (double)rounds);
    fprintf(r->out, "%s %u", o->evaluation ? "evaluation" : "round",
            o->evaluation ? o->round : t->rounds);
    if (rounds && !o->evaluation)
        fprintf(r->out, "/%llu", (unsigned long long)rounds);
    if (o->failed)
        fprintf(r->out, "  failed: %s", o->reason);
    else if (!isnan(o->test_accuracy))
        fprintf(r->out, "  accuracy %6.2f%%  loss %.4f", 100 * o->test_accuracy, o->test_loss);
    else if (!isnan(o->train_loss))
        fprintf(r->out, "  training accuracy %6.2f%%  loss %.4f", 100 * o->train_accuracy,
                o->train_loss);
    if (!o->failed && !o->evaluation && !o->published)
        fprintf(r->out, "  not published: %s", o->reason);
    fprintf(r->out, "  up %s  down %s  %.2f rounds/s", num_format_size(up, sizeof up, o->bytes_up),
            num_format_size(down, sizeof down, o->bytes_down), rate);
    if (left[0])
        fprintf(r->out, "  %s left", left);
    if (!r->live || told || last)
        fputc('\n', r->out);
    fflush(r->out);
}

void report_round(struct report *r, const struct sim_round_result *o, const struct sim_totals *t) {
    struct json j;
    keep_point(r, o, t);
    buf_reset(&r->line);
    json_init(&j, &r->line);
    put_round(o, t, &j);
    buf_put_u8(&r->line, '\n');
    if (r->jsonl)
        fwrite(r->line.data, 1, r->line.len, r->jsonl);
    if (r->csv)
        csv_round(r, o, t);
    if (r->events)
        events_round(r, o, t);
    if (o->again) {
        r->resumed = t->rounds; /* its reader has seen them */
        r->begin_ns = clock_mono_ns();
        return;
    }
    if (r->resumes && !r->json)
        fprintf(r->out, "goes on after round %u, from its checkpoint\n", r->resumed);
    r->resumes = false;
    if (r->json) {
        fwrite(r->line.data, 1, r->line.len, r->out);
        fflush(r->out);
    } else {
        say_round(r, o, t);
    }
}

/* ---- The end */

/* What it cost those that took part. */
static void put_devices(const struct sim_devices *d, struct json *j) {
    json_key(j, "devices");
    json_object_begin(j);
    json_put_u64(j, "count", d->count);
    json_put_f64(j, "sent_mean", d->sent_mean);
    json_put_f64(j, "sent_max", d->sent_max);
    json_put_f64(j, "received_mean", d->received_mean);
    json_put_f64(j, "received_max", d->received_max);
    json_put_f64(j, "joules_mean", d->joules_mean);
    json_put_f64(j, "joules_max", d->joules_max);
    json_object_end(j);
}

static void put_end(const struct report *r, const struct sim_totals *t, struct json *j) {
    char hex[2 * WIRE_HASH + 1];
    json_object_begin(j);
    json_put_str(j, "event", "done");
    head_of_run(r, j);
    json_put_u64(j, "rounds", t->rounds);
    json_put_f64(j, "accuracy", t->accuracy);
    json_put_f64(j, "best_accuracy", t->best_accuracy);
    json_put_f64(j, "loss", t->loss);
    json_put_bool(j, "target_reached", t->target_reached);
    json_put_u64(j, "bytes_up", t->bytes_up);
    json_put_u64(j, "bytes_down", t->bytes_down);
    json_put_u64(j, "train_samples", t->train_samples);
    json_put_f64(j, "train_seconds", t->train_seconds);
    json_put_f64(j, "eval_seconds", t->eval_seconds);
    json_put_f64(j, "seconds", t->wall_seconds);
    json_put_f64(j, "virtual_seconds", t->virtual_seconds);
    json_put_f64(j, "energy_joules", t->energy_joules);
    put_devices(&t->devices, j);
    if (r->spread)
        spread_json(r->spread, j);
    json_put_u64(j, "parameters", r->x->graph.layout.total);
    json_put_str(j, "kernels", t->kernel_set);
    json_put_str(j, "package", num_format_hex(hex, t->package_hash.b, WIRE_HASH));
    json_put_str(j, "digest", num_format_hex(hex, t->digest.b, WIRE_HASH));
    if (r->profile) {
        json_key(j, "profile");
        profile_json(r->profile, j);
    }
    json_object_end(j);
}

static void say_end(const struct report *r, const struct sim_totals *t) {
    char up[32], down[32], took[32], hex[2 * WIRE_HASH + 1];
    const double seconds = t->wall_seconds > 0 ? t->wall_seconds : 1e-9;
    if (r->live)
        fputs("\r\033[K", r->out);
    fprintf(r->out, "%u rounds in %s (%.2f rounds/s, %.0f samples/s), %s up, %s down", t->rounds,
            num_format_duration(took, sizeof took, (uint64_t)(t->wall_seconds * 1e3)),
            t->rounds / seconds, (double)t->train_samples / seconds,
            num_format_size(up, sizeof up, t->bytes_up),
            num_format_size(down, sizeof down, t->bytes_down));
    if (!isnan(t->accuracy))
        fprintf(r->out, "\naccuracy %.2f%%, best %.2f%%%s", 100 * t->accuracy,
                100 * t->best_accuracy, t->target_reached ? ", target reached" : "");
    if (r->spread) {
        fputc('\n', r->out);
        spread_print(r->spread, r->out);
    }
    if (t->virtual_seconds > 0)
        fprintf(r->out, "\n%s on the fleet's clock, %.3g J a device, %.3g at most",
                num_format_duration(took, sizeof took, (uint64_t)(t->virtual_seconds * 1e3)),
                t->devices.joules_mean, t->devices.joules_max);
    fprintf(r->out, "\ndigest %s (%s)\n", num_format_hex(hex, t->digest.b, WIRE_HASH),
            t->kernel_set);
    if (r->profile)
        profile_print(r->profile, r->out);
    fflush(r->out);
}

static enum sotto_status write_plot(const struct report *r, struct sotto_error *err) {
    char path[IO_PATH_MAX], subtitle[160];
    struct plot_series series = {.name = NULL, .x = r->rounds, .y = r->accuracy, .count = r->count};
    snprintf(subtitle, sizeof subtitle, "run %s, config hash %.16s, seed %llu, sotto %s",
             r->x->run_id, r->x->config_hash, (unsigned long long)r->x->settings.task.seed,
             SOTTO_VERSION_TEXT);
    const struct plot p = {.title = r->x->settings.task.name,
                           .subtitle = subtitle,
                           .x = {.label = "rounds", .unit = PLOT_NUMBER},
                           .y = {.label = "test accuracy", .unit = PLOT_PERCENT},
                           .series = &series,
                           .series_count = 1};
    if (r->count == 0)
        return SOTTO_OK; /* nothing was tested */
    const enum sotto_status status = io_join(path, sizeof path, r->dir, "accuracy.svg", err);
    return status == SOTTO_OK ? plot_write(&p, path, err) : status;
}

enum sotto_status report_end(struct report *r, const struct sim_totals *t, struct view package,
                             struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct json j;
    char path[IO_PATH_MAX];
    buf_reset(&r->line);
    json_init(&j, &r->line);
    put_end(r, t, &j);
    buf_put_u8(&r->line, '\n');
    if (r->json) {
        fwrite(r->line.data, 1, r->line.len, r->out);
        fflush(r->out);
    } else {
        say_end(r, t);
    }
    if (!r->dir)
        return SOTTO_OK;
    fwrite(r->line.data, 1, r->line.len, r->jsonl);
    if (fflush(r->csv) != 0 || fflush(r->jsonl) != 0)
        TRY_FAIL(err, SOTTO_FULL, "%s: the tables cannot be written: %s", r->dir, strerror(errno));
    TRY(write_plot(r, err));
    if (package.n > 0) {
        TRY(io_join(path, sizeof path, r->dir, "model.package", err));
        TRY(io_write_file(path, package.p, package.n, 0644, false, err));
    }
    if (r->spread) {
        TRY(io_join(path, sizeof path, r->dir, "keys.csv", err));
        TRY(spread_write(r->spread, r->x, path, err));
    }
    /* The last of all: a run whose summary is there has ended, and is not made again. */
    TRY(write_buf(r, "summary.json", &r->line, err));
out:
    return status;
}

void report_close(struct report *r) {
    if (r->csv)
        fclose(r->csv);
    if (r->jsonl)
        fclose(r->jsonl);
    if (r->events)
        fclose(r->events);
    buf_deinit(&r->line);
    mem_free(r->rounds);
    mem_free(r->accuracy);
    mem_free(r->bytes);
}

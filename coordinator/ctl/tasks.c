/* sottoctl: creating tasks, checking configs, watching, exporting, restoring. */
#include "ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/daemon_int.h"

#define WATCH_MS   500
#define EVENTS_MAX ((size_t)64 << 20)

/* ---- Tasks
 * -------------------------------------------------------------------------------------------------------------
 */

static enum sotto_status load_task(struct cli *cli, struct task_config *t, struct config **config,
                                   struct sotto_error *err) {
    const char *const *sets = NULL;
    size_t count = cli_flag_all(cli, "set", &sets);
    memset(t, 0, sizeof *t);
    return config_load(task_options, t, cli_arg(cli, 0), sets, count, config, err);
}

/* Everything that can be known before a daemon is asked: ranges, model, pipeline. */
static enum sotto_status check_task(struct cli *cli, const struct config *config,
                                    struct task_config *t, struct sotto_error *err) {
    struct graph g;
    struct data_schema schema;
    float *params = NULL;
    enum sotto_status status = task_graph(t, cli_arg(cli, 0), &g, &schema, &params, err);
    if (status == SOTTO_OK) {
        status = task_check(t, &g.layout, err);
        if (status != SOTTO_OK)
            (void)sotto_error_prefix(err, "%s", cli_arg(cli, 0));
    } else if (!t->model_yaml && t->model && t->model[0]) {
        (void)sotto_error_prefix(err, "%s: key 'model.zoo'", config_origin(config, "model.zoo"));
    }
    graph_deinit(&g);
    mem_free(params);
    return status;
}

int ctl_task_create(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct task_config t;
    struct config *config = NULL;
    struct buf yaml, out;
    enum sotto_status status;
    buf_init(&yaml, CONFIG_FILE_MAX);
    buf_init(&out, EVENTS_MAX);
    TRY(load_task(cli, &t, &config, &err));
    TRY(check_task(cli, config, &t, &err));
    config_dump(task_options, &t, &yaml);
    if (yaml.status != SOTTO_OK)
        TRY_FAIL(&err, yaml.status, "%s: too large", cli_arg(cli, 0));
    struct view args[] = {view_of("task-create", 11),
                          view_of(cli_arg(cli, 0), strlen(cli_arg(cli, 0))), buf_view(&yaml)};
    TRY(ctl_ask(cli, cli_json(cli), args, 3, &out, &err));
    fwrite(out.data, 1, out.len, stdout);
out:
    config_free(config);
    buf_deinit(&yaml);
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

/* {"settings": "..."}: the YAML as a text. */
static void print_json(struct buf *yaml) {
    struct buf out;
    struct json j;
    buf_init(&out, CONFIG_FILE_MAX * 8);
    json_init(&j, &out);
    buf_put_u8(yaml, 0);
    json_object_begin(&j);
    json_put_str(&j, "settings", yaml->data ? (const char *)yaml->data : "");
    json_object_end(&j);
    buf_put_u8(&out, '\n');
    fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
}

static int config_run(struct cli *cli, bool dump) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    struct config *config = NULL;
    struct task_config t;
    struct daemon_config d;
    const char *const *sets = NULL;
    size_t count = cli_flag_all(cli, "set", &sets);
    bool daemon = cli_flag(cli, "daemon") != NULL;
    enum sotto_status status;
    buf_init(&out, CONFIG_FILE_MAX * 4);
    memset(&d, 0, sizeof d);
    if (daemon) {
        TRY(config_load(daemon_options, &d, cli_arg(cli, 0), sets, count, &config, &err));
        config_dump(daemon_options, &d, &out);
    } else {
        TRY(load_task(cli, &t, &config, &err));
        TRY(check_task(cli, config, &t, &err));
        config_dump(task_options, &t, &out);
    }
    if (!dump)
        ctl_say(cli, "%s: good", cli_arg(cli, 0));
    else if (cli_json(cli))
        print_json(&out);
    else
        fwrite(out.data, 1, out.len, stdout);
out:
    config_free(config);
    buf_deinit(&out);
    int code = ctl_end(cli, status, &err);
    return status != SOTTO_OK && !dump ? sotto_status_exit(SOTTO_CHECK) : code;
}

int ctl_config_check(struct cli *cli) {
    return config_run(cli, false);
}

int ctl_config_dump(struct cli *cli) {
    return config_run(cli, true);
}

/* ---- Watching
 * ------------------------------------------------------------------------------------------------------------
 */

/* The id of the last JSON line of events. */
static uint64_t last_id(const struct buf *lines, uint64_t before) {
    size_t end = lines->len, start;
    if (end == 0)
        return before;
    start = end - 1;
    while (start > 0 && lines->data[start - 1] != '\n')
        start--;
    const char *p = memmem(lines->data + start, end - start, "\"id\":", 5);
    return p ? strtoull(p + 5, NULL, 10) : before;
}

static enum sotto_status ask_events(struct cli *cli, bool json, uint64_t after, uint64_t limit,
                                    uint64_t until, struct buf *out, struct sotto_error *err) {
    char a[24], n[24], u[24];
    snprintf(a, sizeof a, "%llu", (unsigned long long)after);
    snprintf(n, sizeof n, "%llu", (unsigned long long)limit);
    snprintf(u, sizeof u, "%llu", (unsigned long long)until);
    struct view args[] = {view_of("events", 6), view_of(a, strlen(a)), view_of(n, strlen(n)),
                          view_of(u, strlen(u))};
    return ctl_ask(cli, json, args, 4, out, err);
}

/* Prints new events as they come; a coordinator that restarts meanwhile is waited for. */
static enum sotto_status follow(struct cli *cli, uint64_t after, struct sotto_error *err) {
    struct buf lines, text;
    enum sotto_status status = SOTTO_OK;
    buf_init(&lines, EVENTS_MAX);
    buf_init(&text, EVENTS_MAX);
    for (;;) {
        status = ask_events(cli, true, after, 0, 0, &lines, err);
        if (status == SOTTO_OK && lines.len) {
            uint64_t last = last_id(&lines, after);
            if (!cli_json(cli)) /* the same ones as text: what came meanwhile is the next turn's */
                status = ask_events(cli, false, after, 0, last, &text, err);
            if (status == SOTTO_OK) {
                const struct buf *shown = cli_json(cli) ? &lines : &text;
                after = last;
                if (fwrite(shown->data, 1, shown->len, stdout) != shown->len || fflush(stdout) != 0)
                    break;
            }
        }
        if (status == SOTTO_TIMEOUT)
            status = SOTTO_OK; /* it computes something long */
        if (status != SOTTO_OK && status != SOTTO_UNREACHABLE)
            break;
        poll(NULL, 0, WATCH_MS);
    }
    buf_deinit(&lines);
    buf_deinit(&text);
    return status;
}

static enum sotto_status newest(struct cli *cli, uint64_t *id, struct sotto_error *err) {
    struct buf lines;
    buf_init(&lines, EVENTS_MAX);
    enum sotto_status status = ask_events(cli, true, 0, 1, 0, &lines, err);
    *id = last_id(&lines, 0);
    buf_deinit(&lines);
    return status;
}

int ctl_status(struct cli *cli) {
    const char *args[] = {"status"};
    int code = ctl_print(cli, args, 1);
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t after = 0;
    if (code != 0 || !cli_flag(cli, "watch"))
        return code;
    enum sotto_status status = newest(cli, &after, &err);
    if (status == SOTTO_OK)
        status = follow(cli, after, &err);
    return ctl_end(cli, status, &err);
}

int ctl_events(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint64_t limit = 50, after = 0;
    struct buf out;
    enum sotto_status status = SOTTO_OK;
    buf_init(&out, EVENTS_MAX);
    TRY(cli_flag_u64(cli, "limit", 0, 100000, &limit, &err));
    TRY(ask_events(cli, cli_json(cli), 0, limit, 0, &out, &err));
    fwrite(out.data, 1, out.len, stdout);
    fflush(stdout);
    if (cli_flag(cli, "follow")) {
        TRY(newest(cli, &after, &err));
        TRY(follow(cli, after, &err));
    }
out:
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

int ctl_rounds_watch(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    char after[24];
    const char *task = cli_arg(cli, 0);
    uint64_t first = 0;
    uint32_t last;
    bool ended = false;
    enum sotto_status status = SOTTO_OK;
    buf_init(&out, EVENTS_MAX);
    if (cli_arg(cli, 1) && num_parse_u64(cli_arg(cli, 1), 0, UINT32_MAX, &first, NULL) != SOTTO_OK)
        TRY_FAIL(&err, SOTTO_USAGE, "AFTER must be the number of a round");
    last = (uint32_t)first;
    if (!cli_json(cli))
        printf("%-6s %9s %8s %11s %8s %11s %8s %9s\n", "round", "accuracy", "devices", "up",
               "of fp32", "down", "of fp32", "time");
    while (!ended) {
        snprintf(after, sizeof after, "%u", last);
        struct view args[] = {view_of("rounds-watch", 12), view_of(task, strlen(task)),
                              view_of(after, strlen(after))};
        status = ctl_ask(cli, cli_json(cli), args, 3, &out, &err);
        if (status == SOTTO_OK && out.len >= 5) {
            memcpy(&last, out.data, 4);
            ended = out.data[4] != 0;
            if (fwrite(out.data + 5, 1, out.len - 5, stdout) != out.len - 5 || fflush(stdout) != 0)
                break;
        } else if (status != SOTTO_UNREACHABLE) {
            break;
        }
        if (!ended)
            poll(NULL, 0, WATCH_MS);
    }
out:
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

/* ---- Models, restore
 * --------------------------------------------------------------------------------------------------------
 */

/* Bytes that the daemon answers with, into a file or onto a pipe. */
static int export_answer(struct cli *cli, const struct view *args, size_t count, const char *what) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    const char *path = cli_flag(cli, "output");
    bool to_file = path && strcmp(path, "-") != 0;
    enum sotto_status status;
    buf_init(&out, PACKAGE_BYTES_MAX);
    TRY(ctl_ask(cli, false, args, count, &out, &err));
    if (to_file) {
        TRY(io_write_file(path, out.data, out.len, 0644, true, &err));
        ctl_say(cli, "%s: %s of %s, %zu bytes", path, what, cli_arg(cli, 0), out.len);
    } else if (isatty(STDOUT_FILENO) && strcmp(what, "package") == 0) {
        TRY_FAIL(&err, SOTTO_USAGE,
                 "a package is not written to a terminal; name a file with --output");
    } else {
        fwrite(out.data, 1, out.len, stdout);
    }
out:
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

int ctl_models_export(struct cli *cli) {
    const char *version = cli_arg(cli, 1) ? cli_arg(cli, 1) : "current";
    struct view args[] = {view_of("models-package", 14),
                          view_of(cli_arg(cli, 0), strlen(cli_arg(cli, 0))),
                          view_of(version, strlen(version))};
    return export_answer(cli, args, ARRAY_LEN(args), "package");
}

int ctl_rounds_export(struct cli *cli) {
    struct view args[] = {view_of("rounds-csv", 10),
                          view_of(cli_arg(cli, 0), strlen(cli_arg(cli, 0)))};
    return export_answer(cli, args, ARRAY_LEN(args), "rounds");
}

/* Open rounds of the backup are closed, and round numbers, serials and document versions go on 2^20
 * later: devices may have seen some that it does not know. */
static enum sotto_status restore_into(const char *backup, const char *dir,
                                      struct sotto_error *err) {
    enum sotto_status status;
    struct store *store = NULL;
    TRY(io_mkdir_p(dir, 0700, err));
    TRY(store_copy_files(backup, dir, err));
    TRY(store_copy_file(backup, "coordinator.db", dir, err));
    TRY(store_open(dir, &store, err));
    TRY(store_begin(store, err));
    TRY(store_after_restore(store, clock_wall_ms(), err));
    TRY(store_event_add(store, clock_wall_ms(), "store.restore", "", 0, "restored from a backup",
                        err));
    TRY(store_commit(store, err));
out:
    store_close(store);
    return status;
}

/* Under its name only when it is whole: a daemon never starts on half of it. */
int ctl_restore(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *backup = cli_arg(cli, 0);
    char from[IO_PATH_MAX], state[IO_PATH_MAX], part[IO_PATH_MAX + 16];
    enum sotto_status status;
    snprintf(state, sizeof state, "%s", ctl_state(cli));
    for (size_t n = strlen(state); n > 1 && state[n - 1] == '/'; n--)
        state[n - 1] = '\0';
    snprintf(part, sizeof part, "%s.restoring", state);
    TRY(id_setup(&err));
    TRY(io_join(from, sizeof from, backup, "coordinator.db", &err));
    if (!io_exists(from))
        TRY_FAIL(&err, SOTTO_NOT_FOUND, "%s: not a backup (it holds no coordinator.db)", backup);
    if (rmdir(state) != 0 && errno != ENOENT)
        TRY_FAIL(&err, SOTTO_EXISTS, "%s: restore into a new or empty folder (%s)", state,
                 strerror(errno));
    if (io_exists(part))
        TRY(io_remove_tree(part, &err)); /* of a restore that was cut short */
    TRY(restore_into(backup, part, &err));
    if (rename(part, state) != 0)
        TRY_FAIL(&err, SOTTO_IO, "%s: cannot be put in place: %s", state, strerror(errno));
    ctl_say(cli, "restored into %s; its open rounds are closed\nnext: sotto-coordinator --state %s",
            state, state);
out:
    if (status != SOTTO_OK && status != SOTTO_NOT_FOUND && status != SOTTO_EXISTS)
        (void)io_remove_tree(part, NULL);
    return ctl_end(cli, status, &err);
}

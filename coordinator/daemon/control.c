/* The control socket: one request a connection, answered by the loop thread between two turns.
 *
 * Request: u32 bytes, then u8 json, u32 argc, and per argument u32 bytes and the bytes. Answer: u32
 * status, u32 bytes, text. */
#include "daemon/control_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_TIMEOUT_S  5
#define CONTROL_ANSWER_MAX ((size_t)1 << 30)

static const struct control_command commands[] = {
    {"status", 0, control_status, false},
    {"devices", 0, control_devices, false},
    {"revoke", 1, control_revoke, true},
    {"serials", 1, control_serials, false},
    {"tickets", 1, control_tickets, true},
    {"document", 0, control_document, false},
    {"document-request", 0, control_document_request, false},
    {"document-import", 1, control_document_import, true},
    {"task-create", 2, control_task_create, false},
    {"task-list", 0, control_task_list, false},
    {"task-show", 1, control_task_show, false},
    {"task-yaml", 1, control_task_yaml, false},
    {"task-pause", 1, control_task_pause, true},
    {"task-resume", 1, control_task_resume, true},
    {"task-stop", 1, control_task_stop, true},
    {"rounds-list", 1, control_rounds_list, false},
    {"rounds-watch", 2, control_rounds_watch, false},
    {"rounds-csv", 1, control_rounds_csv, false},
    {"rounds-show", 2, control_rounds_show, false},
    {"models-list", 1, control_models_list, false},
    {"models-show", 2, control_models_show, false},
    {"models-package", 2, control_models_package, false},
    {"models-rollback", 2, control_models_rollback, true},
    {"models-release", 2, control_models_release, true},
    {"events", 2, control_events, false},
    {"backup", 1, control_backup, true},
};

const char *control_arg(const struct control_request *r, uint32_t i) {
    return i < r->argc ? (const char *)r->argv[i].p : "";
}

const char *control_time(int64_t ms, char out[24]) {
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (ms <= 0 || !gmtime_r(&s, &tm) || strftime(out, 24, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, 24, "-");
    return out;
}

const char *control_number(double v, char out[24]) {
    if (v == v)
        snprintf(out, 24, "%.4f", v);
    else
        snprintf(out, 24, "-");
    return out;
}

enum sotto_status control_listen(struct coordinator *c, struct sotto_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *path = c->control_path;
    enum sotto_status status = SOTTO_OK;
    if (c->config.control && c->config.control[0])
        snprintf(path, sizeof c->control_path, "%s", c->config.control);
    else
        TRY(io_join(path, sizeof c->control_path, c->state_dir, "control.sock", err));
    if (strlen(path) >= sizeof address.sun_path)
        TRY_FAIL(err, SOTTO_LIMIT,
                 "%s: longer than a socket's path may be (%zu); set control to a shorter one", path,
                 sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path));
    TRY(io_remove(path, err)); /* the lock file says that no other coordinator uses it */
    c->control_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->control_fd < 0)
        TRY_FAIL(err, SOTTO_IO, "control socket: %s", strerror(errno));
    mode_t old = umask(0177);
    int rc = bind(c->control_fd, (const struct sockaddr *)&address, sizeof address);
    umask(old);
    if (rc != 0 || listen(c->control_fd, 16) != 0)
        TRY_FAIL(err, SOTTO_IO, "%s: cannot listen: %s", path, strerror(errno));
out:
    return status;
}

static enum sotto_status receive_all(int fd, void *out, size_t n) {
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = recv(fd, p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return SOTTO_IO;
        p += got;
        n -= (size_t)got;
    }
    return SOTTO_OK;
}

static enum sotto_status send_all(int fd, const void *data, size_t n) {
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t put = send(fd, p, n, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return SOTTO_IO;
        p += put;
        n -= (size_t)put;
    }
    return SOTTO_OK;
}

enum sotto_status control_parse(struct view bytes, struct buf *text, struct control_request *r,
                                struct sotto_error *err) {
    struct reader in;
    size_t starts[CONTROL_ARGS_MAX];
    memset(r, 0, sizeof *r);
    reader_init(&in, bytes);
    r->json = reader_u8(&in, "json") != 0;
    r->argc = reader_u32(&in, "argc");
    if (r->argc == 0 || r->argc > CONTROL_ARGS_MAX)
        reader_fail(&in, SOTTO_LIMIT, "argc");
    for (uint32_t i = 0; in.status == SOTTO_OK && i < r->argc; i++) {
        uint32_t n = reader_u32(&in, "argument length");
        struct view v = reader_bytes(&in, n, "argument");
        starts[i] = text->len;
        r->argv[i].n = v.n;
        buf_put(text, v.p, v.n);
        buf_put_u8(text, 0);
    }
    enum sotto_status status = reader_finish(&in, true, "control request", err);
    if (status == SOTTO_OK && text->status != SOTTO_OK)
        status = SOTTO_FAIL(err, text->status, "control request: too large");
    for (uint32_t i = 0; status == SOTTO_OK && i < r->argc; i++)
        r->argv[i].p = text->data + starts[i];
    if (status != SOTTO_OK)
        r->argc = 0; /* nothing of it can be asked for */
    return status;
}

/* {"message": "..."} of a command that answers with a sentence. */
static enum sotto_status as_json(struct buf *out, struct sotto_error *err) {
    size_t n = 0;
    struct json j;
    while (out->len && out->data[out->len - 1] == '\n')
        out->len--;
    buf_put_u8(out, 0);
    char *text = (char *)buf_take(out, &n);
    if (!text)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "control: out of memory");
    json_init(&j, out);
    json_object_begin(&j);
    json_put_str(&j, "message", text);
    json_object_end(&j);
    buf_put_u8(out, '\n');
    mem_free(text);
    return SOTTO_OK;
}

static enum sotto_status dispatch(struct coordinator *c, const struct control_request *r,
                                  struct buf *out, struct sotto_error *err) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, control_arg(r, 0)) == 0) {
            if (r->argc - 1 < commands[i].args_min)
                return SOTTO_FAIL(err, SOTTO_USAGE, "%s needs %u arguments", commands[i].name,
                                  commands[i].args_min);
            enum sotto_status status = commands[i].run(c, r, out, err);
            return status == SOTTO_OK && r->json && commands[i].text ? as_json(out, err) : status;
        }
    return SOTTO_FAIL(err, SOTTO_USAGE, "unknown control command");
}

/* Failures of the store end the process; everything else is the asker's and is answered. */
static enum sotto_status serve_one(struct coordinator *c, int fd, struct sotto_error *err) {
    struct buf request, text, answer;
    struct control_request r = {0};
    struct sotto_error why = SOTTO_ERROR_INIT;
    uint32_t size = 0;
    enum sotto_status status = SOTTO_OK, verdict;
    buf_init(&request, CONTROL_REQUEST_MAX);
    buf_init(&text, CONTROL_REQUEST_MAX + CONTROL_ARGS_MAX);
    buf_init(&answer, CONTROL_ANSWER_MAX);
    if (receive_all(fd, &size, sizeof size) != SOTTO_OK || size > CONTROL_REQUEST_MAX)
        goto out;
    uint8_t *p = buf_grow(&request, size);
    if (!p || receive_all(fd, p, size) != SOTTO_OK)
        goto out;
    verdict = control_parse(buf_view(&request), &text, &r, &why);
    if (verdict == SOTTO_OK)
        verdict = dispatch(c, &r, &answer, &why);
    if (store_failed(c->store))
        TRY_FAIL(err, verdict == SOTTO_OK ? SOTTO_IO : verdict, "%s",
                 why.message[0] ? why.message : "the store failed");
    if (verdict == SOTTO_OK && answer.status != SOTTO_OK)
        verdict = SOTTO_FAIL(&why, answer.status, "the answer does not fit");
    TRY(store_commit(c->store, err)); /* what was asked for is durable before it is confirmed */
    TRY(outbox_flush(c->outbox, err));
    const char *body = verdict == SOTTO_OK ? (const char *)answer.data : why.message;
    size_t n = verdict == SOTTO_OK ? answer.len : strlen(why.message);
    uint32_t head[2] = {(uint32_t)verdict, (uint32_t)n};
    if (send_all(fd, head, sizeof head) == SOTTO_OK && n)
        (void)send_all(fd, body, n);
out:
    buf_deinit(&request);
    buf_deinit(&text);
    buf_deinit(&answer);
    return status;
}

enum sotto_status control_serve(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    int fd;
    while (status == SOTTO_OK && (fd = accept4(c->control_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct timeval limit = {.tv_sec = CONTROL_TIMEOUT_S};
        struct ucred peer = {0};
        socklen_t n = sizeof peer;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 &&
            (peer.uid == getuid() || peer.uid == 0))
            status = serve_one(c, fd, err);
        close(fd);
    }
    return status;
}

/* sottoctl's side of the control socket. */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)1 << 30)
#define TIMEOUT_S  600 /* a first evaluation, a large backup */

const char *ctl_state(const struct cli *cli) {
    const char *flag = cli_flag(cli, "state");
    const char *env = getenv("SOTTO_STATE");
    return flag ? flag : env && env[0] ? env : "/var/lib/sotto";
}

static enum sotto_status connect_daemon(const struct cli *cli, int *fd, struct sotto_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    char path[IO_PATH_MAX];
    const char *flag = cli_flag(cli, "control"), *state = ctl_state(cli);
    enum sotto_status status = SOTTO_OK;
    if (flag)
        snprintf(path, sizeof path, "%s", flag);
    else
        status = io_join(path, sizeof path, state, "control.sock", err);
    if (status != SOTTO_OK)
        return status;
    if (strlen(path) >= sizeof address.sun_path)
        return SOTTO_FAIL(
            err, SOTTO_LIMIT,
            "%s: longer than a socket's path may be; set the coordinator's control to a "
            "shorter one and name it with --control",
            path);
    memcpy(address.sun_path, path, strlen(path));
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return SOTTO_FAIL(err, SOTTO_IO, "control socket: %s", strerror(errno));
    setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(*fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return SOTTO_OK;
    int why = errno;
    close(*fd);
    *fd = -1;
    if (why == EACCES || why == EPERM)
        return SOTTO_FAIL(err, SOTTO_DENIED,
                          "%s: belongs to another user; run sottoctl as the coordinator's user",
                          path);
    return SOTTO_FAIL(err, SOTTO_UNREACHABLE,
                      "no coordinator runs on %s; start one with: sotto-coordinator --state %s (or "
                      "name another folder"
                      " with --state)",
                      state, state);
}

static enum sotto_status receive_all(int fd, void *out, size_t n, struct sotto_error *err) {
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = recv(fd, p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)
                       ? SOTTO_FAIL(err, SOTTO_TIMEOUT,
                                    "the coordinator did not answer within %d s", TIMEOUT_S)
                       : SOTTO_FAIL(err, SOTTO_UNREACHABLE,
                                    "the coordinator went away before it answered");
        p += got;
        n -= (size_t)got;
    }
    return SOTTO_OK;
}

enum sotto_status ctl_ask(const struct cli *cli, bool json, const struct view *args, size_t count,
                          struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    struct buf request;
    int fd = -1;
    uint32_t head[2];
    buf_init(&request, 64u << 20);
    buf_put_u32(&request, 0);
    buf_put_u8(&request, json);
    buf_put_u32(&request, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        buf_put_u32(&request, (uint32_t)args[i].n);
        buf_put(&request, args[i].p, args[i].n);
    }
    if (request.status != SOTTO_OK)
        TRY_FAIL(err, request.status, "the request is too large");
    uint32_t size = (uint32_t)(request.len - 4);
    memcpy(request.data, &size, 4);
    TRY(connect_daemon(cli, &fd, err));
    for (size_t sent = 0; sent < request.len;) {
        ssize_t put = send(fd, request.data + sent, request.len - sent, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            TRY_FAIL(err, SOTTO_UNREACHABLE, "the coordinator went away: %s", strerror(errno));
        sent += (size_t)put;
    }
    TRY(receive_all(fd, head, sizeof head, err));
    if (head[1] > ANSWER_MAX)
        TRY_FAIL(err, SOTTO_CORRUPT, "the coordinator's answer is too large");
    buf_reset(out);
    uint8_t *p = head[1] ? buf_grow(out, head[1]) : NULL;
    if (head[1] && !p)
        TRY_FAIL(err, SOTTO_NOMEM, "out of memory");
    if (head[1])
        TRY(receive_all(fd, p, head[1], err));
    if (head[0] != SOTTO_OK)
        status =
            SOTTO_FAIL(err, (enum sotto_status)head[0], "%.*s", (int)num_min_u64(out->len, 255),
                       out->len ? (const char *)out->data : "");
out:
    if (fd >= 0)
        close(fd);
    buf_deinit(&request);
    return status;
}

int ctl_print(struct cli *cli, const char *const *args, size_t count) {
    struct view views[CTL_ARGS_MAX];
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    for (size_t i = 0; i < count && i < CTL_ARGS_MAX; i++)
        views[i] = view_of(args[i], strlen(args[i]));
    enum sotto_status status = ctl_ask(cli, cli_json(cli), views, count, &out, &err);
    if (status == SOTTO_OK && out.len)
        fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

int ctl_say(const struct cli *cli, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!cli_json(cli)) {
        printf("%s\n", text);
        return 0;
    }
    struct buf out;
    struct json j;
    buf_init(&out, 8192);
    json_init(&j, &out);
    json_object_begin(&j);
    json_put_str(&j, "message", text);
    json_object_end(&j);
    printf("%.*s\n", (int)out.len, (const char *)out.data);
    buf_deinit(&out);
    return 0;
}

int ctl_end(const struct cli *cli, enum sotto_status status, const struct sotto_error *err) {
    if (status != SOTTO_OK)
        return cli_fail(cli, err);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    struct sotto_error full = SOTTO_ERROR_INIT;
    (void)SOTTO_FAIL(&full, SOTTO_IO, "standard output cannot be written");
    return cli_fail(cli, &full);
}

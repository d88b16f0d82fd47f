/* The coordinator's control socket, as sottoctl uses it, and as much reading of its JSON as the
 * wire run needs. */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX  ((size_t)1 << 30)
#define REQUEST_MAX ((size_t)8 << 20)
#define TIMEOUT_S   600

static enum sotto_status open_socket(const char *path, int *fd, struct sotto_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = TIMEOUT_S};
    if (strlen(path) >= sizeof address.sun_path)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: longer than a socket's path may be", path);
    memcpy(address.sun_path, path, strlen(path));
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "control socket");
    (void)setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(*fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_UNREACHABLE, "%s", path);
    return SOTTO_OK;
}

static enum sotto_status send_all(int fd, struct view bytes, struct sotto_error *err) {
    for (size_t sent = 0; sent < bytes.n;) {
        const ssize_t n = send(fd, bytes.p + sent, bytes.n - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SOTTO_FAIL_SYS(err, SOTTO_UNREACHABLE, "the coordinator went away");
        sent += (size_t)n;
    }
    return SOTTO_OK;
}

static enum sotto_status receive_all(int fd, void *out, size_t count, struct sotto_error *err) {
    uint8_t *p = out;
    while (count > 0) {
        const ssize_t n = recv(fd, p, count, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return SOTTO_FAIL(err, SOTTO_UNREACHABLE,
                              "the coordinator went away before it answered");
        p += n;
        count -= (size_t)n;
    }
    return SOTTO_OK;
}

enum sotto_status wire_ask(const char *socket_path, bool json, const struct view *args,
                           size_t count, struct buf *out, struct sotto_error *err) {
    enum sotto_status status;
    struct buf request;
    uint32_t head[2];
    int fd = -1;
    buf_init(&request, REQUEST_MAX);
    buf_put_u32(&request, 0);
    buf_put_u8(&request, json);
    buf_put_u32(&request, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        buf_put_u32(&request, (uint32_t)args[i].n);
        buf_put(&request, args[i].p, args[i].n);
    }
    if (request.status != SOTTO_OK)
        TRY_FAIL(err, request.status, "a request does not fit");
    const uint32_t size = (uint32_t)(request.len - 4);
    memcpy(request.data, &size, sizeof size);
    TRY(open_socket(socket_path, &fd, err));
    TRY(send_all(fd, buf_view(&request), err));
    TRY(receive_all(fd, head, sizeof head, err));
    if (head[1] > ANSWER_MAX)
        TRY_FAIL(err, SOTTO_CORRUPT, "the coordinator's answer is too large");
    buf_reset(out);
    uint8_t *p = head[1] ? buf_grow(out, head[1]) : NULL;
    if (head[1] && !p)
        TRY_FAIL(err, SOTTO_NOMEM, "the coordinator's answer does not fit");
    if (head[1])
        TRY(receive_all(fd, p, head[1], err));
    if (head[0] != SOTTO_OK)
        TRY_FAIL(err, (enum sotto_status)head[0], "coordinator: %.*s",
                 (int)num_min_u64(out->len, 200), out->len ? (const char *)out->data : "");
out:
    if (fd >= 0)
        close(fd);
    buf_deinit(&request);
    return status;
}

/* Behind "key":, or NULL. */
static const char *value_of(struct view object, const char *key, const char **end) {
    char quoted[64];
    const int n = snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = memmem(object.p, object.n, quoted, (size_t)n);
    *end = (const char *)object.p + object.n;
    if (!found)
        return NULL;
    found += n;
    while (found < *end && *found == ' ')
        found++;
    return found < *end ? found : NULL;
}

bool wire_number(struct view object, const char *key, double *out) {
    const char *end, *at = value_of(object, key, &end);
    char text[40];
    size_t n = 0;
    while (at && at + n < end && n + 1 < sizeof text && strchr("+-.0123456789eE", at[n]) && at[n])
        n++;
    if (!at || n == 0)
        return false;
    memcpy(text, at, n);
    text[n] = '\0';
    return num_parse_f64(text, -1e300, 1e300, out, NULL) == SOTTO_OK;
}

bool wire_text(struct view object, const char *key, char *out, size_t cap) {
    const char *end, *at = value_of(object, key, &end);
    size_t n = 0;
    if (!at || *at++ != '"')
        return false;
    while (at + n < end && at[n] != '"' && n + 1 < cap)
        n++;
    memcpy(out, at, n);
    out[n] = '\0';
    return at + n < end && at[n] == '"';
}

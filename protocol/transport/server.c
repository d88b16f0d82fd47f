/* The coordinator's end: a ROUTER with CURVE whose every message comes from a key that the gate
 * still admits. */
#include "transport/transport_int.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

#define ID_BYTES          5u  /* of a routing id that libzmq made itself: 0, then a counter */
#define USER_ID_CHARS     64u /* hex of ID_KEY bytes */
#define FD_RESERVE        64u
#define BACKLOG           4096
#define SELF_TEST_MS      10000
#define WAIT_MAX          64u
#define PEERS_MAX_ALLOWED 1000000u

struct transport_server {
    void *ctx; /* of its own: closing it waits until the port is free again */
    void *router, *monitor;
    struct zap *zap;
    struct transport_gate *gate; /* borrowed */
    struct frames in;
    char address[TRANSPORT_ADDRESS_MAX];
    uint32_t number; /* upper half of its peers' handles: those of another server never fit */
    struct transport_stats stats;
};

static uint32_t next_number(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint32_t last;
    (void)pthread_mutex_lock(&lock);
    const uint32_t n = ++last;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

/* At the limit of descriptors libzmq spins without a word: refuse to come near it. */
static enum sotto_status check_descriptors(uint32_t peers_max, struct sotto_error *err) {
    struct rlimit limit;
    const rlim_t need = (rlim_t)peers_max + FD_RESERVE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot read the limit of open files");
    if (limit.rlim_cur >= need)
        return SOTTO_OK;
    if (limit.rlim_max >= need) { /* ours to raise */
        limit.rlim_cur = need;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
            return SOTTO_OK;
    }
    return SOTTO_FAIL(err, SOTTO_LIMIT,
                      "%u connections need %llu open files, the limit is %llu: raise LimitNOFILE "
                      "(ulimit -n) or lower the number of connections",
                      peers_max, (unsigned long long)need, (unsigned long long)limit.rlim_max);
}

static enum sotto_status set_options(struct transport_server *s,
                                     const struct transport_server_config *c,
                                     struct sotto_error *err) {
    struct options o = {s->router, SOTTO_OK, err};
    options_common(&o, c->bind, c->handshake_ms, c->heartbeat_ms);
    options_int(&o, ZMQ_CURVE_SERVER, 1);
    options_bytes(&o, ZMQ_CURVE_SECRETKEY, c->keys->secret_key, ID_KEY);
    options_bytes(&o, ZMQ_ZAP_DOMAIN, TRANSPORT_ZAP_DOMAIN, strlen(TRANSPORT_ZAP_DOMAIN));
    options_int(&o, TRANSPORT_ZAP_ENFORCE_DOMAIN, 1);
    options_int(&o, ZMQ_ROUTER_MANDATORY, 1);
    options_int(&o, ZMQ_LINGER, 0);
    options_int(&o, ZMQ_BACKLOG, BACKLOG);
    return o.status;
}

static enum sotto_status bind_router(struct transport_server *s,
                                     const struct transport_server_config *c,
                                     struct sotto_error *err) {
    size_t n = sizeof s->address;
    if (strncmp(c->bind, "tcp://", 6) != 0)
        return SOTTO_FAIL(err, SOTTO_INVALID, "%s: a server binds tcp:// addresses only", c->bind);
    if (zmq_bind(s->router, c->bind) != 0)
        return SOTTO_FAIL_SYS(err,
                              errno == EADDRINUSE ? SOTTO_BUSY
                              : errno == EACCES   ? SOTTO_DENIED
                                                  : SOTTO_IO,
                              "%s: cannot bind", c->bind);
    if (zmq_getsockopt(s->router, ZMQ_LAST_ENDPOINT, s->address, &n) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: no address", c->bind);
    return SOTTO_OK;
}

/* The events of one connection with a key made up on the spot: the last one, or 0 when the time is
 * over. */
static int knock(struct transport_server *s, const struct id_curve *stranger,
                 const uint8_t *server_key, struct sotto_error *err) {
    int event = 0;
    void *monitor = NULL, *socket = zmq_socket(s->ctx, ZMQ_DEALER);
    if (socket == NULL)
        return 0;
    struct options o = {socket, SOTTO_OK, err};
    options_common(&o, s->address, SELF_TEST_MS, 0);
    options_int(&o, ZMQ_LINGER, 0);
    options_bytes(&o, ZMQ_CURVE_SERVERKEY, server_key, ID_KEY);
    options_bytes(&o, ZMQ_CURVE_PUBLICKEY, stranger->public_key, ID_KEY);
    options_bytes(&o, ZMQ_CURVE_SECRETKEY, stranger->secret_key, ID_KEY);
    if (o.status == SOTTO_OK)
        monitor = monitor_open(s->ctx, socket,
                               ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
                               false, err);
    if (monitor != NULL && zmq_connect(socket, s->address) == 0) {
        const uint64_t end = clock_mono_ms() + SELF_TEST_MS;
        for (uint64_t now = clock_mono_ms(); event == 0 && now < end; now = clock_mono_ms()) {
            zmq_pollitem_t item = {monitor, 0, ZMQ_POLLIN, 0};
            if (zmq_poll(&item, 1, (long)(end - now)) > 0)
                event = monitor_next(monitor);
        }
    }
    if (monitor != NULL) {
        (void)zmq_socket_monitor(socket, NULL, 0);
        (void)zmq_close(monitor);
    }
    (void)zmq_close(socket);
    return event;
}

/* A libzmq whose access control does not work as measured lets everybody in: prove each time that
 * it does. */
static enum sotto_status self_test(struct transport_server *s, const struct id_curve *keys,
                                   struct sotto_error *err) {
    struct id_curve stranger;
    id_curve_generate(&stranger);
    zap_stranger_set(s->zap, stranger.public_key);
    const int event = knock(s, &stranger, keys->public_key, err);
    id_wipe(&stranger, sizeof stranger);
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && zap_stranger_refused(s->zap))
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_DENIED, "%s: self-test failed: a stranger's key was %s",
                      s->address,
                      event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED ? "let in" : "not answered");
}

static enum sotto_status check_config(const struct transport_server_config *c,
                                      struct sotto_error *err) {
    if (c->bind == NULL || c->keys == NULL || strlen(c->bind) >= TRANSPORT_ADDRESS_MAX ||
        c->io_threads < 1 || c->io_threads > 64 || c->handshake_ms == 0 || c->peers_max == 0 ||
        c->peers_max > PEERS_MAX_ALLOWED)
        return SOTTO_FAIL(err, SOTTO_INVALID, "transport: configuration out of range");
    return check_descriptors(c->peers_max, err);
}

enum sotto_status transport_server_open(const struct transport_server_config *config,
                                        struct transport_gate *gate, struct transport_server **out,
                                        struct sotto_error *err) {
    enum sotto_status status;
    struct transport_server *s = NULL;
    *out = NULL;
    TRY(check_config(config, err));
    s = mem_zalloc(sizeof *s);
    if (s == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot make a server");
    frames_init(&s->in);
    s->gate = gate;
    s->number = next_number();
    s->ctx = zmq_ctx_new();
    if (s->ctx == NULL || zmq_ctx_set(s->ctx, ZMQ_IO_THREADS, config->io_threads) != 0)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot make a libzmq context");
    s->zap = zap_start(s->ctx, gate, err);
    if (s->zap == NULL)
        TRY(err != NULL ? err->status : SOTTO_IO);
    s->router = zmq_socket(s->ctx, ZMQ_ROUTER);
    if (s->router == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot make a socket");
    TRY(set_options(s, config, err));
    s->monitor = monitor_open(s->ctx, s->router, ZMQ_EVENT_ACCEPT_FAILED, false, err);
    if (s->monitor == NULL)
        TRY_FAIL(err, SOTTO_IO, "cannot watch the server's socket");
    TRY(bind_router(s, config, err));
    TRY(self_test(s, config->keys, err));
    *out = s;
    s = NULL;
out:
    transport_server_close(s);
    return status;
}

void transport_server_close(struct transport_server *s) {
    if (s == NULL)
        return;
    frames_deinit(&s->in);
    if (s->monitor != NULL) {
        (void)zmq_socket_monitor(s->router, NULL, 0);
        (void)zmq_close(s->monitor);
    }
    if (s->router != NULL)
        (void)zmq_close(s->router);
    zap_stop(s->zap);
    while (s->ctx != NULL && zmq_ctx_term(s->ctx) != 0 && errno == EINTR)
        ;
    mem_free(s);
}

const char *transport_server_address(const struct transport_server *s) {
    return s->address;
}

/* Counts what only the socket's monitor tells. */
static void look_at_monitor(struct transport_server *s) {
    uint64_t failed = 0;
    while (monitor_next(s->monitor) == ZMQ_EVENT_ACCEPT_FAILED)
        failed++;
    if (failed == 0)
        return;
    s->stats.accept_failed += failed;
    LOG(LOG_ERROR, "transport.accept_failed", LS("address", s->address), LU("count", failed));
}

/* OK when a message is there to be read. */
static enum sotto_status wait_readable(struct transport_server *s, int timeout_ms,
                                       struct sotto_error *err) {
    zmq_pollitem_t item = {s->router, 0, ZMQ_POLLIN, 0};
    const int n = zmq_poll(&item, 1, timeout_ms);
    if (n > 0)
        return SOTTO_OK;
    if (n < 0 && errno != EINTR)
        return SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "%s: cannot wait for messages", s->address);
    look_at_monitor(s);
    return SOTTO_TIMEOUT;
}

/* The handle of a connection, or 0 for a routing id that the peer chose itself. */
static uint64_t handle_of(const struct transport_server *s, zmq_msg_t *id) {
    const uint8_t *p = zmq_msg_data(id);
    if (zmq_msg_size(id) != ID_BYTES || p[0] != 0)
        return 0;
    return (uint64_t)s->number << 32 | (uint64_t)p[1] << 24 | (uint64_t)p[2] << 16 |
           (uint64_t)p[3] << 8 | p[4];
}

/* Who sent it, by the User-Id that the ZAP handler gave the connection; the gate has the last word.
 */
static enum sotto_status identify(struct transport_server *s, struct transport_message *out,
                                  struct sotto_error *err) {
    struct gate_entry e;
    const char *user = zmq_msg_gets(&s->in.control, "User-Id");
    if (user == NULL || strlen(user) != USER_ID_CHARS ||
        num_parse_hex(user, out->curve_key, ID_KEY, NULL) != SOTTO_OK)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "message without a user id");
    if (!transport_gate_find(s->gate, out->curve_key, clock_wall_ms(), &e))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "message of a key that is no longer admitted");
    out->serial = e.serial;
    out->role = e.role;
    return SOTTO_OK;
}

static enum sotto_status take(struct transport_server *s, struct transport_message *out,
                              struct sotto_error *err) {
    zmq_msg_t id;
    enum sotto_status status = SOTTO_OK;
    (void)zmq_msg_init(&id);
    if (zmq_msg_recv(&id, s->router, ZMQ_DONTWAIT) < 0) {
        if (errno == EAGAIN || errno == EINTR)
            status = SOTTO_TIMEOUT;
        else
            status = SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "%s: cannot receive", s->address);
    } else if (zmq_msg_more(&id) == 0) {
        status = SOTTO_FAIL(err, SOTTO_CORRUPT, "message without frames");
    } else {
        out->peer = handle_of(s, &id);
        status = frames_take(&s->in, s->router, err);
        if (status == SOTTO_OK && out->peer == 0)
            status = SOTTO_FAIL(err, SOTTO_CORRUPT, "peer that names itself");
    }
    (void)zmq_msg_close(&id);
    return status;
}

enum sotto_status transport_server_recv(struct transport_server *s, int timeout_ms,
                                        struct transport_message *out, struct sotto_error *err) {
    *out = (struct transport_message){0};
    if (!zap_alive(s->zap))
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "%s: the ZAP handler has died", s->address);
    enum sotto_status status = take(s, out, err);
    if (status == SOTTO_TIMEOUT) {
        status = wait_readable(s, timeout_ms, err);
        if (status == SOTTO_OK)
            status = take(s, out, err);
    }
    if (status == SOTTO_OK)
        status = identify(s, out, err);
    if (status != SOTTO_OK) {
        if (status == SOTTO_CORRUPT)
            s->stats.dropped++;
        return status;
    }
    out->control = frames_view(&s->in.control);
    if (s->in.has_payload)
        out->payload = frames_view(&s->in.payload);
    s->stats.received++;
    s->stats.bytes_in += out->control.n + out->payload.n;
    return SOTTO_OK;
}

enum sotto_status transport_server_send(struct transport_server *s, uint64_t peer,
                                        struct view control, struct view payload,
                                        struct sotto_error *err) {
    const uint8_t id[ID_BYTES] = {0, (uint8_t)(peer >> 24), (uint8_t)(peer >> 16),
                                  (uint8_t)(peer >> 8), (uint8_t)peer};
    if (control.n == 0 || control.n > WIRE_CONTROL_MAX || payload.n > TRANSPORT_PAYLOAD_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "frames of %zu and %zu bytes are too large",
                          control.n, payload.n);
    if (peer >> 32 != s->number)
        return SOTTO_FAIL(err, SOTTO_UNREACHABLE, "the connection is gone");
    int rc = zmq_send(s->router, id, sizeof id, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    if (rc < 0 && errno == EAGAIN) {
        /* libzmq looks at its mail only now and then while sending; asking for events makes it
         * look. */
        int events;
        size_t n = sizeof events;
        (void)zmq_getsockopt(s->router, ZMQ_EVENTS, &events, &n);
        rc = zmq_send(s->router, id, sizeof id, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    }
    if (rc >= 0)
        rc = frames_send(s->router, control, payload);
    if (rc < 0) {
        if (errno == EAGAIN)
            return SOTTO_FAIL(err, SOTTO_BUSY, "the peer's queue is full");
        if (errno == EHOSTUNREACH)
            return SOTTO_FAIL(err, SOTTO_UNREACHABLE, "the connection is gone");
        return SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "%s: cannot send", s->address);
    }
    s->stats.sent++;
    s->stats.bytes_out += control.n + payload.n;
    return SOTTO_OK;
}

void transport_server_stats(struct transport_server *s, struct transport_stats *out) {
    uint64_t admitted, refused;
    look_at_monitor(s);
    zap_counts(s->zap, &admitted, &refused);
    *out = s->stats;
    out->handshakes = admitted;
    out->refused = refused;
}

enum sotto_status transport_wait(struct transport_server *const *servers, size_t server_count,
                                 const int *fds, size_t fd_count, int timeout_ms, uint64_t *ready,
                                 struct sotto_error *err) {
    zmq_pollitem_t items[WAIT_MAX];
    *ready = 0;
    if (server_count > WAIT_MAX || fd_count > WAIT_MAX - server_count)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "cannot wait for more than %u things", WAIT_MAX);
    for (size_t i = 0; i < server_count; i++)
        items[i] = (zmq_pollitem_t){servers[i]->router, 0, ZMQ_POLLIN, 0};
    for (size_t i = 0; i < fd_count; i++)
        items[server_count + i] = (zmq_pollitem_t){NULL, fds[i], ZMQ_POLLIN, 0};
    const int n = zmq_poll(items, (int)(server_count + fd_count), timeout_ms);
    if (n < 0 && errno != EINTR)
        return SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "cannot wait for messages");
    for (size_t i = 0; n > 0 && i < server_count + fd_count; i++)
        if (items[i].revents != 0)
            *ready |= 1ull << i;
    return *ready != 0 ? SOTTO_OK : SOTTO_TIMEOUT;
}

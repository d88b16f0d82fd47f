/* The device's end: a DEALER with CURVE, and its monitor that tells how the connection stands. */
#include "transport/transport_int.h"

#include <errno.h>
#include <string.h>

#define HANDSHAKE_MS     10000
#define HEARTBEAT_MS     30000
#define CONNECT_MS       10000
#define RECONNECT_MS     250 /* libzmq adds up to as much again at random */
#define RECONNECT_MAX_MS 30000
#define LINGER_MS        500

struct transport_client {
    void *ctx; /* shared by the process's clients */
    void *dealer, *monitor;
    struct frames in;
    enum transport_state state;
    bool lost_now; /* a connection broke since the last look */
};

static enum sotto_status set_options(struct transport_client *c,
                                     const struct transport_client_config *config,
                                     struct sotto_error *err) {
    struct options o = {c->dealer, SOTTO_OK, err};
    options_common(&o, config->address, HANDSHAKE_MS, HEARTBEAT_MS);
    options_bytes(&o, ZMQ_CURVE_SERVERKEY, config->server_key, ID_KEY);
    options_bytes(&o, ZMQ_CURVE_PUBLICKEY, config->keys->public_key, ID_KEY);
    options_bytes(&o, ZMQ_CURVE_SECRETKEY, config->keys->secret_key, ID_KEY);
    options_int(&o, ZMQ_IMMEDIATE, 1); /* nothing is queued for a connection that does not stand */
    options_int(&o, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    options_int(&o, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    options_int(&o, ZMQ_CONNECT_TIMEOUT, CONNECT_MS);
    options_int(&o, ZMQ_LINGER, LINGER_MS); /* the last acknowledgement may still leave */
    return o.status;
}

enum sotto_status transport_client_open(const struct transport_client_config *config,
                                        struct transport_client **out, struct sotto_error *err) {
    enum sotto_status status;
    struct transport_client *c = NULL;
    *out = NULL;
    if (config->address == NULL || config->server_key == NULL || config->keys == NULL)
        TRY_FAIL(err, SOTTO_INVALID, "a connection needs an address and keys");
    if (strncmp(config->address, "tcp://", 6) != 0 ||
        strlen(config->address) >= TRANSPORT_ADDRESS_MAX)
        TRY_FAIL(err, SOTTO_INVALID, "a device connects to tcp:// addresses only");
    c = mem_zalloc(sizeof *c);
    if (c == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot make a connection");
    frames_init(&c->in);
    c->ctx = client_context_get();
    if (c->ctx == NULL)
        TRY_FAIL(err, SOTTO_NOMEM, "cannot make a libzmq context");
    c->dealer = zmq_socket(c->ctx, ZMQ_DEALER);
    if (c->dealer == NULL)
        TRY_FAIL(err, errno == EMFILE ? SOTTO_LIMIT : SOTTO_NOMEM, "cannot make a socket");
    TRY(set_options(c, config, err));
    c->monitor = monitor_open(c->ctx, c->dealer,
                              ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                                  ZMQ_EVENT_DISCONNECTED,
                              true, err);
    if (c->monitor == NULL)
        TRY_FAIL(err, SOTTO_IO, "cannot watch the connection");
    if (zmq_connect(c->dealer, config->address) != 0)
        TRY_FAIL(err, SOTTO_INVALID, "%s: %s", config->address, zmq_strerror(errno));
    *out = c;
    c = NULL;
    status = SOTTO_OK;
out:
    transport_client_close(c);
    return status;
}

static void look_at_monitor(struct transport_client *c) {
    for (int event = monitor_next(c->monitor); event != 0; event = monitor_next(c->monitor)) {
        if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
            c->state = TRANSPORT_REFUSED;
        } else if (c->state == TRANSPORT_REFUSED) {
            continue; /* for good */
        } else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            c->state = TRANSPORT_CONNECTED;
        } else if (event == ZMQ_EVENT_DISCONNECTED && c->state == TRANSPORT_CONNECTED) {
            c->state = TRANSPORT_LOST;
            c->lost_now = true;
        }
    }
}

void transport_client_close(struct transport_client *c) {
    if (c == NULL)
        return;
    frames_deinit(&c->in);
    if (c->monitor != NULL) {
        look_at_monitor(c);
        (void)zmq_socket_monitor(c->dealer, NULL, 0);
        (void)zmq_close(c->monitor);
    }
    if (c->dealer != NULL) {
        const int linger = 0;
        if (c->state != TRANSPORT_CONNECTED) /* nothing can leave: do not wait for it */
            (void)zmq_setsockopt(c->dealer, ZMQ_LINGER, &linger, sizeof linger);
        (void)zmq_close(c->dealer);
    }
    if (c->ctx != NULL)
        client_context_put();
    mem_free(c);
}

enum transport_state transport_client_state(struct transport_client *c) {
    look_at_monitor(c);
    return c->state;
}

enum sotto_status transport_client_send(struct transport_client *c, struct view control,
                                        struct view payload, struct sotto_error *err) {
    if (control.n == 0 || control.n > WIRE_CONTROL_MAX || payload.n > TRANSPORT_PAYLOAD_MAX)
        return SOTTO_FAIL(err, SOTTO_INVALID, "frames of %zu and %zu bytes are too large",
                          control.n, payload.n);
    int rc = frames_send(c->dealer, control, payload);
    if (rc < 0 && errno == EAGAIN) {
        /* libzmq looks at its mail only now and then while sending; asking for events makes it
         * look. */
        int events;
        size_t n = sizeof events;
        (void)zmq_getsockopt(c->dealer, ZMQ_EVENTS, &events, &n);
        rc = frames_send(c->dealer, control, payload);
    }
    if (rc >= 0)
        return SOTTO_OK;
    if (errno != EAGAIN)
        return SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "cannot send");
    switch (transport_client_state(c)) {
    case TRANSPORT_CONNECTED:
        return SOTTO_FAIL(err, SOTTO_BUSY, "the connection's queue is full");
    case TRANSPORT_REFUSED:
        return SOTTO_FAIL(err, SOTTO_DENIED, "the coordinator refuses this device's key");
    case TRANSPORT_CONNECTING:
    case TRANSPORT_LOST:
    default:
        return SOTTO_FAIL(err, SOTTO_UNREACHABLE, "not connected");
    }
}

/* What a look at the monitor says about a wait; OK: go on. */
static enum sotto_status stands(struct transport_client *c, struct sotto_error *err) {
    look_at_monitor(c);
    if (c->state == TRANSPORT_REFUSED)
        return SOTTO_FAIL(err, SOTTO_DENIED, "the coordinator refuses this device's key");
    if (c->lost_now) {
        c->lost_now = false;
        return SOTTO_FAIL(err, SOTTO_UNREACHABLE, "the connection was lost");
    }
    return SOTTO_OK;
}

/* TIMEOUT when nothing came, OK when something may be there. */
static enum sotto_status wait_any(struct transport_client *c, long left_ms,
                                  struct sotto_error *err) {
    zmq_pollitem_t items[2] = {{c->dealer, 0, ZMQ_POLLIN, 0}, {c->monitor, 0, ZMQ_POLLIN, 0}};
    const int n = zmq_poll(items, 2, left_ms);
    if (n > 0)
        return SOTTO_OK;
    if (n < 0 && errno != EINTR)
        return SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "cannot wait for messages");
    return SOTTO_TIMEOUT;
}

enum sotto_status transport_client_recv(struct transport_client *c, int timeout_ms,
                                        struct view *control, struct view *payload,
                                        struct sotto_error *err) {
    const uint64_t end = clock_mono_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
    *control = *payload = view_of(NULL, 0);
    for (;;) {
        enum sotto_status status = frames_take(&c->in, c->dealer, err);
        if (status == SOTTO_OK) {
            *control = frames_view(&c->in.control);
            if (c->in.has_payload)
                *payload = frames_view(&c->in.payload);
            return SOTTO_OK;
        }
        if (status == SOTTO_TIMEOUT)
            status = stands(c, err); /* after what came in before it broke */
        if (status != SOTTO_OK)
            return status;
        const uint64_t now = clock_mono_ms();
        if (timeout_ms >= 0 && now >= end)
            return SOTTO_TIMEOUT;
        status = wait_any(c, timeout_ms < 0 ? -1 : (long)(end - now), err);
        if (status != SOTTO_OK)
            return status;
    }
}

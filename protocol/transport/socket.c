/* Pieces that server and client share: socket options, frames, monitors, the clients' context. */
#include "transport/transport_int.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* A client takes three sockets with its monitor: 4,096 of them in one process. */
#define CLIENT_SOCKETS_MAX 12288

void options_bytes(struct options *o, int option, const void *value, size_t n) {
    if (o->status != SOTTO_OK)
        return;
    if (zmq_setsockopt(o->socket, option, value, n) != 0)
        o->status =
            SOTTO_FAIL_SYS(o->err, SOTTO_INTERNAL, "libzmq refuses socket option %d", option);
}

void options_int(struct options *o, int option, int value) {
    options_bytes(o, option, &value, sizeof value);
}

void options_i64(struct options *o, int option, int64_t value) {
    options_bytes(o, option, &value, sizeof value);
}

void options_common(struct options *o, const char *address, uint32_t handshake_ms,
                    uint32_t heartbeat_ms) {
    options_int(o, ZMQ_SNDHWM, TRANSPORT_SEND_HWM);
    options_int(o, ZMQ_RCVHWM, TRANSPORT_RECV_HWM);
    options_i64(o, ZMQ_MAXMSGSIZE, TRANSPORT_FRAME_MAX);
    options_int(o, ZMQ_HANDSHAKE_IVL, (int)num_min_u64(handshake_ms, 600000));
    options_int(o, ZMQ_TCP_KEEPALIVE, 1);
    if (strchr(address, '[') != NULL)
        options_int(o, ZMQ_IPV6, 1);
    if (heartbeat_ms > 0) {
        const int ivl = (int)num_min_u64(heartbeat_ms, 600000);
        options_int(o, ZMQ_HEARTBEAT_IVL, ivl);
        options_int(o, ZMQ_HEARTBEAT_TIMEOUT, 2 * ivl);
        options_int(o, ZMQ_HEARTBEAT_TTL, 3 * ivl);
    }
}

void frames_init(struct frames *f) {
    (void)zmq_msg_init(&f->control);
    (void)zmq_msg_init(&f->payload);
    f->has_payload = false;
}

void frames_deinit(struct frames *f) {
    (void)zmq_msg_close(&f->control);
    (void)zmq_msg_close(&f->payload);
}

struct view frames_view(zmq_msg_t *m) {
    return view_of(zmq_msg_data(m), zmq_msg_size(m));
}

void frames_drain(void *socket, zmq_msg_t *last) {
    while (zmq_msg_more(last) != 0)
        if (zmq_msg_recv(last, socket, ZMQ_DONTWAIT) < 0)
            break;
}

enum sotto_status frames_take(struct frames *f, void *socket, struct sotto_error *err) {
    f->has_payload = false;
    if (zmq_msg_recv(&f->control, socket, ZMQ_DONTWAIT) < 0)
        return errno == EAGAIN || errno == EINTR
                   ? SOTTO_TIMEOUT
                   : SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "cannot receive");
    if (zmq_msg_more(&f->control) != 0) {
        if (zmq_msg_recv(&f->payload, socket, ZMQ_DONTWAIT) < 0)
            return SOTTO_FAIL_SYS(err, SOTTO_INTERNAL, "cannot receive a second frame");
        f->has_payload = true;
        if (zmq_msg_more(&f->payload) != 0) {
            frames_drain(socket, &f->payload);
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "message of more than two frames");
        }
        if (zmq_msg_size(&f->payload) > TRANSPORT_PAYLOAD_MAX)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "payload of %zu bytes; allowed: %u",
                              zmq_msg_size(&f->payload), TRANSPORT_PAYLOAD_MAX);
    }
    const size_t n = zmq_msg_size(&f->control);
    if (n == 0 || n > WIRE_CONTROL_MAX)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "control frame of %zu bytes; allowed: 1..%u", n,
                          WIRE_CONTROL_MAX);
    return SOTTO_OK;
}

int frames_send(void *socket, struct view control, struct view payload) {
    const bool two = payload.p != NULL;
    if (zmq_send(socket, control.p, control.n, ZMQ_DONTWAIT | (two ? ZMQ_SNDMORE : 0)) < 0)
        return -1;
    if (two && zmq_send(socket, payload.p, payload.n, ZMQ_DONTWAIT) < 0)
        return -1;
    return 0;
}

void *monitor_open(void *ctx, void *socket, int events, bool keep_all, struct sotto_error *err) {
    char name[64];
    const int linger = 0, unbounded = 0;
    (void)snprintf(name, sizeof name, "inproc://monitor.%p", socket);
    if (zmq_socket_monitor(socket, name, events) != 0) {
        (void)SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot watch a socket");
        return NULL;
    }
    void *monitor = zmq_socket(ctx, ZMQ_PAIR);
    if (monitor == NULL || zmq_setsockopt(monitor, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
        (keep_all && zmq_setsockopt(monitor, ZMQ_RCVHWM, &unbounded, sizeof unbounded) != 0) ||
        zmq_connect(monitor, name) != 0) {
        (void)SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot watch a socket");
        (void)zmq_socket_monitor(socket, NULL, 0);
        if (monitor != NULL)
            (void)zmq_close(monitor);
        return NULL;
    }
    return monitor;
}

int monitor_next(void *monitor) {
    zmq_msg_t m;
    uint16_t event = 0;
    (void)zmq_msg_init(&m);
    if (zmq_msg_recv(&m, monitor, ZMQ_DONTWAIT) >= 0) {
        if (zmq_msg_size(&m) >= sizeof event)
            memcpy(&event, zmq_msg_data(&m), sizeof event);
        frames_drain(monitor, &m);
    }
    (void)zmq_msg_close(&m);
    return event;
}

static struct {
    pthread_mutex_t lock;
    void *ctx;
    size_t users;
} clients = {PTHREAD_MUTEX_INITIALIZER, NULL, 0};

void *client_context_get(void) {
    (void)pthread_mutex_lock(&clients.lock);
    if (clients.ctx == NULL) {
        clients.ctx = zmq_ctx_new();
        if (clients.ctx != NULL &&
            zmq_ctx_set(clients.ctx, ZMQ_MAX_SOCKETS, CLIENT_SOCKETS_MAX) != 0) {
            (void)zmq_ctx_term(clients.ctx);
            clients.ctx = NULL;
        }
    }
    if (clients.ctx != NULL)
        clients.users++;
    void *ctx = clients.ctx;
    (void)pthread_mutex_unlock(&clients.lock);
    return ctx;
}

void client_context_put(void) {
    void *over = NULL;
    (void)pthread_mutex_lock(&clients.lock);
    if (--clients.users == 0) {
        over = clients.ctx;
        clients.ctx = NULL;
    }
    (void)pthread_mutex_unlock(&clients.lock);
    /* Outside the lock: it waits for what still lingers. */
    while (over != NULL && zmq_ctx_term(over) != 0 && errno == EINTR)
        ;
}

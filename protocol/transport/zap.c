/* The ZAP handler (ZeroMQ RFC 27): asked by libzmq for each new connection, it admits the keys of
 * the gate. */
#include "transport/transport_int.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FRAMES_MAX 16u /* of a request; 7 are expected */

struct zap {
    void *socket; /* REP; the thread's from its start on */
    struct transport_gate *gate;
    pthread_t thread;
    int stop_fd;
    pthread_mutex_t lock; /* of the rest */
    bool alive;
    uint64_t admitted, refused;
    uint8_t stranger[ID_KEY]; /* the self-test's key, counted apart */
    bool has_stranger;
    uint64_t stranger_admitted, stranger_refused;
};

/* What a request says that matters: version, id, domain, address, identity, mechanism, key. */
struct request {
    char id[256];
    size_t id_len;
    uint8_t key[ID_KEY];
    bool ok; /* well-formed, CURVE, our domain */
};

static bool frame_is(zmq_msg_t *m, const char *text) {
    return zmq_msg_size(m) == strlen(text) && memcmp(zmq_msg_data(m), text, strlen(text)) == 0;
}

/* Reads the whole request; false when none is there. */
static bool read_request(void *socket, struct request *r) {
    zmq_msg_t m;
    bool more = true;
    unsigned n = 0;
    *r = (struct request){.ok = true};
    for (; more; n++) {
        (void)zmq_msg_init(&m);
        if (zmq_msg_recv(&m, socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&m);
            return false;
        }
        const size_t size = zmq_msg_size(&m);
        if (n == 0) {
            r->ok = r->ok && frame_is(&m, "1.0");
        } else if (n == 1 && size <= sizeof r->id) {
            memcpy(r->id, zmq_msg_data(&m), size);
            r->id_len = size;
        } else if (n == 2) {
            r->ok = r->ok && frame_is(&m, TRANSPORT_ZAP_DOMAIN);
        } else if (n == 5) {
            r->ok = r->ok && frame_is(&m, "CURVE");
        } else if (n == 6) {
            r->ok = r->ok && size == ID_KEY;
            if (r->ok)
                memcpy(r->key, zmq_msg_data(&m), ID_KEY);
        }
        more = zmq_msg_more(&m) != 0 && n < FRAMES_MAX;
        (void)zmq_msg_close(&m);
    }
    r->ok = r->ok && n == 7;
    return true;
}

static void answer(void *socket, const struct request *r, bool admitted) {
    char user[2 * ID_KEY + 1] = "";
    if (admitted)
        (void)num_format_hex(user, r->key, ID_KEY);
    const char *code = admitted ? "200" : "400", *text = admitted ? "OK" : "not known here";
    (void)zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    (void)zmq_send(socket, r->id, r->id_len, ZMQ_SNDMORE);
    (void)zmq_send(socket, code, 3, ZMQ_SNDMORE);
    (void)zmq_send(socket, text, strlen(text), ZMQ_SNDMORE);
    (void)zmq_send(socket, user, strlen(user), ZMQ_SNDMORE);
    (void)zmq_send(socket, "", 0, 0);
}

static void serve(struct zap *z) {
    struct request r;
    if (!read_request(z->socket, &r))
        return;
    const bool admitted = r.ok && transport_gate_find(z->gate, r.key, clock_wall_ms(), NULL);
    (void)pthread_mutex_lock(&z->lock);
    const bool stranger = z->has_stranger && memcmp(z->stranger, r.key, ID_KEY) == 0;
    uint64_t *count = stranger   ? (admitted ? &z->stranger_admitted : &z->stranger_refused)
                      : admitted ? &z->admitted
                                 : &z->refused;
    ++*count;
    (void)pthread_mutex_unlock(&z->lock);
    answer(z->socket, &r, admitted);
}

static void *run(void *arg) {
    struct zap *z = arg;
    bool stopped = false;
    for (;;) {
        zmq_pollitem_t items[2] = {{z->socket, 0, ZMQ_POLLIN, 0},
                                   {NULL, z->stop_fd, ZMQ_POLLIN, 0}};
        if (zmq_poll(items, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        if ((items[1].revents & ZMQ_POLLIN) != 0) {
            stopped = true;
            break;
        }
        if ((items[0].revents & ZMQ_POLLIN) != 0)
            serve(z);
    }
    if (!stopped)
        LOG(LOG_ERROR, "transport.zap_died", LS("reason", zmq_strerror(errno)));
    (void)pthread_mutex_lock(&z->lock);
    z->alive = false;
    (void)pthread_mutex_unlock(&z->lock);
    return NULL;
}

/* Signals are for the program's own threads. */
static int start_thread(struct zap *z) {
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    const int rc = pthread_create(&z->thread, NULL, run, z);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

struct zap *zap_start(void *ctx, struct transport_gate *gate, struct sotto_error *err) {
    struct zap *z = mem_zalloc(sizeof *z);
    if (z == NULL || pthread_mutex_init(&z->lock, NULL) != 0) {
        (void)SOTTO_FAIL(err, SOTTO_NOMEM, "cannot make the ZAP handler");
        mem_free(z);
        return NULL;
    }
    const int linger = 0;
    z->gate = gate;
    z->alive = true;
    z->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    z->socket = zmq_socket(ctx, ZMQ_REP);
    /* Bound before anything else is: a connection never meets a context without its handler. */
    if (z->stop_fd < 0 || z->socket == NULL ||
        zmq_setsockopt(z->socket, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
        zmq_bind(z->socket, "inproc://zeromq.zap.01") != 0) {
        (void)SOTTO_FAIL_SYS(err, SOTTO_IO, "cannot bind the ZAP handler");
    } else if (start_thread(z) != 0) {
        (void)SOTTO_FAIL(err, SOTTO_IO, "cannot start the ZAP handler's thread");
    } else {
        return z;
    }
    if (z->socket != NULL)
        (void)zmq_close(z->socket);
    if (z->stop_fd >= 0)
        (void)close(z->stop_fd);
    (void)pthread_mutex_destroy(&z->lock);
    mem_free(z);
    return NULL;
}

void zap_stop(struct zap *z) {
    if (z == NULL)
        return;
    const uint64_t one = 1;
    while (write(z->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    (void)pthread_join(z->thread, NULL);
    (void)zmq_close(z->socket);
    (void)close(z->stop_fd);
    (void)pthread_mutex_destroy(&z->lock);
    mem_free(z);
}

bool zap_alive(struct zap *z) {
    (void)pthread_mutex_lock(&z->lock);
    const bool alive = z->alive;
    (void)pthread_mutex_unlock(&z->lock);
    return alive;
}

void zap_counts(struct zap *z, uint64_t *admitted, uint64_t *refused) {
    (void)pthread_mutex_lock(&z->lock);
    *admitted = z->admitted;
    *refused = z->refused;
    (void)pthread_mutex_unlock(&z->lock);
}

void zap_stranger_set(struct zap *z, const uint8_t key[ID_KEY]) {
    (void)pthread_mutex_lock(&z->lock);
    memcpy(z->stranger, key, ID_KEY);
    z->has_stranger = true;
    (void)pthread_mutex_unlock(&z->lock);
}

bool zap_stranger_refused(struct zap *z) {
    (void)pthread_mutex_lock(&z->lock);
    const bool refused = z->stranger_refused > 0 && z->stranger_admitted == 0;
    (void)pthread_mutex_unlock(&z->lock);
    return refused;
}

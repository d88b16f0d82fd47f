/* A server on a free port of this machine, and clients that wait without sleeping. */
#ifndef SOTTO_TESTS_TRANSPORT_FIXTURE_H
#define SOTTO_TESTS_TRANSPORT_FIXTURE_H

#include "sotto/protocol/transport.h"

#include <string.h>

#define PATIENCE_MS 20000 /* of steps that end at once when all is well */

struct fixture {
    struct transport_gate *gate;
    struct id_curve server_keys;
    struct transport_server *server;
};

static inline void fixture_bind(struct fixture *f, const char *bind) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    config.bind = bind;
    config.keys = &f->server_keys;
    config.peers_max = 500;
    ASSERT_OK(transport_server_open(&config, f->gate, &f->server, &err));
}

static inline void fixture_open(struct fixture *f) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(id_setup(&err));
    f->gate = transport_gate_new();
    assert_non_null(f->gate);
    id_curve_generate(&f->server_keys);
    fixture_bind(f, "tcp://127.0.0.1:*");
}

static inline void fixture_close(struct fixture *f) {
    transport_server_close(f->server);
    transport_gate_free(f->gate);
}

static inline struct transport_client *fixture_client(const struct fixture *f,
                                                      const struct id_curve *keys) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const struct transport_client_config config = {transport_server_address(f->server),
                                                   f->server_keys.public_key, keys};
    struct transport_client *c;
    ASSERT_OK(transport_client_open(&config, &c, &err));
    return c;
}

/* Waits until the client's connection stands so; messages that come meanwhile are not expected. */
static inline void fixture_await(struct transport_client *c, enum transport_state want) {
    const uint64_t end = clock_mono_ms() + PATIENCE_MS;
    struct view control, payload;
    while (transport_client_state(c) != want) {
        assert_true(clock_mono_ms() < end);
        (void)transport_client_recv(c, 10, &control, &payload, NULL);
    }
}

/* The next good message at the server. */
static inline void fixture_recv(struct fixture *f, struct transport_message *m) {
    const uint64_t end = clock_mono_ms() + PATIENCE_MS;
    while (transport_server_recv(f->server, 50, m, NULL) != SOTTO_OK)
        assert_true(clock_mono_ms() < end);
}

static inline struct view text_view(const char *s) {
    return view_of(s, strlen(s));
}

#endif

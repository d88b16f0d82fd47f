/* Transport between one server and few clients: round trip, who gets in, revocation, limits. */
#include "support.h"

#include "transport_fixture.h"

#include "transport/transport_int.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

static void assert_view(struct view v, const char *text) {
    assert_int_equal(v.n, strlen(text));
    assert_memory_equal(v.p, text, v.n);
}

static void round_trip(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct id_curve keys;
    struct transport_message m;
    struct view control, payload;
    struct transport_stats stats;
    fixture_open(&f);
    id_curve_generate(&keys);
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_DEVICE, 42, 0),
                     SOTTO_OK);
    struct transport_client *c = fixture_client(&f, &keys);
    fixture_await(c, TRANSPORT_CONNECTED);
    uint8_t *big = mem_zalloc(TRANSPORT_PAYLOAD_MAX);
    assert_non_null(big);
    for (size_t i = 0; i < TRANSPORT_PAYLOAD_MAX; i++)
        big[i] = (uint8_t)(i * 7);
    ASSERT_OK(
        transport_client_send(c, text_view("hello"), view_of(big, TRANSPORT_PAYLOAD_MAX), &err));
    fixture_recv(&f, &m);
    assert_int_equal(m.serial, 42);
    assert_int_equal(m.role, TRANSPORT_DEVICE);
    assert_memory_equal(m.curve_key, keys.public_key, ID_KEY);
    assert_view(m.control, "hello");
    assert_int_equal(m.payload.n, TRANSPORT_PAYLOAD_MAX);
    assert_memory_equal(m.payload.p, big, TRANSPORT_PAYLOAD_MAX);
    ASSERT_OK(transport_server_send(f.server, m.peer, text_view("hi"), view_of(NULL, 0), &err));
    ASSERT_OK(transport_client_recv(c, PATIENCE_MS, &control, &payload, &err));
    assert_view(control, "hi");
    assert_null(payload.p);
    ASSERT_OK(transport_server_send(f.server, m.peer, text_view("x"),
                                    view_of(big, TRANSPORT_PAYLOAD_MAX), &err));
    ASSERT_OK(transport_client_recv(c, PATIENCE_MS, &control, &payload, &err));
    assert_int_equal(payload.n, TRANSPORT_PAYLOAD_MAX);
    assert_memory_equal(payload.p, big, payload.n);
    ASSERT_STATUS(transport_client_recv(c, 0, &control, &payload, &err), SOTTO_TIMEOUT);
    transport_server_stats(f.server, &stats);
    assert_int_equal(stats.received, 1);
    assert_int_equal(stats.sent, 2);
    assert_int_equal(stats.handshakes, 1);
    assert_int_equal(stats.refused, 0);
    assert_int_equal(stats.dropped, 0);
    assert_int_equal(stats.bytes_in, 5 + TRANSPORT_PAYLOAD_MAX);
    transport_client_close(c);
    mem_free(big);
    fixture_close(&f);
}

static void strangers(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct id_curve keys;
    struct view control, payload;
    struct transport_stats stats;
    fixture_open(&f);
    id_curve_generate(&keys);
    struct transport_client *c = fixture_client(&f, &keys);
    fixture_await(c, TRANSPORT_REFUSED);
    ASSERT_STATUS(transport_client_send(c, text_view("x"), view_of(NULL, 0), &err), SOTTO_DENIED);
    ASSERT_STATUS(transport_client_recv(c, PATIENCE_MS, &control, &payload, &err), SOTTO_DENIED);
    transport_client_close(c);
    transport_server_stats(f.server, &stats);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.handshakes, 0);
    /* Let in afterwards: a new connection works, as a device does after its back-off. */
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_DEVICE, 1, 0),
                     SOTTO_OK);
    c = fixture_client(&f, &keys);
    fixture_await(c, TRANSPORT_CONNECTED);
    transport_client_close(c);
    /* A key whose time is over is a stranger's. */
    assert_int_equal(
        transport_gate_allow(f.gate, keys.public_key, TRANSPORT_ENROLL, 1, clock_wall_ms() - 1),
        SOTTO_OK);
    c = fixture_client(&f, &keys);
    fixture_await(c, TRANSPORT_REFUSED);
    transport_client_close(c);
    fixture_close(&f);
}

/* The right client key under a wrong server key: silence, neither connected nor refused. */
static void wrong_server_key(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct id_curve keys, other;
    struct view control, payload;
    struct transport_client *c;
    fixture_open(&f);
    id_curve_generate(&keys);
    id_curve_generate(&other);
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_DEVICE, 1, 0),
                     SOTTO_OK);
    const struct transport_client_config config = {transport_server_address(f.server),
                                                   other.public_key, &keys};
    ASSERT_OK(transport_client_open(&config, &c, &err));
    ASSERT_STATUS(transport_client_recv(c, 300, &control, &payload, &err), SOTTO_TIMEOUT);
    assert_int_equal(transport_client_state(c), TRANSPORT_CONNECTING);
    ASSERT_STATUS(transport_client_send(c, text_view("x"), view_of(NULL, 0), &err),
                  SOTTO_UNREACHABLE);
    transport_client_close(c);
    fixture_close(&f);
}

static void enrol_role_and_expiry(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct id_curve keys;
    struct transport_message m;
    fixture_open(&f);
    id_curve_generate(&keys);
    const int64_t later = clock_wall_ms() + 3600000;
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_ENROLL, 7, later),
                     SOTTO_OK);
    struct transport_client *c = fixture_client(&f, &keys);
    fixture_await(c, TRANSPORT_CONNECTED);
    ASSERT_OK(transport_client_send(c, text_view("enroll"), view_of(NULL, 0), &err));
    fixture_recv(&f, &m);
    assert_int_equal(m.role, TRANSPORT_ENROLL);
    assert_int_equal(m.serial, 7);
    /* It expires while the connection stands: what comes now is dropped. */
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_ENROLL, 7, 1),
                     SOTTO_OK);
    ASSERT_OK(transport_client_send(c, text_view("again"), view_of(NULL, 0), &err));
    ASSERT_FAILS(transport_server_recv(f.server, PATIENCE_MS, &m, &err), SOTTO_CORRUPT,
                 "no longer admitted");
    transport_client_close(c);
    fixture_close(&f);
}

static void revoked_key(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct id_curve bad, good;
    struct transport_message m;
    struct transport_stats stats;
    fixture_open(&f);
    id_curve_generate(&bad);
    id_curve_generate(&good);
    assert_int_equal(transport_gate_allow(f.gate, bad.public_key, TRANSPORT_DEVICE, 1, 0),
                     SOTTO_OK);
    assert_int_equal(transport_gate_allow(f.gate, good.public_key, TRANSPORT_DEVICE, 2, 0),
                     SOTTO_OK);
    struct transport_client *b = fixture_client(&f, &bad), *g = fixture_client(&f, &good);
    fixture_await(b, TRANSPORT_CONNECTED);
    fixture_await(g, TRANSPORT_CONNECTED);
    for (int i = 0; i < 3; i++)
        ASSERT_OK(transport_client_send(b, text_view("queued"), view_of(NULL, 0), &err));
    ASSERT_OK(transport_client_send(g, text_view("good"), view_of(NULL, 0), &err));
    transport_gate_remove(f.gate, bad.public_key); /* while they wait at the server */
    unsigned dropped = 0, received = 0;
    const uint64_t end = clock_mono_ms() + PATIENCE_MS;
    while (dropped < 3 || received < 1) {
        const enum sotto_status s = transport_server_recv(f.server, 50, &m, &err);
        dropped += s == SOTTO_CORRUPT;
        received += s == SOTTO_OK;
        if (s == SOTTO_OK)
            assert_int_equal(m.serial, 2);
        assert_true(clock_mono_ms() < end);
    }
    transport_server_stats(f.server, &stats);
    assert_int_equal(stats.dropped, 3);
    transport_client_close(b);
    b = fixture_client(&f, &bad);
    fixture_await(b, TRANSPORT_REFUSED);
    transport_client_close(b);
    transport_client_close(g);
    fixture_close(&f);
}

static void send_limits(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, other;
    struct id_curve keys;
    struct transport_message m;
    static const uint8_t zeros[TRANSPORT_PAYLOAD_MAX + 1];
    fixture_open(&f);
    fixture_open(&other);
    id_curve_generate(&keys);
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_DEVICE, 1, 0),
                     SOTTO_OK);
    struct transport_client *c = fixture_client(&f, &keys);
    fixture_await(c, TRANSPORT_CONNECTED);
    const struct view none = {NULL, 0}, large = {zeros, sizeof zeros};
    ASSERT_STATUS(transport_client_send(c, view_of(zeros, WIRE_CONTROL_MAX + 1), none, &err),
                  SOTTO_INVALID);
    ASSERT_STATUS(transport_client_send(c, none, none, &err), SOTTO_INVALID);
    ASSERT_STATUS(transport_client_send(c, view_of(zeros, 1), large, &err), SOTTO_INVALID);
    ASSERT_OK(transport_client_send(c, view_of(zeros, 1), view_of(zeros, 0), &err));
    fixture_recv(&f, &m);
    assert_non_null(m.payload.p);
    assert_int_equal(m.payload.n, 0);
    ASSERT_STATUS(transport_server_send(f.server, m.peer, view_of(zeros, 1), large, &err),
                  SOTTO_INVALID);
    /* A handle of another server, and one of a connection that never was. */
    ASSERT_STATUS(transport_server_send(other.server, m.peer, view_of(zeros, 1), none, &err),
                  SOTTO_UNREACHABLE);
    ASSERT_STATUS(
        transport_server_send(f.server, m.peer ^ 0x40000000u, view_of(zeros, 1), none, &err),
        SOTTO_UNREACHABLE);
    /* A peer that does not read fills its queue; then it leaves and is unreachable. */
    const struct view chunk = {zeros, TRANSPORT_PAYLOAD_MAX};
    enum sotto_status s = SOTTO_OK;
    for (int i = 0; i < 2000 && s == SOTTO_OK; i++)
        s = transport_server_send(f.server, m.peer, view_of(zeros, 1), chunk, &err);
    assert_int_equal(s, SOTTO_BUSY);
    transport_client_close(c);
    const uint64_t peer = m.peer, end = clock_mono_ms() + PATIENCE_MS;
    while (transport_server_send(f.server, peer, view_of(zeros, 1), none, &err) !=
           SOTTO_UNREACHABLE) {
        (void)transport_server_recv(f.server, 10, &m, NULL);
        assert_true(clock_mono_ms() < end);
    }
    fixture_close(&f);
    fixture_close(&other);
}

static void waiting(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    struct id_curve keys;
    struct transport_message m;
    uint64_t ready;
    int pipe_fd[2];
    fixture_open(&f);
    fixture_open(&g);
    assert_int_equal(pipe(pipe_fd), 0);
    struct transport_server *const servers[2] = {f.server, g.server};
    id_curve_generate(&keys);
    assert_int_equal(transport_gate_allow(g.gate, keys.public_key, TRANSPORT_DEVICE, 1, 0),
                     SOTTO_OK);
    ASSERT_STATUS(transport_wait(servers, 2, pipe_fd, 1, 0, &ready, &err), SOTTO_TIMEOUT);
    assert_int_equal(ready, 0);
    assert_int_equal(write(pipe_fd[1], "x", 1), 1);
    ASSERT_OK(transport_wait(servers, 2, pipe_fd, 1, PATIENCE_MS, &ready, &err));
    assert_int_equal(ready, 4);
    struct transport_client *c = fixture_client(&g, &keys);
    fixture_await(c, TRANSPORT_CONNECTED);
    ASSERT_OK(transport_client_send(c, text_view("x"), view_of(NULL, 0), &err));
    ASSERT_OK(transport_wait(servers, 2, NULL, 0, PATIENCE_MS, &ready, &err));
    assert_int_equal(ready, 2);
    fixture_recv(&g, &m);
    ASSERT_STATUS(transport_wait(servers, 70, NULL, 0, 0, &ready, &err), SOTTO_LIMIT);
    transport_client_close(c);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    fixture_close(&f);
    fixture_close(&g);
}

static void bad_configuration(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct transport_server *s = NULL;
    struct transport_client *c = NULL;
    struct id_curve keys;
    fixture_open(&f);
    id_curve_generate(&keys);
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    ASSERT_STATUS(transport_server_open(&config, f.gate, &s, &err), SOTTO_INVALID); /* no keys */
    config.keys = &keys;
    config.peers_max = 100;
    config.bind = "ipc:///tmp/never";
    ASSERT_FAILS(transport_server_open(&config, f.gate, &s, &err), SOTTO_INVALID, "tcp://");
    config.bind = transport_server_address(f.server);
    ASSERT_FAILS(transport_server_open(&config, f.gate, &s, &err), SOTTO_BUSY, "cannot bind");
    config.bind = "tcp://127.0.0.1:*";
    struct rlimit was, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    config.peers_max = 1000000;
    if (was.rlim_max < 1000064) {
        ASSERT_FAILS(transport_server_open(&config, f.gate, &s, &err), SOTTO_LIMIT, "LimitNOFILE");
    }
    /* The soft limit is ours to raise. */
    low = was;
    low.rlim_cur = 150;
    config.peers_max = 300;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    ASSERT_OK(transport_server_open(&config, f.gate, &s, &err));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(low.rlim_cur >= 364);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    transport_server_close(s);
    const struct transport_client_config bad[] = {
        {NULL, keys.public_key, &keys},
        {"tcp://127.0.0.1:1", NULL, &keys},
        {"inproc://x", keys.public_key, &keys},
        {"tcp://no port", keys.public_key, &keys},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_STATUS(transport_client_open(&bad[i], &c, &err), SOTTO_INVALID);
    fixture_close(&f);
}

static void gate(void **state) {
    (void)state;
    struct transport_gate *g = transport_gate_new();
    struct rng r;
    assert_non_null(g);
    rng_init(&r, test_seed(), 0, 0, RNG_SUPPORT);
    uint8_t(*keys)[ID_KEY] = mem_array(3000, ID_KEY);
    assert_non_null(keys);
    for (size_t i = 0; i < 3000; i++) {
        memset(keys[i], (int)rng_below(&r, 256), ID_KEY);
        memcpy(keys[i], &i, sizeof i);
        assert_int_equal(transport_gate_allow(g, keys[i], TRANSPORT_DEVICE, i, 0), SOTTO_OK);
        assert_int_equal(transport_gate_allow(g, keys[i], TRANSPORT_ENROLL, i, 5), SOTTO_OK);
        assert_int_equal(transport_gate_count(g), i + 1);
    }
    assert_int_equal(transport_gate_allow(g, keys[0], (enum transport_role)3, 1, 0), SOTTO_INVALID);
    for (size_t i = 0; i < 3000; i += 2)
        transport_gate_remove(g, keys[i]);
    transport_gate_remove(g, keys[0]);
    assert_int_equal(transport_gate_count(g), 1500);
    for (size_t i = 1; i < 3000; i += 2)
        transport_gate_remove(g, keys[i]);
    assert_int_equal(transport_gate_count(g), 0);
    mem_free(keys);
    transport_gate_free(g);
}

static enum sotto_status fill_gate(void *ctx, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    (void)ctx;
    struct transport_gate *g = transport_gate_new();
    if (g == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "gate");
    for (uint8_t i = 0; i < 200; i++) {
        uint8_t key[ID_KEY] = {i};
        TRY(transport_gate_allow(g, key, TRANSPORT_DEVICE, i, 0));
    }
out:
    transport_gate_free(g);
    return status;
}

static void gate_out_of_memory(void **state) {
    (void)state;
    test_oom_loop(fill_gate, NULL);
}

static enum sotto_status open_both(void *ctx, struct sotto_error *err) {
    enum sotto_status status;
    struct fixture *f = ctx;
    struct transport_server *s = NULL;
    struct transport_client *c = NULL;
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    config.keys = &f->server_keys;
    config.peers_max = 100;
    TRY(transport_server_open(&config, f->gate, &s, err));
    const struct transport_client_config to = {transport_server_address(s),
                                               f->server_keys.public_key, &f->server_keys};
    TRY(transport_client_open(&to, &c, err));
out:
    transport_client_close(c);
    transport_server_close(s);
    return status;
}

static void open_out_of_memory(void **state) {
    (void)state;
    struct fixture f;
    fixture_open(&f);
    test_oom_loop(open_both, &f);
    fixture_close(&f);
}

/* When the handler's thread ends by itself, its server says so. */
static void zap_dies(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct transport_gate *g = transport_gate_new();
    void *ctx = zmq_ctx_new();
    struct zap *z = zap_start(ctx, g, &err);
    assert_non_null(z);
    assert_true(zap_alive(z));
    assert_int_equal(zmq_ctx_shutdown(ctx), 0);
    const uint64_t end = clock_mono_ms() + PATIENCE_MS;
    while (zap_alive(z)) {
        assert_true(clock_mono_ms() < end);
        (void)sched_yield();
    }
    zap_stop(z);
    (void)zmq_ctx_term(ctx);
    transport_gate_free(g);
}

/* The library's promise that we rely on when the handler is gone: with an enforced domain nobody
 * gets in. */
static void no_handler_no_entry(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_curve server, keys;
    struct transport_client *c;
    struct view control, payload;
    char address[TRANSPORT_ADDRESS_MAX];
    size_t n = sizeof address;
    id_curve_generate(&server);
    id_curve_generate(&keys);
    void *ctx = zmq_ctx_new(), *router = zmq_socket(ctx, ZMQ_ROUTER);
    struct options o = {router, SOTTO_OK, &err};
    options_int(&o, ZMQ_LINGER, 0);
    options_int(&o, ZMQ_CURVE_SERVER, 1);
    options_bytes(&o, ZMQ_CURVE_SECRETKEY, server.secret_key, ID_KEY);
    options_bytes(&o, ZMQ_ZAP_DOMAIN, TRANSPORT_ZAP_DOMAIN, strlen(TRANSPORT_ZAP_DOMAIN));
    options_int(&o, TRANSPORT_ZAP_ENFORCE_DOMAIN, 1);
    ASSERT_OK(o.status);
    assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, address, &n), 0);
    const struct transport_client_config config = {address, server.public_key, &keys};
    ASSERT_OK(transport_client_open(&config, &c, &err));
    ASSERT_STATUS(transport_client_recv(c, 300, &control, &payload, &err), SOTTO_TIMEOUT);
    assert_int_equal(transport_client_state(c), TRANSPORT_CONNECTING);
    transport_client_close(c);
    (void)zmq_close(router);
    (void)zmq_ctx_term(ctx);
    /* An option that libzmq does not know is an error, once and for good. */
    ctx = zmq_ctx_new();
    router = zmq_socket(ctx, ZMQ_ROUTER);
    o = (struct options){router, SOTTO_OK, &err};
    options_int(&o, 97, 1); /* ROUTER_NOTIFY: draft */
    options_int(&o, ZMQ_LINGER, 0);
    assert_int_equal(o.status, SOTTO_INTERNAL);
    (void)zmq_close(router);
    (void)zmq_ctx_term(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(strangers),
        cmocka_unit_test(wrong_server_key),
        cmocka_unit_test(enrol_role_and_expiry),
        cmocka_unit_test(revoked_key),
        cmocka_unit_test(send_limits),
        cmocka_unit_test(waiting),
        cmocka_unit_test(gate),
        cmocka_unit_test(bad_configuration),
        cmocka_unit_test(gate_out_of_memory),
        cmocka_unit_test(zap_dies),
        cmocka_unit_test(open_out_of_memory),
        cmocka_unit_test(no_handler_no_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

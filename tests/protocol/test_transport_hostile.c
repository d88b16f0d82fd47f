/* Peers that do not keep to the rules: more frames, large frames, chosen names, other mechanisms,
 * bytes that are not ZMTP. */
#include "support.h"

#include "transport_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <zmq.h>

/* An admitted device with a libzmq socket of its own, so that it can do what our client never does.
 */
struct raw {
    void *ctx, *socket;
    struct id_curve keys;
};

static void raw_open(struct raw *r, struct fixture *f, uint64_t serial, const char *name) {
    const int linger = 0;
    id_curve_generate(&r->keys);
    assert_int_equal(transport_gate_allow(f->gate, r->keys.public_key, TRANSPORT_DEVICE, serial, 0),
                     SOTTO_OK);
    r->ctx = zmq_ctx_new();
    r->socket = zmq_socket(r->ctx, ZMQ_DEALER);
    assert_non_null(r->socket);
    (void)zmq_setsockopt(r->socket, ZMQ_LINGER, &linger, sizeof linger);
    if (name != NULL)
        (void)zmq_setsockopt(r->socket, ZMQ_ROUTING_ID, name, strlen(name));
    (void)zmq_setsockopt(r->socket, ZMQ_CURVE_SERVERKEY, f->server_keys.public_key, ID_KEY);
    (void)zmq_setsockopt(r->socket, ZMQ_CURVE_PUBLICKEY, r->keys.public_key, ID_KEY);
    (void)zmq_setsockopt(r->socket, ZMQ_CURVE_SECRETKEY, r->keys.secret_key, ID_KEY);
    assert_int_equal(zmq_connect(r->socket, transport_server_address(f->server)), 0);
}

static void raw_close(struct raw *r) {
    (void)zmq_close(r->socket);
    (void)zmq_ctx_term(r->ctx);
}

static void raw_send(struct raw *r, unsigned frames, size_t size) {
    uint8_t *data = mem_zalloc(size > 0 ? size : 1);
    assert_non_null(data);
    for (unsigned i = 0; i < frames; i++)
        assert_true(zmq_send(r->socket, data, size, i + 1 < frames ? ZMQ_SNDMORE : 0) >= 0);
    mem_free(data);
}

/* The next message is dropped, and said so. */
static void dropped(struct fixture *f, const char *why) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct transport_message m;
    ASSERT_FAILS(transport_server_recv(f->server, PATIENCE_MS, &m, &err), SOTTO_CORRUPT, why);
    assert_null(m.control.p);
}

static void odd_messages(void **state) {
    (void)state;
    struct fixture f;
    struct raw r;
    struct transport_message m;
    struct transport_stats stats;
    fixture_open(&f);
    raw_open(&r, &f, 3, NULL);
    raw_send(&r, 3, 10);
    dropped(&f, "more than two frames");
    raw_send(&r, 60, 10);
    dropped(&f, "more than two frames");
    raw_send(&r, 1, WIRE_CONTROL_MAX + 1);
    dropped(&f, "control frame of 4097 bytes");
    raw_send(&r, 1, 0);
    dropped(&f, "control frame of 0 bytes");
    /* Within MAXMSGSIZE, which counts CURVE's own bytes, but above the payload's maximum. */
    assert_int_equal(zmq_send(r.socket, "c", 1, ZMQ_SNDMORE), 1);
    raw_send(&r, 1, TRANSPORT_PAYLOAD_MAX + 8);
    dropped(&f, "payload of 307208 bytes");
    raw_send(&r, 2, 10);
    fixture_recv(&f, &m); /* and it still works */
    assert_int_equal(m.serial, 3);
    transport_server_stats(f.server, &stats);
    assert_int_equal(stats.dropped, 5);
    assert_int_equal(stats.received, 1);
    raw_close(&r);
    fixture_close(&f);
}

/* A frame above MAXMSGSIZE ends the connection; nothing of it reaches the application, other peers
 * do not notice. */
static void oversized_frame(void **state) {
    (void)state;
    struct fixture f;
    struct raw bad, good;
    struct transport_message m;
    fixture_open(&f);
    raw_open(&bad, &f, 1, NULL);
    raw_open(&good, &f, 2, NULL);
    raw_send(&bad, 1, 4u << 20);
    raw_send(&good, 1, 5);
    fixture_recv(&f, &m);
    assert_int_equal(m.serial, 2);
    raw_close(&bad);
    raw_close(&good);
    fixture_close(&f);
}

static void chosen_name(void **state) {
    (void)state;
    struct fixture f;
    struct raw r;
    fixture_open(&f);
    raw_open(&r, &f, 1, "me, myself");
    raw_send(&r, 1, 5);
    dropped(&f, "names itself");
    raw_close(&r);
    raw_open(&r, &f, 1, "5byte");
    raw_send(&r, 1, 5);
    dropped(&f, "names itself");
    raw_close(&r);
    fixture_close(&f);
}

/* A peer without CURVE does not get past the handshake. */
static void without_curve(void **state) {
    (void)state;
    struct fixture f;
    struct raw good;
    struct transport_message m;
    const int linger = 0;
    fixture_open(&f);
    void *ctx = zmq_ctx_new(), *plain = zmq_socket(ctx, ZMQ_DEALER);
    assert_non_null(plain);
    (void)zmq_setsockopt(plain, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(plain, transport_server_address(f.server)), 0);
    assert_int_equal(zmq_send(plain, "x", 1, 0), 1);
    raw_open(&good, &f, 2, NULL);
    raw_send(&good, 1, 5);
    fixture_recv(&f, &m);
    assert_int_equal(m.serial, 2);
    assert_int_equal(transport_server_recv(f.server, 100, &m, NULL), SOTTO_TIMEOUT);
    (void)zmq_close(plain);
    (void)zmq_ctx_term(ctx);
    raw_close(&good);
    fixture_close(&f);
}

static int tcp_to(const char *address) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    uint64_t port;
    assert_int_equal(num_parse_u64(strrchr(address, ':') + 1, 1, 65535, &port, NULL), SOTTO_OK);
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Bytes that are no ZMTP, or its beginning and then noise, and connections that never say a word.
 */
static void garbage(void **state) {
    (void)state;
    struct fixture f;
    struct raw good;
    struct transport_message m;
    struct rng r;
    uint8_t noise[512];
    int fds[40];
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    fixture_open(&f);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = tcp_to(transport_server_address(f.server));
        for (size_t k = 0; k < sizeof noise; k++)
            noise[k] = (uint8_t)rng_u32(&r);
        if (i % 4 == 1) { /* a greeting: signature, version 3, CURVE */
            static const uint8_t greeting[64] = {0xff, 0, 0, 0,   0,   0,   0,   0,  0,
                                                 0x7f, 3, 0, 'C', 'U', 'R', 'V', 'E'};
            memcpy(noise, greeting, sizeof greeting);
        } else if (i % 4 == 2) {
            memcpy(noise, "GET / HTTP/1.1\r\n\r\n", 18);
        }
        if (i % 4 != 3)
            (void)send(fds[i], noise, sizeof noise, MSG_NOSIGNAL);
    }
    raw_open(&good, &f, 2, NULL);
    raw_send(&good, 1, 5);
    fixture_recv(&f, &m);
    assert_int_equal(m.serial, 2);
    assert_int_equal(transport_server_recv(f.server, 0, &m, NULL), SOTTO_TIMEOUT);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        (void)close(fds[i]);
    raw_close(&good);
    fixture_close(&f);
}

/* Connections that never say a word are closed when the handshake's time is over. */
static void mute_connections(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    fixture_open(&f);
    transport_server_close(f.server);
    struct transport_server_config config = TRANSPORT_SERVER_INIT;
    config.keys = &f.server_keys;
    config.peers_max = 100;
    config.handshake_ms = 200;
    ASSERT_OK(transport_server_open(&config, f.gate, &f.server, &err));
    const int fd = tcp_to(transport_server_address(f.server));
    uint8_t byte[64];
    ssize_t n = 1;
    while (n > 0) { /* its greeting, then the end */
        struct pollfd p = {fd, POLLIN, 0};
        assert_true(poll(&p, 1, PATIENCE_MS) > 0);
        n = recv(fd, byte, sizeof byte, 0);
    }
    (void)close(fd);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_messages), cmocka_unit_test(oversized_frame),
        cmocka_unit_test(chosen_name),  cmocka_unit_test(without_curve),
        cmocka_unit_test(garbage),      cmocka_unit_test(mute_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

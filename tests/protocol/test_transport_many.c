/* Many clients and several servers in one process: 200 at once, a restart under them, threads. */
#include "support.h"

#include "transport_fixture.h"

#include <pthread.h>
#include <stdio.h>

#define CLIENTS 200u

struct fleet {
    struct id_curve keys[CLIENTS];
    struct transport_client *clients[CLIENTS];
};

static void fleet_admit(struct fleet *fleet, struct fixture *f) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        id_curve_generate(&fleet->keys[i]);
        assert_int_equal(
            transport_gate_allow(f->gate, fleet->keys[i].public_key, TRANSPORT_DEVICE, 1000 + i, 0),
            SOTTO_OK);
    }
}

/* Each client sends its number until it is answered with it; the server answers whatever comes. A
 * device repeats too. */
static void all_talk(struct fleet *fleet, struct fixture *f, const char *word) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    bool sent[CLIENTS] = {false}, done[CLIENTS] = {false};
    unsigned left = CLIENTS;
    const uint64_t end = clock_mono_ms() + 60000;
    while (left > 0) {
        struct transport_message m;
        assert_true(clock_mono_ms() < end);
        while (transport_server_recv(f->server, left == CLIENTS ? 5 : 0, &m, &err) == SOTTO_OK)
            if (m.control.n > 5 && memcmp(m.control.p, word, 5) == 0)
                (void)transport_server_send(f->server, m.peer, m.control, m.payload, &err);
        for (unsigned i = 0; i < CLIENTS; i++) {
            char text[32];
            struct view control, payload;
            (void)snprintf(text, sizeof text, "%s %u", word, i);
            if (!done[i] && !sent[i])
                sent[i] = transport_client_send(fleet->clients[i], text_view(text),
                                                view_of(NULL, 0), &err) == SOTTO_OK;
            const enum sotto_status s =
                transport_client_recv(fleet->clients[i], 0, &control, &payload, &err);
            assert_int_not_equal(s, SOTTO_DENIED);
            if (s == SOTTO_UNREACHABLE)
                sent[i] = false; /* lost with the connection: say it again */
            if (s != SOTTO_OK || done[i] || control.n != strlen(text) ||
                memcmp(control.p, text, control.n) != 0)
                continue;
            done[i] = true;
            left--;
        }
    }
}

static void two_hundred_and_a_restart(void **state) {
    (void)state;
    struct fixture f;
    static struct fleet fleet;
    struct transport_stats stats;
    char address[TRANSPORT_ADDRESS_MAX];
    fixture_open(&f);
    fleet_admit(&fleet, &f);
    for (unsigned i = 0; i < CLIENTS; i++)
        fleet.clients[i] = fixture_client(&f, &fleet.keys[i]);
    all_talk(&fleet, &f, "first");
    transport_server_stats(f.server, &stats);
    assert_int_equal(stats.refused, 0);
    assert_true(stats.handshakes >= CLIENTS);
    /* The same port is free at once, and every client finds its way back by itself. */
    (void)snprintf(address, sizeof address, "%s", transport_server_address(f.server));
    transport_server_close(f.server);
    fixture_bind(&f, address);
    assert_string_equal(transport_server_address(f.server), address);
    all_talk(&fleet, &f, "again");
    for (unsigned i = 0; i < CLIENTS; i++)
        transport_client_close(fleet.clients[i]);
    fixture_close(&f);
}

struct worker {
    struct fixture *f;
    struct id_curve keys;
    unsigned number, answers;
};

static void *work(void *arg) {
    struct worker *w = arg;
    for (unsigned round = 0; round < 5; round++) {
        struct view control, payload;
        char text[32];
        struct transport_client *c;
        const struct transport_client_config config = {transport_server_address(w->f->server),
                                                       w->f->server_keys.public_key, &w->keys};
        if (transport_client_open(&config, &c, NULL) != SOTTO_OK)
            return NULL;
        (void)snprintf(text, sizeof text, "worker %u", w->number);
        const uint64_t end = clock_mono_ms() + PATIENCE_MS;
        enum sotto_status s = SOTTO_TIMEOUT;
        while (clock_mono_ms() < end && transport_client_state(c) != TRANSPORT_CONNECTED)
            (void)transport_client_recv(c, 10, &control, &payload, NULL);
        if (transport_client_send(c, text_view(text), view_of(NULL, 0), NULL) == SOTTO_OK)
            s = transport_client_recv(c, PATIENCE_MS, &control, &payload, NULL);
        w->answers += s == SOTTO_OK && control.n == strlen(text);
        transport_client_close(c);
    }
    return NULL;
}

/* A server of one thread, clients of eight, keys that come and go at the gate meanwhile. */
static void threads(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct worker workers[8];
    pthread_t ids[8];
    fixture_open(&f);
    for (unsigned i = 0; i < 8; i++) {
        workers[i] = (struct worker){.f = &f, .number = i};
        id_curve_generate(&workers[i].keys);
        assert_int_equal(
            transport_gate_allow(f.gate, workers[i].keys.public_key, TRANSPORT_DEVICE, i, 0),
            SOTTO_OK);
    }
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, work, &workers[i]), 0);
    struct id_curve other;
    id_curve_generate(&other);
    const uint64_t end = clock_mono_ms() + 60000;
    for (unsigned answered = 0; answered < 40;) {
        struct transport_message m;
        assert_true(clock_mono_ms() < end);
        assert_int_equal(transport_gate_allow(f.gate, other.public_key, TRANSPORT_ENROLL, 9, 0),
                         SOTTO_OK);
        if (transport_server_recv(f.server, 20, &m, &err) == SOTTO_OK) {
            ASSERT_OK(transport_server_send(f.server, m.peer, m.control, m.payload, &err));
            answered++;
        }
        transport_gate_remove(f.gate, other.public_key);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(ids[i], NULL), 0);
        assert_int_equal(workers[i].answers, 5);
    }
    fixture_close(&f);
}

/* A retired key stays bound at its own port: two servers, one gate. */
static void two_keys(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture now, retired;
    struct id_curve keys;
    struct transport_message m;
    fixture_open(&now);
    retired = (struct fixture){.gate = now.gate};
    id_curve_generate(&retired.server_keys);
    fixture_bind(&retired, "tcp://127.0.0.1:*");
    id_curve_generate(&keys);
    assert_int_equal(transport_gate_allow(now.gate, keys.public_key, TRANSPORT_DEVICE, 5, 0),
                     SOTTO_OK);
    struct transport_client *a = fixture_client(&now, &keys);
    struct transport_client *b = fixture_client(&retired, &keys);
    fixture_await(a, TRANSPORT_CONNECTED);
    fixture_await(b, TRANSPORT_CONNECTED);
    ASSERT_OK(transport_client_send(b, text_view("old"), view_of(NULL, 0), &err));
    fixture_recv(&retired, &m);
    assert_int_equal(m.serial, 5);
    transport_client_close(a);
    transport_client_close(b);
    transport_server_close(retired.server);
    fixture_close(&now);
}

/* What was sent just before closing still arrives. */
static void last_words(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    struct id_curve keys;
    struct transport_message m;
    fixture_open(&f);
    id_curve_generate(&keys);
    assert_int_equal(transport_gate_allow(f.gate, keys.public_key, TRANSPORT_DEVICE, 5, 0),
                     SOTTO_OK);
    for (int i = 0; i < 10; i++) {
        struct transport_client *c = fixture_client(&f, &keys);
        fixture_await(c, TRANSPORT_CONNECTED);
        ASSERT_OK(transport_client_send(c, text_view("ack"), view_of(NULL, 0), &err));
        transport_client_close(c);
        fixture_recv(&f, &m);
        assert_int_equal(m.control.n, 3);
    }
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hundred_and_a_restart),
        cmocka_unit_test(threads),
        cmocka_unit_test(two_keys),
        cmocka_unit_test(last_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

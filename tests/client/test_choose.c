/* The choice of a backend: the fastest is taken, remembered, told; what fails is left out. */
#include "wire_server.h"

#include "lib/client_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLLS_MAX 4000

/* What the seams say: a list of backends by name, and speeds; a speed of 0 fails. */
static struct {
    const char *names[4];
    double speeds[4];
    size_t count;
    uint32_t timed;
} fake;

static size_t fake_list(const struct kern_backend **out, size_t cap) {
    assert_true(fake.count <= cap);
    for (size_t i = 0; i < fake.count; i++)
        out[i] = kern_backend_find(fake.names[i]);
    return fake.count;
}

static enum sotto_status fake_time(const struct kern_backend *b, double *samples_per_s,
                                   struct sotto_error *err) {
    fake.timed++;
    for (size_t i = 0; i < fake.count; i++)
        if (strcmp(fake.names[i], kern_backend_name(b)) == 0)
            *samples_per_s = fake.speeds[i];
    return *samples_per_s > 0 ? SOTTO_OK : SOTTO_FAIL(err, SOTTO_IO, "it smokes");
}

static void set_fake(const char *a, double speed_a, const char *b, double speed_b) {
    memset(&fake, 0, sizeof fake);
    fake.names[0] = a;
    fake.speeds[0] = speed_a;
    fake.names[1] = b;
    fake.speeds[1] = speed_b;
    fake.count = b != NULL ? 2 : 1;
    client_choose_candidates = fake_list;
    client_choose_timing = fake_time;
}

static int teardown(void **state) {
    (void)state;
    client_choose_candidates = NULL;
    client_choose_timing = NULL;
    return 0;
}

static char said[4096]; /* all that the client logged */

static void log_line(void *ctx, const char *line) {
    (void)ctx;
    const size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s\n", line);
}

static uint32_t times_said(const char *part) {
    uint32_t n = 0;
    for (const char *at = said; (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

static sotto_client *open_client(const char *name, const char *backend, const char *policy) {
    char message[256] = "", path[4096];
    sotto_client *c = NULL;
    const char *dir = test_path(name);
    snprintf(path, sizeof path, "%s.policy", dir);
    char text[128];
    snprintf(text, sizeof text, "checkin_min_ms 1\n%s", policy);
    assert_int_equal(io_write_file(path, text, strlen(text), 0600, false, NULL), SOTTO_OK);
    const sotto_client_config config = {.size = sizeof config,
                                        .state_dir = dir,
                                        .policy_file = path,
                                        .backend = backend,
                                        .slice_ms = 1,
                                        .log = log_line};
    if (sotto_client_open(&config, &c, message) != 0)
        fail_msg("%s", message);
    return c;
}

static void turn(struct wire_server *s, sotto_client *c) {
    wire_server_poll(s);
    if (sotto_client_poll(c, 2) != 0)
        fail_msg("%s", sotto_client_error(c));
}

/* An enrolled device with examples. */
static sotto_client *begin(struct wire_server *s, const char *name) {
    struct buf token;
    struct dataset d;
    const uint32_t dims[3] = {28, 28, 1};
    const struct digits_config config = {.seed = 5, .writer_count = 1, .per_writer = 40};
    said[0] = '\0';
    wire_server_init(s);
    wire_server_package(s, 1);
    wire_server_token(s, &token);
    sotto_client *c = open_client(name, NULL, "");
    assert_int_equal(sotto_client_enroll(c, (const char *)token.data), 0);
    for (int i = 0; i < POLLS_MAX && !sotto_client_enrolled(c); i++)
        turn(s, c);
    dataset_init(&d);
    assert_int_equal(dataset_draw_digits(&config, &d, NULL), SOTTO_OK);
    assert_int_equal(sotto_client_collection(c, "examples", 0, 3, dims, 10, 1.0f / 255, 0), 0);
    assert_int_equal(sotto_client_begin(c), 0);
    for (uint32_t i = 0; i < d.count; i++)
        assert_int_equal(
            sotto_client_add_example(c, "examples", dataset_example(&d, i), 784, d.labels[i]), 0);
    assert_int_equal(sotto_client_commit(c), 0);
    dataset_deinit(&d);
    buf_deinit(&token);
    return c;
}

/* Trains one round, and goes on until the check-in behind it. */
static void round_of_batch(struct wire_server *s, sotto_client *c, uint32_t round, uint32_t batch) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    s->outcome = sotto_Outcome_OUTCOME_KEPT;
    wire_server_round(s, round);
    s->terms.rule.batch = batch;
    ASSERT_OK(wire_terms_encode(&s->terms, &s->terms_bytes, &err));
    s->terms_hash = wire_terms_hash(buf_view(&s->terms_bytes));
    for (int i = 0; i < POLLS_MAX && !s->stored; i++)
        turn(s, c);
    assert_true(s->stored);
    const uint32_t before = s->check_ins;
    for (int i = 0; i < POLLS_MAX && s->check_ins == before; i++)
        turn(s, c);
    assert_true(s->check_ins > before);
}

static void one_round(struct wire_server *s, sotto_client *c, uint32_t round) {
    round_of_batch(s, c, round, 10);
}

static void expect_told(const struct wire_server *s, const char *backend) {
    assert_string_equal(s->backend, kern_backend_kernel_set(kern_backend_find(backend)));
    assert_true(s->samples_per_s > 0);
}

static void test_fastest(void **state) {
    (void)state;
    struct wire_server s;
    struct devstore_choice choice;
    struct sotto_error err = SOTTO_ERROR_INIT;
    set_fake("cpu", 100, "ref", 500);
    sotto_client *c = begin(&s, "fastest");
    one_round(&s, c, 1);
    assert_int_equal(fake.timed, 2);
    expect_told(&s, "ref");
    assert_int_equal(times_said("backend ref trains digits: cpu 100/s, ref 500/s"), 1);
    ASSERT_OK(devstore_choice_get(c->store, NULL, NULL, 0, &choice, &err));
    assert_string_equal(choice.backend, "ref");
    assert_true(choice.samples_per_s > 0 && choice.samples_per_s != 500); /* of the real training */
    /* Other weights, the same model; then another process. */
    wire_server_package(&s, 2);
    one_round(&s, c, 2);
    sotto_client_close(c);
    c = open_client("fastest", NULL, "");
    one_round(&s, c, 3);
    expect_told(&s, "ref");
    assert_int_equal(fake.timed, 2);
    /* Another batch is another choice. */
    set_fake("cpu", 900, "ref", 500);
    round_of_batch(&s, c, 4, 7);
    assert_int_equal(fake.timed, 2);
    expect_told(&s, "cpu");
    sotto_client_close(c);
    /* A name given by flag or policy is taken as it is. */
    c = open_client("fastest", "ref", "");
    one_round(&s, c, 5);
    expect_told(&s, "ref");
    sotto_client_close(c);
    c = open_client("fastest", NULL, "backend ref\n");
    one_round(&s, c, 6);
    expect_told(&s, "ref");
    assert_int_equal(fake.timed, 2);
    sotto_client_close(c);
    wire_server_deinit(&s);
}

/* A machine that has changed is asked again. */
static void test_other_machine(void **state) {
    (void)state;
    struct wire_server s;
    set_fake("cpu", 100, "ref", 500);
    sotto_client *c = begin(&s, "machine");
    one_round(&s, c, 1);
    expect_told(&s, "ref");
    set_fake("ref", 10, "cpu", 20);
    one_round(&s, c, 2);
    assert_int_equal(fake.timed, 2);
    expect_told(&s, "cpu");
    set_fake("cpu", 10, NULL, 0); /* nothing to compare */
    one_round(&s, c, 3);
    assert_int_equal(fake.timed, 0);
    expect_told(&s, "cpu");
    sotto_client_close(c);
    wire_server_deinit(&s);
}

static void test_failures(void **state) {
    (void)state;
    struct wire_server s;
    set_fake("cpu", 100, "ref", 0);
    sotto_client *c = begin(&s, "failures");
    one_round(&s, c, 1);
    expect_told(&s, "cpu");
    round_of_batch(&s, c, 2, 7); /* chosen again, without what has failed */
    assert_int_equal(fake.timed, 3);
    assert_int_equal(times_said("backend ref is not taken: it smokes"), 1);
    assert_int_equal(times_said("cpu 100/s, ref failed"), 2);
    sotto_client_close(c);
    wire_server_deinit(&s);
}

/* One that fails in the middle of a training: the processor does it again, and is chosen from then
 * on. */
static void test_fails_later(void **state) {
    (void)state;
    struct wire_server s;
    struct sotto_error why = SOTTO_ERROR_INIT;
    set_fake("cpu", 100, "ref", 500);
    sotto_client *c = begin(&s, "later");
    wire_server_round(&s, 1);
    for (int i = 0; i < POLLS_MAX && c->work.kind != CLIENT_WORK_TRAINING; i++)
        turn(&s, c);
    assert_int_equal(c->work.kind, CLIENT_WORK_TRAINING);
    (void)SOTTO_FAIL(&why, SOTTO_IO, "the device is lost");
    assert_true(client_choose_again(c, &why));
    for (int i = 0; i < POLLS_MAX && !s.stored; i++)
        turn(&s, c);
    assert_true(s.stored);
    one_round(&s, c, 2);
    expect_told(&s, "cpu");
    assert_int_equal(times_said("backend ref failed, another one goes on: the device is lost"), 1);
    sotto_client_close(c);
    wire_server_deinit(&s);
}

static void count_choice(void *ctx, const struct devstore_choice *c) {
    assert_true(c->batch > 0);
    ++*(uint32_t *)ctx;
}

/* The store keeps the newest ones, and none when it forgets. */
static void test_kept(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = NULL;
    struct devstore_choice c, back;
    uint32_t n = 0;
    memset(&c, 0, sizeof c);
    ASSERT_OK(devstore_open(test_path("kept"), DEVSTORE_OWN, &s, &err));
    for (c.batch = 1; c.batch <= DEVSTORE_CHOICES + 5; c.batch++) {
        memset(c.machine.b, (int)c.batch, WIRE_HASH);
        ASSERT_OK(devstore_choice_put(s, &c, &err));
    }
    ASSERT_OK(devstore_choice_each(s, count_choice, &n, &err));
    assert_int_equal(n, DEVSTORE_CHOICES);
    ASSERT_STATUS(devstore_choice_get(s, NULL, &c.model, 5, &back, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(devstore_choice_get(s, NULL, &c.model, 6, &back, &err));
    memset(c.machine.b, 6, WIRE_HASH);
    ASSERT_OK(devstore_choice_get(s, &c.machine, NULL, 0, &back, &err));
    assert_int_equal(back.batch, 6);
    ASSERT_OK(devstore_choice_drop(s, &c.model, &err));
    ASSERT_STATUS(devstore_choice_get(s, NULL, NULL, 0, &back, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(devstore_choice_put(s, &c, &err));
    ASSERT_OK(devstore_forget(s, &err));
    ASSERT_STATUS(devstore_choice_get(s, NULL, NULL, 0, &back, &err), SOTTO_NOT_FOUND);
    devstore_close(s);
}

/* Every backend of this build that works here, really timed. */
static void test_real(void **state) {
    (void)state;
    struct wire_server s;
    sotto_client *c = begin(&s, "real");
    one_round(&s, c, 1);
    assert_true(s.samples_per_s > 0);
    sotto_client_close(c);
    wire_server_deinit(&s);
}

int main(void) {
    (void)setenv("SOTTO_VULKAN_DISABLE", "all", 1); /* no driver: its own tests are elsewhere */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_fastest, teardown),
        cmocka_unit_test_teardown(test_other_machine, teardown),
        cmocka_unit_test_teardown(test_failures, teardown),
        cmocka_unit_test_teardown(test_fails_later, teardown),
        cmocka_unit_test(test_kept),
        cmocka_unit_test_teardown(test_real, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

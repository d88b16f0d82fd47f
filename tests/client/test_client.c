/* libsotto-client against a scripted coordinator over real sockets: enrolment, rounds, resumption,
 * residuals, predictions. */
#include "wire_server.h"

#include "sotto/client.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLLS_MAX 4000

static void log_line(void *ctx, const char *line) {
    (void)ctx;
    if (getenv("SOTTO_TEST_LOG") != NULL)
        print_message("  %s\n", line);
}

static sotto_client *open_client(const char *name) {
    char message[256] = "";
    sotto_client *c = NULL;
    const char *dir = test_path(name);
    char policy[4096];
    snprintf(policy, sizeof policy, "%s.policy", dir);
    assert_int_equal(io_write_file(policy, "checkin_min_ms 1\n", 17, 0600, false, NULL), SOTTO_OK);
    const sotto_client_config config = {.size = sizeof config,
                                        .state_dir = dir,
                                        .policy_file = policy,
                                        .backend = "ref",
                                        .slice_ms = 1,
                                        .log = log_line};
    if (sotto_client_open(&config, &c, message) != 0)
        fail_msg("%s", message);
    return c;
}

static void turn(struct wire_server *s, sotto_client *c) {
    wire_server_poll(s);
    const int rc = sotto_client_poll(c, 2);
    if (rc != 0)
        fail_msg("%s", sotto_client_error(c));
}

static void enroll(struct wire_server *s, sotto_client *c) {
    struct buf token;
    wire_server_token(s, &token);
    if (sotto_client_enroll(c, (const char *)token.data) != 0)
        fail_msg("%s", sotto_client_error(c));
    for (int i = 0; i < POLLS_MAX && !sotto_client_enrolled(c); i++)
        turn(s, c);
    assert_true(sotto_client_enrolled(c));
    /* the same token again, and another fleet's */
    assert_int_equal(sotto_client_enroll(c, (const char *)token.data), SOTTO_EXISTS);
    buf_deinit(&token);
}

static void add_examples(sotto_client *c, const char *collection, uint32_t count) {
    const uint32_t dims[3] = {28, 28, 1};
    struct dataset d;
    const struct digits_config config = {.seed = 5, .writer_count = 1, .per_writer = count};
    dataset_init(&d);
    assert_int_equal(dataset_draw_digits(&config, &d, NULL), SOTTO_OK);
    assert_int_equal(sotto_client_collection(c, collection, 0, 3, dims, 10, 1.0f / 255.0f, 0.0f),
                     0);
    assert_int_equal(sotto_client_begin(c), 0);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(
            sotto_client_add_example(c, collection, dataset_example(&d, i), 784, d.labels[i]), 0);
    assert_int_equal(sotto_client_commit(c), 0);
    assert_int_equal(sotto_client_example_count(c, collection), count);
    dataset_deinit(&d);
}

static void until_stored(struct wire_server *s, sotto_client *c) {
    sotto_client_state state = {.size = sizeof state};
    sotto_client_state_get(c, &state);
    const uint32_t before = state.rounds_done;
    for (int i = 0; i < POLLS_MAX && state.rounds_done == before; i++) {
        turn(s, c);
        sotto_client_state_get(c, &state);
    }
    assert_true(s->stored);
    assert_int_equal(state.rounds_done, before + 1);
}

/* What the device must have sent: computed here with the same cores. */
static void expect_update(struct wire_server *s, uint32_t examples, float *residual) {
    const uint32_t total = s->graph.layout.total;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct package package;
    struct dataset d;
    struct trainer *trainer = NULL;
    struct train_rule rule;
    struct train_metrics metrics;
    struct codec_update update;
    bool done = false;
    double scalars[CODEC_SCALARS];
    float *want = mem_array(total, sizeof *want), *got = mem_array(total, sizeof *got);
    const struct digits_config config = {.seed = 5, .writer_count = 1, .per_writer = examples};
    dataset_init(&d);
    assert_int_equal(dataset_draw_digits(&config, &d, NULL), SOTTO_OK);
    ASSERT_OK(package_decode(buf_view(&s->package), &package, &err));
    terms_rule(&s->terms, &rule);
    ASSERT_OK(
        trainer_new(&package.graph, &rule, examples, kern_backend_find("ref"), &trainer, &err));
    const struct examples e = dataset_examples(&d);
    const struct train_stream stream = {s->terms.task_seed, s->terms.round, s->serial};
    ASSERT_OK(trainer_begin(trainer, package.params, &e, &stream, &err));
    ASSERT_OK(trainer_advance(trainer, 0, &done, &err));
    trainer_finish(trainer, want, &metrics);
    codec_update_init(&update);
    ASSERT_OK(terms_encode_update(&s->terms, &s->graph.layout, s->serial, package.params, want,
                                  residual, NULL, &metrics, examples, &update, &err));
    wire_server_open_report(s, got, scalars);
    assert_true(scalars[CODEC_WEIGHT] == examples);
    assert_true(scalars[CODEC_SEEN] == 2.0 * examples);
    for (uint32_t i = 0; i < total; i++)
        if (fabsf(want[i] - got[i]) > 1e-6f)
            fail_msg("coordinate %u: %g instead of %g", i, (double)got[i], (double)want[i]);
    codec_update_deinit(&update);
    trainer_free(trainer);
    package_deinit(&package);
    dataset_deinit(&d);
    mem_free(want);
    mem_free(got);
}

static void test_rounds(void **state) {
    (void)state;
    struct wire_server s;
    float probabilities[10], sum = 0;
    uint8_t image[784] = {0};
    wire_server_init(&s);
    float *residual = mem_array(s.graph.layout.total, sizeof *residual);
    sotto_client *c = open_client("rounds");
    enroll(&s, c);
    assert_int_equal(s.enrols, 1);
    add_examples(c, "examples", 40);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    until_stored(&s, c);
    expect_update(&s, 40, residual);
    /* the same weights: no download; the residual of round 1 goes into round 2, and so on */
    s.outcome = sotto_Outcome_OUTCOME_KEPT;
    const uint32_t chunks = s.chunks_sent;
    wire_server_round(&s, 2);
    until_stored(&s, c);
    assert_int_equal(s.chunks_sent, chunks);
    expect_update(&s, 40, residual);
    wire_server_package(&s, 2);
    wire_server_round(&s, 3);
    until_stored(&s, c);
    assert_true(s.deltas_sent > 0); /* or the whole one, when the delta is no smaller */
    expect_update(&s, 40, residual);
    assert_int_equal(sotto_client_predict(c, "digits", image, sizeof image, probabilities, 10), 0);
    for (int i = 0; i < 10; i++)
        sum += probabilities[i];
    assert_true(fabsf(sum - 1) < 1e-4f);
    assert_int_equal(sotto_client_predict(c, "letters", image, sizeof image, probabilities, 10),
                     SOTTO_NOT_FOUND);
    sotto_client_close(c);
    mem_free(residual);
    wire_server_deinit(&s);
}

/* A report that comes back puts its mass into the next one. */
static void test_returned(void **state) {
    (void)state;
    struct wire_server s;
    wire_server_init(&s);
    const uint32_t total = s.graph.layout.total;
    float *residual = mem_array(total, sizeof *residual), *sent = mem_array(total, sizeof *sent);
    double scalars[CODEC_SCALARS];
    sotto_client *c = open_client("returned");
    enroll(&s, c);
    add_examples(c, "examples", 20);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    until_stored(&s, c);
    expect_update(&s, 20, residual);
    wire_server_open_report(&s, sent, scalars);
    vec_add_f32(residual, residual, sent, total);
    s.outcome = sotto_Outcome_OUTCOME_RETURNED;
    wire_server_round(&s, 2);
    until_stored(&s, c);
    expect_update(&s, 20, residual);
    sotto_client_close(c);
    mem_free(residual);
    mem_free(sent);
    wire_server_deinit(&s);
}

/* Closed and opened again at every poll: the same report in the end, trained once. */
static void test_reopened_anywhere(void **state) {
    (void)state;
    for (int every = 1; every < 40; every += 6) {
        struct wire_server s;
        char name[32];
        snprintf(name, sizeof name, "again%d", every);
        wire_server_init(&s);
        float *residual = mem_array(s.graph.layout.total, sizeof *residual);
        sotto_client *c = open_client(name);
        enroll(&s, c);
        add_examples(c, "examples", 30);
        wire_server_package(&s, 1);
        wire_server_round(&s, 1);
        for (int i = 0; i < 10 * POLLS_MAX && !s.stored; i++) {
            turn(&s, c);
            if (i % (40 + every) == every) {
                sotto_client_close(c);
                c = open_client(name);
            }
        }
        assert_true(s.stored);
        expect_update(&s, 30, residual);
        sotto_client_close(c);
        mem_free(residual);
        wire_server_deinit(&s);
    }
}

static void until_declined(struct wire_server *s, sotto_client *c, const char *rule) {
    for (int i = 0; i < POLLS_MAX && s->declines == 0; i++)
        turn(s, c);
    assert_string_equal(s->rule, rule);
    s->declines = 0;
}

static enum sotto_status remove_report(void *ctx, const char *name) {
    char path[4096];
    if (strncmp(name, "report-", 7) != 0)
        return SOTTO_OK;
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    return io_remove(path, NULL);
}

/* A sealed report whose file is lost before it was sent: the device says so, takes the mass back
 * and works on. */
static void test_lost_report(void **state) {
    (void)state;
    struct wire_server s;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char files[4096];
    wire_server_init(&s);
    const uint32_t total = s.graph.layout.total;
    float *update = mem_array(total, sizeof *update);
    double scalars[CODEC_SCALARS];
    sotto_client *c = open_client("lost");
    enroll(&s, c);
    add_examples(c, "examples", 20);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    wire_server_poll(&s);
    for (int i = 0; i < POLLS_MAX && s.report_bytes == 0; i++) {
        assert_int_equal(sotto_client_poll(c, 2), 0);
        wire_server_poll(&s); /* its grant is on the way */
    }
    assert_true(s.report_bytes > 0);
    snprintf(files, sizeof files, "%s/files", test_path("lost"));
    ASSERT_OK(io_list(files, remove_report, files, &err));
    until_declined(&s, c, "report");
    assert_false(s.stored);
    wire_server_round(&s, 2);
    until_stored(&s, c);
    wire_server_open_report(&s, update, scalars);
    assert_true(scalars[CODEC_WEIGHT] == 20);
    sotto_client_close(c);
    mem_free(update);
    wire_server_deinit(&s);
}

static void test_declines(void **state) {
    (void)state;
    struct wire_server s;
    wire_server_init(&s);
    sotto_client *c = open_client("declines");
    enroll(&s, c);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    until_declined(&s, c, "schema"); /* no such collection */
    const uint32_t dims[3] = {28, 28, 1};
    assert_int_equal(sotto_client_collection(c, "examples", 0, 3, dims, 10, 1.0f / 255, 0), 0);
    s.declines = 0;
    until_declined(&s, c, "examples"); /* none in it */
    assert_int_equal(sotto_client_collection(c, "examples", 1, 3, dims, 10, 1, 0), SOTTO_EXISTS);
    /* a package that does not have its hash is fetched twice, then declined */
    add_examples(c, "examples", 10);
    s.package_hash.b[0] ^= 1;
    wire_server_round(&s, 2);
    const uint32_t chunks = s.chunks_sent;
    s.declines = 0;
    until_declined(&s, c, "package");
    assert_int_equal(s.chunks_sent - chunks, 2 * chunk_count(s.package.len));
    sotto_client_close(c);
    wire_server_deinit(&s);
}

static void test_evaluation(void **state) {
    (void)state;
    struct wire_server s;
    struct sotto_error err = SOTTO_ERROR_INIT;
    double scalars[CODEC_SCALARS];
    struct codec_spec spec;
    struct seal_opener *opener = NULL;
    struct codec_head *head = NULL;
    struct view part;
    wire_server_init(&s);
    sotto_client *c = open_client("evaluation");
    enroll(&s, c);
    add_examples(c, "examples", 300);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    s.terms.kind = sotto_Kind_KIND_EVALUATE;
    s.terms.has_rule = false;
    ASSERT_OK(wire_terms_encode(&s.terms, &s.terms_bytes, &err));
    s.terms_hash = wire_terms_hash(buf_view(&s.terms_bytes));
    until_stored(&s, c);
    terms_spec(&s.terms, &s.graph.layout, &spec);
    ASSERT_OK(seal_open(buf_view(&s.report), s.round_public, s.round_secret, &s.terms_hash,
                        s.serial, 1, &opener, &err));
    ASSERT_OK(seal_open_part(opener, 0, &part, &err));
    ASSERT_OK(codec_head_decode(&spec, part, &head, &err));
    memcpy(scalars, codec_head_scalars(head), sizeof scalars);
    assert_true(scalars[CODEC_SEEN] == 300 && scalars[CODEC_LOSS] > 0);
    codec_head_free(head);
    seal_opener_free(opener);
    sotto_client_close(c);
    wire_server_deinit(&s);
}

static void test_bad_use(void **state) {
    (void)state;
    char message[256] = "";
    sotto_client *c = NULL, *second = NULL;
    sotto_client_config config = {.size = sizeof config};
    assert_int_equal(sotto_client_open(&config, &c, message), SOTTO_USAGE);
    config.state_dir = test_path("baduse");
    config.backend = "abacus";
    assert_int_equal(sotto_client_open(&config, &c, message), SOTTO_INVALID);
    assert_non_null(strstr(message, "abacus"));
    config.backend = NULL;
    assert_int_equal(sotto_client_open(&config, &c, message), 0);
    assert_int_equal(sotto_client_open(&config, &second, message), SOTTO_BUSY);
    assert_int_not_equal(sotto_client_enroll(c, "sotto1:nonsense"), 0);
    assert_int_equal(sotto_client_document(c, "x", 1), SOTTO_STATE);
    assert_int_equal(sotto_client_add_example(c, "none", "x", 1, 0), SOTTO_NOT_FOUND);
    assert_int_equal(sotto_client_example_count(c, "none"), -1);
    assert_int_equal(sotto_client_poll(c, 0), 0);
    sotto_client_close(c);
}

static void test_forget(void **state) {
    (void)state;
    struct wire_server s;
    wire_server_init(&s);
    sotto_client *c = open_client("forget");
    enroll(&s, c);
    add_examples(c, "examples", 20);
    wire_server_package(&s, 1);
    wire_server_round(&s, 1);
    until_stored(&s, c);
    assert_int_equal(sotto_client_forget(c), 0);
    assert_int_equal(sotto_client_example_count(c, "examples"), -1);
    assert_true(sotto_client_enrolled(c));
    /* the round that was done is not done again, the next one is */
    add_examples(c, "examples", 20);
    s.stored = false;
    until_declined(&s, c, "round");
    s.outcome = sotto_Outcome_OUTCOME_KEPT;
    wire_server_round(&s, 2);
    until_stored(&s, c);
    sotto_client_close(c);
    wire_server_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_returned),
        cmocka_unit_test(test_reopened_anywhere),
        cmocka_unit_test(test_declines),
        cmocka_unit_test(test_lost_report),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_bad_use),
        cmocka_unit_test(test_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

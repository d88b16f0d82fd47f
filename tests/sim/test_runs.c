/* Runs read back: tables, the rule of rounds to a target, statistics, groups, rows and curves. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "support.h"

#define HEAD "run,kind,accuracy_fraction,loss_nats,bytes_up,bytes_down,clock_seconds\n"

/* McMahan 2017, section 3: the curve made monotone, and linear between its points. */
static void test_crossing(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 4, 5, 6}, y[] = {0.5, 0.7, 0.6, 0.65, 0.9, 0.95};
    assert_true(runs_crossing(x, y, 6, 0.4) == 1);
    assert_true(runs_crossing(x, y, 6, 0.5) == 1);
    assert_true(fabs(runs_crossing(x, y, 6, 0.6) - 1.5) < 1e-12);
    assert_true(runs_crossing(x, y, 6, 0.7) == 2);
    assert_true(fabs(runs_crossing(x, y, 6, 0.8) - 4.5) < 1e-12); /* 0.7 at 4, 0.9 at 5 */
    const double never = runs_crossing(x, y, 6, 0.96), empty = runs_crossing(x, y, 0, 0.1);
    assert_true(isnan(never) && isnan(empty));
}

static void test_stat(void **state) {
    (void)state;
    struct runs_stat s;
    const double v[] = {4, NAN, 2, 9, INFINITY};
    runs_stat(v, 5, &s);
    assert_int_equal(s.count, 3);
    assert_true(s.mean == 5 && s.median == 4 && s.min == 2 && s.max == 9);
    assert_true(fabs(s.sd - sqrt(13.0)) < 1e-12);
    runs_stat(v, 1, &s);
    const double one = s.sd;
    assert_true(s.mean == 4 && isnan(one));
    runs_stat(v + 1, 1, &s);
    const double none = s.mean;
    assert_true(s.count == 0 && isnan(none));
}

static enum sotto_status table(const char *text, struct run_data *r, struct sotto_error *err) {
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text);
    memset(r, 0, sizeof *r);
    return runs_table(copy, "rounds.csv", r, err);
}

static void test_table(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct run_data r;
    ASSERT_OK(table(HEAD "x,train,,,10,20,1\n"
                         "x,train,0.5,1.5,10,20,2\n"
                         "x,evaluate,0.9,,1,5,3\n"
                         "x,train,0.4,1.4,10,20,4\n",
                    &r, &err));
    assert_int_equal(r.count, 2);
    assert_true(r.column[RUNS_ROUND][0] == 2 && r.column[RUNS_ROUND][1] == 3);
    assert_true(r.column[RUNS_UP][0] == 20 && r.column[RUNS_UP][1] == 31);
    assert_true(r.column[RUNS_CLOCK][1] == 4 && r.column[RUNS_ACCURACY][1] == 0.4);
    assert_true(r.total[RUNS_DOWN] == 65 && r.best_accuracy == 0.5);
    run_data_deinit(&r);
    static const char *const wrong[] = {"", "a,b\n1,2\n", HEAD "x,train,0.5\n",
                                        HEAD "x,train,0.5,1,10,nan,1\n",
                                        HEAD "x,train,0.5,1,10,1e999,1\n"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_not_equal(table(wrong[i], &r, &err), SOTTO_OK);
        assert_non_null(strstr(err.message, "rounds.csv"));
        run_data_deinit(&r);
    }
}

static void write_run(const char *name, const char *settings, const char *rows) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char path[600], text[1024];
    snprintf(path, sizeof path, "%s", test_path(name));
    ASSERT_OK(io_mkdir_p(path, 0700, &err));
    snprintf(path, sizeof path, "%s/config.yaml", test_path(name));
    ASSERT_OK(io_write_file(path, settings, strlen(settings), 0600, false, &err));
    snprintf(path, sizeof path, "%s/rounds.csv", test_path(name));
    snprintf(text, sizeof text, "%s%s", HEAD, rows);
    ASSERT_OK(io_write_file(path, text, strlen(text), 0600, false, &err));
}

static void test_groups(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct runs r;
    struct buf out;
    char dir[512], path[600];
    const double target = 0.8;
    write_run("all/a1", "task: {seed: 1}\nlocal: {lr: 0.1}\n",
              "x,train,0.6,1,1000,20,1\nx,train,1,1,1000,20,2\n");
    write_run("all/a2", "task: {seed: 2}\nlocal: {lr: 0.1}\n",
              "x,train,0.8,1,1000,20,1\nx,train,0.9,1,1000,20,2\n");
    write_run("all/deeper/b1", "task: {seed: 1}\nlocal: {lr: 0.2}\n", "x,train,0.3,1,1000,20,1\n");
    snprintf(dir, sizeof dir, "%s", test_path("all"));
    const char *const dirs[] = {dir};
    ASSERT_OK(runs_read(&r, dirs, 1, &err));
    assert_int_equal(r.count, 3);
    assert_int_equal(r.group_count, 2);
    assert_string_equal(r.group[0].label, "local.lr=0.1");
    assert_int_equal(r.group[0].count, 2);
    assert_int_equal(r.run[r.group[0].first].seed, 1);
    buf_init(&out, 1 << 20);
    ASSERT_OK(compare_table(&r, &target, 1, COMPARE_JSON, &out, &err));
    buf_put_u8(&out, '\0');
    const char *text = (const char *)out.data;
    assert_non_null(strstr(text, "{\"experiment\":\"local.lr=0.1\",\"runs\":2,\"ended\":0,"
                                 "\"target\":0.8,\"reached\":2,\"accuracy_mean\":0.95,"));
    assert_non_null(strstr(text, "\"rounds_to_mean\":1.25,"));
    assert_non_null(strstr(text, "\"bytes_up_to_mean\":1250,"));
    assert_non_null(strstr(text, "\"reached\":0,\"accuracy_mean\":0.3,\"accuracy_sd\":null,"));
    buf_reset(&out);
    ASSERT_OK(compare_table(&r, &target, 1, COMPARE_TEXT, &out, &err));
    buf_put_u8(&out, '\0');
    assert_non_null(strstr((const char *)out.data, "95.00 +- 7.07"));
    buf_reset(&out);
    ASSERT_OK(compare_table(&r, NULL, 0, COMPARE_CSV, &out, &err));
    buf_put_u8(&out, '\0');
    assert_non_null(strstr((const char *)out.data, "\n\"local.lr=0.2\",1,0,,0,0.3,,0.3,"));
    snprintf(path, sizeof path, "%s/x.svg", dir);
    struct compare_plot p = {.x = "bytes", .y = "accuracy", .targets = &target, .target_count = 1};
    ASSERT_OK(compare_draw(&r, &p, path, &err));
    assert_true(io_file_size(path) > 1000);
    p.apart = true;
    ASSERT_OK(compare_draw(&r, &p, path, &err));
    p.x = "miles";
    ASSERT_FAILS(compare_draw(&r, &p, path, &err), SOTTO_USAGE, "rounds, bytes, seconds, energy");
    runs_deinit(&r);
    buf_deinit(&out);
    const char *const empty[] = {test_path("nowhere")};
    ASSERT_FAILS(runs_read(&r, empty, 1, &err), SOTTO_NOT_FOUND, "no run");
    runs_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crossing), cmocka_unit_test(test_stat),
                                       cmocka_unit_test(test_table), cmocka_unit_test(test_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

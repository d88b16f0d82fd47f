/* Devices: what files say of them, when they are there, what they spend; and runs that feel it. */
#include <math.h>

#include "sim_fixture.h"

static enum sotto_status parse(struct fleet *f, bool trace, const char *text,
                               struct sotto_error *err) {
    char copy[512];
    snprintf(copy, sizeof copy, "%s", text);
    memset(f, 0, sizeof *f);
    f->period_ms = 100000;
    return trace ? fleet_trace_parse(f, copy, "file.csv", err)
                 : fleet_classes_parse(f, copy, "file.csv", err);
}

static void test_trace(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fleet f;
    uint64_t begin, end;
    ASSERT_OK(parse(&f, true,
                    "end_seconds,device,begin_seconds\r\n# a comment\n\n"
                    "30,7,20\n10,7,0\n25.5,7,10\n100,9,90\n5,9,0\n100,12,0\n",
                    &err));
    assert_int_equal(f.users, 3);
    fleet_trace_window(&f, 0, 0, &begin, &end); /* three stays that touch */
    assert_true(begin == 0 && end == 30000);
    fleet_trace_window(&f, 0, 30000, &begin, &end);
    assert_true(begin == 100000 && end == 130000);
    fleet_trace_window(&f, 1, 6000, &begin, &end); /* over the end of the period */
    assert_true(begin == 90000 && end == 105000);
    fleet_trace_window(&f, 2, 777777, &begin, &end);
    assert_true(begin <= 777777 && end == UINT64_MAX); /* always */
    fleet_deinit(&f);
    static const struct {
        bool trace;
        const char *text, *says;
    } wrong[] = {
        {true, "", "names no column 'device'"},
        {true, "device,begin_seconds\n", "'end_seconds'"},
        {true, "device,device,begin_seconds,end_seconds\n", "twice"},
        {true, "device,begin_seconds,end_seconds\n", "ever there"},
        {true, "device,begin_seconds,end_seconds\n1,2\n", "file.csv:2"},
        {true, "device,begin_seconds,end_seconds\n1,2,101\n", "begin < end"},
        {true, "device,begin_seconds,end_seconds\n1,2,2\n", "begin < end"},
        {true, "device,begin_seconds,end_seconds\n1.5,2,3\n", "number"},
        {true, "device,begin_seconds,end_seconds\n-1,2,3\n", "file.csv:2: device"},
        {true, "device,begin_seconds,end_seconds\n1,x,3\n", "begin_seconds"},
        {false, "speed\n3\n", "'share'"},
        {false, "share,price\n3,4\n", "price"},
        {false, "share,speed\n0,4\n", "no class has a share"},
        {false, "share,speed\n1,1e99\n", "file.csv:2: speed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        const enum sotto_status status = parse(&f, wrong[i].trace, wrong[i].text, &err);
        assert_true(status == SOTTO_CORRUPT || status == SOTTO_INVALID);
        assert_non_null(strstr(err.message, wrong[i].says));
        fleet_deinit(&f);
    }
    ASSERT_OK(parse(&f, false, "share,speed,memory,joules_byte\n3,10,1e6,0.5\n1,20,2e6,0\n", &err));
    assert_int_equal(f.class_count, 2);
    assert_true(f.classes[1].speed == 20 && f.classes[0].memory == 1e6 &&
                f.classes[0].joules_byte == 0.5 && f.classes[0].uplink == 0);
    fleet_deinit(&f);
}

/* Stays follow each other, each after what was asked for; together they are the part of a day that
 * was asked for. */
static void test_drawn_days(void **state) {
    (void)state;
    const struct fleet_days d = {.online = 0.3, .night = 2, .zones = 8, .seed = test_seed()};
    double sum = 0, here[24] = {0};
    const uint64_t days = 60, devices = 80;
    for (uint64_t serial = 1; serial <= devices; serial++) {
        uint64_t t = 0, begin, end;
        while (t < days * 86400000) {
            fleet_drawn_window(&d, serial, t, &begin, &end);
            assert_true(end > t && end > begin);
            uint64_t again_begin, again_end;
            const uint64_t middle = begin > t ? (begin + end) / 2 : (t + end) / 2;
            fleet_drawn_window(&d, serial, middle, &again_begin, &again_end);
            assert_true(again_begin == begin && again_end == end);
            sum += (double)(end - (begin > t ? begin : t));
            here[middle / 3600000 % 24]++;
            t = end;
        }
    }
    const double part = sum / (double)(days * devices) / 86400000.0;
    print_message("there for %.3f of the time\n", part);
    assert_true(fabs(part - 0.3) < 0.02);
    assert_true(here[6] > 5 * here[18]); /* night at 2, over eight zones: around 6, never at 18 */
}

static void write_file(const char *name, const char *text) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(io_write_file(test_path(name), text, strlen(text), 0600, false, &err));
}

/* Twelve devices, half of them there in the first minutes of each hour, half of them later; a round
 * needs what is there. */
static void test_rounds_follow_the_trace(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    char trace[2048] = "device,begin_seconds,end_seconds\n", set[600];
    for (int i = 0; i < 12; i++)
        snprintf(trace + strlen(trace), sizeof trace - strlen(trace), "%d,%d,%d\n", i,
                 i < 6 ? 0 : 1800, i < 6 ? 600 : 2400);
    write_file("trace.csv", trace);
    snprintf(set, sizeof set, "fleet.trace=%s", test_path("trace.csv"));
    const char *const sets[] = {set,           "fleet.trace_period=1h", "fleet.speed=0.1",
                                "pace=30s",    "availability=60s",      "rounds=12",
                                "deadline=8m", "cohort_min=1",          NULL};
    ASSERT_OK(fixture_run(&f, 1, sets, &err));
    ASSERT_OK(fixture_run(&g, 3, sets, &err));
    assert_memory_equal(f.totals.digest.b, g.totals.digest.b, WIRE_HASH);
    double clock = 0;
    uint32_t counted = 0, early = 0, late = 0;
    for (uint32_t i = 0; i < f.count; i++) {
        clock = f.clock[i];
        const double in_hour = fmod(clock, 3600);
        /* A training takes 200 s; a round ends while its devices are there, or by its deadline. */
        assert_true(in_hour < 1200 || (in_hour > 1800 && in_hour < 3000));
        early += in_hour < 1200;
        late += in_hour > 1800;
        counted += f.rounds[i].counted;
        assert_true(f.rounds[i].members <= 6);
    }
    print_message("12 rounds took %.0f s, %u reports\n", clock, counted);
    assert_true(clock > 3600 && early > 2 && late > 2 && counted > 12);
}

/* A stay is shorter than a training: nobody ever ends one. */
static void test_too_short_stays(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    char set[600];
    write_file("short.csv", "device,begin_seconds,end_seconds\n0,0,100\n1,50,150\n2,300,420\n");
    snprintf(set, sizeof set, "fleet.trace=%s", test_path("short.csv"));
    ASSERT_OK(fixture_run(&f, 2,
                          SETS(set, "fleet.trace_period=10m", "fleet.speed=0.1", "rounds=4",
                               "deadline=30m", "fleet.joules_per_sample=1", "evaluation.every=0"),
                          &err));
    for (uint32_t i = 0; i < f.count; i++)
        assert_true(f.rounds[i].failed && f.rounds[i].counted == 0);
    assert_true(f.totals.energy_joules > 10); /* for nothing */
}

static void test_energy(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    ASSERT_OK(fixture_run(&f, 2, NULL, &err));
    assert_true(f.totals.energy_joules == 0 && f.totals.devices.joules_max == 0);
    ASSERT_OK(fixture_run(&g, 2, SETS("fleet.joules_per_sample=0.5", "fleet.joules_per_byte=0.001"),
                          &err));
    assert_memory_equal(f.totals.digest.b, g.totals.digest.b, WIRE_HASH);
    const double moved = (double)(g.totals.bytes_up + g.totals.bytes_down);
    const double want = 0.5 * (double)g.totals.train_samples + 0.001 * moved;
    assert_true(fabs(g.totals.energy_joules - want) < 1e-6 * want);
    double sum = 0;
    for (uint32_t i = 0; i < g.count; i++)
        sum += g.rounds[i].energy_joules;
    assert_true(fabs(sum - want) < 1e-6 * want);
    const struct sim_devices *d = &g.totals.devices;
    assert_true(d->count >= 4 && d->count <= 12);
    assert_true(fabs(d->joules_mean * d->count - want) < 1e-3 * want);
    assert_true(fabs((d->sent_mean + d->received_mean) * d->count - moved) < 1);
    assert_true(d->joules_max >= d->joules_mean && d->sent_max >= d->sent_mean);
}

/* A third of the devices have room for the training; the others decline it. */
static void test_memory(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    uint32_t declined = 0, counted = 0;
    char set[600];
    ASSERT_OK(fixture_run(&f, 2, SETS("fleet.memory=1GiB"), &err));
    for (uint32_t i = 0; i < f.count; i++)
        assert_int_equal(f.rounds[i].declined, 0);
    write_file("classes.csv", "share,memory,speed\n1,1e9,10\n2,1000,20\n");
    snprintf(set, sizeof set, "fleet.devices=%s", test_path("classes.csv"));
    ASSERT_OK(fixture_run(&f, 2, SETS(set, "cohort_min=1", "deadline=1h", "rounds=10"), &err));
    for (uint32_t i = 0; i < f.count; i++) {
        declined += f.rounds[i].declined;
        counted += f.rounds[i].counted;
    }
    print_message("%u declined, %u counted\n", declined, counted);
    assert_true(declined > 8 && counted > 2 && declined + counted == 40);
}

static void test_straggling(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    ASSERT_OK(fixture_run(&f, 2, SETS("fleet.speed=10", "rounds=8"), &err));
    ASSERT_OK(fixture_run(
        &g, 2, SETS("fleet.speed=10", "rounds=8", "fleet.straggle=0.5", "fleet.straggle_by=10"),
        &err));
    assert_memory_equal(f.totals.digest.b, g.totals.digest.b, WIRE_HASH);
    uint32_t slow = 0;
    for (uint32_t i = 0; i < f.count; i++) {
        assert_true(fabs(f.rounds[i].virtual_seconds - 2) < 0.1);
        slow += g.rounds[i].virtual_seconds > 19;
    }
    assert_true(slow >= 5);
}

/* A fleet much larger than its data: a device between its rounds is a few words, and only those
 * that took part keep something. */
static void test_many_devices(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f, g;
    _Static_assert(sizeof(struct sim_device) <= 128, "a million devices fit 128 MB");
    const char *const sets[] = {"fleet.copies=5000", "rounds=12", "cohort=50", NULL};
    ASSERT_OK(fixture_run(&f, 1, sets, &err));
    ASSERT_OK(fixture_run(&g, 2, sets, &err));
    assert_memory_equal(f.totals.digest.b, g.totals.digest.b, WIRE_HASH);
    assert_in_range(f.totals.devices.count, 500, 600); /* hardly anyone of 60,000 twice */
    ASSERT_FAILS(fixture_run(&f, 1, SETS("fleet.copies=2000000"), &err), SOTTO_CONFIG, "more than");
}

static void test_refusals(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct fixture f;
    char set[600];
    ASSERT_FAILS(fixture_run(&f, 1, SETS("availability=60s"), &err), SOTTO_CONFIG, "fleet.online");
    write_file("one.csv", "device,begin_seconds,end_seconds\n0,0,100\n");
    snprintf(set, sizeof set, "fleet.trace=%s", test_path("one.csv"));
    ASSERT_FAILS(fixture_run(&f, 1, SETS(set, "fleet.online=0.5"), &err), SOTTO_CONFIG,
                 "leave one of them out");
    ASSERT_FAILS(fixture_run(&f, 1, SETS("fleet.trace=/nonexistent.csv"), &err), SOTTO_NOT_FOUND,
                 "nonexistent");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace),           cmocka_unit_test(test_drawn_days),
        cmocka_unit_test(test_energy),          cmocka_unit_test(test_rounds_follow_the_trace),
        cmocka_unit_test(test_too_short_stays), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_straggling),      cmocka_unit_test(test_many_devices),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

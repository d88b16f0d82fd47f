/* kill -9 of the real program at random moments: no acknowledged report is lost, none counts twice,
 * and the model is the one of an undisturbed run. */
#include "daemon_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICES 3
#define ROUNDS  12

static struct world w;

static void reconnect(void) {
    for (uint32_t i = 0; i < w.device_count; i++)
        device_connect(&w.devices[i], &w.devices[i].curve);
}

static void restart(void) {
    world_kill(&w);
    world_start_program(&w);
    reconnect();
}

/* A device that takes what comes: an answer that is long in coming is asked for again. */
static void drive(struct device *d) {
    sotto_CheckInReply reply;
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    device_check_in(d, &reply);
    if (!d->planned)
        return;
    device_fetch(d);
    if (w.lost)
        return;
    if (d->report.len == 0)
        device_seal(d, NULL); /* sealed once: a resend is those very bytes */
    (void)device_upload(d, &ack, &status);
}

/* A process of its own kills the coordinator at some moment of whatever it does then. */
static pid_t strike_after(unsigned us) {
    pid_t victim = w.child, killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        usleep(us);
        (void)kill(victim, SIGKILL);
        _exit(0);
    }
    return killer;
}

static void run(const char *name, uint32_t kills, char digest[65]) {
    struct rng rng;
    char version[32];
    world_init(&w, name);
    world_start_program(&w);
    for (int i = 0; i < DEVICES; i++)
        world_enrolled(&w);
    world_task(&w, "t", DEVICES, "rounds: 12\ngroups: 2\nserver: {momentum: 0.5}\n");
    rng_init(&rng, test_seed(), 1, 2, 3);
    snprintf(version, sizeof version, "\"version\":%d,", ROUNDS + 1);
    uint64_t end = clock_mono_ms() + 4 * WORLD_PATIENCE;
    while (!strstr(world_json(&w, "models-list", "t", NULL), version)) {
        assert_true(clock_mono_ms() < end);
        bool strike = kills > 0 && rng_u32(&rng) % 3 == 0;
        pid_t killer = strike ? strike_after(rng_u32(&rng) % 6000) : 0;
        w.patience_ms = strike ? 400 : 0;
        drive(&w.devices[rng_u32(&rng) % DEVICES]);
        if (strike) {
            assert_int_equal(waitpid(killer, NULL, 0), killer);
            restart();
            kills--;
        }
        w.patience_ms = 0;
        w.lost = false;
    }
    printf("# %u kills were left\n", kills);
    const char *rounds = world_json(&w, "rounds-list", "t", NULL);
    for (int i = 0; i < ROUNDS; i++) { /* every round counted every device once */
        rounds = strstr(rounds, "\"counted\":3,");
        assert_non_null(rounds);
        rounds++;
    }
    const char *p = strstr(world_json(&w, "models-show", "t", "current"), "\"digest\":\"");
    assert_non_null(p);
    snprintf(digest, 65, "%.64s", p + 10);
    world_deinit(&w);
}

static void kills_change_nothing(void **state) {
    (void)state;
    char plain[65], killed[65];
    run("plain", 0, plain);
    run("killed", 40, killed);
    assert_string_equal(plain, killed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kills_change_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* sotto-client, the agent: a process that does for a device what an app does by embedding
 * libsotto-client. */
#include "agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

static volatile sig_atomic_t stop_signal;

static void on_signal(int number) {
    if (stop_signal != 0) /* the second one does not wait: what is stored is enough to go on */
        _Exit(128 + number);
    stop_signal = number;
}

void agent_catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* without SA_RESTART: a wait ends at once */
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file too large is a write that fails, as on a full disk */
}

bool agent_stopped(void) {
    return stop_signal != 0;
}

int agent_fail(const struct sotto_error *err) {
    fprintf(stderr, "sotto-client: %s\n", err->message);
    return sotto_status_exit(err->status);
}

void agent_print(const struct buf *out) {
    (void)fwrite(out->data, 1, out->len, stdout);
    (void)fflush(stdout);
}

enum sotto_status agent_state_dir(const struct agent_args *a, char *out, size_t cap,
                                  struct sotto_error *err) {
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (a->state != NULL)
        return (size_t)snprintf(out, cap, "%s", a->state) < cap && a->state[0] != '\0'
                   ? SOTTO_OK
                   : SOTTO_FAIL(err, SOTTO_USAGE, "--state: not a usable path");
    if (xdg != NULL && xdg[0] == '/')
        return io_join(out, cap, xdg, "sotto-client", err);
    if (home == NULL || home[0] == '\0')
        return SOTTO_FAIL(err, SOTTO_USAGE, "no home folder: say --state DIR");
    return io_join(out, cap, home, ".local/state/sotto-client", err);
}

static void log_line(void *ctx, const char *line) {
    (void)ctx;
    LOG(LOG_INFO, "client.note", LS("text", line));
}

enum sotto_status agent_open(const struct agent_args *a, sotto_client **out,
                             struct sotto_error *err) {
    char dir[IO_PATH_MAX], message[256] = "";
    const enum sotto_status status = agent_state_dir(a, dir, sizeof dir, err);
    if (status != SOTTO_OK)
        return status;
    const sotto_client_config config = {
        .size = sizeof config,
        .state_dir = dir,
        .policy_file = a->policy,
        .backend = a->backend,
        .tier = a->tier,
        .slice_ms = (uint32_t)(a->slice_ms > 60000 ? 60000 : a->slice_ms),
        .log = a->quiet ? NULL : log_line,
    };
    const int rc = sotto_client_open(&config, out, message);
    if (rc != 0)
        return SOTTO_FAIL(err, (enum sotto_status)rc, "%s", message);
    return SOTTO_OK;
}

/* Examples, updates and keys stay out of core dumps. */
static void no_core_dumps(void) {
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
#if defined(__linux__)
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

int main(int argc, char **argv) {
    struct agent_args args;
    const struct agent_command *command;
    enum log_level level = LOG_INFO;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const int code = agent_parse(argc, argv, &args, &command);
    if (code != 0)
        return code;
    if (args.version) {
        printf("sotto-client %s\n", sotto_client_version());
        return 0;
    }
    if (args.help || command == NULL) {
        agent_help(command);
        return args.help ? 0 : 2;
    }
    if (args.log != NULL && log_level_parse(args.log, &level) != SOTTO_OK) {
        (void)SOTTO_FAIL(&err, SOTTO_USAGE, "--log-level: error, warn, info or debug");
        return agent_fail(&err);
    }
#if defined(__GLIBC__)
    /* A model's arrays go back to the system as they are freed, instead of leaving holes in the
     * heap. */
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
#endif
    log_setup(level, args.json ? LOG_JSON : LOG_TEXT);
    no_core_dumps();
    agent_catch_signals();
    return command->run(&args);
}

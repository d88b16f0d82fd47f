/* sotto-coordinator: the daemon's program. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sotto/config.h"
#include "sotto/coordinator/daemon.h"

static volatile sig_atomic_t stop_asked, reload_asked;

static void on_signal(int number) {
    if (number == SIGHUP)
        reload_asked = 1;
    else
        stop_asked = 1;
}

/* systemd's readiness protocol: one datagram to $NOTIFY_SOCKET (sd_notify(3)); nothing when it is
 * not set. */
static void notify(const char *text) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path)
        return;
    memcpy(to.sun_path, path, strlen(path));
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to, n);
    close(fd);
}

static enum sotto_status load(struct cli *cli, struct daemon_config *settings,
                              struct config **config, struct sotto_error *err) {
    const char *const *sets = NULL;
    size_t set_count = cli_flag_all(cli, "set", &sets), n = 0;
    const char *all[72];
    char state[IO_PATH_MAX + 8];
    memset(settings, 0, sizeof *settings);
    for (size_t i = 0; i < set_count && n < 64; i++)
        all[n++] = sets[i];
    if (cli_flag(cli, "state")) {
        snprintf(state, sizeof state, "state=%s", cli_flag(cli, "state"));
        all[n++] = state;
    }
    return config_load(daemon_options, settings, cli_flag(cli, "config"), all, n, config, err);
}

/* Flags go before the file, as everywhere. */
static void setup_log(struct cli *cli, const struct daemon_config *settings) {
    enum log_level level = (enum log_level)settings->log_level;
    enum log_format format = (enum log_format)settings->log_format;
    const char *text = cli_flag(cli, "log-format");
    if (cli_flag(cli, "log-level"))
        (void)log_level_parse(cli_flag(cli, "log-level"), &level);
    if (text)
        format = strcmp(text, "json") == 0 ? LOG_JSON : LOG_TEXT;
    log_setup(level, format);
}

/* SIGHUP: the rows that may change while it runs, or none at all when the file is wrong. */
static void reload(struct cli *cli) {
    struct daemon_config settings;
    struct config *config = NULL;
    struct sotto_error err = SOTTO_ERROR_INIT;
    reload_asked = 0;
    if (load(cli, &settings, &config, &err) != SOTTO_OK) {
        LOG(LOG_ERROR, "config.reload", LS("result", "refused, nothing has changed"),
            LS("reason", err.message));
        return;
    }
    setup_log(cli, &settings);
    LOG(LOG_INFO, "config.reload", LS("result", "log.level taken; the rest needs a restart"));
    config_free(config);
}

static void say_address(struct cli *cli, const struct coordinator *c) {
    if (cli_json(cli))
        printf("{\"event\":\"listening\",\"address\":\"%s\"}\n", coordinator_address(c));
    else
        printf("listening on %s\n", coordinator_address(c));
    fflush(stdout);
}

/* A round needs tens of megabytes for moments, then nothing for minutes: large blocks come from the
 * kernel and go back to it, and workers do not keep heaps of their own. */
static void return_memory_early(void) {
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
    (void)mallopt(M_ARENA_MAX, 2);
#endif
}

static void setup_process(void) {
    struct rlimit core = {0, 0};
    struct sigaction action = {.sa_handler = on_signal};
    umask(077);
    prctl(PR_SET_DUMPABLE, 0); /* keys stay out of core dumps */
    setrlimit(RLIMIT_CORE, &core);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ,
           SIG_IGN); /* a write past the file size limit fails, and is answered as a full disk */
    return_memory_early();
}

static int run(struct cli *cli) {
    struct daemon_config settings;
    struct config *config = NULL;
    struct coordinator *c = NULL;
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum sotto_status status;
    TRY(load(cli, &settings, &config, &err));
    setup_log(cli, &settings);
    setup_process();
    TRY(coordinator_open(&settings, &c, &err));
    say_address(cli, c);
    notify("READY=1");
    while (!stop_asked && status == SOTTO_OK) {
        status = coordinator_run_once(c, 1000, &err);
        notify("WATCHDOG=1");
        if (reload_asked)
            reload(cli);
    }
    notify("STOPPING=1");
    if (status == SOTTO_OK)
        LOG(LOG_INFO, "coordinator.stop", LS("reason", "told to"));
out:
    coordinator_close(c);
    config_free(config);
    return status == SOTTO_OK ? 0 : cli_fail(cli, &err);
}

static const struct cli_flag flags[] = {
    {"config", 'c', "FILE", false, "settings in YAML"},
    {"state", 's', "DIR", false, "the same as --set state=DIR"},
    CLI_FLAGS_END,
};
static const struct cli_command commands[] = {
    {"", "", 0, 0, flags, "Runs the coordinator in the foreground until it is told to stop.",
     "sottoctl init --state /var/lib/sotto\n"
     "sotto-coordinator --state /var/lib/sotto --set listen=tcp://0.0.0.0:7700\n",
     run},
    CLI_COMMANDS_END,
};

int main(int argc, char **argv) {
    static const struct cli_tool tool = {.name = "sotto-coordinator",
                                         .summary =
                                             "coordinates federated training of a fleet of devices",
                                         .section = "8",
                                         .commands = commands,
                                         .options = daemon_options};
    return cli_main(&tool, argc, argv);
}

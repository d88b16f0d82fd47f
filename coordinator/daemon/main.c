/* sotto-coordinator: the daemon's program. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sotto/config.h"
#include "sotto/coordinator/daemon.h"

static volatile sig_atomic_t stop_asked;

static void on_signal(int number) {
    (void)number;
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

static int run(struct cli *cli) {
    struct daemon_config settings;
    struct config *config = NULL;
    struct coordinator *c = NULL;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rlimit core = {0, 0};
    struct sigaction action = {.sa_handler = on_signal};
    const char *const *sets = NULL;
    size_t set_count = cli_flag_all(cli, "set", &sets);
    const char *all[72];
    char state[IO_PATH_MAX + 8];
    size_t n = 0;
    memset(&settings, 0, sizeof settings);
    for (size_t i = 0; i < set_count && n < 64; i++)
        all[n++] = sets[i];
    if (cli_flag(cli, "state")) {
        snprintf(state, sizeof state, "state=%s", cli_flag(cli, "state"));
        all[n++] = state;
    }
    enum sotto_status status;
    TRY(config_load(daemon_options, &settings, cli_flag(cli, "config"), all, n, &config, &err));
    log_setup((enum log_level)settings.log_level, (enum log_format)settings.log_format);
    prctl(PR_SET_DUMPABLE, 0); /* keys stay out of core dumps */
    setrlimit(RLIMIT_CORE, &core);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    TRY(coordinator_open(&settings, &c, &err));
    printf("listening on %s\n", coordinator_address(c));
    fflush(stdout);
    notify("READY=1");
    while (!stop_asked && status == SOTTO_OK) {
        status = coordinator_run_once(c, 1000, &err);
        notify("WATCHDOG=1");
    }
    notify("STOPPING=1");
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

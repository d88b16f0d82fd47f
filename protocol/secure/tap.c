/* The debug tap of test builds; the file is no part of any other. */
#include "sotto/protocol/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TAP_ID_MAX 32u

static const char *folder(void) {
    const char *dir = getenv("SOTTO_TAP_DIR");
    return dir && *dir ? dir : NULL;
}

void tap_values(const char *what, const uint8_t terms[WIRE_HASH], const void *id, size_t id_bytes,
                uint64_t first, const uint32_t *values, size_t count) {
    char hex[2 * WIRE_HASH + 1], name[2 * TAP_ID_MAX + 1], path[IO_PATH_MAX];
    if (!folder() || id_bytes > TAP_ID_MAX)
        return;
    snprintf(path, sizeof path, "%s/%s-%s-%s", folder(), what,
             num_format_hex(hex, terms, WIRE_HASH), num_format_hex(name, id, id_bytes));
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    const ssize_t put = pwrite(fd, values, count * sizeof *values, (off_t)(first * sizeof *values));
    (void)put; /* a test sees that the file is short */
    close(fd);
}

void tap_die(const char *who, unsigned exchange) {
    char one[16], two[64], path[IO_PATH_MAX];
    const char *wish = getenv("SOTTO_TAP_DIE");
    snprintf(one, sizeof one, "%u", exchange);
    snprintf(two, sizeof two, "%s:%u", who, exchange);
    if (!folder() || !wish || (strcmp(wish, one) != 0 && strcmp(wish, two) != 0))
        return;
    snprintf(path, sizeof path, "%s/died-%s-%u-%s", folder(), who, exchange,
             getenv("SOTTO_TAP_NAME") ? getenv("SOTTO_TAP_NAME") : "");
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return; /* it has died here before */
    close(fd);
    (void)raise(SIGKILL);
}

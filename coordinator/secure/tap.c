/* The debug tap of test builds; the file is no part of any other. */
#include "secure/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void secure_tap(const struct secagg_config *config, const uint8_t session[SECAGG_KEY],
                uint64_t first, const uint32_t *sum, size_t count) {
    char terms[2 * SECAGG_KEY + 1], id[2 * 8 + 1], path[IO_PATH_MAX];
    const char *dir = getenv("SOTTO_TAP_DIR");
    if (!dir || !*dir)
        return;
    snprintf(path, sizeof path, "%s/sum-%s-%s", dir,
             num_format_hex(terms, config->terms_hash, SECAGG_KEY), num_format_hex(id, session, 8));
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    ssize_t put = pwrite(fd, sum, count * sizeof *sum, (off_t)(first * sizeof *sum));
    (void)put; /* a test sees that the file is short */
    close(fd);
}

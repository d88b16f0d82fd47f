/* What tools print: tables for people, errors, and whole texts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_int.h"

bool cli_write(int fd, const struct buf *text) {
    size_t done = 0;
    if (text->status != SOTTO_OK)
        return false;
    while (done < text->len) {
        const ssize_t w = write(fd, text->data + done, text->len - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        done += (size_t)w;
    }
    return true;
}

bool cli_json(const struct cli *cli) {
    return cli->json;
}

bool cli_color(const struct cli *cli) {
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    if (cli_flag(cli, "no-color") != NULL || (no_color != NULL && no_color[0] != '\0') ||
        (term != NULL && strcmp(term, "dumb") == 0))
        return false;
    return isatty(STDOUT_FILENO) == 1;
}

int cli_fail(const struct cli *cli, const struct sotto_error *err) {
    /* Memory may be what is missing: the text is built on the stack. */
    uint8_t bytes[4096];
    struct buf out = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes};
    if (cli->json) {
        struct json j;
        json_init(&j, &out);
        json_object_begin(&j);
        json_key(&j, "error");
        json_object_begin(&j);
        json_put_str(&j, "tool", cli->tool->name);
        json_put_str(&j, "status", sotto_status_name(err->status));
        json_put_str(&j, "message", err->message);
        json_put_bool(&j, "retryable", sotto_status_retryable(err->status));
        json_object_end(&j);
        json_object_end(&j);
        buf_put_u8(&out, '\n');
    } else {
        buf_printf(&out, "%s: %s\n", cli->tool->name, err->message);
    }
    (void)cli_write(STDERR_FILENO, &out);
    return sotto_status_exit(err->status);
}

/* Columns that a UTF-8 text takes, one for each code point. */
static size_t width_of(const char *s) {
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void cli_table(struct buf *out, const char *const *heads, size_t columns, const char *const *cells,
               size_t rows) {
    for (size_t r = 0; r <= rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            const char *cell = r == 0 ? heads[c] : cells[(r - 1) * columns + c];
            buf_put(out, cell, strlen(cell));
            if (c + 1 == columns)
                break;
            size_t widest = width_of(heads[c]);
            for (size_t k = 0; k < rows; k++) {
                const size_t w = width_of(cells[k * columns + c]);
                widest = w > widest ? w : widest;
            }
            buf_printf(out, "%*s", (int)(widest - width_of(cell) + 2), "");
        }
        buf_put_u8(out, '\n');
    }
}

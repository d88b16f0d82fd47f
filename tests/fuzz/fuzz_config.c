/* Fuzzes the config reader: any bytes are refused or load, and what loads dumps to a text that
 * loads to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The dump of what the bytes mean, or false when they are refused. */
static bool dump_of(struct view text, struct buf *out) {
    struct sample_settings settings = {0};
    struct config *config = NULL;
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (config_parse(sample_table, &settings, "fuzz", text, NULL, 0, &config, &err) != SOTTO_OK) {
        if (err.message[0] == '\0')
            abort(); /* every refusal says why */
        return false;
    }
    settings.token = NULL; /* a secret is not dumped, so it cannot come back */
    config_dump(sample_table, &settings, out);
    config_free(config);
    return out->status == SOTTO_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf first, second;
    buf_init(&first, CONFIG_FILE_MAX);
    buf_init(&second, CONFIG_FILE_MAX);
    if (dump_of(view_of(data, size), &first)) {
        if (!dump_of(buf_view(&first), &second) || first.len != second.len ||
            memcmp(first.data, second.data, first.len) != 0)
            abort();
    }
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}

/* Requests at the control socket: whatever bytes come, arguments lie in the copy and are
 * terminated. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "daemon/control_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct control_request r;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf text;
    buf_init(&text, CONTROL_REQUEST_MAX + CONTROL_ARGS_MAX);
    if (control_parse(view_of(data, size), &text, &r, &err) == SOTTO_OK) {
        assert(r.argc >= 1 && r.argc <= CONTROL_ARGS_MAX);
        for (uint32_t i = 0; i < r.argc; i++) {
            assert(r.argv[i].p >= text.data && r.argv[i].p + r.argv[i].n < text.data + text.len);
            assert(r.argv[i].p[r.argv[i].n] == 0);
            assert(strlen(control_arg(&r, i)) <= r.argv[i].n);
        }
    } else {
        assert(err.message[0]);
    }
    assert(control_arg(&r, CONTROL_ARGS_MAX)[0] == '\0');
    buf_deinit(&text);
    return 0;
}

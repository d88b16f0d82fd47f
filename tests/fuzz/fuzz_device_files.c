/* Fuzzes the files kept beside a Vulkan device: their header and the self-test results. Half of the
 * inputs are a good file with bytes changed. */
#include <stdlib.h>
#include <string.h>

#include "vulkan/gpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct gpu_file_key key = {GPU_FILE_TESTS, 0x10005, 0, 1, {1, 2, 3}, 42};
    uint8_t good[KERN_OP_COUNT], tests[KERN_OP_COUNT];
    struct view file = view_of(data, size), payload;
    struct buf made;
    buf_init(&made, 4096);
    if (size > 0 && data[0] & 1) {
        memset(good, KERN_TEST_PASSED, sizeof(good));
        gpu_file_encode(&key, good, sizeof(good), &made);
        for (size_t i = 1; i + 1 < size; i += 2)
            made.data[data[i] % made.len] ^= data[i + 1];
        file = buf_view(&made);
    }
    enum sotto_status status = gpu_file_decode(file, &key, &payload, NULL);
    if (status == SOTTO_OK) {
        check(payload.n <= file.n && payload.p >= file.p);
        if (gpu_tests_decode(payload, tests, NULL) == SOTTO_OK)
            for (unsigned i = 0; i < KERN_OP_COUNT; i++)
                check(tests[i] <= KERN_TEST_FAILED);
    } else {
        check((status == SOTTO_CORRUPT || status == SOTTO_STATE) && !payload.p);
    }
    (void)gpu_tests_decode(view_of(data, size), tests, NULL);
    buf_deinit(&made);
    return 0;
}

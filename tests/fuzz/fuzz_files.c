/* Fuzzes files that owners and operators hand over: a device's policy, its conditions, and the
 * images of a distillation pool. First byte: which. */
#include <stdlib.h>
#include <string.h>

#include "advance/advance_int.h"
#include "agent/agent.h"
#include "lib/client_int.h"

#define FUZZ_TEXT_MAX  ((size_t)1 << 16)
#define FUZZ_POOL_MAX  5u
#define FUZZ_HEAD      16u
#define FUZZ_IMAGES    (FUZZ_HEAD + 255u)
#define FUZZ_NAME_SEEN "fuzz"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

/* A policy that is taken prints as a file that says the same. */
static void try_policy(struct view v) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct client_policy p, back;
    struct buf text, again;
    if (client_policy_parse(FUZZ_NAME_SEEN, v, &p, &err) != SOTTO_OK) {
        check(strncmp(err.message, FUZZ_NAME_SEEN ":", sizeof FUZZ_NAME_SEEN) == 0);
        return;
    }
    buf_init(&text, FUZZ_TEXT_MAX);
    buf_init(&again, FUZZ_TEXT_MAX);
    client_policy_print(&p, &text);
    check(client_policy_parse(FUZZ_NAME_SEEN, buf_view(&text), &back, &err) == SOTTO_OK);
    client_policy_print(&back, &again);
    check(text.len == again.len && memcmp(text.data, again.data, text.len) == 0);
    buf_deinit(&text);
    buf_deinit(&again);
}

static void try_conditions(struct view v) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client_conditions c = {.battery_percent = -1};
    if (agent_conditions_parse(FUZZ_NAME_SEEN, v, &c, &err) != SOTTO_OK)
        check(strncmp(err.message, FUZZ_NAME_SEEN ":", sizeof FUZZ_NAME_SEEN) == 0);
    check(c.battery_percent >= -1 && c.battery_percent <= 100);
}

static void pool(struct view v) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    dataset_init(&d);
    if (task_data_parse_pool(v, FUZZ_NAME_SEEN, FUZZ_POOL_MAX, &d, &err) == SOTTO_OK) {
        const size_t n = d.count * data_schema_example_bytes(&d.schema);
        check(d.count >= 1 && d.count <= FUZZ_POOL_MAX);
        check(n <= v.n - FUZZ_HEAD && memcmp(d.x, v.p + FUZZ_HEAD, n) == 0);
    }
    dataset_deinit(&d);
}

/* As it is, and behind a head that is right in its first bytes: count, height, width of one byte
 * each. */
static void try_pool(struct view v) {
    uint8_t file[FUZZ_IMAGES] = {0, 0, 8, 3};
    pool(v);
    if (v.n < 3)
        return;
    for (size_t i = 0; i < 3; i++)
        file[7 + 4 * i] = v.p[i];
    const size_t n = num_min_u64(v.n - 3, sizeof file - FUZZ_HEAD);
    memcpy(file + FUZZ_HEAD, v.p + 3, n);
    pool(view_of(file, FUZZ_HEAD + n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const struct view v = view_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        try_policy(v);
        break;
    case 1:
        try_conditions(v);
        break;
    default:
        try_pool(v);
    }
    return 0;
}

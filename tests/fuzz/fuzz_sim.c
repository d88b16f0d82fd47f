/* Fuzzes the simulator's files: traces and classes of devices, tables of runs, and checkpoints,
 * whose hash is made right. First byte: which. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "fleet.h"
#include "journal.h"
#include "runs.h"

#define HASH_LABEL "sotto sim checkpoint v1"
#define MAGIC      "sotto-sim checkpoint"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static char *text_of(struct view v) {
    char *text = mem_array(v.n + 1, 1);
    check(text != NULL);
    if (v.n > 0)
        memcpy(text, v.p, v.n);
    return text;
}

static void try_trace(struct view v) {
    struct fleet f = {.period_ms = 86400000};
    char *text = text_of(v);
    if (fleet_trace_parse(&f, text, "fuzz", NULL) == SOTTO_OK) {
        check(f.users > 0 && f.first[0] == 0 && f.first[f.users] > 0);
        for (uint32_t u = 0; u < f.users; u++) {
            uint64_t t = 0, begin, end;
            check(f.first[u] < f.first[u + 1]);
            for (int i = 0; i < 8; i++) {
                fleet_trace_window(&f, u, t, &begin, &end);
                check(end > t && end > begin);
                if (end == UINT64_MAX)
                    break;
                t = end;
            }
        }
    }
    fleet_deinit(&f);
    mem_free(text);
}

static void try_classes(struct view v) {
    struct fleet f = {.period_ms = 1000};
    char *text = text_of(v);
    if (fleet_classes_parse(&f, text, "fuzz", NULL) == SOTTO_OK)
        check(f.class_count > 0 && f.class_count <= FLEET_CLASSES_MAX);
    fleet_deinit(&f);
    mem_free(text);
}

static void try_table(struct view v) {
    struct run_data r;
    char *text = text_of(v);
    memset(&r, 0, sizeof r);
    if (runs_table(text, "fuzz", &r, NULL) == SOTTO_OK)
        for (size_t i = 1; i < r.count; i++)
            check(r.column[RUNS_ROUND][i] >= r.column[RUNS_ROUND][i - 1]);
    run_data_deinit(&r);
    mem_free(text);
}

static void try_checkpoint(struct view v) {
    struct checkpoint c;
    struct buf b;
    buf_init(&b, (size_t)4 << 20);
    buf_put(&b, MAGIC, sizeof MAGIC);
    if (v.n > 0)
        buf_put(&b, v.p, v.n);
    const struct wire_hash hash = wire_hash_of(HASH_LABEL, buf_view(&b));
    buf_put(&b, hash.b, WIRE_HASH);
    check(b.status == SOTTO_OK);
    if (checkpoint_parse(buf_view(&b), &c, NULL) == SOTTO_OK)
        check(c.master.n == c.head.parameters * sizeof(float));
    b.data[b.len - 1] ^= 1;
    check(checkpoint_parse(buf_view(&b), &c, NULL) != SOTTO_OK);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint32_t rounds;
    if (size == 0 || size > ((size_t)1 << 20))
        return 0;
    const struct view v = view_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        try_trace(v);
        break;
    case 1:
        try_classes(v);
        break;
    case 2:
        try_table(v);
        break;
    case 3:
        try_checkpoint(v);
        break;
    default:
        (void)journal_check(v, &rounds, NULL);
    }
    return 0;
}

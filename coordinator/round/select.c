/* Cohort sampling and come-back times: pure functions of seed, round, serial and time. */
#include "round/round_int.h"

#include <stdlib.h>
#include <string.h>

struct rank {
    uint64_t rank, serial;
};

static struct rank rank_of(uint64_t seed, uint32_t round, uint64_t serial) {
    struct rng r;
    rng_init(&r, seed, round, serial, RNG_SELECT);
    return (struct rank){rng_u64(&r), serial};
}

static bool rank_above(struct rank a, struct rank b) {
    return a.rank != b.rank ? a.rank > b.rank : a.serial > b.serial;
}

/* Restores the heap (largest rank at the top) below position i. Ranks are computed again rather
 * than kept: few are needed, and the function stays free of allocation. */
static void sift_down(uint64_t seed, uint32_t round, uint64_t *heap, uint32_t n, uint32_t i) {
    struct rank moving = rank_of(seed, round, heap[i]);
    for (;;) {
        uint64_t child = 2 * (uint64_t)i + 1;
        if (child >= n)
            break;
        struct rank largest = rank_of(seed, round, heap[child]);
        if (child + 1 < n) {
            struct rank right = rank_of(seed, round, heap[child + 1]);
            if (rank_above(right, largest)) {
                largest = right;
                child++;
            }
        }
        if (!rank_above(largest, moving))
            break;
        heap[i] = largest.serial;
        i = (uint32_t)child;
    }
    heap[i] = moving.serial;
}

static int compare_serials(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

void round_select(uint64_t seed, uint32_t round, const uint64_t *serials, uint32_t count,
                  uint32_t wanted, uint64_t *out) {
    if (wanted > count)
        wanted = count;
    if (wanted == 0)
        return;
    memcpy(out, serials, (size_t)wanted * sizeof *out);
    if (wanted < count) {
        for (uint32_t i = wanted / 2; i-- > 0;)
            sift_down(seed, round, out, wanted, i);
        struct rank top = rank_of(seed, round, out[0]);
        for (uint32_t i = wanted; i < count; i++) {
            if (!rank_above(top, rank_of(seed, round, serials[i])))
                continue;
            out[0] = serials[i];
            sift_down(seed, round, out, wanted, 0);
            top = rank_of(seed, round, out[0]);
        }
    }
    qsort(out, wanted, sizeof *out, compare_serials);
}

/* A fleet of idle devices that comes back every pace makes device_count / pace check-ins a second.
 */
uint64_t round_pace_ms(const struct round_engine *e) {
    uint64_t most = e->config->checkins_per_s_max;
    uint64_t needed = most ? (uint64_t)e->device_count * 1000 / most : 0;
    return num_max_u64(e->config->pace_ms, needed);
}

/* base_ms spread over [3/4, 5/4): devices that were turned away together do not come back together.
 */
uint64_t round_after_ms(const struct round_engine *e, uint64_t serial, uint64_t base_ms) {
    uint64_t seed = e->config->seed;
    uint32_t ctr[4] = {(uint32_t)serial, (uint32_t)(serial >> 32), (uint32_t)e->now_ms,
                       (uint32_t)(e->now_ms >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t word[4];
    rng_philox4x32(ctr, key, word);
    uint64_t base = num_min_u64(num_max_u64(base_ms, 1), WIRE_DURATION_MAX_MS / 2);
    return base - base / 4 + (uint64_t)(((double)word[0] / 4294967296.0) * (double)base / 2.0);
}

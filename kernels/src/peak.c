/* The machine's fp32 multiply-add peak of one core, measured once, for roofline reports. */
#include <pthread.h>

#include "sotto/base/clock.h"

#include "kern_int.h"

typedef float lanes __attribute__((vector_size(32)));

/* Twelve independent chains of 8 lanes: enough to hide the latency, few enough to stay in
 * registers. Named one by one, because gcc keeps an array of them in memory. */
#define CHAINS         12
#define EACH_CHAIN(X)  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CHAIN_INIT(i)  lanes acc##i = (lanes){0} + (*sink + (float)(i));
#define CHAIN_ADD(i)   sum += acc##i;
#define CHAIN_PLAIN(i) acc##i = acc##i * a + b;
#define CHAIN_FMA(i)   acc##i = _mm256_fmadd_ps(acc##i, a, b);

#define PEAK_LOOP(name, target, step)                                                              \
    target static void name(float *sink, unsigned long rounds) {                                   \
        EACH_CHAIN(CHAIN_INIT)                                                                     \
        lanes a = (lanes){0} + 0.999999f, b = (lanes){0} + 1e-6f, sum = (lanes){0};                \
        for (unsigned long r = 0; r < rounds; r += 4) {                                            \
            EACH_CHAIN(step)                                                                       \
            EACH_CHAIN(step)                                                                       \
            EACH_CHAIN(step)                                                                       \
            EACH_CHAIN(step)                                                                       \
        }                                                                                          \
        EACH_CHAIN(CHAIN_ADD)                                                                      \
        *sink = sum[0];                                                                            \
    }

PEAK_LOOP(loop_plain, , CHAIN_PLAIN)

#if defined(__x86_64__)
#include <immintrin.h>
PEAK_LOOP(loop_avx2, __attribute__((target("avx2,fma"))), CHAIN_FMA)
#endif

static double peak;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void measure(void) {
    void (*loop)(float *, unsigned long) = loop_plain;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        loop = loop_avx2;
#endif
    const unsigned long rounds = 100000;
    volatile float seed = 0.5f; /* unknown to the compiler: it would merge equal chains */
    float sink = seed;
    uint64_t best = UINT64_MAX;
    loop(&sink, rounds); /* wakes the clock up */
    /* The fastest of some short spans (CPU time): what the core can do, not what its neighbours
     * left of it. */
    for (unsigned i = 0; i < 40; i++) {
        uint64_t start = clock_thread_cpu_ns();
        loop(&sink, rounds);
        uint64_t ns = clock_thread_cpu_ns() - start;
        if (ns && ns < best)
            best = ns;
    }
    peak = 2.0 * 8 * CHAINS * (double)rounds / ((double)best * 1e-9);
}

double kern_peak_flops(void) {
    pthread_once(&once, measure);
    return peak;
}

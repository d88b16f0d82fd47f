/* Small programs made by hand: what the tests of the kernels share. */
#ifndef SOTTO_TESTS_KERNELS_HARNESS_H
#define SOTTO_TESTS_KERNELS_HARNESS_H

#include "support.h"

#include "sotto/kernels.h"

#define HARNESS_BUFFERS 160
#define HARNESS_INSTRS  64

/* How many random cases of n are drawn: fewer where an emulator runs them, three times over. */
#ifdef SOTTO_EMULATED
#define HARNESS_CASES(n) ((n) / 6)
#else
#define HARNESS_CASES(n) (n)
#endif

/* A program under construction, with the values that its buffers start with. */
struct harness {
    struct kern_program p;
    struct kern_buffer buffers[HARNESS_BUFFERS];
    struct kern_instr instrs[HARNESS_INSTRS];
    void *start[HARNESS_BUFFERS];  /* bytes put in before a run, or NULL */
    void *result[HARNESS_BUFFERS]; /* bytes after harness_run */
    struct kern_step step;
    double metrics[KERN_METRIC_COUNT];
    struct rng rng;
};

/* An empty program of the given batch with its compulsory input, logits and metric buffers. */
void harness_init(struct harness *h, uint64_t seed, uint32_t batch);
void harness_deinit(struct harness *h);
/* A buffer of count elements; float values start uniform in [-1, 1], others 0. */
uint32_t harness_buffer(struct harness *h, enum kern_dtype dtype, enum kern_role role,
                        uint32_t count);
uint32_t harness_f32(struct harness *h, uint32_t count);   /* TEMP, random */
float *harness_values(struct harness *h, uint32_t buffer); /* start values, to change */
const float *harness_result(const struct harness *h, uint32_t buffer);
/* Random integers in an i8 buffer: all of [-128, 127], or the two ends only. */
void harness_bytes(struct harness *h, uint32_t buffer, bool ends);
/* Sets a share of the start values to 0. */
void harness_thin(struct harness *h, uint32_t buffer, double share);
/* Makes all start values their absolute values. */
void harness_abs(struct harness *h, uint32_t buffer);
struct kern_instr *harness_instr(struct harness *h, enum kern_op op, const uint32_t *args,
                                 unsigned count);
/* The backend under test: SOTTO_TEST_BACKEND, or "cpu". */
const char *harness_backend(void);
/* Runs the program once on the backend; all buffers' contents land in result. */
void harness_run(struct harness *h, const char *backend);

/* Uniform in [lo, hi]. */
uint32_t harness_pick(struct harness *h, uint32_t lo, uint32_t hi);

#endif

/* Local training, evaluation and ensemble distillation: the loops around step programs. */
#ifndef SOTTO_MODEL_TRAIN_H
#define SOTTO_MODEL_TRAIN_H

#include "sotto/model/data.h"
#include "sotto/model/graph.h"
#include "sotto/model/package.h"

/* What a strategy asks of local training beside the optimizer's settings. */
enum train_algorithm {
    TRAIN_SGD = 0,
    TRAIN_NOVA = 1,     /* SGD whose update is divided by train_normalizer (FedNova) */
    TRAIN_SCAFFOLD = 2, /* SGD with a drift: see trainer_drift */
};
/* The local rule of a plan's terms: all that decides what local training computes. */
struct train_rule {
    uint32_t epochs;       /* passes over the examples; >= 1 */
    uint32_t batch;        /* 0: all examples in one batch */
    uint32_t steps_max;    /* 0: no limit */
    uint32_t examples_max; /* use at most so many, drawn by the stream; 0: all */
    float lr, momentum, weight_decay, prox_mu, clip_norm;
    bool nesterov;
    enum train_algorithm algorithm;
};
#define TRAIN_RULE_INIT                                                                            \
    { 1, 10, 0, 0, 0.1f, 0, 0, 0, 0, false, TRAIN_SGD }
enum sotto_status train_rule_check(const struct train_rule *r, struct sotto_error *err);
/* FedNova's |a|_1 (Wang et al. 2020, arXiv:2007.07481, equation 5): how far, in units of lr times
 * the gradient, so many steps of this rule move the weights when the gradient stays the same.
 * steps without momentum and proximal term. */
double train_normalizer(const struct train_rule *r, uint64_t steps);
/* The options of the rule's training program; batch: rows of a step. */
struct graph_options train_options(const struct train_rule *r, uint32_t batch);

/* Keys of the random streams: shuffling and dropout depend on these and nothing else. */
struct train_stream {
    uint64_t seed;
    uint32_t round;
    uint64_t serial;
};
struct train_metrics {
    double loss; /* summed over examples seen while training (or evaluating) */
    uint64_t correct, seen, steps;
};

/* A trainer holds the compiled programs of one graph and rule on one backend; it is reused for many
 * clients and rounds, and allocates only in new and begin (when a client has more examples than any
 * before). One thread at a time. */
struct trainer;
enum sotto_status
trainer_new(const struct graph *g, const struct train_rule *rule,
            uint32_t batch_max, /* rows for rule.batch 0 (full batch); ignored otherwise */
            const struct kern_backend *backend, struct trainer **out, struct sotto_error *err);
/* Trainers that share one program on a device: each is a lane (at most KERN_LANES_MAX), and what
 * they advance at the same time, each in a thread of its own, runs in grouped launches. A trainer
 * computes the same bits as alone. The graph must outlive the group, the group its trainers. A lost
 * device loses no step of any of them. */
struct train_group;
enum sotto_status train_group_new(const struct graph *g, const struct train_rule *rule,
                                  uint32_t batch_max, const struct kern_backend *backend,
                                  uint32_t lanes, struct train_group **out,
                                  struct sotto_error *err);
void train_group_free(struct train_group *group);
/* FULL when every lane has a trainer. Used and freed like any other. */
enum sotto_status trainer_new_grouped(struct train_group *group, struct trainer **out,
                                      struct sotto_error *err);
/* What a trainer that is not in a group will take until it begins, without taking it. See
 * kern_exec_plan. */
enum sotto_status trainer_plan(const struct graph *g, const struct train_rule *rule,
                               uint32_t batch_max, const struct kern_backend *backend,
                               uint64_t *bytes, struct sotto_error *err);
void trainer_free(struct trainer *t);
uint64_t trainer_bytes(const struct trainer *t);

/* Starts: copies params (the round's global weights), draws the example order. examples are
 * borrowed until finish. */
enum sotto_status trainer_begin(struct trainer *t, const float *params,
                                const struct examples *examples, const struct train_stream *stream,
                                struct sotto_error *err);
/* The same from a package of the trainer's graph, opened or decoded: its weights are unpacked
 * straight to where the program trains them. */
enum sotto_status trainer_begin_package(struct trainer *t, const struct package *p,
                                        const struct examples *examples,
                                        const struct train_stream *stream, struct sotto_error *err);
/* TRAIN_SCAFFOLD: what is added to the weights after each step, layout.total values: lr (c_i - c)
 * (Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1: y - lr (g - c_i + c)). Between begin and
 * the first step, which refuses (STATE) without it; also before resume. */
void trainer_drift(struct trainer *t, const float *drift);
/* Runs at most steps_max steps (0: all that are left). *done when nothing is left. */
enum sotto_status trainer_advance(struct trainer *t, uint32_t steps_max, bool *done,
                                  struct sotto_error *err);
uint32_t trainer_steps_total(const struct trainer *t);
uint32_t trainer_steps_done(const struct trainer *t);
/* Copies the trained weights out (layout.total values) and the metrics; either may be NULL. */
void trainer_finish(struct trainer *t, float *params, struct train_metrics *metrics);
/* A checkpoint in the middle of training: append to out / continue from it after the same begin.
 * The result has the same bits as an undisturbed run. */
void trainer_save(const struct trainer *t, struct buf *out);
enum sotto_status trainer_resume(struct trainer *t, struct view saved, struct sotto_error *err);
/* Seconds per instruction of the trainer's program: see kern_exec_profile. A group's count once:
 * they are those of the trainer of its first lane, others have NULL. */
void trainer_profile(struct trainer *t, bool on);
const double *trainer_seconds(struct trainer *t);
struct kern_exec *trainer_exec(struct trainer *t);
const struct kern_program *trainer_program(const struct trainer *t);

/* Evaluation with a program compiled once. */
struct evaluator;
enum sotto_status evaluator_new(const struct graph *g, uint32_t batch,
                                const struct kern_backend *backend, struct evaluator **out,
                                struct sotto_error *err);
/* The same with dense layers in another precision. GRAPH_W8 takes its weights from opened packages
 * of PACKAGE_I8 alone: its dense weights are never anything but their int8 codes. */
enum sotto_status evaluator_new_precision(const struct graph *g, uint32_t batch,
                                          enum graph_precision precision,
                                          const struct kern_backend *backend,
                                          struct evaluator **out, struct sotto_error *err);
/* The options of that program: its arena stands in the compiled one before it is taken. */
struct graph_options evaluator_options(uint32_t batch, enum graph_precision precision);
/* Takes the weights of a package of the evaluator's graph, unpacked straight to where the program
 * reads them; it may go afterwards. Calls below then take NULL for params and use them, until other
 * params are given. */
enum sotto_status evaluator_load(struct evaluator *e, const struct package *p,
                                 struct sotto_error *err);
uint64_t evaluator_bytes(const struct evaluator *e); /* arena, scratch and itself */
struct kern_exec *evaluator_exec(struct evaluator *e);
const struct kern_program *evaluator_program(const struct evaluator *e);
void evaluator_free(struct evaluator *e);
/* Summed loss, correct and seen over the examples. STATE when params is NULL and no package is
 * loaded, or when weights can only come from packages. */
enum sotto_status evaluator_run(struct evaluator *e, const float *params,
                                const struct examples *examples, struct train_metrics *out,
                                struct sotto_error *err);
/* Class probabilities at temperature, count * classes values into out. */
enum sotto_status evaluator_predict(struct evaluator *e, const float *params,
                                    const struct examples *examples, float temperature, float *out,
                                    struct sotto_error *err);
/* Logits, count * classes values into out. */
enum sotto_status evaluator_logits(struct evaluator *e, const float *params,
                                   const struct examples *examples, float *out,
                                   struct sotto_error *err);

/* Ensemble distillation (Lin et al. 2020, FedDF, arXiv:2006.07242, algorithm 1): the student,
 * starting from the plain average, is trained on the pool to match the mean of the teachers'
 * softened predictions. */
struct distill_config {
    uint32_t steps, batch;
    float lr, momentum, temperature;
    uint64_t seed;
    uint32_t round;
};
#define DISTILL_CONFIG_INIT                                                                        \
    { 200, 32, 0.05f, 0.9f, 1.0f, 0, 0 }
typedef bool distill_progress(void *ctx, uint32_t step, uint32_t steps,
                              double loss); /* false: stop (CANCELLED) */
/* teachers: teacher_count pointers to layout.total weights. student: in: plain average, out:
 * distilled. */
enum sotto_status distill_run(const struct graph *g, const struct distill_config *config,
                              const float *const *teachers, uint32_t teacher_count,
                              const struct examples *pool, const struct kern_backend *backend,
                              float *student, distill_progress *progress, void *ctx,
                              struct sotto_error *err);

#endif

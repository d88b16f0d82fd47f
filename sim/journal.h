/* Private to sim/: what came into a run from outside its virtual world (outcomes of trainings and
 * checks, sizes of deltas, server steps), in the order in which it came. A run that reads its
 * journal instead of working goes the same way as the one that wrote it, at the speed of its
 * messages: that is how a checkpoint brings back clients in the middle of their work. */
#ifndef SOTTO_SIM_JOURNAL_H
#define SOTTO_SIM_JOURNAL_H

#include "sotto/base.h"

#define SIM_JOURNAL_MAX ((size_t)1 << 30)

struct sim;
struct sim_job;
struct sim_round_result;

enum sim_journal_mode { SIM_JOURNAL_OFF = 0, SIM_JOURNAL_WRITE, SIM_JOURNAL_READ };
struct sim_journal {
    enum sim_journal_mode mode;
    struct buf bytes;
    struct reader in; /* of bytes, while it is read */
};

/* The outcome of a job that the host has waited for: noted, or (READ) filled from the note.
 * CORRUPT: the run goes another way than its journal. */
enum sotto_status journal_job(struct sim *s, struct sim_job *j, struct sotto_error *err);
/* The end of a round, and the version that it published. */
void journal_round(struct sim *s);
/* READ: fills what the server step and the clocks gave of the round that ends now, and publishes
 * the version's facts. CORRUPT. */
enum sotto_status journal_round_again(struct sim *s, struct sotto_error *err);
static inline bool journal_reads(const struct sim_journal *j) {
    return j->mode == SIM_JOURNAL_READ;
}
/* Whether bytes are a journal of whole records that ends with a round; how many. */
enum sotto_status journal_check(struct view bytes, uint32_t *rounds, struct sotto_error *err);

#endif

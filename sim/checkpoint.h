/* Private to sim/: a run's state between two rounds in one file, checked by a hash. It holds the
 * journal of the rounds made and what a run that reads the journal does not make itself: the
 * model, the strategy's state, packages that deltas start from, and of clients at work the weights
 * that they train from and what their reports took out of their residuals. */
#ifndef SOTTO_SIM_CHECKPOINT_H
#define SOTTO_SIM_CHECKPOINT_H

#include "sotto/base.h"
#include "sotto/protocol.h"

#define CHECKPOINT_FILE      "run.checkpoint"
#define CHECKPOINT_RESIDUALS "run.residuals"
#define CHECKPOINT_BYTES_MAX ((size_t)3 << 30)
#define CHECKPOINT_LISTED    (1u << 24) /* packages, versions or clients, at most */

struct sim;

/* What must be the same for a run to go on. */
struct checkpoint_head {
    char config_hash[2 * WIRE_HASH + 1];
    char version[40], kernel_set[64];
    uint32_t clients, parameters;
};
/* A file's parts, borrowed from it. */
struct checkpoint {
    struct checkpoint_head head;
    uint32_t rounds; /* of all kinds */
    struct view journal, master, state;
    uint32_t package_count, version_count, mass_count;
    struct view packages, versions, masses; /* lists, walked with a reader */
    struct view residuals;
};
/* Reads and checks all of a file. CORRUPT, VERSION. */
enum sotto_status checkpoint_parse(struct view file, struct checkpoint *out,
                                   struct sotto_error *err);
/* Whether a run with head `want` may go on from it. STATE says what differs. */
enum sotto_status checkpoint_fits(const struct checkpoint *c, const struct checkpoint_head *want,
                                  struct sotto_error *err);

/* Between two rounds, when one is due: writes the file. */
enum sotto_status checkpoint_tick(struct sim *s, struct sotto_error *err);
/* Whether a file could be written now. */
enum sotto_status checkpoint_write(struct sim *s, struct sotto_error *err);
/* At the start: reads the file, when there is one, and sets the journal to be read. */
enum sotto_status checkpoint_open(struct sim *s, struct sotto_error *err);
/* Once the journal is read to its end: puts back the rest, and the run works from here on. */
enum sotto_status checkpoint_restore(struct sim *s, struct sotto_error *err);
/* A run that has ended needs none. */
void checkpoint_remove(struct sim *s);

#endif

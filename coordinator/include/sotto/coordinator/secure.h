/* The coordinator's side of one secure group: messages by kind into secagg's server, and the sum of
 * the survivors' masked inputs, block by block. I/O-free: the daemon and the simulator give it
 * stored messages and read the inputs for it. */
#ifndef SOTTO_COORDINATOR_SECURE_H
#define SOTTO_COORDINATOR_SECURE_H

#include "sotto/coordinator/aggregate.h"
#include "sotto/protocol/masked.h"
#include "sotto/secagg.h"

/* A client's message of a kind that closes an exchange (SECAGG_ADVERTISE, _SHARES, _MASKED,
 * _SIGNATURE, _UNMASK). message: all of it; of SECAGG_MASKED the first SECAGG_MASKED_HEAD bytes.
 * bytes: its whole length. *taken: the session holds it now, so the host stores it before it says
 * so; also of an answer some of whose shares are bad (then CORRUPT). Errors as secagg's. */
enum sotto_status secure_take(struct secagg_server *s, enum secagg_kind kind, uint64_t serial,
                              struct view message, uint64_t bytes, bool *taken,
                              struct sotto_error *err);
/* What the server says in the exchange after the closed one: SECAGG_LIST after ADVERTISE and so on;
 * 0 after the last. */
enum secagg_kind secure_shown_after(enum secagg_kind closed);

/* Reads the packed coordinates of a survivor's masked input: bytes from offset on, not counting the
 * head. Called from several threads at once. */
struct secure_source {
    void *ctx;
    enum sotto_status (*read)(void *ctx, uint64_t serial, uint64_t offset, void *out, size_t bytes,
                              struct sotto_error *err);
};
/* After SECAGG_UNMASK was closed: opens the secrets, adds the survivors' inputs, takes the masks
 * off and decodes the sum: all in blocks of MASKED_BLOCK coordinates over `threads` threads (0: one
 * a core), each with memory for one block beside out's accumulator. out is init'ed here, and
 * deinit'ed again after an error. CHECK: secrets that cannot be opened; CORRUPT: a sum that no
 * honest group can have; the source's errors. */
enum sotto_status secure_sum(struct secagg_server *s, const struct secagg_config *config,
                             const struct masked_plan *plan, const struct codec_spec *spec,
                             const struct secure_source *source, unsigned threads,
                             struct group_sums *out, struct sotto_error *err);

#endif

/* Private to sim/: how the examples of one data set are dealt out to virtual clients. */
#ifndef SOTTO_SIM_PARTITION_H
#define SOTTO_SIM_PARTITION_H

#include "sotto/model/data.h"

#define PARTITION_CLIENTS_MAX (1u << 24)
#define PARTITION_NOBODY      UINT32_MAX /* an example that no client gets */

/* Client c has the examples index[start[c]] .. index[start[c + 1] - 1], ascending by position in
 * the data set; start has client_count + 1 entries. No example has two clients. */
struct partition {
    uint32_t client_count;
    uint32_t *start;
    uint32_t *index;
};

/* Options of all schemes; each reads the ones that its row in the registry names. Start from
 * partition_defaults. */
struct partition_config {
    uint32_t clients;
    uint32_t shards; /* of each client */
    uint32_t keys;   /* natural keys of each client */
    uint32_t size_min;
    uint32_t classes; /* of each client */
    double alpha;
};

enum partition_option_type { PARTITION_U32, PARTITION_F64 };
struct partition_option {
    const char *name; /* "alpha" */
    enum partition_option_type type;
    size_t offset; /* in struct partition_config */
    double min, max, initial;
    const char *help;
};

/* What a scheme works on. It fills owner[i], the client of example i, for all d->count examples
 * (they start as PARTITION_NOBODY), and client_count if that is not config->clients. */
struct partition_work {
    const struct dataset *d;
    const struct partition_config *config;
    uint64_t seed;
    uint32_t client_count;
    uint32_t *owner;
    uint32_t *order; /* scratch, d->count values: 0, 1, 2, ... at first */
    double *share;   /* scratch, config->clients values */
};

struct partition_scheme {
    const char *name;
    const char *summary;
    const struct partition_option *const *options; /* ends with NULL */
    enum sotto_status (*assign)(struct partition_work *w, struct sotto_error *err);
};
/* The registry: one row a scheme. */
const struct partition_scheme *partition_schemes(size_t *count);
/* NULL when there is none of that name. */
const struct partition_scheme *partition_find(const char *name);
/* The initial values of the scheme's options; all others become 0. */
void partition_defaults(struct partition_config *config, const struct partition_scheme *scheme);
/* Sets one option of the scheme from text. INVALID: the scheme has no such option, or the value is
 * out of range; the message says what is allowed. */
enum sotto_status partition_set(struct partition_config *config,
                                const struct partition_scheme *scheme, const char *option,
                                const char *value, struct sotto_error *err);

/* Deals out d. The result depends on the arguments only. INVALID says what does not fit (more
 * clients than examples, no labels, no keys). The caller frees with partition_deinit, also after an
 * error. */
enum sotto_status partition_build(struct partition *out, const struct dataset *d,
                                  const struct partition_scheme *scheme,
                                  const struct partition_config *config, uint64_t seed,
                                  struct sotto_error *err);
void partition_deinit(struct partition *p);
/* The client's examples, borrowed from both. */
struct examples partition_client(const struct partition *p, const struct dataset *d,
                                 uint32_t client);

#endif

/* libsotto-client: federated learning in an app. This header is the library's whole interface (C17
 * and C++17).
 *
 * The library starts no thread and does nothing behind the app's back: everything happens inside
 * sotto_client_poll, on the thread that calls it, in slices of at most about slice_ms. One client
 * object is used by one thread at a time. */
#ifndef SOTTO_CLIENT_H
#define SOTTO_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(SOTTO_CLIENT_BUILD)
#define SOTTO_API __attribute__((visibility("default")))
#else
#define SOTTO_API
#endif

typedef struct sotto_client sotto_client;

/* Results: 0 is success, the others are the values of sotto_client_status_text. */
SOTTO_API const char *sotto_client_status_text(int status);
SOTTO_API const char *sotto_client_version(void);

typedef struct sotto_client_config {
    size_t size; /* sizeof(sotto_client_config): lets the struct grow */
    const char
        *state_dir; /* private folder: identity, example store, residuals; made with mode 0700 */
    const char *policy_file; /* YAML-free "key value" lines, see sotto-client(8); NULL:
                                <state_dir>/policy or defaults */
    const char *backend; /* "cpu", "vulkan"; NULL: the policy's, else the fastest, measured once */
    const char *tier;    /* NULL: default */
    uint32_t slice_ms;   /* longest stretch of computing inside one poll; 0: 100 */
    void (*log)(void *ctx, const char *line); /* NULL: silent */
    void *log_ctx;
} sotto_client_config;

/* Opens (and if need be makes) the state folder. One process at a time. On failure *message (256
 * bytes, may be NULL) says why. */
SOTTO_API int sotto_client_open(const sotto_client_config *config, sotto_client **out,
                                char *message);
SOTTO_API void sotto_client_close(sotto_client *c);
/* The reason of the last call that failed. */
SOTTO_API const char *sotto_client_error(const sotto_client *c);

/* Takes a token ("sotto1:...") once; poll then enrols. A client that is enrolled already refuses
 * another fleet's token. */
SOTTO_API int sotto_client_enroll(sotto_client *c, const char *token);
SOTTO_API bool sotto_client_enrolled(const sotto_client *c);
/* Takes a newer coordinator document by hand. */
SOTTO_API int sotto_client_document(sotto_client *c, const void *bytes, size_t size);

/* Example store: a collection has one schema. dtype 0: bytes, 1: float32; dims without the batch,
 * channels last. */
SOTTO_API int sotto_client_collection(sotto_client *c, const char *name, int dtype, uint32_t rank,
                                      const uint32_t *dims, uint32_t classes, float scale,
                                      float shift);
SOTTO_API int sotto_client_add_example(sotto_client *c, const char *collection, const void *values,
                                       size_t size, int32_t label);
SOTTO_API int sotto_client_begin(sotto_client *c); /* many adds in one transaction */
SOTTO_API int sotto_client_commit(sotto_client *c);
SOTTO_API int64_t sotto_client_example_count(sotto_client *c, const char *collection);

/* What the app knows of the device; policy decides what they allow. Unknown values: leave the
 * defaults (all true). */
typedef struct sotto_client_conditions {
    bool charging, idle, unmetered, online;
    int battery_percent; /* -1: unknown */
} sotto_client_conditions;
SOTTO_API void sotto_client_conditions_set(sotto_client *c, const sotto_client_conditions *now);

typedef enum sotto_client_phase {
    SOTTO_CLIENT_IDLE,
    SOTTO_CLIENT_ENROLLING,
    SOTTO_CLIENT_CHECKING_IN,
    SOTTO_CLIENT_FETCHING,
    SOTTO_CLIENT_TRAINING,
    SOTTO_CLIENT_SENDING,
    SOTTO_CLIENT_WAITING
} sotto_client_phase;
typedef struct sotto_client_state {
    size_t size;
    sotto_client_phase phase;
    uint64_t serial;
    uint64_t next_ms;     /* poll again within this time at the latest */
    uint32_t rounds_done; /* reports acknowledged so far */
    char task[64];
    uint32_t round;
    uint32_t permille;             /* of the phase */
    uint64_t bytes_up, bytes_down; /* since open */
    char note[160];                /* last reason: why idle, why declined */
} sotto_client_state;
SOTTO_API void sotto_client_state_get(const sotto_client *c, sotto_client_state *out);

/* Does what is due: network, then at most one slice of training. Waits up to timeout_ms for
 * something to do (0: never). */
SOTTO_API int sotto_client_poll(sotto_client *c, int timeout_ms);

/* The current model, dequantized, with predictions on the device: class probabilities into out
 * (classes values). */
SOTTO_API int sotto_client_predict(sotto_client *c, const char *task, const void *values,
                                   size_t size, float *out, uint32_t classes);

/* Wipes examples, residuals and reports; identity, last rounds and counters stay. */
SOTTO_API int sotto_client_forget(sotto_client *c);

#ifdef __cplusplus
}
#endif
#endif

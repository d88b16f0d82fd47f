/* The agent's command line and commands: what its files share. */
#ifndef SOTTO_CLIENT_AGENT_H
#define SOTTO_CLIENT_AGENT_H

#include "sotto/base.h"
#include "sotto/client.h"
#include "sotto/model.h"

#define AGENT_LIST_MAX 1024

struct agent_args {
    const char *state, *policy, *backend, *tier, *collection, *keys, *log, *model, *precision;
    bool json, once, yes, test, quiet, help, version;
    uint64_t count, seed, classes, limit, wait_ms, slice_ms, batch, seconds;
    uint32_t writer_count;
    uint32_t writers[AGENT_LIST_MAX];
    int arg_count;
    const char *args[8]; /* positional, after the command */
};

struct agent_command {
    const char *name;
    const char *usage; /* of its positional arguments */
    int args_min, args_max;
    unsigned mask; /* which options it takes */
    const char *help, *example;
    int (*run)(struct agent_args *a);
};
extern const struct agent_command agent_commands[];

/* Fills a; *command NULL when --help or --version ended it. Returns an exit code, 0 to go on. */
int agent_parse(int argc, char **argv, struct agent_args *a, const struct agent_command **command);
void agent_help(const struct agent_command *command);

/* Prints "sotto-client: message" and gives the status's exit code. */
int agent_fail(const struct sotto_error *err);
/* The state folder: --state, else under XDG_STATE_HOME or ~/.local/state. */
enum sotto_status agent_state_dir(const struct agent_args *a, char *out, size_t cap,
                                  struct sotto_error *err);
/* Opens the client with the options; logs to stderr unless quiet. */
enum sotto_status agent_open(const struct agent_args *a, sotto_client **out,
                             struct sotto_error *err);
/* The device's conditions as files below root ("/") and the conditions file, if there is one, tell
 * them. working: one processor is busy with our own training. CONFIG, IO: the file does not read;
 * the device then counts as offline. */
enum sotto_status agent_conditions_read(const char *root, const char *file, bool working,
                                        sotto_client_conditions *out, struct sotto_error *err);
/* The conditions file's text over what out holds; CONFIG names the line, and lines before it count.
 */
enum sotto_status agent_conditions_parse(const char *name, struct view text,
                                         sotto_client_conditions *out, struct sotto_error *err);
/* Before the first look at devices: what was learned of them lies in the state folder, if there is
 * one. */
void agent_setup_devices(const struct agent_args *a);
/* A stop was asked for by SIGTERM, SIGINT or SIGHUP. */
bool agent_stopped(void);
void agent_catch_signals(void);
void agent_print(const struct buf *out);
struct devstore;
/* Opens what is there, beside the agent at work. */
enum sotto_status agent_open_store(const struct agent_args *a, struct devstore **out,
                                   struct sotto_error *err);

int agent_enroll(struct agent_args *a);
int agent_run(struct agent_args *a);
int agent_import(struct agent_args *a);
int agent_status(struct agent_args *a);
int agent_history(struct agent_args *a);
int agent_forget(struct agent_args *a);
int agent_document(struct agent_args *a);
int agent_devices(struct agent_args *a);
int agent_bench(struct agent_args *a);
/* bench's forward passes. USAGE for a name that is none of the precisions. */
const char *agent_precision_name(enum graph_precision precision);
enum sotto_status agent_forward_precision(const char *name, enum graph_precision *out,
                                          struct sotto_error *err);
struct agent_forward {
    double samples_per_s;
    uint64_t bytes;             /* arena and scratch */
    double agreement, farthest; /* share of examples with the class of f32; of the logits */
};
/* Times the model forward on drawn examples, and compares with f32 on the same backend. An int8
 * package of params is what GRAPH_W8 reads. */
enum sotto_status agent_forward_measure(const struct graph *g, const struct data_schema *schema,
                                        const float *params, const struct examples *examples,
                                        uint32_t batch, double seconds,
                                        enum graph_precision precision,
                                        const struct kern_backend *backend,
                                        struct agent_forward *out, struct sotto_error *err);
int agent_policy(struct agent_args *a);
int agent_man(struct agent_args *a);
void agent_print_policy_defaults(void);

#endif

/* The option table of a task file. */
#include "sotto/coordinator/task_options.h"

const char *const task_init_names[] = {
    [GRAPH_INIT_HE] = "he", [GRAPH_INIT_GLOROT] = "glorot", NULL};
const char *const task_downlink_names[] = {
    [PACKAGE_F32] = "f32", [PACKAGE_I8] = "int8", [PACKAGE_I4] = "int4", NULL};
const char *const task_secure_names[] = {"off", "required", NULL};
const char *const task_support_names[] = {[CODEC_SUPPORT_OWN] = "own",
                                          [CODEC_SUPPORT_ROUND] = "round",
                                          [CODEC_SUPPORT_PUBLISHED] = "published",
                                          NULL};
const char *const task_adversary_names[] = {
    [SECAGG_CURIOUS - 1] = "curious", [SECAGG_SEMI_MALICIOUS - 1] = "semi-malicious", NULL};

#define AT(field) offsetof(struct task_config, field)

const struct config_option task_options[] = {TASK_OPTION_ROWS(AT) CONFIG_END};

/* The option table of a task file. */
#include "sotto/coordinator/task_options.h"

const char *const task_downlink_names[] = {
    [PACKAGE_F32] = "f32", [PACKAGE_I8] = "int8", [PACKAGE_I4] = "int4", NULL};
const char *const task_secure_names[] = {"off", NULL};

#define AT(field) offsetof(struct task_config, field)

const struct config_option task_options[] = {TASK_OPTION_ROWS(AT) CONFIG_END};

/* Shared by the files of the config reader. */
#ifndef SOTTO_CONFIG_INT_H
#define SOTTO_CONFIG_INT_H

#include "sotto/config.h"

#define CONFIG_DEPTH_MAX    16
#define CONFIG_NODES_MAX    65536u
#define CONFIG_CHILDREN_MAX 4096u /* of one mapping or sequence */
#define CONFIG_KEY_MAX      128u  /* bytes of one key */
#define CONFIG_PATH_LEN_MAX 256u  /* bytes of a dotted path */
#define CONFIG_ALLOWED_MAX  160u  /* bytes of the "allowed" part of a message */

/* What an option's value came from and the memory that it holds. */
struct config_slot {
    char *origin;             /* "FILE:12:3", "--set", "environment" or "default" */
    char *text;               /* CONFIG_STR */
    struct config_node *node; /* CONFIG_NODE given by text: owned */
    uint32_t item_count;      /* CONFIG_LIST_STR */
    char *items[CONFIG_LIST_MAX];
    bool in_file; /* seen in the file already */
    bool given;   /* has a value at all */
};

struct config {
    const struct config_option *table;
    size_t option_count;
    struct config_slot *slots;
    struct config_node *root; /* the file; NULL without one */
    const char *name;         /* of the file in messages; borrowed while loading */
    char folder[IO_PATH_MAX]; /* of the file, absolute; empty: the working directory */
};

/* A value on its way into the settings: either a YAML node, or text from elsewhere. */
struct config_source {
    const struct config_node *node; /* NULL: text */
    const char *text;
    const char *place; /* "FILE:12:3", "--set", "environment SOTTO_A_B": begins the message */
    const char *origin;
    const char *folder; /* for CONFIG_PATH, or NULL */
};

/* Reads YAML into a tree, refusing what we do not use. An empty document gives an empty mapping. */
enum sotto_status config_yaml_read(const char *name, struct view text, struct config_node **out,
                                   struct sotto_error *err);
struct config_node *config_node_new(enum config_node_kind kind);
void config_node_free(struct config_node *node);
/* Takes child over also when it fails. */
enum sotto_status config_node_add(struct config_node *parent, struct config_node *child);

/* Checks and stores one value; what the slot held before is freed. */
enum sotto_status config_value_set(const struct config_option *option, struct config_slot *slot,
                                   void *settings, const struct config_source *source,
                                   struct sotto_error *err);
void config_slot_clear(struct config_slot *slot);
/* "0 to 10", "true, false, ...", "fedavg, fedadam": what an option accepts. Returns out. */
const char *config_allowed(const struct config_option *option, char *out, size_t cap);
/* Sizes and durations in the largest unit that keeps them whole: "64KiB", "90s". Returns out. */
const char *config_format_size(char *out, size_t cap, uint64_t bytes);
const char *config_format_duration(char *out, size_t cap, uint64_t ms);
/* Limits of an option as integers; both zero in the table means none. */
void config_limits_u64(const struct config_option *option, uint64_t *min, uint64_t *max);
/* Text as a YAML scalar: plain when that is safe, else in double quotes. */
void config_put_scalar(struct buf *out, const char *text);

#endif

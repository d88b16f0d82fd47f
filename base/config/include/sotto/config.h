/* Config files, flags, subcommands and help of the tools: everything comes from one table a tool.
 */
#ifndef SOTTO_CONFIG_H
#define SOTTO_CONFIG_H

#include "sotto/base.h"

/* ---- Option table: one row per setting ---- */

enum config_type {
    CONFIG_BOOL,     /* bool */
    CONFIG_U64,      /* uint64_t; min/max as integers */
    CONFIG_F64,      /* double; finite, min/max */
    CONFIG_STR,      /* char *, owned by the config */
    CONFIG_ENUM,     /* int: index into names, which ends with NULL */
    CONFIG_SIZE,     /* uint64_t bytes: "64MiB" */
    CONFIG_DURATION, /* uint64_t milliseconds: "30s" */
    CONFIG_LIST_U64, /* struct config_list_u64, at most CONFIG_LIST_MAX */
    CONFIG_LIST_STR, /* struct config_list_str */
    CONFIG_NODE,     /* struct config_node *: the raw YAML subtree, such as model layers */
};
#define CONFIG_LIST_MAX 64
#define CONFIG_FILE_MAX (1u << 20)

struct config_list_u64 {
    uint32_t count;
    uint64_t v[CONFIG_LIST_MAX];
};
struct config_list_str {
    uint32_t count;
    char *v[CONFIG_LIST_MAX];
};

enum config_flags {
    CONFIG_REQUIRED = 1,
    CONFIG_RELOAD = 2, /* may change while the daemon runs */
    CONFIG_SECRET = 4, /* never dumped */
    CONFIG_PATH = 8,   /* a file path: relative ones are taken from the config file's folder */
};

struct config_option {
    const char *path; /* "local.lr" */
    enum config_type type;
    size_t offset;            /* into the tool's settings struct */
    const char *fallback;     /* default as text, parsed like the file; NULL: zero, or required */
    double min, max;          /* inclusive; both 0: no limit. CONFIG_STR: of the length in bytes */
    const char *const *names; /* CONFIG_ENUM: allowed words, NULL-terminated */
    unsigned flags;
    const char *unit; /* for help: "clients", "s" or "" */
    const char *help; /* one sentence */
};
#define CONFIG_END                                                                                 \
    { NULL, CONFIG_BOOL, 0, NULL, 0, 0, NULL, 0, NULL, NULL }

/* A YAML node with its place, for CONFIG_NODE. Scalars have text; sequences and mappings have
 * children (values; a mapping's child carries its key). Aliases, tags and duplicate keys were
 * refused while reading. */
enum config_node_kind { CONFIG_SCALAR, CONFIG_SEQUENCE, CONFIG_MAPPING };
struct config_node {
    enum config_node_kind kind;
    int line, column;         /* from 1 */
    int key_line, key_column; /* of a mapping's child */
    char *key;
    char *text;
    bool quoted; /* a scalar in quotes: "" is a value, nothing at all is not */
    uint32_t child_count;
    struct config_node **children;
};
const struct config_node *config_node_get(const struct config_node *mapping, const char *key);

struct config; /* the loaded file and overrides; owns every string in the settings */

/* Fills settings (a zeroed struct) by precedence: sets ("a.b=c") > environment SOTTO_A_B > file >
 * fallback. path NULL: no file; "-": stdin. An unknown key, a wrong type or range, a duplicate:
 * refused with file:line:column, the key and what is allowed, and the nearest known key when one is
 * close. settings stays valid until config_free. */
enum sotto_status config_load(const struct config_option *table, void *settings, const char *path,
                              const char *const *sets, size_t set_count, struct config **out,
                              struct sotto_error *err);
/* The same from memory; name stands for the file in messages. */
enum sotto_status config_parse(const struct config_option *table, void *settings, const char *name,
                               struct view text, const char *const *sets, size_t set_count,
                               struct config **out, struct sotto_error *err);
void config_free(struct config *c);
/* "file:12:3" of a path's value, or "default", "--set", "environment". */
const char *config_origin(const struct config *c, const char *path);
/* The effective settings as YAML that loads again; secrets as "(secret)". */
void config_dump(const struct config_option *table, const void *settings, struct buf *out);
/* Canonical text of the effective settings, without paths' folders or secrets: what a config hash
 * covers. */
void config_canonical(const struct config_option *table, const void *settings, struct buf *out);
/* A table of every option with type, default, range and help, for --help and the man page. */
void config_help(const struct config_option *table, struct buf *out);

/* ---- Command line: one table of subcommands per tool ---- */

struct cli;
struct cli_flag {
    const char *name;  /* "json" for --json */
    char letter;       /* 'h', or 0 */
    const char *value; /* placeholder for help ("FILE"), NULL for a switch */
    bool repeat;       /* may be given several times */
    const char *help;
};
#define CLI_FLAGS_END                                                                              \
    { NULL, 0, NULL, false, NULL }

struct cli_command {
    const char *name;       /* "task create": noun and verb; "" for a tool without subcommands */
    const char *args;       /* "NAME [FILE]" for help */
    int args_min, args_max; /* positional arguments; args_max < 0: any number */
    const struct cli_flag *flags; /* NULL if none */
    const char *help;             /* one line */
    const char *details;          /* examples and paragraphs, or NULL */
    int (*run)(struct cli *cli);
};
#define CLI_COMMANDS_END                                                                           \
    { NULL, NULL, 0, 0, NULL, NULL, NULL, NULL }

struct cli_tool {
    const char *name;    /* "sottoctl" */
    const char *summary; /* one line */
    const char *section; /* man section: "1" or "8" */
    const struct cli_command *commands;
    const struct cli_flag *flags; /* of every command; --help, --version, --json, --log-level,
                                     --log-format, --no-color and --set come by themselves */
    const struct config_option *options; /* shown in help and man page; NULL if none */
};

/* Parses argv and calls the command's run; its result is the exit code. Prints help (exit 0), usage
 * errors with a did-you-mean (exit 2), --version, and `TOOL man` (the man page in roff on stdout).
 */
int cli_main(const struct cli_tool *tool, int argc, char **argv);
/* A positional argument, NULL when absent. */
const char *cli_arg(const struct cli *cli, int index);
int cli_arg_count(const struct cli *cli);
/* Value of the last --name, "" for a switch, NULL when not given. */
const char *cli_flag(const struct cli *cli, const char *name);
/* Its value as a number of min..max; *out stays as it is when the flag is not given. USAGE, with
 * the flag's name. */
enum sotto_status cli_flag_u64(const struct cli *cli, const char *name, uint64_t min, uint64_t max,
                               uint64_t *out, struct sotto_error *err);
/* All values of --name in order; the array is the cli's. */
size_t cli_flag_all(const struct cli *cli, const char *name, const char *const **values);
bool cli_json(const struct cli *cli);
/* stdout is a terminal, and neither NO_COLOR, TERM=dumb nor --no-color is set. */
bool cli_color(const struct cli *cli);
/* Prints "tool: message" (or a JSON object with --json) to stderr; returns the status's exit code.
 */
int cli_fail(const struct cli *cli, const struct sotto_error *err);
/* A table for people: columns padded to their widest cell. cells holds rows * columns strings. */
void cli_table(struct buf *out, const char *const *heads, size_t columns, const char *const *cells,
               size_t rows);

#endif

/* Shared by the files of the command line. */
#ifndef SOTTO_CLI_INT_H
#define SOTTO_CLI_INT_H

#include "sotto/config.h"

struct cli_given {
    const struct cli_flag *flag;
    const char *value; /* "" for a switch */
};

struct cli {
    const struct cli_tool *tool;
    const struct cli_command *command; /* NULL while it is not known */
    const char **args;
    int arg_count;
    struct cli_given *given; /* sorted by flag once parsed, each flag's in order */
    const char **values;     /* beside given, for cli_flag_all */
    size_t given_count;
    bool json; /* asked for, also when the rest of the line is wrong */
};

/* --help, --version, --json, --log-level, --log-format, --no-color, --set. */
extern const struct cli_flag cli_common_flags[];

void cli_help_tool(const struct cli_tool *tool, struct buf *out);
void cli_help_short(const struct cli_tool *tool, struct buf *out);
void cli_help_command(const struct cli_tool *tool, const struct cli_command *command,
                      struct buf *out);
/* "NAME COMMAND ARGS" of a command. */
void cli_usage_line(const struct cli_tool *tool, const struct cli_command *command,
                    struct buf *out);
/* The man page in roff (man(7) macros). */
void cli_man(const struct cli_tool *tool, struct buf *out);
/* Writes all to the file; false when it could not. */
bool cli_write(int fd, const struct buf *text);

#endif

/* Help texts: of the tool, of one command, and the short one for a bare call. */
#include <string.h>

#include "cli_int.h"

#define FLAG_COLUMN 26

void cli_usage_line(const struct cli_tool *tool, const struct cli_command *command,
                    struct buf *out) {
    buf_printf(out, "%s", tool->name);
    if (command->name[0] != '\0')
        buf_printf(out, " %s", command->name);
    buf_printf(out, " [FLAGS]");
    if (command->args != NULL && command->args[0] != '\0')
        buf_printf(out, " %s", command->args);
}

static void put_flag(struct buf *out, const struct cli_flag *flag) {
    const size_t start = out->len;
    buf_printf(out, "  ");
    if (flag->letter != 0)
        buf_printf(out, "-%c, ", flag->letter);
    buf_printf(out, "--%s", flag->name);
    if (flag->value != NULL)
        buf_printf(out, " %s", flag->value);
    const size_t width = out->len - start;
    if (width + 2 > FLAG_COLUMN)
        buf_printf(out, "\n%*s", FLAG_COLUMN, "");
    else
        buf_printf(out, "%*s", (int)(FLAG_COLUMN - width), "");
    buf_printf(out, "%s%s\n", flag->help, flag->repeat ? " (may be repeated)" : "");
}

static void put_flags(struct buf *out, const char *title, const struct cli_flag *flags) {
    if (flags == NULL || flags->name == NULL)
        return;
    buf_printf(out, "\n%s\n", title);
    for (; flags->name != NULL; flags++)
        put_flag(out, flags);
}

/* Indented by two, empty lines left empty. */
static void put_indented(struct buf *out, const char *text) {
    while (*text != '\0') {
        const size_t n = strcspn(text, "\n");
        if (n > 0)
            buf_printf(out, "  %.*s", (int)n, text);
        buf_printf(out, "\n");
        text += n + (text[n] == '\n');
    }
}

static void put_settings(struct buf *out, const struct cli_tool *tool) {
    if (tool->options == NULL || tool->options->path == NULL)
        return;
    buf_printf(out, "\nSETTINGS (in the file, by --set KEY=VALUE, or as SOTTO_KEY)\n");
    config_help(tool->options, out);
}

void cli_help_command(const struct cli_tool *tool, const struct cli_command *command,
                      struct buf *out) {
    buf_printf(out, "%s%s%s: %s\n", tool->name, command->name[0] != '\0' ? " " : "", command->name,
               command->help);
    if (command->details != NULL) {
        buf_printf(out, "\n");
        put_indented(out, command->details);
    }
    buf_printf(out, "\nUSAGE\n  ");
    cli_usage_line(tool, command, out);
    buf_printf(out, "\n");
    put_flags(out, "FLAGS", command->flags);
    put_flags(out, "FLAGS OF EVERY COMMAND", tool->flags);
    put_flags(out, "COMMON FLAGS", cli_common_flags);
    if (command->name[0] == '\0')
        put_settings(out, tool);
}

static bool has_only_bare(const struct cli_tool *tool) {
    return tool->commands[0].name != NULL && tool->commands[0].name[0] == '\0' &&
           tool->commands[1].name == NULL;
}

static void put_commands(struct buf *out, const struct cli_tool *tool) {
    size_t widest = 0;
    for (const struct cli_command *c = tool->commands; c->name != NULL; c++)
        if (strlen(c->name) > widest)
            widest = strlen(c->name);
    buf_printf(out, "\nCOMMANDS\n");
    for (const struct cli_command *c = tool->commands; c->name != NULL; c++)
        if (c->name[0] != '\0')
            buf_printf(out, "  %-*s  %s\n", (int)widest, c->name, c->help);
}

void cli_help_short(const struct cli_tool *tool, struct buf *out) {
    buf_printf(out, "%s: %s\n", tool->name, tool->summary);
    if (!has_only_bare(tool))
        put_commands(out, tool);
    buf_printf(out, "\n'%s --help' says more", tool->name);
    if (!has_only_bare(tool))
        buf_printf(out, ", '%s COMMAND --help' all about one command", tool->name);
    buf_printf(out, ".\n");
}

void cli_help_tool(const struct cli_tool *tool, struct buf *out) {
    if (has_only_bare(tool)) {
        cli_help_command(tool, &tool->commands[0], out);
        return;
    }
    buf_printf(out, "%s: %s\n\nUSAGE\n  %s COMMAND [FLAGS] [ARGUMENTS]\n", tool->name,
               tool->summary, tool->name);
    put_commands(out, tool);
    put_flags(out, "FLAGS OF EVERY COMMAND", tool->flags);
    put_flags(out, "COMMON FLAGS", cli_common_flags);
    put_settings(out, tool);
    buf_printf(out,
               "\n'%s COMMAND --help' shows examples and flags of a command; '%s man' prints the "
               "man page.\n",
               tool->name, tool->name);
}

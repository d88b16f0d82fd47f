/* The man page of a tool from its tables, in man(7) macros. */
#include <stdio.h>
#include <string.h>

#include "cli_int.h"

/* n bytes of text so that roff shows them as they are: a leading dot or quote is no request, a
 * hyphen stays a minus. */
static void put_roff(struct buf *out, const char *s, size_t n) {
    bool line_start = true;
    for (size_t i = 0; i < n; i++) {
        if (line_start && (s[i] == '.' || s[i] == '\''))
            buf_printf(out, "\\&");
        line_start = s[i] == '\n';
        if (s[i] == '\\')
            buf_printf(out, "\\e");
        else if (s[i] == '-')
            buf_printf(out, "\\-");
        else
            buf_put_u8(out, (uint8_t)s[i]);
    }
}

static void put_roff_str(struct buf *out, const char *s) {
    put_roff(out, s, strlen(s));
}

static void put_upper(struct buf *out, const char *s) {
    for (; *s != '\0'; s++)
        buf_put_u8(out, (uint8_t)(*s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s));
}

static void put_flags(struct buf *out, const struct cli_flag *flags) {
    for (; flags != NULL && flags->name != NULL; flags++) {
        buf_printf(out, ".TP\n");
        if (flags->letter != 0)
            buf_printf(out, "\\fB\\-%c\\fR, ", flags->letter);
        buf_printf(out, "\\fB\\-\\-");
        put_roff_str(out, flags->name);
        buf_printf(out, "\\fR");
        if (flags->value != NULL)
            buf_printf(out, " \\fI%s\\fR", flags->value);
        buf_printf(out, "\n");
        put_roff_str(out, flags->help);
        buf_printf(out, "%s\n", flags->repeat ? " (may be repeated)" : "");
    }
}

static void put_command(struct buf *out, const struct cli_tool *tool,
                        const struct cli_command *command) {
    struct buf usage;
    buf_init(&usage, 4096);
    cli_usage_line(tool, command, &usage);
    buf_printf(out, ".SS \"");
    put_roff(out, (const char *)usage.data, usage.len);
    buf_printf(out, "\"\n");
    if (usage.status != SOTTO_OK)
        out->status = usage.status;
    buf_deinit(&usage);
    put_roff_str(out, command->help);
    buf_printf(out, "\n");
    if (command->details != NULL) {
        buf_printf(out, ".PP\n.nf\n");
        put_roff_str(out, command->details);
        if (command->details[0] != '\0' && command->details[strlen(command->details) - 1] != '\n')
            buf_printf(out, "\n");
        buf_printf(out, ".fi\n");
    }
    put_flags(out, command->flags);
}

static void put_exit_codes(struct buf *out) {
    static const char *const codes[][2] = {
        {"0", "Done."},
        {"1", "Failed."},
        {"2", "The command line is wrong."},
        {"3", "Unreachable, busy or timed out: trying again may help."},
        {"4", "A check failed."},
        {"78", "The configuration is wrong."},
    };
    buf_printf(out, ".SH \"EXIT STATUS\"\n");
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        buf_printf(out, ".TP\n\\fB%s\\fR\n%s\n", codes[i][0], codes[i][1]);
}

static void put_settings(struct buf *out, const struct config_option *options) {
    struct buf help;
    if (options == NULL || options->path == NULL)
        return;
    buf_init(&help, 1u << 20);
    config_help(options, &help);
    buf_printf(
        out, ".SH SETTINGS\nIn the file, by \\fB\\-\\-set\\fR \\fIKEY=VALUE\\fR, or as a variable "
             "of the environment: \\fBSOTTO_\\fR and the key in capitals, dots as "
             "underscores. A flag wins over the environment, that over the file.\n.PP\n.nf\n");
    put_roff(out, (const char *)help.data, help.len);
    buf_printf(out, ".fi\n");
    if (help.status != SOTTO_OK)
        out->status = help.status;
    buf_deinit(&help);
}

void cli_man(const struct cli_tool *tool, struct buf *out) {
    buf_printf(out, ".TH ");
    put_upper(out, tool->name);
    buf_printf(out, " %s \"\" \"sotto %s\" \"sotto manual\"\n.SH NAME\n", tool->section,
               SOTTO_VERSION_TEXT);
    put_roff_str(out, tool->name);
    buf_printf(out, " \\- ");
    put_roff_str(out, tool->summary);
    buf_printf(out, "\n.SH SYNOPSIS\n");
    for (const struct cli_command *c = tool->commands; c->name != NULL; c++) {
        buf_printf(out, "%s\\fB", c == tool->commands ? "" : ".br\n");
        put_roff_str(out, tool->name);
        if (c->name[0] != '\0') {
            buf_printf(out, " ");
            put_roff_str(out, c->name);
        }
        buf_printf(out, "\\fR [\\fIFLAGS\\fR]");
        if (c->args != NULL && c->args[0] != '\0') {
            buf_printf(out, " \\fI");
            put_roff_str(out, c->args);
            buf_printf(out, "\\fR");
        }
        buf_printf(out, "\n");
    }
    buf_printf(out, ".SH COMMANDS\n");
    for (const struct cli_command *c = tool->commands; c->name != NULL; c++)
        put_command(out, tool, c);
    buf_printf(out, ".SH OPTIONS\n");
    put_flags(out, tool->flags);
    put_flags(out, cli_common_flags);
    put_settings(out, tool->options);
    put_exit_codes(out);
    buf_printf(out, ".SH ENVIRONMENT\n.TP\n\\fBNO_COLOR\\fR\nWhen set, no colour is used.\n");
}

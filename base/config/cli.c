/* The command line: which command, which flags, which arguments; then the command runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_int.h"
#include "nearest.h"

#define HELP_MAX (4u << 20)

const struct cli_flag cli_common_flags[] = {
    {"help", 'h', NULL, false, "show this help and end"},
    {"version", 0, NULL, false, "show the version and end"},
    {"json", 0, NULL, false, "print JSON instead of text"},
    {"log-level", 0, "LEVEL", false, "error, warn, info (default) or debug"},
    {"log-format", 0, "FORMAT", false, "text (default) or json"},
    {"no-color", 0, NULL, false, "no colour, also on a terminal"},
    {"set", 0, "KEY=VALUE", true, "override one setting"},
    CLI_FLAGS_END,
};

/* ---- Looking things up
 * ------------------------------------------------------------------------------------------ */

static const struct cli_flag *find_in(const struct cli_flag *flags, const char *name, size_t n,
                                      char letter) {
    for (; flags != NULL && flags->name != NULL; flags++)
        if (name != NULL ? strlen(flags->name) == n && memcmp(flags->name, name, n) == 0
                         : flags->letter == letter)
            return flags;
    return NULL;
}

/* By name (n bytes), or by letter when name is NULL. A command's own flags come first. */
static const struct cli_flag *find_flag(const struct cli *cli, const char *name, size_t n,
                                        char letter) {
    const struct cli_flag *f = NULL;
    if (name == NULL && letter == 0)
        return NULL;
    if (cli->command != NULL)
        f = find_in(cli->command->flags, name, n, letter);
    if (f == NULL)
        f = find_in(cli->tool->flags, name, n, letter);
    return f != NULL ? f : find_in(cli_common_flags, name, n, letter);
}

static const struct cli_command *find_command(const struct cli_tool *tool, const char *name) {
    for (const struct cli_command *c = tool->commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static bool is_noun(const struct cli_tool *tool, const char *word) {
    const size_t n = strlen(word);
    for (const struct cli_command *c = tool->commands; c->name != NULL; c++)
        if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
            return true;
    return false;
}

/* ---- Wrong usage
 * ------------------------------------------------------------------------------------------------
 */

static enum sotto_status usage_error(const struct cli *cli, struct sotto_error *err,
                                     const char *problem, const char *word) {
    char shown[80];
    return SOTTO_FAIL(err, SOTTO_USAGE, "%s '%s'; '%s%s%s --help' shows what is possible", problem,
                      sotto_escape(shown, sizeof shown, word, strlen(word)), cli->tool->name,
                      cli->command != NULL && cli->command->name[0] != '\0' ? " " : "",
                      cli->command != NULL ? cli->command->name : "");
}

static enum sotto_status unknown_flag(const struct cli *cli, const char *arg,
                                      struct sotto_error *err) {
    char best[64] = "", shown[80], word[64];
    size_t distance = SIZE_MAX;
    const size_t n = strcspn(arg, "=");
    const size_t dashes = strspn(arg, "-");
    sotto_escape(shown, sizeof shown, arg, n);
    (void)snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), arg);
    const struct cli_flag *const tables[] = {cli->command != NULL ? cli->command->flags : NULL,
                                             cli->tool->flags, cli_common_flags};
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct cli_flag *f = tables[t]; f != NULL && f->name != NULL; f++)
            nearest_offer(word + (dashes < 63 ? dashes : 63), f->name, strlen(f->name), best,
                          sizeof best, &distance);
    if (best[0] != '\0')
        return SOTTO_FAIL(err, SOTTO_USAGE, "unknown flag '%s'; did you mean '--%s'?", shown, best);
    return usage_error(cli, err, "unknown flag", word);
}

static enum sotto_status unknown_command(const struct cli *cli, const char *first,
                                         const char *second, struct sotto_error *err) {
    char best[64] = "", word[64], shown[300];
    size_t distance = SIZE_MAX;
    const bool noun = is_noun(cli->tool, first);
    (void)snprintf(word, sizeof word, "%s%s%s", first, second != NULL ? " " : "",
                   second != NULL ? second : "");
    for (const struct cli_command *c = cli->tool->commands; c->name != NULL; c++) {
        nearest_offer(word, c->name, strlen(c->name), best, sizeof best, &distance);
        nearest_offer(first, c->name, strlen(c->name), best, sizeof best, &distance);
    }
    sotto_escape(shown, sizeof shown, word, strlen(word));
    if (best[0] != '\0')
        return SOTTO_FAIL(err, SOTTO_USAGE, "unknown command '%s'; did you mean '%s %s'?", shown,
                          cli->tool->name, best);
    if (!noun)
        return usage_error(cli, err, "unknown command", first);
    /* The noun is right: its verbs are the answer. */
    char verbs[160] = "";
    size_t used = 0;
    const size_t n = strlen(first);
    for (const struct cli_command *c = cli->tool->commands; c->name != NULL; c++)
        if (strncmp(c->name, first, n) == 0 && c->name[n] == ' ' && used + 40 < sizeof verbs)
            used += (size_t)snprintf(verbs + used, sizeof verbs - used, "%s%.36s",
                                     used > 0 ? ", " : "", c->name + n + 1);
    return SOTTO_FAIL(err, SOTTO_USAGE, "%s '%s'; allowed after '%s': %s",
                      second != NULL ? "unknown command" : "incomplete command", shown, first,
                      verbs);
}

/* ---- Parsing
 * ----------------------------------------------------------------------------------------------------
 */

static void give(struct cli *cli, const struct cli_flag *flag, const char *value) {
    cli->given[cli->given_count++] = (struct cli_given){flag, value};
    if (flag == find_in(cli_common_flags, "json", 4, 0))
        cli->json = true;
}

/* One flag at argv[*i]; moves *i over a value of its own. */
static enum sotto_status parse_flag(struct cli *cli, int argc, char **argv, int *i,
                                    struct sotto_error *err) {
    const char *arg = argv[*i];
    const bool is_long = arg[1] == '-';
    const char *name = arg + 2;
    const size_t n = is_long ? strcspn(name, "=") : 0;
    const struct cli_flag *flag = find_flag(cli, is_long ? name : NULL, n, is_long ? 0 : arg[1]);
    if (flag == NULL)
        return unknown_flag(cli, arg, err);
    const char *attached = NULL;
    if (is_long)
        attached = name[n] == '=' ? name + n + 1 : NULL;
    else if (arg[2] != '\0')
        attached = arg + 2;
    if (flag->value == NULL) {
        if (attached != NULL)
            return usage_error(cli, err, "a switch that takes no value:", arg);
        give(cli, flag, "");
        return SOTTO_OK;
    }
    if (attached == NULL) {
        if (*i + 1 >= argc)
            return usage_error(cli, err, "a value is missing after", arg);
        attached = argv[++*i];
    }
    give(cli, flag, attached);
    return SOTTO_OK;
}

/* Whether the line asks only for help, the man page or the version. */
static bool wants(const struct cli *cli, const char *name) {
    return cli_flag(cli, name) != NULL;
}

/* The command that begins at argv[*i]: two words, one, or none when the tool has a bare command.
 * Moves *i behind it. */
static enum sotto_status parse_command(struct cli *cli, int argc, char **argv, int *i,
                                       struct sotto_error *err) {
    const char *first = argv[*i];
    const char *second = *i + 1 < argc && argv[*i + 1][0] != '-' ? argv[*i + 1] : NULL;
    char both[128];
    if (second != NULL) {
        const int n = snprintf(both, sizeof both, "%s %s", first, second);
        if (n > 0 && (size_t)n < sizeof both)
            cli->command = find_command(cli->tool, both);
        if (cli->command != NULL) {
            *i += 2;
            return SOTTO_OK;
        }
    }
    if (first[0] != '\0')
        cli->command = find_command(cli->tool, first);
    if (cli->command != NULL) {
        *i += 1;
        return SOTTO_OK;
    }
    cli->command = find_command(cli->tool, "");
    return cli->command != NULL ? SOTTO_OK : unknown_command(cli, first, second, err);
}

static enum sotto_status parse_words(struct cli *cli, int argc, char **argv,
                                     struct sotto_error *err) {
    bool flags_end = false;
    for (int i = 1; i < argc;) {
        const char *arg = argv[i];
        enum sotto_status status = SOTTO_OK;
        if (!flags_end && strcmp(arg, "--") == 0) {
            flags_end = true;
            i++;
        } else if (!flags_end && arg[0] == '-' && arg[1] != '\0') {
            /* A tool of one bare command knows its flags from the start. */
            if (cli->command == NULL && cli->tool->commands[0].name != NULL &&
                cli->tool->commands[1].name == NULL)
                cli->command = find_command(cli->tool, "");
            status = parse_flag(cli, argc, argv, &i, err);
            i++;
        } else if (cli->command == NULL) {
            status = parse_command(cli, argc, argv, &i, err);
        } else {
            cli->args[cli->arg_count++] = arg;
            i++;
        }
        if (status != SOTTO_OK)
            return status;
    }
    if (cli->command == NULL)
        cli->command = find_command(cli->tool, "");
    return SOTTO_OK;
}

/* Stable, by the flag's address: the values of one flag become neighbours. */
static void sort_given(struct cli *cli) {
    for (size_t i = 1; i < cli->given_count; i++) {
        const struct cli_given g = cli->given[i];
        size_t k = i;
        for (; k > 0 && (uintptr_t)cli->given[k - 1].flag > (uintptr_t)g.flag; k--)
            cli->given[k] = cli->given[k - 1];
        cli->given[k] = g;
    }
    for (size_t i = 0; i < cli->given_count; i++)
        cli->values[i] = cli->given[i].value;
}

size_t cli_flag_all(const struct cli *cli, const char *name, const char *const **values) {
    const struct cli_flag *flag = find_flag(cli, name, strlen(name), 0);
    size_t n = 0;
    *values = NULL;
    for (size_t i = 0; i < cli->given_count; i++)
        if (cli->given[i].flag == flag) {
            if (n++ == 0)
                *values = cli->values + i;
        }
    return n;
}

const char *cli_flag(const struct cli *cli, const char *name) {
    const struct cli_flag *flag = find_flag(cli, name, strlen(name), 0);
    const char *value = NULL;
    for (size_t i = 0; i < cli->given_count; i++)
        if (cli->given[i].flag == flag)
            value = cli->given[i].value;
    return value;
}

enum sotto_status cli_flag_u64(const struct cli *cli, const char *name, uint64_t min, uint64_t max,
                               uint64_t *out, struct sotto_error *err) {
    struct sotto_error why = SOTTO_ERROR_INIT;
    const char *value = cli_flag(cli, name);
    if (value == NULL || num_parse_u64(value, min, max, out, &why) == SOTTO_OK)
        return SOTTO_OK;
    return SOTTO_FAIL(err, SOTTO_USAGE, "--%s: %s", name, why.message);
}

const char *cli_arg(const struct cli *cli, int index) {
    return index >= 0 && index < cli->arg_count ? cli->args[index] : NULL;
}

int cli_arg_count(const struct cli *cli) {
    return cli->arg_count;
}

/* ---- Running
 * ----------------------------------------------------------------------------------------------------
 */

static enum sotto_status check_args(const struct cli *cli, struct sotto_error *err) {
    const struct cli_command *c = cli->command;
    char shown[80];
    if (cli->arg_count < c->args_min)
        return SOTTO_FAIL(err, SOTTO_USAGE, "an argument is missing; usage: %s%s%s [FLAGS] %s",
                          cli->tool->name, c->name[0] != '\0' ? " " : "", c->name,
                          c->args != NULL ? c->args : "");
    if (c->args_max >= 0 && cli->arg_count > c->args_max)
        return SOTTO_FAIL(err, SOTTO_USAGE, "one argument too many: '%s'; usage: %s%s%s [FLAGS] %s",
                          sotto_escape(shown, sizeof shown, cli->args[c->args_max],
                                       strlen(cli->args[c->args_max])),
                          cli->tool->name, c->name[0] != '\0' ? " " : "", c->name,
                          c->args != NULL ? c->args : "");
    return SOTTO_OK;
}

static enum sotto_status setup_log(const struct cli *cli, struct sotto_error *err) {
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;
    const char *level_text = cli_flag(cli, "log-level");
    const char *format_text = cli_flag(cli, "log-format");
    if (level_text != NULL && log_level_parse(level_text, &level) != SOTTO_OK)
        return usage_error(cli, err, "--log-level must be error, warn, info or debug, not",
                           level_text);
    if (format_text != NULL && strcmp(format_text, "json") == 0)
        format = LOG_JSON;
    else if (format_text != NULL && strcmp(format_text, "text") != 0)
        return usage_error(cli, err, "--log-format must be text or json, not", format_text);
    if (level_text != NULL || format_text != NULL)
        log_setup(level, format);
    return SOTTO_OK;
}

enum text_kind { TEXT_SHORT, TEXT_HELP, TEXT_MAN, TEXT_VERSION };

static int print_text(const struct cli *cli, enum text_kind kind, int fd, int exit_code) {
    struct buf out;
    buf_init(&out, HELP_MAX);
    if (kind == TEXT_SHORT)
        cli_help_short(cli->tool, &out);
    else if (kind == TEXT_MAN)
        cli_man(cli->tool, &out);
    else if (kind == TEXT_VERSION && cli->json)
        buf_printf(&out, "{\"tool\":\"%s\",\"version\":\"%s\"}\n", cli->tool->name,
                   SOTTO_VERSION_TEXT);
    else if (kind == TEXT_VERSION)
        buf_printf(&out, "%s %s\n", cli->tool->name, SOTTO_VERSION_TEXT);
    else if (cli->command != NULL && cli->command->name[0] != '\0')
        cli_help_command(cli->tool, cli->command, &out);
    else
        cli_help_tool(cli->tool, &out);
    const bool ok = cli_write(fd, &out);
    buf_deinit(&out);
    return ok ? exit_code : 1;
}

static int run(struct cli *cli, int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (argc == 2 && strcmp(argv[1], "man") == 0 && find_command(cli->tool, "man") == NULL)
        return print_text(cli, TEXT_MAN, STDOUT_FILENO, 0);
    const bool help_word = argc >= 2 && strcmp(argv[1], "help") == 0 &&
                           find_command(cli->tool, "help") == NULL &&
                           find_command(cli->tool, "") == NULL;
    if (help_word && argc == 2)
        return print_text(cli, TEXT_HELP, STDOUT_FILENO, 0);
    enum sotto_status status = parse_words(cli, argc - help_word, argv + help_word, &err);
    sort_given(cli);
    /* Whoever asks for help gets it, whatever else is wrong with the line. */
    if (wants(cli, "help") || (help_word && status == SOTTO_OK))
        return print_text(cli, TEXT_HELP, STDOUT_FILENO, 0);
    if (status == SOTTO_OK && wants(cli, "version"))
        return print_text(cli, TEXT_VERSION, STDOUT_FILENO, 0);
    if (status == SOTTO_OK && cli->command == NULL)
        return print_text(cli, TEXT_SHORT, STDERR_FILENO, sotto_status_exit(SOTTO_USAGE));
    if (status == SOTTO_OK)
        status = check_args(cli, &err);
    if (status == SOTTO_OK)
        status = setup_log(cli, &err);
    if (status != SOTTO_OK)
        return cli_fail(cli, &err);
    return cli->command->run(cli);
}

int cli_main(const struct cli_tool *tool, int argc, char **argv) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct cli cli = {.tool = tool};
    const size_t room = argc > 0 ? (size_t)argc : 1;
    int code;
    cli.args = mem_array(room, sizeof *cli.args);
    cli.given = mem_array(room, sizeof *cli.given);
    cli.values = mem_array(room, sizeof *cli.values);
    if (cli.args == NULL || cli.given == NULL || cli.values == NULL) {
        (void)SOTTO_FAIL(&err, SOTTO_NOMEM, "out of memory");
        code = cli_fail(&cli, &err);
    } else {
        code = run(&cli, argc, argv);
    }
    if (fflush(stdout) != 0 && code == 0) {
        (void)SOTTO_FAIL(&err, SOTTO_IO, "cannot write to standard output");
        code = cli_fail(&cli, &err);
    }
    mem_free(cli.args);
    mem_free(cli.given);
    mem_free(cli.values);
    return code;
}

/* The command line, from two tables: commands and options. */
#include "agent/agent.h"

#include <stdio.h>
#include <string.h>

enum {
    ENROLL = 1,
    RUN = 2,
    IMPORT = 4,
    STATUS = 8,
    HISTORY = 16,
    FORGET = 32,
    DOCUMENT = 64,
    DEVICES = 128,
    POLICY = 256,
    MAN = 512,
    BENCH = 1024,
    ALL = 2047
};

const struct agent_command agent_commands[] = {
    {"enroll", "TOKEN|FILE|-", 1, 1, ENROLL, "Take a token and enrol with the coordinator.",
     "sotto-client enroll token.txt", agent_enroll},
    {"run", "", 0, 0, RUN, "Work for the fleet until stopped (SIGTERM).", "sotto-client run --once",
     agent_run},
    {"import", "digits | csv FILE | idx IMAGES LABELS", 1, 3, IMPORT,
     "Add examples to the store, also while the agent runs.",
     "sotto-client import digits --writer 7 --count 300", agent_import},
    {"status", "", 0, 0, STATUS, "Identity, examples, rounds and traffic.",
     "sotto-client status --json", agent_status},
    {"history", "", 0, 0, HISTORY, "What the device did, newest last.",
     "sotto-client history --limit 20", agent_history},
    {"forget", "", 0, 0, FORGET, "Wipe examples, residuals, reports and models for good.",
     "sotto-client forget --yes", agent_forget},
    {"document", "FILE|-", 1, 1, DOCUMENT, "Take a newer coordinator document by hand.",
     "sotto-client document coordinator.doc", agent_document},
    {"devices", "", 0, 0, DEVICES,
     "The processor, backends and Vulkan devices that can train here.",
     "sotto-client devices --test", agent_devices},
    {"bench", "", 0, 0, BENCH, "Time training steps of a model on this device; needs no enrolment.",
     "sotto-client bench --model mnist-cnn --backend cpu", agent_bench},
    {"policy", "[FILE]", 0, 1, POLICY,
     "Print the policy in force; with FILE: check it and put it into force.",
     "sotto-client policy my-limits.txt", agent_policy},
    {"man", "", 0, 0, MAN, "Print the manual page.", "sotto-client man | man -l -", agent_man},
    {NULL, NULL, 0, 0, 0, NULL, NULL, NULL},
};

enum kind { FLAG, TEXT, NUMBER, SIZE_MS, WRITERS };
struct option_row {
    const char *name, *value;
    enum kind kind;
    size_t offset;
    unsigned mask;
    const char *help;
};
#define AT(field) offsetof(struct agent_args, field)
static const struct option_row option_rows[] = {
    {"state", "DIR", TEXT, AT(state), ALL, "state folder (default $XDG_STATE_HOME/sotto-client)"},
    {"policy", "FILE", TEXT, AT(policy), RUN | ENROLL | IMPORT | POLICY,
     "policy file (default DIR/policy)"},
    {"backend", "NAME", TEXT, AT(backend), RUN | BENCH,
     "backend to train with (see devices); without it the fastest, bench: each"},
    {"model", "FILE|NAME", TEXT, AT(model), BENCH,
     "model package, or a known model as mnist-cnn (default mnist-2nn)"},
    {"batch", "N", NUMBER, AT(batch), BENCH, "examples a step (default 10)"},
    {"precision", "P", TEXT, AT(precision), BENCH,
     "time evaluation too, its dense layers in f32, w8 (int8), f16 or bf16"},
    {"seconds", "N", NUMBER, AT(seconds), BENCH, "time for each backend (default 2)"},
    {"test", NULL, FLAG, AT(test), DEVICES, "test every kernel of the Vulkan device now"},
    {"tier", "NAME", TEXT, AT(tier), RUN, "model tier to ask for"},
    {"once", NULL, FLAG, AT(once), RUN, "end after one report, or when told to come back"},
    {"slice", "MS", NUMBER, AT(slice_ms), RUN,
     "longest stretch of training between two looks at the network"},
    {"wait", "TIME", SIZE_MS, AT(wait_ms), ENROLL,
     "wait so long for the coordinator (default 30s)"},
    {"collection", "NAME", TEXT, AT(collection), IMPORT, "collection to add to (default examples)"},
    {"writer", "N", WRITERS, AT(writers), IMPORT,
     "only this writer; may be repeated, also as 3,7,10-20"},
    {"writers", "FILE", TEXT, AT(keys), IMPORT, "QMNIST label file that names each image's writer"},
    {"count", "N", NUMBER, AT(count), IMPORT, "at most so many examples (digits: of each writer)"},
    {"seed", "N", NUMBER, AT(seed), IMPORT, "seed of the drawn digits"},
    {"classes", "N", NUMBER, AT(classes), IMPORT, "number of classes of a CSV file"},
    {"limit", "N", NUMBER, AT(limit), HISTORY, "at most so many entries (default 50)"},
    {"yes", NULL, FLAG, AT(yes), FORGET, "do not ask"},
    {"json", NULL, FLAG, AT(json), ALL, "JSON on stdout, and in the log"},
    {"log-level", "LEVEL", TEXT, AT(log), ALL, "error, warn, info or debug"},
    {"quiet", NULL, FLAG, AT(quiet), ALL, "no log"},
    {"help", NULL, FLAG, AT(help), ALL, "this text"},
    {"version", NULL, FLAG, AT(version), ALL, "the version"},
};

void agent_help(const struct agent_command *command) {
    if (command == NULL) {
        printf("sotto-client: trains on this device's examples for a fleet; the examples never "
               "leave it.\n\n"
               "  sotto-client enroll token.txt\n"
               "  sotto-client import digits --writer 7 --count 300\n"
               "  sotto-client run\n\nCommands:\n");
        for (const struct agent_command *c = agent_commands; c->name != NULL; c++)
            printf("  %-9s %-38s %s\n", c->name, c->usage, c->help);
    } else {
        printf("sotto-client %s%s%s\n%s\n\n  %s\n", command->name,
               command->usage[0] != '\0' ? " " : "", command->usage, command->help,
               command->example);
    }
    printf("\nOptions:\n");
    const unsigned mask = command != NULL ? command->mask : ALL;
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
        const struct option_row *o = &option_rows[i];
        if ((o->mask & mask) != 0 && (command != NULL || o->mask == ALL)) {
            char left[32];
            snprintf(left, sizeof left, "--%s%s%s", o->name, o->value != NULL ? " " : "",
                     o->value != NULL ? o->value : "");
            printf("  %-18s %s\n", left, o->help);
        }
    }
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage, 3 may be tried again, 78 bad policy "
           "file.\n");
}

static void man_escaped(const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '-' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
}

int agent_man(struct agent_args *a) {
    (void)a;
    printf(".TH SOTTO\\-CLIENT 8 \"\" \"sotto %s\"\n.SH NAME\nsotto\\-client \\- trains on this "
           "device's examples for a fleet\n.SH SYNOPSIS\n",
           sotto_client_version());
    for (const struct agent_command *c = agent_commands; c->name != NULL; c++) {
        printf(".B sotto\\-client %s\n", c->name);
        man_escaped(c->usage);
        printf(c->usage[0] != '\0' ? " [OPTIONS]\n.br\n" : "[OPTIONS]\n.br\n");
    }
    printf(
        ".SH DESCRIPTION\nThe agent keeps examples in a local store, trains the fleet's models on "
        "them when its policy allows, and sends sealed updates. The examples never leave the "
        "device.\n.SH COMMANDS\n");
    for (const struct agent_command *c = agent_commands; c->name != NULL; c++) {
        printf(".TP\n.B %s\n", c->name);
        man_escaped(c->help);
        printf(" Example:\n.B ");
        man_escaped(c->example);
        printf("\n");
    }
    printf(".SH OPTIONS\n");
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
        printf(".TP\n.BR \\-\\-");
        man_escaped(option_rows[i].name);
        if (option_rows[i].value != NULL)
            printf(" \" \" %s", option_rows[i].value);
        printf("\n");
        man_escaped(option_rows[i].help);
        printf("\n");
    }
    printf(".SH POLICY FILE\nLines of a key and a value, with defaults:\n.nf\n");
    agent_print_policy_defaults();
    printf(".fi\n.SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 3 may be tried again, 78 bad "
           "policy "
           "file.\n.SH SEE ALSO\nsottoctl(1), sotto\\-coordinator(8)\n");
    return 0;
}

/* Levenshtein distance, for short words. */
static size_t distance(const char *a, const char *b) {
    size_t row[40], n = strlen(b);
    if (n + 1 > ARRAY_LEN(row) || strlen(a) > 40)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t above = row[j], change = diagonal + (a[i - 1] != b[j - 1]);
            size_t best = above + 1 < row[j - 1] + 1 ? above + 1 : row[j - 1] + 1;
            row[j] = change < best ? change : best;
            diagonal = above;
        }
    }
    return row[n];
}

static int usage(const char *what, const char *word, const char *near, const char *prefix) {
    char shown[64];
    fprintf(stderr, "sotto-client: %s \"%s\"", what,
            sotto_escape(shown, sizeof shown, word, strnlen(word, 40)));
    if (near != NULL)
        fprintf(stderr, "; did you mean %s%s?", prefix, near);
    fprintf(stderr, "\nTry: sotto-client --help\n");
    return 2;
}

static int bad_option(const char *word, unsigned mask) {
    const char *near = NULL;
    size_t best = 3;
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
        const size_t d = distance(word, option_rows[i].name);
        if ((option_rows[i].mask & mask) != 0 && d < best) {
            best = d;
            near = option_rows[i].name;
        }
    }
    return usage("there is no option", word, near, "--");
}

static int bad_command(const char *word) {
    const char *near = NULL;
    size_t best = 3;
    for (const struct agent_command *c = agent_commands; c->name != NULL; c++) {
        const size_t d = distance(word, c->name);
        if (d < best) {
            best = d;
            near = c->name;
        }
    }
    return usage("there is no command", word, near, "");
}

/* "7", "3,7,10-20". */
static enum sotto_status parse_writers(const char *text, struct agent_args *a,
                                       struct sotto_error *err) {
    char copy[256], *save = NULL;
    if (strlen(text) >= sizeof copy)
        return SOTTO_FAIL(err, SOTTO_USAGE, "--writer: the list is too long; repeat the option");
    memcpy(copy, text, strlen(text) + 1);
    for (char *part = strtok_r(copy, ",", &save); part != NULL; part = strtok_r(NULL, ",", &save)) {
        uint64_t first = 0, last = 0;
        char *dash = strchr(part, '-');
        if (dash != NULL)
            *dash++ = '\0';
        enum sotto_status status = num_parse_u64(part, 0, UINT32_MAX, &first, err);
        last = first;
        if (status == SOTTO_OK && dash != NULL)
            status = num_parse_u64(dash, first, UINT32_MAX, &last, err);
        if (status != SOTTO_OK)
            return sotto_error_prefix(err, "--writer");
        for (uint64_t w = first; w <= last; w++) {
            if (a->writer_count >= AGENT_LIST_MAX)
                return SOTTO_FAIL(err, SOTTO_USAGE, "--writer: at most %d writers", AGENT_LIST_MAX);
            a->writers[a->writer_count++] = (uint32_t)w;
        }
    }
    return SOTTO_OK;
}

static enum sotto_status set(const struct option_row *o, const char *value, struct agent_args *a,
                             struct sotto_error *err) {
    uint8_t *at = (uint8_t *)a + o->offset;
    const bool yes = true;
    enum sotto_status status = SOTTO_OK;
    switch (o->kind) {
    case FLAG:
        memcpy(at, &yes, sizeof yes);
        break;
    case TEXT:
        memcpy(at, &value, sizeof value);
        break;
    case NUMBER:
        status = num_parse_u64(value, 0, UINT64_MAX, (uint64_t *)(void *)at, err);
        break;
    case SIZE_MS:
        status = num_parse_duration_ms(value, UINT64_C(86400000), (uint64_t *)(void *)at, err);
        break;
    case WRITERS:
        return parse_writers(value, a, err);
    }
    if (status != SOTTO_OK)
        (void)sotto_error_prefix(err, "--%s", o->name);
    return status;
}

/* One option at argv[*i]; moves *i over its value. */
static int parse_option(int argc, char **argv, int *i, unsigned mask, struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *word = argv[*i][1] == '-' ? argv[*i] + 2 : argv[*i];
    const size_t length = strcspn(word, "=");
    if (strcmp(word, "-h") == 0) {
        a->help = true;
        return 0;
    }
    for (size_t k = 0; k < ARRAY_LEN(option_rows); k++) {
        const struct option_row *o = &option_rows[k];
        if (strlen(o->name) != length || strncmp(o->name, word, length) != 0 ||
            (o->mask & mask) == 0)
            continue;
        const char *value = word[length] == '=' ? word + length + 1 : NULL;
        if (o->kind == FLAG && value != NULL)
            return usage("this option takes no value:", word, NULL, "");
        if (o->kind != FLAG && value == NULL) {
            if (*i + 1 >= argc)
                return usage("this option needs a value:", word, NULL, "");
            value = argv[++*i];
        }
        if (set(o, value, a, &err) == SOTTO_OK)
            return 0;
        fprintf(stderr, "sotto-client: %s\n", err.message);
        return 2;
    }
    return bad_option(word, mask);
}

int agent_parse(int argc, char **argv, struct agent_args *a, const struct agent_command **command) {
    bool options = true;
    memset(a, 0, sizeof *a);
    *command = NULL;
    for (int i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            const int code =
                parse_option(argc, argv, &i, *command != NULL ? (*command)->mask : ALL, a);
            if (code != 0)
                return code;
        } else if (*command == NULL) {
            const struct agent_command *c = agent_commands;
            while (c->name != NULL && strcmp(c->name, argv[i]) != 0)
                c++;
            if (c->name == NULL)
                return bad_command(argv[i]);
            *command = c;
        } else if (a->arg_count < (int)ARRAY_LEN(a->args)) {
            a->args[a->arg_count++] = argv[i];
        }
    }
    if (a->help || a->version || *command == NULL)
        return 0;
    if (a->arg_count < (*command)->args_min || a->arg_count > (*command)->args_max) {
        fprintf(stderr, "sotto-client: usage: sotto-client %s%s%s\n", (*command)->name,
                (*command)->usage[0] != '\0' ? " " : "", (*command)->usage);
        return 2;
    }
    return 0;
}

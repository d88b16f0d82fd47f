/* Loading: defaults, then the file, then the environment, then --set, each checked in full. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_int.h"
#include "nearest.h"

static size_t count_options(const struct config_option *table) {
    size_t n = 0;
    while (table[n].path != NULL)
        n++;
    return n;
}

static size_t find_option(const struct config *c, const char *path) {
    for (size_t i = 0; i < c->option_count; i++)
        if (strcmp(c->table[i].path, path) == 0)
            return i;
    return SIZE_MAX;
}

/* Whether options lie below path ("local" of "local.lr"). */
static bool is_group(const struct config *c, const char *path) {
    const size_t n = strlen(path);
    for (size_t i = 0; i < c->option_count; i++)
        if (strncmp(c->table[i].path, path, n) == 0 && c->table[i].path[n] == '.')
            return true;
    return false;
}

/* Whether an option before the i-th begins with the first len bytes of its path, as a whole
 * segment. */
static bool seen_before(const struct config *c, size_t i, size_t len) {
    for (size_t k = 0; k < i; k++) {
        const char *path = c->table[k].path;
        if (strncmp(path, c->table[i].path, len) == 0 && (path[len] == '.' || path[len] == '\0'))
            return true;
    }
    return false;
}

/* The keys right below a group ("" is the whole table), as far as they fit. */
static void list_keys(const struct config *c, const char *group, char *out, size_t cap) {
    const size_t skip = group[0] == '\0' ? 0 : strlen(group) + 1;
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < c->option_count; i++) {
        const char *path = c->table[i].path;
        if (skip > 0 && (strncmp(path, group, skip - 1) != 0 || path[skip - 1] != '.'))
            continue;
        const size_t len = strcspn(path + skip, ".");
        if (seen_before(c, i, skip + len))
            continue;
        const int w =
            snprintf(out + n, cap - n, "%s%.*s", n > 0 ? ", " : "", (int)len, path + skip);
        if (w < 0 || (size_t)w + 6 > cap - n) { /* keep room for the dots */
            (void)snprintf(out + n, cap - n, ", ...");
            return;
        }
        n += (size_t)w;
    }
}

static enum sotto_status not_one_value(const struct config *c, const char *place, const char *path,
                                       const char *text, struct sotto_error *err) {
    char keys[100], shown[80];
    list_keys(c, path, keys, sizeof keys);
    return SOTTO_FAIL(err, SOTTO_CONFIG,
                      "%s: key '%s': '%s' is not a group of settings; allowed: %s", place, path,
                      sotto_escape(shown, sizeof shown, text, strlen(text)), keys);
}

static enum sotto_status unknown_key(const struct config *c, const char *place, const char *path,
                                     struct sotto_error *err) {
    char shown[80], best[CONFIG_PATH_LEN_MAX] = "", keys[120], group[CONFIG_PATH_LEN_MAX] = "";
    size_t distance = SIZE_MAX;
    sotto_escape(shown, sizeof shown, path, strlen(path));
    for (size_t i = 0; i < c->option_count; i++) {
        const char *known = c->table[i].path;
        for (size_t n = strcspn(known, ".");; n += 1 + strcspn(known + n + 1, ".")) {
            nearest_offer(path, known, n, best, sizeof best, &distance);
            if (known[n] == '\0')
                break;
        }
    }
    if (best[0] != '\0')
        return SOTTO_FAIL(err, SOTTO_CONFIG, "%s: unknown key '%s'; did you mean '%s'?", place,
                          shown, best);
    const char *dot = strrchr(path, '.');
    if (dot != NULL && (size_t)(dot - path) < sizeof group) {
        memcpy(group, path, (size_t)(dot - path));
        if (!is_group(c, group))
            group[0] = '\0';
    }
    list_keys(c, group, keys, sizeof keys);
    return SOTTO_FAIL(err, SOTTO_CONFIG, "%s: unknown key '%s'; allowed%s%s%s: %s", place, shown,
                      group[0] != '\0' ? " below '" : "", group, group[0] != '\0' ? "'" : "", keys);
}

/* ---- The file
 * ---------------------------------------------------------------------------------------------------
 */

static enum sotto_status apply_mapping(struct config *c, void *settings, const char *prefix,
                                       const struct config_node *mapping, struct sotto_error *err);

static enum sotto_status apply_entry(struct config *c, void *settings, const char *path,
                                     const struct config_node *node, struct sotto_error *err) {
    char place[IO_PATH_MAX + 32];
    (void)snprintf(place, sizeof place, "%s:%d:%d", c->name, node->line, node->column);
    const size_t i = find_option(c, path);
    if (i != SIZE_MAX) {
        const struct config_source from = {
            .node = node, .place = place, .origin = place, .folder = c->folder};
        if (c->slots[i].in_file)
            return SOTTO_FAIL(err, SOTTO_CONFIG, "%s: key '%s' is there twice", place, path);
        c->slots[i].in_file = true;
        return config_value_set(&c->table[i], &c->slots[i], settings, &from, err);
    }
    if (!is_group(c, path)) {
        (void)snprintf(place, sizeof place, "%s:%d:%d", c->name, node->key_line, node->key_column);
        return unknown_key(c, place, path, err);
    }
    if (node->kind == CONFIG_MAPPING)
        return apply_mapping(c, settings, path, node, err);
    return not_one_value(c, place, path, node->kind == CONFIG_SCALAR ? node->text : "[...]", err);
}

static enum sotto_status apply_mapping(struct config *c, void *settings, const char *prefix,
                                       const struct config_node *mapping, struct sotto_error *err) {
    for (uint32_t i = 0; i < mapping->child_count; i++) {
        const struct config_node *node = mapping->children[i];
        char path[CONFIG_PATH_LEN_MAX];
        const int n =
            snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", node->key);
        if (n < 0 || (size_t)n >= sizeof path)
            return SOTTO_FAIL(err, SOTTO_CONFIG, "%s:%d:%d: key longer than %u bytes", c->name,
                              node->line, node->column, CONFIG_PATH_LEN_MAX - 1);
        enum sotto_status status = apply_entry(c, settings, path, node, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static enum sotto_status apply_file(struct config *c, void *settings, struct view text,
                                    struct sotto_error *err) {
    enum sotto_status status = config_yaml_read(c->name, text, &c->root, err);
    if (status != SOTTO_OK)
        return status;
    if (c->root->kind != CONFIG_MAPPING) {
        /* An explicit nothing ("---", "~") is an empty file too. */
        if (c->root->kind == CONFIG_SCALAR && !c->root->quoted &&
            (c->root->text[0] == '\0' || strcmp(c->root->text, "~") == 0))
            return SOTTO_OK;
        return SOTTO_FAIL(err, SOTTO_CONFIG, "%s:%d:%d: not a mapping of keys to values", c->name,
                          c->root->line, c->root->column);
    }
    return apply_mapping(c, settings, "", c->root, err);
}

/* ---- Everything else
 * -------------------------------------------------------------------------------------------- */

static enum sotto_status apply_fallbacks(struct config *c, void *settings,
                                         struct sotto_error *err) {
    for (size_t i = 0; i < c->option_count; i++) {
        if (c->table[i].fallback == NULL)
            continue;
        const struct config_source from = {
            .text = c->table[i].fallback, .place = "default", .origin = "default"};
        enum sotto_status status =
            config_value_set(&c->table[i], &c->slots[i], settings, &from, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

/* "local.lr" -> "SOTTO_LOCAL_LR" */
static void env_name(char *out, size_t cap, const char *path) {
    size_t n = (size_t)snprintf(out, cap, "SOTTO_");
    for (; *path != '\0' && n + 1 < cap; path++) {
        const char ch = *path;
        out[n++] = ch >= 'a' && ch <= 'z'   ? (char)(ch - 'a' + 'A')
                   : ch == '.' || ch == '-' ? '_'
                                            : ch;
    }
    out[n] = '\0';
}

static enum sotto_status apply_environment(struct config *c, void *settings,
                                           struct sotto_error *err) {
    for (size_t i = 0; i < c->option_count; i++) {
        char name[CONFIG_PATH_LEN_MAX + 8], place[CONFIG_PATH_LEN_MAX + 32];
        env_name(name, sizeof name, c->table[i].path);
        const char *text = getenv(name);
        if (text == NULL)
            continue;
        (void)snprintf(place, sizeof place, "environment %s", name);
        const struct config_source from = {.text = text, .place = place, .origin = "environment"};
        enum sotto_status status =
            config_value_set(&c->table[i], &c->slots[i], settings, &from, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

static enum sotto_status apply_set(struct config *c, void *settings, const char *set,
                                   struct sotto_error *err) {
    char path[CONFIG_PATH_LEN_MAX], shown[80];
    const char *equals = strchr(set, '=');
    if (equals == NULL || equals == set || (size_t)(equals - set) >= sizeof path)
        return SOTTO_FAIL(err, SOTTO_CONFIG,
                          "--set '%s': must have the form key=value, such as %s=%s",
                          sotto_escape(shown, sizeof shown, set, strlen(set)),
                          c->option_count > 0 ? c->table[0].path : "a.b",
                          c->option_count > 0 && c->table[0].fallback ? c->table[0].fallback : "1");
    memcpy(path, set, (size_t)(equals - set));
    path[equals - set] = '\0';
    const size_t i = find_option(c, path);
    if (i == SIZE_MAX)
        return is_group(c, path) ? not_one_value(c, "--set", path, equals + 1, err)
                                 : unknown_key(c, "--set", path, err);
    const struct config_source from = {.text = equals + 1, .place = "--set", .origin = "--set"};
    return config_value_set(&c->table[i], &c->slots[i], settings, &from, err);
}

static enum sotto_status check_required(const struct config *c, struct sotto_error *err) {
    for (size_t i = 0; i < c->option_count; i++) {
        const struct config_option *o = &c->table[i];
        char allowed[CONFIG_ALLOWED_MAX];
        if ((o->flags & CONFIG_REQUIRED) != 0 && !c->slots[i].given)
            return SOTTO_FAIL(err, SOTTO_CONFIG, "%s: key '%s' is missing (%s); allowed: %s",
                              c->name, o->path, o->help,
                              config_allowed(o, allowed, sizeof allowed));
    }
    return SOTTO_OK;
}

void config_free(struct config *c) {
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->option_count && c->slots != NULL; i++)
        config_slot_clear(&c->slots[i]);
    mem_free(c->slots);
    config_node_free(c->root);
    mem_free(c);
}

const char *config_origin(const struct config *c, const char *path) {
    const size_t i = find_option(c, path);
    return i != SIZE_MAX && c->slots[i].origin != NULL ? c->slots[i].origin : "default";
}

/* text.p NULL: there is no file. */
static enum sotto_status load(const struct config_option *table, void *settings, const char *name,
                              const char *folder, const struct view *text, const char *const *sets,
                              size_t set_count, struct config **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct config *c = mem_zalloc(sizeof *c);
    *out = NULL;
    if (c == NULL)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: out of memory", name);
    c->table = table;
    c->option_count = count_options(table);
    c->name = name;
    (void)snprintf(c->folder, sizeof c->folder, "%s", folder);
    if (c->option_count > 0) {
        c->slots = mem_array(c->option_count, sizeof *c->slots);
        if (c->slots == NULL)
            TRY_FAIL(err, SOTTO_NOMEM, "%s: out of memory", name);
    }
    TRY(apply_fallbacks(c, settings, err));
    if (text != NULL)
        TRY(apply_file(c, settings, *text, err));
    TRY(apply_environment(c, settings, err));
    for (size_t i = 0; i < set_count; i++)
        TRY(apply_set(c, settings, sets[i], err));
    TRY(check_required(c, err));
    c->name = NULL;
    *out = c;
    c = NULL;
out:
    config_free(c);
    return status;
}

enum sotto_status config_parse(const struct config_option *table, void *settings, const char *name,
                               struct view text, const char *const *sets, size_t set_count,
                               struct config **out, struct sotto_error *err) {
    return load(table, settings, name, "", &text, sets, set_count, out, err);
}

/* The absolute folder of a file, "" when unknown. out holds IO_PATH_MAX bytes, as realpath wants.
 */
static void folder_of(char *out, const char *path) {
    char absolute[IO_PATH_MAX];
    out[0] = '\0';
    if (realpath(path, absolute) == NULL)
        return;
    char *slash = strrchr(absolute, '/');
    if (slash == NULL)
        return;
    slash[slash == absolute ? 1 : 0] = '\0';
    memcpy(out, absolute, strlen(absolute) + 1);
}

enum sotto_status config_load(const struct config_option *table, void *settings, const char *path,
                              const char *const *sets, size_t set_count, struct config **out,
                              struct sotto_error *err) {
    *out = NULL;
    if (path == NULL)
        return load(table, settings, "settings", "", NULL, sets, set_count, out, err);
    const bool standard_input = strcmp(path, "-") == 0;
    const char *name = standard_input ? "<stdin>" : path;
    char folder[IO_PATH_MAX] = "";
    struct buf text;
    buf_init(&text, CONFIG_FILE_MAX);
    enum sotto_status status =
        io_read_file(standard_input ? "/dev/stdin" : path, CONFIG_FILE_MAX, &text, err);
    if (status == SOTTO_OK) {
        if (!standard_input)
            folder_of(folder, path);
        const struct view v = buf_view(&text);
        status = load(table, settings, name, folder, &v, sets, set_count, out, err);
    } else if (status != SOTTO_NOMEM && status != SOTTO_IO) {
        /* A config file that is missing, secret or too large is a wrong configuration: starting
         * again does not help. */
        status = SOTTO_CONFIG;
        if (err != NULL)
            err->status = status;
    }
    buf_deinit(&text);
    return status;
}

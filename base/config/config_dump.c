/* The settings as text: a dump that loads again, the canonical form that is hashed, and the help.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config_int.h"

static const void *field_of(const struct config_option *o, const void *settings) {
    return (const uint8_t *)settings + o->offset;
}

static void put_text(struct buf *out, const char *s) {
    buf_put(out, s, strlen(s));
}

/* Plain only what no YAML reader can take for anything else. */
static bool plain_is_safe(const char *s) {
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
          *s == '/'))
        return false;
    for (; *s != '\0'; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              strchr("_./+-", *s) != NULL))
            return false;
    return true;
}

void config_put_scalar(struct buf *out, const char *text) {
    if (plain_is_safe(text)) {
        put_text(out, text);
        return;
    }
    buf_put_u8(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else if (c == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0)
            buf_printf(out, "\\x%02x", (unsigned char)*++p); /* C1 controls, among them NEL */
        else
            buf_put_u8(out, c);
    }
    buf_put_u8(out, '"');
}

/* A subtree in one line. Nothing at all becomes empty text, as "[, a]" is no YAML. */
static void put_flow(struct buf *out, const struct config_node *node) {
    if (node->kind == CONFIG_SCALAR) {
        if (node->quoted && plain_is_safe(node->text))
            buf_printf(out, "\"%s\"", node->text);
        else
            config_put_scalar(out, node->text);
        return;
    }
    buf_put_u8(out, node->kind == CONFIG_SEQUENCE ? '[' : '{');
    for (uint32_t i = 0; i < node->child_count; i++) {
        if (i > 0)
            put_text(out, ", ");
        if (node->kind == CONFIG_MAPPING) {
            config_put_scalar(out, node->children[i]->key);
            put_text(out, ": ");
        }
        put_flow(out, node->children[i]);
    }
    buf_put_u8(out, node->kind == CONFIG_SEQUENCE ? ']' : '}');
}

static void put_list(struct buf *out, const struct config_option *o, const void *field) {
    const struct config_list_u64 *numbers = field;
    const struct config_list_str *strings = field;
    const uint32_t n = o->type == CONFIG_LIST_U64 ? numbers->count : strings->count;
    buf_put_u8(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            put_text(out, ", ");
        if (o->type == CONFIG_LIST_U64)
            buf_printf(out, "%" PRIu64, numbers->v[i]);
        else
            config_put_scalar(out, strings->v[i]);
    }
    buf_put_u8(out, ']');
}

/* Whether there is a value to show: text and subtrees may be absent. */
static bool present(const struct config_option *o, const void *settings) {
    if (o->type == CONFIG_STR)
        return *(char *const *)field_of(o, settings) != NULL;
    if (o->type == CONFIG_NODE)
        return *(struct config_node *const *)field_of(o, settings) != NULL;
    return true;
}

static void put_str(struct buf *out, const struct config_option *o, const char *s, bool canonical) {
    const char *slash = strrchr(s, '/');
    if (canonical && (o->flags & CONFIG_PATH) != 0 && slash != NULL)
        s = slash + 1;
    config_put_scalar(out, s);
}

static void put_value(struct buf *out, const struct config_option *o, const void *settings,
                      bool canonical) {
    const void *field = field_of(o, settings);
    char text[32];
    switch (o->type) {
    case CONFIG_BOOL:
        put_text(out, *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_U64:
        buf_printf(out, "%" PRIu64, *(const uint64_t *)field);
        break;
    case CONFIG_F64:
        put_text(out, num_format_f64(text, sizeof text, *(const double *)field));
        break;
    case CONFIG_STR:
        put_str(out, o, *(char *const *)field, canonical);
        break;
    case CONFIG_ENUM:
        config_put_scalar(out, o->names[*(const int *)field]);
        break;
    case CONFIG_SIZE:
        put_text(out, config_format_size(text, sizeof text, *(const uint64_t *)field));
        break;
    case CONFIG_DURATION:
        put_text(out, config_format_duration(text, sizeof text, *(const uint64_t *)field));
        break;
    case CONFIG_LIST_U64:
    case CONFIG_LIST_STR:
        put_list(out, o, field);
        break;
    case CONFIG_NODE:
        put_flow(out, *(struct config_node *const *)field);
        break;
    }
}

/* ---- Dump
 * -------------------------------------------------------------------------------------------------------
 */

static void dump_option(struct buf *out, const struct config_option *o, const char *key, int depth,
                        const void *settings) {
    if (!present(o, settings)) {
        buf_printf(out, "%*s# %s: not set\n", 2 * depth, "", key);
        return;
    }
    buf_printf(out, "%*s%s: ", 2 * depth, "", key);
    if ((o->flags & CONFIG_SECRET) != 0)
        put_text(out, "(secret)");
    else
        put_value(out, o, settings, false);
    buf_put_u8(out, '\n');
}

/* Whether an option before the i-th lies in the same group, whose path has len bytes. */
static bool group_was_dumped(const struct config_option *table, size_t i, size_t len) {
    for (size_t k = 0; k < i; k++)
        if (strncmp(table[k].path, table[i].path, len) == 0 && table[k].path[len] == '.')
            return true;
    return false;
}

/* Options below a group (prefix of skip bytes with its dot); rows of one group need not be
 * neighbours in the table. */
static void dump_level(struct buf *out, const struct config_option *table, const char *prefix,
                       size_t skip, int depth, const void *settings) {
    for (size_t i = 0; table[i].path != NULL; i++) {
        if (strncmp(table[i].path, prefix, skip) != 0)
            continue;
        const char *key = table[i].path + skip;
        const size_t len = strcspn(key, ".");
        if (key[len] == '\0') {
            dump_option(out, &table[i], key, depth, settings);
        } else if (!group_was_dumped(table, i, skip + len)) {
            buf_printf(out, "%*s%.*s:\n", 2 * depth, "", (int)len, key);
            dump_level(out, table, table[i].path, skip + len + 1, depth + 1, settings);
        }
    }
}

void config_dump(const struct config_option *table, const void *settings, struct buf *out) {
    dump_level(out, table, "", 0, 0, settings);
}

void config_canonical(const struct config_option *table, const void *settings, struct buf *out) {
    for (const struct config_option *o = table; o->path != NULL; o++) {
        if (!present(o, settings) || (o->flags & CONFIG_SECRET) != 0)
            continue;
        buf_printf(out, "%s: ", o->path);
        put_value(out, o, settings, true);
        buf_put_u8(out, '\n');
    }
}

/* ---- Help
 * -------------------------------------------------------------------------------------------------------
 */

static const char *type_name(const struct config_option *o) {
    static const char *const names[] = {
        [CONFIG_BOOL] = "SWITCH",       [CONFIG_U64] = "NUMBER",       [CONFIG_F64] = "NUMBER",
        [CONFIG_STR] = "TEXT",          [CONFIG_ENUM] = "WORD",        [CONFIG_SIZE] = "SIZE",
        [CONFIG_DURATION] = "DURATION", [CONFIG_LIST_U64] = "NUMBERS", [CONFIG_LIST_STR] = "TEXTS",
        [CONFIG_NODE] = "YAML"};
    return (o->flags & CONFIG_PATH) != 0 ? "PATH" : names[o->type];
}

void config_help(const struct config_option *table, struct buf *out) {
    for (const struct config_option *o = table; o->path != NULL; o++) {
        char allowed[CONFIG_ALLOWED_MAX];
        buf_printf(out, "  %s %s", o->path, type_name(o));
        if (o->unit != NULL && o->unit[0] != '\0')
            buf_printf(out, " (%s)", o->unit);
        buf_printf(out, "\n      %s\n      Allowed: %s.", o->help,
                   config_allowed(o, allowed, sizeof allowed));
        if ((o->flags & CONFIG_REQUIRED) != 0)
            put_text(out, " Required.");
        else if (o->fallback != NULL)
            buf_printf(out, " Default: %s.", o->fallback[0] != '\0' ? o->fallback : "empty");
        if ((o->flags & CONFIG_RELOAD) != 0)
            put_text(out, " May be reloaded.");
        buf_put_u8(out, '\n');
    }
}

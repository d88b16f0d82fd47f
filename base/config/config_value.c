/* One value: from text or a YAML node into the settings, checked against its row of the table. */
#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config_int.h"

/* ---- What is allowed
 * -------------------------------------------------------------------------------------------- */

static bool unlimited(const struct config_option *o) {
    return o->min == 0 && o->max == 0;
}

void config_limits_u64(const struct config_option *o, uint64_t *min, uint64_t *max) {
    *min = unlimited(o) || o->min <= 0 ? 0 : (uint64_t)o->min;
    *max = unlimited(o) || o->max >= 0x1p64 ? UINT64_MAX : o->max <= 0 ? 0 : (uint64_t)o->max;
}

const char *config_format_size(char *out, size_t cap, uint64_t bytes) {
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t u = 0;
    while (bytes >= 1024 && bytes % 1024 == 0 && u + 1 < ARRAY_LEN(units)) {
        bytes /= 1024;
        u++;
    }
    (void)snprintf(out, cap, "%" PRIu64 "%s", bytes, units[u]);
    return out;
}

const char *config_format_duration(char *out, size_t cap, uint64_t ms) {
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};
    for (size_t i = 0; i < ARRAY_LEN(units) && ms > 0; i++)
        if (ms % units[i].ms == 0) {
            (void)snprintf(out, cap, "%" PRIu64 "%s", ms / units[i].ms, units[i].name);
            return out;
        }
    (void)snprintf(out, cap, "%" PRIu64 "%s", ms, ms == 0 ? "s" : "ms");
    return out;
}

/* "a, b, c" as far as it fits. */
static void join_names(const char *const *names, char *out, size_t cap) {
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL; i++) {
        const int w = snprintf(out + n, cap - n, "%s%s", i > 0 ? ", " : "", names[i]);
        if (w < 0 || (size_t)w >= cap - n) {
            out[n] = '\0';
            return;
        }
        n += (size_t)w;
    }
}

const char *config_allowed(const struct config_option *o, char *out, size_t cap) {
    uint64_t min, max;
    char a[32], b[32];
    config_limits_u64(o, &min, &max);
    switch (o->type) {
    case CONFIG_BOOL:
        (void)snprintf(out, cap, "true, false, yes, no, on, off");
        break;
    case CONFIG_U64:
    case CONFIG_LIST_U64:
        (void)snprintf(out, cap, "%" PRIu64 " to %" PRIu64, min, max);
        break;
    case CONFIG_F64:
        if (unlimited(o))
            (void)snprintf(out, cap, "any finite number");
        else
            (void)snprintf(out, cap, "%.9g to %.9g", o->min, o->max);
        break;
    case CONFIG_SIZE:
        (void)snprintf(out, cap, "%s to %s, such as 512, 64KiB or 10MB",
                       config_format_size(a, sizeof a, min),
                       max == UINT64_MAX ? "any" : config_format_size(b, sizeof b, max));
        break;
    case CONFIG_DURATION:
        (void)snprintf(out, cap, "%s to %s, such as 250ms, 5s or 2h",
                       config_format_duration(a, sizeof a, min),
                       max == UINT64_MAX ? "any" : config_format_duration(b, sizeof b, max));
        break;
    case CONFIG_ENUM:
        join_names(o->names, out, cap);
        break;
    case CONFIG_STR:
    case CONFIG_LIST_STR:
        if (unlimited(o))
            (void)snprintf(out, cap, "text");
        else
            (void)snprintf(out, cap, "%" PRIu64 " to %" PRIu64 " bytes of text", min, max);
        break;
    case CONFIG_NODE:
        (void)snprintf(out, cap, "YAML");
        break;
    }
    return out;
}

/* "PLACE: key 'local.lr': 'abc' is not a number; allowed: 0 to 10 (default 0.1)" */
static enum sotto_status refuse(const struct config_option *o, const struct config_source *from,
                                const char *text, const char *problem, struct sotto_error *err) {
    char allowed[CONFIG_ALLOWED_MAX], shown[64], fallback[48] = "";
    if ((o->flags & CONFIG_SECRET) != 0)
        text = "(secret)";
    if (o->fallback != NULL)
        (void)snprintf(fallback, sizeof fallback, " (default %s)",
                       o->fallback[0] != '\0' ? o->fallback : "empty");
    return SOTTO_FAIL(err, SOTTO_CONFIG, "%s: key '%s': '%s' %s; allowed: %s%s", from->place,
                      o->path, sotto_escape(shown, sizeof shown, text, strlen(text)), problem,
                      config_allowed(o, allowed, sizeof allowed), fallback);
}

static enum sotto_status no_memory(const struct config_option *o, struct sotto_error *err) {
    return SOTTO_FAIL(err, SOTTO_NOMEM, "key '%s': out of memory", o->path);
}

/* ---- Scalars
 * ----------------------------------------------------------------------------------------------------
 */

static bool is_whole(const char *text) {
    if (*text == '\0')
        return false;
    for (const char *p = text; *p != '\0'; p++)
        if (*p < '0' || *p > '9')
            return false;
    return text[0] != '0' || text[1] == '\0';
}

/* What is wrong with text as a value of this option, or NULL with the value in *u or *f. */
static const char *parse_number(const struct config_option *o, const char *text, uint64_t *u,
                                double *f) {
    uint64_t min, max;
    bool flag;
    config_limits_u64(o, &min, &max);
    switch ((int)o->type) {
    case CONFIG_U64:
    case CONFIG_LIST_U64:
        if (num_parse_u64(text, min, max, u, NULL) == SOTTO_OK)
            return NULL;
        return is_whole(text) ? "is out of range" : "is not a whole number";
    case CONFIG_SIZE:
        if (num_parse_size(text, UINT64_MAX, u, NULL) != SOTTO_OK)
            return "is not a size";
        return *u < min || *u > max ? "is out of range" : NULL;
    case CONFIG_DURATION:
        if (num_parse_duration_ms(text, UINT64_MAX, u, NULL) != SOTTO_OK)
            return "is not a duration";
        return *u < min || *u > max ? "is out of range" : NULL;
    case CONFIG_BOOL:
        if (num_parse_bool(text, &flag, NULL) != SOTTO_OK)
            return "is not a switch";
        *u = flag;
        return NULL;
    case CONFIG_F64:
        if (num_parse_f64(text, -DBL_MAX, DBL_MAX, f, NULL) != SOTTO_OK)
            return "is not a number";
        return !unlimited(o) && (*f < o->min || *f > o->max) ? "is out of range" : NULL;
    case CONFIG_ENUM:
        for (int i = 0; o->names[i] != NULL; i++)
            if (strcmp(o->names[i], text) == 0) {
                *u = (uint64_t)i;
                return NULL;
            }
        return "is not one of the allowed words";
    default:
        return "is not a scalar";
    }
}

static enum sotto_status set_number(const struct config_option *o, void *field, const char *text,
                                    const struct config_source *from, struct sotto_error *err) {
    uint64_t u = 0;
    double f = 0;
    const char *problem = parse_number(o, text, &u, &f);
    if (problem != NULL)
        return refuse(o, from, text, problem, err);
    if (o->type == CONFIG_BOOL)
        *(bool *)field = u != 0;
    else if (o->type == CONFIG_F64)
        *(double *)field = f;
    else if (o->type == CONFIG_ENUM)
        *(int *)field = (int)u;
    else
        *(uint64_t *)field = u;
    return SOTTO_OK;
}

/* A checked copy of text; a relative path gets the config file's folder in front. */
static enum sotto_status copy_text(const struct config_option *o, const char *text,
                                   const struct config_source *from, char **out,
                                   struct sotto_error *err) {
    uint64_t min, max;
    char joined[IO_PATH_MAX];
    config_limits_u64(o, &min, &max);
    const size_t n = strlen(text);
    if (n < min)
        return refuse(o, from, text, "is too short", err);
    if (n > max)
        return refuse(o, from, text, "is too long", err);
    if ((o->flags & CONFIG_PATH) != 0 && n > 0 && text[0] != '/' && from->folder != NULL &&
        from->folder[0] != '\0') {
        if (io_join(joined, sizeof joined, from->folder, text, NULL) != SOTTO_OK)
            return refuse(o, from, text, "is too long a path", err);
        text = joined;
    }
    *out = mem_strdup(text);
    return *out != NULL ? SOTTO_OK : no_memory(o, err);
}

static enum sotto_status set_scalar(const struct config_option *o, struct config_slot *slot,
                                    void *field, const char *text, const struct config_source *from,
                                    struct sotto_error *err) {
    if (o->type != CONFIG_STR)
        return set_number(o, field, text, from, err);
    char *copy;
    enum sotto_status status = copy_text(o, text, from, &copy, err);
    if (status != SOTTO_OK)
        return status;
    mem_free(slot->text);
    slot->text = copy;
    *(char **)field = copy;
    return SOTTO_OK;
}

/* ---- Lists
 * ------------------------------------------------------------------------------------------------------
 */

static void clear_items(struct config_slot *slot) {
    for (uint32_t i = 0; i < slot->item_count; i++)
        mem_free(slot->items[i]);
    slot->item_count = 0;
}

static void list_reset(const struct config_option *o, struct config_slot *slot, void *field) {
    clear_items(slot);
    if (o->type == CONFIG_LIST_U64)
        memset(field, 0, sizeof(struct config_list_u64));
    else
        memset(field, 0, sizeof(struct config_list_str));
}

static enum sotto_status list_append(const struct config_option *o, struct config_slot *slot,
                                     void *field, const char *text,
                                     const struct config_source *from, struct sotto_error *err) {
    struct config_list_u64 *numbers = field;
    struct config_list_str *strings = field;
    const uint32_t count = o->type == CONFIG_LIST_U64 ? numbers->count : strings->count;
    if (count >= CONFIG_LIST_MAX)
        return refuse(o, from, text, "is the 65th item; a list has at most 64", err);
    if (o->type == CONFIG_LIST_U64) {
        double unused;
        const char *problem = parse_number(o, text, &numbers->v[count], &unused);
        if (problem != NULL)
            return refuse(o, from, text, problem, err);
        numbers->count++;
        return SOTTO_OK;
    }
    enum sotto_status status = copy_text(o, text, from, &slot->items[count], err);
    if (status != SOTTO_OK)
        return status;
    slot->item_count = count + 1;
    strings->v[count] = slot->items[count];
    strings->count++;
    return SOTTO_OK;
}

static enum sotto_status set_list_node(const struct config_option *o, struct config_slot *slot,
                                       void *field, const struct config_node *node,
                                       const struct config_source *from, struct sotto_error *err) {
    if (node->kind != CONFIG_SEQUENCE)
        return refuse(o, from, node->kind == CONFIG_SCALAR ? node->text : "{...}",
                      "is not a list such as [a, b]", err);
    list_reset(o, slot, field);
    for (uint32_t i = 0; i < node->child_count; i++) {
        const struct config_node *item = node->children[i];
        if (item->kind != CONFIG_SCALAR)
            return refuse(o, from, "an item", "is not a single value", err);
        enum sotto_status status = list_append(o, slot, field, item->text, from, err);
        if (status != SOTTO_OK)
            return status;
    }
    return SOTTO_OK;
}

/* "a,b,c" from a flag, the environment or a default; empty text is the empty list. */
static enum sotto_status set_list_text(const struct config_option *o, struct config_slot *slot,
                                       void *field, const char *text,
                                       const struct config_source *from, struct sotto_error *err) {
    list_reset(o, slot, field);
    while (*text != '\0') {
        char item[1024];
        const size_t n = strcspn(text, ",");
        if (n >= sizeof item)
            return refuse(o, from, "an item", "is longer than 1023 bytes", err);
        memcpy(item, text, n);
        item[n] = '\0';
        enum sotto_status status = list_append(o, slot, field, item, from, err);
        if (status != SOTTO_OK)
            return status;
        text += n + (text[n] == ',');
    }
    return SOTTO_OK;
}

/* ---- Any value
 * --------------------------------------------------------------------------------------------------
 */

static enum sotto_status set_from_node(const struct config_option *o, struct config_slot *slot,
                                       void *field, const struct config_node *node,
                                       const struct config_source *from, struct sotto_error *err) {
    if (o->type == CONFIG_NODE) {
        *(const struct config_node **)field = node;
        return SOTTO_OK;
    }
    if (node->kind == CONFIG_SCALAR && !node->quoted && node->text[0] == '\0')
        return refuse(o, from, "", "is no value; write \"\" for empty text", err);
    if (o->type == CONFIG_LIST_U64 || o->type == CONFIG_LIST_STR)
        return set_list_node(o, slot, field, node, from, err);
    if (node->kind != CONFIG_SCALAR)
        return refuse(o, from, node->kind == CONFIG_SEQUENCE ? "[...]" : "{...}",
                      "is not a single value", err);
    return set_scalar(o, slot, field, node->text, from, err);
}

/* Lists in brackets and free-form subtrees are YAML also on the command line. */
static enum sotto_status set_from_yaml_text(const struct config_option *o, struct config_slot *slot,
                                            void *field, const struct config_source *from,
                                            struct sotto_error *err) {
    struct config_node *node = NULL;
    enum sotto_status status =
        config_yaml_read(from->place, view_of(from->text, strlen(from->text)), &node, err);
    if (status != SOTTO_OK)
        return status;
    status = set_from_node(o, slot, field, node, from, err);
    if (status == SOTTO_OK && o->type == CONFIG_NODE) {
        config_node_free(slot->node);
        slot->node = node; /* the settings point into it */
    } else {
        config_node_free(node);
    }
    return status;
}

void config_slot_clear(struct config_slot *slot) {
    clear_items(slot);
    mem_free(slot->origin);
    mem_free(slot->text);
    config_node_free(slot->node);
    *slot = (struct config_slot){0};
}

enum sotto_status config_value_set(const struct config_option *o, struct config_slot *slot,
                                   void *settings, const struct config_source *from,
                                   struct sotto_error *err) {
    void *field = (uint8_t *)settings + o->offset;
    const bool list = o->type == CONFIG_LIST_U64 || o->type == CONFIG_LIST_STR;
    enum sotto_status status;
    if (from->node != NULL)
        status = set_from_node(o, slot, field, from->node, from, err);
    else if (o->type == CONFIG_NODE || (list && from->text[0] == '['))
        status = set_from_yaml_text(o, slot, field, from, err);
    else if (list)
        status = set_list_text(o, slot, field, from->text, from, err);
    else
        status = set_scalar(o, slot, field, from->text, from, err);
    if (status != SOTTO_OK)
        return status;
    char *origin = mem_strdup(from->origin);
    if (origin == NULL)
        return no_memory(o, err);
    mem_free(slot->origin);
    slot->origin = origin;
    slot->given = true;
    return SOTTO_OK;
}

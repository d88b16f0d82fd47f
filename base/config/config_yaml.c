/* YAML text to a tree, event by event: places are kept, and what a setting never needs (anchors,
 * aliases, tags, more than one document, duplicate keys, deep nesting) is refused where it stands,
 * before it can cost anything. */
#include <string.h>
#include <yaml.h>

#include "config_int.h"

struct yaml_reader {
    const char *name;
    yaml_parser_t parser;
    struct config_node *open[CONFIG_DEPTH_MAX]; /* collections not yet ended, outermost first */
    int depth;
    char *key; /* of the mapping value that comes next */
    yaml_mark_t key_mark;
    struct config_node *root;
    uint32_t nodes;
    struct sotto_error *err;
};

static enum sotto_status refuse_at(struct yaml_reader *r, const yaml_mark_t *at, const char *why) {
    return SOTTO_FAIL(r->err, SOTTO_CONFIG, "%s:%zu:%zu: %s", r->name, at->line + 1, at->column + 1,
                      why);
}

static enum sotto_status no_memory(struct yaml_reader *r) {
    return SOTTO_FAIL(r->err, SOTTO_NOMEM, "%s: out of memory", r->name);
}

static enum sotto_status syntax_error(struct yaml_reader *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(r);
    const char *problem = p->problem != NULL ? p->problem : "unknown problem";
    if (p->error == YAML_READER_ERROR)
        return SOTTO_FAIL(r->err, SOTTO_CONFIG, "%s: byte %zu: not valid YAML: %s", r->name,
                          p->problem_offset, problem);
    return SOTTO_FAIL(r->err, SOTTO_CONFIG, "%s:%zu:%zu: not valid YAML: %s", r->name,
                      p->problem_mark.line + 1, p->problem_mark.column + 1, problem);
}

static struct config_node *parent_of(const struct yaml_reader *r) {
    return r->depth > 0 ? r->open[r->depth - 1] : NULL;
}

/* Puts a finished or just opened node where it belongs; takes it over also when it fails. */
static enum sotto_status place(struct yaml_reader *r, struct config_node *node,
                               const yaml_mark_t *at) {
    struct config_node *parent = parent_of(r);
    if (parent == NULL) {
        r->root = node;
        return SOTTO_OK;
    }
    if (parent->child_count >= CONFIG_CHILDREN_MAX) {
        config_node_free(node);
        return refuse_at(r, at, "more than 4096 entries");
    }
    if (r->key != NULL) {
        node->key = r->key;
        node->key_line = (int)r->key_mark.line + 1;
        node->key_column = (int)r->key_mark.column + 1;
        r->key = NULL;
    }
    return config_node_add(parent, node) == SOTTO_OK ? SOTTO_OK : no_memory(r);
}

static enum sotto_status new_node(struct yaml_reader *r, enum config_node_kind kind,
                                  const yaml_mark_t *at, struct config_node **out) {
    if (++r->nodes > CONFIG_NODES_MAX)
        return refuse_at(r, at, "more than 65536 values");
    struct config_node *node = config_node_new(kind);
    if (node == NULL)
        return no_memory(r);
    node->line = (int)at->line + 1;
    node->column = (int)at->column + 1;
    *out = node;
    return SOTTO_OK;
}

/* A scalar's text, terminated; a NUL inside would cut it silently. */
static enum sotto_status scalar_text(struct yaml_reader *r, const yaml_event_t *e, char **out) {
    const char *value = (const char *)e->data.scalar.value;
    const size_t n = e->data.scalar.length;
    if (memchr(value, 0, n) != NULL)
        return refuse_at(r, &e->start_mark, "a zero byte inside a value");
    char *text = mem_alloc(n + 1);
    if (text == NULL)
        return no_memory(r);
    memcpy(text, value, n);
    text[n] = '\0';
    *out = text;
    return SOTTO_OK;
}

static enum sotto_status take_key(struct yaml_reader *r, const struct config_node *mapping,
                                  const yaml_event_t *e) {
    char shown[80];
    if (e->type != YAML_SCALAR_EVENT)
        return refuse_at(r, &e->start_mark, "a key must be a plain word");
    if (e->data.scalar.length == 0 || e->data.scalar.length > CONFIG_KEY_MAX)
        return refuse_at(r, &e->start_mark, "a key must have 1 to 128 bytes");
    enum sotto_status status = scalar_text(r, e, &r->key);
    if (status != SOTTO_OK)
        return status;
    r->key_mark = e->start_mark;
    const struct config_node *twin = config_node_get(mapping, r->key);
    if (twin != NULL)
        return SOTTO_FAIL(r->err, SOTTO_CONFIG,
                          "%s:%zu:%zu: key '%s' is there twice; the first is in line %d", r->name,
                          e->start_mark.line + 1, e->start_mark.column + 1,
                          sotto_escape(shown, sizeof shown, r->key, strlen(r->key)), twin->line);
    return SOTTO_OK;
}

static bool has_tag(const yaml_event_t *e) {
    switch ((int)e->type) {
    case YAML_SCALAR_EVENT:
        return e->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.tag != NULL;
    default:
        return false;
    }
}

static bool has_anchor(const yaml_event_t *e) {
    switch ((int)e->type) {
    case YAML_SCALAR_EVENT:
        return e->data.scalar.anchor != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.anchor != NULL;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.anchor != NULL;
    default:
        return false;
    }
}

static enum sotto_status take_scalar(struct yaml_reader *r, const yaml_event_t *e) {
    struct config_node *node;
    enum sotto_status status = new_node(r, CONFIG_SCALAR, &e->start_mark, &node);
    if (status != SOTTO_OK)
        return status;
    node->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    status = scalar_text(r, e, &node->text);
    if (status != SOTTO_OK) {
        config_node_free(node);
        return status;
    }
    return place(r, node, &e->start_mark);
}

static enum sotto_status open_collection(struct yaml_reader *r, const yaml_event_t *e) {
    if (r->depth >= CONFIG_DEPTH_MAX)
        return refuse_at(r, &e->start_mark, "nested more than 16 levels deep");
    const bool mapping = e->type == YAML_MAPPING_START_EVENT;
    struct config_node *node;
    enum sotto_status status =
        new_node(r, mapping ? CONFIG_MAPPING : CONFIG_SEQUENCE, &e->start_mark, &node);
    if (status != SOTTO_OK)
        return status;
    status = place(r, node, &e->start_mark);
    if (status == SOTTO_OK)
        r->open[r->depth++] = node;
    return status;
}

static enum sotto_status take_event(struct yaml_reader *r, const yaml_event_t *e) {
    struct config_node *parent = parent_of(r);
    if (e->type == YAML_ALIAS_EVENT || has_anchor(e))
        return refuse_at(r, &e->start_mark, "anchors and aliases (& and *) are not allowed");
    if (has_tag(e))
        return refuse_at(r, &e->start_mark, "tags (!) are not allowed");
    switch ((int)e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return r->root != NULL ? refuse_at(r, &e->start_mark, "only one document is allowed")
                               : SOTTO_OK;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return SOTTO_OK;
    case YAML_SCALAR_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (parent != NULL && parent->kind == CONFIG_MAPPING && r->key == NULL)
            return take_key(r, parent, e);
        return e->type == YAML_SCALAR_EVENT ? take_scalar(r, e) : open_collection(r, e);
    default:
        return SOTTO_OK;
    }
}

static enum sotto_status read_events(struct yaml_reader *r) {
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r->parser, &event))
            return syntax_error(r);
        const bool end = event.type == YAML_STREAM_END_EVENT;
        const enum sotto_status status = take_event(r, &event);
        yaml_event_delete(&event);
        if (status != SOTTO_OK || end)
            return status;
    }
}

enum sotto_status config_yaml_read(const char *name, struct view text, struct config_node **out,
                                   struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct yaml_reader r = {.name = name, .err = err};
    if (text.n > CONFIG_FILE_MAX)
        return SOTTO_FAIL(err, SOTTO_CONFIG, "%s: larger than 1 MiB", name);
    if (!yaml_parser_initialize(&r.parser))
        return no_memory(&r);
    yaml_parser_set_input_string(&r.parser, text.n > 0 ? text.p : (const uint8_t *)"", text.n);
    TRY(read_events(&r));
    if (r.root == NULL) {
        const yaml_mark_t start = {0, 0, 0};
        TRY(new_node(&r, CONFIG_MAPPING, &start, &r.root));
    }
    *out = r.root;
    r.root = NULL;
out:
    mem_free(r.key);
    config_node_free(r.root);
    yaml_parser_delete(&r.parser);
    return status;
}

/* Models as YAML layers: a table of layer kinds and their options; every error names file, line and
 * column. */
#include "sotto/config.h"
#include "sotto/zoo.h"

#include <stdio.h>
#include <string.h>

#define YAML_SIDE_MAX 67108864u

enum option {
    OPT_UNITS,
    OPT_KERNEL,
    OPT_STRIDE,
    OPT_PADDING,
    OPT_GROUPS,
    OPT_BIAS,
    OPT_SLOPE,
    OPT_RATE,
    OPT_SHAPE,
    OPT_FROM,
    OPT_INPUT,
    OPT_NAME,
    OPT_COUNT
};
static const char *const option_names[OPT_COUNT] = {"units",  "kernel", "stride", "padding",
                                                    "groups", "bias",   "slope",  "rate",
                                                    "shape",  "from",   "input",  "name"};
#define HAS(o)     (1u << (o))
#define ALWAYS     (HAS(OPT_INPUT) | HAS(OPT_NAME))
#define HAS_WINDOW (HAS(OPT_KERNEL) | HAS(OPT_STRIDE) | HAS(OPT_PADDING))

static const struct layer_kind {
    const char *name;
    enum graph_op op;
    enum kern_act act;
    unsigned options, required;
} kinds[] = {
    {"conv", GRAPH_CONV2D, KERN_ACT_NONE,
     HAS(OPT_UNITS) | HAS_WINDOW | HAS(OPT_GROUPS) | HAS(OPT_BIAS),
     HAS(OPT_UNITS) | HAS(OPT_KERNEL)},
    {"dense", GRAPH_DENSE, KERN_ACT_NONE, HAS(OPT_UNITS) | HAS(OPT_BIAS), HAS(OPT_UNITS)},
    {"relu", GRAPH_ACT, KERN_ACT_RELU, 0, 0},
    {"leaky_relu", GRAPH_ACT, KERN_ACT_LEAKY_RELU, HAS(OPT_SLOPE), 0},
    {"sigmoid", GRAPH_ACT, KERN_ACT_SIGMOID, 0, 0},
    {"tanh", GRAPH_ACT, KERN_ACT_TANH, 0, 0},
    {"maxpool", GRAPH_MAXPOOL, KERN_ACT_NONE, HAS_WINDOW, HAS(OPT_KERNEL)},
    {"avgpool", GRAPH_AVGPOOL, KERN_ACT_NONE, HAS_WINDOW, HAS(OPT_KERNEL)},
    {"globalpool", GRAPH_GLOBALPOOL, KERN_ACT_NONE, 0, 0},
    {"flatten", GRAPH_FLATTEN, KERN_ACT_NONE, 0, 0},
    {"reshape", GRAPH_RESHAPE, KERN_ACT_NONE, HAS(OPT_SHAPE), HAS(OPT_SHAPE)},
    {"add", GRAPH_ADD, KERN_ACT_NONE, HAS(OPT_FROM), HAS(OPT_FROM)},
    {"dropout", GRAPH_DROPOUT, KERN_ACT_NONE, HAS(OPT_RATE), HAS(OPT_RATE)},
};

struct yaml {
    const char *file;
    struct graph *g;
    struct sotto_error *err;
};

/* Fails at a node: "file:12:3: ...". */
#define FAIL_AT(y, node, ...) fail_at((y), (node), __VA_ARGS__)
static enum sotto_status fail_at(const struct yaml *y, const struct config_node *node,
                                 const char *fmt, ...) SOTTO_PRINTF(3, 4);
static enum sotto_status fail_at(const struct yaml *y, const struct config_node *node,
                                 const char *fmt, ...) {
    char text[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return SOTTO_FAIL(y->err, SOTTO_CONFIG, "%s:%d:%d: %s", y->file, node->line, node->column,
                      text);
}

/* Puts the place before an error that a parser or the graph set, and makes it one of configuration.
 */
static enum sotto_status place(const struct yaml *y, const struct config_node *node,
                               const char *what, enum sotto_status status) {
    if (status == SOTTO_OK || status == SOTTO_NOMEM)
        return status;
    if (y->err) {
        char text[sizeof y->err->message];
        memcpy(text, y->err->message, sizeof text);
        return fail_at(y, node, "%s%s%s", what, *what ? ": " : "", text);
    }
    return SOTTO_CONFIG;
}

/* ---- Values ---- */

static enum sotto_status need_scalar(const struct yaml *y, const struct config_node *n,
                                     const char *key) {
    return n->kind == CONFIG_SCALAR && n->text ? SOTTO_OK
                                               : FAIL_AT(y, n, "%s must be one value", key);
}

static enum sotto_status get_u32(const struct yaml *y, const struct config_node *n, const char *key,
                                 uint32_t min, uint32_t *out) {
    uint64_t v = 0;
    enum sotto_status status;
    TRY(need_scalar(y, n, key));
    TRY(place(y, n, key, num_parse_u64(n->text, min, YAML_SIDE_MAX, &v, y->err)));
    *out = (uint32_t)v;
out:
    return status;
}

static enum sotto_status get_f32(const struct yaml *y, const struct config_node *n, const char *key,
                                 float *out) {
    double v = 0;
    enum sotto_status status;
    TRY(need_scalar(y, n, key));
    TRY(place(y, n, key, num_parse_f64(n->text, -1e30, 1e30, &v, y->err)));
    *out = (float)v;
out:
    return status;
}

/* One number for both sides, or [height, width]. */
static enum sotto_status get_pair(const struct yaml *y, const struct config_node *n,
                                  const char *key, uint32_t *h, uint32_t *w) {
    enum sotto_status status;
    if (n->kind == CONFIG_SCALAR) {
        TRY(get_u32(y, n, key, 1, h));
        *w = *h;
        return SOTTO_OK;
    }
    if (n->kind != CONFIG_SEQUENCE || n->child_count != 2)
        return FAIL_AT(y, n, "%s must be a number or [height, width]", key);
    TRY(get_u32(y, n->children[0], key, 1, h));
    TRY(get_u32(y, n->children[1], key, 1, w));
out:
    return status;
}

static enum sotto_status get_dims(const struct yaml *y, const struct config_node *n,
                                  const char *key, uint32_t *rank, uint32_t dims[3]) {
    enum sotto_status status = SOTTO_OK;
    if (n->kind != CONFIG_SEQUENCE || n->child_count < 1 || n->child_count > 3)
        return FAIL_AT(y, n, "%s must be a list of 1 to 3 sizes, like [28, 28, 1]", key);
    *rank = n->child_count;
    for (uint32_t i = 0; i < n->child_count; i++)
        TRY(get_u32(y, n->children[i], key, 1, &dims[i]));
out:
    return status;
}

/* The index of a word in a NULL-terminated list. */
static enum sotto_status get_word(const struct yaml *y, const struct config_node *n,
                                  const char *key, const char *const *words, int *out) {
    enum sotto_status status = need_scalar(y, n, key);
    if (status != SOTTO_OK)
        return status;
    for (int i = 0; words[i]; i++)
        if (strcmp(n->text, words[i]) == 0) {
            *out = i;
            return SOTTO_OK;
        }
    return FAIL_AT(y, n, "%s: \"%.40s\" is not one of %s, %s", key, n->text, words[0], words[1]);
}

static enum sotto_status get_layer(const struct yaml *y, const struct config_node *n,
                                   const char *key, uint32_t *out) {
    enum sotto_status status = need_scalar(y, n, key);
    if (status != SOTTO_OK)
        return status;
    for (uint32_t i = 0; i < y->g->node_count; i++)
        if (strcmp(y->g->nodes[i].name, n->text) == 0) {
            *out = i;
            return SOTTO_OK;
        }
    return FAIL_AT(y, n, "%s: no earlier layer is named \"%.40s\"", key, n->text);
}

static enum sotto_status get_name(const struct yaml *y, const struct config_node *n,
                                  char out[GRAPH_NAME_MAX]) {
    enum sotto_status status = need_scalar(y, n, "name");
    if (status != SOTTO_OK)
        return status;
    if (strlen(n->text) >= GRAPH_NAME_MAX || n->text[0] == 0)
        return FAIL_AT(y, n, "name: 1 to %d characters", GRAPH_NAME_MAX - 1);
    memcpy(out, n->text, strlen(n->text) + 1);
    return SOTTO_OK;
}

/* ---- Layers ---- */

static enum sotto_status read_option(const struct yaml *y, const struct config_node *n,
                                     enum option option, struct graph_node *out) {
    static const char *const paddings[] = {"valid", "same", NULL};
    const char *key = option_names[option];
    enum sotto_status status = SOTTO_OK;
    int word = 0;
    switch (option) {
    case OPT_UNITS:
        return get_u32(y, n, key, 1, &out->units);
    case OPT_KERNEL:
        return get_pair(y, n, key, &out->kernel_h, &out->kernel_w);
    case OPT_STRIDE:
        return get_pair(y, n, key, &out->stride_h, &out->stride_w);
    case OPT_PADDING:
        status = get_word(y, n, key, paddings, &word);
        out->padding = (enum graph_padding)word;
        return status;
    case OPT_GROUPS:
        return get_u32(y, n, key, 1, &out->groups);
    case OPT_BIAS:
        status = need_scalar(y, n, key);
        return status != SOTTO_OK ? status
                                  : place(y, n, key, num_parse_bool(n->text, &out->bias, y->err));
    case OPT_SLOPE:
        return get_f32(y, n, key, &out->slope);
    case OPT_RATE:
        return get_f32(y, n, key, &out->rate);
    case OPT_SHAPE:
        return get_dims(y, n, key, &out->rank, out->dims);
    case OPT_FROM:
        return get_layer(y, n, key, &out->inputs[1]);
    case OPT_INPUT:
        return get_layer(y, n, key, &out->inputs[0]);
    case OPT_NAME:
        return get_name(y, n, out->name);
    case OPT_COUNT:
        break;
    }
    return SOTTO_OK;
}

static void list_options(unsigned options, char *out, size_t cap) {
    size_t at = 0;
    out[0] = 0;
    for (unsigned o = 0; o < OPT_COUNT; o++)
        if (options & HAS(o) && at < cap)
            at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? ", " : "", option_names[o]);
}

static enum sotto_status read_options(const struct yaml *y, const struct layer_kind *kind,
                                      const struct config_node *layer,
                                      const struct config_node *options, struct graph_node *out) {
    enum sotto_status status = SOTTO_OK;
    unsigned allowed = kind->options | ALWAYS, seen = 0;
    for (uint32_t i = 0; i < options->child_count; i++) {
        const struct config_node *n = options->children[i];
        unsigned o = 0;
        while (o < OPT_COUNT && !(allowed & HAS(o) && strcmp(n->key, option_names[o]) == 0))
            o++;
        if (o == OPT_COUNT) {
            char list[120];
            list_options(allowed, list, sizeof list);
            return FAIL_AT(y, n, "%s has no option \"%.30s\": %s are allowed", kind->name, n->key,
                           list);
        }
        seen |= HAS(o);
        TRY(read_option(y, n, (enum option)o, out));
    }
    if (kind->required & ~seen) {
        char list[120];
        list_options(kind->required & ~seen, list, sizeof list);
        return FAIL_AT(y, layer, "%s needs %s", kind->name, list);
    }
out:
    return status;
}

/* A layer is {kind: {options}}, or just the kind's name when it needs none. */
static enum sotto_status read_layer(const struct yaml *y, const struct config_node *layer,
                                    uint32_t *at) {
    static const struct config_node nothing = {.kind = CONFIG_MAPPING};
    const struct config_node *options = &nothing;
    const char *name = NULL;
    enum sotto_status status;
    if (layer->kind == CONFIG_SCALAR) {
        name = layer->text;
    } else if (layer->kind == CONFIG_MAPPING && layer->child_count == 1) {
        name = layer->children[0]->key;
        options = layer->children[0];
        if (options->kind == CONFIG_SCALAR && (!options->text || options->text[0] == 0))
            options = &nothing;
        if (options->kind != CONFIG_MAPPING)
            return FAIL_AT(y, options, "options of %.30s must be a mapping, like {units: 10}",
                           name);
    }
    if (!name)
        return FAIL_AT(y, layer, "a layer is one kind with its options, like {dense: {units: 10}}");
    const struct layer_kind *kind = NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            kind = &kinds[i];
    if (!kind)
        return FAIL_AT(
            y, layer,
            "no layer kind \"%.30s\": conv, dense, relu, leaky_relu, sigmoid, tanh, maxpool, "
            "avgpool, globalpool, flatten, reshape, add, dropout",
            name);
    struct graph_node n = {
        .op = kind->op, .inputs = {*at, *at}, .act = kind->act, .bias = true, .slope = 0.01f};
    TRY(read_options(y, kind, layer, options, &n));
    TRY(place(y, layer, "", graph_add(y->g, &n, at, y->err)));
out:
    return status;
}

/* ---- The whole ---- */

struct parts {
    const struct config_node *input, *classes, *dtype, *scale, *shift, *layers;
};

static enum sotto_status find_parts(const struct yaml *y, const struct config_node *model,
                                    struct parts *p) {
    const struct {
        const char *key;
        const struct config_node **node;
        bool required;
    } keys[] = {{"input", &p->input, true},  {"classes", &p->classes, true},
                {"dtype", &p->dtype, false}, {"scale", &p->scale, false},
                {"shift", &p->shift, false}, {"layers", &p->layers, true}};
    memset(p, 0, sizeof *p);
    if (model->kind != CONFIG_MAPPING)
        return FAIL_AT(y, model, "a model is a mapping with input, classes and layers");
    for (uint32_t i = 0; i < model->child_count; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(keys) && strcmp(keys[k].key, model->children[i]->key) != 0)
            k++;
        if (k == ARRAY_LEN(keys))
            return FAIL_AT(y, model->children[i],
                           "a model has no \"%.30s\": input, classes, dtype, scale, shift, layers",
                           model->children[i]->key);
        *keys[k].node = model->children[i];
    }
    for (size_t k = 0; k < ARRAY_LEN(keys); k++)
        if (keys[k].required && !*keys[k].node)
            return FAIL_AT(y, model, "the model lacks %s", keys[k].key);
    return SOTTO_OK;
}

static enum sotto_status read_schema(const struct yaml *y, const struct parts *p,
                                     struct data_schema *s) {
    static const char *const dtypes[] = {"u8", "f32", NULL};
    enum sotto_status status;
    int dtype = DATA_U8;
    *s = (struct data_schema){0};
    TRY(get_dims(y, p->input, "input", &s->rank, s->dims));
    TRY(get_u32(y, p->classes, "classes", 2, &s->classes));
    if (p->dtype)
        TRY(get_word(y, p->dtype, "dtype", dtypes, &dtype));
    s->dtype = (enum data_dtype)dtype;
    s->scale = s->dtype == DATA_U8 ? 1.0f / 255 : 1.0f;
    if (p->scale)
        TRY(get_f32(y, p->scale, "scale", &s->scale));
    if (p->shift)
        TRY(get_f32(y, p->shift, "shift", &s->shift));
out:
    return status;
}

enum sotto_status zoo_from_yaml(const struct config_node *model, const char *file, struct graph *g,
                                struct data_schema *schema, struct sotto_error *err) {
    enum sotto_status status;
    struct sotto_error local = SOTTO_ERROR_INIT;
    struct yaml y = {file, g, err ? err : &local};
    struct parts p;
    uint32_t at = 0;
    graph_init(g);
    TRY(find_parts(&y, model, &p));
    TRY(read_schema(&y, &p, schema));
    TRY(place(&y, p.input, "input", graph_input(g, schema->rank, schema->dims, &at, y.err)));
    if (p.layers->kind != CONFIG_SEQUENCE || p.layers->child_count == 0)
        TRY(FAIL_AT(&y, p.layers, "layers must be a list"));
    for (uint32_t i = 0; i < p.layers->child_count; i++)
        TRY(read_layer(&y, p.layers->children[i], &at));
    TRY(place(&y, p.layers, "", graph_finish(g, y.err)));
    if (graph_classes(g) != schema->classes)
        TRY(FAIL_AT(&y, p.classes, "classes: %u, but the last layer gives %u", schema->classes,
                    graph_classes(g)));
out:
    if (status != SOTTO_OK)
        graph_deinit(g);
    return status;
}

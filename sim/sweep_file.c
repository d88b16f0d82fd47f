/* A sweep's file, and the runs that it asks for. */
#include "sweep.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define HERE(field) offsetof(struct sweep_settings, field)

/* clang-format off */
const struct config_option sweep_options[] = {
    {"experiment", CONFIG_STR, HERE(experiment), NULL, 0, 0, NULL, CONFIG_REQUIRED | CONFIG_PATH, "",
     "The experiment's file."},
    {"out", CONFIG_STR, HERE(out), "", 0, 0, NULL, CONFIG_PATH, "",
     "Folder of the runs' folders; --out goes before it."},
    {"seeds", CONFIG_LIST_U64, HERE(seeds), "1", 0, 9007199254740992.0, NULL, 0, "",
     "Seeds, each with every setting."},
    {"targets", CONFIG_LIST_STR, HERE(targets), "", 0, 0, NULL, 0, "",
     "Accuracies for the table in the end: rounds and bytes to reach them."},
    {"set", CONFIG_NODE, HERE(set), NULL, 0, 0, NULL, 0, "",
     "Settings of every run: keys of the experiment with their values."},
    {"grid", CONFIG_NODE, HERE(grid), NULL, 0, 0, NULL, 0, "",
     "Keys with lists of values: every combination is made."},
    {"list", CONFIG_NODE, HERE(list), NULL, 0, 0, NULL, 0, "",
     "A list of settings that belong together, each with every combination of grid."},
    CONFIG_END,
};
/* clang-format on */

/* ---- Trees of keys into "a.b=value" */

struct pair {
    char key[SWEEP_KEY_MAX];
    const struct config_node *node; /* a scalar, or for a grid a sequence of scalars */
};
struct pairs {
    uint32_t count;
    struct pair list[SWEEP_SETS_MAX];
};

static enum sotto_status wrong(const struct config_node *n, const char *what,
                               struct sotto_error *err) {
    return SOTTO_FAIL(err, SOTTO_CONFIG, "line %d, column %d: %s", n->line, n->column, what);
}

static bool is_leaf(const struct config_node *n, bool lists) {
    if (n->kind == CONFIG_SCALAR)
        return true;
    bool good = lists && n->kind == CONFIG_SEQUENCE && n->child_count > 0;
    for (uint32_t i = 0; good && i < n->child_count; i++)
        good = n->children[i]->kind == CONFIG_SCALAR;
    return good;
}

/* Appends the leaves below a mapping; lists: sequences of scalars are leaves too. */
static enum sotto_status flatten(const struct config_node *n, const char *prefix, bool lists,
                                 struct pairs *out, struct sotto_error *err) {
    if (n->kind != CONFIG_MAPPING)
        return wrong(n, "expected keys with values", err);
    for (uint32_t i = 0; i < n->child_count; i++) {
        const struct config_node *child = n->children[i];
        char key[SWEEP_KEY_MAX];
        const int len =
            snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", child->key);
        if (len < 0 || (size_t)len >= sizeof key)
            return wrong(child, "the key is too long", err);
        if (child->kind == CONFIG_MAPPING) {
            const enum sotto_status status = flatten(child, key, lists, out, err);
            if (status != SOTTO_OK)
                return status;
            continue;
        }
        if (!is_leaf(child, lists))
            return wrong(child, lists ? "expected values, or a list of values" : "expected a value",
                         err);
        if (out->count == SWEEP_SETS_MAX - 1)
            return wrong(child, "more keys than a run can have", err);
        memcpy(out->list[out->count].key, key, sizeof key);
        out->list[out->count++].node = child;
    }
    return SOTTO_OK;
}

static uint32_t choices(const struct pair *p) {
    return p->node->kind == CONFIG_SEQUENCE ? p->node->child_count : 1;
}

static const char *choice(const struct pair *p, uint32_t i) {
    return p->node->kind == CONFIG_SEQUENCE ? p->node->children[i]->text : p->node->text;
}

/* ---- Runs */

static enum sotto_status add_set(struct sweep_run *r, const char *key, const char *value,
                                 bool named, struct sotto_error *err) {
    if (r->set_count == SWEEP_SETS_MAX)
        return SOTTO_FAIL(err, SOTTO_CONFIG, "a run has more than %u settings", SWEEP_SETS_MAX);
    char *to = r->sets[r->set_count++];
    const int len = snprintf(to, SWEEP_TEXT_MAX, "%s=%s", key, value);
    if (len < 0 || (size_t)len >= SWEEP_TEXT_MAX)
        return SOTTO_FAIL(err, SOTTO_CONFIG, "the value of '%s' is too long", key);
    if (!named)
        return SOTTO_OK;
    size_t at = strlen(r->name);
    if (at + (size_t)len + 2 > SWEEP_NAME_MAX - 24)
        return SOTTO_FAIL(err, SOTTO_CONFIG, "the settings of a run do not fit a folder's name");
    if (at > 0)
        r->name[at++] = ',';
    for (int i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)to[i];
        r->name[at++] = (char)(isalnum(c) || strchr("._=+-", c) ? c : '_');
    }
    r->name[at] = '\0';
    return SOTTO_OK;
}

static enum sotto_status make_run(const struct pairs *set, const struct pairs *item,
                                  const struct pairs *grid, uint64_t point, uint64_t seed,
                                  struct sweep_run *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    char number[32];
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < set->count; i++)
        TRY(add_set(out, set->list[i].key, set->list[i].node->text, false, err));
    for (uint32_t i = 0; i < item->count; i++)
        TRY(add_set(out, item->list[i].key, item->list[i].node->text, true, err));
    for (uint32_t i = 0; i < grid->count; i++) {
        const uint32_t n = choices(&grid->list[i]);
        TRY(add_set(out, grid->list[i].key, choice(&grid->list[i], (uint32_t)(point % n)), true,
                    err));
        point /= n;
    }
    snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    TRY(add_set(out, "task.seed", number, false, err));
    const size_t at = strlen(out->name);
    snprintf(out->name + at, sizeof out->name - at, "%sseed=%s", at ? "," : "", number);
out:
    return status;
}

static enum sotto_status refuse_twins(const struct sweep_run *runs, uint32_t count,
                                      struct sotto_error *err) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(runs[i].name, runs[k].name) == 0)
                return SOTTO_FAIL(err, SOTTO_CONFIG, "two runs would be %s", runs[i].name);
    return SOTTO_OK;
}

enum sotto_status sweep_expand(const struct sweep_settings *s, struct sweep_run **out,
                               uint32_t *count, struct sotto_error *err) {
    static const struct pairs none;
    enum sotto_status status = SOTTO_OK;
    const uint32_t items = s->list ? s->list->child_count : 1;
    uint64_t points = 1, total;
    struct pairs *p = mem_array(3, sizeof *p); /* set, item, grid */
    *out = NULL;
    *count = 0;
    if (!p)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "no memory for a sweep");
    if (s->list && (s->list->kind != CONFIG_SEQUENCE || items == 0))
        TRY(wrong(s->list, "list: expected a list of settings", err));
    if (s->set)
        TRY(flatten(s->set, "", false, &p[0], err));
    if (s->grid)
        TRY(flatten(s->grid, "", true, &p[2], err));
    for (uint32_t i = 0; i < p[2].count && points <= SWEEP_RUNS_MAX; i++)
        points *= choices(&p[2].list[i]);
    total = points * items * s->seeds.count;
    if (total == 0 || total > SWEEP_RUNS_MAX)
        TRY_FAIL(err, SOTTO_CONFIG, "%llu runs; a sweep makes 1 to %u", (unsigned long long)total,
                 SWEEP_RUNS_MAX);
    *out = mem_array((size_t)total, sizeof **out);
    if (!*out)
        TRY_FAIL(err, SOTTO_NOMEM, "no memory for %llu runs", (unsigned long long)total);
    for (uint32_t i = 0; i < items; i++) {
        p[1] = none;
        if (s->list)
            TRY(flatten(s->list->children[i], "", false, &p[1], err));
        for (uint64_t k = 0; k < points; k++)
            for (uint32_t seed = 0; seed < s->seeds.count; seed++)
                TRY(make_run(&p[0], &p[1], &p[2], k, s->seeds.v[seed], &(*out)[(*count)++], err));
    }
    TRY(refuse_twins(*out, *count, err));
out:
    if (status != SOTTO_OK) {
        mem_free(*out);
        *out = NULL;
    }
    mem_free(p);
    return status;
}

/* The tree that a YAML text becomes. */
#include <string.h>

#include "config_int.h"

struct config_node *config_node_new(enum config_node_kind kind) {
    struct config_node *node = mem_zalloc(sizeof *node);
    if (node != NULL)
        node->kind = kind;
    return node;
}

/* Recursion is bounded: the reader refuses more than CONFIG_DEPTH_MAX levels. */
void config_node_free(struct config_node *node) {
    if (node == NULL)
        return;
    for (uint32_t i = 0; i < node->child_count; i++)
        config_node_free(node->children[i]);
    mem_free(node->children);
    mem_free(node->key);
    mem_free(node->text);
    mem_free(node);
}

enum sotto_status config_node_add(struct config_node *parent, struct config_node *child) {
    const uint32_t n = parent->child_count;
    if ((n & (n - 1)) == 0) { /* a power of two: full */
        struct config_node **grown =
            mem_resize(parent->children, n == 0 ? 1 : (size_t)n * 2, sizeof(struct config_node *));
        if (grown == NULL) {
            config_node_free(child);
            return SOTTO_NOMEM;
        }
        parent->children = grown;
    }
    parent->children[n] = child;
    parent->child_count = n + 1;
    return SOTTO_OK;
}

const struct config_node *config_node_get(const struct config_node *mapping, const char *key) {
    if (mapping == NULL || mapping->kind != CONFIG_MAPPING)
        return NULL;
    for (uint32_t i = 0; i < mapping->child_count; i++)
        if (strcmp(mapping->children[i]->key, key) == 0)
            return mapping->children[i];
    return NULL;
}

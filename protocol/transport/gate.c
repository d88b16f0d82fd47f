/* The gate: the CURVE keys that may connect, as a hash table behind a mutex. */
#include "transport/transport_int.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#define SLOTS_MIN 64u
#define SLOTS_MAX ((size_t)1 << 24)

struct transport_gate {
    pthread_mutex_t lock;
    uint8_t
        hash_key[crypto_shorthash_KEYBYTES]; /* devices choose their keys: not where they land */
    struct gate_entry *slots;
    size_t slot_count; /* a power of two */
    size_t used;
};

struct transport_gate *transport_gate_new(void) {
    struct transport_gate *g = mem_zalloc(sizeof *g);
    if (g == NULL)
        return NULL;
    g->slots = mem_array(SLOTS_MIN, sizeof *g->slots);
    if (g->slots == NULL || pthread_mutex_init(&g->lock, NULL) != 0) {
        mem_free(g->slots);
        mem_free(g);
        return NULL;
    }
    g->slot_count = SLOTS_MIN;
    id_random(g->hash_key, sizeof g->hash_key);
    return g;
}

void transport_gate_free(struct transport_gate *g) {
    if (g == NULL)
        return;
    (void)pthread_mutex_destroy(&g->lock);
    mem_free(g->slots);
    mem_free(g);
}

static size_t home(const struct transport_gate *g, const uint8_t key[ID_KEY]) {
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t h;
    (void)crypto_shorthash(out, key, ID_KEY, g->hash_key);
    memcpy(&h, out, sizeof h);
    return (size_t)h & (g->slot_count - 1);
}

/* The slot of the key, or the empty one where it would go. Never full: a quarter stays free. */
static struct gate_entry *slot_of(const struct transport_gate *g, const uint8_t key[ID_KEY]) {
    size_t i = home(g, key);
    while (g->slots[i].role != 0 && memcmp(g->slots[i].key, key, ID_KEY) != 0)
        i = (i + 1) & (g->slot_count - 1);
    return &g->slots[i];
}

static enum sotto_status grow(struct transport_gate *g) {
    struct gate_entry *old = g->slots;
    const size_t count = g->slot_count;
    if (count >= SLOTS_MAX)
        return SOTTO_LIMIT;
    struct gate_entry *slots = mem_array(count * 2, sizeof *slots);
    if (slots == NULL)
        return SOTTO_NOMEM;
    g->slots = slots;
    g->slot_count = count * 2;
    for (size_t i = 0; i < count; i++)
        if (old[i].role != 0)
            *slot_of(g, old[i].key) = old[i];
    mem_free(old);
    return SOTTO_OK;
}

enum sotto_status transport_gate_allow(struct transport_gate *g, const uint8_t curve_key[ID_KEY],
                                       enum transport_role role, uint64_t serial,
                                       int64_t expiry_ms) {
    enum sotto_status status = SOTTO_OK;
    if (role != TRANSPORT_DEVICE && role != TRANSPORT_ENROLL)
        return SOTTO_INVALID;
    (void)pthread_mutex_lock(&g->lock);
    struct gate_entry *e = slot_of(g, curve_key);
    if (e->role == 0 && (g->used + 1) * 4 > g->slot_count * 3) {
        status = grow(g);
        e = slot_of(g, curve_key);
    }
    if (status == SOTTO_OK) {
        if (e->role == 0)
            g->used++;
        *e = (struct gate_entry){.serial = serial, .expiry_ms = expiry_ms, .role = role};
        memcpy(e->key, curve_key, ID_KEY);
    }
    (void)pthread_mutex_unlock(&g->lock);
    return status;
}

void transport_gate_remove(struct transport_gate *g, const uint8_t curve_key[ID_KEY]) {
    (void)pthread_mutex_lock(&g->lock);
    struct gate_entry *e = slot_of(g, curve_key);
    if (e->role != 0) {
        /* Entries behind the hole move up into it, unless that would put them before their home. */
        const size_t mask = g->slot_count - 1;
        size_t hole = (size_t)(e - g->slots);
        for (size_t i = (hole + 1) & mask; g->slots[i].role != 0; i = (i + 1) & mask) {
            const size_t from_home = (i - home(g, g->slots[i].key)) & mask;
            if (from_home >= ((i - hole) & mask)) {
                g->slots[hole] = g->slots[i];
                hole = i;
            }
        }
        g->slots[hole] = (struct gate_entry){.role = 0};
        g->used--;
    }
    (void)pthread_mutex_unlock(&g->lock);
}

size_t transport_gate_count(struct transport_gate *g) {
    (void)pthread_mutex_lock(&g->lock);
    const size_t n = g->used;
    (void)pthread_mutex_unlock(&g->lock);
    return n;
}

bool transport_gate_find(struct transport_gate *g, const uint8_t key[ID_KEY], int64_t now_ms,
                         struct gate_entry *out) {
    (void)pthread_mutex_lock(&g->lock);
    const struct gate_entry e = *slot_of(g, key);
    (void)pthread_mutex_unlock(&g->lock);
    if (out != NULL)
        *out = e;
    return e.role != 0 && (e.expiry_ms == 0 || now_ms < e.expiry_ms);
}

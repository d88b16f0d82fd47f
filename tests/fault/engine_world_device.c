/* The devices of the fault test: honest ones, and ones that lie, decline or flood. */
#include "engine_world.h"

static void send(struct world *w, uint64_t serial, enum world_message_kind kind, uint32_t round) {
    struct world_device *d = &w->device[serial];
    struct world_message m = {.kind = kind, .serial = serial, .round = round};
    if (kind == TO_HOST_CHECK_IN)
        m.nonce = ++d->nonce;
    m.bad = d->kind == DEVICE_BAD || d->kind == DEVICE_FLOODS;
    world_send(w, m);
}

static void flood(struct world *w, uint64_t serial) {
    static const enum world_message_kind kinds[] = {TO_HOST_REPORT, TO_HOST_HEARTBEAT,
                                                    TO_HOST_DECLINE, TO_HOST_CHECK_IN};
    for (uint32_t n = rng_below(&w->rng, 4); n > 0; n--) {
        enum world_message_kind kind = kinds[rng_below(&w->rng, ARRAY_LEN(kinds))];
        send(w, serial, kind, rng_below(&w->rng, WORLD_ROUNDS));
    }
}

void world_device_act(struct world *w, uint64_t serial) {
    struct world_device *d = &w->device[serial];
    if (w->faults && d->kind == DEVICE_FLOODS)
        flood(w, serial);
    d->next_ms = w->now_ms + 500;
    switch (d->stage) {
    case STAGE_IDLE:
        send(w, serial, TO_HOST_CHECK_IN, 0);
        break;
    case STAGE_TRAINING:
        if (rng_below(&w->rng, 3) == 0) {
            d->stage = STAGE_SEALED;
            send(w, serial, TO_HOST_REPORT, d->round);
        } else if (world_chance(w, 100)) {
            send(w, serial, TO_HOST_CHECK_IN, 0); /* restarted: holds the terms still */
        } else {
            send(w, serial, TO_HOST_HEARTBEAT, d->round);
        }
        break;
    case STAGE_SEALED:
        send(w, serial, TO_HOST_REPORT, d->round);
        break;
    }
}

static void receive_plan(struct world *w, struct world_device *d, const struct world_message *m) {
    if (m->nonce != d->nonce || m->round < d->last || d->stage == STAGE_SEALED)
        return;
    if (m->round == d->last && d->stage == STAGE_IDLE &&
        ((d->open | d->kept | d->returned) & (1ull << m->round)))
        return; /* done under these terms */
    d->last = m->round;
    if (d->kind == DEVICE_DECLINES) {
        send(w, m->serial, TO_HOST_DECLINE, m->round);
        return;
    }
    d->stage = STAGE_TRAINING;
    d->round = m->round;
}

static void receive_outcome(struct world *w, struct world_device *d,
                            const struct world_message *m) {
    uint64_t bit = 1ull << m->round;
    if (d->stage == STAGE_SEALED && d->round == m->round)
        d->stage = STAGE_IDLE;
    if (m->outcome == OUT_OPEN) {
        if (!((d->kept | d->returned) & bit))
            d->open |= bit;
        return;
    }
    d->open &= ~bit;
    if (m->outcome == OUT_RETURNED)
        d->returned |= bit;
    else if (m->outcome == OUT_KEPT || m->outcome == OUT_REJECTED)
        d->kept |= bit;
    /* The mass of an update is taken exactly once: summed, or put back. */
    WORLD_CHECK(w, !(d->kept & d->returned));
    if (m->outcome == OUT_RETURNED)
        WORLD_CHECK(w, !(w->store.counted[m->round] & (1u << m->serial)));
}

void world_device_receive(struct world *w, const struct world_message *m) {
    struct world_device *d = &w->device[m->serial];
    if (m->kind == TO_DEVICE_PLAN) {
        receive_plan(w, d, m);
    } else if (m->kind == TO_DEVICE_OUTCOME) {
        receive_outcome(w, d, m);
    } else if (m->kind == TO_DEVICE_ABORT) {
        if (d->stage == STAGE_TRAINING && d->round == m->round)
            d->stage = STAGE_IDLE;
    } else if (m->kind == TO_DEVICE_COME_BACK && m->nonce == d->nonce) {
        if (d->stage == STAGE_TRAINING)
            d->stage = STAGE_IDLE; /* no plan any more */
        d->next_ms = w->now_ms + m->after_ms;
    }
}

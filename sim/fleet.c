/* The devices of a run: pure functions of seed, round and serial. */
#include "fleet.h"

#include <math.h>

#include "sim.h"

#define DAY_MS  86400000.0
#define HOUR_MS 3600000.0
#define SALT    0x9e3779b97f4a7c15u /* times of stay: apart from speeds and vanishing */

static uint64_t serial_of(uint32_t device) {
    return (uint64_t)device + 1;
}

/* ---- What a device is */

static const struct fleet_class *class_of(const struct fleet *f, double where) {
    double sum = 0;
    for (uint32_t i = 0; i < f->class_count; i++)
        sum += f->classes[i].share;
    where *= sum;
    for (uint32_t i = 0; i + 1 < f->class_count; i++) {
        if (where < f->classes[i].share)
            return &f->classes[i];
        where -= f->classes[i].share;
    }
    return &f->classes[f->class_count - 1];
}

void fleet_device(const struct sim *s, uint32_t device, struct fleet_class *out) {
    const struct sim_settings *set = &s->x->settings;
    struct rng r;
    *out = (struct fleet_class){.speed = set->fleet_speed,
                                .uplink = (double)set->fleet_uplink,
                                .downlink = (double)set->fleet_downlink,
                                .memory = (double)set->fleet_memory,
                                .joules_sample = set->fleet_joules_sample,
                                .joules_byte = set->fleet_joules_byte};
    if (set->fleet_spread <= 0 && set->fleet_link_spread <= 0 && s->x->fleet.class_count == 0)
        return;
    rng_init(&r, set->task.seed, 0, serial_of(device), RNG_FLEET); /* rounds begin at 1 */
    const double speed = exp(set->fleet_spread * rng_normal(&r));
    const double link = exp(set->fleet_link_spread * rng_normal(&r));
    if (s->x->fleet.class_count > 0)
        *out = *class_of(&s->x->fleet, rng_f64(&r));
    out->speed *= speed;
    out->uplink *= link;
    out->downlink *= link;
}

/* ---- What becomes of it in a round */

bool fleet_drops(const struct sim *s, uint32_t device, uint32_t round) {
    const double p = s->x->settings.fleet_drop;
    struct rng r;
    if (p <= 0)
        return false;
    rng_init(&r, s->x->settings.task.seed, round, serial_of(device), RNG_FLEET);
    return rng_f64(&r) < p;
}

uint32_t fleet_leaves(const struct sim *s, uint32_t device, uint32_t round) {
    const double p = s->x->settings.fleet_leave;
    struct rng r;
    if (p <= 0)
        return 0;
    rng_init(&r, s->x->settings.task.seed, round, serial_of(device), RNG_FLEET);
    (void)rng_f64(&r); /* whether it vanishes, or straggles */
    (void)rng_f64(&r);
    const double where = rng_f64(&r);
    return where < p ? 1 + 2 * (uint32_t)(where / p * 5) : 0;
}

static double straggles(const struct sim *s, uint32_t device, uint32_t round) {
    const struct sim_settings *set = &s->x->settings;
    struct rng r;
    if (set->fleet_straggle <= 0)
        return 1;
    rng_init(&r, set->task.seed, round, serial_of(device), RNG_FLEET);
    (void)rng_f64(&r); /* whether it vanishes */
    return rng_f64(&r) < set->fleet_straggle ? set->fleet_straggle_by : 1;
}

uint64_t fleet_train_ms(const struct sim *s, uint32_t device, uint32_t round, uint64_t samples) {
    struct fleet_class c;
    fleet_device(s, device, &c);
    if (c.speed <= 0)
        return 0;
    const double ms = ceil((double)samples / c.speed * 1000.0 * straggles(s, device, round));
    return ms < 1e15 ? (uint64_t)ms : (uint64_t)1e15;
}

uint64_t fleet_send_ms(uint64_t now_ms, uint64_t *free_ms, uint64_t bytes, double per_second) {
    if (per_second <= 0)
        return now_ms;
    const double ms = fmin(ceil((double)bytes * 1000.0 / per_second), 1e15);
    *free_ms = num_max_u64(now_ms, *free_ms) + (uint64_t)ms;
    return *free_ms;
}

/* ---- When it is there */

void fleet_trace_window(const struct fleet *f, uint32_t user, uint64_t t_ms, uint64_t *begin_ms,
                        uint64_t *end_ms) {
    const uint32_t first = f->first[user], last = f->first[user + 1];
    uint64_t base = t_ms / f->period_ms * f->period_ms;
    uint32_t i = first;
    while (i < last && base + f->windows[i].end_ms <= t_ms)
        i++;
    if (i == last) {
        i = first;
        base += f->period_ms;
    }
    *begin_ms = base + f->windows[i].begin_ms;
    *end_ms = base + f->windows[i].end_ms;
    /* A stay over the period's end is one stay; one that never ends is a very long one. */
    const bool whole = f->windows[i].begin_ms == 0 && f->windows[i].end_ms == f->period_ms;
    if (whole)
        *end_ms = UINT64_MAX;
    else if (f->windows[i].end_ms == f->period_ms && f->windows[first].begin_ms == 0)
        *end_ms += f->windows[first].end_ms;
}

static void drawn_day(const struct fleet_days *d, uint64_t serial, int64_t day, double *begin,
                      double *end) {
    struct rng r;
    rng_init(&r, d->seed ^ SALT, 0, serial, RNG_FLEET);
    const double zone = rng_f64(&r) * d->zones, habit = rng_normal(&r);
    rng_init(&r, d->seed ^ SALT, (uint32_t)(day + 16), serial, RNG_FLEET);
    const double centre = d->night + zone + habit + 0.75 * rng_normal(&r);
    /* Its mean is online of a day: exp of a normal variable with mean -sigma^2/2. */
    const double length = DAY_MS * d->online * exp(0.3 * rng_normal(&r) - 0.045);
    const double clipped = fmin(fmax(length, 60e3), 23 * HOUR_MS);
    *begin = (double)day * DAY_MS + centre * HOUR_MS - clipped / 2;
    *end = *begin + clipped;
}

void fleet_drawn_window(const struct fleet_days *d, uint64_t serial, uint64_t t_ms,
                        uint64_t *begin_ms, uint64_t *end_ms) {
    const double t = (double)t_ms;
    const int64_t today = (int64_t)(t_ms / (uint64_t)DAY_MS);
    double begin[8], end[8], from = INFINITY, to = 0;
    int n = 0;
    for (int64_t day = today - 3; day <= today + 4; day++, n++) {
        drawn_day(d, serial, day, &begin[n], &end[n]);
        if (end[n] > t && begin[n] < from) {
            from = begin[n];
            to = end[n];
        }
    }
    for (int pass = 0; pass < n; pass++)
        for (int i = 0; i < n; i++)
            if (begin[i] <= to && end[i] > to)
                to = end[i];
    *begin_ms = from > 0 ? (uint64_t)from : 0;
    *end_ms = num_max_u64((uint64_t)to, t_ms + 1);
}

bool fleet_comes_and_goes(const struct sim *s) {
    return s->x->fleet.users > 0 || s->x->settings.fleet_online > 0;
}

bool fleet_window(const struct sim *s, uint32_t device, uint64_t *begin_ms, uint64_t *end_ms) {
    const struct sim_settings *set = &s->x->settings;
    const uint64_t t = s->time.now_ms - s->start_ms;
    if (s->x->fleet.users > 0) {
        fleet_trace_window(&s->x->fleet, device % s->x->fleet.users, t, begin_ms, end_ms);
    } else if (set->fleet_online > 0) {
        const struct fleet_days days = {set->fleet_online, set->fleet_night, set->fleet_zones,
                                        set->task.seed};
        fleet_drawn_window(&days, serial_of(device), t, begin_ms, end_ms);
    } else {
        *begin_ms = s->time.now_ms;
        *end_ms = UINT64_MAX;
        return true;
    }
    const bool there = *begin_ms <= t;
    *begin_ms += s->start_ms;
    *end_ms = *end_ms > UINT64_MAX / 2 ? UINT64_MAX : *end_ms + s->start_ms;
    return there;
}

bool fleet_is_there(const struct sim *s, uint32_t device) {
    uint64_t begin, end;
    return fleet_window(s, device, &begin, &end);
}

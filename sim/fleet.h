/* Private to sim/: what devices are: speed, memory, links, energy, and when they are there. All of
 * it follows from the seed and from files; nothing is kept for a device. */
#ifndef SOTTO_SIM_FLEET_H
#define SOTTO_SIM_FLEET_H

#include "sotto/base.h"
#include "sotto/protocol.h"

#define FLEET_FILE_MAX    ((size_t)256 << 20)
#define FLEET_CLASSES_MAX 1024u
#define FLEET_WINDOWS_MAX (1u << 24)

/* A device, or a class of devices that a file lists. 0: takes no time, has no limit, costs nothing.
 */
struct fleet_class {
    double share;            /* of all devices, in any unit */
    double speed;            /* examples trained in a second */
    double uplink, downlink; /* bytes a second */
    double memory;           /* bytes for a training step */
    double joules_sample, joules_byte;
};
/* Times at which a device is there, within a period that repeats; ascending, apart. */
struct fleet_window {
    uint32_t begin_ms, end_ms;
};
struct fleet {
    struct fleet_class *classes;
    uint32_t class_count;
    uint32_t users;  /* of the trace; client c is user c mod users; 0: no trace */
    uint32_t *first; /* users + 1 */
    struct fleet_window *windows;
    uint32_t period_ms;
    struct wire_hash hash; /* of the files' content */
};

/* Reads the files (NULL or "": none). The caller deinits, also after an error. */
enum sotto_status fleet_load(struct fleet *f, const char *devices, const char *trace,
                             uint64_t period_ms, struct sotto_error *err);
void fleet_deinit(struct fleet *f);
/* The same from text, which is changed on the way; name is for messages. CORRUPT, LIMIT. */
enum sotto_status fleet_classes_parse(struct fleet *f, char *text, const char *name,
                                      struct sotto_error *err);
enum sotto_status fleet_trace_parse(struct fleet *f, char *text, const char *name,
                                    struct sotto_error *err);

/* The window of a user that ends after t_ms, the first one; times count from the fleet's start. */
void fleet_trace_window(const struct fleet *f, uint32_t user, uint64_t t_ms, uint64_t *begin_ms,
                        uint64_t *end_ms);
/* The same drawn: one stay a day around `night` o'clock of the device's own time, on average
 * `online` of the day long; devices' clocks differ by up to `zones` hours. */
struct fleet_days {
    double online, night, zones;
    uint64_t seed;
};
void fleet_drawn_window(const struct fleet_days *d, uint64_t serial, uint64_t t_ms,
                        uint64_t *begin_ms, uint64_t *end_ms);

#endif

/* The policy file: "key value" lines, one table of keys. */
#include "lib/client_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum type {
    T_SIZE,
    T_U32,
    T_F64,
    T_F32,
    T_MS,
    T_DURATION,
    T_BOOL,
    T_PERCENT,
    T_MASKS,
    T_KEY,
    T_BACKEND
};
struct row {
    const char *key;
    enum type type;
    size_t offset;
    const char *help;
};
#define AT(field) offsetof(struct client_policy, field)
static const struct row rows[] = {
    {"bytes_per_day", T_SIZE, AT(session.bytes_per_day_max),
     "network bytes a day, as 200MiB; 0: no limit"},
    {"rounds_per_day", T_U32, AT(session.rounds_per_day_max), "rounds a day; 0: no limit"},
    {"arena_bytes", T_SIZE, AT(session.arena_bytes_max), "memory of a training step; 0: no limit"},
    {"flops_per_round", T_F64, AT(session.flops_per_round_max), "computing a round; 0: no limit"},
    {"train_ms", T_MS, AT(session.train_ms_max), "longest local training in ms; 0: no limit"},
    {"charging", T_BOOL, AT(session.need_charging), "work only while charging"},
    {"idle", T_BOOL, AT(session.need_idle), "work only while the device is idle"},
    {"unmetered", T_BOOL, AT(session.need_unmetered), "work only on an unmetered network"},
    {"battery_percent", T_PERCENT, AT(session.battery_percent_min), "least charge on battery"},
    {"secure_aggregation", T_MASKS, AT(session.secure_aggregation), "off, preferred or required"},
    {"minimum_group", T_U32, AT(session.minimum_group),
     "members a sum must hold at the least; a plain plan must promise it"},
    {"large_groups", T_BOOL, AT(session.large_groups),
     "take part in groups above 200, which hold against a curious coordinator only"},
    {"rounds_between_min", T_U32, AT(session.rounds_between_min),
     "take part in at most one of so many rounds of a task; 0: in every one"},
    {"minimum_noise", T_F32, AT(session.minimum_noise),
     "least noise multiplier a plan may promise"},
    {"allowed_key", T_KEY, 0, "plan-signing key, 64 hex digits; up to 4 lines"},
    {"checkin_min_ms", T_MS, AT(session.checkin_min_ms),
     "shortest time between two check-ins in ms"},
    {"examples_bytes", T_SIZE, AT(examples_bytes_max), "size of the example store; 0: no limit"},
    {"backend", T_BACKEND, AT(backend),
     "backend to train with (see sotto-client devices); auto: the fastest"},
    {"examples_age", T_DURATION, AT(examples_age_max_ms), "age of examples, as 30d; 0s: no limit"},
};
static const char *const masks[] = {"off", "preferred", "required"};

void client_policy_defaults(struct client_policy *p) {
    memset(p, 0, sizeof *p);
    session_policy_defaults(&p->session);
    p->examples_bytes_max = (uint64_t)256 << 20;
    wire_set_text(p->backend, sizeof p->backend, "auto");
}

static enum sotto_status parse_masks(const char *text, struct client_policy *p,
                                     struct sotto_error *err) {
    for (size_t i = 0; i < ARRAY_LEN(masks); i++)
        if (strcmp(text, masks[i]) == 0) {
            p->session.secure_aggregation = (unsigned)i;
            return SOTTO_OK;
        }
    return SOTTO_FAIL(err, SOTTO_INVALID, "\"%.32s\": allowed are off, preferred, required", text);
}

static enum sotto_status parse_value(const struct row *row, const char *text,
                                     struct client_policy *p, struct sotto_error *err) {
    uint8_t *at = (uint8_t *)p + row->offset;
    uint64_t u = 0;
    double f = 0;
    bool b = false;
    enum sotto_status status = SOTTO_OK;
    switch (row->type) {
    case T_SIZE:
        TRY(num_parse_size(text, UINT64_C(1) << 50, &u, err));
        memcpy(at, &u, sizeof u);
        break;
    case T_U32:
    case T_PERCENT: {
        TRY(num_parse_u64(text, 0, row->type == T_PERCENT ? 100 : UINT32_MAX, &u, err));
        const uint32_t narrow = (uint32_t)u;
        memcpy(at, &narrow, sizeof narrow);
        break;
    }
    case T_MS: {
        TRY(num_parse_u64(text, 0, WIRE_DURATION_MAX_MS, &u, err));
        if (row->offset == AT(session.checkin_min_ms)) {
            const uint32_t narrow = (uint32_t)u;
            memcpy(at, &narrow, sizeof narrow);
        } else {
            memcpy(at, &u, sizeof u);
        }
        break;
    }
    case T_DURATION:
        TRY(num_parse_duration_ms(text, UINT64_C(10) * 366 * 86400000, &u, err));
        memcpy(at, &u, sizeof u);
        break;
    case T_F64:
        TRY(num_parse_f64(text, 0, 1e30, &f, err));
        memcpy(at, &f, sizeof f);
        break;
    case T_F32: {
        TRY(num_parse_f64(text, 0, 1e6, &f, err));
        const float narrow = (float)f;
        memcpy(at, &narrow, sizeof narrow);
        break;
    }
    case T_BOOL:
        TRY(num_parse_bool(text, &b, err));
        memcpy(at, &b, sizeof b);
        break;
    case T_MASKS:
        TRY(parse_masks(text, p, err));
        break;
    case T_BACKEND:
        if (strcmp(text, "auto") != 0 && kern_backend_find(text) == NULL)
            TRY_FAIL(err, SOTTO_INVALID,
                     "\"%.32s\": allowed are auto and what sotto-client "
                     "devices lists",
                     text);
        wire_set_text(p->backend, sizeof p->backend, text);
        break;
    case T_KEY:
        if (p->session.allowed_key_count >= ARRAY_LEN(p->session.allowed_keys))
            TRY_FAIL(err, SOTTO_LIMIT, "at most %zu keys", ARRAY_LEN(p->session.allowed_keys));
        TRY(num_parse_hex(text, p->session.allowed_keys[p->session.allowed_key_count], ID_KEY,
                          err));
        p->session.allowed_key_count++;
        break;
    }
out:
    return status;
}

static enum sotto_status parse_line(char *line, struct client_policy *p, struct sotto_error *err) {
    char *key = line + strspn(line, " \t"), *end = key + strlen(key);
    while (end > key && strchr(" \t\r", end[-1]) != NULL)
        *--end = '\0';
    if (*key == '\0' || *key == '#')
        return SOTTO_OK;
    char *value = key + strcspn(key, " \t");
    if (*value != '\0') {
        *value++ = '\0';
        value += strspn(value, " \t");
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].key, key) != 0)
            continue;
        if (*value == '\0')
            return SOTTO_FAIL(err, SOTTO_CONFIG, "%s needs a value: %s", key, rows[i].help);
        if (parse_value(&rows[i], value, p, err) == SOTTO_OK)
            return SOTTO_OK;
        (void)sotto_error_prefix(err, "%s", key);
        if (err != NULL)
            err->status = SOTTO_CONFIG;
        return SOTTO_CONFIG;
    }
    char shown[64], all[320] = "";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? " " : "", rows[i].key);
    }
    return SOTTO_FAIL(err, SOTTO_CONFIG, "unknown key \"%s\"; known: %s",
                      sotto_escape(shown, sizeof shown, key, strnlen(key, 40)), all);
}

enum sotto_status client_policy_parse(const char *name, struct view text, struct client_policy *out,
                                      struct sotto_error *err) {
    char line[512];
    unsigned number = 0;
    client_policy_defaults(out);
    while (text.n > 0) {
        const uint8_t *newline = memchr(text.p, '\n', text.n);
        const size_t length = newline != NULL ? (size_t)(newline - text.p) : text.n;
        number++;
        if (length >= sizeof line || memchr(text.p, 0, length) != NULL)
            return SOTTO_FAIL(err, SOTTO_CONFIG, "%.100s:%u: the line is too long or not text",
                              name, number);
        memcpy(line, text.p, length);
        line[length] = '\0';
        if (parse_line(line, out, err) != SOTTO_OK) {
            (void)sotto_error_prefix(err, "%.100s:%u", name, number);
            return SOTTO_CONFIG;
        }
        const size_t eaten = length + (newline != NULL ? 1 : 0);
        text = view_of(text.p + eaten, text.n - eaten);
    }
    return SOTTO_OK;
}

enum sotto_status client_policy_read(const char *path, struct client_policy *out,
                                     struct sotto_error *err) {
    struct buf text;
    buf_init(&text, 64u << 10);
    enum sotto_status status = io_read_file(path, 64u << 10, &text, err);
    if (status == SOTTO_OK)
        status = client_policy_parse(path, buf_view(&text), out, err);
    buf_deinit(&text);
    return status;
}

static void print_value(const struct row *row, const struct client_policy *p, struct buf *out) {
    const uint8_t *at = (const uint8_t *)p + row->offset;
    char text[40], hex[2 * ID_KEY + 1];
    uint64_t u = 0;
    uint32_t narrow = 0;
    double f = 0;
    float f32 = 0;
    switch (row->type) {
    case T_MS:
    case T_SIZE:
    case T_DURATION:
        if (row->offset == AT(session.checkin_min_ms)) {
            memcpy(&narrow, at, sizeof narrow);
            u = narrow;
        } else {
            memcpy(&u, at, sizeof u);
        }
        buf_printf(out, "%s %llu%s\n", row->key, (unsigned long long)u,
                   row->type == T_DURATION ? "ms" : "");
        break;
    case T_U32:
    case T_PERCENT:
        memcpy(&narrow, at, sizeof narrow);
        buf_printf(out, "%s %u\n", row->key, narrow);
        break;
    case T_F64:
        memcpy(&f, at, sizeof f);
        buf_printf(out, "%s %s\n", row->key, num_format_f64(text, sizeof text, f));
        break;
    case T_F32:
        memcpy(&f32, at, sizeof f32);
        buf_printf(out, "%s %s\n", row->key, num_format_f64(text, sizeof text, (double)f32));
        break;
    case T_BOOL:
        buf_printf(out, "%s %s\n", row->key, *(const bool *)at ? "yes" : "no");
        break;
    case T_MASKS:
        buf_printf(out, "%s %s\n", row->key, masks[p->session.secure_aggregation]);
        break;
    case T_BACKEND:
        buf_printf(out, "%s %s\n", row->key, p->backend);
        break;
    case T_KEY:
        for (uint32_t i = 0; i < p->session.allowed_key_count; i++)
            buf_printf(out, "%s %s\n", row->key,
                       num_format_hex(hex, p->session.allowed_keys[i], ID_KEY));
        break;
    }
}

void client_policy_print(const struct client_policy *p, struct buf *out) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_printf(out, "# %s\n", rows[i].help);
        print_value(&rows[i], p, out);
    }
}

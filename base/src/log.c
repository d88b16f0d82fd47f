/* One line per event on stderr, written with a single write; no allocation, so it works when memory
 * is out. */
#include "sotto/base/log.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log_int.h"
#include "sotto/base/buf.h"
#include "sotto/base/clock.h"
#include "sotto/base/json.h"
#include "sotto/base/num.h"

#define LINE_MAX_BYTES  4096u
#define LINE_TAIL_BYTES 64u /* kept free for "suppressed", "truncated" and the end */
#define EVENTS_MAX      128u
#define BURST_DEFAULT   100u

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* How often an event came in the current second. */
struct event_count {
    const char *event; /* static string of the caller */
    uint64_t second;
    unsigned given;
    uint64_t suppressed;
};

static struct {
    pthread_mutex_t lock;
    enum log_level level;
    enum log_format format;
    unsigned burst;
    int fd;
    uint64_t (*now_ms)(void);
    struct event_count events[EVENTS_MAX];
    size_t event_count;
    int journal; /* -1 not asked yet, 0 no, 1 stderr goes to the journal */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .level = LOG_INFO,
           .format = LOG_TEXT,
           .burst = BURST_DEFAULT,
           .fd = STDERR_FILENO,
           .journal = -1};

void log_setup(enum log_level level, enum log_format format) {
    pthread_mutex_lock(&state.lock);
    state.level = level;
    state.format = format;
    pthread_mutex_unlock(&state.lock);
}

void log_limit(unsigned burst_per_second) {
    pthread_mutex_lock(&state.lock);
    state.burst = burst_per_second;
    state.event_count = 0;
    pthread_mutex_unlock(&state.lock);
}

void log_set_sink(int fd, uint64_t (*now_ms)(void)) {
    pthread_mutex_lock(&state.lock);
    state.fd = fd;
    state.now_ms = now_ms;
    state.journal = fd == STDERR_FILENO ? -1 : 0;
    pthread_mutex_unlock(&state.lock);
}

enum sotto_status log_level_parse(const char *text, enum log_level *out) {
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return SOTTO_OK;
        }
    return SOTTO_INVALID;
}

/* systemd names the device and inode of the socket it reads; only when stderr is that one are its
 * prefixes meant. */
static bool to_journal(void) {
    if (state.journal < 0) {
        state.journal = 0;
        const char *stream = getenv("JOURNAL_STREAM");
        struct stat st;
        char mine[64];
        if (stream != NULL && fstat(state.fd, &st) == 0) {
            (void)snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)st.st_dev,
                           (uintmax_t)st.st_ino);
            state.journal = strcmp(mine, stream) == 0;
        }
    }
    return state.journal == 1;
}

/* Whether this event may be written now; *suppressed is what was swallowed since its last line. */
static bool admit(const char *event, uint64_t *suppressed) {
    *suppressed = 0;
    if (state.burst == 0)
        return true;
    struct event_count *e = NULL;
    for (size_t i = 0; i < state.event_count && e == NULL; i++)
        if (state.events[i].event == event || strcmp(state.events[i].event, event) == 0)
            e = &state.events[i];
    if (e == NULL) {
        if (state.event_count == EVENTS_MAX)
            return true; /* more kinds of events than we count: rather a line too many */
        e = &state.events[state.event_count++];
        *e = (struct event_count){.event = event};
    }
    const uint64_t second = (state.now_ms != NULL ? state.now_ms() : clock_mono_ms()) / 1000;
    if (e->second != second) {
        e->second = second;
        e->given = 0;
    }
    if (e->given >= state.burst) {
        e->suppressed++;
        return false;
    }
    e->given++;
    *suppressed = e->suppressed;
    e->suppressed = 0;
    return true;
}

static void format_time(char *out, size_t cap) {
    const int64_t ms = clock_wall_ms();
    const time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char date[32] = "";
    if (gmtime_r(&s, &tm) != NULL)
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, cap, "%s.%03dZ", date, (int)(ms % 1000));
}

/* A value as it is when it is one plain word, else quoted with escapes as in JSON, controls and
 * non-ASCII as \xNN. */
static void text_string(struct buf *b, const char *s) {
    bool plain = s[0] != '\0';
    for (const char *p = s; *p != '\0' && plain; p++)
        plain = *p > 0x20 && *p < 0x7f && *p != '"' && *p != '=' && *p != '\\';
    if (plain) {
        buf_put(b, s, strlen(s));
        return;
    }
    buf_put_u8(b, '"');
    for (const char *p = s; *p != '\0'; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_printf(b, "\\n");
        else if (c < 0x20 || c >= 0x7f)
            buf_printf(b, "\\x%02x", c);
        else
            buf_put_u8(b, c);
    }
    buf_put_u8(b, '"');
}

static void text_field(struct buf *b, const struct log_field *f) {
    char number[32];
    buf_printf(b, " %s=", f->key);
    switch (f->type) {
    case LOG_T_STR:
        text_string(b, f->v.s != NULL ? f->v.s : "");
        break;
    case LOG_T_U64:
        buf_printf(b, "%" PRIu64, f->v.u);
        break;
    case LOG_T_I64:
        buf_printf(b, "%" PRId64, f->v.i);
        break;
    case LOG_T_F64:
        if (isfinite(f->v.f))
            buf_printf(b, "%s", num_format_f64(number, sizeof number, f->v.f));
        else
            buf_printf(b, "%s", isnan(f->v.f) ? "nan" : f->v.f > 0 ? "inf" : "-inf");
        break;
    case LOG_T_END:
        break;
    }
}

static void json_field(struct json *j, const struct log_field *f) {
    json_key(j, f->key);
    switch (f->type) {
    case LOG_T_STR:
        json_str(j, f->v.s);
        break;
    case LOG_T_U64:
        json_u64(j, f->v.u);
        break;
    case LOG_T_I64:
        json_i64(j, f->v.i);
        break;
    case LOG_T_F64:
        json_f64(j, f->v.f);
        break;
    case LOG_T_END:
        json_null(j);
        break;
    }
}

static void put_field(struct buf *b, struct json *j, const struct log_field *f) {
    if (state.format == LOG_JSON)
        json_field(j, f);
    else
        text_field(b, f);
}

static void put_head(struct buf *b, struct json *j, enum log_level level, const char *event) {
    /* sd-daemon(3): <3> error, <4> warning, <6> info, <7> debug */
    static const char severity[] = {'3', '4', '6', '7'};
    char ts[48];
    format_time(ts, sizeof ts);
    if (to_journal())
        buf_printf(b, "<%c>", severity[level]);
    if (state.format == LOG_JSON) {
        json_object_begin(j);
        json_put_str(j, "ts", ts);
        json_put_str(j, "level", level_names[level]);
        json_put_str(j, "event", event);
    } else {
        buf_printf(b, "%s %s %s", ts, level_names[level], event);
    }
}

static void write_all(int fd, const uint8_t *p, size_t n) {
    while (n > 0) {
        const ssize_t w = write(fd, p, n);
        if (w <= 0)
            return; /* nowhere left to complain */
        p += w;
        n -= (size_t)w;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields) {
    uint8_t bytes[LINE_MAX_BYTES];
    /* A buffer over the stack that is never asked to grow: its maximum is its capacity. */
    struct buf b = {.data = bytes, .cap = sizeof bytes, .max = sizeof bytes - LINE_TAIL_BYTES};
    struct json j;
    uint64_t suppressed;
    if ((size_t)level >= ARRAY_LEN(level_names))
        level = LOG_ERROR;
    pthread_mutex_lock(&state.lock);
    if (level > state.level || !admit(event, &suppressed)) {
        pthread_mutex_unlock(&state.lock);
        return;
    }
    json_init(&j, &b);
    put_head(&b, &j, level, event);
    bool cut = false;
    for (const struct log_field *f = fields; f->type != LOG_T_END && !cut; f++) {
        const size_t before = b.len;
        const struct json j_before = j;
        put_field(&b, &j, f);
        if (b.status != SOTTO_OK) { /* a field that does not fit is left out whole */
            cut = true;
            b.len = before;
            b.status = SOTTO_OK;
            j = j_before;
        }
    }
    b.max = sizeof bytes;
    if (suppressed > 0)
        put_field(&b, &j, &LU("suppressed", suppressed));
    if (cut)
        put_field(&b, &j, &LU("truncated", 1));
    if (state.format == LOG_JSON)
        json_object_end(&j);
    buf_put_u8(&b, '\n');
    write_all(state.fd, b.data, b.len);
    pthread_mutex_unlock(&state.lock);
}

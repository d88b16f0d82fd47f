/* Plays as HTML with speaker mark-up: <A NAME=speechN><b>ROLE</b></a>, then lines <A
 * NAME=act.scene.line>text</A>. Every numbered line goes to the last speaker before it; a client is
 * a role of a play. Its text becomes examples of predicting a character from the eight before it,
 * each of them one of 77 (one-hot): models without an embedding can read that. Windows follow each
 * other without overlap; the first four fifths of each role's are for training. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "data_private.h"

#define CONTEXT    8u
#define LETTERS    77u
#define PLAY_MAX   ((size_t)4 << 20)
#define PLAYS_MAX  256u
#define ROLES_MAX  2048u /* of a play */
#define ROLE_CHARS 96u

static const char letters[] =
    "\n\t !$&',-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz";

const struct data_schema data_shakespeare_schema = {
    .dtype = DATA_U8, .rank = 2, .dims = {CONTEXT, LETTERS}, .classes = LETTERS, .scale = 1};

static uint8_t letter_of(char c) {
    const char *at = c ? strchr(letters, c) : NULL;
    return (uint8_t)(at ? at - letters : 2); /* a blank */
}

/* ---- A play's roles */

struct role {
    char name[ROLE_CHARS];
    struct buf text;
};
struct play {
    struct role *roles;
    uint32_t count;
};

static void play_deinit(struct play *p) {
    for (uint32_t i = 0; i < p->count; i++)
        buf_deinit(&p->roles[i].text);
    mem_free(p->roles);
    *p = (struct play){0};
}

/* Where `what` begins at or after at, in any case of letters; n when it does not. */
static size_t find(struct view v, size_t at, const char *what) {
    const size_t len = strlen(what);
    for (; at + len <= v.n; at++) {
        size_t k = 0;
        while (k < len && tolower(v.p[at + k]) == what[k])
            k++;
        if (k == len)
            return at;
    }
    return v.n;
}

/* "1.2.33" */
static bool is_line_number(struct view v) {
    int dots = 0;
    for (size_t i = 0; i < v.n; i++) {
        dots += v.p[i] == '.';
        if (!isdigit(v.p[i]) && v.p[i] != '.')
            return false;
    }
    return dots == 2 && v.p[0] != '.' && v.p[v.n - 1] != '.';
}

/* What stands between tags, at most cap bytes. */
static size_t plain(struct view v, char *out, size_t cap) {
    size_t n = 0;
    bool tag = false;
    for (size_t i = 0; i < v.n && n < cap; i++) {
        tag = v.p[i] == '<' || (tag && v.p[i] != '>');
        if (!tag && v.p[i] != '>')
            out[n++] = (char)v.p[i];
    }
    return n;
}

static struct role *role_of(struct play *p, struct view body) {
    char name[ROLE_CHARS] = "";
    size_t n = plain(body, name, sizeof name - 1), skip = 0;
    while (n > 0 && isspace((unsigned char)name[n - 1]))
        n--;
    while (skip < n && isspace((unsigned char)name[skip]))
        skip++;
    memmove(name, name + skip, n - skip);
    memset(name + n - skip, 0, sizeof name - (n - skip));
    for (uint32_t i = 0; i < p->count; i++)
        if (strcmp(p->roles[i].name, name) == 0)
            return &p->roles[i];
    if (p->count == ROLES_MAX)
        return NULL;
    struct role *r = &p->roles[p->count++];
    memcpy(r->name, name, sizeof name);
    buf_init(&r->text, PLAY_MAX);
    return r;
}

static enum sotto_status read_play(struct view v, const char *name, struct play *p,
                                   struct sotto_error *err) {
    char line[4096];
    struct role *role = NULL;
    p->roles = mem_array(ROLES_MAX, sizeof *p->roles);
    if (!p->roles)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory", data_shown(name));
    for (size_t at = 0; (at = find(v, at, "<a name=")) < v.n;) {
        at += strlen("<a name=");
        const uint8_t *close = memchr(v.p + at, '>', v.n - at);
        if (!close)
            break;
        const size_t begin = (size_t)(close - v.p) + 1, end = find(v, begin, "</a>");
        struct view mark = view_of(v.p + at, begin - 1 - at),
                    body = view_of(v.p + begin, end - begin);
        if (mark.n > 1 && mark.p[0] == '"')
            mark = view_of(mark.p + 1, mark.n - 2);
        if (mark.n >= 6 && memcmp(mark.p, "speech", 6) == 0) {
            role = role_of(p, body);
            if (!role)
                return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: more than %u roles", data_shown(name),
                                  ROLES_MAX);
        } else if (mark.n > 0 && is_line_number(mark) && role) {
            buf_put(&role->text, line, plain(body, line, sizeof line));
            buf_put_u8(&role->text, '\n');
            if (role->text.status != SOTTO_OK)
                return SOTTO_FAIL(err, role->text.status, "%s: a role does not fit",
                                  data_shown(name));
        }
        at = end;
    }
    return SOTTO_OK;
}

/* ---- Windows */

static uint32_t windows_of(const struct role *r) {
    return r->text.len > CONTEXT ? (uint32_t)((r->text.len - CONTEXT - 1) / CONTEXT) + 1 : 0;
}

/* The part's windows of a role: [*first, *last). */
static void part_of_role(const struct role *r, bool test, uint32_t *first, uint32_t *last) {
    const uint32_t all = windows_of(r), train = all - all / 5;
    *first = test ? train : 0;
    *last = test ? all : train;
}

static void put_window(const struct role *r, uint32_t window, uint32_t key, struct dataset *out,
                       uint32_t at) {
    const char *text = (const char *)r->text.data + (size_t)window * CONTEXT;
    uint8_t *x = (uint8_t *)out->x + (size_t)at * CONTEXT * LETTERS;
    memset(x, 0, (size_t)CONTEXT * LETTERS);
    for (uint32_t k = 0; k < CONTEXT; k++)
        x[k * LETTERS + letter_of(text[k])] = 1;
    out->labels[at] = letter_of(text[CONTEXT]);
    out->keys[at] = key;
}

static enum sotto_status put_plays(const struct play *plays, uint32_t count, const char *dir,
                                   bool test, struct dataset *out, struct sotto_error *err) {
    size_t total = 0;
    uint32_t first, last, at = 0, key = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < plays[i].count; k++) {
            part_of_role(&plays[i].roles[k], test, &first, &last);
            total += last - first;
        }
    enum sotto_status status = dataset_alloc(out, &data_shakespeare_schema, total, dir, err);
    if (status != SOTTO_OK)
        return status;
    out->keys = mem_array(total, sizeof *out->keys);
    if (!out->keys)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "%s: no memory", data_shown(dir));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < plays[i].count; k++) {
            const struct role *r = &plays[i].roles[k];
            if (windows_of(r) == 0)
                continue; /* too short for an example: no client */
            part_of_role(r, test, &first, &last);
            for (uint32_t w = first; w < last; w++)
                put_window(r, w, key, out, at++);
            key++;
        }
    out->key_count = key;
    return SOTTO_OK;
}

enum sotto_status data_parse_play(struct view text, const char *name, bool test,
                                  struct dataset *out, struct sotto_error *err) {
    struct play p = {.count = 0};
    dataset_init(out);
    enum sotto_status status = read_play(text, name, &p, err);
    if (status == SOTTO_OK)
        status = put_plays(&p, 1, name, test, out, err);
    play_deinit(&p);
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}

/* ---- The folder */

struct names {
    char (*list)[64];
    uint32_t count;
};

static enum sotto_status take_name(void *ctx, const char *name) {
    struct names *n = ctx;
    const size_t len = strlen(name);
    if (len >= sizeof *n->list || len < 6 || strcmp(name + len - 5, ".html") != 0 ||
        strcmp(name, "INDEX.html") == 0 || n->count == PLAYS_MAX)
        return SOTTO_OK;
    memcpy(n->list[n->count++], name, len + 1);
    return SOTTO_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

enum sotto_status dataset_read_shakespeare(const char *dir, bool test, struct dataset *out,
                                           struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX];
    struct buf file;
    struct names names = {.list = mem_array(PLAYS_MAX, sizeof *names.list)};
    struct play *plays = mem_array(PLAYS_MAX, sizeof *plays);
    dataset_init(out);
    buf_init(&file, PLAY_MAX);
    if (!names.list || !plays)
        TRY_FAIL(err, SOTTO_NOMEM, "%s: no memory", data_shown(dir));
    TRY(io_list(dir, take_name, &names, err));
    if (names.count > 0)
        qsort(names.list, names.count, sizeof *names.list, by_name);
    for (uint32_t i = 0; i < names.count; i++) {
        TRY(io_join(path, sizeof path, dir, names.list[i], err));
        TRY(io_read_file(path, PLAY_MAX, &file, err));
        TRY(read_play(buf_view(&file), path, &plays[i], err));
    }
    TRY(put_plays(plays, names.count, dir, test, out, err));
out:
    for (uint32_t i = 0; plays && i < PLAYS_MAX; i++)
        play_deinit(&plays[i]);
    mem_free(plays);
    mem_free(names.list);
    buf_deinit(&file);
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}

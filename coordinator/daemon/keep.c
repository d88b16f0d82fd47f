/* What a coordinator keeps on disk: where round keys lie, orphans, retention, the disk's budget. */
#include "daemon/daemon_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DAY_MS          INT64_C(86400000)
#define RETAIN_EVERY_MS 60000
#define DISK_CHECK_MS   10000
#define DISK_RESERVE    (64u << 20) /* for the store, the sums and the next version */
#define TMPFS_MAGIC     0x01021994
#define RAMFS_MAGIC     0x858458f6

static const char *const blob_folders[] = {"blobs/packages", "blobs/masters", "blobs/states",
                                           "blobs/deltas"};

/* ---- Round keys
 * -------------------------------------------------------------------------------------------------------
 */

/* Ours alone, a folder and no link: /dev/shm is everybody's, another could have made it first. */
static enum sotto_status check_folder(const char *path, struct sotto_error *err) {
    struct stat st;
    if (lstat(path, &st) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: the folder of round keys", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return SOTTO_FAIL(err, SOTTO_DENIED,
                          "%s: not a folder of our own; remove it or set round_keys_dir", path);
    if (st.st_mode & 077)
        return SOTTO_FAIL(err, SOTTO_DENIED,
                          "%s: open to others (mode %03o), but round keys lie there; chmod 700 it",
                          path, st.st_mode & 0777u);
    return SOTTO_OK;
}

static bool in_memory(const char *path) {
    struct statfs fs;
    return statfs(path, &fs) == 0 &&
           ((unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC);
}

/* A folder named by the state folder below the one that the config names: two coordinators may
 * share that, but never their keys. */
enum sotto_status keep_round_keys_folder(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    char path[IO_PATH_MAX], name[64], hex[17];
    bool memory = c->config.round_keys == 0,
         named = c->config.round_keys_dir && c->config.round_keys_dir[0];
    const char *base = named ? c->config.round_keys_dir : memory ? "/dev/shm" : c->state_dir;
    if (named || memory) {
        struct wire_hash h =
            wire_hash_of("sotto state dir", view_of(c->state_dir, strlen(c->state_dir)));
        snprintf(name, sizeof name, "sotto-%u-%s", (unsigned)geteuid(),
                 num_format_hex(hex, h.b, 8));
    } else {
        snprintf(name, sizeof name, "round-keys");
    }
    status = io_join(path, sizeof path, base, name, err);
    c->config.round_keys_dir = NULL; /* the caller's; from here on our own */
    TRY(status);
    c->config.round_keys_dir = mem_strdup(path);
    if (!c->config.round_keys_dir)
        TRY_FAIL(err, SOTTO_NOMEM, "out of memory");
    TRY(io_mkdir_p(path, 0700, err));
    TRY(check_folder(path, err));
    if (memory && !in_memory(path))
        LOG(LOG_WARN, "round_keys.not_in_memory", LS("path", path),
            LS("advice", "round_keys is memory, but this folder is on a disk: a thief of the disk "
                         "could read open rounds; set round_keys_dir to a tmpfs"));
out:
    return status;
}

/* ---- Orphans
 * ----------------------------------------------------------------------------------------------------------
 */

struct sweep {
    struct coordinator *c;
    const char *dir;
    bool shred;
    struct sotto_error *err;
};

static enum sotto_status sweep_away(const struct sweep *s, const char *name) {
    char path[IO_PATH_MAX];
    struct stat st;
    if (io_join(path, sizeof path, s->dir, name, NULL) != SOTTO_OK || lstat(path, &st) != 0)
        return SOTTO_OK;
    LOG(LOG_INFO, "store.sweep", LS("path", path));
    if (S_ISDIR(st.st_mode))
        return io_remove_tree(path, s->err);
    return s->shred ? io_shred(path, s->err) : io_remove(path, s->err);
}

/* What an interrupted erasure left: uploads, sums and keys whose round is not open any more. */
static enum sotto_status sweep_round(void *ctx, const char *name) {
    struct sweep *s = ctx;
    struct wire_hash terms;
    char hex[2 * WIRE_HASH + 1];
    struct store_round r;
    if (strstr(name, ".tmp."))
        return sweep_away(s, name);
    if (strlen(name) < 2 * WIRE_HASH)
        return SOTTO_OK;
    memcpy(hex, name, 2 * WIRE_HASH);
    hex[2 * WIRE_HASH] = '\0';
    if (num_parse_hex(hex, terms.b, WIRE_HASH, NULL) != SOTTO_OK)
        return SOTTO_OK;
    enum sotto_status known = store_round_by_terms(s->c->store, &terms, &r, s->err);
    if (known != SOTTO_OK && known != SOTTO_NOT_FOUND)
        return known; /* a store that cannot be read says nothing about what may go */
    if (known == SOTTO_OK && (r.state == STORE_ROUND_OPEN || r.state == STORE_ROUND_ADVANCING))
        return SOTTO_OK;
    return sweep_away(s, name);
}

/* Files of writes that a crash cut short. */
static enum sotto_status sweep_temporary(void *ctx, const char *name) {
    return strstr(name, ".tmp.") ? sweep_away(ctx, name) : SOTTO_OK;
}

enum sotto_status keep_sweep(struct coordinator *c, struct sotto_error *err) {
    static const char *const names[] = {"uploads", "sums"};
    enum sotto_status status = SOTTO_OK;
    char dir[IO_PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        TRY(io_join(dir, sizeof dir, c->state_dir, names[i], err));
        struct sweep s = {c, dir, false, err};
        TRY(io_list(dir, sweep_round, &s, err));
    }
    for (size_t i = 0; i < ARRAY_LEN(blob_folders); i++) {
        TRY(io_join(dir, sizeof dir, c->state_dir, blob_folders[i], err));
        struct sweep s = {c, dir, false, err};
        TRY(io_list(dir, sweep_temporary, &s, err));
    }
    struct sweep secrets = {c, c->keys_dir, true, err};
    TRY(io_list(c->keys_dir, sweep_temporary, &secrets, err));
    struct sweep keys = {c, c->config.round_keys_dir, true, err};
    TRY(io_list(c->config.round_keys_dir, sweep_round, &keys, err));
out:
    return status;
}

/* ---- Retention
 * --------------------------------------------------------------------------------------------------------
 */

static enum sotto_status unused_blob(void *ctx, const char *name) {
    struct sweep *s = ctx;
    struct wire_hash hash;
    char path[IO_PATH_MAX];
    bool used = true;
    char target[2 * WIRE_HASH + 1] = "";
    size_t n = strlen(name);
    if (n < 2 * WIRE_HASH)
        return SOTTO_OK;
    /* A delta is named base-target: it goes with its target. */
    memcpy(target, name + n - 2 * WIRE_HASH, 2 * WIRE_HASH);
    if (num_parse_hex(target, hash.b, WIRE_HASH, NULL) != SOTTO_OK ||
        store_blob_used(s->c->store, &hash, &used, NULL) != SOTTO_OK || used ||
        io_join(path, sizeof path, s->dir, name, NULL) != SOTTO_OK)
        return SOTTO_OK;
    (void)io_remove(path, NULL); /* another time, then */
    return SOTTO_OK;
}

static void close_retired(struct coordinator *c) {
    if (c->retired_until_ms == 0 || clock_wall_ms() < c->retired_until_ms)
        return;
    if (c->server_count > 1) {
        transport_server_close(c->servers[1]);
        c->servers[1] = NULL;
        c->server_count = 1;
    }
    keys_drop_retired(c);
}

enum sotto_status keep_retain(struct coordinator *c, struct sotto_error *err) {
    enum sotto_status status;
    char dir[IO_PATH_MAX];
    int64_t now = clock_wall_ms();
    struct store_keep keep = {
        .versions = (uint32_t)c->config.keep_versions,
        .events_before_ms = now - (int64_t)c->config.keep_events_days * DAY_MS,
        .outcomes_before_ms = now - (int64_t)c->config.keep_outcomes_days * DAY_MS};
    if (clock_mono_ms() < c->retain_after_ms)
        return SOTTO_OK;
    c->retain_after_ms = clock_mono_ms() + RETAIN_EVERY_MS;
    close_retired(c);
    for (uint32_t i = 0; i < c->task_count; i++)
        if (c->tasks[i]->advancing || c->tasks[i]->advance_again_ms)
            return SOTTO_OK; /* a new version's files lie there before its row */
    TRY(store_begin(c->store, err));
    TRY(store_retain(c->store, &keep, err));
    TRY(store_commit(c->store, err));
    for (size_t i = 0; i < ARRAY_LEN(blob_folders); i++) {
        TRY(io_join(dir, sizeof dir, c->state_dir, blob_folders[i], err));
        struct sweep s = {c, dir, false, err};
        TRY(io_list(dir, unused_blob, &s, err));
    }
out:
    return status;
}

/* ---- Budget
 * -----------------------------------------------------------------------------------------------------------
 */

struct measure {
    const char *dir;
    int depth;
    uint64_t bytes;
};
static enum sotto_status measure_one(void *ctx, const char *name) {
    struct measure *m = ctx;
    char path[IO_PATH_MAX];
    struct stat st;
    if (io_join(path, sizeof path, m->dir, name, NULL) != SOTTO_OK || lstat(path, &st) != 0)
        return SOTTO_OK;
    if (S_ISREG(st.st_mode))
        m->bytes += (uint64_t)st.st_blocks * 512u;
    if (S_ISDIR(st.st_mode) && m->depth < 4) {
        struct measure below = {path, m->depth + 1, 0};
        (void)io_list(path, measure_one, &below, NULL);
        m->bytes += below.bytes;
    }
    return SOTTO_OK;
}

static void measure(struct coordinator *c) {
    uint64_t now = clock_mono_ms();
    if (c->disk_checked_ms && now - c->disk_checked_ms < DISK_CHECK_MS)
        return;
    struct measure m = {c->state_dir, 0, 0};
    (void)io_list(c->state_dir, measure_one, &m, NULL);
    c->disk_used = m.bytes;
    c->disk_free = io_free_bytes(c->state_dir);
    c->disk_checked_ms = now ? now : 1;
    c->disk_promised = 0;
}

uint64_t keep_disk_used(struct coordinator *c) {
    measure(c);
    return c->disk_used;
}

bool keep_disk_take(struct coordinator *c, uint64_t bytes) {
    measure(c);
    uint64_t want = c->disk_promised + bytes, max = c->config.disk_max;
    uint64_t reserve = max ? num_min_u64(DISK_RESERVE, max / 8) : DISK_RESERVE;
    if (c->disk_free != UINT64_MAX && c->disk_free < want + DISK_RESERVE)
        return false;
    if (max && c->disk_used + want + reserve > max)
        return false;
    c->disk_promised = want;
    return true;
}

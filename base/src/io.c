/* Files: whole reads with a cap, atomic durable writes, locks, folders. */
#include "sotto/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define READ_STEP      (64u * 1024u)
#define TREE_DEPTH_MAX 64

static enum sotto_status open_status(void) {
    if (errno == ENOENT || errno == ENOTDIR)
        return SOTTO_NOT_FOUND;
    if (errno == EACCES || errno == EPERM)
        return SOTTO_DENIED;
    return SOTTO_IO;
}

static ssize_t read_some(int fd, void *p, size_t n) {
    ssize_t got;
    do
        got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    return got;
}

static bool write_whole(int fd, const void *data, size_t n) {
    const uint8_t *p = data;
    while (n > 0) {
        const ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

enum sotto_status io_read_file(const char *path, size_t max, struct buf *out,
                               struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    buf_reset(out);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot open", path);
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        TRY_FAIL(err, SOTTO_IO, "%s: is a folder, not a file", path);
    for (;;) {
        /* One byte more than allowed is asked for, to tell a file of max bytes from a longer one.
         */
        const size_t left = max - out->len;
        const size_t want = left < READ_STEP ? left + 1 : READ_STEP;
        uint8_t probe;
        uint8_t *to = left == 0 ? &probe : buf_grow(out, want <= left ? want : left);
        if (to == NULL)
            TRY_FAIL(err, out->status, "%s: %s", path, sotto_status_text(out->status));
        const size_t asked = left == 0 ? 1 : want <= left ? want : left;
        const ssize_t got = read_some(fd, to, asked);
        if (left > 0)
            out->len -= asked - (got > 0 ? (size_t)got : 0);
        if (got < 0) {
            status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot read", path);
            goto out;
        }
        if (got == 0)
            break;
        if (left == 0)
            TRY_FAIL(err, SOTTO_LIMIT, "%s: larger than %zu bytes", path, max);
    }
out:
    close(fd);
    if (status != SOTTO_OK)
        buf_reset(out);
    return status;
}

enum sotto_status io_fsync_dir(const char *path, struct sotto_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot open the folder", path);
    enum sotto_status status = SOTTO_OK;
    if (fsync(fd) != 0)
        status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot sync the folder", path);
    close(fd);
    return status;
}

/* The folder that holds path, into out (IO_PATH_MAX bytes). path is shorter than that. */
static void folder_of(char *out, const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        memcpy(out, ".", 2);
        return;
    }
    const size_t n = slash == path ? 1 : (size_t)(slash - path);
    memcpy(out, path, n);
    out[n] = '\0';
}

/* Opens a new file beside path. Its name is in temp. */
static int open_temp(const char *path, unsigned mode, char *temp, size_t cap) {
    static atomic_uint counter;
    for (int attempt = 0; attempt < 100; attempt++) {
        const int n = snprintf(temp, cap, "%s.tmp.%ld.%u", path, (long)getpid(),
                               atomic_fetch_add(&counter, 1));
        if (n < 0 || (size_t)n >= cap) {
            errno = ENAMETOOLONG;
            return -1;
        }
        const int fd =
            open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

enum sotto_status io_write_file(const char *path, const void *data, size_t n, unsigned mode,
                                bool durable, struct sotto_error *err) {
    char temp[IO_PATH_MAX], folder[IO_PATH_MAX];
    enum sotto_status status = SOTTO_OK;
    if (strlen(path) >= sizeof folder)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "path of more than %d bytes", IO_PATH_MAX - 1);
    int fd = open_temp(path, mode, temp, sizeof temp);
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot create", path);
    if (!write_whole(fd, data, n)) {
        status = SOTTO_FAIL_SYS(err, errno == ENOSPC || errno == EDQUOT ? SOTTO_FULL : SOTTO_IO,
                                "%s: cannot write", path);
        goto out;
    }
    if (durable && fsync(fd) != 0) {
        status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot sync", path);
        goto out;
    }
    const int closed = close(fd);
    fd = -1;
    if (closed != 0 || rename(temp, path) != 0) {
        status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot put in place", path);
        goto out;
    }
    if (durable) {
        folder_of(folder, path);
        return io_fsync_dir(folder, err);
    }
    return SOTTO_OK;
out:
    if (fd >= 0)
        close(fd);
    unlink(temp);
    return status;
}

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum sotto_status io_mkdir_p(const char *path, unsigned mode, struct sotto_error *err) {
    char part[IO_PATH_MAX];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "folder path of %zu bytes; allowed: 1 to %d", n,
                          IO_PATH_MAX - 1);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        const char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, (mode_t)mode) != 0) {
            const int reason = errno;
            if (!is_folder(part)) {
                errno = reason;
                return SOTTO_FAIL_SYS(err, reason == EEXIST ? SOTTO_IO : open_status(),
                                      "%s: cannot make the folder", part);
            }
        }
        part[i] = kept;
    }
    return SOTTO_OK;
}

enum sotto_status io_remove(const char *path, struct sotto_error *err) {
    if (unlink(path) != 0 && errno != ENOENT)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot remove", path);
    return SOTTO_OK;
}

/* Overwrites what the file holds now. A filesystem that copies on write may keep the old blocks;
 * that is stated in the threat model, and why secrets are short-lived. */
static enum sotto_status overwrite(int fd, const char *path, struct sotto_error *err) {
    static const uint8_t zeros[4096];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot stat", path);
    for (off_t left = st.st_size; left > 0;) {
        const size_t n = left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros;
        if (!write_whole(fd, zeros, n))
            return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot overwrite", path);
        left -= (off_t)n;
    }
    if (fsync(fd) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot sync", path);
    return SOTTO_OK;
}

enum sotto_status io_shred(const char *path, struct sotto_error *err) {
    char folder[IO_PATH_MAX];
    if (strlen(path) >= sizeof folder)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "path of more than %d bytes", IO_PATH_MAX - 1);
    int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SOTTO_OK;
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot open", path);
    enum sotto_status status = overwrite(fd, path, err);
    close(fd);
    if (status != SOTTO_OK)
        return status;
    status = io_remove(path, err);
    if (status != SOTTO_OK)
        return status;
    folder_of(folder, path);
    return io_fsync_dir(folder, err);
}

/* Empties the folder behind fd, which this function closes. */
static bool empty_folder(int fd, int depth) {
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return false;
    }
    bool ok = depth < TREE_DEPTH_MAX;
    if (!ok)
        errno = ELOOP;
    struct dirent *e;
    while (ok && (errno = 0, e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        const int sub =
            openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        ok = sub >= 0 && empty_folder(sub, depth + 1) &&
             unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR) == 0;
    }
    const int reason = errno;
    closedir(dir);
    errno = reason;
    return ok && reason == 0;
}

enum sotto_status io_remove_tree(const char *path, struct sotto_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SOTTO_OK;
    if (fd < 0)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot open the folder", path);
    if (!empty_folder(fd, 0) || rmdir(path) != 0)
        return SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot remove the folder", path);
    return SOTTO_OK;
}

bool io_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

int64_t io_file_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

uint64_t io_free_bytes(const char *path) {
    struct statvfs vfs;
    uint64_t bytes;
    if (statvfs(path, &vfs) != 0 ||
        __builtin_mul_overflow((uint64_t)vfs.f_bavail, (uint64_t)vfs.f_frsize, &bytes))
        return UINT64_MAX;
    return bytes;
}

enum sotto_status io_join(char *out, size_t cap, const char *a, const char *b,
                          struct sotto_error *err) {
    const size_t na = strlen(a), nb = strlen(b);
    const bool slash = na > 0 && a[na - 1] != '/';
    if (na >= cap || nb >= cap - na || na + nb + slash >= cap)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "joined path is longer than %zu bytes", cap - 1);
    memmove(out, a, na);
    if (slash)
        out[na] = '/';
    memcpy(out + na + slash, b, nb + 1);
    return SOTTO_OK;
}

enum sotto_status io_lock(const char *path, int *fd, struct sotto_error *err) {
    const int f = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f < 0)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot open the lock", path);
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        const enum sotto_status status =
            errno == EWOULDBLOCK ? SOTTO_FAIL(err, SOTTO_BUSY, "%s: held by another process", path)
                                 : SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot lock", path);
        close(f);
        return status;
    }
    *fd = f;
    return SOTTO_OK;
}

enum sotto_status io_list(const char *path, enum sotto_status (*visit)(void *ctx, const char *name),
                          void *ctx, struct sotto_error *err) {
    DIR *dir = opendir(path);
    if (dir == NULL)
        return SOTTO_FAIL_SYS(err, open_status(), "%s: cannot open the folder", path);
    enum sotto_status status = SOTTO_OK;
    struct dirent *e;
    while (status == SOTTO_OK && (errno = 0, e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            status = visit(ctx, e->d_name);
    if (status == SOTTO_OK && errno != 0)
        status = SOTTO_FAIL_SYS(err, SOTTO_IO, "%s: cannot list the folder", path);
    closedir(dir);
    return status;
}

/* sottoctl: setting up a coordinator and its fleet authority; documents; tokens. */
#include "ctl/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/daemon_int.h"

#define TOKEN_DAYS_DEFAULT 7
#define BATCH              256 /* tokens made, taken and written at a time */
#define DOCUMENT_MAX       ((size_t)16 << 20)

enum sotto_status ctl_authority(struct cli *cli, struct ctl_authority *a, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    char dir[IO_PATH_MAX];
    const char *flag = cli_flag(cli, "authority"), *key_file = cli_flag(cli, "key-file");
    const char *passphrase_file = cli_flag(cli, "passphrase-file");
    memset(a, 0, sizeof *a);
    if (flag)
        snprintf(dir, sizeof dir, "%s", flag);
    else
        TRY(io_join(dir, sizeof dir, ctl_state(cli), "authority", err));
    TRY(io_join(a->key, sizeof a->key, dir, "authority.key", err));
    if (passphrase_file) {
        struct buf b;
        buf_init(&b, sizeof a->passphrase - 1);
        status = io_read_file(passphrase_file, sizeof a->passphrase - 1, &b, err);
        if (status == SOTTO_OK && b.len)
            memcpy(a->passphrase, b.data, b.len);
        buf_deinit(&b);
        if (status != SOTTO_OK)
            goto out;
        a->passphrase[strcspn(a->passphrase, "\r\n")] = '\0';
        if (!a->passphrase[0])
            TRY_FAIL(err, SOTTO_INVALID, "%s: its first line is empty", passphrase_file);
        a->lock.passphrase = a->passphrase;
    } else {
        if (key_file)
            snprintf(a->key_file, sizeof a->key_file, "%s", key_file);
        else
            TRY(io_join(a->key_file, sizeof a->key_file, dir, "authority.lock", err));
        a->lock.key_file = a->key_file;
    }
out:
    return status;
}

static enum sotto_status authority_open(struct cli *cli, struct id_keys *keys,
                                        struct sotto_error *err) {
    struct ctl_authority a;
    enum sotto_status status;
    TRY(id_setup(err));
    TRY(ctl_authority(cli, &a, err));
    if (!io_exists(a.key))
        TRY_FAIL(err, SOTTO_NOT_FOUND,
                 "%s: no authority's key there; name its folder with --authority", a.key);
    TRY(id_authority_open(a.key, &a.lock, keys, err));
out:
    id_wipe(a.passphrase, sizeof a.passphrase);
    return status;
}

static enum sotto_status authority_create(struct cli *cli, struct id_keys *keys, char *where,
                                          size_t cap, struct sotto_error *err) {
    struct ctl_authority a;
    enum sotto_status status;
    TRY(id_setup(err));
    TRY(ctl_authority(cli, &a, err));
    snprintf(where, cap, "%s", a.key);
    char dir[IO_PATH_MAX];
    snprintf(dir, sizeof dir, "%s", a.key);
    *strrchr(dir, '/') = '\0';
    char pub[IO_PATH_MAX];
    TRY(io_join(pub, sizeof pub, dir, "authority.pub", err));
    TRY(io_mkdir_p(dir, 0700, err));
    if (io_exists(a.key) && io_exists(pub))
        TRY_FAIL(err, SOTTO_EXISTS, "%s: exists already", a.key);
    if (io_exists(a.key)) /* a set-up that was cut short goes on */
        TRY(id_authority_open(a.key, &a.lock, keys, err));
    else
        TRY(id_authority_create(a.key, &a.lock, keys, err));
    TRY(io_write_file(pub, keys->public_key, ID_KEY, 0644, true, err));
out:
    id_wipe(a.passphrase, sizeof a.passphrase);
    return status;
}

int ctl_authority_init(struct cli *cli) {
    struct id_keys keys;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char where[IO_PATH_MAX], hex[2 * ID_KEY + 1];
    enum sotto_status status = SOTTO_OK;
    memset(&keys, 0, sizeof keys);
    if (!cli_flag(cli, "authority"))
        TRY_FAIL(&err, SOTTO_USAGE,
                 "--authority DIR is needed: a folder for the fleet authority's key, away from the "
                 "coordinator");
    TRY(authority_create(cli, &keys, where, sizeof where, &err));
    ctl_say(cli,
            "fleet authority made: %s, public key %s\nnext: sottoctl init --authority-key "
            "%.*s/authority.pub on the coordinator's machine",
            where, num_format_hex(hex, keys.public_key, ID_KEY), (int)(strrchr(where, '/') - where),
            where);
out:
    id_wipe(&keys, sizeof keys);
    return ctl_end(cli, status, &err);
}

/* The public key of the authority elsewhere, or a new authority beside the coordinator: then with a
 * mark, for good, since what once lay here may have been copied. */
static enum sotto_status init_authority(struct cli *cli, const char *keys_dir, struct id_keys *keys,
                                        char where[IO_PATH_MAX], struct sotto_error *err) {
    const char *elsewhere = cli_flag(cli, "authority-key");
    enum sotto_status status;
    struct buf pub;
    buf_init(&pub, ID_KEY);
    if (elsewhere) {
        TRY(io_read_file(elsewhere, ID_KEY, &pub, err));
        if (pub.len != ID_KEY)
            TRY_FAIL(err, SOTTO_CORRUPT, "%s: not an authority's public key", elsewhere);
        memcpy(keys->public_key, pub.data, ID_KEY);
    } else {
        char mark[IO_PATH_MAX];
        TRY(io_join(mark, sizeof mark, keys_dir, "authority-beside", err));
        TRY(io_write_file(mark, "1\n", 2, 0600, true, err));
        TRY(authority_create(cli, keys, where, IO_PATH_MAX, err));
    }
out:
    buf_deinit(&pub);
    return status;
}

int ctl_init(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_keys keys;
    char dir[IO_PATH_MAX], path[IO_PATH_MAX], where[IO_PATH_MAX] = "";
    const char *state = ctl_state(cli);
    enum sotto_status status;
    memset(&keys, 0, sizeof keys);
    TRY(io_mkdir_p(state, 0700, &err));
    TRY(keys_paths(state, dir, sizeof dir, &err));
    TRY(io_mkdir_p(dir, 0700, &err));
    TRY(io_join(path, sizeof path, dir, "authority.pub", &err));
    if (io_exists(path))
        TRY_FAIL(&err, SOTTO_EXISTS, "%s: is set up already", state);
    TRY(init_authority(cli, dir, &keys, where, &err));
    TRY(io_write_file(path, keys.public_key, ID_KEY, 0600, true, &err));
    if (where[0])
        ctl_say(cli,
                "coordinator set up in %s; fleet authority beside it: %s (at most secure against a "
                "curious coordinator; keep the authority elsewhere for more)\nnext: "
                "sotto-coordinator --state %s",
                state, where, state);
    else
        ctl_say(cli,
                "coordinator set up in %s; its fleet authority is elsewhere\nnext: "
                "sotto-coordinator --state %s, then sottoctl document request, authority certify, "
                "document import",
                state, state);
out:
    id_wipe(&keys, sizeof keys);
    return ctl_end(cli, status, &err);
}

/* ---- Documents
 * -------------------------------------------------------------------------------------------------------
 */

static enum sotto_status write_out(struct cli *cli, struct view bytes, unsigned mode,
                                   struct sotto_error *err) {
    const char *path = cli_flag(cli, "output");
    if (path && strcmp(path, "-") != 0)
        return io_write_file(path, bytes.p, bytes.n, mode, true, err);
    if (isatty(STDOUT_FILENO))
        return SOTTO_FAIL(err, SOTTO_USAGE, "not written to a terminal; name a file with --output");
    return fwrite(bytes.p, 1, bytes.n, stdout) == bytes.n && fflush(stdout) == 0
               ? SOTTO_OK
               : SOTTO_FAIL(err, SOTTO_IO, "standard output cannot be written");
}

static enum sotto_status read_in(const char *path, size_t max, struct buf *out,
                                 struct sotto_error *err) {
    return io_read_file(strcmp(path, "-") == 0 ? "/dev/stdin" : path, max, out, err);
}

int ctl_document_request(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    struct view args[] = {view_of("document-request", 16)};
    const char *path = cli_flag(cli, "output");
    enum sotto_status status;
    buf_init(&out, DOCUMENT_MAX);
    TRY(ctl_ask(cli, false, args, 1, &out, &err));
    TRY(write_out(cli, buf_view(&out), 0644, &err));
    if (path && strcmp(path, "-") != 0)
        ctl_say(cli,
                "%s: what the coordinator asks its fleet authority to certify, %zu bytes\nnext: "
                "sottoctl authority certify %s --output document, where the authority's key lies; "
                "then sottoctl document import document here",
                path, out.len, path);
out:
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

int ctl_authority_certify(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    struct id_keys keys;
    struct buf in, out;
    enum sotto_status status;
    memset(&d, 0, sizeof d);
    memset(&keys, 0, sizeof keys);
    buf_init(&in, DOCUMENT_MAX);
    buf_init(&out, DOCUMENT_MAX);
    TRY(authority_open(cli, &keys, &err));
    TRY(read_in(cli_arg(cli, 0), DOCUMENT_MAX, &in, &err));
    TRY(id_document_request_read(buf_view(&in), &d, &err));
    if (memcmp(d.authority_key, keys.public_key, ID_KEY) != 0)
        TRY_FAIL(&err, SOTTO_DENIED, "%s: asks another authority", cli_arg(cli, 0));
    for (uint32_t i = 0; i < d.endpoint_count; i++)
        fprintf(stderr, "endpoint %s\n", d.endpoints[i].address);
    if (d.endpoint_count == 0)
        TRY_FAIL(&err, SOTTO_INVALID, "%s: names no endpoint", cli_arg(cli, 0));
    fprintf(stderr, "document version %" PRIu64 ", %u revoked serials%s\n", d.version,
            d.revoked_count, d.authority_beside ? ", authority beside the coordinator" : "");
    TRY(id_document_sign(&d, &keys, &out, &err));
    TRY(write_out(cli, buf_view(&out), 0644, &err));
out:
    id_document_deinit(&d);
    id_wipe(&keys, sizeof keys);
    buf_deinit(&in);
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

static enum sotto_status import_document(struct cli *cli, struct view bytes, struct buf *out,
                                         struct sotto_error *err) {
    struct view args[] = {view_of("document-import", 15), bytes};
    return ctl_ask(cli, cli_json(cli), args, 2, out, err);
}

int ctl_document_import(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf in, out;
    enum sotto_status status;
    buf_init(&in, DOCUMENT_MAX);
    buf_init(&out, DOCUMENT_MAX);
    TRY(read_in(cli_arg(cli, 0), DOCUMENT_MAX, &in, &err));
    TRY(import_document(cli, buf_view(&in), &out, &err));
    fwrite(out.data, 1, out.len, stdout);
out:
    buf_deinit(&in);
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

int ctl_document_show(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf out;
    struct view args[] = {view_of("document", 8)};
    enum sotto_status status;
    buf_init(&out, DOCUMENT_MAX);
    TRY(ctl_ask(cli, false, args, 1, &out, &err));
    if (out.len < 2)
        TRY_FAIL(&err, SOTTO_CORRUPT, "unexpected answer from the coordinator");
    TRY(write_out(cli, view_of(out.data + 1, out.len - 1), 0644, &err));
out:
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

/* The certified document: from the daemon, or, where none runs, from its store. NOT_FOUND: none. */
static enum sotto_status certified_document(struct cli *cli, struct id_document *d,
                                            struct sotto_error *err) {
    enum sotto_status status;
    struct buf bytes;
    struct store *store = NULL;
    char lock[IO_PATH_MAX];
    struct view ask[] = {view_of("document", 8)};
    int fd = -1;
    buf_init(&bytes, DOCUMENT_MAX);
    status = ctl_ask(cli, false, ask, 1, &bytes, err);
    if (status == SOTTO_OK && bytes.len > 1)
        status = id_document_read(view_of(bytes.data + 1, bytes.len - 1), NULL, d, err);
    if (status != SOTTO_UNREACHABLE)
        goto out;
    TRY(io_join(lock, sizeof lock, ctl_state(cli), "lock", err));
    TRY(io_lock(lock, &fd, err));
    TRY(store_open(ctl_state(cli), &store, err));
    TRY(store_meta_get(store, "document", &bytes, err));
    TRY(id_document_read(buf_view(&bytes), NULL, d, err));
out:
    store_close(store);
    if (fd >= 0)
        close(fd);
    buf_deinit(&bytes);
    return status;
}

int ctl_keys_rotate(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    bool signing = cli_flag(cli, "signing") != NULL, curve = cli_flag(cli, "curve") != NULL;
    enum sotto_status status;
    memset(&d, 0, sizeof d);
    if (!signing && !curve)
        signing = curve = true;
    TRY(id_setup(&err));
    status = certified_document(cli, &d, &err);
    if (status != SOTTO_OK && status != SOTTO_NOT_FOUND)
        goto out;
    TRY(keys_rotate(ctl_state(cli), status == SOTTO_OK ? &d : NULL, signing, curve,
                    cli_flag(cli, "force") != NULL, &err));
    ctl_say(cli,
            "new keys written%s%s; they take effect when the coordinator starts again, and need a "
            "new document: sottoctl document request, authority certify, document import",
            signing ? ": plans will be signed by the key that the document named next" : "",
            curve
                ? "; the retired CURVE key stays bound at its own port, the new one needs another "
                  "(listen)"
                : "");
out:
    id_document_deinit(&d);
    return ctl_end(cli, status, &err);
}

/* ---- Tokens
 * ------------------------------------------------------------------------------------------------------------
 */

struct issue {
    struct id_keys authority;
    struct buf document;
    uint64_t first;
    uint64_t count;
    int64_t expiry_ms;
    struct buf tickets; /* the public list */
    struct buf texts;   /* of a batch of tokens: secret */
    size_t ends[BATCH];
};

/* Into its file, or to standard output: a line, or an object of a JSON list. */
static enum sotto_status write_token(struct cli *cli, uint64_t serial, struct view text,
                                     struct sotto_error *err) {
    const char *dir = cli_flag(cli, "output");
    char path[IO_PATH_MAX], name[40];
    if (!dir || strcmp(dir, "-") == 0) {
        int put = cli_json(cli) ? printf("{\"serial\":%" PRIu64 ",\"token\":\"%.*s\"}\n", serial,
                                         (int)text.n - 1, (const char *)text.p)
                                : printf("%.*s", (int)text.n, (const char *)text.p);
        return put > 0 ? SOTTO_OK : SOTTO_FAIL(err, SOTTO_IO, "tokens cannot be written");
    }
    snprintf(name, sizeof name, "device-%04" PRIu64 ".token", serial);
    enum sotto_status status = io_mkdir_p(dir, 0700, err);
    if (status == SOTTO_OK)
        status = io_join(path, sizeof path, dir, name, err);
    return status == SOTTO_OK ? io_write_file(path, text.p, text.n, 0600, true, err) : status;
}

/* Makes a batch of tokens: their public list in is->tickets, their texts, each with a line end, in
 * is->texts. */
static enum sotto_status issue_batch(struct issue *is, uint64_t first, uint32_t count,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct id_token token;
    struct buf text;
    uint8_t ticket[ID_TICKET_BYTES];
    memset(&token, 0, sizeof token);
    buf_init(&text, ID_TOKEN_MAX + 2);
    if (is->texts.data)
        id_wipe(is->texts.data, is->texts.len);
    buf_reset(&is->texts);
    for (uint32_t i = 0; i < count; i++) {
        TRY(id_token_issue(&is->authority, first + i, is->expiry_ms, buf_view(&is->document),
                           &token, err));
        TRY(id_token_encode(&token, &text, err));
        buf_put(&is->texts, text.data, text.len);
        buf_put_u8(&is->texts, '\n');
        is->ends[i] = is->texts.len;
        id_ticket_encode(&token.ticket, ticket);
        buf_put(&is->tickets, ticket, sizeof ticket);
        id_wipe(text.data, text.len);
        id_token_deinit(&token);
        memset(&token, 0, sizeof token);
    }
    if (is->texts.status != SOTTO_OK || is->tickets.status != SOTTO_OK)
        TRY_FAIL(err, SOTTO_NOMEM, "tokens: out of memory");
out:
    id_token_deinit(&token);
    if (text.data)
        id_wipe(text.data, text.len);
    buf_deinit(&text);
    return status;
}

static enum sotto_status write_batch(struct cli *cli, const struct issue *is, uint64_t first,
                                     uint32_t count, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < count; i++) {
        size_t start = i ? is->ends[i - 1] : 0;
        TRY(write_token(cli, first + i, view_of(is->texts.data + start, is->ends[i] - start), err));
    }
out:
    return status;
}

static enum sotto_status issue_begin(struct cli *cli, struct issue *is, struct sotto_error *err) {
    enum sotto_status status;
    uint64_t days = TOKEN_DAYS_DEFAULT;
    memset(is, 0, sizeof *is);
    buf_init(&is->document, DOCUMENT_MAX);
    buf_init(&is->tickets, (size_t)64 << 20);
    buf_init(&is->texts, (size_t)BATCH * (ID_TOKEN_MAX + 2));
    is->count = 1;
    TRY(id_setup(err));
    TRY(cli_flag_u64(cli, "count", 1, 100000, &is->count, err));
    TRY(cli_flag_u64(cli, "days", 1, 3650, &days, err));
    is->expiry_ms = clock_wall_ms() + (int64_t)days * 86400000;
out:
    return status;
}

static void issue_end(struct issue *is) {
    id_wipe(&is->authority, sizeof is->authority);
    if (is->texts.data)
        id_wipe(is->texts.data, is->texts.len);
    buf_deinit(&is->document);
    buf_deinit(&is->tickets);
    buf_deinit(&is->texts);
}

/* With the authority beside: makes sure that the document is certified and says what it should. */
static enum sotto_status current_document(struct cli *cli, struct issue *is,
                                          struct sotto_error *err) {
    enum sotto_status status;
    struct buf got, request;
    struct id_document d;
    struct view ask[] = {view_of("document", 8)}, want[] = {view_of("document-request", 16)};
    memset(&d, 0, sizeof d);
    buf_init(&got, DOCUMENT_MAX);
    buf_init(&request, DOCUMENT_MAX);
    status = ctl_ask(cli, false, ask, 1, &got, err);
    if (status == SOTTO_OK && got.len > 1 && got.data[0] == 0) {
        buf_put(&is->document, got.data + 1, got.len - 1);
        goto out;
    }
    if (status != SOTTO_OK && status != SOTTO_NOT_FOUND)
        goto out;
    TRY(ctl_ask(cli, false, want, 1, &request, err));
    TRY(id_document_request_read(buf_view(&request), &d, err));
    TRY(id_document_sign(&d, &is->authority, &is->document, err));
    TRY(import_document(cli, buf_view(&is->document), &got, err));
out:
    id_document_deinit(&d);
    buf_deinit(&got);
    buf_deinit(&request);
    return status;
}

int ctl_enroll(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct issue is;
    struct buf answer;
    char count[24];
    enum sotto_status status;
    buf_init(&answer, 4096);
    TRY(issue_begin(cli, &is, &err));
    TRY(authority_open(cli, &is.authority, &err));
    TRY(current_document(cli, &is, &err));
    snprintf(count, sizeof count, "%" PRIu64, is.count);
    struct view serials[] = {view_of("serials", 7), view_of(count, strlen(count))};
    TRY(ctl_ask(cli, false, serials, 2, &answer, &err));
    if (answer.len != 8)
        TRY_FAIL(&err, SOTTO_CORRUPT, "unexpected answer from the coordinator");
    memcpy(&is.first, answer.data, 8);
    for (uint64_t done = 0; done < is.count;) {
        uint32_t n = (uint32_t)num_min_u64(BATCH, is.count - done);
        buf_reset(&is.tickets);
        TRY(issue_batch(&is, is.first + done, n, &err));
        struct view tickets[] = {view_of("tickets", 7), buf_view(&is.tickets)};
        TRY(ctl_ask(cli, false, tickets, 2, &answer, &err));
        TRY(write_batch(cli, &is, is.first + done, n, &err)); /* known before anybody has one */
        done += n;
    }
    const char *dir = cli_flag(cli, "output");
    if (dir && strcmp(dir, "-") != 0)
        ctl_say(cli, "%" PRIu64 " token%s in %s; each enrols one device: sotto-client enroll FILE",
                is.count, is.count == 1 ? "" : "s", dir);
out:
    issue_end(&is);
    buf_deinit(&answer);
    return ctl_end(cli, status, &err);
}

int ctl_authority_issue(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct issue is;
    struct id_document d;
    const char *list = cli_flag(cli, "list"), *document = cli_flag(cli, "document");
    enum sotto_status status;
    memset(&d, 0, sizeof d);
    TRY(issue_begin(cli, &is, &err));
    if (!list || !document || !cli_flag(cli, "first"))
        TRY_FAIL(&err, SOTTO_USAGE, "--document FILE, --first SERIAL and --list FILE are needed");
    TRY(cli_flag_u64(cli, "first", 1, INT64_MAX, &is.first, &err));
    TRY(authority_open(cli, &is.authority, &err));
    TRY(io_read_file(document, DOCUMENT_MAX, &is.document, &err));
    TRY(id_document_read(buf_view(&is.document), is.authority.public_key, &d, &err));
    for (uint64_t done = 0; done < is.count;) {
        uint32_t n = (uint32_t)num_min_u64(BATCH, is.count - done);
        TRY(issue_batch(&is, is.first + done, n, &err));
        TRY(write_batch(cli, &is, is.first + done, n, &err));
        done += n;
    }
    TRY(io_write_file(list, is.tickets.data, is.tickets.len, 0644, true, &err));
    fprintf(stderr,
            "%" PRIu64 " tokens, serials from %" PRIu64
            "; the public list for sottoctl enroll import is %s\n",
            is.count, is.first, list);
out:
    id_document_deinit(&d);
    issue_end(&is);
    return ctl_end(cli, status, &err);
}

int ctl_enroll_import(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf in, out;
    enum sotto_status status;
    buf_init(&in, (size_t)64 << 20);
    buf_init(&out, 4096);
    TRY(read_in(cli_arg(cli, 0), (size_t)64 << 20, &in, &err));
    struct view args[] = {view_of("tickets", 7), buf_view(&in)};
    TRY(ctl_ask(cli, cli_json(cli), args, 2, &out, &err));
    fwrite(out.data, 1, out.len, stdout);
out:
    buf_deinit(&in);
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}

/* The authority's key file: the seed of its Ed25519 key, sealed by a passphrase or by a key file.
 */
#include "identity/id_int.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC       "SOTTOAK1"
#define MAGIC_BYTES 8u
#define SEED_BYTES  32u
#define SALT_BYTES  crypto_pwhash_SALTBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES   crypto_aead_xchacha20poly1305_ietf_ABYTES
/* magic, kind, operations, memory, salt: authenticated with the seed */
#define HEAD_BYTES (MAGIC_BYTES + 1u + 8u + 8u + SALT_BYTES)
#define FILE_BYTES (HEAD_BYTES + NONCE_BYTES + SEED_BYTES + TAG_BYTES)
/* Bounds of what a file may make us spend. */
#define OPS_MAX 16u
#define MEM_MAX ((size_t)1 << 30)

_Static_assert(SEED_BYTES == crypto_sign_SEEDBYTES, "seed of Ed25519");

enum kind { BY_PASSPHRASE = 1, BY_KEY_FILE = 2 };

static enum sotto_status lock_kind(const struct id_lock *lock, enum kind *kind,
                                   struct sotto_error *err) {
    if ((lock->passphrase == NULL) == (lock->key_file == NULL))
        return SOTTO_FAIL(err, SOTTO_INVALID,
                          "give either a passphrase or a key file for the authority's key");
    if (lock->passphrase != NULL && lock->passphrase[0] == '\0')
        return SOTTO_FAIL(err, SOTTO_INVALID, "the passphrase is empty");
    *kind = lock->passphrase != NULL ? BY_PASSPHRASE : BY_KEY_FILE;
    return SOTTO_OK;
}

/* Only the owner may read or write a secret's file. */
static enum sotto_status check_mode(const char *path, struct sotto_error *err) {
    struct stat st;
    if (stat(path, &st) != 0)
        return SOTTO_FAIL_SYS(err, errno == ENOENT ? SOTTO_NOT_FOUND : SOTTO_IO, "%s: cannot open",
                              path);
    if ((st.st_mode & 077) != 0)
        return SOTTO_FAIL(err, SOTTO_DENIED,
                          "%s: mode %03o lets others at a secret; run chmod 600 on it", path,
                          (unsigned)(st.st_mode & 0777));
    return SOTTO_OK;
}

static enum sotto_status read_key_file(const char *path, uint8_t key[ID_KEY],
                                       struct sotto_error *err) {
    enum sotto_status status;
    struct buf b;
    buf_init(&b, ID_KEY);
    TRY(check_mode(path, err));
    TRY(io_read_file(path, ID_KEY, &b, err));
    if (b.len != ID_KEY)
        TRY_FAIL(err, SOTTO_CORRUPT, "%s: %zu bytes instead of the %u of a key file", path, b.len,
                 ID_KEY);
    memcpy(key, b.data, ID_KEY);
out:
    id_wipe(b.data, b.len);
    buf_deinit(&b);
    return status;
}

static enum sotto_status make_key_file(const char *path, uint8_t key[ID_KEY],
                                       struct sotto_error *err) {
    if (io_exists(path))
        return read_key_file(path, key, err);
    id_random(key, ID_KEY);
    return io_write_file(path, key, ID_KEY, 0600, true, err);
}

static enum sotto_status stretch(const char *passphrase, uint64_t ops, uint64_t mem,
                                 const uint8_t *salt, uint8_t key[ID_KEY],
                                 struct sotto_error *err) {
    if (crypto_pwhash(key, ID_KEY, passphrase, strlen(passphrase), salt, ops, (size_t)mem,
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "not enough memory for the passphrase's Argon2id");
    return SOTTO_OK;
}

static void put_head(struct buf *b, enum kind kind, const uint8_t *salt) {
    const bool pass = kind == BY_PASSPHRASE;
    buf_put(b, MAGIC, MAGIC_BYTES);
    buf_put_u8(b, (uint8_t)kind);
    buf_put_u64(b, pass ? crypto_pwhash_OPSLIMIT_INTERACTIVE : 0);
    buf_put_u64(b, pass ? crypto_pwhash_MEMLIMIT_INTERACTIVE : 0);
    buf_put(b, salt, SALT_BYTES);
}

enum sotto_status id_authority_create(const char *path, const struct id_lock *lock,
                                      struct id_keys *out, struct sotto_error *err) {
    enum sotto_status status;
    enum kind kind = BY_KEY_FILE;
    struct buf b;
    uint8_t key[ID_KEY] = {0}, seed[SEED_BYTES], salt[SALT_BYTES] = {0}, nonce[NONCE_BYTES];
    memset(out, 0, sizeof *out);
    buf_init(&b, FILE_BYTES);
    TRY(lock_kind(lock, &kind, err));
    if (io_exists(path))
        TRY_FAIL(err, SOTTO_EXISTS, "%s: exists; an authority's key is never overwritten", path);
    id_random(nonce, sizeof nonce);
    if (kind == BY_PASSPHRASE) {
        id_random(salt, sizeof salt);
        TRY(stretch(lock->passphrase, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                    crypto_pwhash_MEMLIMIT_INTERACTIVE, salt, key, err));
    } else {
        TRY(make_key_file(lock->key_file, key, err));
    }
    id_random(seed, sizeof seed);
    put_head(&b, kind, salt);
    buf_put(&b, nonce, sizeof nonce);
    uint8_t *sealed = buf_grow(&b, SEED_BYTES + TAG_BYTES);
    if (sealed == NULL)
        TRY_FAIL(err, b.status, "%s: cannot hold the sealed key", path);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, seed, SEED_BYTES, b.data,
                                                     HEAD_BYTES, NULL, nonce, key);
    TRY(io_write_file(path, b.data, b.len, 0600, true, err));
    (void)crypto_sign_seed_keypair(out->public_key, out->secret_key, seed);
out:
    id_wipe(key, sizeof key);
    id_wipe(seed, sizeof seed);
    buf_deinit(&b);
    return status;
}

struct sealed_seed {
    enum kind kind;
    uint64_t ops, mem;
    const uint8_t *head, *salt, *nonce, *sealed;
};

static enum sotto_status read_sealed(const char *path, const struct buf *b, struct sealed_seed *s,
                                     struct sotto_error *err) {
    struct reader r;
    reader_init(&r, buf_view(b));
    const struct view magic = reader_bytes(&r, MAGIC_BYTES, "magic");
    const uint8_t kind = reader_u8(&r, "kind");
    s->head = b->data;
    s->ops = reader_u64(&r, "operations");
    s->mem = reader_u64(&r, "memory");
    s->salt = reader_bytes(&r, SALT_BYTES, "salt").p;
    s->nonce = reader_bytes(&r, NONCE_BYTES, "nonce").p;
    s->sealed = reader_bytes(&r, SEED_BYTES + TAG_BYTES, "sealed key").p;
    if (magic.p == NULL || memcmp(magic.p, MAGIC, MAGIC_BYTES) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: not a sotto authority key", path);
    if (kind != BY_PASSPHRASE && kind != BY_KEY_FILE)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: sealed in an unknown way (%u)", path, kind);
    s->kind = (enum kind)kind;
    if (s->kind == BY_PASSPHRASE && (s->ops < crypto_pwhash_OPSLIMIT_MIN || s->ops > OPS_MAX ||
                                     s->mem < crypto_pwhash_MEMLIMIT_MIN || s->mem > MEM_MAX))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: cost of the passphrase is out of range", path);
    return reader_finish(&r, true, path, err);
}

enum sotto_status id_authority_open(const char *path, const struct id_lock *lock,
                                    struct id_keys *out, struct sotto_error *err) {
    enum sotto_status status;
    enum kind kind = BY_KEY_FILE;
    struct buf b;
    struct sealed_seed s = {0};
    uint8_t key[ID_KEY] = {0}, seed[SEED_BYTES] = {0};
    memset(out, 0, sizeof *out);
    buf_init(&b, FILE_BYTES);
    TRY(lock_kind(lock, &kind, err));
    TRY(check_mode(path, err));
    TRY(io_read_file(path, FILE_BYTES, &b, err));
    TRY(read_sealed(path, &b, &s, err));
    if (s.kind != kind)
        TRY_FAIL(err, SOTTO_DENIED, "%s: sealed by a %s, not by a %s", path,
                 s.kind == BY_PASSPHRASE ? "passphrase" : "key file",
                 kind == BY_PASSPHRASE ? "passphrase" : "key file");
    if (kind == BY_PASSPHRASE)
        TRY(stretch(lock->passphrase, s.ops, s.mem, s.salt, key, err));
    else
        TRY(read_key_file(lock->key_file, key, err));
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(seed, NULL, NULL, s.sealed,
                                                   SEED_BYTES + TAG_BYTES, s.head, HEAD_BYTES,
                                                   s.nonce, key) != 0)
        TRY_FAIL(err, SOTTO_DENIED, "%s: wrong %s, or the file is damaged", path,
                 kind == BY_PASSPHRASE ? "passphrase" : "key file");
    (void)crypto_sign_seed_keypair(out->public_key, out->secret_key, seed);
out:
    id_wipe(key, sizeof key);
    id_wipe(seed, sizeof seed);
    buf_deinit(&b);
    return status;
}

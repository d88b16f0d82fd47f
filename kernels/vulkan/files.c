/* The files kept beside a device: compiled pipelines and self-test results, each behind a header
 * that says whose they are. A driver may crash on a cache that is not its own, so nothing reaches
 * it before the header and a checksum over all bytes agree. */
#include <stdio.h>
#include <string.h>

#include "sotto/base/io.h"

#include "vulkan/gpu.h"

#define MAGIC        "sottoVk1"
#define HEADER_BYTES (8 + 4 * 4 + VK_UUID_SIZE + 8 + 8 + 8)

static uint64_t fnv(uint64_t h, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* Header: magic, kind, vendor, device, driver, UUID, shaders, payload length, checksum of all the
 * rest. */
void gpu_file_encode(const struct gpu_file_key *key, const void *payload, size_t bytes,
                     struct buf *out) {
    size_t at = out->len;
    buf_put(out, MAGIC, 8);
    buf_put_u32(out, key->kind);
    buf_put_u32(out, key->vendor);
    buf_put_u32(out, key->device);
    buf_put_u32(out, key->driver);
    buf_put(out, key->uuid, sizeof(key->uuid));
    buf_put_u64(out, key->shaders);
    buf_put_u64(out, bytes);
    if (out->status != SOTTO_OK)
        return;
    uint64_t sum = fnv(0xcbf29ce484222325u, out->data + at, out->len - at);
    buf_put_u64(out, fnv(sum, payload, bytes));
    buf_put(out, payload, bytes);
}

enum sotto_status gpu_file_decode(struct view file, const struct gpu_file_key *key,
                                  struct view *payload, struct sotto_error *err) {
    struct reader r;
    reader_init(&r, file);
    *payload = (struct view){NULL, 0};
    struct view magic = reader_bytes(&r, 8, "magic");
    struct gpu_file_key k = {0};
    k.kind = reader_u32(&r, "kind");
    k.vendor = reader_u32(&r, "vendor");
    k.device = reader_u32(&r, "device");
    k.driver = reader_u32(&r, "driver");
    struct view uuid = reader_bytes(&r, sizeof(k.uuid), "uuid");
    k.shaders = reader_u64(&r, "shaders");
    uint64_t bytes = reader_u64(&r, "length");
    uint64_t sum = reader_u64(&r, "checksum");
    if (r.status == SOTTO_OK && memcmp(magic.p, MAGIC, 8) != 0)
        reader_fail(&r, SOTTO_CORRUPT, "magic");
    if (r.status == SOTTO_OK && bytes != reader_left(&r))
        reader_fail(&r, SOTTO_CORRUPT, "length");
    struct view body = reader_bytes(&r, r.status == SOTTO_OK ? (size_t)bytes : 0, "payload");
    if (r.status == SOTTO_OK &&
        fnv(fnv(0xcbf29ce484222325u, file.p, HEADER_BYTES - 8), body.p, body.n) != sum)
        reader_fail(&r, SOTTO_CORRUPT, "checksum");
    enum sotto_status status = reader_finish(&r, true, "device file", err);
    if (status != SOTTO_OK)
        return status == SOTTO_NOMEM ? status : SOTTO_CORRUPT;
    memcpy(k.uuid, uuid.p, sizeof(k.uuid));
    if (k.kind != key->kind || k.vendor != key->vendor || k.device != key->device ||
        k.driver != key->driver || k.shaders != key->shaders ||
        memcmp(k.uuid, key->uuid, sizeof(k.uuid)) != 0)
        return SOTTO_FAIL(err, SOTTO_STATE,
                          "the file belongs to another device, driver or version of the shaders");
    *payload = body;
    return SOTTO_OK;
}

enum sotto_status gpu_tests_decode(struct view payload, uint8_t tests[KERN_OP_COUNT],
                                   struct sotto_error *err) {
    if (payload.n != KERN_OP_COUNT)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "self-test results of %zu instructions, not %d",
                          payload.n, (int)KERN_OP_COUNT);
    for (unsigned i = 0; i < KERN_OP_COUNT; i++) {
        bool known = payload.p[i] == KERN_TEST_PASSED || payload.p[i] == KERN_TEST_FAILED;
        tests[i] = known ? payload.p[i] : KERN_TEST_LATER;
    }
    return SOTTO_OK;
}

struct gpu_file_key gpu_file_key(const struct gpu *g, uint32_t kind) {
    struct gpu_file_key key = {.kind = kind,
                               .vendor = g->properties.vendorID,
                               .device = g->properties.deviceID,
                               .driver = g->properties.driverVersion,
                               .shaders = gpu_shaders_hash()};
    memcpy(key.uuid, g->properties.pipelineCacheUUID, sizeof(key.uuid));
    /* Masks choose other kernels: their results are others' too. */
    key.shaders ^= (uint64_t)g->config.disabled << 56;
    return key;
}

bool gpu_file_path(const struct gpu *g, uint32_t kind, char *out, size_t cap) {
    if (!*g->config.cache_dir)
        return false;
    int n = snprintf(out, cap, "%s/vulkan-%x-%x.%s", g->config.cache_dir, g->properties.vendorID,
                     g->properties.deviceID, kind == GPU_FILE_TESTS ? "tests" : "pipelines");
    return n > 0 && (size_t)n < cap;
}

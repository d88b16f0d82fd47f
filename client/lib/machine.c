/* A name for all that could make another backend the fastest: this program, the processor's
 * kernels, Vulkan's drivers. It opens no driver: that takes tens of megabytes, which a device whose
 * processor is faster should not pay at every start. */
#include "lib/client_int.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#define TEXT_MAX (64u << 10)

/* Adds one fact, in any order. */
static void mix(struct wire_hash *h, const struct buf *fact) {
    const struct wire_hash one = wire_hash_of("sotto machine v1", buf_view(fact));
    for (size_t i = 0; i < WIRE_HASH; i++)
        h->b[i] ^= one.b[i];
}

struct folder {
    const char *path;
    struct wire_hash *hash;
};

/* A driver's manifest, which comes and goes with it, and whose time changes with its version. */
static enum sotto_status add_manifest(void *ctx, const char *name) {
    const struct folder *f = ctx;
    char path[IO_PATH_MAX];
    struct stat st;
    struct buf fact;
    if (io_join(path, sizeof path, f->path, name, NULL) != SOTTO_OK || stat(path, &st) != 0)
        return SOTTO_OK;
    buf_init(&fact, TEXT_MAX);
    buf_printf(&fact, "%s %lld %lld", path, (long long)st.st_size, (long long)st.st_mtime);
    mix(f->hash, &fact);
    buf_deinit(&fact);
    return SOTTO_OK;
}

static void add_drivers(struct wire_hash *hash) {
    static const char *const folders[] = {"/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d",
                                          "/usr/local/share/vulkan/icd.d", "/vendor/lib64/hw"};
    static const char *const variables[] = {"VK_ICD_FILENAMES", "VK_DRIVER_FILES",
                                            "SOTTO_VULKAN_DEVICE", "SOTTO_VULKAN_DISABLE"};
    struct utsname kernel;
    struct buf fact;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        struct folder f = {folders[i], hash};
        (void)io_list(folders[i], add_manifest, &f, NULL); /* most are not there */
    }
    buf_init(&fact, TEXT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        const char *value = getenv(variables[i]);
        buf_printf(&fact, "%s=%s\n", variables[i], value != NULL ? value : "");
    }
    if (uname(&kernel) == 0) /* the other half of a driver */
        buf_printf(&fact, "%s %s", kernel.release, kernel.version);
    mix(hash, &fact);
    buf_deinit(&fact);
}

struct wire_hash client_machine(void) {
    const struct kern_backend *list[CLIENT_BACKENDS_MAX];
    struct wire_hash hash = {{0}};
    struct buf fact;
    size_t count = kern_backend_list(list, CLIENT_BACKENDS_MAX);
    bool devices = false;
    if (client_choose_candidates != NULL)
        count = client_choose_candidates(list, CLIENT_BACKENDS_MAX);
    buf_init(&fact, TEXT_MAX);
    buf_printf(&fact, "%s\n", SOTTO_VERSION_TEXT);
    for (size_t i = 0; i < count && i < CLIENT_BACKENDS_MAX; i++) {
        const char *name = kern_backend_name(list[i]);
        const bool device = strcmp(name, "vulkan") == 0;
        devices = devices || device;
        buf_printf(&fact, "%s %s\n", name, device ? "" : kern_backend_kernel_set(list[i]));
    }
    mix(&hash, &fact);
    buf_deinit(&fact);
    if (devices)
        add_drivers(&hash);
    return hash;
}

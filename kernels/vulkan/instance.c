/* The Vulkan instance, the choice of a device, and the list of devices for people. One device is
 * open in a process, from its first use until the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sotto/base/log.h"
#include "sotto/base/num.h"

#include "vulkan/gpu.h"

struct gpu_hooks gpu_hooks;

static struct {
    pthread_mutex_t lock;
    struct gpu_config config;
    bool tried, configured;
    bool open; /* gpu is */
    struct sotto_error reason;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    struct gpu gpu;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- Configuration ---- */

static unsigned parse_disabled(const char *text) {
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"all", GPU_ALL},           {"fp16", GPU_FP16},       {"int8", GPU_INT8},
                 {"subgroup", GPU_SUBGROUP}, {"unified", GPU_UNIFIED}, {"tile", GPU_TILE}};
    unsigned bits = 0;
    while (text && *text) {
        size_t n = strcspn(text, ",");
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (strlen(names[i].name) == n && memcmp(names[i].name, text, n) == 0) {
                bits |= names[i].bit;
                known = true;
            }
        if (!known && n > 0) {
            char shown[64];
            LOG(LOG_WARN, "vulkan.mask",
                LS("unknown", sotto_escape(shown, sizeof(shown), text, n < 20 ? n : 20)));
        }
        text += n + (text[n] == ',');
    }
    return bits;
}

static void read_environment(struct gpu_config *c) {
    const char *device = getenv("SOTTO_VULKAN_DEVICE");
    if (device && *device)
        snprintf(c->device, sizeof(c->device), "%s", device);
    c->disabled = parse_disabled(getenv("SOTTO_VULKAN_DISABLE"));
    if (c->submit_ms == 0)
        c->submit_ms = 50;
}

enum sotto_status kern_device_setup(const struct kern_device_options *o, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct gpu_config c = {0};
    pthread_mutex_lock(&state.lock);
    if (state.tried)
        TRY_FAIL(err, SOTTO_STATE, "kernels: a device is in use already");
    if (o->submit_ms > 1000)
        TRY_FAIL(err, SOTTO_INVALID, "kernels: %u ms a submission, allowed are 1 to 1000",
                 o->submit_ms);
    if (o->cache_dir && strlen(o->cache_dir) >= sizeof(c.cache_dir) - 32)
        TRY_FAIL(err, SOTTO_LIMIT, "kernels: the folder's name is too long");
    if (o->device && strlen(o->device) >= sizeof(c.device))
        TRY_FAIL(err, SOTTO_LIMIT, "kernels: the device's name is too long");
    snprintf(c.cache_dir, sizeof(c.cache_dir), "%s", o->cache_dir ? o->cache_dir : "");
    snprintf(c.device, sizeof(c.device), "%s", o->device ? o->device : "");
    c.submit_ms = o->submit_ms;
    state.config = c;
out:
    pthread_mutex_unlock(&state.lock);
    return status;
}

/* ---- Instance ---- */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *ctx) {
    (void)severity;
    (void)types;
    (void)ctx;
    gpu_hooks.messages++;
    fprintf(stderr, "vulkan validation: %s\n", data->pMessage);
    return VK_FALSE;
}

/* SOTTO_VULKAN_VALIDATE=1 (tests): Khronos' validation layer with synchronization validation. */
static enum sotto_status make_instance(struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const char *wish = getenv("SOTTO_VULKAN_VALIDATE");
    bool validate = wish && strcmp(wish, "1") == 0;
    static const char *const layers[] = {"VK_LAYER_KHRONOS_validation"};
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    static const VkValidationFeatureEnableEXT enables[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkDebugUtilsMessengerCreateInfoEXT messages = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message};
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .pNext = &messages,
                                        .enabledValidationFeatureCount = 1,
                                        .pEnabledValidationFeatures = enables};
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .pApplicationName = "sotto",
                             .apiVersion = VK_API_VERSION_1_1};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &app};
    if (validate) {
        info.pNext = &features;
        info.enabledLayerCount = info.enabledExtensionCount = 1;
        info.ppEnabledLayerNames = layers;
        info.ppEnabledExtensionNames = extensions;
    }
    if (volkInitialize() != VK_SUCCESS)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "no Vulkan loader (libvulkan.so.1) is installed");
    if (volkGetInstanceVersion() < VK_API_VERSION_1_1)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "the Vulkan loader is older than 1.1");
    VkResult r = vkCreateInstance(&info, NULL, &state.instance);
    if (r != VK_SUCCESS)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "no Vulkan instance: %s", gpu_result_text(r));
    volkLoadInstanceOnly(state.instance);
    gpu_hooks.validated = validate;
    if (validate)
        GPU_TRY(vkCreateDebugUtilsMessengerEXT(state.instance, &messages, NULL, &state.messenger));
out:
    return status;
}

static uint32_t list_physical(VkPhysicalDevice out[KERN_DEVICES_MAX]) {
    uint32_t n = KERN_DEVICES_MAX;
    VkResult r = vkEnumeratePhysicalDevices(state.instance, &n, out);
    return r == VK_SUCCESS || r == VK_INCOMPLETE ? n : 0;
}

/* Lower is better. */
static unsigned rank_of(VkPhysicalDeviceType t) {
    switch ((unsigned)t) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 3;
    default:
        return 4;
    }
}

static const char *type_name(VkPhysicalDeviceType t) {
    static const char *const names[] = {"discrete", "integrated", "virtual", "cpu", "other"};
    return names[rank_of(t)];
}

static bool is_wanted(const char *wanted, uint32_t index, const char *name) {
    uint64_t number;
    if (!*wanted)
        return true;
    if (num_parse_u64(wanted, 0, KERN_DEVICES_MAX, &number, NULL) == SOTTO_OK)
        return number == index;
    return strstr(name, wanted) != NULL;
}

/* The wanted device that can be used and is best; KERN_NONE when there is none. */
static uint32_t choose(const VkPhysicalDevice *list, uint32_t n, const char *wanted) {
    uint32_t best = KERN_NONE, family;
    unsigned best_rank = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        VkPhysicalDeviceProperties p;
        vkGetPhysicalDeviceProperties(list[i], &p);
        if (is_wanted(wanted, i, p.deviceName) && !gpu_problem(list[i], &p, &family) &&
            rank_of(p.deviceType) < best_rank) {
            best = i;
            best_rank = rank_of(p.deviceType);
        }
    }
    return best;
}

static enum sotto_status open_device(struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    VkPhysicalDevice list[KERN_DEVICES_MAX];
    state.gpu.config = state.config;
    read_environment(&state.gpu.config);
    if (state.gpu.config.disabled & GPU_ALL)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "SOTTO_VULKAN_DISABLE switches all devices off");
    if (!state.instance)
        TRY(make_instance(err));
    uint32_t n = list_physical(list);
    if (n == 0)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "Vulkan finds no device: no driver is installed");
    uint32_t chosen = choose(list, n, state.gpu.config.device);
    if (chosen == KERN_NONE)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "none of %u Vulkan devices can be used%s", n,
                 *state.gpu.config.device ? " and has the wanted name" : "");
    TRY(gpu_open(&state.gpu, list[chosen], err));
    state.open = true;
out:
    return status;
}

enum sotto_status gpu_get(struct gpu **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    pthread_mutex_lock(&state.lock);
    if (!state.tried) {
        state.tried = true;
        (void)open_device(&state.reason);
    }
    if (!state.open)
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "vulkan: %s", state.reason.message);
    if (atomic_load(&state.gpu.lost))
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "vulkan: the device was lost");
    *out = &state.gpu;
out:
    pthread_mutex_unlock(&state.lock);
    return status;
}

bool gpu_lost(void) {
    pthread_mutex_lock(&state.lock);
    bool lost = state.open && atomic_load(&state.gpu.lost);
    pthread_mutex_unlock(&state.lock);
    return lost;
}

void gpu_reset(void) {
    pthread_mutex_lock(&state.lock);
    if (state.open)
        gpu_close(&state.gpu);
    if (state.messenger)
        vkDestroyDebugUtilsMessengerEXT(state.instance, state.messenger, NULL);
    if (state.instance)
        vkDestroyInstance(state.instance, NULL);
    state.open = state.tried = false;
    state.instance = VK_NULL_HANDLE;
    state.messenger = VK_NULL_HANDLE;
    memset(&state.gpu, 0, sizeof(state.gpu));
    memset(&state.reason, 0, sizeof(state.reason));
    pthread_mutex_unlock(&state.lock);
}

/* ---- The list for people ---- */

static uint64_t largest_heap(VkPhysicalDevice physical) {
    VkPhysicalDeviceMemoryProperties m;
    uint64_t most = 0;
    vkGetPhysicalDeviceMemoryProperties(physical, &m);
    for (uint32_t i = 0; i < m.memoryHeapCount; i++)
        if (m.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            most = num_max_u64(most, m.memoryHeaps[i].size);
    return most;
}

static void describe(VkPhysicalDevice physical, struct kern_device_info *out) {
    VkPhysicalDeviceProperties p;
    uint32_t family;
    unsigned disabled = state.gpu.config.disabled;
    bool subgroup_arithmetic;
    memset(out, 0, sizeof(*out));
    vkGetPhysicalDeviceProperties(physical, &p);
    sotto_escape(out->name, sizeof(out->name), p.deviceName, strlen(p.deviceName));
    out->problem = gpu_problem(physical, &p, &family);
    out->type = type_name(p.deviceType);
    snprintf(out->api, sizeof(out->api), "%u.%u.%u", VK_API_VERSION_MAJOR(p.apiVersion),
             VK_API_VERSION_MINOR(p.apiVersion), VK_API_VERSION_PATCH(p.apiVersion));
    snprintf(out->key, sizeof(out->key), "vulkan:%x:%x:%x", p.vendorID, p.deviceID,
             p.driverVersion);
    out->heap_bytes = largest_heap(physical);
    out->workgroup_max = p.limits.maxComputeWorkGroupInvocations;
    out->shared_bytes = p.limits.maxComputeSharedMemorySize;
    out->push_bytes = p.limits.maxPushConstantsSize;
    out->storage_buffers = p.limits.maxPerStageDescriptorStorageBuffers;
    out->storage_range_bytes = p.limits.maxStorageBufferRange;
    if (p.apiVersion >= VK_API_VERSION_1_1) {
        gpu_driver_text(physical, &p, out->driver, sizeof(out->driver));
        gpu_features(physical, &p, disabled, &out->storage_16bit, &out->int8_dot,
                     &subgroup_arithmetic, &out->subgroup);
        out->unified = gpu_memory_is_unified(physical, disabled);
    }
    out->selected = state.open && physical == state.gpu.physical;
    for (unsigned op = 0; op < KERN_OP_COUNT; op++)
        out->tests[op] = !gpu_rows[op]   ? KERN_TEST_LACKS
                         : out->selected ? state.gpu.tests[op]
                                         : KERN_TEST_LATER;
}

size_t kern_device_list(struct kern_device_info *out, size_t cap, char *reason, size_t reason_cap) {
    VkPhysicalDevice list[KERN_DEVICES_MAX];
    struct gpu *g;
    struct sotto_error err = SOTTO_ERROR_INIT;
    uint32_t n = 0;
    (void)gpu_get(&g, &err); /* opens the selected device, or says why there is none */
    pthread_mutex_lock(&state.lock);
    if (state.instance)
        n = list_physical(list);
    for (uint32_t i = 0; i < n && i < cap; i++)
        describe(list[i], &out[i]);
    pthread_mutex_unlock(&state.lock);
    if (reason && reason_cap)
        snprintf(reason, reason_cap, "%s", err.message);
    return n;
}

enum sotto_status kern_device_test(struct sotto_error *err) {
    struct gpu *g;
    bool which[KERN_OP_COUNT];
    enum sotto_status status = gpu_get(&g, err);
    if (status != SOTTO_OK)
        return status;
    for (unsigned op = 0; op < KERN_OP_COUNT; op++)
        which[op] = gpu_rows[op] != NULL;
    gpu_self_test(g, which);
    return SOTTO_OK;
}

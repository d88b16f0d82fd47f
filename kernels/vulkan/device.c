/* Opening a device: limits, features, memory types, buffers. */
#include <stdio.h>
#include <string.h>

#include "vulkan/gpu.h"

const char *gpu_result_text(VkResult r) {
    switch ((int)r) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "initialization failed";
    case VK_ERROR_DEVICE_LOST:
        return "the device was lost";
    case VK_ERROR_LAYER_NOT_PRESENT:
        return "a layer is not installed";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
        return "an extension is not supported";
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return "a feature is not supported";
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return "no driver is installed";
    default:
        return "an error of the driver";
    }
}

enum sotto_status gpu_fail(struct sotto_error *err, VkResult r, const char *call) {
    enum sotto_status status = SOTTO_INTERNAL;
    if (r == VK_ERROR_OUT_OF_HOST_MEMORY || r == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        status = SOTTO_NOMEM;
    else if (r == VK_ERROR_DEVICE_LOST)
        status = SOTTO_UNREACHABLE;
    int n = (int)strcspn(call, "(");
    return SOTTO_FAIL(err, status, "vulkan: %.*s: %s", n, call, gpu_result_text(r));
}

/* ---- What a device can ---- */

/* bits (may be NULL): of its clock. */
static uint32_t compute_family(VkPhysicalDevice physical, uint32_t *bits) {
    VkQueueFamilyProperties families[16];
    uint32_t n = ARRAY_LEN(families);
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    for (uint32_t i = 0; i < n; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT && families[i].queueCount > 0) {
            if (bits)
                *bits = families[i].timestampValidBits;
            return i;
        }
    return KERN_NONE;
}

const char *gpu_problem(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *p,
                        uint32_t *family) {
    const VkPhysicalDeviceLimits *l = &p->limits;
    *family = compute_family(physical, NULL);
    if (p->apiVersion < VK_API_VERSION_1_1)
        return "it is older than Vulkan 1.1";
    if (*family == KERN_NONE)
        return "it has no queue for computing";
    if (l->maxPerStageDescriptorStorageBuffers < GPU_STORAGE_MAX || l->maxPushConstantsSize < 128 ||
        l->maxComputeWorkGroupInvocations < 128 || l->maxComputeWorkGroupSize[0] < 128 ||
        l->maxComputeSharedMemorySize < 16384 || l->maxUniformBufferRange < 16384)
        return "its limits are below those of Vulkan 1.1";
    return NULL;
}

static bool has_extension(VkPhysicalDevice physical, const char *name) {
    VkExtensionProperties *list;
    uint32_t n = 0;
    bool found = false;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL) != VK_SUCCESS || n == 0)
        return false;
    list = mem_array(n, sizeof(*list));
    if (!list)
        return false;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &n, list) == VK_SUCCESS)
        for (uint32_t i = 0; i < n && !found; i++)
            found = strcmp(list[i].extensionName, name) == 0;
    mem_free(list);
    return found;
}

void gpu_features(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *p, unsigned disabled,
                  bool *storage_16bit, bool *int8_dot, bool *subgroup_arithmetic,
                  uint32_t *subgroup) {
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR};
    VkPhysicalDevice16BitStorageFeatures half = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &half};
    VkPhysicalDeviceSubgroupProperties sub = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sub};
    bool has_dot = has_extension(physical, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    (void)p;
    if (has_dot)
        half.pNext = &dot;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    vkGetPhysicalDeviceProperties2(physical, &properties);
    *storage_16bit = half.storageBuffer16BitAccess && !(disabled & GPU_FP16);
    *int8_dot = has_dot && dot.shaderIntegerDotProduct && !(disabled & GPU_INT8);
    *subgroup_arithmetic = (sub.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                           (sub.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) &&
                           !(disabled & GPU_SUBGROUP);
    *subgroup = sub.subgroupSize;
}

void gpu_driver_text(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *p, char *out,
                     size_t cap) {
    VkPhysicalDeviceDriverPropertiesKHR driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver};
    char text[sizeof(driver.driverName) + sizeof(driver.driverInfo) + 4];
    if (!has_extension(physical, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) {
        snprintf(out, cap, "driver %x", p->driverVersion);
        return;
    }
    vkGetPhysicalDeviceProperties2(physical, &properties);
    snprintf(text, sizeof(text), "%s, %s", driver.driverName, driver.driverInfo);
    sotto_escape(out, cap, text, strlen(text));
}

/* The first type with all of flags; KERN_NONE when there is none. The specification orders types
 * so that the first is the best. */
static uint32_t find_type(VkPhysicalDevice physical, VkMemoryPropertyFlags flags) {
    VkPhysicalDeviceMemoryProperties m;
    vkGetPhysicalDeviceMemoryProperties(physical, &m);
    for (uint32_t i = 0; i < m.memoryTypeCount; i++)
        if ((m.memoryTypes[i].propertyFlags & flags) == flags)
            return i;
    return KERN_NONE;
}

#define HOST_FLAGS (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
/* Without the host's cache, reading weights back would take longer than copying them. */
#define UNIFIED_FLAGS                                                                              \
    (HOST_FLAGS | VK_MEMORY_PROPERTY_HOST_CACHED_BIT | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)

bool gpu_memory_is_unified(VkPhysicalDevice physical, unsigned disabled) {
    return !(disabled & GPU_UNIFIED) && find_type(physical, UNIFIED_FLAGS) != KERN_NONE;
}

static void choose_memory(struct gpu *g) {
    g->unified = gpu_memory_is_unified(g->physical, g->config.disabled);
    g->host_type = find_type(g->physical, HOST_FLAGS | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    if (g->host_type == KERN_NONE)
        g->host_type = find_type(g->physical, HOST_FLAGS); /* every device has one */
    g->arena_type =
        find_type(g->physical, g->unified ? UNIFIED_FLAGS : VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
}

enum sotto_status gpu_open(struct gpu *g, VkPhysicalDevice physical, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    static const char *const extensions[] = {VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME};
    const float priority = 1.0f;
    g->physical = physical;
    vkGetPhysicalDeviceProperties(physical, &g->properties);
    g->family = compute_family(physical, &g->timestamp_bits);
    gpu_features(physical, &g->properties, g->config.disabled, &g->storage_16bit, &g->int8_dot,
                 &g->subgroup_arithmetic, &g->subgroup);
    choose_memory(g);
    gpu_driver_text(physical, &g->properties, g->driver, sizeof(g->driver));
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    sotto_escape(name, sizeof(name), g->properties.deviceName, strlen(g->properties.deviceName));
    /* Where stores and tables have little room, Mesa's "(driver's own versions)" in the name, which
     * the driver's text has too, would push that text out. */
    const char *versions = strstr(name, " (");
    snprintf(g->kernel_set, sizeof(g->kernel_set), "vulkan/%.*s (%.120s)",
             versions ? (int)(versions - name) : 96, name, g->driver);

    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
        .shaderIntegerDotProduct = VK_TRUE};
    VkPhysicalDevice16BitStorageFeatures half = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .pNext = g->int8_dot ? &dot : NULL,
        .storageBuffer16BitAccess = g->storage_16bit};
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = g->family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &half,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = g->int8_dot ? 1 : 0,
                               .ppEnabledExtensionNames = extensions};
    pthread_mutex_init(&g->queue_lock, NULL);
    pthread_mutex_init(&g->pipeline_lock, NULL);
    pthread_mutex_init(&g->test_lock, NULL);
    GPU_TRY(vkCreateDevice(physical, &info, NULL, &g->device));
    volkLoadDevice(g->device);
    vkGetDeviceQueue(g->device, g->family, 0, &g->queue);
    TRY(gpu_layouts_init(g, err));
    gpu_cache_load(g);
    gpu_tests_load(g);
out:
    if (status != SOTTO_OK)
        gpu_close(g);
    return status;
}

void gpu_close(struct gpu *g) {
    if (g->device) {
        for (uint32_t i = 0; i < g->pipeline_count; i++)
            vkDestroyPipeline(g->device, g->pipelines[i].handle, NULL);
        vkDestroyPipelineCache(g->device, g->cache, NULL);
        vkDestroyPipelineLayout(g->device, g->pipeline_layout, NULL);
        vkDestroyDescriptorSetLayout(g->device, g->set_layout, NULL);
        vkDestroyDevice(g->device, NULL);
    }
    g->device = VK_NULL_HANDLE;
    pthread_mutex_destroy(&g->queue_lock);
    pthread_mutex_destroy(&g->pipeline_lock);
    pthread_mutex_destroy(&g->test_lock);
}

/* ---- Buffers ---- */

enum sotto_status gpu_buffer_init(struct gpu *g, struct gpu_buffer *b, uint64_t bytes, bool host,
                                  struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkMemoryRequirements need;
    uint32_t type = host ? g->host_type : g->arena_type;
    bool mapped = host || g->unified;
    memset(b, 0, sizeof(*b));
    GPU_TRY(vkCreateBuffer(g->device, &info, NULL, &b->handle));
    vkGetBufferMemoryRequirements(g->device, b->handle, &need);
    if (!(need.memoryTypeBits & 1u << type))
        TRY_FAIL(err, SOTTO_UNSUPPORTED, "vulkan: memory type %u does not hold buffers", type);
    VkMemoryAllocateInfo alloc = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                  .allocationSize = need.size,
                                  .memoryTypeIndex = type};
    GPU_TRY(vkAllocateMemory(g->device, &alloc, NULL, &b->memory));
    b->taken = need.size;
    atomic_fetch_add(&gpu_hooks.device_bytes, b->taken);
    GPU_TRY(vkBindBufferMemory(g->device, b->handle, b->memory, 0));
    if (mapped)
        GPU_TRY(vkMapMemory(g->device, b->memory, 0, VK_WHOLE_SIZE, 0, (void **)&b->host));
    b->bytes = bytes;
out:
    if (status != SOTTO_OK)
        gpu_buffer_deinit(g, b);
    return status;
}

void gpu_buffer_deinit(struct gpu *g, struct gpu_buffer *b) {
    vkDestroyBuffer(g->device, b->handle, NULL);
    vkFreeMemory(g->device, b->memory, NULL); /* unmaps */
    atomic_fetch_sub(&gpu_hooks.device_bytes, b->taken);
    memset(b, 0, sizeof(*b));
}

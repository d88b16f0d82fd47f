/* The one pipeline layout, pipelines by shader and specialization, and their cache on disk. */
#include <stdio.h>
#include <string.h>

#include "sotto/base/io.h"
#include "sotto/base/log.h"

#include "vulkan/gpu.h"

/* Every shader sees four storage buffers, the steps of all lanes, and 128 bytes of push constants.
 */
enum sotto_status gpu_layouts_init(struct gpu *g, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    VkDescriptorSetLayoutBinding bindings[GPU_STORAGE_MAX + 1];
    for (uint32_t i = 0; i <= GPU_STORAGE_MAX; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = i < GPU_STORAGE_MAX ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER
                                                  : VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    VkDescriptorSetLayoutCreateInfo set = {.sType =
                                               VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                           .bindingCount = GPU_STORAGE_MAX + 1,
                                           .pBindings = bindings};
    GPU_TRY(vkCreateDescriptorSetLayout(g->device, &set, NULL, &g->set_layout));
    VkPushConstantRange push = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 128};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .setLayoutCount = 1,
                                         .pSetLayouts = &g->set_layout,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &push};
    GPU_TRY(vkCreatePipelineLayout(g->device, &layout, NULL, &g->pipeline_layout));
out:
    return status;
}

static bool build(struct gpu *g, struct gpu_pipeline *p) {
    VkShaderModule module = VK_NULL_HANDLE;
    VkSpecializationMapEntry entries[GPU_SPECS_MAX + 1];
    uint32_t values[GPU_SPECS_MAX + 1];
    for (uint32_t i = 0; i <= p->spec_count; i++) {
        entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
        values[i] = i == 0 ? p->threads : p->spec[i - 1];
    }
    VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                     .codeSize = gpu_shaders[p->shader].bytes,
                                     .pCode = gpu_shaders[p->shader].words};
    VkResult r = vkCreateShaderModule(g->device, &code, NULL, &module);
    if (r == VK_SUCCESS) {
        VkSpecializationInfo spec = {p->spec_count + 1, entries, (p->spec_count + 1) * 4, values};
        VkComputePipelineCreateInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
            .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                      .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                      .module = module,
                      .pName = "main",
                      .pSpecializationInfo = &spec},
            .layout = g->pipeline_layout};
        r = vkCreateComputePipelines(g->device, g->cache, 1, &info, NULL, &p->handle);
    }
    vkDestroyShaderModule(g->device, module, NULL);
    if (r != VK_SUCCESS)
        LOG(LOG_WARN, "vulkan.pipeline", LS("shader", gpu_shaders[p->shader].name),
            LS("error", gpu_result_text(r)));
    return r == VK_SUCCESS;
}

bool gpu_pipeline_get(struct gpu *g, enum gpu_shader shader, uint32_t threads, const uint32_t *spec,
                      uint32_t spec_count, VkPipeline *out) {
    bool found = false;
    pthread_mutex_lock(&g->pipeline_lock);
    for (uint32_t i = 0; i < g->pipeline_count && !found; i++) {
        const struct gpu_pipeline *p = &g->pipelines[i];
        found = p->shader == shader && p->threads == threads && p->spec_count == spec_count &&
                memcmp(p->spec, spec, spec_count * sizeof(*spec)) == 0;
        if (found)
            *out = p->handle;
    }
    if (!found && g->pipeline_count < GPU_PIPELINES_MAX) {
        struct gpu_pipeline *p = &g->pipelines[g->pipeline_count];
        *p = (struct gpu_pipeline){.shader = shader, .threads = threads, .spec_count = spec_count};
        memcpy(p->spec, spec, spec_count * sizeof(*spec));
        found = build(g, p);
        if (found) {
            *out = p->handle;
            g->pipeline_count++;
        }
    }
    pthread_mutex_unlock(&g->pipeline_lock);
    return found;
}

/* ---- The cache ---- */

void gpu_cache_load(struct gpu *g) {
    struct gpu_file_key key = gpu_file_key(g, GPU_FILE_PIPELINES);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct view payload = {NULL, 0};
    struct buf file;
    char path[IO_PATH_MAX];
    buf_init(&file, GPU_FILE_MAX);
    if (gpu_file_path(g, GPU_FILE_PIPELINES, path, sizeof(path)) && io_exists(path)) {
        enum sotto_status status = io_read_file(path, GPU_FILE_MAX, &file, &err);
        if (status == SOTTO_OK)
            status = gpu_file_decode(buf_view(&file), &key, &payload, &err);
        if (status != SOTTO_OK) /* of another driver, or damaged: pipelines are compiled anew */
            LOG(LOG_INFO, "vulkan.cache", LS("ignored", err.message));
    }
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = payload.n,
                                      .pInitialData = payload.p};
    if (vkCreatePipelineCache(g->device, &info, NULL, &g->cache) != VK_SUCCESS)
        g->cache = VK_NULL_HANDLE;
    buf_deinit(&file);
}

void gpu_cache_save(struct gpu *g) {
    struct gpu_file_key key = gpu_file_key(g, GPU_FILE_PIPELINES);
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf file;
    char path[IO_PATH_MAX];
    size_t n = 0;
    void *data = NULL;
    if (!gpu_file_path(g, GPU_FILE_PIPELINES, path, sizeof(path)))
        return;
    buf_init(&file, GPU_FILE_MAX);
    pthread_mutex_lock(&g->pipeline_lock);
    if (g->pipelines_saved < g->pipeline_count && g->cache &&
        vkGetPipelineCacheData(g->device, g->cache, &n, NULL) == VK_SUCCESS && n > 0 &&
        n <= GPU_FILE_MAX / 2 && (data = mem_alloc(n)) &&
        vkGetPipelineCacheData(g->device, g->cache, &n, data) == VK_SUCCESS) {
        gpu_file_encode(&key, data, n, &file);
        if (file.status != SOTTO_OK ||
            io_write_file(path, file.data, file.len, 0600, false, &err) != SOTTO_OK)
            LOG(LOG_WARN, "vulkan.cache", LS("not_written", err.message));
        g->pipelines_saved = g->pipeline_count;
    }
    pthread_mutex_unlock(&g->pipeline_lock);
    mem_free(data);
    buf_deinit(&file);
}

/* Recording: operands to descriptor sets, hazards to barriers, launches to dispatches. */
#include <string.h>

#include "vulkan/gpu.h"

#define GROUPS_X_MAX 65535u /* what Vulkan promises; more groups go into rows of y */

bool gpu_bind(struct gpu_recorder *r, struct gpu_launch *l, unsigned i, const struct kern_instr *in,
              unsigned arg, enum gpu_access access) {
    if (in->args[arg] == KERN_NONE)
        return false;
    const struct kern_buffer *b = &r->p->buffers[in->args[arg]];
    l->operands[i] = (struct gpu_operand){true, GPU_ARENA, access, b->offset, kern_buffer_bytes(b)};
    return true;
}

void gpu_bind_scratch(struct gpu_launch *l, unsigned i, uint64_t offset, uint64_t bytes,
                      enum gpu_access access) {
    l->operands[i] = (struct gpu_operand){true, GPU_SCRATCH, access, offset, bytes};
}

void gpu_bind_out(struct gpu_launch *l, unsigned i) {
    l->operands[i] = (struct gpu_operand){true, GPU_OUT, GPU_READ_WRITE, 0, 0};
}

void gpu_param_f32(struct gpu_launch *l, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    gpu_param(l, bits);
}

/* An operand of all lanes as a descriptor needs it: aligned down, ends at a whole word. at: words
 * from the descriptor's start to lane 0's first element. */
static VkDescriptorBufferInfo describe(const struct gpu_recorder *r, const struct gpu_operand *o,
                                       uint32_t *at, uint32_t *stride) {
    const struct kern_dev *d = r->d;
    if (o->place == GPU_OUT) {
        *at = 0;
        *stride = GPU_OUT_WORDS;
        return (VkDescriptorBufferInfo){d->out.handle, 0, d->out.bytes};
    }
    uint64_t lane = o->place == GPU_ARENA ? d->stride : d->scratch_stride;
    uint64_t align = r->g->properties.limits.minStorageBufferOffsetAlignment;
    uint64_t first = o->offset / align * align;
    uint64_t end = o->offset + (d->lanes - 1) * lane + (o->bytes + 3) / 4 * 4;
    *at = (uint32_t)((o->offset - first) / 4);
    *stride = (uint32_t)(lane / 4);
    return (VkDescriptorBufferInfo){o->place == GPU_ARENA ? d->arena.handle : d->scratch.handle,
                                    first, end - first};
}

/* ---- Barriers ---- */

void gpu_barrier(struct gpu_recorder *r) {
    VkMemoryBarrier b = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                         .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                         .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    if (r->cb)
        vkCmdPipelineBarrier(r->cb, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                             VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &b, 0, NULL, 0, NULL);
    r->barriers++;
    r->pending_count = 0;
}

static bool conflicts(const struct gpu_recorder *r, const struct gpu_range *x) {
    for (uint32_t i = 0; i < r->pending_count; i++) {
        const struct gpu_range *y = &r->pending[i];
        if (x->place == y->place && (x->write || y->write) && x->first < y->end &&
            y->first < x->end)
            return true;
    }
    return false;
}

/* Waits for what this launch depends on, and only then. Ranges are the descriptors', lanes and
 * alignment included: that is what the driver and the validation layer see. */
static void order(struct gpu_recorder *r, const struct gpu_range *ranges, uint32_t n) {
    bool wait = r->pending_count + n > GPU_PENDING_MAX;
    for (uint32_t i = 0; i < n && !wait; i++)
        wait = conflicts(r, &ranges[i]);
    if (wait)
        gpu_barrier(r);
    for (uint32_t i = 0; i < n; i++)
        r->pending[r->pending_count++] = ranges[i];
}

/* ---- Launches ---- */

struct push {
    uint32_t at[GPU_STORAGE_MAX], stride[GPU_STORAGE_MAX];
    uint32_t params[GPU_PARAMS_MAX];
};
_Static_assert(sizeof(struct push) == 128, "what Vulkan 1.1 promises");

static bool allocate_set(struct gpu_recorder *r, VkDescriptorSet *set) {
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = r->sets,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &r->g->set_layout};
    return vkAllocateDescriptorSets(r->g->device, &info, set) == VK_SUCCESS;
}

static VkWriteDescriptorSet view_of_buffer(uint32_t binding, VkDescriptorType type,
                                           const VkDescriptorBufferInfo *buffer) {
    return (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstBinding = binding,
                                  .descriptorCount = 1,
                                  .descriptorType = type,
                                  .pBufferInfo = buffer};
}

bool gpu_launch(struct gpu_recorder *r, const struct gpu_launch *l) {
    const VkPhysicalDeviceLimits *limits = &r->g->properties.limits;
    struct push push = {{0}, {0}, {0}};
    struct gpu_range ranges[GPU_STORAGE_MAX];
    VkDescriptorBufferInfo buffers[GPU_STORAGE_MAX];
    VkWriteDescriptorSet writes[GPU_STORAGE_MAX + 1];
    VkPipeline pipeline;
    VkDescriptorSet set = VK_NULL_HANDLE;
    uint32_t n = 0, written = 0;
    uint64_t rows = (l->groups + GROUPS_X_MAX - 1) / GROUPS_X_MAX;
    if (l->groups == 0 || rows > GROUPS_X_MAX || r->d->lanes > limits->maxComputeWorkGroupCount[2])
        return false;
    for (unsigned i = 0; i < GPU_STORAGE_MAX; i++) {
        const struct gpu_operand *o = &l->operands[i];
        if (!o->used)
            continue;
        buffers[n] = describe(r, o, &push.at[i], &push.stride[i]);
        if (buffers[n].range > limits->maxStorageBufferRange)
            return false;
        if (o->place == GPU_SCRATCH) { /* its stride is known after planning only */
            uint64_t end = o->offset + o->bytes;
            if (end * r->d->lanes > limits->maxStorageBufferRange)
                return false;
            r->scratch_bytes = end > r->scratch_bytes ? end : r->scratch_bytes;
        }
        ranges[n] = (struct gpu_range){o->place, buffers[n].offset,
                                       buffers[n].offset + buffers[n].range, o->access != GPU_READ};
        writes[n] = view_of_buffer(i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, &buffers[n]);
        if (ranges[n].write)
            written = n;
        n++;
    }
    if (!gpu_pipeline_get(r->g, l->shader, l->threads, l->spec, l->spec_count, &pipeline))
        return false;
    if (r->cb && !allocate_set(r, &set))
        return false;
    order(r, ranges, n);
    r->dispatches++;
    if (!r->cb)
        return true;
    /* A view that this launch leaves alone shows what it writes: shaders name all four. */
    for (uint32_t i = 0, bound = n; i < GPU_STORAGE_MAX; i++)
        if (!l->operands[i].used)
            writes[n++] = view_of_buffer(i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                         &buffers[written < bound ? written : 0]);
    VkDescriptorBufferInfo current = {r->d->current.handle, 0, VK_WHOLE_SIZE};
    writes[n++] = view_of_buffer(GPU_STORAGE_MAX, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, &current);
    for (uint32_t i = 0; i < n; i++)
        writes[i].dstSet = set;
    vkUpdateDescriptorSets(r->g->device, n, writes, 0, NULL);
    memcpy(push.params, l->params, l->param_count * sizeof(*l->params));
    vkCmdBindPipeline(r->cb, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(r->cb, VK_PIPELINE_BIND_POINT_COMPUTE, r->g->pipeline_layout, 0, 1,
                            &set, 0, NULL);
    vkCmdPushConstants(r->cb, r->g->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(push),
                       &push);
    vkCmdDispatch(r->cb, (uint32_t)(l->groups < GROUPS_X_MAX ? l->groups : GROUPS_X_MAX),
                  (uint32_t)rows, r->d->lanes);
    return true;
}

/* Seconds by instruction: the program recorded once more with the device's clock read after each.
 * Nothing of it exists before somebody asks. */
#include "sotto/base/log.h"
#include "sotto/base/num.h"

#include "vulkan/gpu.h"

static enum sotto_status record(struct kern_dev *d, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct gpu_profile *f = &d->profile;
    struct gpu_recorder r = {.g = d->g, .d = d, .p = d->p};
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = d->p->instr_count + d->segment_count};
    GPU_TRY(vkCreateQueryPool(d->g->device, &info, NULL, &f->queries));
    TRY(gpu_descriptor_pool(d->g, d->dispatches, &f->sets, err));
    r.sets = f->sets;
    r.queries = f->queries;
    for (uint32_t s = 0; s < d->segment_count; s++)
        if (d->segments[s].cb)
            TRY(gpu_record_segment(d, &r, &d->segments[s], &f->cbs[s], err));
out:
    return status;
}

void gpu_exec_profile(struct kern_dev *d, double *seconds) {
    struct gpu_profile *f = &d->profile;
    struct sotto_error err = SOTTO_ERROR_INIT;
    f->seconds = NULL;
    if (d->cpu) {
        f->seconds = seconds;
        kern_exec_profile_into(d->cpu, seconds);
        return;
    }
    if (seconds && !f->cbs) {
        f->cbs = mem_array(d->segment_count + 1, sizeof(VkCommandBuffer));
        f->ticks = mem_array(d->p->instr_count + 1, sizeof(*f->ticks));
        if (!f->cbs || !f->ticks) {
            gpu_profile_deinit(d);
            return;
        }
        if (d->g->timestamp_bits == 0)
            LOG(LOG_WARN, "vulkan.profile", LS("none", "the device's queue has no clock"));
        else if (d->segment_count > 0 && record(d, &err) != SOTTO_OK) {
            LOG(LOG_WARN, "vulkan.profile", LS("none", err.message));
            gpu_profile_deinit(d);
            return;
        }
    }
    f->seconds = seconds;
}

void gpu_profile_collect(struct kern_dev *d) {
    const struct gpu_profile *f = &d->profile;
    uint32_t bits = d->g->timestamp_bits;
    uint64_t mask = bits < 64 ? ((uint64_t)1 << bits) - 1 : UINT64_MAX;
    double period = (double)d->g->properties.limits.timestampPeriod * 1e-9;
    for (uint32_t s = 0; s < d->segment_count; s++) {
        const struct gpu_segment *g = &d->segments[s];
        if (!f->cbs[s] ||
            vkGetQueryPoolResults(d->g->device, f->queries, gpu_segment_query(d, g), g->count + 1,
                                  (g->count + 1) * sizeof(*f->ticks), f->ticks, sizeof(*f->ticks),
                                  VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
            continue;
        for (uint32_t i = 0; i < g->count; i++)
            f->seconds[g->first + i] += (double)((f->ticks[i + 1] - f->ticks[i]) & mask) * period;
    }
}

void gpu_profile_deinit(struct kern_dev *d) {
    struct gpu_profile *f = &d->profile;
    vkDestroyQueryPool(d->g->device, f->queries, NULL);
    vkDestroyDescriptorPool(d->g->device, f->sets, NULL);
    mem_free((void *)f->cbs); /* the buffers go with their pool */
    mem_free(f->ticks);
    *f = (struct gpu_profile){0};
}

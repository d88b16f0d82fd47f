/* Running recorded programs: as many steps in a submission as the time budget allows, bytes in and
 * out, and going on without the device when it is lost. */
#include <string.h>

#include "sotto/base/clock.h"
#include "sotto/base/num.h"

#include "vulkan/gpu.h"

#define WAIT_NS 60000000000ull /* a submission that takes a minute hangs */

/* ---- Submissions ---- */

enum sotto_status gpu_submit(struct kern_dev *d, const VkCommandBuffer *cbs, uint32_t count) {
    struct gpu *g = d->g;
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .commandBufferCount = count,
                         .pCommandBuffers = cbs};
    if (atomic_load(&g->lost))
        return SOTTO_UNREACHABLE;
    pthread_mutex_lock(&g->queue_lock);
    VkResult r = vkQueueSubmit(g->queue, 1, &info, d->fence);
    pthread_mutex_unlock(&g->queue_lock);
    if (r != VK_SUCCESS)
        atomic_store(&g->lost, true);
    return r == VK_SUCCESS ? SOTTO_OK : SOTTO_UNREACHABLE;
}

/* A lost device's memory may hold anything; the test's loss writes just that. */
static bool lose_now(struct kern_dev *d) {
    if (gpu_hooks.lose_submit == 0 || --gpu_hooks.lose_submit > 0)
        return false;
    if (d->arena.host)
        memset(d->arena.host, 0xff, d->arena.bytes);
    if (d->out.host)
        memset(d->out.host, 0xff, d->out.bytes);
    return true;
}

enum sotto_status gpu_wait(struct kern_dev *d) {
    struct gpu *g = d->g;
    VkResult r = vkWaitForFences(g->device, 1, &d->fence, VK_TRUE, WAIT_NS);
    if (r == VK_SUCCESS)
        r = vkResetFences(g->device, 1, &d->fence);
    if (r != VK_SUCCESS)
        atomic_store(&g->lost, true);
    return r == VK_SUCCESS ? SOTTO_OK : SOTTO_UNREACHABLE;
}

/* The same for a submission of steps. */
static enum sotto_status wait_for_steps(struct kern_dev *d) {
    enum sotto_status status = gpu_wait(d);
    d->submits++;
    if (status == SOTTO_OK && lose_now(d)) {
        atomic_store(&d->g->lost, true);
        status = SOTTO_UNREACHABLE;
    }
    return status;
}

/* ---- Bytes in and out ---- */

/* A device that cannot even record a copy is given up: what it had learned goes on on the host. */
static enum sotto_status cannot_record(struct kern_dev *d) {
    atomic_store(&d->g->lost, true);
    return SOTTO_UNREACHABLE;
}

enum sotto_status gpu_transfer(struct kern_dev *d, const VkBufferCopy *copies, uint32_t count,
                               bool to_device) {
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    VkMemoryBarrier before = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT};
    VkMemoryBarrier after = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                             .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                             .dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT |
                                              VK_ACCESS_SHADER_READ_BIT |
                                              VK_ACCESS_SHADER_WRITE_BIT};
    if (vkResetCommandBuffer(d->transfer, 0) != VK_SUCCESS ||
        vkBeginCommandBuffer(d->transfer, &info) != VK_SUCCESS)
        return cannot_record(d);
    vkCmdPipelineBarrier(d->transfer,
                         VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                         VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &before, 0, NULL, 0, NULL);
    vkCmdCopyBuffer(d->transfer, to_device ? d->stage.handle : d->arena.handle,
                    to_device ? d->arena.handle : d->stage.handle, count, copies);
    vkCmdPipelineBarrier(d->transfer, VK_PIPELINE_STAGE_TRANSFER_BIT,
                         VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1,
                         &after, 0, NULL, 0, NULL);
    if (vkEndCommandBuffer(d->transfer) != VK_SUCCESS)
        return cannot_record(d);
    enum sotto_status status = gpu_submit(d, &d->transfer, 1);
    return status == SOTTO_OK ? gpu_wait(d) : status;
}

static void put_bytes(unsigned char *to, const void *src, uint64_t bytes) {
    if (src)
        memcpy(to, src, bytes);
    else
        memset(to, 0, bytes);
}

/* To and from the arena on the device; src NULL: zeros. */
static enum sotto_status device_write(struct kern_dev *d, uint32_t lane, uint64_t offset,
                                      const unsigned char *src, uint64_t bytes) {
    uint64_t at = lane * d->stride + offset;
    enum sotto_status status = SOTTO_OK;
    if (d->arena.host) {
        put_bytes(d->arena.host + at, src, bytes);
        return SOTTO_OK;
    }
    for (uint64_t n; status == SOTTO_OK && bytes > 0; at += n, bytes -= n) {
        n = num_min_u64(bytes, d->stage.bytes);
        put_bytes(d->stage.host, src, n);
        src = src ? src + n : NULL;
        status = gpu_transfer(d, &(VkBufferCopy){0, at, n}, 1, true);
    }
    return status;
}

static enum sotto_status device_read(struct kern_dev *d, uint32_t lane, uint64_t offset,
                                     unsigned char *to, uint64_t bytes) {
    uint64_t at = lane * d->stride + offset;
    if (d->arena.host) {
        memcpy(to, d->arena.host + at, bytes);
        return SOTTO_OK;
    }
    for (uint64_t n; bytes > 0; at += n, to += n, bytes -= n) {
        n = num_min_u64(bytes, d->stage.bytes);
        enum sotto_status status = gpu_transfer(d, &(VkBufferCopy){at, 0, n}, 1, false);
        if (status != SOTTO_OK)
            return status;
        memcpy(to, d->stage.host, n);
    }
    return SOTTO_OK;
}

/* Another program may have lost the device: what this one had learned goes on on the host. */
static bool device_is_gone(struct kern_dev *d) {
    if (!d->cpu && atomic_load(&d->g->lost))
        (void)gpu_go_on_cpu(d, NULL);
    return d->cpu != NULL;
}

void gpu_exec_write(struct kern_dev *d, uint32_t lane, uint64_t offset, const void *src,
                    uint64_t bytes) {
    if (!device_is_gone(d) && gpu_keep_write(d, lane, offset, src, bytes) == SOTTO_OK &&
        device_write(d, lane, offset, src, bytes) == SOTTO_OK)
        return;
    if (device_is_gone(d))
        put_bytes(kern_exec_arena(d->cpu, lane) + offset, src, bytes);
}

void gpu_exec_read(struct kern_dev *d, uint32_t lane, uint64_t offset, void *dst, uint64_t bytes) {
    if (!device_is_gone(d) && device_read(d, lane, offset, dst, bytes) == SOTTO_OK)
        return;
    if (device_is_gone(d))
        memcpy(dst, kern_exec_arena(d->cpu, lane) + offset, bytes);
    else /* and no memory to go on */
        memset(dst, 0, bytes);
}

/* ---- A run ---- */

struct run {
    struct kern_dev *d;
    const struct kern_step *steps; /* [count][lanes] */
    uint32_t count;
    kern_fill_fn *fill;
    void *ctx;
    const struct kern_sums *sums;
    uint32_t done;     /* steps finished and counted */
    uint32_t half;     /* of the ring, whose slots hold the steps from done on */
    uint32_t ready[2]; /* steps put into each half: the other one's follow */
};

static unsigned char *slot_at(const struct kern_dev *d, uint32_t half, uint32_t k) {
    return d->ring.host + (uint64_t)(half * d->slots + k) * d->slot_bytes;
}

/* Step index becomes slot k of a half. */
static void put_step(const struct run *r, uint32_t half, uint32_t k, uint32_t index) {
    struct kern_dev *d = r->d;
    unsigned char *slot = slot_at(d, half, k);
    for (uint32_t lane = 0; lane < d->lanes; lane++) {
        const struct kern_step *s = &r->steps[(size_t)index * d->lanes + lane];
        struct gpu_step g = {.lr = s->lr,
                             .rows = s->rows,
                             .seed = {(uint32_t)s->seed, (uint32_t)(s->seed >> 32)},
                             .index = s->index,
                             .slot = half * d->slots + k};
        if (r->fill)
            r->fill(r->ctx, index, lane);
        memcpy(slot + lane * sizeof(g), &g, sizeof(g));
        memcpy(slot + d->inputs_at + lane * d->input_bytes, d->host + lane * d->host_bytes,
               d->input_bytes);
    }
}

/* Steps of the next submission: a host or a clock that takes part in a step sees it alone. */
static uint32_t steps_at_once(const struct kern_dev *d) {
    return d->on_cpu || d->profile.seconds ? 1 : d->next;
}

/* Fills a half with the steps from index on, up to n of them. */
static void prepare(struct run *r, uint32_t half, uint32_t index, uint32_t n) {
    uint32_t left = r->count - index;
    n = n < left ? n : left;
    for (uint32_t *k = &r->ready[half]; *k < n; (*k)++)
        put_step(r, half, *k, index + *k);
}

static void collect(const struct run *r, uint32_t n) {
    struct kern_dev *d = r->d;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t lane = 0; lane < d->lanes; lane++) {
            float f[GPU_OUT_WORDS];
            double m[KERN_METRIC_COUNT];
            uint64_t row = (uint64_t)(r->half * d->slots + k) * d->lanes + lane;
            memcpy(f, d->out.host + row * sizeof(f), sizeof(f));
            for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
                m[i] = (double)f[i];
            kern_sums_add(r->sums, r->done + k, lane, m);
        }
}

/* Outputs and the state after a submission, into memory that no driver owns. */
static void take(struct kern_dev *d) {
    const struct kern_program *p = d->p;
    uint64_t out_bytes = d->host_bytes - d->input_bytes;
    struct gpu_kept kept[GPU_KEPT];
    uint64_t at = 0;
    for (uint32_t lane = 0; lane < d->lanes; lane++)
        for (uint32_t i = 0; i < p->buffer_count; i++)
            if (p->buffers[i].role == KERN_ROLE_OUTPUT) {
                const unsigned char *from =
                    d->arena.host
                        ? d->arena.host + lane * d->stride + p->buffers[i].offset
                        : d->stage.host + lane * out_bytes + d->host_at[i] - d->input_bytes;
                memcpy(gpu_exec_host(d, lane, i), from, kern_buffer_bytes(&p->buffers[i]));
            }
    gpu_list_kept(p, kept);
    for (unsigned k = 0; d->keep.shadow && !d->keep.cap && k < 2; at += kept[k++].bytes)
        memcpy(d->keep.shadow + at,
               d->arena.host ? d->arena.host + kept[k].offset
                             : d->stage.host + out_bytes * d->lanes + at,
               kept[k].bytes);
}

/* The budget decides how many steps the next submission takes; it grows gently at first. */
static void learn(struct kern_dev *d, uint32_t n, uint64_t ns) {
    uint64_t budget = (uint64_t)d->g->config.submit_ms * 1000000u;
    d->step_ns = ns / n > 0 ? ns / n : 1;
    uint64_t fit = budget / d->step_ns, most = num_min_u64(2ull * n, d->slots);
    d->next = (uint32_t)(fit < 1 ? 1 : fit < most ? fit : most);
}

/* All steps of the current half in one submission, the next half filled meanwhile. */
static enum sotto_status run_whole(struct run *r) {
    struct kern_dev *d = r->d;
    uint32_t n = r->ready[r->half], buffers = 0;
    for (uint32_t k = 0; k < n; k++) {
        d->batch[buffers++] = d->prologues[r->half * d->slots + k];
        if (d->segment_count)
            d->batch[buffers++] = gpu_segment_buffer(d, 0);
    }
    d->batch[buffers++] = d->epilogue;
    uint64_t start = clock_mono_ns();
    enum sotto_status status = gpu_submit(d, d->batch, buffers);
    if (status != SOTTO_OK)
        return status;
    prepare(r, r->half ^ 1, r->done + n, steps_at_once(d));
    gpu_keep_steps(d, slot_at(d, r->half, 0), n);
    status = wait_for_steps(d);
    if (!d->profile.seconds)
        learn(d, n, clock_mono_ns() - start);
    return status;
}

/* An instruction's operands between the arena and a copy of it. */
static enum sotto_status mirror(struct kern_dev *d, uint32_t lane, const struct kern_instr *in,
                                bool to_device) {
    enum sotto_status status = SOTTO_OK;
    for (unsigned a = 0; status == SOTTO_OK && a < KERN_ARGS_MAX; a++)
        if (in->args[a] < d->p->buffer_count) {
            const struct kern_buffer *b = &d->p->buffers[in->args[a]];
            unsigned char *at = d->mirror + b->offset;
            uint64_t bytes = kern_buffer_bytes(b);
            status = to_device ? device_write(d, lane, b->offset, at, bytes)
                               : device_read(d, lane, b->offset, at, bytes);
        }
    return status;
}

/* An instruction on the host, for every lane. */
static enum sotto_status run_on_host(const struct run *r, const struct kern_instr *in) {
    struct kern_dev *d = r->d;
    const struct kern_impl *impl = kern_host_impl(in->op);
    enum sotto_status status = SOTTO_OK;
    for (uint32_t lane = 0; lane < d->lanes; lane++) {
        const struct kern_step *step = &r->steps[(size_t)r->done * d->lanes + lane];
        unsigned char *arena = d->arena.host ? d->arena.host + lane * d->stride : d->mirror;
        double m[KERN_METRIC_COUNT] = {0};
        struct kern_ctx c = {arena, d->p->buffers, step, m, d->scratch_host, NULL};
        if (step->rows == 0)
            continue;
        if (!d->arena.host)
            TRY(mirror(d, lane, in, false));
        impl->run(&c, in);
        if (!d->arena.host)
            TRY(mirror(d, lane, in, true));
        float *out =
            (float *)(void *)(d->out.host + ((uint64_t)r->half * d->slots * d->lanes + lane) *
                                                GPU_OUT_WORDS * sizeof(float));
        for (unsigned i = 0; i < KERN_METRIC_COUNT; i++)
            out[i] += (float)m[i];
    }
out:
    return status;
}

/* One step of a program that the host has a part in. */
static enum sotto_status run_split(struct run *r) {
    struct kern_dev *d = r->d;
    VkCommandBuffer first[2] = {d->prologues[r->half * d->slots], NULL};
    uint32_t n = 1;
    enum sotto_status status = SOTTO_OK;
    gpu_keep_steps(d, slot_at(d, r->half, 0), 1);
    for (uint32_t s = 0; s < d->segment_count; s++) {
        const struct gpu_segment *g = &d->segments[s];
        if (g->cb)
            first[n++] = gpu_segment_buffer(d, s);
        if (n > 0) {
            TRY(gpu_submit(d, first, n));
            TRY(wait_for_steps(d));
            n = 0;
        }
        for (uint32_t i = g->first; !g->cb && i < g->first + g->count; i++) {
            uint64_t start = d->profile.seconds ? clock_mono_ns() : 0;
            TRY(run_on_host(r, &d->p->instrs[i]));
            if (d->profile.seconds)
                d->profile.seconds[i] += (double)(clock_mono_ns() - start) * 1e-9;
        }
    }
    TRY(gpu_submit(d, &d->epilogue, 1));
    TRY(wait_for_steps(d));
out:
    return status;
}

/* ---- Without the device ---- */

/* The steps from done on, on the host: inputs that were handed out already come from the ring,
 * which the device only reads. */
static enum sotto_status run_rest(struct run *r, struct sotto_error *err) {
    struct kern_dev *d = r->d;
    enum sotto_status status = SOTTO_OK;
    if (!d->cpu)
        TRY(gpu_go_on_cpu(d, err));
    for (; r->done < r->count; r->done++) {
        double m[KERN_LANES_MAX][KERN_METRIC_COUNT];
        const unsigned char *inputs = d->host;
        uint64_t stride = d->host_bytes;
        if (r->ready[r->half] == 0 && r->ready[r->half ^ 1] > 0)
            r->half ^= 1;
        if (r->ready[r->half] > 0) {
            /* Slots are used from the front: count them down by moving the rest up. */
            inputs = slot_at(d, r->half, 0) + d->inputs_at;
            stride = d->input_bytes;
        }
        for (uint32_t lane = 0; lane < d->lanes; lane++) {
            if (r->ready[r->half] == 0 && r->fill)
                r->fill(r->ctx, r->done, lane);
            gpu_keep_inputs(d, lane, inputs + lane * stride);
        }
        if (r->ready[r->half] > 0 && --r->ready[r->half] > 0)
            memmove(slot_at(d, r->half, 0), slot_at(d, r->half, 1),
                    r->ready[r->half] * d->slot_bytes);
        TRY(kern_exec_run_many(d->cpu, &r->steps[(size_t)r->done * d->lanes], 1, NULL, NULL, m,
                               err));
        for (uint32_t lane = 0; lane < d->lanes; lane++)
            kern_sums_add(r->sums, r->done, lane, m[lane]);
        d->steps++;
    }
    for (uint32_t lane = 0; lane < d->lanes; lane++)
        for (uint32_t i = 0; i < d->p->buffer_count; i++)
            if (d->p->buffers[i].role == KERN_ROLE_OUTPUT)
                memcpy(gpu_exec_host(d, lane, i), kern_exec_lane_host(d->cpu, lane, i),
                       kern_buffer_bytes(&d->p->buffers[i]));
out:
    return status;
}

enum sotto_status gpu_exec_run(struct kern_dev *d, const struct kern_step *steps, uint32_t count,
                               kern_fill_fn *fill, void *ctx, const struct kern_sums *sums,
                               struct sotto_error *err) {
    struct run r = {.d = d, .steps = steps, .count = count, .fill = fill, .ctx = ctx, .sums = sums};
    while (r.done < count && !d->cpu && !atomic_load(&d->g->lost)) {
        prepare(&r, r.half, r.done, steps_at_once(d));
        uint32_t n = r.ready[r.half];
        enum sotto_status status = gpu_keep_room(d, n);
        if (status == SOTTO_OK)
            status = d->on_cpu ? run_split(&r) : run_whole(&r);
        if (status != SOTTO_OK)
            break;
        collect(&r, n);
        if (d->profile.seconds)
            gpu_profile_collect(d);
        take(d);
        gpu_keep_done(d, n);
        d->steps += n;
        r.done += n;
        r.ready[r.half] = 0;
        r.half ^= 1;
    }
    return r.done < count ? run_rest(&r, err) : SOTTO_OK;
}

/* A program on the device: which instructions it can, memory, and command buffers recorded once. */
#include <string.h>

#include "sotto/base/log.h"
#include "sotto/base/num.h"

#include "vulkan/gpu.h"

#define STAGE_MIN  ((uint64_t)1 << 20)
#define RING_BYTES ((uint64_t)4 << 20) /* of steps to come, unless few need more */

static const char *const WHY[] = {"", "  runs on cpu: vulkan lacks it",
                                  "  runs on cpu: it fails its self-test on this device",
                                  "  runs on cpu: past this device's limits"};

/* ---- What runs where ---- */

static void say_once(enum kern_op op, enum gpu_why why) {
    static atomic_uint said[KERN_OP_COUNT];
    unsigned bit = 1u << why;
    if (atomic_fetch_or(&said[op], bit) & bit)
        return;
    static const char *const reasons[] = {"", "no kernel", "self-test failed", "device limits"};
    LOG(LOG_WARN, "vulkan.fallback", LS("instruction", kern_op_name(op)),
        LS("reason", reasons[why]));
}

static void test_first(struct kern_dev *d) {
    bool which[KERN_OP_COUNT] = {false};
    for (uint32_t i = 0; i < d->p->instr_count; i++)
        which[d->p->instrs[i].op] = gpu_rows[d->p->instrs[i].op] != NULL;
    gpu_self_test(d->g, which);
}

/* Decides for every instruction, and counts what recording will need. */
static void plan(struct kern_dev *d, struct gpu_recorder *r, bool untested) {
    for (uint32_t i = 0; i < d->p->instr_count; i++) {
        const struct kern_instr *in = &d->p->instrs[i];
        struct gpu_recorder before = *r;
        enum gpu_why why = GPU_HERE;
        if (!gpu_rows[in->op])
            why = GPU_WHY_LACKS;
        else if (!untested && d->g->tests[in->op] == KERN_TEST_FAILED)
            why = GPU_WHY_FAILED;
        else if (!gpu_rows[in->op](r, in)) {
            why = GPU_WHY_LIMITS;
            *r = before;
        }
        d->why[i] = (uint8_t)why;
        if (why != GPU_HERE) {
            const struct kern_impl *impl = kern_host_impl(in->op);
            size_t need = impl->scratch ? impl->scratch(in) : 0;
            d->scratch_host_bytes = num_max_u64(d->scratch_host_bytes, need);
            d->on_cpu++;
            say_once(in->op, why);
        }
    }
}

/* ---- Memory ---- */

/* The host's area of a lane: inputs first, then outputs. */
static void place_host(struct kern_dev *d) {
    static const enum kern_role order[] = {KERN_ROLE_INPUT, KERN_ROLE_OUTPUT};
    uint64_t at = 0;
    memset(d->host_at, 0xff, d->p->buffer_count * sizeof(*d->host_at));
    for (unsigned k = 0; k < ARRAY_LEN(order); k++) {
        for (uint32_t i = 0; i < d->p->buffer_count; i++)
            if (d->p->buffers[i].role == order[k]) {
                d->host_at[i] = (uint32_t)at;
                at = num_round_up(at + kern_buffer_bytes(&d->p->buffers[i]), KERN_ALIGN);
            }
        if (order[k] == KERN_ROLE_INPUT)
            d->input_bytes = at;
    }
    d->host_bytes = at;
}

static enum sotto_status allocate_host(struct kern_dev *d, struct sotto_error *err) {
    const struct kern_program *p = d->p;
    bool ok = gpu_keep_init(d);
    if (d->host_bytes)
        ok &= (d->host = mem_array(d->lanes, d->host_bytes)) != NULL;
    if (d->on_cpu && !d->g->unified)
        ok &= (d->mirror = mem_alloc_aligned(d->stride, KERN_ALIGN)) != NULL;
    if (d->scratch_host_bytes)
        ok &= (d->scratch_host = mem_alloc_aligned(d->scratch_host_bytes, KERN_ALIGN)) != NULL;
    d->prologues = mem_array(2 * d->slots, sizeof(VkCommandBuffer));
    d->batch = mem_array(2 * d->slots + 1, sizeof(VkCommandBuffer));
    d->segments = mem_array(p->instr_count + 1, sizeof(*d->segments));
    ok &= d->prologues && d->batch && d->segments;
    return ok ? SOTTO_OK : SOTTO_FAIL(err, SOTTO_NOMEM, "vulkan: no memory for a program");
}

/* The stage holds what a submission's end hands out, and long copies in pieces. */
static uint64_t stage_bytes(const struct kern_dev *d) {
    uint64_t need = (d->host_bytes - d->input_bytes) * d->lanes + gpu_kept_bytes(d->p);
    return d->g->unified ? 0 : num_max_u64(need, STAGE_MIN);
}
#define BUFFERS 6
struct planned_buffer {
    struct gpu_buffer *buffer;
    uint64_t bytes;
    bool host;
};
/* All buffers; those of 0 bytes are not made. */
static void list_buffers(struct kern_dev *d, struct planned_buffer out[BUFFERS]) {
    out[0] = (struct planned_buffer){&d->arena, d->stride * d->lanes, false};
    out[1] = (struct planned_buffer){&d->scratch, d->scratch_stride * d->lanes, false};
    out[2] = (struct planned_buffer){&d->current, sizeof(struct gpu_step) * KERN_LANES_MAX, false};
    out[3] = (struct planned_buffer){&d->ring, 2 * d->slots * d->slot_bytes, true};
    out[4] = (struct planned_buffer){&d->out, 8ull * d->slots * d->lanes * GPU_OUT_WORDS, true};
    out[5] = (struct planned_buffer){&d->stage, stage_bytes(d), true};
}

static enum sotto_status allocate_buffers(struct kern_dev *d, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct planned_buffer list[BUFFERS];
    list_buffers(d, list);
    for (unsigned i = 0; i < BUFFERS; i++)
        if (list[i].bytes)
            TRY(gpu_buffer_init(d->g, list[i].buffer, list[i].bytes, list[i].host, err));
out:
    return status;
}

static enum sotto_status size_up(struct kern_dev *d, struct sotto_error *err) {
    d->stride = num_round_up(d->p->arena_bytes, 256);
    if (d->stride * d->lanes > (uint64_t)1 << 34)
        return SOTTO_FAIL(err, SOTTO_LIMIT, "vulkan: %u lanes of %llu bytes are over 16 GiB",
                          d->lanes, (unsigned long long)d->stride);
    place_host(d);
    d->inputs_at = num_round_up(sizeof(struct gpu_step) * d->lanes, KERN_ALIGN);
    d->slot_bytes = d->inputs_at + d->input_bytes * d->lanes;
    uint64_t slots = RING_BYTES / 2 / d->slot_bytes;
    d->slots = (uint32_t)(slots > GPU_SLOTS_MAX ? GPU_SLOTS_MAX : slots < 2 ? 2 : slots);
    d->next = 1;
    gpu_keep_plan(d);
    return SOTTO_OK;
}

/* ---- Command buffers ---- */

enum sotto_status gpu_descriptor_pool(struct gpu *g, uint32_t sets, VkDescriptorPool *out,
                                      struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    VkDescriptorPoolSize sizes[] = {
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, GPU_STORAGE_MAX * (sets ? sets : 1)},
        {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, sets ? sets : 1}};
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = sets ? sets : 1,
                                       .poolSizeCount = ARRAY_LEN(sizes),
                                       .pPoolSizes = sizes};
    GPU_TRY(vkCreateDescriptorPool(g->device, &info, NULL, out));
out:
    return status;
}

static enum sotto_status make_pools(struct kern_dev *d, uint32_t sets, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct gpu *g = d->g;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = g->family};
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    GPU_TRY(vkCreateCommandPool(g->device, &pool, NULL, &d->commands));
    GPU_TRY(vkCreateFence(g->device, &fence, NULL, &d->fence));
    TRY(gpu_descriptor_pool(g, sets, &d->sets, err));
out:
    return status;
}

static enum sotto_status begin(struct kern_dev *d, bool many, VkCommandBuffer *out,
                               struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    VkCommandBufferAllocateInfo alloc = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = d->commands,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                         .commandBufferCount = 1};
    /* A step's buffer stands several times in one submission. */
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags =
                                         many ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT : 0};
    GPU_TRY(vkAllocateCommandBuffers(d->g->device, &alloc, out));
    GPU_TRY(vkBeginCommandBuffer(*out, &info));
out:
    return status;
}

static void barrier(VkCommandBuffer cb, VkPipelineStageFlags from, VkAccessFlags written,
                    VkPipelineStageFlags to, VkAccessFlags used) {
    VkMemoryBarrier b = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = written, .dstAccessMask = used};
    vkCmdPipelineBarrier(cb, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

#define COMPUTE  VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT
#define TRANSFER VK_PIPELINE_STAGE_TRANSFER_BIT

/* Puts a slot's step and inputs where the recorded step reads them. Two barriers a step: the step
 * before is done with the inputs, and the copies are done before the step reads them. */
static enum sotto_status record_prologue(struct kern_dev *d, uint32_t slot,
                                         struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct kern_program *p = d->p;
    uint64_t at = slot * d->slot_bytes, out_bytes = 4ull * d->lanes * GPU_OUT_WORDS;
    VkCommandBuffer cb;
    TRY(begin(d, false, &d->prologues[slot], err));
    cb = d->prologues[slot];
    barrier(cb, COMPUTE | TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
            TRANSFER, VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    VkBufferCopy steps = {at, 0, sizeof(struct gpu_step) * d->lanes};
    vkCmdCopyBuffer(cb, d->ring.handle, d->current.handle, 1, &steps);
    vkCmdFillBuffer(cb, d->out.handle, slot * out_bytes, out_bytes, 0);
    for (uint32_t lane = 0; lane < d->lanes; lane++)
        for (uint32_t i = 0; i < p->buffer_count; i++)
            if (p->buffers[i].role == KERN_ROLE_INPUT) {
                VkBufferCopy copy = {at + d->inputs_at + lane * d->input_bytes + d->host_at[i],
                                     lane * d->stride + p->buffers[i].offset,
                                     kern_buffer_bytes(&p->buffers[i])};
                vkCmdCopyBuffer(cb, d->ring.handle, d->arena.handle, 1, &copy);
            }
    barrier(cb, COMPUTE | TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
            COMPUTE,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_UNIFORM_READ_BIT);
    GPU_TRY(vkEndCommandBuffer(cb));
out:
    return status;
}

/* The end of a submission: what the host reads is ready for it. */
static enum sotto_status record_epilogue(struct kern_dev *d, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    const struct kern_program *p = d->p;
    uint64_t to = 0;
    TRY(begin(d, false, &d->epilogue, err));
    VkCommandBuffer cb = d->epilogue;
    if (!d->g->unified) {
        barrier(cb, COMPUTE | TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                TRANSFER, VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
        for (uint32_t lane = 0; lane < d->lanes; lane++)
            for (uint32_t i = 0; i < p->buffer_count; i++)
                if (p->buffers[i].role == KERN_ROLE_OUTPUT) {
                    VkBufferCopy copy = {lane * d->stride + p->buffers[i].offset,
                                         lane * (d->host_bytes - d->input_bytes) + d->host_at[i] -
                                             d->input_bytes,
                                         kern_buffer_bytes(&p->buffers[i])};
                    vkCmdCopyBuffer(cb, d->arena.handle, d->stage.handle, 1, &copy);
                }
        to = (d->host_bytes - d->input_bytes) * d->lanes;
        const uint64_t kept[2][2] = {{p->param_offset, 4ull * p->param_count},
                                     {p->state_first, 4ull * p->state_count}};
        for (unsigned k = 0; !d->keep.cap && k < 2; to += kept[k++][1])
            if (kept[k][1]) {
                VkBufferCopy copy = {kept[k][0], to, kept[k][1]};
                vkCmdCopyBuffer(cb, d->arena.handle, d->stage.handle, 1, &copy);
            }
    }
    barrier(cb, COMPUTE | TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
    GPU_TRY(vkEndCommandBuffer(cb));
out:
    return status;
}

enum sotto_status gpu_record_segment(struct kern_dev *d, struct gpu_recorder *r,
                                     const struct gpu_segment *s, VkCommandBuffer *out,
                                     struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    uint32_t end = s->first + s->count, query = gpu_segment_query(d, s);
    TRY(begin(d, true, out, err));
    r->cb = *out;
    r->pending_count = 0;
    if (s->first > 0) /* the host has changed what follows reads; submitting makes it visible */
        barrier(r->cb, COMPUTE | TRANSFER,
                VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, COMPUTE,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    if (r->queries) {
        vkCmdResetQueryPool(r->cb, r->queries, query, s->count + 1);
        vkCmdWriteTimestamp(r->cb, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, r->queries, query++);
    }
    for (uint32_t k = s->first; k < end; k++) {
        if (!gpu_rows[d->p->instrs[k].op](r, &d->p->instrs[k]))
            TRY_FAIL(err, SOTTO_INTERNAL, "vulkan: instr %u %s could not be recorded", k,
                     kern_op_name(d->p->instrs[k].op));
        if (r->queries) { /* one after the other, so that each one's time is its own */
            gpu_barrier(r);
            vkCmdWriteTimestamp(r->cb, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, r->queries, query++);
        }
    }
    if (end < d->p->instr_count) /* the host reads what follows */
        barrier(r->cb, COMPUTE, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
    GPU_TRY(vkEndCommandBuffer(r->cb));
out:
    return status;
}

/* The program in pieces: what the device runs in one, what the host runs between. */
static enum sotto_status record_segments(struct kern_dev *d, struct gpu_recorder *r,
                                         struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (uint32_t i = 0; i < d->p->instr_count;) {
        struct gpu_segment *s = &d->segments[d->segment_count++];
        bool here = d->why[i] == GPU_HERE;
        s->first = i;
        while (i < d->p->instr_count && (d->why[i] == GPU_HERE) == here)
            i++;
        s->count = i - s->first;
        if (here)
            TRY(gpu_record_segment(d, r, s, &s->cb, err));
    }
out:
    return status;
}

static enum sotto_status record(struct kern_dev *d, uint32_t sets, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct gpu_recorder r = {.g = d->g, .d = d, .p = d->p};
    TRY(make_pools(d, sets, err));
    r.sets = d->sets;
    for (uint32_t slot = 0; slot < 2 * d->slots; slot++)
        TRY(record_prologue(d, slot, err));
    TRY(record_epilogue(d, err));
    TRY(record_segments(d, &r, err));
    if (d->stage.handle)
        TRY(begin(d, false, &d->transfer, err)); /* recorded anew at every use */
    d->dispatches = r.dispatches;
    d->barriers = r.barriers + 2;
out:
    return status;
}

/* ---- Opening and closing ---- */

/* A program with every size decided and nothing of that allocated. */
static enum sotto_status open_plan(struct gpu *g, const struct kern_program *p, uint32_t lanes,
                                   bool untested, struct gpu_recorder *planned,
                                   struct kern_dev **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct kern_dev *d = mem_zalloc(sizeof(*d));
    if (!d)
        return SOTTO_FAIL(err, SOTTO_NOMEM, "vulkan: no memory for a program");
    *planned = (struct gpu_recorder){.g = g, .d = d, .p = p};
    d->g = g;
    d->p = p;
    d->lanes = lanes;
    d->why = mem_array(p->instr_count + 1, sizeof(*d->why));
    d->host_at = mem_array(p->buffer_count + 1, sizeof(*d->host_at));
    if (!d->why || !d->host_at)
        TRY_FAIL(err, SOTTO_NOMEM, "vulkan: no memory for a program");
    if (!untested)
        test_first(d);
    TRY(size_up(d, err));
    plan(d, planned, untested);
    d->scratch_stride = num_round_up(planned->scratch_bytes, 256);
    *out = d;
    d = NULL;
out:
    gpu_exec_close(d);
    return status;
}

enum sotto_status gpu_exec_open(struct gpu *g, const struct kern_program *p, uint32_t lanes,
                                bool untested, struct kern_dev **out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    struct gpu_recorder planned;
    struct kern_dev *d = NULL;
    TRY(open_plan(g, p, lanes, untested, &planned, &d, err));
    TRY(allocate_host(d, err));
    TRY(allocate_buffers(d, err));
    TRY(record(d, planned.dispatches, err));
    if (!untested)
        gpu_cache_save(g);
    *out = d;
    d = NULL;
out:
    gpu_exec_close(d);
    return status;
}

void gpu_exec_close(struct kern_dev *d) {
    if (!d)
        return;
    VkDevice device = d->g->device;
    gpu_profile_deinit(d);
    vkDestroyDescriptorPool(device, d->sets, NULL);
    vkDestroyFence(device, d->fence, NULL);
    vkDestroyCommandPool(device, d->commands, NULL);
    gpu_buffer_deinit(d->g, &d->arena);
    gpu_buffer_deinit(d->g, &d->scratch);
    gpu_buffer_deinit(d->g, &d->current);
    gpu_buffer_deinit(d->g, &d->ring);
    gpu_buffer_deinit(d->g, &d->out);
    gpu_buffer_deinit(d->g, &d->stage);
    kern_exec_free(d->cpu);
    mem_free_aligned(d->scratch_host);
    mem_free_aligned(d->mirror);
    gpu_keep_deinit(d);
    mem_free(d->host);
    mem_free(d->segments);
    mem_free((void *)d->batch);
    mem_free((void *)d->prologues);
    mem_free(d->host_at);
    mem_free(d->why);
    mem_free(d);
}

void *gpu_exec_host(struct kern_dev *d, uint32_t lane, uint32_t buffer) {
    if (d->host_at[buffer] == KERN_NONE)
        return NULL;
    return d->host + lane * d->host_bytes + d->host_at[buffer];
}

/* ---- The backend's row ---- */

static enum sotto_status ready(struct sotto_error *err) {
    struct gpu *g;
    return gpu_get(&g, err);
}

static const char *kernel_set(void) {
    struct gpu *g;
    return gpu_get(&g, NULL) == SOTTO_OK ? g->kernel_set : "vulkan/none";
}

static bool has(enum kern_op op) {
    struct gpu *g;
    return gpu_rows[op] && gpu_get(&g, NULL) == SOTTO_OK && g->tests[op] != KERN_TEST_FAILED;
}

static enum sotto_status open_program(const struct kern_program *p, uint32_t lanes,
                                      struct kern_dev **out, struct sotto_error *err) {
    struct gpu *g;
    enum sotto_status status = gpu_get(&g, err);
    return status == SOTTO_OK ? gpu_exec_open(g, p, lanes, false, out, err) : status;
}

/* Beside the buffers, on the host. */
static uint64_t bytes_beside(const struct kern_dev *d) {
    uint64_t sum = sizeof(*d) + d->host_bytes * d->lanes + d->scratch_host_bytes;
    sum += gpu_keep_bytes(d) + (d->on_cpu && !d->g->unified ? d->stride : 0);
    sum += (4ull * d->slots + 1) * sizeof(VkCommandBuffer);
    sum += (d->p->instr_count + 1) * (sizeof(*d->segments) + sizeof(*d->why));
    return sum + (d->p->buffer_count + 1) * sizeof(*d->host_at);
}

static enum sotto_status plan_bytes(const struct kern_program *p, uint32_t lanes, uint64_t *out,
                                    struct sotto_error *err) {
    struct gpu *g;
    struct gpu_recorder planned;
    struct kern_dev *d;
    struct planned_buffer list[BUFFERS];
    enum sotto_status status;
    TRY(gpu_get(&g, err));
    TRY(open_plan(g, p, lanes, false, &planned, &d, err));
    list_buffers(d, list);
    *out = bytes_beside(d);
    for (unsigned i = 0; i < BUFFERS; i++)
        *out += list[i].bytes;
    gpu_exec_close(d);
out:
    return status;
}

static uint64_t bytes(const struct kern_dev *d) {
    return bytes_beside(d) + d->arena.taken + d->scratch.taken + d->current.taken + d->ring.taken +
           d->out.taken + d->stage.taken + (d->cpu ? kern_exec_bytes(d->cpu) : 0);
}

static void counts(const struct kern_dev *d, struct kern_device_counts *out) {
    *out = (struct kern_device_counts){.dispatches = d->dispatches,
                                       .barriers = d->barriers,
                                       .on_cpu = d->on_cpu,
                                       .steps = d->steps,
                                       .submits = d->submits,
                                       .lost = d->cpu != NULL};
}

static const char *elsewhere(const struct kern_dev *d, uint32_t i) {
    return WHY[d->why[i]];
}

static const struct kern_device_ops device_ops = {
    .ready = ready,
    .lost = gpu_lost,
    .kernel_set = kernel_set,
    .has = has,
    .open = open_program,
    .plan = plan_bytes,
    .close = gpu_exec_close,
    .run = gpu_exec_run,
    .write = gpu_exec_write,
    .read = gpu_exec_read,
    .host = gpu_exec_host,
    .bytes = bytes,
    .counts = counts,
    .elsewhere = elsewhere,
    .profile = gpu_exec_profile,
};

const struct kern_backend kern_vulkan = {
    .name = "vulkan", .kernel_set = "vulkan", .device = &device_ops};

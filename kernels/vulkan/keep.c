/* What a lost device cannot take, and going on without it: every lane's weights, momentum and
 * anchor lie in the host's memory as they were after some step, with the steps since and their
 * inputs. */
#include <string.h>

#include "sotto/base/log.h"
#include "sotto/base/num.h"

#include "vulkan/gpu.h"

void gpu_list_kept(const struct kern_program *p, struct gpu_kept out[GPU_KEPT]) {
    out[0] = (struct gpu_kept){p->param_offset, 4ull * p->param_count};
    out[1] = (struct gpu_kept){p->state_first, 4ull * p->state_count};
    out[2] = (struct gpu_kept){p->anchor_first, 4ull * p->anchor_count};
    out[3] = (struct gpu_kept){p->fixed_first, p->fixed_bytes};
}

uint64_t gpu_kept_bytes(const struct kern_program *p) {
    return 4ull * p->param_count + 4ull * p->state_count;
}

/* ---- Memory ---- */

/* A journal as large as what it saves copying, so that copies cost a training less than its inputs
 * do. */
void gpu_keep_plan(struct kern_dev *d) {
    uint64_t changed = gpu_kept_bytes(d->p);
    d->keep.stride = changed + 4ull * d->p->anchor_count + d->p->fixed_bytes;
    if (d->lanes > 1 && d->keep.stride > 0) {
        uint64_t steps = num_min_u64(changed * d->lanes, GPU_JOURNAL_BYTES) / d->slot_bytes;
        d->keep.cap = (uint32_t)num_max_u64(steps, d->slots);
    }
}

uint64_t gpu_keep_bytes(const struct kern_dev *d) {
    return d->keep.stride * d->lanes + d->keep.cap * d->slot_bytes +
           (d->keep.cap ? d->lanes * sizeof(*d->keep.from) : 0);
}

bool gpu_keep_init(struct kern_dev *d) {
    struct gpu_keep *k = &d->keep;
    bool ok = true;
    if (k->stride)
        ok &= (k->shadow = mem_array(d->lanes, k->stride)) != NULL;
    if (k->cap) {
        ok &= (k->journal = mem_array(k->cap, d->slot_bytes)) != NULL;
        ok &= (k->from = mem_array(d->lanes, sizeof(*k->from))) != NULL;
    }
    return ok;
}

void gpu_keep_deinit(struct kern_dev *d) {
    mem_free(d->keep.shadow);
    mem_free(d->keep.journal);
    mem_free(d->keep.from);
}

/* ---- Keeping ---- */

/* What training has changed of a lane, but for [offset, offset + bytes), as it is now. */
static enum sotto_status settle(struct kern_dev *d, uint32_t lane, uint64_t offset,
                                uint64_t bytes) {
    unsigned char *shadow = d->keep.shadow + lane * d->keep.stride;
    struct gpu_kept kept[GPU_KEPT];
    VkBufferCopy copies[2];
    uint32_t n = 0;
    uint64_t to[2], at = 0, staged = 0;
    if (atomic_load(&d->g->lost)) /* by another program, and its memory may hold anything */
        return SOTTO_UNREACHABLE;
    gpu_list_kept(d->p, kept);
    for (unsigned k = 0; k < 2; at += kept[k++].bytes)
        if (kept[k].bytes &&
            (offset > kept[k].offset || offset + bytes < kept[k].offset + kept[k].bytes)) {
            copies[n] = (VkBufferCopy){lane * d->stride + kept[k].offset, staged, kept[k].bytes};
            staged += kept[k].bytes;
            to[n++] = at;
        }
    if (n > 0 && !d->arena.host) { /* all or nothing: it fails before any of it has changed */
        enum sotto_status status = gpu_transfer(d, copies, n, false);
        if (status != SOTTO_OK)
            return status;
    }
    for (uint32_t i = 0; i < n; i++)
        memcpy(shadow + to[i],
               d->arena.host ? d->arena.host + copies[i].srcOffset
                             : d->stage.host + copies[i].dstOffset,
               copies[i].size);
    d->keep.from[lane] = d->keep.count;
    return SOTTO_OK;
}

enum sotto_status gpu_keep_write(struct kern_dev *d, uint32_t lane, uint64_t offset,
                                 const void *src, uint64_t bytes) {
    struct gpu_kept kept[GPU_KEPT];
    uint64_t at = lane * d->keep.stride;
    gpu_list_kept(d->p, kept);
    for (unsigned k = 0; k < GPU_KEPT; at += kept[k++].bytes) {
        uint64_t first = num_max_u64(offset, kept[k].offset);
        uint64_t end = num_min_u64(offset + bytes, kept[k].offset + kept[k].bytes);
        if (first >= end)
            continue;
        if (d->keep.cap && d->keep.from[lane] < d->keep.count) {
            enum sotto_status status = settle(d, lane, offset, bytes);
            if (status != SOTTO_OK)
                return status;
        }
        unsigned char *to = d->keep.shadow + at + (first - kept[k].offset);
        if (src)
            memcpy(to, (const unsigned char *)src + (first - offset), end - first);
        else
            memset(to, 0, end - first);
    }
    return SOTTO_OK;
}

enum sotto_status gpu_keep_room(struct kern_dev *d, uint32_t n) {
    enum sotto_status status = SOTTO_OK;
    if (d->keep.cap == 0 || d->keep.count + n <= d->keep.cap)
        return SOTTO_OK;
    for (uint32_t lane = 0; lane < d->lanes; lane++)
        TRY(settle(d, lane, 0, 0));
    d->keep.count = 0;
    memset(d->keep.from, 0, d->lanes * sizeof(*d->keep.from));
out:
    return status;
}

void gpu_keep_steps(struct kern_dev *d, const unsigned char *slots, uint32_t n) {
    if (d->keep.cap)
        memcpy(d->keep.journal + d->keep.count * d->slot_bytes, slots, n * d->slot_bytes);
}

void gpu_keep_done(struct kern_dev *d, uint32_t n) {
    if (d->keep.cap)
        d->keep.count += n;
}

/* ---- Without the device ---- */

void gpu_keep_inputs(struct kern_dev *d, uint32_t lane, const unsigned char *inputs) {
    for (uint32_t i = 0; i < d->p->buffer_count; i++)
        if (d->p->buffers[i].role == KERN_ROLE_INPUT)
            memcpy(kern_exec_lane_host(d->cpu, lane, i), inputs + d->host_at[i],
                   kern_buffer_bytes(&d->p->buffers[i]));
}

/* The journal's steps once more; their metrics were counted. */
static enum sotto_status replay(struct kern_dev *d, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (uint32_t k = 0; k < d->keep.count; k++) {
        const unsigned char *slot = d->keep.journal + k * d->slot_bytes;
        struct kern_step steps[KERN_LANES_MAX];
        for (uint32_t lane = 0; lane < d->lanes; lane++) {
            struct gpu_step g;
            memcpy(&g, slot + lane * sizeof(g), sizeof(g));
            steps[lane] = (struct kern_step){.lr = g.lr,
                                             .rows = k < d->keep.from[lane] ? 0 : g.rows,
                                             .seed = (uint64_t)g.seed[1] << 32 | g.seed[0],
                                             .index = g.index};
            if (steps[lane].rows > 0)
                gpu_keep_inputs(d, lane, slot + d->inputs_at + lane * d->input_bytes);
        }
        TRY(kern_exec_run_many(d->cpu, steps, 1, NULL, NULL, NULL, err));
    }
out:
    return status;
}

enum sotto_status gpu_go_on_cpu(struct kern_dev *d, struct sotto_error *err) {
    enum sotto_status status;
    struct gpu_kept kept[GPU_KEPT];
    LOG(LOG_WARN, "vulkan.lost", LS("device", d->g->kernel_set), LS("goes_on", "cpu"),
        LU("lanes", d->lanes), LU("steps_again", d->keep.count));
    TRY(kern_exec_new_plain(d->p, kern_backend_host(), d->lanes, &d->cpu, err));
    gpu_list_kept(d->p, kept);
    for (uint32_t lane = 0; lane < d->lanes; lane++) {
        uint64_t at = lane * d->keep.stride;
        for (unsigned k = 0; k < GPU_KEPT; at += kept[k++].bytes)
            if (kept[k].bytes)
                memcpy(kern_exec_arena(d->cpu, lane) + kept[k].offset, d->keep.shadow + at,
                       kept[k].bytes);
    }
    TRY(replay(d, err));
    gpu_exec_profile(d, d->profile.seconds);
out:
    if (status != SOTTO_OK) {
        kern_exec_free(d->cpu);
        d->cpu = NULL;
    }
    return status;
}

/* What the files of the Vulkan backend share: the one open device, its buffers and pipelines, and
 * programs recorded for it. */
#ifndef SOTTO_KERN_GPU_H
#define SOTTO_KERN_GPU_H

#include <pthread.h>
#include <stdatomic.h>

#include <volk.h>

#include "sotto/base/buf.h"
#include "sotto/base/mem.h"

#include "src/kern_int.h"

/* X(NAME, file): the shaders, each embedded as SPIR-V. */
#define GPU_SHADER_MAP(X)                                                                          \
    X(PRODUCT, product)                                                                            \
    X(CONV_DIRECT, conv_direct)                                                                    \
    X(SUM_PARTS, sum_parts)                                                                        \
    X(POINTWISE, pointwise)                                                                        \
    X(DROPOUT, dropout)                                                                            \
    X(POOL, pool)                                                                                  \
    X(SOFTMAX, softmax)                                                                            \
    X(XENT, xent)                                                                                  \
    X(BIAS_GRAD, bias_grad)                                                                        \
    X(SGD, sgd)                                                                                    \
    X(CLIP_NORM, clip_norm)                                                                        \
    X(QUANT, quant)                                                                                \
    X(GEMM_I8, gemm_i8)                                                                            \
    X(GEMM_I8_DOT, gemm_i8_dot)                                                                    \
    X(HALF, half)                                                                                  \
    X(PRODUCT_HALF, product_half)

enum gpu_shader {
#define GPU_SHADER_ENUM(name, file) GPU_##name,
    GPU_SHADER_MAP(GPU_SHADER_ENUM)
#undef GPU_SHADER_ENUM
        GPU_SHADER_COUNT
};
struct gpu_spirv {
    const char *name;
    const uint32_t *words;
    size_t bytes;
};
extern const struct gpu_spirv gpu_shaders[GPU_SHADER_COUNT];
/* Changes when any shader does: results and caches of other shaders do not count. */
uint64_t gpu_shaders_hash(void);

#define GPU_STORAGE_MAX   4  /* storage buffers of a shader: what Vulkan 1.1 promises */
#define GPU_PARAMS_MAX    24 /* words of push constants behind offsets and strides */
#define GPU_SPECS_MAX     8  /* specialization constants 1.. (0 is the workgroup's size) */
#define GPU_PIPELINES_MAX 256
#define GPU_SLOTS_MAX     64 /* steps of one submission */

/* ---- Configuration and masks (instance.c) ---- */

enum gpu_feature {
    GPU_ALL = 1 << 0,
    GPU_FP16 = 1 << 1,
    GPU_INT8 = 1 << 2,
    GPU_SUBGROUP = 1 << 3,
    GPU_UNIFIED = 1 << 4,
    GPU_TILE = 1 << 5,
};
struct gpu_config {
    char cache_dir[1024]; /* "" when none */
    char device[128];
    uint32_t submit_ms;
    unsigned disabled; /* of enum gpu_feature */
};

/* ---- The device (device.c) ---- */

struct gpu_pipeline {
    enum gpu_shader shader;
    uint32_t threads, spec_count;
    uint32_t spec[GPU_SPECS_MAX];
    VkPipeline handle;
};

struct gpu {
    struct gpu_config config;
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    char driver[128], kernel_set[256];
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    uint32_t arena_type, host_type; /* memory types: of arenas, of what the host reads and writes */
    bool unified;                   /* arena_type can be read and written by the host, fast */
    bool storage_16bit, int8_dot, subgroup_arithmetic;
    uint32_t subgroup;
    uint32_t timestamp_bits;    /* of the queue's clock; 0: it has none */
    pthread_mutex_t queue_lock; /* submissions */
    atomic_bool lost;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout pipeline_layout;
    pthread_mutex_t pipeline_lock; /* what follows */
    VkPipelineCache cache;
    uint32_t pipeline_count, pipelines_saved;
    struct gpu_pipeline pipelines[GPU_PIPELINES_MAX];
    pthread_mutex_t test_lock;
    uint8_t tests[KERN_OP_COUNT]; /* enum kern_test */
};

/* The selected device, opened at the first call; UNSUPPORTED with the reason when there is none,
 * when it is masked, or when it was lost. */
enum sotto_status gpu_get(struct gpu **out, struct sotto_error *err);
bool gpu_lost(void);
/* Opens physical into *g, which is zeroed but for config. */
enum sotto_status gpu_open(struct gpu *g, VkPhysicalDevice physical, struct sotto_error *err);
void gpu_close(struct gpu *g);
/* Why the device cannot be used, or NULL; its compute queue family. */
const char *gpu_problem(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *p,
                        uint32_t *family);
void gpu_features(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *p, unsigned disabled,
                  bool *storage_16bit, bool *int8_dot, bool *subgroup_arithmetic,
                  uint32_t *subgroup);
bool gpu_memory_is_unified(VkPhysicalDevice physical, unsigned disabled);
/* The driver's name and version, printable. */
void gpu_driver_text(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *p, char *out,
                     size_t cap);
/* What VkResult means in a message. */
const char *gpu_result_text(VkResult r);
/* A failed Vulkan call: LOST device, NOMEM or INTERNAL, with its name. */
enum sotto_status gpu_fail(struct sotto_error *err, VkResult r, const char *call);
#define GPU_TRY(call)                                                                              \
    do {                                                                                           \
        VkResult gpu_r_ = (call);                                                                  \
        if (gpu_r_ != VK_SUCCESS) {                                                                \
            status = gpu_fail(err, gpu_r_, #call);                                                 \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

struct gpu_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    VkDeviceSize bytes, taken; /* asked for; allocated */
    unsigned char *host;       /* mapped, or NULL */
};
enum sotto_status gpu_buffer_init(struct gpu *g, struct gpu_buffer *b, uint64_t bytes, bool host,
                                  struct sotto_error *err);
void gpu_buffer_deinit(struct gpu *g, struct gpu_buffer *b);

/* ---- Pipelines (pipeline.c) ---- */

enum sotto_status gpu_layouts_init(struct gpu *g, struct sotto_error *err);
/* Finds or builds one; false when the driver fails. */
bool gpu_pipeline_get(struct gpu *g, enum gpu_shader shader, uint32_t threads, const uint32_t *spec,
                      uint32_t spec_count, VkPipeline *out);
void gpu_cache_load(struct gpu *g);
void gpu_cache_save(struct gpu *g); /* when pipelines were built since */

/* ---- Files (files.c): both begin with the same checked header ---- */

struct gpu_file_key {
    uint32_t kind; /* GPU_FILE_* */
    uint32_t vendor, device, driver;
    uint8_t uuid[VK_UUID_SIZE];
    uint64_t shaders;
};
enum { GPU_FILE_PIPELINES = 1, GPU_FILE_TESTS = 2 };
#define GPU_FILE_MAX ((size_t)32 << 20)
void gpu_file_encode(const struct gpu_file_key *key, const void *payload, size_t bytes,
                     struct buf *out);
/* CORRUPT for damage, STATE for a file of another device, driver or shaders. payload points into
 * file. */
enum sotto_status gpu_file_decode(struct view file, const struct gpu_file_key *key,
                                  struct view *payload, struct sotto_error *err);
/* One byte an instruction; anything else than PASSED and FAILED is LATER. */
enum sotto_status gpu_tests_decode(struct view payload, uint8_t tests[KERN_OP_COUNT],
                                   struct sotto_error *err);
struct gpu_file_key gpu_file_key(const struct gpu *g, uint32_t kind);
/* The file's path; false when there is no folder for it. */
bool gpu_file_path(const struct gpu *g, uint32_t kind, char *out, size_t cap);

/* ---- Recording (record.c) ---- */

enum gpu_access { GPU_READ = 1, GPU_WRITE = 2, GPU_READ_WRITE = 3 };
enum gpu_place { GPU_ARENA = 0, GPU_SCRATCH, GPU_OUT };

struct gpu_operand {
    bool used;
    enum gpu_place place;
    enum gpu_access access;
    uint64_t offset, bytes; /* within a lane */
};
/* One dispatch: x groups for each lane. */
struct gpu_launch {
    enum gpu_shader shader;
    uint32_t threads, spec_count, param_count;
    uint32_t spec[GPU_SPECS_MAX];
    uint64_t groups;
    struct gpu_operand operands[GPU_STORAGE_MAX];
    uint32_t params[GPU_PARAMS_MAX];
};

struct gpu_range {
    enum gpu_place place;
    uint64_t first, end;
    bool write;
};
#define GPU_PENDING_MAX 64

/* Walks instructions twice: planning (cb is NULL: what fits, how much scratch, how many sets), then
 * recording. */
struct gpu_recorder {
    struct gpu *g;
    struct kern_dev *d;
    VkCommandBuffer cb;
    uint64_t scratch_bytes; /* of a lane, the most that one instruction needs */
    uint32_t dispatches, barriers;
    uint32_t pending_count; /* since the last barrier */
    struct gpu_range pending[GPU_PENDING_MAX];
    const struct kern_program *p;
    VkDescriptorPool sets;
    VkQueryPool queries; /* NULL: no profile */
};

/* Emits an instruction's dispatches; false when this device cannot (limits, a failing driver). */
typedef bool gpu_emit_fn(struct gpu_recorder *r, const struct kern_instr *in);
gpu_emit_fn gpu_emit_gemm, gpu_emit_conv, gpu_emit_conv_pool, gpu_emit_conv_dx, gpu_emit_conv_dw;
gpu_emit_fn gpu_emit_pool, gpu_emit_pool_dx, gpu_emit_pointwise, gpu_emit_bias_add,
    gpu_emit_bias_grad;
gpu_emit_fn gpu_emit_dropout, gpu_emit_softmax, gpu_emit_xent, gpu_emit_sgd, gpu_emit_clip_norm;
gpu_emit_fn gpu_emit_quant, gpu_emit_gemm_i8, gpu_emit_gemm_w8, gpu_emit_gemm_f16;
extern gpu_emit_fn *const gpu_rows[KERN_OP_COUNT]; /* NULL: lacked */

/* Operand i of the launch is the instruction's operand arg; KERN_NONE leaves it unused (false). */
bool gpu_bind(struct gpu_recorder *r, struct gpu_launch *l, unsigned i, const struct kern_instr *in,
              unsigned arg, enum gpu_access access);
/* offset: a multiple of GPU_SCRATCH_ALIGN. */
#define GPU_SCRATCH_ALIGN 256u
void gpu_bind_scratch(struct gpu_launch *l, unsigned i, uint64_t offset, uint64_t bytes,
                      enum gpu_access access);
void gpu_bind_out(struct gpu_launch *l, unsigned i);
void gpu_param_f32(struct gpu_launch *l, float v);
static inline void gpu_param(struct gpu_launch *l, uint32_t v) {
    l->params[l->param_count++] = v;
}
static inline void gpu_spec(struct gpu_launch *l, uint32_t v) {
    l->spec[l->spec_count++] = v;
}
bool gpu_launch(struct gpu_recorder *r, const struct gpu_launch *l);
/* What was pending is done before what follows. */
void gpu_barrier(struct gpu_recorder *r);

/* ---- Prepared programs (exec.c, run.c) ---- */

/* std140 in the shaders: one a lane. */
struct gpu_step {
    float lr;
    uint32_t rows;
    uint32_t seed[2];
    uint32_t index;
    uint32_t slot; /* row of the metrics it writes */
    uint32_t pad[2];
};
#define GPU_OUT_WORDS 4 /* of a lane's metrics in a slot */

/* Some instructions in a row that run in the same place. */
struct gpu_segment {
    uint32_t first, count;
    VkCommandBuffer cb; /* NULL: on the host */
};

/* What a lost device cannot take: of every lane the parameters, state, anchor and fixed weights
 * after some step, and the steps since, with their inputs. One lane is copied after every
 * submission and has none of the latter; many would take too long. */
struct gpu_keep {
    uint64_t stride;        /* of a lane in shadow */
    unsigned char *shadow;  /* [lanes][stride] */
    unsigned char *journal; /* [cap] slots as in the ring */
    uint32_t cap, count;
    uint32_t *from; /* [lanes]: the first step of the journal that shadow has not seen */
};
#define GPU_JOURNAL_BYTES ((uint64_t)128 << 20)

/* A second recording of the program with a timestamp behind each instruction. */
struct gpu_profile {
    double *seconds; /* [instr_count], the caller's; NULL: off */
    VkQueryPool queries;
    VkDescriptorPool sets;
    VkCommandBuffer *cbs; /* [segment_count]: NULL where the segment has none, or all when there is
                             no clock */
    uint64_t *ticks;      /* [instr_count + 1] */
};

struct kern_dev {
    struct gpu *g;
    const struct kern_program *p;
    uint32_t lanes;
    uint64_t stride;           /* bytes from lane to lane */
    struct gpu_buffer arena;   /* [lanes][stride] */
    struct gpu_buffer scratch; /* [lanes][scratch_stride] */
    uint64_t scratch_stride;
    struct gpu_buffer current;      /* struct gpu_step[KERN_LANES_MAX] of the step that runs */
    struct gpu_buffer ring;         /* [2][slots] of steps and inputs to come */
    struct gpu_buffer out;          /* metrics [2 * slots][lanes][GPU_OUT_WORDS] */
    struct gpu_buffer stage;        /* where the host cannot reach the arena */
    uint64_t slot_bytes, inputs_at; /* of a slot: bytes, where its inputs begin */
    uint32_t slots;                 /* of one half of the ring */
    uint64_t step_ns;               /* measured, for the time budget; 0: not yet */
    uint32_t next;                  /* steps that the next submission takes */

    VkCommandPool commands;
    VkCommandBuffer *prologues; /* [2 * slots]: put a slot's step in place */
    VkCommandBuffer epilogue;   /* hands outputs to the host */
    VkCommandBuffer transfer;
    VkDescriptorPool sets;
    VkFence fence;
    VkCommandBuffer *batch; /* what one submission holds */
    uint32_t segment_count, on_cpu;
    struct gpu_segment *segments;
    uint8_t *why; /* [instr_count]: enum gpu_why */

    uint32_t *host_at; /* [buffer_count]: offset in a lane's host area, or KERN_NONE */
    uint64_t host_bytes, input_bytes; /* of a lane: INPUT and OUTPUT buffers; INPUT alone */
    unsigned char *host;              /* [lanes][host_bytes] */
    struct gpu_keep keep;
    unsigned char *mirror; /* a lane's arena for instructions on the host, when not unified */
    unsigned char *scratch_host;
    uint64_t scratch_host_bytes;
    struct gpu_profile profile;
    struct kern_exec *cpu; /* after a loss */
    uint32_t dispatches, barriers;
    uint64_t steps, submits;
};
enum gpu_why { GPU_HERE = 0, GPU_WHY_LACKS, GPU_WHY_FAILED, GPU_WHY_LIMITS };

/* untested: for the self-test itself, which must not wait for its own result. */
enum sotto_status gpu_exec_open(struct gpu *g, const struct kern_program *p, uint32_t lanes,
                                bool untested, struct kern_dev **out, struct sotto_error *err);
enum sotto_status gpu_exec_run(struct kern_dev *d, const struct kern_step *steps, uint32_t count,
                               kern_fill_fn *fill, void *ctx, const struct kern_sums *sums,
                               struct sotto_error *err);
void gpu_exec_close(struct kern_dev *d);
void gpu_exec_write(struct kern_dev *d, uint32_t lane, uint64_t offset, const void *src,
                    uint64_t bytes);
void gpu_exec_read(struct kern_dev *d, uint32_t lane, uint64_t offset, void *dst, uint64_t bytes);
void *gpu_exec_host(struct kern_dev *d, uint32_t lane, uint32_t buffer);
enum sotto_status gpu_submit(struct kern_dev *d, const VkCommandBuffer *cbs, uint32_t count);
/* Copies between stage and arena (to_device: src in stage), waited for. */
enum sotto_status gpu_transfer(struct kern_dev *d, const VkBufferCopy *copies, uint32_t count,
                               bool to_device);
enum sotto_status gpu_wait(struct kern_dev *d);

/* A segment's commands into a new buffer (exec.c). */
enum sotto_status gpu_record_segment(struct kern_dev *d, struct gpu_recorder *r,
                                     const struct gpu_segment *s, VkCommandBuffer *out,
                                     struct sotto_error *err);
enum sotto_status gpu_descriptor_pool(struct gpu *g, uint32_t sets, VkDescriptorPool *out,
                                      struct sotto_error *err);

/* ---- Profile (profile.c) ---- */

/* Adds every instruction's seconds to seconds from now on; NULL: no more. */
void gpu_exec_profile(struct kern_dev *d, double *seconds);
/* What a step's segments are submitted as. */
static inline VkCommandBuffer gpu_segment_buffer(const struct kern_dev *d, uint32_t s) {
    return d->profile.seconds && d->profile.cbs[s] ? d->profile.cbs[s] : d->segments[s].cb;
}
/* A segment's first query; one more than it has instructions. */
static inline uint32_t gpu_segment_query(const struct kern_dev *d, const struct gpu_segment *s) {
    return s->first + (uint32_t)(s - d->segments);
}
/* After a step, when its submissions are done. */
void gpu_profile_collect(struct kern_dev *d);
void gpu_profile_deinit(struct kern_dev *d);

/* ---- Without the device (keep.c) ---- */

/* Places in the arena, in the order of GPU_KEPT; bytes may be 0. */
struct gpu_kept {
    uint64_t offset, bytes;
};
#define GPU_KEPT 4u /* parameters, state, anchor, fixed weights; steps change the first two */
void gpu_list_kept(const struct kern_program *p, struct gpu_kept out[GPU_KEPT]);
/* Of parameters and state: what training changes. */
uint64_t gpu_kept_bytes(const struct kern_program *p);
/* Sizes, once lanes and the ring are known; then memory. */
void gpu_keep_plan(struct kern_dev *d);
uint64_t gpu_keep_bytes(const struct kern_dev *d);
bool gpu_keep_init(struct kern_dev *d);
void gpu_keep_deinit(struct kern_dev *d);
/* Before the host writes into the arena. Fails when the device is lost. */
enum sotto_status gpu_keep_write(struct kern_dev *d, uint32_t lane, uint64_t offset,
                                 const void *src, uint64_t bytes);
/* Before n steps are submitted; while they run; when they are done. */
enum sotto_status gpu_keep_room(struct kern_dev *d, uint32_t n);
void gpu_keep_steps(struct kern_dev *d, const unsigned char *slots, uint32_t n);
void gpu_keep_done(struct kern_dev *d, uint32_t n);
/* Inputs of a slot become those of d->cpu. */
void gpu_keep_inputs(struct kern_dev *d, uint32_t lane, const unsigned char *inputs);
/* Opens d->cpu, where everything goes on from the last finished step. */
enum sotto_status gpu_go_on_cpu(struct kern_dev *d, struct sotto_error *err);

/* ---- Self-test (selftest.c) ---- */

/* Tests the instructions of which[] that were not tested on this device; remembers the results. */
void gpu_self_test(struct gpu *g, const bool which[KERN_OP_COUNT]);
void gpu_tests_load(struct gpu *g);

/* ---- For tests ---- */

struct gpu_hooks {
    uint32_t lose_submit;       /* the n-th submission from now loses the device; 0: none */
    bool fail[KERN_OP_COUNT];   /* the self-test of these finds a difference */
    atomic_ullong device_bytes; /* allocated now, of all programs */
    uint32_t messages;          /* of the validation layers */
    bool validated;             /* they are on */
};
extern struct gpu_hooks gpu_hooks;
/* Closes device and instance: the next use starts anew, with the environment as it is then. */
void gpu_reset(void);

#endif

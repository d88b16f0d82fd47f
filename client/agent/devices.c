/* devices: the processor, the backends of this program, and what Vulkan finds. */
#include "agent/agent.h"

#include "sotto/kernels.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define FEATURES_MAX 24

struct processor {
    char model[96];
    const char *features[FEATURES_MAX];
    size_t feature_count;
    uint64_t cores, memory_bytes, available_bytes;
};

static void add_feature(struct processor *p, bool there, const char *name) {
    if (there && p->feature_count < FEATURES_MAX)
        p->features[p->feature_count++] = name;
}

/* Those that a kernel could use. */
#if defined(__x86_64__)
#define X86_FEATURE(name) add_feature(p, __builtin_cpu_supports(name) != 0, name)
static void read_features(struct processor *p) {
    X86_FEATURE("sse4.2");
    X86_FEATURE("avx");
    X86_FEATURE("fma");
    X86_FEATURE("avx2");
    X86_FEATURE("avx512f");
    X86_FEATURE("avx512bw");
    X86_FEATURE("avx512vl");
    X86_FEATURE("avx512vnni");
}
#elif defined(__aarch64__)
static void read_features(struct processor *p) {
    static const struct {
        unsigned long first, second; /* bits of AT_HWCAP, AT_HWCAP2 */
        const char *name;
    } bits[] = {
        {1ul << 1, 0, "asimd"},   {1ul << 10, 0, "asimdhp"}, {1ul << 20, 0, "asimddp"},
        {1ul << 8, 0, "atomics"}, {1ul << 22, 0, "sve"},     {0, 1ul << 1, "sve2"},
        {0, 1ul << 13, "i8mm"},   {0, 1ul << 14, "bf16"},
    };
    const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
    for (size_t i = 0; i < ARRAY_LEN(bits); i++)
        add_feature(p, (first & bits[i].first) != 0 || (second & bits[i].second) != 0,
                    bits[i].name);
}
#else
static void read_features(struct processor *p) {
    (void)p;
}
#endif

/* The value of the first line of a file below /proc that begins with name; "" when there is none.
 */
static void proc_value(const char *path, const char *name, char *out, size_t cap) {
    char line[512];
    FILE *f = fopen(path, "re");
    out[0] = '\0';
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) != 0 || colon == NULL)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        line[strcspn(line, "\n")] = '\0';
        sotto_escape(out, cap, colon, strnlen(colon, cap / 4));
        break;
    }
    if (f != NULL)
        fclose(f);
}

static void read_processor(struct processor *p) {
    char text[64];
    uint64_t kib = 0;
    memset(p, 0, sizeof *p);
#if defined(__x86_64__) /* elsewhere the kernel gives numbers, or an emulator its host's name */
    proc_value("/proc/cpuinfo", "model name", p->model, sizeof p->model);
#endif
    read_features(p);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES),
               page = sysconf(_SC_PAGESIZE);
    p->cores = cores > 0 ? (uint64_t)cores : 1;
    p->memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    proc_value("/proc/meminfo", "MemAvailable", text, sizeof text);
    text[strcspn(text, " ")] = '\0';
    if (num_parse_u64(text, 0, UINT64_MAX >> 10, &kib, NULL) == SOTTO_OK)
        p->available_bytes = kib << 10;
}

struct tested {
    unsigned passed, failed, lacks, later;
};
static struct tested count_tests(const struct kern_device_info *d) {
    struct tested t = {0, 0, 0, 0};
    for (size_t i = 0; i < KERN_OP_COUNT; i++) {
        t.passed += d->tests[i] == KERN_TEST_PASSED;
        t.failed += d->tests[i] == KERN_TEST_FAILED;
        t.lacks += d->tests[i] == KERN_TEST_LACKS;
        t.later += d->tests[i] == KERN_TEST_LATER;
    }
    return t;
}

static unsigned instructions(const struct kern_backend *b) {
    unsigned n = 0;
    for (int op = 0; op < KERN_OP_COUNT; op++)
        n += kern_backend_has(b, (enum kern_op)op);
    return n;
}

/* ---- Text
 * --------------------------------------------------------------------------------------------------------------------
 */

static void text_processor(const struct processor *p, struct buf *out) {
    char all[32], available[32];
    buf_printf(out, "processor\n");
    if (p->model[0] != '\0')
        buf_printf(out, "  model      %s\n", p->model);
    buf_printf(out, "  cores      %llu\n  features  ", (unsigned long long)p->cores);
    for (size_t i = 0; i < p->feature_count; i++)
        buf_printf(out, " %s", p->features[i]);
    buf_printf(out, "%s\n  memory     %s, %s available\n", p->feature_count == 0 ? " none" : "",
               num_format_size(all, sizeof all, p->memory_bytes),
               num_format_size(available, sizeof available, p->available_bytes));
}

static void text_backend(const struct kern_backend *b, struct buf *out) {
    if (kern_backend_available(b))
        buf_printf(out, "  %-8s %-44s %u of %d instructions%s\n", kern_backend_name(b),
                   kern_backend_kernel_set(b), instructions(b), (int)KERN_OP_COUNT,
                   strcmp(kern_backend_name(b), "ref") == 0 ? ", for comparison" : "");
    else
        buf_printf(out, "  %-8s not usable here\n", kern_backend_name(b));
}

static void text_device(const struct kern_device_info *d, size_t number, struct buf *out) {
    char heap[32], shared[32], range[32];
    const struct tested t = count_tests(d);
    buf_printf(out, "  %zu  %s%s\n", number, d->name, d->selected ? "  (in use)" : "");
    if (d->problem != NULL)
        buf_printf(out, "     not usable: %s\n", d->problem);
    buf_printf(out, "     driver     %s, Vulkan %s, %s\n", d->driver, d->api, d->type);
    buf_printf(out, "     memory     %s%s\n", num_format_size(heap, sizeof heap, d->heap_bytes),
               d->unified ? ", shared with the processor" : "");
    buf_printf(out,
               "     limits     workgroup %u, shared memory %s, push constants %u B, %u storage "
               "buffers of %s, subgroup %u\n",
               d->workgroup_max, num_format_size(shared, sizeof shared, d->shared_bytes),
               d->push_bytes, d->storage_buffers,
               num_format_size(range, sizeof range, d->storage_range_bytes), d->subgroup);
    buf_printf(out, "     features   16-bit storage %s, int8 dot product %s\n",
               d->storage_16bit ? "yes" : "no", d->int8_dot ? "yes" : "no");
    buf_printf(out,
               "     self-test  %u passed, %u failed, %u run on the processor, %u not used yet\n",
               t.passed, t.failed, t.lacks, t.later);
    for (size_t i = 0; i < KERN_OP_COUNT; i++)
        if (d->tests[i] == KERN_TEST_FAILED)
            buf_printf(out,
                       "                %s differs from the reference and runs on the processor\n",
                       kern_op_name((enum kern_op)i));
}

/* ---- JSON
 * --------------------------------------------------------------------------------------------------------------------
 */

static void json_processor(const struct processor *p, struct json *j) {
    json_key(j, "processor");
    json_object_begin(j);
    json_put_str(j, "model", p->model);
    json_put_u64(j, "cores", p->cores);
    json_key(j, "features");
    json_array_begin(j);
    for (size_t i = 0; i < p->feature_count; i++)
        json_str(j, p->features[i]);
    json_array_end(j);
    json_put_u64(j, "memory_bytes", p->memory_bytes);
    json_put_u64(j, "available_bytes", p->available_bytes);
    json_object_end(j);
}

static void json_backend(const struct kern_backend *b, struct json *j) {
    const bool there = kern_backend_available(b);
    json_object_begin(j);
    json_put_str(j, "name", kern_backend_name(b));
    json_put_bool(j, "usable", there);
    json_put_str(j, "kernels", there ? kern_backend_kernel_set(b) : NULL);
    json_put_u64(j, "instructions", instructions(b));
    json_put_u64(j, "all", KERN_OP_COUNT);
    json_object_end(j);
}

static void json_device(const struct kern_device_info *d, struct json *j) {
    static const char *const results[] = {"later", "passed", "failed", "lacks"};
    json_object_begin(j);
    json_put_str(j, "name", d->name);
    json_put_str(j, "driver", d->driver);
    json_put_str(j, "api", d->api);
    json_put_str(j, "type", d->type);
    json_put_str(j, "key", d->key);
    json_put_str(j, "problem", d->problem);
    json_put_bool(j, "selected", d->selected);
    json_put_u64(j, "heap_bytes", d->heap_bytes);
    json_put_bool(j, "unified", d->unified);
    json_put_u64(j, "workgroup_max", d->workgroup_max);
    json_put_u64(j, "shared_bytes", d->shared_bytes);
    json_put_u64(j, "push_bytes", d->push_bytes);
    json_put_u64(j, "storage_buffers", d->storage_buffers);
    json_put_u64(j, "storage_range_bytes", d->storage_range_bytes);
    json_put_u64(j, "subgroup", d->subgroup);
    json_put_bool(j, "storage_16bit", d->storage_16bit);
    json_put_bool(j, "int8_dot", d->int8_dot);
    json_key(j, "tests");
    json_object_begin(j);
    for (size_t i = 0; i < KERN_OP_COUNT; i++)
        json_put_str(j, kern_op_name((enum kern_op)i),
                     d->tests[i] < ARRAY_LEN(results) ? results[d->tests[i]] : NULL);
    json_object_end(j);
    json_object_end(j);
}

/* ---- The command
 * -------------------------------------------------------------------------------------------------------------
 */

struct found {
    struct processor processor;
    const struct kern_backend *backends[16];
    size_t backend_count, device_count;
    struct kern_device_info devices[KERN_DEVICES_MAX];
    char reason[256]; /* why there is no device */
};

static void text_all(const struct found *f, struct buf *out) {
    text_processor(&f->processor, out);
    buf_printf(out, "backends\n");
    for (size_t i = 0; i < f->backend_count; i++)
        text_backend(f->backends[i], out);
    buf_printf(out, "vulkan devices\n");
    for (size_t i = 0; i < f->device_count; i++)
        text_device(&f->devices[i], i, out);
    if (f->device_count == 0)
        buf_printf(out, "  none: %s; the processor trains\n",
                   f->reason[0] != '\0' ? f->reason : "no driver found");
}

static void json_all(const struct found *f, struct buf *out) {
    struct json j;
    json_init(&j, out);
    json_object_begin(&j);
    json_processor(&f->processor, &j);
    json_key(&j, "backends");
    json_array_begin(&j);
    for (size_t i = 0; i < f->backend_count; i++)
        json_backend(f->backends[i], &j);
    json_array_end(&j);
    json_key(&j, "vulkan");
    json_array_begin(&j);
    for (size_t i = 0; i < f->device_count; i++)
        json_device(&f->devices[i], &j);
    json_array_end(&j);
    if (f->device_count == 0)
        json_put_str(&j, "no_vulkan", f->reason);
    json_object_end(&j);
    buf_put_u8(out, '\n');
}

void agent_setup_devices(const struct agent_args *a) {
    char state[IO_PATH_MAX], dir[IO_PATH_MAX];
    const struct kern_device_options options = {.cache_dir = dir};
    if (agent_state_dir(a, state, sizeof state, NULL) == SOTTO_OK &&
        io_join(dir, sizeof dir, state, "kernels", NULL) == SOTTO_OK && io_exists(dir))
        (void)kern_device_setup(&options, NULL);
}

int agent_devices(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    enum sotto_status status = SOTTO_OK;
    struct buf out;
    buf_init(&out, 1u << 18);
    struct found *f = mem_zalloc(sizeof *f);
    if (f == NULL)
        TRY_FAIL(&err, SOTTO_NOMEM, "no memory for a list of devices");
    agent_setup_devices(a);
    if (a->test) {
        status = kern_device_test(&err);
        if (status == SOTTO_UNSUPPORTED) /* nothing to test: said below */
            status = SOTTO_OK;
        TRY(status);
    }
    read_processor(&f->processor);
    f->backend_count = kern_backend_list(f->backends, ARRAY_LEN(f->backends));
    if (f->backend_count > ARRAY_LEN(f->backends))
        f->backend_count = ARRAY_LEN(f->backends);
    f->device_count = kern_device_list(f->devices, KERN_DEVICES_MAX, f->reason, sizeof f->reason);
    if (f->device_count > KERN_DEVICES_MAX)
        f->device_count = KERN_DEVICES_MAX;
    (a->json ? json_all : text_all)(f, &out);
    agent_print(&out);
out:
    mem_free(f);
    buf_deinit(&out);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}

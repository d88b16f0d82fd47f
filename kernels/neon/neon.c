/* The NEON backend's table, filled once: what every 64-bit Arm has, then what this processor adds.
 */
#include "neon/neon.h"

#if defined(__aarch64__)
#include <pthread.h>
#include <stdio.h>
#include <sys/auxv.h>

#include "neon/f16.h"
#include "neon/product.h"

#ifndef HWCAP_CPUID
#define HWCAP_CPUID (1u << 11)
#endif
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1u << 20)
#endif
#ifndef HWCAP_ASIMDFHM
#define HWCAP_ASIMDFHM (1u << 23)
#endif
#ifndef HWCAP2_BF16
#define HWCAP2_BF16 (1u << 14)
#endif
#ifndef HWCAP2_I8MM
#define HWCAP2_I8MM (1u << 13)
#endif

static struct kern_backend table = {.name = "neon", .panels = true};
static char kernel_set[32];
static const struct neon_tiles *tiles;
static enum neon_i8 i8_way;
static const struct f16_way *f16_way;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void override(const struct kern_impl *ops) {
    for (unsigned i = 0; i < KERN_OP_COUNT; i++)
        if (ops[i].run)
            table.ops[i] = ops[i];
}

/* Whether the core that asks runs in order: A35, A53, A55, A510, A520. On a mixed processor the
 * first core asked decides; the tiles give the same bits either way. */
static bool in_order(void) {
    static const unsigned parts[] = {0xd04, 0xd03, 0xd05, 0xd46, 0xd80};
    uint64_t midr;
    if (!(getauxval(AT_HWCAP) & HWCAP_CPUID))
        return false;
    __asm__("mrs %0, midr_el1" : "=r"(midr));
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++)
        if (midr >> 24 == 0x41 && (midr >> 4 & 0xfff) == parts[i])
            return true;
    return false;
}

static const struct kern_impl products[KERN_OP_COUNT] = {
    [KERN_GEMM] = {neon_gemm, neon_gemm_scratch},
    [KERN_CONV2D] = {neon_conv2d, neon_conv2d_scratch},
    [KERN_CONV2D_POOL] = {neon_conv2d_pool, neon_conv2d_pool_scratch},
    [KERN_CONV2D_DX] = {neon_conv2d_dx, neon_conv2d_dx_scratch},
    [KERN_CONV2D_DW] = {neon_conv2d_dw, neon_conv2d_dw_scratch},
    [KERN_GEMM_I8] = {neon_gemm_i8, neon_gemm_i8_scratch},
    [KERN_GEMM_W8] = {neon_gemm_w8, neon_gemm_w8_scratch},
    [KERN_GEMM_F16] = {neon_gemm_f16, neon_gemm_f16_scratch},
};

static void fill(void) {
    if (getauxval(AT_HWCAP2) & HWCAP2_I8MM)
        i8_way = NEON_I8_MATRIX;
    else if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
        i8_way = NEON_I8_DOT;
    static const char *const ints[] = {"", "+dotprod", "+i8mm"};
    const bool fhm = getauxval(AT_HWCAP) & HWCAP_ASIMDFHM;
    snprintf(kernel_set, sizeof(kernel_set), "neon%s%s%s", in_order() ? "/a53" : "", ints[i8_way],
             fhm ? "+fhm" : "");
    table.kernel_set = kernel_set;
    tiles = in_order() ? &neon_tiles_small : &neon_tiles_wide;
    f16_way = fhm ? &neon_f16_fhm : in_order() ? &neon_f16_small : &neon_f16_wide;
    override(kern_ops_neon);
    override(products);
    if (getauxval(AT_HWCAP2) & HWCAP2_BF16)
        table.ops[KERN_GEMM_BF16] = (struct kern_impl){neon_gemm_bf16, neon_gemm_bf16_scratch};
}

enum neon_i8 neon_i8_way(void) {
    return i8_way;
}

const struct f16_way *neon_f16_way(void) {
    return f16_way;
}

const struct neon_tiles *neon_tiles(void) {
    return tiles;
}

const struct kern_backend *kern_cpu(void) {
    pthread_once(&once, fill);
    return &table;
}
#endif

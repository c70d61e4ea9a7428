/* target.c - what kernels are planned for: vector width, registers, caches.
 * Rows stand from the most general to the best; "native" is the last row whose instructions this
 * processor has. The numbers of `cpu` are SALUN_CPU_ of salun.h; a portable program needs none. */
#include "kernel/kir.h"

#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
enum { HAS_HALVES = 1 << 10 };         /* ASIMDHP of AT_HWCAP */
#endif

enum { CPU_FMA = 2, CPU_AVX2 = 4, CPU_AVX512 = 8, CPU_NEON = 16, CPU_VNNI = 32, CPU_FP16 = 64 };
enum { KIB = 1024 };

static const Target targets[] = {
    /* name          width registers fma   dot4   half   cpu                                           l1        l2 */
    { "portable",    4,    16,       false, false, false, 0,                                           32 * KIB, 512 * KIB },
    { "fma128",      4,    16,       true,  false, false, CPU_FMA,                                     32 * KIB, 512 * KIB },
    { "neonfp16",    4,    32,       true,  false, true,  CPU_FMA | CPU_NEON | CPU_FP16,               32 * KIB, 512 * KIB },
    { "avx2",        8,    16,       true,  false, false, CPU_FMA | CPU_AVX2,                          32 * KIB, 512 * KIB },
    { "avx512",      16,   32,       true,  false, false, CPU_FMA | CPU_AVX2 | CPU_AVX512,             32 * KIB, 1024 * KIB },
    { "avx512vnni",  16,   32,       true,  true,  false, CPU_FMA | CPU_AVX2 | CPU_AVX512 | CPU_VNNI,  32 * KIB, 1024 * KIB },
    { "avx512fp16",  16,   32,       true,  true,  true,  CPU_FMA | CPU_AVX2 | CPU_AVX512 | CPU_VNNI | CPU_FP16, 32 * KIB, 1024 * KIB },
};

const Target *target_list(int *count) {
    *count = COUNT(targets);
    return targets;
}

static unsigned native_cpu(void) {
    unsigned cpu = 0;
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c = 0, d;
    __get_cpuid(1, &a, &b, &c, &d);
    __builtin_cpu_init();
    if (__builtin_cpu_supports("fma") && (c & bit_F16C))
        cpu |= CPU_FMA;
    if (__builtin_cpu_supports("avx2"))
        cpu |= CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        cpu |= CPU_AVX512;
    if (__builtin_cpu_supports("avx512vnni"))
        cpu |= CPU_VNNI;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 23 & 1) && (cpu & CPU_VNNI))
        cpu |= CPU_FP16;
#elif defined(__aarch64__)
    cpu |= CPU_FMA | CPU_NEON | (getauxval(AT_HWCAP) & HAS_HALVES ? CPU_FP16 : 0);
#endif
    return cpu;
}

static const Target *target_native(void) {
    unsigned cpu = native_cpu();
    const Target *best = &targets[0];
    for (int i = 0; i < COUNT(targets); i++)
        if ((targets[i].cpu & ~cpu) == 0)
            best = &targets[i];
    return best;
}

const Target *target_find(const char *name) {
    if (!strcmp(name, "native"))
        return target_native();
    for (int i = 0; i < COUNT(targets); i++)
        if (!strcmp(targets[i].name, name))
            return &targets[i];
    return NULL;
}

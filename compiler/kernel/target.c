/* target.c - what kernels are planned for: vector width, registers, caches.
 * Rows stand from the most general to the best; "native" is the last row whose instructions this
 * processor has. The numbers of `cpu` are SALUN_CPU_ of salun.h; a portable program needs none. */
#include "kernel/kir.h"

#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

enum { CPU_FMA = 2, CPU_AVX2 = 4, CPU_AVX512 = 8, CPU_VNNI = 32 };
enum { KIB = 1024 };

static const Target targets[] = {
    /* name         width registers fma   dot4   cpu                                           l1        l2 */
    { "portable",   4,    16,       false, false, 0,                                           32 * KIB, 512 * KIB },
    { "fma128",     4,    16,       true,  false, CPU_FMA,                                     32 * KIB, 512 * KIB },
    { "avx2",       8,    16,       true,  false, CPU_FMA | CPU_AVX2,                          32 * KIB, 512 * KIB },
    { "avx512",     16,   32,       true,  false, CPU_FMA | CPU_AVX2 | CPU_AVX512,             32 * KIB, 1024 * KIB },
    { "avx512vnni", 16,   32,       true,  true,  CPU_FMA | CPU_AVX2 | CPU_AVX512 | CPU_VNNI,  32 * KIB, 1024 * KIB },
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
#elif defined(__aarch64__)
    cpu |= CPU_FMA;
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

/* cpu.c - whether this processor, and the system on it, has the instructions that a program was compiled for. */
#include "base.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Conversions of binary16, and arithmetic in it, which compilers' tests of processors do not all know. */
static int has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static int has_fp16(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 23 & 1);
}
#elif defined(__aarch64__)
#include <sys/auxv.h>
enum { HAS_HALVES = 1 << 10 };         /* ASIMDHP of AT_HWCAP */
#endif

/* SALUN_CPU_ bits of this machine. The compiler's run-time support asks the operating system too (XGETBV). */
static uint32_t present(void) {
    uint32_t bits = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bits |= SALUN_CPU_SSE2;
    if (__builtin_cpu_supports("fma") && has_f16c())
        bits |= SALUN_CPU_FMA;
    if (__builtin_cpu_supports("avx2"))
        bits |= SALUN_CPU_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        bits |= SALUN_CPU_AVX512;
    if (__builtin_cpu_supports("avx512vnni"))
        bits |= SALUN_CPU_VNNI;
    if ((bits & SALUN_CPU_AVX512) && has_fp16())
        bits |= SALUN_CPU_FP16;
#elif defined(__aarch64__)
    bits |= SALUN_CPU_NEON | SALUN_CPU_FMA;
    if (getauxval(AT_HWCAP) & HAS_HALVES)
        bits |= SALUN_CPU_FP16;
#endif
    return bits;
}

static const char *bit_name(uint32_t bit) {
    switch (bit) {
    case SALUN_CPU_SSE2: return "SSE2";
    case SALUN_CPU_FMA: return "FMA, F16C";
    case SALUN_CPU_AVX2: return "AVX2";
    case SALUN_CPU_AVX512: return "AVX-512 (F, BW, DQ, VL)";
    case SALUN_CPU_NEON: return "NEON";
    case SALUN_CPU_VNNI: return "AVX-512 VNNI";
    case SALUN_CPU_FP16: return "arithmetic in float16 (AVX512-FP16, or FP16 of aarch64)";
    default: return "an extension unknown to this runtime";
    }
}

int salun_cpu_check(const SalunProgram *p, SalunError *err) {
    uint32_t missing = p->cpu & ~present();
    SalunNames names = { 0 };
    for (uint32_t bit = 1; bit; bit <<= 1)
        if (missing & bit)
            salun_names_add(&names, "%s", bit_name(bit));
    if (names.total)
        salun_error(err, SALUN_NO_CPU, "%s was compiled for a processor with %s, which this one has not; compile it with --target=portable",
                    p->name, salun_names_end(&names));
    return names.total;
}

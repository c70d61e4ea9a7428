/* peak.c - what this machine can do at most: float32 multiply-adds per second with vectors of 128, 256 and 512 bits, int8 dot
 * products, and bytes per second from cache and memory, in 1 to N threads at once; with two, how often they can answer each other.
 *
 * usage: peak THREADS
 * Prints one JSON object a line: {"name": ..., "unit": ..., "threads": N, "best": B, "median": M}. The best of many short repetitions
 * is what the machine can; the median tells how busy it was. Compiled with -march=native: what the processor lacks is left out. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPETITIONS = 50, MOST_THREADS = 256 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- arithmetic: twelve independent sums hide the latency of every processor known to us ---- */

#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(I) V a##I = zero;
#define KEEP(I) __asm__ volatile("" : : "v"(a##I));

/* NAME(buffer, count): TEXT, an instruction of %0 (sum), %1, %2, twelve times per turn; OPS operations each. */
#define ARITHMETIC(NAME, TYPE, BYTES, TEXT, OPS)                                    \
    static double NAME(float *unused, int64_t turns) {                              \
        typedef TYPE V __attribute__((vector_size(BYTES)));                         \
        V zero = { 0 }, x = zero, y = zero;                                         \
        (void)unused;                                                               \
        TWELVE(DECLARE)                                                             \
        for (int64_t i = 0; i < turns; i++) {                                       \
            TWELVE(TEXT)                                                            \
        }                                                                           \
        TWELVE(KEEP)                                                                \
        return 12.0 * (OPS) * (double)turns;                                        \
    }

#if defined(__x86_64__)
#define FMA(I) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(a##I) : "v"(x), "v"(y));
#define MUL_ADD(I) __asm__ volatile("movaps %1, %%xmm15\n\tmulps %2, %%xmm15\n\taddps %%xmm15, %0" : "+x"(a##I) : "x"(x), "x"(y) : "xmm15");
#define DOT(I) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(a##I) : "v"(x), "v"(y));
ARITHMETIC(mul_add_128, float, 16, MUL_ADD, 8)
#if defined(__FMA__)
ARITHMETIC(fma_128, float, 16, FMA, 8)
ARITHMETIC(fma_256, float, 32, FMA, 16)
#endif
#if defined(__AVX512F__)
ARITHMETIC(fma_512, float, 64, FMA, 32)
#endif
#if defined(__AVX512VNNI__)
ARITHMETIC(int8_512, int32_t, 64, DOT, 128)
#endif
#elif defined(__aarch64__)
#undef KEEP
#define KEEP(I) __asm__ volatile("" : : "w"(a##I));
#define FMA(I) __asm__ volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(a##I) : "w"(x), "w"(y));
ARITHMETIC(fma_128, float, 16, FMA, 8)
#endif

/* ---- bandwidth ---- */

typedef float Vector __attribute__((vector_size(64)));

enum { L1_BYTES = 24 << 10, L2_BYTES = 384 << 10, MEMORY_BYTES = 64 << 20 };

static double read_all(float *buffer, int64_t bytes, int64_t turns) {
    const Vector *p = (const Vector *)buffer;
    int64_t count = bytes / (int64_t)sizeof *p;
    Vector sum[8] = { 0 };
    for (int64_t t = 0; t < turns; t++)
        for (int64_t i = 0; i + 8 <= count; i += 8)
            for (int k = 0; k < 8; k++)
                sum[k] += p[i + k];
    for (int k = 0; k < 8; k++)
        __asm__ volatile("" : : "m"(sum[k]));
    return (double)bytes * (double)turns;
}

static double write_all(float *buffer, int64_t bytes, int64_t turns) {
    Vector *p = (Vector *)buffer, one = { 1 };
    for (int64_t t = 0; t < turns; t++)
        for (int64_t i = 0; i < bytes / (int64_t)sizeof *p; i++) {
            p[i] = one;
            __asm__ volatile("" : : : "memory");
        }
    return (double)bytes * (double)turns;
}

static double read_l1(float *b, int64_t turns) { return read_all(b, L1_BYTES, turns); }
static double read_l2(float *b, int64_t turns) { return read_all(b, L2_BYTES, turns); }
static double read_memory(float *b, int64_t turns) { return read_all(b, MEMORY_BYTES, turns); }
static double write_memory(float *b, int64_t turns) { return write_all(b, MEMORY_BYTES, turns); }

/* ---- two threads ---- */

/* One line of memory goes there and back. Processors without a common cache take several times as long for it, and for all that
 * one of them wrote and the other reads. In thousands of round trips. */
static double round_trips(float *buffer, int64_t turns) {
    static _Atomic unsigned seats;
    static _Alignas(128) _Atomic int64_t ball;
    (void)buffer;
    int64_t me = atomic_fetch_add(&seats, 1) & 1;
    for (int64_t t = 0; t < turns; t++) {
        for (int spins = 1; (atomic_load(&ball) & 1) != me; spins++)
            if (spins % 2000 == 0)
                sched_yield();
        atomic_fetch_add(&ball, 1);
    }
    return me ? 0 : 1e3 * (double)turns;
}

/* ---- running ---- */

typedef double Work(float *buffer, int64_t turns);       /* returns operations or bytes */
typedef struct { const char *name, *unit; Work *work; int64_t turns; int threads; } Row;      /* threads: only with so many; 0: any */

static const Row rows[] = {
#if defined(__x86_64__)
    { "mul_add_128", "GFLOP/s", mul_add_128, 600000, 0 },
#endif
#if defined(__FMA__) || defined(__aarch64__)
    { "fma_128", "GFLOP/s", fma_128, 600000, 0 },
#endif
#if defined(__FMA__)
    { "fma_256", "GFLOP/s", fma_256, 600000, 0 },
#endif
#if defined(__AVX512F__)
    { "fma_512", "GFLOP/s", fma_512, 600000, 0 },
#endif
#if defined(__AVX512VNNI__)
    { "int8_512", "GOP/s", int8_512, 600000, 0 },
#endif
    { "read_l1", "GB/s", read_l1, 20000, 0 },
    { "read_l2", "GB/s", read_l2, 1000, 0 },
    { "read_memory", "GB/s", read_memory, 1, 0 },
    { "write_memory", "GB/s", write_memory, 1, 0 },
    { "round_trips", "M/s", round_trips, 4000, 2 },
};

typedef struct { const Row *row; float *buffer; double done, begin, end; pthread_barrier_t *start; } Share;

static void *run_share(void *arg) {
    Share *s = arg;
    pthread_barrier_wait(s->start);
    s->begin = now();
    s->done = s->row->work(s->buffer, s->row->turns);
    s->end = now();
    return NULL;
}

static double run_once(Share *share, int threads) {
    pthread_t handle[MOST_THREADS];
    for (int i = 0; i < threads; i++)
        if (pthread_create(&handle[i], NULL, run_share, &share[i]))
            exit(1);
    double done = 0, begin = 1e300, end = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(handle[i], NULL);
        done += share[i].done;
        begin = share[i].begin < begin ? share[i].begin : begin;
        end = share[i].end > end ? share[i].end : end;
    }
    return done / (end - begin);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) {
        fprintf(stderr, "usage: peak THREADS\n");
        return 2;
    }
    Share share[MOST_THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        share[i] = (Share){ .buffer = aligned_alloc(4096, MEMORY_BYTES), .start = &start };
        if (!share[i].buffer)
            return 4;
        memset(share[i].buffer, 0, MEMORY_BYTES);
    }
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        double rate[REPETITIONS];
        if (rows[r].threads && rows[r].threads != threads)
            continue;
        for (int i = 0; i < threads; i++)
            share[i].row = &rows[r];
        for (int k = 0; k < REPETITIONS; k++)
            rate[k] = 1e-9 * run_once(share, threads);
        qsort(rate, REPETITIONS, sizeof *rate, compare);
        printf("{\"name\": \"%s\", \"unit\": \"%s\", \"threads\": %d, \"best\": %.2f, \"median\": %.2f}\n", rows[r].name, rows[r].unit, threads,
               rate[REPETITIONS - 1], rate[REPETITIONS / 2]);
    }
    return 0;
}

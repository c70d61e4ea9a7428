/* bench.c - measuring: the same batch again and again, medians. */
#include "app/app.h"
#include "model.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_RUNS = 3, MOST_RUNS = 1 << 20, MOST_SAMPLES = 1 << 22 };

typedef struct { SalunModel *m; int64_t n; const void *const *inputs; void *const *outputs; SalunError *err; } Bench;

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *value, int64_t count) {
    qsort(value, (size_t)count, sizeof *value, compare);
    return count % 2 ? value[count / 2] : (value[count / 2 - 1] + value[count / 2]) / 2;
}

static int run_once(const Bench *b, double *seconds) {
    double begin = salun_seconds();
    int code = salun_infer(b->m, b->n, b->inputs, b->outputs, b->err);
    *seconds = salun_seconds() - begin;
    return code;
}

/* Warms caches, pages and clocks up: a tenth of the time, at least once. */
static int warm_up(const Bench *b, double seconds) {
    double end = salun_seconds() + 0.1 * seconds, ignored;
    int code;
    do
        code = run_once(b, &ignored);
    while (!code && salun_seconds() < end);
    return code;
}

/* Runs for `seconds`; times[k] is run k's, calls (or NULL) gets `stride` of every run's. Returns the number of runs, -1: error. */
static int64_t measure(const Bench *b, double seconds, double *times, int64_t most, double *calls, int64_t stride) {
    double end = salun_seconds() + seconds;
    int64_t runs = 0;
    while (runs < most && (runs < LEAST_RUNS || salun_seconds() < end)) {
        salun_set_profile(b->m, SALUN_BOUND_INFER, calls ? calls + runs * stride : NULL);
        int code = run_once(b, &times[runs]);
        salun_set_profile(b->m, SALUN_BOUND_INFER, NULL);
        if (code)
            return -1;
        runs++;
    }
    return runs;
}

static void print_line(double *times, int64_t runs, int64_t n) {
    double middle = median(times, runs);
    printf("median %.3f ms, min %.3f ms, %.1f images/s\n", 1e3 * middle, 1e3 * times[0], (double)n / middle);
}

int app_bench(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, double seconds, SalunError *err) {
    Bench b = { m, n, inputs, outputs, err };
    double *times = malloc(MOST_RUNS * sizeof *times);
    if (!times)
        return salun_error(err, SALUN_NO_SPACE, "out of memory");
    int code = warm_up(&b, seconds);
    if (!code)
        print_line(times, measure(&b, seconds, times, MOST_RUNS, NULL, 0), n);
    free(times);
    return code;
}

/* ---- profile ---- */

/* Of a call of infer over n images, in all their pieces. */
static double call_tasks(const SalunProgram *p, const SalunCall *c, int64_t n) {
    int64_t piece = p->piece ? p->piece : n, tasks = 0;
    for (int64_t at = 0; at < n; at += piece) {
        int64_t images = n - at < piece ? n - at : piece;
        tasks += c->unit ? c->tasks * ((images + c->unit - 1) / c->unit) : c->tasks;
    }
    return (double)tasks;
}

static void print_profile(const SalunModel *m, int64_t n, double *calls, int64_t runs, double *column) {
    const SalunProgram *p = m->program;
    int64_t count = p->infer.count;
    double *middle = column + runs, sum = 0, flops = 0;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t k = 0; k < runs; k++)
            column[k] = calls[k * count + i];
        middle[i] = median(column, runs);
        sum += middle[i];
    }
    printf("%10s %6s %8s  %-32s %s\n", "ms", "%", "GFLOP/s", "kernel", "tap");
    for (int64_t i = 0; i < count; i++) {
        const SalunCall *c = &p->infer.calls[i];
        double work = c->flops * call_tasks(p, c, n);
        flops += work;
        printf("%10.4f %6.2f %8.1f  %-32s %s\n", 1e3 * middle[i], 100 * middle[i] / sum, 1e-9 * work / middle[i], c->name,
               c->tap >= 0 ? p->taps[c->tap] : "");
    }
    printf("%10.4f %6.2f %8.1f  %lld calls, medians of %lld runs\n", 1e3 * sum, 100.0, 1e-9 * flops / sum, (long long)count,
           (long long)runs);
}

int app_profile(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, double seconds, SalunError *err) {
    Bench b = { m, n, inputs, outputs, err };
    int64_t count = m->program->infer.count ? m->program->infer.count : 1, most = MOST_SAMPLES / count;
    double *times = malloc((size_t)most * sizeof *times), *calls = malloc((size_t)(most * count) * sizeof *calls);
    double *column = malloc((size_t)(most + count) * sizeof *column);
    int code = times && calls && column ? warm_up(&b, seconds) : salun_error(err, SALUN_NO_SPACE, "out of memory");
    if (!code) {
        int64_t runs = measure(&b, seconds, times, most, calls, count);
        print_profile(m, n, calls, runs, column);
        print_line(times, runs, n);
    }
    free(times);
    free(calls);
    free(column);
    return code;
}

/* turns.h - what every contender written in C says on its standard input and output: it answers each line "run SECONDS LEAST" by
 * the milliseconds of each run, as a JSON list, of as many runs as fit into SECONDS and no fewer than LEAST (but at most
 * MOST_RUNS), until its input ends. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_RUNS = 1 << 20 };

static double turns_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void turns_print(const double *ms, int64_t runs) {
    for (int64_t i = 0; i < runs; i++)
        printf("%s%.5f", i ? ", " : "[", ms[i]);
    printf("]\n");
    fflush(stdout);
}

/* Serves until the input ends; 0: no memory for the times. */
static int turns_serve(void (*run_once)(void *), void *contender) {
    double *ms = malloc(MOST_RUNS * sizeof *ms), seconds;
    long long least;
    if (!ms)
        return 0;
    while (scanf(" run %lf %lld", &seconds, &least) == 2) {
        double end = turns_now() + seconds;
        int64_t runs = 0;
        while (runs < MOST_RUNS && (runs < least || turns_now() < end)) {
            double begin = turns_now();
            run_once(contender);
            ms[runs++] = 1e3 * (turns_now() - begin);
        }
        turns_print(ms, runs);
    }
    free(ms);
    return 1;
}

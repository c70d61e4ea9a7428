/* conv_case.h - one convolution or pool as a program: kernels run by the evaluator, compared with the interpreter. */
#ifndef SALUN_TESTS_CONV_CASE_H
#define SALUN_TESTS_CONV_CASE_H

#include "kernel/module.h"

typedef struct {
    OpId op;
    int64_t batch, n, channels, out, groups;   /* channels of the image, of the result of CONV */
    int spatial;
    int64_t in[3], kernel[3], stride[3], dilation[3], lo[3], hi[3];
    bool plain;                                /* the data operand is the caller's array itself */
    bool computed;                             /* weights are computed in every run: no call of prepare packs them */
    int body;                                  /* 0: nothing behind; 1: a long chain of operations and a sum by channel */
} Case;

typedef struct { uint64_t s; } Rng;
static inline uint32_t rng_next(Rng *r) { r->s = r->s * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(r->s >> 33); }
static inline int64_t rng_below(Rng *r, int64_t n) { return (int64_t)(rng_next(r) % (uint32_t)n); }
static inline float rng_real(Rng *r) { return (float)(rng_next(r) / 1073741824.0 - 1); }

typedef struct {
    float *space[SPACE_COUNT];
    int64_t bytes[SPACE_COUNT];
} Memory;

Window window_of(const Case *c);
Module *lower_case(Arena *a, const Case *c, const LowerOptions *o);
/* Whether a kernel of it says `text` in its title. */
bool case_is_titled(const Case *c, const LowerOptions *o, const char *text);
/* The program's memory with inputs and weights of `seed`; image i is the same at any capacity. */
Memory prepare_memory(Arena *a, const Module *m, uint64_t seed);
void run_entry(const Module *m, Memory *mem, EntryId entry, int64_t n);

typedef struct { double rms, most; } CaseError;    /* of the error against double, relative to the result's rms */
/* Runs the case and compares every output with the interpreter's in double: fails where an element differs by more than
 * `tolerance` of the largest. Returns the error of the first output. */
CaseError check_case(const Case *c, const LowerOptions *o, uint64_t seed, double tolerance);

/* The first n images have the same bits alone as in the whole batch. */
void check_images(const Case *c, const LowerOptions *o, int64_t n);

#endif

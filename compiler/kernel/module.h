/* module.h - what is not a loop nest: tables, places, and entries that call kernels in order.
 * With kir.h this is all that a back end reads. It mirrors salun.h's SalunProgram. */
#ifndef SALUN_KERNEL_MODULE_H
#define SALUN_KERNEL_MODULE_H

#include "graph/graph.h"
#include "kernel/kir.h"

/* The same numbers as SalunSpace; a test compares. */
typedef enum {
    SPACE_PARAMS, SPACE_STATES, SPACE_RAW, SPACE_GRADS, SPACE_SLOTS, SPACE_PREPARED, SPACE_BLOCK, SPACE_CONSTANTS,
    SPACE_INPUT, SPACE_OUTPUT = SPACE_INPUT + 8, SPACE_COUNT = SPACE_OUTPUT + 8
} Space;
typedef struct { int space; int64_t offset; } MemPlace;      /* offset in bytes */

typedef struct Group Group;

typedef struct {
    Kernel *kernel;            /* shared by calls whose kernels are equal */
    const Group *group;        /* that it computes a part of, for explanations; NULL: none */
    MemPlace *args; int arg_count;   /* one per BUFFER_ARG of the kernel */
    int64_t tasks, unit;       /* as in SalunCall */
    double flops;              /* of one task */
    const char *tap;           /* NULL: none */
    int out;                   /* argument that holds the tap's value, -1: none */
    bool out_per_image; int64_t out_count;
    const char *title;         /* for readers: taps, shapes, source line */
} Call;

typedef struct { const char *name; Call *calls; int count, cap; } Entry;
typedef enum { ENTRY_PREPARE, ENTRY_INFER, ENTRY_STEP, ENTRY_UPDATE, ENTRY_TRAIN, ENTRY_FINISH, ENTRY_COUNT } EntryId;
extern const char *const entry_text[ENTRY_COUNT];            /* "prepare", "infer", .. */

typedef struct {                /* one line of --emit=plan */
    EntryId entry;
    const char *what;          /* a tap with its shape, or what a temporary holds */
    MemPlace place;
    int64_t bytes;
    int first, last;           /* life: call numbers of the entry */
} PlanRow;

typedef struct Grouping Grouping;

/* How convolutions are computed. Winograd's algorithms are for windows of 3x3 with stride 1, and never for strict
 * arithmetic; everything else is direct whatever is asked for. */
typedef enum { CONV_AUTO, CONV_DIRECT, CONV_WINOGRAD2, CONV_WINOGRAD4, CONV_STRASSEN, CONV_ALGORITHMS } ConvAlgorithm;
extern const char *const conv_algorithm_text[CONV_ALGORITHMS];    /* "auto", "direct", "winograd2", "winograd4", "strassen" */

/* A convolution that several algorithms could compute. */
typedef struct TuningSection TuningSection;
typedef struct {
    const char *key;           /* its problem, see tuning.h */
    EntryId entry;
    const Group *group;
    ConvAlgorithm chosen;
    bool timed;                /* by the tuning, not by price */
    double price[CONV_ALGORITHMS];   /* cycles of one processor for the whole batch; 0: no candidate */
} ConvDecision;

enum { PIECE_AUTO = -1 };

typedef struct {
    Arena *arena;
    Program *program;
    const Target *target;
    MathMode math;
    Entry entry[ENTRY_COUNT];
    Kernel **kernels; int kernel_count, kernel_cap;          /* in order of first use, each once */
    int64_t prepared_bytes, block_bytes, scratch_bytes;
    unsigned char *constants; int64_t constants_bytes;
    int slot_count;
    Grouping *grouping[ENTRY_COUNT];   /* NULL where not lowered, and of PREPARE */
    PlanRow *plan; int plan_count, plan_cap;
    uint64_t hash;             /* of network, options, recipe, target, math, capacity */
    uint64_t prepared_hash;    /* of what entry prepare does: equal where the same weights give the same bytes in the same places */
    bool blas;                 /* plain matrix products may call the BLAS */
    ConvAlgorithm conv;        /* AUTO: as timed, else the cheapest */
    const TuningSection *tuning;       /* NULL: nothing was timed */
    ConvDecision *decisions; int decision_count, decision_cap;
    Store storage;             /* see LowerOptions */
    int64_t piece;             /* images that infer takes at a time: as asked for, then as chosen */
    bool apart;                /* see LowerOptions */
} Module;

/* kernel/module.c: lowers every graph of the program. */
typedef struct {
    const Target *target;
    MathMode math;
    bool blas;
    ConvAlgorithm conv;
    const TuningSection *tuning;
    Store storage;             /* of weights that are packed once for `infer`: STORE_WHOLE, _BF16, _F16 */
    int64_t piece;             /* images that infer takes at a time at most: 0 all, PIECE_AUTO by price */
    bool apart;                /* every value and temporary in a place that nothing else ever has: what tests compare with */
} LowerOptions;
Module *module_lower(Arena *arena, Program *p, const LowerOptions *o);
int64_t module_images(const Module *m, EntryId entry);       /* at most, in one run of an entry's calls */
void module_print(Writer *out, const Module *m);             /* --emit=kernels: entries, then kernels */
void module_print_plan(Writer *out, const Module *m);        /* --emit=plan: every value's place, size, life */
#endif

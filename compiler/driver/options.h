/* options.h - the command line: which command, its options, its files. One table (options.c) holds every option, for
 * parsing, --help and suggestions alike. */
#ifndef SALUN_DRIVER_OPTIONS_H
#define SALUN_DRIVER_OPTIONS_H

#include "backend/backend.h"
#include "graph/build.h"
#include "kernel/module.h"
#include "passes/passes.h"
#include "salun.h"

typedef struct Options Options;

typedef struct {
    const char *name;                  /* "eval"; "" compiles */
    unsigned bit;                      /* of the commands that an option belongs to */
    const char *usage, *help;          /* for --help */
    const char *examples;
    int (*run)(Options *o);            /* an exit code of salun.h */
} Command;

struct Options {
    Arena *arena;
    const Command *command;
    const char **files; int file_count, file_cap;
    const char *line;                  /* the command as it was typed */

    BuildOptions build;
    Setting *define; int define_cap;
    const char **place; int place_cap;
    Setting *dim; int dim_cap;

    const Target *target;
    const char *triple, *cpu;          /* --target=aarch64-linux-gnu, --cpu; NULL: this machine, none in particular */
    const char *backend;               /* --backend; NULL: by the output's name */
    bool target_chosen;
    int level;                         /* -O, -1: not given */
    MathMode math;
    ConvAlgorithm conv;
    int64_t piece;                     /* --piece, PIECE_AUTO: by price */
    const char *tune;                  /* --tune: a file, "": beside the network; NULL: not asked for */
    int tune_threads;                  /* 0: as many as processors */
    Store storage;                     /* --storage, of packed weights */
    bool blas, train, int8, half;      /* half: --precision=f16 */
    const char *calibrate;             /* --calibrate: images, NULL: none */
    int64_t memory;                    /* --memory: bytes, 0: no bound */
    PassOptions pass;
    const char **dump; int dump_cap;
    bool time;
    Profile profile;                   /* --perf */

    const char *output;                /* -o */
    const char *emit;                  /* --emit, NULL: a program */
    const char *embed;                 /* --embed-weights */
    uint64_t seed;
    const char *weights;
    const char **inputs, **outputs; int input_count, input_cap, output_count, output_cap;   /* FILE or NAME=FILE */
    const char *labels, *gradients;
    bool use_double;
    bool in_place, check_only;
    char **rest; int rest_count, rest_cap;   /* RUN, TRAIN: the command line of the compiled program, its name first */
};

extern const Command commands[];       /* the first compiles */
extern const int command_count;

/* 0, or SALUN_BAD_INPUT after a message. *done: everything asked for is printed (--help, --version). */
int options_read(Options *o, int argc, char **argv, bool *done);

/* `salunc: ...` on stderr; returns code. */
int options_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int options_level(const Options *o, int otherwise);    /* -O */

/* ---- a file per command ---- */
int command_compile(Options *o);
int command_init(Options *o);
int command_eval(Options *o);
int command_check(Options *o);
int command_fmt(Options *o);
int command_taps(Options *o);
int command_explain(Options *o);
int command_run(Options *o);
int command_train(Options *o);

#endif

/* compile.h - the stages from a .snet file to a module, in order. A stage runs the ones before it; errors were
 * reported when one returns false, and `code` is the exit code. */
#ifndef SALUN_DRIVER_COMPILE_H
#define SALUN_DRIVER_COMPILE_H

#include "backend/backend.h"
#include "kernel/tuning.h"
#include "options.h"
#include "syntax/ast.h"

typedef struct {
    Arena *arena;
    const Options *o;
    Diag *diag;
    AstFile *tree;
    Program *program;
    Module *module;
    Tuning *tuning;                    /* --tune; NULL: not asked for, or not read yet */
    const char *tuning_path;
    int recompute;                     /* the effort to save training memory, Program.recompute */
    int code;
} Compilation;

Compilation compilation_new(const Options *o);
bool compile_parse(Compilation *c);                          /* tree */
bool compile_build(Compilation *c, bool training);           /* program, elaborated */
bool compile_passes(Compilation *c, bool training);          /* program, after the passes */
bool compile_module(Compilation *c, bool training);          /* module */

/* With --time: milliseconds since `start`, a value of the clock, for a stage of this name. */
double compile_clock(void);
void compile_report(const Compilation *c, const char *stage, double start);

/* Ends with the errors' count on stderr; the exit code. */
int compilation_end(Compilation *c);

/* ---- output.c ---- */

/* Writes a text to a file, whole or not at all; path NULL or "-": standard output. An exit code, after a message. */
int output_write(const char *path, const char *text, size_t length);
/* The same for two files, both or, when the first cannot be written, none. */
int output_write_pair(const char *path, const Writer *text, const char *second, const Writer *second_text);

/* ---- toolchain.c ---- */

typedef enum { BUILD_OBJECT, BUILD_ASSEMBLY, BUILD_ARCHIVE, BUILD_SHARED, BUILD_INFERENCE, BUILD_TRAINING } BuildKind;
/* Compiles a C text by $CC, or takes the bytes of an object (is_object), to what `kind` says: SHARED holds the base runtime,
 * INFERENCE and TRAINING are programs with the runtime's libraries. An exit code, after a message. */
int toolchain_build(Arena *a, const Writer *text, bool is_object, const char *output, BuildKind kind, bool blas);

/* ---- memory.c ---- */

/* A program in this process, by p->backend. An exit code, after a message. */
typedef struct { const Backend *backend; Loaded *loaded; void *library; const SalunProgram *program; } InMemory;
int memory_load(Compilation *c, InMemory *p);
void memory_unload(InMemory *p);

/* ---- tune.c, tune_time.c ---- */

/* Reads the file of --tune where there is one: c->tuning. False after a message. */
bool tune_open(Compilation *c);
/* Times what the module chose by price and adds it to c->tuning and to the file; *timed: there was such. An exit code,
 * after a message. */
int tune_complete(Compilation *c, bool training, bool *timed);

/* Times every algorithm for the problems that c->module chose by price, with so many threads (0: as many as processors), which
 * it sets, and appends a row for each. An exit code, after a message. */
int tune_time(Compilation *c, bool training, int *threads, TuningRow **rows, int *count);

/* ---- files.c ---- */

/* The back end that makes `output` (NULL: a program in this process) by these options; NULL after a message. */
const Backend *files_backend(const Options *o, const char *output);
/* Writes the file that the options name, and the header beside it where it has one. An exit code, after a message. */
int files_write(Compilation *c);

/* ---- calibrate.c ---- */

/* The passes, with ranges of values by --calibrate. An exit code, after a message. */
int calibrate_passes(Compilation *c);

/* ---- weights.c ---- */

/* What the runtime needs to initialise, load and save a program's tensors; holds no kernels. Needs its tables. */
const SalunProgram *weights_program(Arena *a, const Program *p);

#endif

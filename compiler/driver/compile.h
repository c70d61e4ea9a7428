/* compile.h - the stages from a .snet file to a module, in order. A stage runs the ones before it; errors were
 * reported when one returns false, and `code` is the exit code. */
#ifndef SALUN_DRIVER_COMPILE_H
#define SALUN_DRIVER_COMPILE_H

#include "options.h"
#include "syntax/ast.h"

typedef struct {
    Arena *arena;
    const Options *o;
    Diag *diag;
    AstFile *tree;
    Program *program;
    Module *module;
    int code;
} Compilation;

Compilation compilation_new(const Options *o);
bool compile_parse(Compilation *c);                          /* tree */
bool compile_build(Compilation *c, bool training);           /* program, elaborated */
bool compile_passes(Compilation *c, bool training);          /* program, after the passes */
bool compile_module(Compilation *c, bool training);          /* module */

/* Ends with the errors' count on stderr; the exit code. */
int compilation_end(Compilation *c);

/* ---- output.c ---- */

/* Writes a text to a file, whole or not at all; path NULL or "-": standard output. An exit code, after a message. */
int output_write(const char *path, const char *text, size_t length);
/* The same for two files, both or, when the first cannot be written, none. */
int output_write_pair(const char *path, const Writer *text, const char *second, const Writer *second_text);

/* ---- toolchain.c ---- */

typedef enum { BUILD_OBJECT, BUILD_INFERENCE, BUILD_TRAINING } BuildKind;
/* Compiles a C text by $CC to an object or, with the runtime's libraries, to an executable. An exit code, after a message. */
int toolchain_build(Arena *a, const Writer *text, const char *output, BuildKind kind, bool blas);

/* ---- weights.c ---- */

/* What the runtime needs to initialise, load and save a program's tensors; holds no kernels. Needs its tables. */
const SalunProgram *weights_program(Arena *a, const Program *p);

#endif

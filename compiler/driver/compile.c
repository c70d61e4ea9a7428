/* compile.c - the stages in order; a stage that reported errors is the last one. */
#include "compile.h"

#include <string.h>
#include <time.h>

double compile_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void compile_report(const Compilation *c, const char *stage, double start) {
    if (c->o->time)
        fprintf(stderr, "%-10s %8.2f ms\n", stage, compile_clock() - start);
}

static bool fail(Compilation *c, int code) {
    c->code = code;
    return false;
}

Compilation compilation_new(const Options *o) {
    return (Compilation){ .arena = o->arena, .o = o, .diag = diag_new(o->arena, stderr) };
}

bool compile_parse(Compilation *c) {
    double start = compile_clock();
    const char *error = NULL;
    SourceFile *source = source_read(c->arena, c->o->files[0], &error);
    if (!source) {
        options_fail(SALUN_BAD_INPUT, "%s: %s", c->o->files[0], error);
        return fail(c, SALUN_BAD_INPUT);
    }
    c->tree = syntax_parse(c->arena, source, c->diag);
    compile_report(c, "parse", start);
    return diag_errors(c->diag) == 0 || fail(c, SALUN_FAIL);
}

/* A network asked for by a name that the file does not declare is a mistake of the command, not of the file. */
static bool is_declared(const Compilation *c) {
    if (!c->o->build.network)
        return true;
    for (int i = 0; i < c->tree->declarations.count; i++) {
        const AstNode *d = c->tree->declarations.items[i];
        if ((d->kind == DECL_NETWORK && !strcmp(d->block.name.text, c->o->build.network)) ||
            (d->kind == DECL_VARIANT && !strcmp(d->variant.name.text, c->o->build.network)) || d->kind == DECL_USE)
            return true;
    }
    return false;
}

bool compile_build(Compilation *c, bool training) {
    if (!c->tree && !compile_parse(c))
        return false;
    double start = compile_clock();
    BuildOptions build = c->o->build;
    build.training = training;
    c->program = build_program(c->arena, c->tree, &build, c->diag);
    compile_report(c, "elaborate", start);
    if (c->program && !diag_errors(c->diag))
        return true;
    return fail(c, is_declared(c) ? SALUN_FAIL : SALUN_BAD_INPUT);
}

bool compile_passes(Compilation *c, bool training) {
    if (!compile_build(c, training))
        return false;
    double start = compile_clock();
    c->program->int8 = c->o->int8;
    passes_run(c->program, &c->o->pass);
    compile_report(c, "passes", start);
    return true;
}

bool compile_module(Compilation *c, bool training) {
    if (!compile_passes(c, training))
        return false;
    double start = compile_clock();
    LowerOptions lower = { .target = c->o->target, .math = c->o->math, .blas = c->o->blas, .conv = c->o->conv };
    c->module = module_lower(c->arena, c->program, &lower);
    compile_report(c, "lower", start);
    return true;
}

int compilation_end(Compilation *c) {
    int errors = diag_errors(c->diag);
    if (errors > 1)
        fprintf(stderr, "%d errors\n", errors);
    return c->code;
}

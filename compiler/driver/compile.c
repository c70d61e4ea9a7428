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

/* Once: what was asked for and could not be, for want of a range. */
static void note_precision(const Compilation *c) {
    const Program *p = c->program;
    int left = 0;
    const LayerPrecision *first = NULL;
    for (int i = 0; i < p->precision_count; i++) {
        if (p->precision[i].lower || !p->precision[i].by_range)
            continue;
        first = first ? first : &p->precision[i];
        left++;
    }
    if (left && c->diag->out)
        fprintf(stderr, "note: --precision=int8: %d of %d convolutions stay in float32 for want of a range; %s: %s. --calibrate DATA finds ranges, "
                "`salunc explain` lists all\n", left, p->precision_count, first->tap[0] ? first->tap : "the first", first->why);
}

static bool run_passes(Compilation *c, bool training) {
    if (!compile_build(c, training))
        return false;
    double start = compile_clock();
    c->program->int8 = c->o->int8;
    c->program->half = c->o->half ? c->o->target->width : 0;
    c->program->recompute = c->recompute;
    int code = 0;
    if (c->o->calibrate)
        code = calibrate_passes(c);
    else
        passes_run(c->program, &c->o->pass);
    compile_report(c, "passes", start);
    if (!code)
        note_precision(c);
    return !code || fail(c, code);
}

static bool lower(Compilation *c, bool training) {
    if (!run_passes(c, training))
        return false;
    double start = compile_clock();
    LowerOptions options = { .target = c->o->target, .math = c->o->math, .blas = c->o->blas, .conv = c->o->conv, .storage = c->o->storage, .piece = c->o->piece };
    options.tuning = c->tuning ? tuning_section(c->tuning, c->o->target->name, c->o->math) : NULL;
    c->module = module_lower(c->arena, c->program, &options);
    compile_report(c, "lower", start);
    return true;
}

/* --memory: the least effort to save memory by which the module fits, and that module. */
static bool lower_within(Compilation *c, int64_t limit) {
    int64_t least = INT64_MAX;
    for (c->recompute = 0; c->recompute < recompute_efforts(); c->recompute++) {
        if (!lower(c, true))
            return false;
        if (c->module->block_bytes <= limit)
            return true;
        least = c->module->block_bytes < least ? c->module->block_bytes : least;
    }
    options_fail(SALUN_FAIL, "%s: %lld bytes are not enough for the values of a training step with %lld image%s; the least is %lld",
                 c->o->files[0], (long long)limit, (long long)c->program->batch, c->program->batch == 1 ? "" : "s", (long long)least);
    return fail(c, SALUN_FAIL);
}

static bool lower_bounded(Compilation *c, bool training) {
    return training && c->o->memory ? lower_within(c, c->o->memory) : lower(c, training);
}

bool compile_passes(Compilation *c, bool training) {
    if (training && c->o->memory && !compile_module(c, training))
        return false;
    return run_passes(c, training);
}

bool compile_module(Compilation *c, bool training) {
    bool timed = false;
    if (!c->o->tune)
        return lower_bounded(c, training);
    if (!tune_open(c) || !lower_bounded(c, training))
        return false;
    int code = tune_complete(c, training, &timed);
    if (code)
        return fail(c, code);
    return !timed || lower_bounded(c, training);
}

int compilation_end(Compilation *c) {
    int errors = diag_errors(c->diag);
    if (errors > 1)
        fprintf(stderr, "%d errors\n", errors);
    return c->code;
}

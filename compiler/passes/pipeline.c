/* pipeline.c - the passes in order, as data; verifying, dumping, timing and bisecting are written once. */
#include "passes/passes.h"

#include <string.h>
#include <time.h>

typedef struct {
    const char *name;
    void (*program)(Program *p);      /* one of the two: over the program, */
    void (*graph)(Graph *g);          /* or over each of its graphs */
    int level;
    const char *effect;
} Pass;

static const Pass pipeline[] = {
    /* name        program         graph       from -O  effect, as --list-passes prints it */
    { "tables",    pass_tables,    NULL,       0,       "give every parameter and state its place, those trained alike together" },
    { "narrow",    NULL,           graph_narrow, 1,     "compute what is sliced for the slice alone" },
    { "autodiff",  pass_autodiff,  NULL,       0,       "extend the step graph with gradients" },
    { "subsample", NULL,           graph_subsample, 1, "strided convolutions of single pixels and their weight gradients read a copy of these" },
    { "optimizer", pass_optimizer, NULL,       0,       "build the update graph from the recipe" },
    { "train",     pass_train,     NULL,       1,       "step and update in one, where no gradient is needed for itself" },
    { "fold",      NULL,           graph_fold, 1,       "simplify expressions and evaluate nodes of constant inputs" },
    { "cse",       NULL,           graph_cse,  1,       "merge equal computations" },
    { "quantize",  pass_quantize,  NULL,       0,       "--precision=int8, f16: convolutions of bounded values by whole numbers, or in float16" },
    { "dce",       NULL,           graph_dce,  0,       "drop what no output and no effect needs" },
    { "recompute", pass_recompute, NULL,       1,       "compute again in the backward pass what is cheaper than keeping it" },
};

static void each_graph(Program *p, void (*visit)(Graph *g)) {
    Graph *all[] = { p->infer, p->step, p->update, p->train, p->finish };
    for (int i = 0; i < COUNT(all); i++)
        if (all[i])
            visit(all[i]);
}

static bool dumped(const PassOptions *o, const char *name) {
    for (int i = 0; i < o->dump_count; i++)
        if (!strcmp(o->dump[i], name) || !strcmp(o->dump[i], "all"))
            return true;
    return false;
}

static void report(const Program *p, const PassOptions *o, const char *name, double milliseconds) {
    FILE *out = o->out ? o->out : stderr;
    const Graph *all[] = { p->infer, p->step, p->update, p->train, p->finish };
    Arena *scratch = arena_new(0);
    for (int i = 0; i < COUNT(all); i++) {
        if (!all[i])
            continue;
        if (o->verify)
            graph_verify(all[i], name);
        if (o->time)
            fprintf(out, "%-10s %-6s %6d nodes %8.2f ms\n", name, all[i]->name, graph_count(all[i]), milliseconds);
        if (dumped(o, name)) {
            Writer *w = writer_new(scratch);
            graph_print(w, all[i]);
            fprintf(out, "# %s after %s\n%s", all[i]->name, name, w->data);
        }
    }
    arena_destroy(scratch);
}

static double milliseconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void passes_run(Program *p, const PassOptions *o) {
    for (int i = 0; i < COUNT(pipeline); i++) {
        const Pass *pass = &pipeline[i];
        if (pass->level > 0 && (o->level < pass->level || (o->limit >= 0 && i >= o->limit)))
            continue;
        double start = milliseconds_now();
        if (pass->program)
            pass->program(p);
        else
            each_graph(p, pass->graph);
        report(p, o, pass->name, milliseconds_now() - start);
    }
}

void passes_list(FILE *out) {
    fprintf(out, "   name        -O  effect\n");
    for (int i = 0; i < COUNT(pipeline); i++)
        fprintf(out, "%2d %-10s  %2d  %s\n", i + 1, pipeline[i].name, pipeline[i].level, pipeline[i].effect);
}

bool passes_known(const char *name) {
    for (int i = 0; i < COUNT(pipeline); i++)
        if (!strcmp(pipeline[i].name, name))
            return true;
    return !strcmp(name, "all");
}

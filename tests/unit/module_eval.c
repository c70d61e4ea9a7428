/* module_eval.c - see module_eval.h. */
#include "module_eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_space(ModuleEval *e, Arena *a, int space, int64_t bytes) {
    e->bytes[space] = bytes;
    e->space[space] = arena_alloc(a, (size_t)bytes + 64);
}

static void poison(ModuleEval *e, int space) {
    for (int64_t i = 0; i < e->bytes[space] / 4; i++)
        e->space[space][i] = NAN;
}

ModuleEval *module_eval_new(Arena *a, const Module *m) {
    ModuleEval *e = NEW(a, ModuleEval);
    e->module = m;
    for (int t = 0; t < TABLE_COUNT; t++)
        set_space(e, a, t, m->program->table_size[t] * 4);
    set_space(e, a, SPACE_PREPARED, m->prepared_bytes);
    set_space(e, a, SPACE_BLOCK, m->block_bytes);
    set_space(e, a, SPACE_CONSTANTS, m->constants_bytes);
    poison(e, SPACE_PREPARED);
    poison(e, SPACE_BLOCK);
    const Graph *g = m->program->step ? m->program->step : m->program->infer;
    for (int i = 0; i < g->input_count; i++)
        set_space(e, a, SPACE_INPUT + i, shape_count(&g->inputs[i].node->shape) * 4);
    for (int i = 0; i < g->output_count; i++) {     /* step has the loss before infer's outputs: room for either */
        int64_t bytes = shape_count(&g->outputs[i].node->shape) * 4;
        if (i < m->program->infer->output_count && 4 * shape_count(&m->program->infer->outputs[i].node->shape) > bytes)
            bytes = 4 * shape_count(&m->program->infer->outputs[i].node->shape);
        set_space(e, a, SPACE_OUTPUT + i, bytes);
        poison(e, SPACE_OUTPUT + i);
    }
    return e;
}

/* Bytes of an element of argument i. */
static int64_t element_bytes(const Kernel *k, int i) {
    const Buffer *b = k->buffers;
    while (b->kind != BUFFER_ARG || i-- > 0)
        b++;
    return store_bytes(b->store);
}

static void run_call(ModuleEval *e, const Call *c) {
    Arena *a = arena_new(0);
    Writer *why = writer_new(a);
    EvalBuffer args[64];
    for (int i = 0; i < c->arg_count; i++) {
        const MemPlace *p = &c->args[i];
        args[i] = (EvalBuffer){(char *)e->space[p->space] + p->offset, (e->bytes[p->space] - p->offset) / element_bytes(c->kernel, i)};
    }
    int64_t tasks = c->unit ? c->tasks * ((e->run.n + c->unit - 1) / c->unit) : c->tasks;
    for (int64_t t = 0; t < tasks; t++)
        if (!kernel_eval(c->kernel, args, &e->run, t, why)) {
            kernel_print(why, c->kernel);
            fprintf(stderr, "%s task %lld: %s\n", c->kernel->name, (long long)t, why->data);
            abort();
        }
    arena_destroy(a);
}

void module_eval_run(ModuleEval *e, EntryId entry, int64_t n) {
    e->run.n = n;
    for (int i = 0; i < e->module->entry[entry].count; i++)
        run_call(e, &e->module->entry[entry].calls[i]);
}

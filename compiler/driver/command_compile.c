/* command_compile.c - salunc NET.snet -o OUTPUT: what the output is called decides what it is; --emit stops at a form. */
#include "compile.h"
#include "kernel/group.h"

#include <string.h>

/* ---- forms ---- */

static void print_graphs(Writer *w, const Program *p, void (*print)(Writer *, const Graph *)) {
    const Graph *all[] = { p->infer, p->step, p->update, p->train, p->finish };
    for (int i = 0; i < COUNT(all); i++)
        if (all[i])
            print(w, all[i]);
}

static void print_groups(Writer *w, const Module *m) {
    for (int i = 0; i < ENTRY_COUNT; i++)
        if (m->grouping[i])
            grouping_print(w, m->grouping[i]);
}

/* The text of a back end. */
static int print_program(Writer *w, const Compilation *c, const char *backend) {
    const Backend *b = backend_find(backend);
    EmitOptions e = { .header = arena_printf(c->arena, "%s.h", emit_prefix(c->module)), .triple = c->o->triple, .cpu = c->o->cpu };
    const char *error = NULL;
    return b->emit(w, c->module, &e, &error) ? 0 : options_fail(SALUN_FAIL, "%s", error);
}

typedef struct {
    const char *name;
    bool (*stage)(Compilation *c, bool training);      /* NULL: the tree alone */
} Form;
static const Form forms[] = {
    { "tree", NULL }, { "graph", compile_passes }, { "dot", compile_passes }, { "groups", compile_module },
    { "kernels", compile_module }, { "plan", compile_module }, { "c", compile_module }, { "llvm", compile_module },
};

static int emit_form(Compilation *c) {
    const Form *f = forms;
    if (!strcmp(c->o->emit, "llvm") && !backend_find("llvm"))
        return options_fail(SALUN_BAD_INPUT, "--emit=llvm: this salunc was built without LLVM");
    while (strcmp(f->name, c->o->emit))
        f++;
    if (f->stage ? !f->stage(c, c->o->train) : !compile_parse(c))
        return compilation_end(c);
    Writer *w = writer_new(c->arena);
    int code = 0;
    switch (f - forms) {
    case 0: ast_print(w, c->tree); break;
    case 1: print_graphs(w, c->program, graph_print); break;
    case 2: print_graphs(w, c->program, graph_dot); break;
    case 3: print_groups(w, c->module); break;
    case 4: module_print(w, c->module); break;
    case 5: module_print_plan(w, c->module); break;
    default: code = print_program(w, c, f->name); break;
    }
    return code ? code : output_write(c->o->output, w->data, w->length);
}

int command_compile(Options *o) {
    Compilation c = compilation_new(o);
    if (o->emit)
        return emit_form(&c);
    if (!o->output)
        return options_fail(SALUN_BAD_INPUT, "nothing to write: -o FILE names the output, `salunc check` only checks");
    if (!files_backend(o, o->output))
        return SALUN_BAD_INPUT;
    if (!compile_module(&c, o->train))
        return compilation_end(&c);
    return files_write(&c);
}

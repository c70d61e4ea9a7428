/* command_compile.c - salunc NET.snet -o OUTPUT: what the output is called decides what it is; --emit stops at a form. */
#include "backend/backend.h"
#include "compile.h"
#include "kernel/group.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- forms ---- */

static void print_graphs(Writer *w, const Program *p, void (*print)(Writer *, const Graph *)) {
    const Graph *all[] = { p->infer, p->step, p->update };
    for (int i = 0; i < COUNT(all); i++)
        if (all[i])
            print(w, all[i]);
}

static void print_groups(Writer *w, const Module *m) {
    for (int i = 0; i < ENTRY_COUNT; i++)
        if (m->grouping[i])
            grouping_print(w, m->grouping[i]);
}

static void print_c(Writer *w, const Compilation *c) {
    EmitOptions e = { .header = arena_printf(c->arena, "%s.h", emit_prefix(c->module)), .embed = NULL };
    backend_c.emit(w, c->module, &e);
}

typedef struct {
    const char *name;
    bool (*stage)(Compilation *c, bool training);      /* NULL: the tree alone */
} Form;
static const Form forms[] = {
    { "tree", NULL }, { "graph", compile_passes }, { "dot", compile_passes }, { "groups", compile_module },
    { "kernels", compile_module }, { "plan", compile_module }, { "c", compile_module },
};

static int emit_form(Compilation *c) {
    const Form *f = forms;
    while (strcmp(f->name, c->o->emit))
        f++;
    if (f->stage ? !f->stage(c, c->o->train) : !compile_parse(c))
        return compilation_end(c);
    Writer *w = writer_new(c->arena);
    switch (f - forms) {
    case 0: ast_print(w, c->tree); break;
    case 1: print_graphs(w, c->program, graph_print); break;
    case 2: print_graphs(w, c->program, graph_dot); break;
    case 3: print_groups(w, c->module); break;
    case 4: module_print(w, c->module); break;
    case 5: module_print_plan(w, c->module); break;
    default: print_c(w, c); break;
    }
    return output_write(c->o->output, w->data, w->length);
}

/* ---- files ---- */

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), k = strlen(tail);
    return n > k && !strcmp(text + n - k, tail);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* x.c -> x.h */
static char *header_path(Arena *a, const char *output) {
    char *path = arena_strdup(a, output);
    path[strlen(path) - 1] = 'h';
    return path;
}

/* The assembler reads the weights later and from elsewhere: an absolute path of a file that is there. */
static int embedded_path(const Options *o, const char **path) {
    *path = NULL;
    if (!o->embed)
        return 0;
    char *absolute = realpath(o->embed, NULL);
    if (!absolute)
        return options_fail(SALUN_BAD_INPUT, "--embed-weights %s: %s", o->embed, strerror(errno));
    *path = arena_strdup(o->arena, absolute);
    free(absolute);
    return access(*path, R_OK) ? options_fail(SALUN_BAD_INPUT, "--embed-weights %s: %s", o->embed, strerror(errno)) : 0;
}

static int write_c(Compilation *c, EmitOptions *e) {
    Writer *text = writer_new(c->arena), *header = writer_new(c->arena);
    char *path = header_path(c->arena, c->o->output);
    e->header = base_name(path);
    e->main = c->o->train;
    emit_header(header, c->module);
    backend_c.emit(text, c->module, e);
    return output_write_pair(c->o->output, text, path, header);
}

static int write_object(Compilation *c, EmitOptions *e) {
    Writer *text = writer_new(c->arena), *header = writer_new(c->arena);
    emit_header(header, c->module);
    backend_c.emit(text, c->module, e);
    int code = toolchain_build(c->arena, text, c->o->output, BUILD_OBJECT, c->o->blas);
    return code ? code : output_write(header_path(c->arena, c->o->output), header->data, header->length);
}

static int write_output(Compilation *c) {
    const Options *o = c->o;
    EmitOptions e = { .command = o->line };
    int code = embedded_path(o, &e.embed);
    if (code)
        return code;
    if (ends_with(o->output, ".c"))
        return write_c(c, &e);
    Writer *text = writer_new(c->arena);
    if (ends_with(o->output, ".h")) {
        emit_header(text, c->module);
        return output_write(o->output, text->data, text->length);
    }
    if (ends_with(o->output, ".o")) {
        e.api = true;
        return write_object(c, &e);
    }
    e.main = true;
    backend_c.emit(text, c->module, &e);
    return toolchain_build(c->arena, text, o->output, o->train ? BUILD_TRAINING : BUILD_INFERENCE, o->blas);
}

int command_compile(Options *o) {
    Compilation c = compilation_new(o);
    if (o->emit)
        return emit_form(&c);
    if (!o->output)
        return options_fail(SALUN_BAD_INPUT, "nothing to write: -o FILE names the output, `salunc check` only checks");
    if (!compile_module(&c, o->train))
        return compilation_end(&c);
    return write_output(&c);
}

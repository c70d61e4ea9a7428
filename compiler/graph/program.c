/* program.c - a network's table of parameters and states, found by name. */
#include "graph/graph.h"

Program *program_new(Arena *arena, const char *name) {
    Program *p = NEW(arena, Program);
    p->arena = arena;
    p->exprs = expr_pool_new(arena);
    p->name = name;
    p->batch = 1;
    return p;
}

TensorDecl *program_add_tensor(Program *p, const char *name, Shape shape, int channel, bool is_state) {
    TensorDecl *t = NEW(p->arena, TensorDecl);
    *t = (TensorDecl){ .name = name, .shape = shape, .channel = channel, .is_state = is_state,
                       .group = { .lr_scale = 1 }, .index = p->tensor_count, .offset = -1, .raw_offset = -1 };
    ARENA_PUSH(p->arena, p->tensors, p->tensor_count, p->tensor_cap, t);
    return t;
}

TensorDecl *program_tensor(Program *p, const char *name) {
    if (!p->names)
        p->names = table_new(p->arena);
    for (; p->named < p->tensor_count; p->named++) {
        TensorDecl *t = p->tensors[p->named];
        if (!table_has(p->names, t->name))
            table_set(p->names, t->name, t);
    }
    return table_get(p->names, name);
}

/* tables.c - where every parameter and state lies.
 * Parameters of equal group and constraint lie together, so that the update is one loop over each run;
 * constrained ones in addition by size, so that the padding between them can be told by its coordinate. Each
 * starts at a multiple of 16 floats. Within a run the order of the tensor table stays; runs come in order of
 * their first parameter. GRADS and SLOTS are laid out like PARAMS. */
#include "passes/passes.h"

enum { ALIGNMENT = 16 };

static int64_t padded(int64_t floats) {
    return (floats + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool constrained(const TensorDecl *t) {
    return t->constraint.kind != CONSTRAINT_NONE;
}

static bool same_run(const TensorDecl *a, const TensorDecl *b) {
    const Constraint *c = &a->constraint, *d = &b->constraint;
    if (a->group.frozen != b->group.frozen || c->kind != d->kind)
        return false;
    if (!a->group.frozen && (a->group.lr_scale != b->group.lr_scale || a->group.weight_decay != b->group.weight_decay))
        return false;
    return !constrained(a) || (c->lo == d->lo && c->hi == d->hi && shape_count(&a->shape) == shape_count(&b->shape));
}

/* Chains of parameters that go into one run: first of each chain, and the next after each tensor, by index. */
typedef struct { int *first, *next; int count; } Chains;

static Chains find_chains(Arena *arena, const Program *p) {
    Chains c = { NEW_ARRAY(arena, int, p->tensor_count), NEW_ARRAY(arena, int, p->tensor_count), 0 };
    int *last = NEW_ARRAY(arena, int, p->tensor_count);
    for (int i = 0; i < p->tensor_count; i++) {
        int run = 0;
        c.next[i] = -1;
        if (p->tensors[i]->is_state)
            continue;
        while (run < c.count && !same_run(p->tensors[c.first[run]], p->tensors[i]))
            run++;
        if (run == c.count)
            c.first[c.count++] = i;
        else
            c.next[last[run]] = i;
        last[run] = i;
    }
    return c;
}

static void place_parameters(Program *p) {
    Arena *scratch = arena_new(0);
    Chains c = find_chains(scratch, p);
    int64_t offset = 0, raw = 0;
    for (int run = 0; run < c.count; run++) {
        for (int i = c.first[run]; i >= 0; i = c.next[i]) {
            TensorDecl *t = p->tensors[i];
            int64_t size = padded(shape_count(&t->shape));
            t->offset = offset;
            t->raw_offset = constrained(t) ? raw : -1;
            offset += size;
            raw += constrained(t) ? size : 0;
        }
    }
    p->table_size[TABLE_PARAMS] = offset;
    p->table_size[TABLE_RAW] = raw;
    p->table_size[TABLE_GRADS] = p->step ? offset : 0;
    p->table_size[TABLE_SLOTS] = p->step && p->recipe.momentum != 0 ? offset : 0;
    arena_destroy(scratch);
}

void pass_tables(Program *p) {
    int64_t states = 0;
    for (int i = 0; i < p->tensor_count; i++) {
        TensorDecl *t = p->tensors[i];
        if (t->is_state) {
            t->offset = states;
            t->raw_offset = -1;
            states += padded(shape_count(&t->shape));
        }
    }
    p->table_size[TABLE_STATES] = states;
    place_parameters(p);
}

int64_t param_stride(const TensorDecl *t) { return padded(shape_count(&t->shape)); }

ParamRun param_run(const TensorDecl *t) {
    int64_t count = shape_count(&t->shape);
    return (ParamRun){ .offset = t->offset, .raw_offset = t->raw_offset, .count = count, .used = count, .stride = count, .group = t->group,
                       .constraint = t->constraint };
}

ParamRun *param_runs(Program *p, int *count) {
    Arena *scratch = arena_new(0);
    Chains c = find_chains(scratch, p);
    ParamRun *runs = NEW_ARRAY(p->arena, ParamRun, c.count);
    *count = 0;
    for (int run = 0; run < c.count; run++) {
        const TensorDecl *t = p->tensors[c.first[run]];
        if (t->group.frozen)
            continue;
        ParamRun *r = &runs[(*count)++];
        *r = (ParamRun){ .offset = t->offset, .raw_offset = t->raw_offset, .group = t->group, .constraint = t->constraint };
        r->used = shape_count(&t->shape);
        r->stride = padded(r->used);
        for (int i = c.first[run]; i >= 0; i = c.next[i])
            r->count += padded(shape_count(&p->tensors[i]->shape));
    }
    arena_destroy(scratch);
    return runs;
}

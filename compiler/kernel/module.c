/* module.c - from a program's graphs to a module: groups by their schedules, places, entries.
 * needs: passes run, tables laid out     result: all that a back end reads */
#include "kernel/lower.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

const char *const entry_text[ENTRY_COUNT] = {"prepare", "infer", "step", "update", "train", "finish"};

/* ---- what schedules call ---- */

int lower_temp(Lower *l, int64_t bytes, bool prepared, const char *what) {
    Temp t = {.bytes = bytes, .prepared = prepared && l->entry == ENTRY_INFER, .what = what};
    ARENA_PUSH(l->arena, l->temps, l->temp_count, l->temp_cap, t);
    return l->temp_count - 1;
}

Store lower_storage(const Lower *l, bool prepared) {
    return prepared && l->entry == ENTRY_INFER ? l->module->storage : STORE_WHOLE;
}

PlannedCall *lower_call(Lower *l, Kernel *k, bool prepare) {
    PlannedCall *c = NEW(l->arena, PlannedCall);
    *c = (PlannedCall){.kernel = k, .out = -1, .prepare = prepare && l->entry == ENTRY_INFER};
    ARENA_PUSH(l->arena, l->calls, l->call_count, l->call_cap, c);
    return c;
}

static void add_arg(PlannedCall *c, ArgRef a) {
    ARENA_PUSH(c->kernel->arena, c->args, c->arg_count, c->arg_cap, a);
}

void call_arg_value(PlannedCall *c, Node *value) { add_arg(c, (ArgRef){.value = value}); }
void call_arg_temp(PlannedCall *c, int temp) { add_arg(c, (ArgRef){.temp = temp}); }

void call_copies(PlannedCall *c, const Group *g, Node *y) {
    call_arg_value(c, y);
    c->group = g;
    c->unit = y->shape.batched ? 1 : 0;
    c->tasks = 1;
    c->flops = (double)shape_count(&y->shape) / (double)(c->unit ? y->shape.dim[0] : 1);
    c->tap = y;
    c->out = c->arg_count - 1;
}

Index task_split(Kernel *k, bool batched, int64_t per_image, Index *image) {
    *image = index_const(0);
    if (!batched)
        return index_var(VAR_TASK);
    *image = index_var(VAR_TASK);
    if (per_image == 1)
        return index_const(0);
    *image = index_var(kb_index(k, "image", INDEX_DIV, index_var(VAR_TASK), index_const(per_image)));
    return index_var(kb_index(k, "part", INDEX_MOD, index_var(VAR_TASK), index_const(per_image)));
}

/* ---- names for readers ---- */

static Node *last_member(const Group *g) {
    if (g->map_count)
        return g->maps[g->map_count - 1];
    return g->anchor ? g->anchor : g->sums[0];
}

static Node *first_member(const Group *g) {
    if (g->anchor)
        return g->anchor;
    return g->map_count ? g->maps[0] : g->sums[0];
}

static char *identifier(Arena *a, const char *tap, const char *suffix) {
    char *s = arena_printf(a, "%s%s", tap[0] ? tap : "main", suffix);
    for (char *c = s; *c; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
    return isdigit((unsigned char)s[0]) ? arena_printf(a, "k%s", s) : s;
}

typedef struct { Writer *w; const char *seen[6]; int count; } TapList;

static void list_tap(TapList *t, const char *tap) {
    if (!tap[0] || t->count == COUNT(t->seen))
        return;
    for (int i = 0; i < t->count; i++)
        if (strcmp(t->seen[i], tap) == 0)
            return;
    t->seen[t->count++] = tap;
    writer_printf(t->w, "%s%s", t->count > 1 ? " + " : "", tap);
}

static const char *group_title(Arena *a, const Group *g) {
    TapList t = {.w = writer_new(a)};
    if (g->anchor)
        list_tap(&t, g->anchor->tap);
    for (int i = 0; i < g->map_count; i++)
        list_tap(&t, g->maps[i]->tap);
    for (int i = 0; i < g->sum_count; i++)
        list_tap(&t, g->sums[i]->tap);
    const Node *y = last_member(g);
    writer_printf(t.w, "%s%s", t.count ? ": " : "", shape_text(a, y->type, &y->shape));
    return t.w->data;
}

Kernel *lower_kernel(Lower *l, const Group *g, const char *suffix) {
    Node *n = first_member(g);
    Kernel *k = kernel_new(l->arena, l->target, l->math, identifier(l->arena, n->tap, suffix), n->span);
    k->title = group_title(l->arena, g);
    return k;
}

/* ---- lowering a graph ---- */

typedef struct { OpId op; void (*lower)(Lower *, const Group *); } Schedule;
static const Schedule schedules[] = {
    {OP_CONV, lower_conv}, {OP_CONV_INPUT, lower_conv}, {OP_CONV_WEIGHT, lower_conv_weight}, {OP_CONV_INT8, lower_conv_int8}, {OP_CONV_HALF, lower_conv_half},
    {OP_MAXPOOL, lower_pool}, {OP_MAXPOOL_INPUT, lower_pool}, {OP_AVGPOOL, lower_pool}, {OP_AVGPOOL_INPUT, lower_pool},
    {OP_SUM, lower_reduce}, {OP_MAXIMUM, lower_reduce}, {OP_RESHAPE, lower_move}, {OP_TRANSPOSE, lower_move},
    {OP_ATTENTION, lower_attention}, {OP_ATTENTION_Q, lower_attention_gradients}, {OP_ATTENTION_K, lower_attention_gradients},
    {OP_ATTENTION_V, lower_attention_gradients},
    {OP_SLICE, lower_part}, {OP_PAD, lower_part}, {OP_CONCAT, lower_part},
    {OP_RANDOM, lower_random},
};

static void lower_group(Lower *l, const Group *g) {
    if (!g->anchor) {
        lower_map(l, g);
        return;
    }
    if (l->module->blas && is_linear(g->anchor)) {
        lower_product(l, g);
        return;
    }
    for (int i = 0; i < COUNT(schedules); i++)
        if (schedules[i].op == g->anchor->op) {
            schedules[i].lower(l, g);
            return;
        }
    assert(!"an operator without a schedule");
}

/* ---- kernels, each once, under names of their own ---- */

static bool name_taken(const Module *m, const char *name) {
    for (int i = 0; i < m->kernel_count; i++)
        if (strcmp(m->kernels[i]->name, name) == 0)
            return true;
    return false;
}

static Kernel *share_kernel(Module *m, Kernel *k) {
    for (int i = 0; i < m->kernel_count; i++)
        if (m->kernels[i]->hash == k->hash && kernel_equal(m->kernels[i], k))
            return m->kernels[i];
    const char *base = k->name;
    for (int i = 2; name_taken(m, k->name); i++)
        k->name = arena_printf(m->arena, "%s_%d", base, i);
    if (k->scratch > m->scratch_bytes)
        m->scratch_bytes = k->scratch;
    ARENA_PUSH(m->arena, m->kernels, m->kernel_count, m->kernel_cap, k);
    return k;
}

/* ---- entries ---- */

static MemPlace arg_place(const Lower *l, const ArgRef *a) {
    if (!a->value)
        return l->temps[a->temp].place;
    Node *n = a->value;
    while (value_info(n)->alias)
        n = value_info(n)->alias;
    assert(value_info(n)->placed);
    return (MemPlace){value_info(n)->space, value_info(n)->offset};
}

static void describe_value(const Lower *l, const PlannedCall *p, Call *c) {
    c->tap = p->tap && p->tap->tap[0] ? p->tap->tap : NULL;
    c->out = p->tap && p->tap->type == TYPE_F32 ? p->out : -1;
    if (c->out < 0)
        return;
    const Node *n = p->args[p->out].value;
    assert(n && "a tap's value is no temporary");
    c->out_per_image = n->shape.batched;
    c->out_count = value_floats(n, l->target->width) / (n->shape.batched ? n->shape.dim[0] : 1);
}

static void finish_call(Lower *l, const PlannedCall *p) {
    Module *m = l->module;
    Call c = {.kernel = share_kernel(m, p->kernel), .group = p->group, .arg_count = p->arg_count, .tasks = p->tasks, .unit = p->unit, .flops = p->flops};
    c.title = p->group ? group_title(l->arena, p->group) : p->kernel->title;
    c.args = NEW_ARRAY(l->arena, MemPlace, p->arg_count + 1);
    for (int i = 0; i < p->arg_count; i++)
        c.args[i] = arg_place(l, &p->args[i]);
    describe_value(l, p, &c);
    Entry *e = &m->entry[p->prepare ? ENTRY_PREPARE : l->entry];
    ARENA_PUSH(m->arena, e->calls, e->count, e->cap, c);
}

static void lower_entry(Module *m, EntryId entry, Graph *g) {
    if (!g)
        return;
    Lower l = {.arena = m->arena, .module = m, .target = m->target, .math = m->math, .entry = entry};
    l.grouping = pass_fuse(m->arena, g, m->target, m->blas);
    if (entry == ENTRY_INFER) {
        m->piece = piece_choose(&l, g, m->program->batch);
        if (m->piece < m->program->batch) {
            piece_cut(g, m->piece);
            l.grouping = pass_fuse(m->arena, g, m->target, m->blas);
        }
    }
    m->grouping[entry] = l.grouping;
    grouping_verify(l.grouping);
    for (int i = 0; i < l.grouping->count; i++)
        lower_group(&l, l.grouping->groups[i]);
    lower_plan(&l);
    for (int i = 0; i < l.call_count; i++)
        finish_call(&l, l.calls[i]);
}

int64_t module_images(const Module *m, EntryId entry) {
    return entry == ENTRY_INFER ? m->piece : m->program->batch;
}

/* What the bytes that prepare writes depend on besides the weights' values: the kernels with their places, the constants, where
 * parameters lie, and the processor's way with numbers. */
static uint64_t hash_prepared(const Module *m) {
    const Program *p = m->program;
    const Entry *e = &m->entry[ENTRY_PREPARE];
    Writer *w = writer_new(m->arena);
    writer_printf(w, "%s %d %" PRId64 "\n", m->target->name, (int)m->math, m->prepared_bytes);
    for (int i = 0; i < p->tensor_count; i++) {
        const TensorDecl *t = p->tensors[i];
        writer_printf(w, "%s %d %" PRId64 " %" PRId64 "\n", t->name, t->is_state, t->offset, shape_count(&t->shape));
    }
    for (int i = 0; i < e->count; i++) {
        const Call *c = &e->calls[i];
        writer_printf(w, "%016" PRIx64 " %" PRId64 " %" PRId64, c->kernel->hash, c->tasks, c->unit);
        for (int k = 0; k < c->arg_count; k++)
            writer_printf(w, " %d+%" PRId64, c->args[k].space, c->args[k].offset);
        writer_char(w, '\n');
    }
    return table_hash(w->data, w->length) ^ (m->constants_bytes ? table_hash(m->constants, (size_t)m->constants_bytes) : 0);
}

static void print_tensors(Writer *w, const Program *p) {
    for (int i = 0; i < p->tensor_count; i++) {
        const TensorDecl *t = p->tensors[i];
        writer_printf(w, "%s %d %" PRId64 " %" PRId64 " %" PRId64, t->name, t->is_state, t->offset, t->raw_offset, shape_count(&t->shape));
        writer_printf(w, " %d %.17g %.17g %d %.17g %.17g\n", (int)t->init.kind, t->init.a, t->init.b, (int)t->constraint.kind, t->constraint.lo,
                      t->constraint.hi);
    }
}

/* What the runtime does by tables: how images become the input, augmentations, the schedule. */
static void print_tables(Writer *w, const Program *p) {
    for (int i = 0; i < p->pre_count; i++) {
        const PreStep *s = &p->pre[i];
        writer_printf(w, "%d %" PRId64, (int)s->kind, s->size);
        for (int c = 0; c < s->channels; c++)
            writer_printf(w, " %.17g %.17g", s->mean[c], s->std[c]);
        writer_char(w, '\n');
    }
    for (int i = 0; i < p->recipe.augment_count; i++)
        writer_printf(w, "%d %.17g\n", (int)p->recipe.augment[i].kind, p->recipe.augment[i].value);
    for (int i = 0; i < p->recipe.schedule_count; i++) {
        const SchedPart *s = &p->recipe.schedule[i];
        writer_printf(w, "%d %.17g %.17g %.17g", (int)s->kind, s->epochs, s->to, s->gamma);
        for (int k = 0; k < s->at_count; k++)
            writer_printf(w, " %.17g", s->at[k]);
        writer_char(w, '\n');
    }
}

/* Of all that decides what a program computes and how it trains, but for what may be given to it as an option. */
static uint64_t hash_module(const Module *m) {
    Writer *w = writer_new(m->arena);
    module_print(w, m);
    print_tensors(w, m->program);
    print_tables(w, m->program);
    return table_hash(w->data, w->length) ^ (m->constants_bytes ? table_hash(m->constants, (size_t)m->constants_bytes) : 0);
}

Module *module_lower(Arena *arena, Program *p, const LowerOptions *o) {
    Module *m = NEW(arena, Module);
    *m = (Module){.arena = arena, .program = p, .target = o->target, .math = o->math, .blas = o->blas, .conv = o->conv, .tuning = o->tuning,
                  .storage = o->storage, .piece = o->piece, .apart = o->apart};
    for (int i = 0; i < ENTRY_COUNT; i++)
        m->entry[i].name = entry_text[i];
    m->slot_count = p->table_size[TABLE_PARAMS] ? (int)(p->table_size[TABLE_SLOTS] / p->table_size[TABLE_PARAMS]) : 0;
    lower_entry(m, ENTRY_INFER, p->infer);
    m->piece = p->infer ? m->piece : p->batch;
    lower_entry(m, ENTRY_STEP, p->step);
    lower_entry(m, ENTRY_UPDATE, p->update);
    lower_entry(m, ENTRY_TRAIN, p->train);
    lower_entry(m, ENTRY_FINISH, p->finish);
    m->hash = hash_module(m);
    m->prepared_hash = hash_prepared(m);
    return m;
}

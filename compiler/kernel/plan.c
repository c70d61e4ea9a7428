/* plan.c - a place for every value: one block per program, shared by values whose lives do not meet.
 * needs: calls in order     keeps: calls
 *
 * A life runs from the first call that names a value to the last. Large lives are placed first, each at the
 * lowest offset that is free for as long as it lives. What prepare makes outlives every call. */
#include "kernel/lower.h"

#include <assert.h>
#include <stdlib.h>

typedef struct { int64_t bytes, offset; int first, last; bool prepared; Node *value; int temp; } Life;

typedef struct {
    Lower *l;
    Life *lives; int count, cap;             /* number k, from 1, is lives[k - 1] */
} Plan;

enum { ALIGN = 64 };

static int64_t align_up(int64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static Node *base_of(Node *n) {
    while (value_info(n)->alias)
        n = value_info(n)->alias;
    return n;
}

static int *life_of(Plan *p, const ArgRef *a) {
    if (!a->value)
        return &p->l->temps[a->temp].life;
    Node *n = base_of(a->value);
    return value_info(n)->placed ? NULL : &value_info(n)->life;
}

static int new_life(Plan *p, const ArgRef *a, bool prepare) {
    Life life = {.first = INT32_MAX, .last = -1, .value = a->value ? base_of(a->value) : NULL, .temp = a->temp, .prepared = prepare};
    if (a->value)
        life.bytes = 4 * value_floats(life.value, p->l->target->width);
    else {
        life.bytes = p->l->temps[a->temp].bytes;
        life.prepared = p->l->temps[a->temp].prepared || prepare;
    }
    life.bytes = align_up(life.bytes);
    ARENA_PUSH(p->l->arena, p->lives, p->count, p->cap, life);
    return p->count;
}

static void collect_lives(Plan *p) {
    for (int c = 0; c < p->l->call_count; c++) {
        PlannedCall *call = p->l->calls[c];
        for (int i = 0; i < call->arg_count; i++) {
            int *slot = life_of(p, &call->args[i]);
            if (!slot)
                continue;
            if (*slot == 0)
                *slot = new_life(p, &call->args[i], call->prepare);
            Life *life = &p->lives[*slot - 1];
            life->first = c < life->first ? c : life->first;
            life->last = c > life->last ? c : life->last;
        }
    }
}

static int by_size(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : 1;
}

static bool meet(const Life *a, const Life *b) { return a->first <= b->last && b->first <= a->last; }

/* The lowest offset that no placed life occupies while this one lives. `placed` is sorted by offset. */
static int64_t lowest_gap(const Life *life, Life *const *placed, int count) {
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        const Life *other = placed[i];
        if (!meet(life, other) || other->offset + other->bytes <= at)
            continue;
        if (other->offset >= at + life->bytes)
            break;
        at = other->offset + other->bytes;
    }
    return at;
}

static void insert_sorted(Life **placed, int count, Life *life) {
    int i = count;
    for (; i > 0 && placed[i - 1]->offset > life->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = life;
}

/* Offsets of all lives; the block's size. Prepared ones lie behind each other in their own space. */
static int64_t place_lives(Plan *p) {
    Life **order = NEW_ARRAY(p->l->arena, Life *, p->count + 1);
    Life **placed = NEW_ARRAY(p->l->arena, Life *, p->count + 1);
    int count = 0, done = 0;
    int64_t top = 0, prepared = p->l->module->prepared_bytes;
    for (int i = 0; i < p->count; i++) {
        Life *life = &p->lives[i];
        if (life->prepared) {
            life->offset = prepared;
            prepared += life->bytes;
        } else {
            order[count++] = life;
        }
    }
    qsort(order, (size_t)count, sizeof *order, by_size);
    for (int i = 0; i < count; i++) {
        order[i]->offset = lowest_gap(order[i], placed, done);
        insert_sorted(placed, done++, order[i]);
        if (order[i]->offset + order[i]->bytes > top)
            top = order[i]->offset + order[i]->bytes;
    }
    p->l->module->prepared_bytes = prepared;
    return top;
}

static const char *life_text(const Plan *p, const Life *life) {
    if (!life->value)
        return p->l->temps[life->temp].what;
    return arena_printf(p->l->arena, "%s %s", life->value->tap[0] ? life->value->tap : "-",
                        shape_text(p->l->arena, life->value->type, &life->value->shape));
}

static void record(Plan *p) {
    Module *m = p->l->module;
    for (int i = 0; i < p->count; i++) {
        Life *life = &p->lives[i];
        MemPlace place = {life->prepared ? SPACE_PREPARED : SPACE_BLOCK, life->offset};
        if (life->value) {
            ValueInfo *v = value_info(life->value);
            v->placed = true;
            v->space = place.space;
            v->offset = place.offset;
        } else {
            p->l->temps[life->temp].place = place;
        }
        PlanRow row = {p->l->entry, life_text(p, life), place, life->bytes, life->first, life->last};
        ARENA_PUSH(m->arena, m->plan, m->plan_count, m->plan_cap, row);
    }
}

void lower_plan(Lower *l) {
    Plan p = {.l = l};
    collect_lives(&p);
    int64_t top = place_lives(&p);
    if (top > l->module->block_bytes)
        l->module->block_bytes = top;
    record(&p);
}

/* plan.c - a place for every value: one block per program, shared by values whose lives do not meet.
 * needs: calls in order     keeps: calls
 *
 * A life runs from the first call that names a value to the last. Two lives meet when a call names both or lies
 * between. One pair of lives that meet may share a place all the same: an operand that ends and a result that begins
 * at the same call, where a body reads an element of the one and then writes that element of the other (ArgRef.point).
 *
 * Lives are placed one after the other, each at the lowest offset that is free for as long as it lives, or exactly
 * over such an operand. Of some orders (large ones first, long ones first, ..) the one with the smallest block is
 * kept. What prepare makes outlives every call. */
#include "kernel/lower.h"

#include <assert.h>
#include <stdlib.h>

typedef struct {
    int64_t bytes, offset;
    int first, last;                         /* calls */
    bool prepared;
    Node *value; int temp;
    bool read_at_points, made_at_points;     /* at call `last`, at call `first`: named there as a point alone */
} Life;

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
        life.bytes = value_size(life.value, p->l->target->width);
    else {
        life.bytes = p->l->temps[a->temp].bytes;
        life.prepared = p->l->temps[a->temp].prepared || prepare;
    }
    life.bytes = align_up(life.bytes);
    ARENA_PUSH(p->l->arena, p->lives, p->count, p->cap, life);
    return p->count;
}

static void extend(Life *life, int c) {
    life->first = c < life->first ? c : life->first;
    life->last = c > life->last ? c : life->last;
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
            extend(&p->lives[*slot - 1], c);
        }
    }
}

/* Whether every argument of call c that is this life's value is a point, and one that is written as `written` says. */
static bool named_as_point(Plan *p, int number, int c, bool written) {
    const PlannedCall *call = p->l->calls[c];
    bool named = false;
    for (int i = 0; i < call->arg_count; i++) {
        const int *slot = life_of(p, &call->args[i]);
        if (!slot || *slot != number)
            continue;
        if (named || !call->args[i].point || call->kernel->buffers[i].written != written)
            return false;
        named = true;
    }
    return named;
}

static void find_points(Plan *p) {
    for (int i = 0; i < p->count; i++) {
        Life *life = &p->lives[i];
        life->read_at_points = life->value && !life->prepared && named_as_point(p, i + 1, life->last, false);
        life->made_at_points = life->value && !life->prepared && named_as_point(p, i + 1, life->first, true);
    }
}

/* ---- orders of placing ---- */

typedef int Order(const void *, const void *);

static int compare(int64_t larger_first_x, int64_t y, const Life *a, const Life *b) {
    if (larger_first_x != y)
        return larger_first_x < y ? 1 : -1;
    return a < b ? -1 : 1;
}

static int by_size(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return compare(x->bytes, y->bytes, x, y);
}

static int by_length(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return compare(x->last - x->first, y->last - y->first, x, y);
}

static int by_area(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return compare(x->bytes * (x->last - x->first + 1), y->bytes * (y->last - y->first + 1), x, y);
}

static int by_begin(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return compare(y->first, x->first, x, y);
}

static int by_end(const void *a, const void *b) {
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return compare(x->last, y->last, x, y);
}

static Order *const orders[] = {by_size, by_area, by_length, by_begin, by_end};

/* ---- places ---- */

static bool meet(const Life *a, const Life *b) { return a->first <= b->last && b->first <= a->last; }

/* Whether y may be written over x, element by element, as x is read for the last time. */
static bool takes_over(const Life *y, const Life *x) {
    return x->last == y->first && x->first < y->first && x->read_at_points && y->made_at_points && x->bytes == y->bytes &&
           x->value->type == y->value->type;
}

static bool may_share(const Life *a, const Life *b) { return takes_over(a, b) || takes_over(b, a); }

/* Whether [at, at + bytes) is free of all placed lives that meet this one, but for those exactly there that may share. */
static bool is_free(const Life *life, int64_t at, Life *const *placed, int count) {
    for (int i = 0; i < count; i++) {
        const Life *other = placed[i];
        if (!meet(life, other) || other->offset + other->bytes <= at || other->offset >= at + life->bytes)
            continue;
        if (other->offset != at || !may_share(life, other))
            return false;
    }
    return true;
}

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

/* The lowest place for a life: a gap, or over a value that it may share with. */
static int64_t lowest_place(const Life *life, Life *const *placed, int count) {
    int64_t at = lowest_gap(life, placed, count);
    for (int i = 0; i < count && placed[i]->offset < at; i++)
        if (may_share(life, placed[i]) && is_free(life, placed[i]->offset, placed, count))
            return placed[i]->offset;
    return at;
}

static void insert_sorted(Life **placed, int count, Life *life) {
    int i = count;
    for (; i > 0 && placed[i - 1]->offset > life->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = life;
}

/* Places `lives` in this order; the block's size. */
static int64_t place_in_order(Life **lives, int count, Order *order, Life **placed) {
    int64_t top = 0;
    qsort(lives, (size_t)count, sizeof *lives, order);
    for (int i = 0; i < count; i++) {
        lives[i]->offset = lowest_place(lives[i], placed, i);
        insert_sorted(placed, i, lives[i]);
        if (lives[i]->offset + lives[i]->bytes > top)
            top = lives[i]->offset + lives[i]->bytes;
    }
    return top;
}

static int64_t place_apart(Life **lives, int count) {
    int64_t top = 0;
    for (int i = 0; i < count; i++) {
        lives[i]->offset = top;
        top += lives[i]->bytes;
    }
    return top;
}

/* Offsets of all lives; the block's size. Prepared ones lie behind each other in their own space. */
static int64_t place_lives(Plan *p) {
    Life **lives = NEW_ARRAY(p->l->arena, Life *, p->count + 1);
    Life **placed = NEW_ARRAY(p->l->arena, Life *, p->count + 1);
    int count = 0, best = 0;
    int64_t least = INT64_MAX, prepared = p->l->module->prepared_bytes;
    for (int i = 0; i < p->count; i++) {
        Life *life = &p->lives[i];
        if (life->prepared) {
            life->offset = prepared;
            prepared += life->bytes;
        } else {
            lives[count++] = life;
        }
    }
    p->l->module->prepared_bytes = prepared;
    if (p->l->module->apart)
        return place_apart(lives, count);
    for (int i = 0; i < COUNT(orders); i++) {
        int64_t top = place_in_order(lives, count, orders[i], placed);
        if (top < least) {
            least = top;
            best = i;
        }
    }
    return place_in_order(lives, count, orders[best], placed);
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
    find_points(&p);
    int64_t top = place_lives(&p);
    if (top > l->module->block_bytes)
        l->module->block_bytes = top;
    record(&p);
}

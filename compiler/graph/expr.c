/* expr.c - the pool of scalar expressions: interning, walking, substituting, folding.
 * Equal nodes of a pool are one pointer; ids grow from arguments to results, so a list sorted by id
 * is in order of evaluation and no walk recurses. */
#include "graph/expr.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const ExprInfo expr_info[EXPR_OP_COUNT] = {
    [EXPR_CONST] = { "const", 0 },
    [EXPR_INPUT] = { "input", 0 },
    [EXPR_COORD] = { "coord", 0 },
#define EXPR(id, text, n, value, dx, dy, dz) [EXPR_##id] = { text, n },
#include "graph/expr.def"
};

struct ExprPool {
    Arena *arena;
    Expr **slots;
    int slot_count, count;
};

enum { FIRST_SLOTS = 256 };

ExprPool *expr_pool_new(Arena *arena) {
    ExprPool *p = NEW(arena, ExprPool);
    p->arena = arena;
    p->slot_count = FIRST_SLOTS;
    p->slots = NEW_ARRAY(arena, Expr *, FIRST_SLOTS);
    return p;
}

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint64_t value_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t hash_of(const Expr *e) {
    uint64_t hash = mix(mix(e->op, value_bits(e->value)), (uint64_t)e->index);
    for (int i = 0; i < 3; i++)
        hash = mix(hash, e->arg[i] ? (uint64_t)e->arg[i]->id + 1 : 0);
    return hash;
}

static bool same(const Expr *a, const Expr *b) {
    return a->op == b->op && value_bits(a->value) == value_bits(b->value) && a->index == b->index &&
           a->arg[0] == b->arg[0] && a->arg[1] == b->arg[1] && a->arg[2] == b->arg[2];
}

/* The slot that holds an expression equal to e, or the empty one where it belongs. */
static Expr **slot_of(const ExprPool *p, const Expr *e) {
    uint64_t mask = (uint64_t)p->slot_count - 1;
    uint64_t i = hash_of(e) & mask;
    while (p->slots[i] && !same(p->slots[i], e))
        i = (i + 1) & mask;
    return &p->slots[i];
}

static void grow(ExprPool *p) {
    Expr **old = p->slots;
    int old_count = p->slot_count;
    p->slot_count *= 2;
    p->slots = NEW_ARRAY(p->arena, Expr *, p->slot_count);
    for (int i = 0; i < old_count; i++)
        if (old[i])
            *slot_of(p, old[i]) = old[i];
}

static void note_leaves(Expr *e) {
    if (e->op == EXPR_INPUT) {
        e->input_limit = e->index + 1;
        e->inputs = e->index < 64 ? UINT64_C(1) << e->index : 0;
    } else if (e->op == EXPR_COORD) {
        e->coord_limit = e->index + 1;
    }
    for (int i = 0; i < expr_info[e->op].args; i++) {
        const Expr *a = e->arg[i];
        e->input_limit = a->input_limit > e->input_limit ? a->input_limit : e->input_limit;
        e->coord_limit = a->coord_limit > e->coord_limit ? a->coord_limit : e->coord_limit;
        e->inputs |= a->inputs;
    }
}

static const Expr *intern(ExprPool *p, Expr wanted) {
    Expr **slot = slot_of(p, &wanted);
    if (*slot)
        return *slot;
    if (p->count * 2 >= p->slot_count) {
        grow(p);
        slot = slot_of(p, &wanted);
    }
    Expr *e = NEW(p->arena, Expr);
    *e = wanted;
    e->id = p->count++;
    note_leaves(e);
    return *slot = e;
}

const Expr *expr_const(ExprPool *p, double value) {
    return intern(p, (Expr){ .op = EXPR_CONST, .value = value });
}

const Expr *expr_input(ExprPool *p, int index) {
    assert(index >= 0);
    return intern(p, (Expr){ .op = EXPR_INPUT, .index = index });
}

const Expr *expr_coord(ExprPool *p, int axis) {
    assert(axis >= 0);
    return intern(p, (Expr){ .op = EXPR_COORD, .index = axis });
}

const Expr *expr_make(ExprPool *p, ExprOp op, const Expr *x, const Expr *y, const Expr *z) {
    assert(op > EXPR_COORD && op < EXPR_OP_COUNT);
    assert((x != NULL) + (y != NULL) + (z != NULL) == expr_info[op].args && x && (y || !z));
    return intern(p, (Expr){ .op = op, .arg = { x, y, z } });
}

/* ---- walking ---- */

typedef struct { const Expr **slots; int slot_count; } NodeSet;

static bool set_add(NodeSet *s, const Expr *e) {
    uint64_t mask = (uint64_t)s->slot_count - 1;
    uint64_t i = mix(0, (uint64_t)e->id) & mask;
    for (; s->slots[i]; i = (i + 1) & mask)
        if (s->slots[i] == e)
            return false;
    s->slots[i] = e;
    return true;
}

static void set_grow(NodeSet *s, Arena *arena, const Expr *const *nodes, int count) {
    s->slot_count = s->slot_count ? s->slot_count * 4 : 64;
    s->slots = NEW_ARRAY(arena, const Expr *, s->slot_count);
    for (int i = 0; i < count; i++)
        set_add(s, nodes[i]);
}

static int by_id(const void *a, const void *b) {
    const Expr *x = *(const Expr *const *)a, *y = *(const Expr *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

const Expr **expr_nodes(Arena *arena, const Expr *e, int *count) {
    NodeSet seen = { 0 };
    const Expr **nodes = NULL;
    int n = 0, cap = 0;
    set_grow(&seen, arena, NULL, 0);
    set_add(&seen, e);
    ARENA_PUSH(arena, nodes, n, cap, e);
    for (int next = 0; next < n; next++) {
        const Expr *from = nodes[next];
        for (int i = 0; i < expr_info[from->op].args; i++) {
            if (n * 2 >= seen.slot_count)
                set_grow(&seen, arena, nodes, n);
            if (set_add(&seen, from->arg[i]))
                ARENA_PUSH(arena, nodes, n, cap, from->arg[i]);
        }
    }
    qsort(nodes, (size_t)n, sizeof *nodes, by_id);
    *count = n;
    return nodes;
}

int expr_position(const Expr *const *nodes, int count, const Expr *e) {
    int lo = 0, hi = count - 1;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (nodes[mid]->id < e->id)
            lo = mid + 1;
        else
            hi = mid;
    }
    assert(lo < count && nodes[lo] == e);
    return lo;
}

int expr_size(const Expr *e) {
    Arena *scratch = arena_new(0);
    int count, size = 0;
    const Expr **nodes = expr_nodes(scratch, e, &count);
    for (int i = 0; i < count; i++)
        size += expr_info[nodes[i]->op].args > 0;
    arena_destroy(scratch);
    return size;
}

int expr_input_limit(const Expr *e) {
    return e->input_limit;
}

bool expr_uses_input(const Expr *e, int index) {
    if (index < 0 || index >= e->input_limit)
        return false;
    if (index < 64)
        return e->inputs >> index & 1;
    Arena *scratch = arena_new(0);
    int count;
    const Expr **nodes = expr_nodes(scratch, e, &count);
    bool found = false;
    for (int i = 0; i < count; i++)
        found |= nodes[i]->op == EXPR_INPUT && nodes[i]->index == index;
    arena_destroy(scratch);
    return found;
}

/* ---- substituting ---- */

static const Expr *rebuilt(ExprPool *p, const Expr *e, const Expr *const *nodes, const Expr *const *now, int count) {
    const Expr *arg[3] = { NULL, NULL, NULL };
    for (int i = 0; i < expr_info[e->op].args; i++)
        arg[i] = now[expr_position(nodes, count, e->arg[i])];
    return expr_make(p, e->op, arg[0], arg[1], arg[2]);
}

const Expr *expr_substitute(ExprPool *p, const Expr *e, const Expr *const *with, int count) {
    if (e->input_limit == 0 || count == 0)
        return e;
    Arena *scratch = arena_new(0);
    int n;
    const Expr **nodes = expr_nodes(scratch, e, &n);
    const Expr **now = NEW_ARRAY(scratch, const Expr *, n);
    for (int i = 0; i < n; i++) {
        const Expr *x = nodes[i];
        if (x->op == EXPR_INPUT)
            now[i] = x->index < count && with[x->index] ? with[x->index] : x;
        else
            now[i] = x->input_limit == 0 ? x : rebuilt(p, x, nodes, now, n);
    }
    const Expr *result = now[n - 1];
    arena_destroy(scratch);
    return result;
}

/* ---- folding ---- */

static double operate(ExprOp op, double x, double y, double z) {
    (void)y;
    (void)z;
    switch (op) {
#define EXPR(id, text, n, value, dx, dy, dz) case EXPR_##id: return value;
#include "graph/expr.def"
    default: assert(!"an operator of expr.def"); return x;
    }
}

static double leaf_value(const Expr *e, const double *input, const double *coord) {
    if (e->op == EXPR_CONST)
        return e->value;
    return e->op == EXPR_INPUT ? input[e->index] : coord[e->index];
}

static bool is_leaf(const Expr *e) {
    return !e || expr_info[e->op].args == 0;
}

/* An operator whose arguments are all leaves. */
static double fold_shallow(const Expr *e, const double *input, const double *coord) {
    double v[3] = { 0, 0, 0 };
    for (int i = 0; i < expr_info[e->op].args; i++)
        v[i] = leaf_value(e->arg[i], input, coord);
    return operate(e->op, v[0], v[1], v[2]);
}

double expr_fold(const Expr *e, const double *input, const double *coord) {
    if (is_leaf(e))
        return leaf_value(e, input, coord);
    if (is_leaf(e->arg[0]) && is_leaf(e->arg[1]) && is_leaf(e->arg[2]))
        return fold_shallow(e, input, coord);
    Arena *scratch = arena_new(0);
    int n;
    const Expr **nodes = expr_nodes(scratch, e, &n);
    double *value = NEW_ARRAY(scratch, double, n);
    for (int i = 0; i < n; i++) {
        const Expr *x = nodes[i];
        double v[3] = { 0, 0, 0 };
        for (int k = 0; k < expr_info[x->op].args; k++)
            v[k] = value[expr_position(nodes, n, x->arg[k])];
        value[i] = is_leaf(x) ? leaf_value(x, input, coord) : operate(x->op, v[0], v[1], v[2]);
    }
    double result = value[n - 1];
    arena_destroy(scratch);
    return result;
}

/* recompute.c - forward values that the backward pass reads are computed again there instead of kept, where that is cheap.
 * needs: autodiff, topological order, no dead nodes     keeps: order, every value's bits     spoils: use counts
 *
 * The forward part of `step` is what its outputs and states depend on. A forward value that the rest reads is kept from
 * where it is computed to there, and these values are most of a training program's memory.
 *
 * A MAP over values that are kept anyway, or over such MAPs, is computed again inside of the loop nests that read it (AGAIN_INSIDE).
 * That reads its operands instead of writing and reading itself. So behind conv - salu - swalu only the SALU's result
 * is kept: its own derivative needs it, SWALU's derivative and the next convolution's operand follow from it.
 *
 * Where memory is bounded, Program.recompute says how much is done to save it: rows of `efforts`, from what costs next to
 * nothing to a second forward pass in many segments (segments.c). */
#include "passes/recompute.h"

#include <assert.h>

enum {
    MAX_DEPTH = 8,                 /* MAPs of a cone one behind the other */
    LONG_WORK = 12,                /* of an operator that is no single instruction */
    SMALL = 64                     /* a value of less than 1 / SMALL of the largest one's bytes is small */
};

/* In order of cost. Values that fit into a cache are left alone where memory is not bounded. */
static const struct { Limits limit; int segments, again; } efforts[] = {
    { { 1 << 20, 4, 128, false }, 1, 0 },  { { 0, 4, 128, false }, 1, 0 },  { { 0, 8, 512, true }, 1, 0 },
    { { 0, 4, 128, true }, 4, 1 },         { { 0, 4, 128, true }, 3, 1 },   { { 0, 4, 128, true }, 2, 1 },
    { { 0, 4, 128, true }, 3, 2 },         { { 0, 4, 128, true }, 4, 3 },   { { 0, 4, 128, true }, 6, 5 },
    { { 0, 4, 128, true }, 8, 7 },         { { 0, 4, 128, true }, 12, 11 }, { { 0, 4, 128, true }, 16, 15 },
};

int recompute_efforts(void) { return COUNT(efforts); }

static bool is_leaf(const Node *n) { return op_info[n->op].class == CLASS_LEAF; }

static int64_t value_bytes(const Node *n) { return 4 * shape_count(&n->shape); }

bool recompute_is_large(const Recompute *r, const Node *n) {
    return n->shape.batched && value_bytes(n) >= r->limit.least && value_bytes(n) > r->largest / SMALL;
}

/* ---- what is forward, and what the backward pass reads of it ---- */

static void mark_forward(Recompute *r, const Node *n) { value_of(r, n)->forward = true; }

static void find_forward(Recompute *r) {
    Graph *g = r->g;
    for (int i = 0; i < g->output_count; i++)
        mark_forward(r, g->outputs[i].node);
    for (int i = 0; i < g->effect_count; i++)
        if (g->effects[i].kind == EFFECT_STATE)
            mark_forward(r, g->effects[i].value);
    for (Node *n = g->last; n; n = n->prev) {
        if (n->again == AGAIN_LATE)
            mark_forward(r, n);
        for (int i = 0; i < n->arity && value_of(r, n)->forward; i++)
            mark_forward(r, n->in[i]);
    }
    r->largest = 0;
    for (Node *n = g->first; n; n = n->next)
        if (value_of(r, n)->forward && !is_leaf(n) && value_bytes(n) > r->largest)
            r->largest = value_bytes(n);
}

static bool same_space(const Node *a, const Node *b) { return shape_equal(&a->shape, &b->shape) && a->channel == b->channel; }

static void note_reader(Recompute *r, const Node *reader, const Node *x) {
    Value *v = value_of(r, x);
    v->kept = true;
    if (reader->op == OP_MAP && same_space(reader, x))
        v->by_map = true;
    else
        v->whole = true;
    v->viewed |= op_info[reader->op].class == CLASS_MOVE;
}

/* What is computed a second time reads what was not thrown away: there is no use in computing that again, too. */
static void note_second_time(Recompute *r, const Node *reader) {
    for (int i = 0; i < reader->arity; i++)
        if (reader->in[i]->again != AGAIN_LATE && !is_leaf(reader->in[i])) {
            value_of(r, reader->in[i])->kept = true;
            value_of(r, reader->in[i])->fixed = true;
        }
}

static void find_readers(Recompute *r) {
    Graph *g = r->g;
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->arity; i++)
            if (!value_of(r, n)->forward && value_of(r, n->in[i])->forward && !is_leaf(n->in[i]))
                note_reader(r, n, n->in[i]);
    for (int i = 0; i < g->output_count; i++)
        value_of(r, g->outputs[i].node)->fixed = true;
    for (int i = 0; i < g->effect_count; i++)
        value_of(r, g->effects[i].value)->fixed = true;
    for (Node *n = g->last; n; n = n->prev) {
        const Value *v = value_of(r, n);
        if (n->again == AGAIN_LATE)
            note_second_time(r, n);
        for (int i = 0; i < n->arity; i++)
            value_of(r, n->in[i])->viewed |= op_info[n->op].class == CLASS_MOVE && (v->kept || v->viewed);
    }
}

/* ---- MAPs inside of their readers ---- */

static int work_of(const Recompute *r, const Expr *e) {
    int count, work = 0;
    const Expr **nodes = expr_nodes(r->arena, e, &count);
    for (int i = 0; i < count; i++)
        switch (nodes[i]->op) {
        case EXPR_CONST: case EXPR_INPUT: break;
        case EXPR_EXP: case EXPR_LOG: case EXPR_TANH: case EXPR_SIGMOID: case EXPR_ERF: case EXPR_SIN: case EXPR_COS:
        case EXPR_SOFTPLUS: case EXPR_POW: work += LONG_WORK; break;
        default: work++;
        }
    return work;
}

static bool add_base(const Recompute *r, Cone *c, Node *x) {
    for (int i = 0; i < c->bases; i++)
        if (c->base[i] == x)
            return true;
    if (c->bases == r->limit.bases)
        return false;
    c->base[c->bases++] = x;
    return true;
}

static bool join_cone(const Recompute *r, Cone *c, const Cone *of_input) {
    bool fits = true;
    for (int i = 0; i < of_input->bases; i++)
        fits = fits && add_base(r, c, of_input->base[i]);
    c->work += of_input->work;
    c->host = c->host || of_input->host;
    return fits && c->work < r->limit.work;
}

/* What computing n again would read and cost; false: too much, or something that is not there any more. */
static bool find_cone(Recompute *r, Node *n, int depth, Cone *c) {
    if (depth == MAX_DEPTH || n->op != OP_MAP || value_of(r, n)->fixed || value_of(r, n)->viewed || n->type != TYPE_F32)
        return false;
    *c = (Cone){ .work = work_of(r, n->attr.expr), .host = value_of(r, n)->by_map };
    for (int i = 0; i < n->arity; i++) {
        Node *x = n->in[i];
        Value *v = value_of(r, x);
        Cone inner;
        if (is_leaf(x) || !recompute_is_large(r, x))
            continue;
        if (v->kept && !v->dropped && same_space(x, n)) {
            if (!add_base(r, c, x))
                return false;
            c->host = c->host || v->by_map;
            continue;
        }
        if (!same_space(x, n) || !(v->dropped ? join_cone(r, c, &v->cone) : find_cone(r, x, depth + 1, &inner) && join_cone(r, c, &inner)))
            return false;
    }
    return c->work < r->limit.work && c->bases > 0;
}

static void drop_maps(Recompute *r) {
    for (Node *n = r->g->first; n; n = n->next) {
        Value *v = value_of(r, n);
        if (!v->forward || !v->kept || !recompute_is_large(r, n) || !find_cone(r, n, 0, &v->cone))
            continue;
        v->dropped = !v->whole || v->cone.host || r->limit.passes;
    }
}

/* The node that computes n again, behind all that it reads. */
static Node *inside(Recompute *r, Node *n) {
    Value *v = value_of(r, n);
    if (is_leaf(n) || !recompute_is_large(r, n) || (v->kept && !v->dropped))
        return n;
    if (v->again)
        return v->again;
    Node *copy = graph_copy(r->g, n);
    copy->again = AGAIN_INSIDE;
    for (int i = 0; i < n->arity; i++)
        copy->in[i] = inside(r, n->in[i]);
    v->again = copy;
    return copy;
}

static void read_again(Recompute *r) {
    for (Node *n = r->g->first; n; n = n->next) {
        if (n->id >= r->count || value_of(r, n)->forward)
            continue;
        for (int i = 0; i < n->arity; i++)
            if (n->in[i]->id < r->count && value_of(r, n->in[i])->dropped)
                n->in[i] = inside(r, n->in[i]);
    }
}

Recompute *recompute_look(Graph *g, Arena *arena, Limits limit) {
    Recompute *r = NEW(arena, Recompute);
    *r = (Recompute){ .g = g, .arena = arena, .limit = limit, .count = g->next_id, .value = NEW_ARRAY(arena, Value, g->next_id) };
    find_forward(r);
    find_readers(r);
    drop_maps(r);
    return r;
}

static void recompute(Program *p, Graph *g) {
    Limits limit = efforts[p->recompute].limit;
    Arena *scratch = arena_new(0);
    if (efforts[p->recompute].again)
        recompute_segments(g, limit, efforts[p->recompute].segments, efforts[p->recompute].again);
    read_again(recompute_look(g, scratch, limit));
    graph_sort(g);
    graph_dce(g);
    arena_destroy(scratch);
}

void pass_recompute(Program *p) {
    assert(p->recompute >= 0 && p->recompute < COUNT(efforts));
    if (p->step)
        recompute(p, p->step);
    if (p->train)
        recompute(p, p->train);
}

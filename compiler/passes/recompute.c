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
 * With a plan that recomputes segments (Program.recompute) the forward pass is cut where little goes from one side to
 * the other. What goes over a cut is kept; the rest is computed again as a whole, convolutions included, once per
 * segment, when the backward pass gets there (AGAIN_LATE). Chen et al. 2016, arXiv 1604.06174, is the idea. */
#include "passes/passes.h"

#include <string.h>

enum {
    MAX_BASE = 4,                  /* operands that one value computed again may read */
    MAX_DEPTH = 8,                 /* MAPs between it and them that are stored nowhere */
    MAX_WORK = 128,                /* operators of its expressions; one that is no single instruction counts as LONG_WORK */
    LONG_WORK = 12,
    SMALL = 64,                    /* a value of less than 1 / SMALL of the largest one's bytes is not worth a thought, */
    LEAST_BYTES = 1 << 20          /* nor is one that stays in a cache, unless memory is bounded */
};

typedef struct {
    Node *base[MAX_BASE]; int bases;
    int work;
    bool host;                     /* a loop nest of the backward pass goes over one of the values anyway */
} Cone;

typedef struct {
    bool forward;                  /* outputs or states depend on it */
    bool kept;                     /* read by the backward pass as it is */
    bool whole;                    /* some of these readers need all of it in memory: no MAP over its own shape */
    bool by_map;                   /* some of them are such MAPs */
    bool fixed;                    /* an output, a state, or read through a view: kept in any case */
    bool dropped;                  /* computed again inside of its readers */
    Cone cone;                     /* of a dropped one */
    Node *again;                   /* that stands for it in the backward pass */
    int last;                      /* position of its last forward reader */
    int at;                        /* own position */
} Value;

typedef struct {
    Graph *g;
    Arena *arena;
    Value *value; int count;       /* by id of the nodes that were there at the beginning */
    int64_t largest;               /* bytes of the largest forward value */
    int64_t least;                 /* bytes from which on a value counts */
} Recompute;

static Value *of(const Recompute *r, const Node *n) { return &r->value[n->id]; }

static bool is_leaf(const Node *n) { return op_info[n->op].class == CLASS_LEAF; }

static int64_t value_bytes(const Node *n) { return 4 * shape_count(&n->shape); }

static bool is_large(const Recompute *r, const Node *n) {
    return n->shape.batched && value_bytes(n) >= r->least && value_bytes(n) > r->largest / SMALL;
}

/* ---- what is forward, and what the backward pass reads of it ---- */

static void mark_forward(Recompute *r, Node *n) { of(r, n)->forward = true; }

static void find_forward(Recompute *r) {
    Graph *g = r->g;
    for (int i = 0; i < g->output_count; i++)
        mark_forward(r, g->outputs[i].node);
    for (int i = 0; i < g->effect_count; i++)
        if (g->effects[i].kind == EFFECT_STATE)
            mark_forward(r, g->effects[i].value);
    for (Node *n = g->last; n; n = n->prev)
        for (int i = 0; i < n->arity && of(r, n)->forward; i++)
            mark_forward(r, n->in[i]);
    r->largest = 0;
    for (Node *n = g->first; n; n = n->next)
        if (of(r, n)->forward && !is_leaf(n) && value_bytes(n) > r->largest)
            r->largest = value_bytes(n);
}

static bool same_space(const Node *a, const Node *b) { return shape_equal(&a->shape, &b->shape) && a->channel == b->channel; }

static void note_reader(Recompute *r, const Node *reader, const Node *x) {
    Value *v = of(r, x);
    v->kept = true;
    if (reader->op == OP_MAP && same_space(reader, x))
        v->by_map = true;
    else
        v->whole = true;
    if (op_info[reader->op].class == CLASS_MOVE)
        v->fixed = true;
}

static void find_readers(Recompute *r) {
    Graph *g = r->g;
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->arity; i++)
            if (!of(r, n)->forward && of(r, n->in[i])->forward && !is_leaf(n->in[i]))
                note_reader(r, n, n->in[i]);
    for (int i = 0; i < g->output_count; i++)
        of(r, g->outputs[i].node)->fixed = true;
    for (int i = 0; i < g->effect_count; i++)
        of(r, g->effects[i].value)->fixed = true;
    for (Node *n = g->last; n; n = n->prev)
        if (op_info[n->op].class == CLASS_MOVE && (of(r, n)->kept || of(r, n)->fixed))
            of(r, n->in[0])->fixed = true;
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

static bool add_base(Cone *c, Node *x) {
    for (int i = 0; i < c->bases; i++)
        if (c->base[i] == x)
            return true;
    if (c->bases == MAX_BASE)
        return false;
    c->base[c->bases++] = x;
    return true;
}

static bool join_cone(Cone *c, const Cone *of_input) {
    bool fits = true;
    for (int i = 0; i < of_input->bases; i++)
        fits = fits && add_base(c, of_input->base[i]);
    c->work += of_input->work;
    c->host = c->host || of_input->host;
    return fits && c->work < MAX_WORK;
}

/* What computing n again would read and cost; false: too much, or something that is not there any more. */
static bool find_cone(Recompute *r, Node *n, int depth, Cone *c) {
    if (depth == MAX_DEPTH || n->op != OP_MAP || of(r, n)->fixed || n->type != TYPE_F32)
        return false;
    *c = (Cone){ .work = work_of(r, n->attr.expr), .host = of(r, n)->by_map };
    for (int i = 0; i < n->arity; i++) {
        Node *x = n->in[i];
        Value *v = of(r, x);
        Cone inner;
        if (is_leaf(x) || !is_large(r, x))
            continue;
        if (v->kept && !v->dropped && same_space(x, n)) {
            if (!add_base(c, x))
                return false;
            c->host = c->host || v->by_map;
            continue;
        }
        if (!same_space(x, n) || !(v->dropped ? join_cone(c, &v->cone) : find_cone(r, x, depth + 1, &inner) && join_cone(c, &inner)))
            return false;
    }
    return c->work < MAX_WORK && c->bases > 0;
}

static void drop_maps(Recompute *r) {
    for (Node *n = r->g->first; n; n = n->next) {
        Value *v = of(r, n);
        if (!v->forward || !v->kept || !is_large(r, n) || !find_cone(r, n, 0, &v->cone))
            continue;
        v->dropped = !v->whole || v->cone.host;
    }
}

/* The node that computes n again, behind all that it reads. */
static Node *inside(Recompute *r, Node *n) {
    Value *v = of(r, n);
    if (is_leaf(n) || !is_large(r, n) || (v->kept && !v->dropped))
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
        if (n->id >= r->count || of(r, n)->forward)
            continue;
        for (int i = 0; i < n->arity; i++)
            if (n->in[i]->id < r->count && of(r, n->in[i])->dropped)
                n->in[i] = inside(r, n->in[i]);
    }
}

void pass_recompute(Program *p) {
    Graph *g = p->step;
    if (!g)
        return;
    Arena *scratch = arena_new(0);
    Recompute r = { .g = g, .arena = scratch, .count = g->next_id, .least = LEAST_BYTES };
    r.value = NEW_ARRAY(scratch, Value, r.count);
    find_forward(&r);
    find_readers(&r);
    drop_maps(&r);
    read_again(&r);
    graph_sort(g);
    arena_destroy(scratch);
}

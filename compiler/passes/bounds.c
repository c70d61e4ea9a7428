/* bounds.c - interval arithmetic over a graph (Moore, "Interval Analysis", 1966), as new nodes of the graph.
 * needs: topological order     keeps: the nodes there are     spoils: nothing
 *
 * A MAP's interval is an expression over its parameters and the bounds of its other inputs. Where one input alone varies,
 * its range is cut into pieces, whose intervals are small, and the result is the union over the pieces: x (1 + f(x)) then
 * has its own smallest value and not the product of two. */
#include "passes/bounds.h"

#include <assert.h>

#include "graph/simple.h"

enum { PIECES = 64, MAX_ELEMENTS = 1 << 16 };

typedef enum { ANY, NOT_NEGATIVE, POSITIVE } Sign;      /* known of all values */

/* lo <= value <= hi; NULL: no bound on that side. A point has lo == hi. */
typedef struct { const Expr *lo, *hi; Sign sign; int terms; } Range;

typedef struct {
    Arena *arena;
    Graph *graph;
    ExprPool *exprs;
    bool *constant;                                     /* by id: of parameters and states alone */
    Bounds *of;                                         /* by id */
} Bounder;

typedef struct {
    Bounder *b;
    const Node *map;
    Node **in; int count;                               /* of the nodes that compute the interval */
    Range *input;                                       /* of the MAP */
    int pieces;
} MapBounds;

static const Range UNBOUNDED = { NULL, NULL, ANY, 0 };

/* ---- expressions ---- */

static const Expr *make(Bounder *b, ExprOp op, const Expr *x, const Expr *y) { return simple_make(b->exprs, op, x, y, NULL); }
static const Expr *number(Bounder *b, double x) { return expr_const(b->exprs, x); }

/* An operator of two bounds; NULL where one is missing. */
static const Expr *both(Bounder *b, ExprOp op, const Expr *x, const Expr *y) { return x && y ? make(b, op, x, y) : NULL; }
static const Expr *negated(Bounder *b, const Expr *x) { return x ? make(b, EXPR_NEG, x, NULL) : NULL; }

static bool is_point(Range r) { return r.lo && r.lo == r.hi; }
static bool is_bounded(Range r) { return r.lo && r.hi; }
static int larger(int a, int b) { return a > b ? a : b; }

/* ---- operators ---- */

static Sign sum_sign(Sign a, Sign b) {
    if (a == ANY || b == ANY)
        return ANY;
    return a == POSITIVE || b == POSITIVE ? POSITIVE : NOT_NEGATIVE;
}

static Sign product_sign(Sign a, Sign b) {
    if (a == ANY || b == ANY)
        return ANY;
    return a == POSITIVE && b == POSITIVE ? POSITIVE : NOT_NEGATIVE;
}

/* A positive point times a range. */
static Range scaled(Bounder *b, Range p, Range r) {
    return (Range){ both(b, EXPR_MUL, p.lo, r.lo), both(b, EXPR_MUL, p.lo, r.hi), product_sign(p.sign, r.sign), r.terms };
}

static Range square(Bounder *b, Range r) {
    if (!is_bounded(r))
        return (Range){ number(b, 0), NULL, NOT_NEGATIVE, r.terms };
    const Expr *least = make(b, EXPR_MAX, number(b, 0), make(b, EXPR_MAX, r.lo, negated(b, r.hi)));
    const Expr *most = make(b, EXPR_MAX, negated(b, r.lo), r.hi);
    return (Range){ make(b, EXPR_MUL, least, least), make(b, EXPR_MUL, most, most), NOT_NEGATIVE, r.terms };
}

static Range product(Bounder *b, Range x, Range y) {
    if (is_point(x) && x.sign == POSITIVE)
        return scaled(b, x, y);
    if (is_point(y) && y.sign == POSITIVE)
        return scaled(b, y, x);
    Sign sign = product_sign(x.sign, y.sign);
    if (!is_bounded(x) || !is_bounded(y))
        return (Range){ sign == ANY ? NULL : number(b, 0), NULL, sign, larger(x.terms, y.terms) };
    const Expr *p[4] = { make(b, EXPR_MUL, x.lo, y.lo), make(b, EXPR_MUL, x.lo, y.hi), make(b, EXPR_MUL, x.hi, y.lo), make(b, EXPR_MUL, x.hi, y.hi) };
    const Expr *lo = make(b, EXPR_MIN, make(b, EXPR_MIN, p[0], p[1]), make(b, EXPR_MIN, p[2], p[3]));
    const Expr *hi = make(b, EXPR_MAX, make(b, EXPR_MAX, p[0], p[1]), make(b, EXPR_MAX, p[2], p[3]));
    return (Range){ lo, hi, sign, larger(x.terms, y.terms) };
}

static Range quotient(Bounder *b, Range x, Range y) {
    if (y.sign != POSITIVE || !y.lo)
        return UNBOUNDED;
    const Expr *one = number(b, 1);
    Range inverse = { y.hi ? make(b, EXPR_DIV, one, y.hi) : number(b, 0), make(b, EXPR_DIV, one, y.lo), POSITIVE, 0 };
    if (is_point(y))
        inverse.lo = inverse.hi;
    return product(b, x, inverse);
}

/* An increasing function whose values lie between low and high, NAN: no limit. */
static Range increasing(Bounder *b, ExprOp op, Range x, double low, double high, Sign sign) {
    Range r = { .sign = sign, .terms = larger(x.terms, 1) };
    r.lo = x.lo ? make(b, op, x.lo, NULL) : low == low ? number(b, low) : NULL;
    r.hi = x.hi ? make(b, op, x.hi, NULL) : high == high ? number(b, high) : NULL;
    return r;
}

static Range magnitude(Bounder *b, Range x) {
    const Expr *least = number(b, 0);
    if (is_bounded(x))
        least = make(b, EXPR_MAX, least, make(b, EXPR_MAX, x.lo, negated(b, x.hi)));
    return (Range){ least, is_bounded(x) ? make(b, EXPR_MAX, negated(b, x.lo), x.hi) : NULL, NOT_NEGATIVE, x.terms };
}

/* The larger (MAX) or smaller of two: one bound is enough on the side that the operator cuts. */
static Range chosen(Bounder *b, ExprOp op, Range x, Range y) {
    Range r = { both(b, op, x.lo, y.lo), both(b, op, x.hi, y.hi), ANY, larger(x.terms, y.terms) };
    if (op == EXPR_MAX && !r.lo)
        r.lo = x.lo ? x.lo : y.lo;
    if (op == EXPR_MIN && !r.hi)
        r.hi = x.hi ? x.hi : y.hi;
    r.sign = op == EXPR_MAX ? (x.sign > y.sign ? x.sign : y.sign) : x.sign < y.sign ? x.sign : y.sign;
    return r;
}

/* t / sqrt(1 + B t^2), increasing in t, with the limits +-1 / sqrt(B). */
static Range saturated(Bounder *b, Range bend, Range inner) {
    if (!is_point(bend) || bend.sign != POSITIVE)
        return UNBOUNDED;
    const Expr *limit = make(b, EXPR_DIV, number(b, 1), make(b, EXPR_SQRT, bend.lo, NULL));
    Range r = { negated(b, limit), limit, inner.sign, 1 };
    if (inner.lo)
        r.lo = saturating_make_core(b->exprs, (Saturating){ bend.lo, inner.lo });
    if (inner.hi)
        r.hi = saturating_make_core(b->exprs, (Saturating){ bend.lo, inner.hi });
    return r;
}

static Range operation(Bounder *b, const Expr *e, Range x, Range y, Range z) {
    const double none = __builtin_nan("");
    switch (e->op) {
    case EXPR_ADD: return (Range){ both(b, EXPR_ADD, x.lo, y.lo), both(b, EXPR_ADD, x.hi, y.hi), sum_sign(x.sign, y.sign), x.terms + y.terms };
    case EXPR_SUB: return (Range){ both(b, EXPR_SUB, x.lo, y.hi), both(b, EXPR_SUB, x.hi, y.lo), ANY, x.terms + y.terms };
    case EXPR_NEG: return (Range){ negated(b, x.hi), negated(b, x.lo), ANY, x.terms };
    case EXPR_MUL: return e->arg[0] == e->arg[1] ? square(b, x) : product(b, x, y);
    case EXPR_DIV: return quotient(b, x, y);
    case EXPR_MIN: case EXPR_MAX: return chosen(b, e->op, x, y);
    case EXPR_ABS: return magnitude(b, x);
    case EXPR_SQRT: return x.sign == ANY ? UNBOUNDED : increasing(b, EXPR_SQRT, x, 0, none, x.sign);
    case EXPR_EXP: return increasing(b, EXPR_EXP, x, 0, none, POSITIVE);
    case EXPR_SOFTPLUS: return increasing(b, EXPR_SOFTPLUS, x, 0, none, NOT_NEGATIVE);
    case EXPR_TANH: case EXPR_ERF: return increasing(b, e->op, x, -1, 1, x.sign);
    case EXPR_SIGMOID: return increasing(b, EXPR_SIGMOID, x, 0, 1, NOT_NEGATIVE);
    case EXPR_SIN: case EXPR_COS: return (Range){ number(b, -1), number(b, 1), ANY, 1 };
    case EXPR_DETACH: return x;
    case EXPR_LT: case EXPR_LE: case EXPR_EQ: case EXPR_AND: case EXPR_OR: case EXPR_NOT: return (Range){ number(b, 0), number(b, 1), NOT_NEGATIVE, 0 };
    case EXPR_SELECT:
        return (Range){ both(b, EXPR_MIN, y.lo, z.lo), both(b, EXPR_MAX, y.hi, z.hi), y.sign < z.sign ? y.sign : z.sign, larger(y.terms, z.terms) };
    default: return UNBOUNDED;
    }
}

/* The sign of an operator of points. */
static Sign point_sign(const Expr *e, Range x, Range y) {
    switch (e->op) {
    case EXPR_ADD: return sum_sign(x.sign, y.sign);
    case EXPR_MUL: return product_sign(x.sign, y.sign);
    case EXPR_DIV: return y.sign == POSITIVE ? x.sign : ANY;
    case EXPR_SQRT: case EXPR_RSQRT: return x.sign;
    case EXPR_EXP: return POSITIVE;
    case EXPR_ABS: return x.sign == POSITIVE ? POSITIVE : NOT_NEGATIVE;
    case EXPR_MAX: return x.sign > y.sign ? x.sign : y.sign;
    case EXPR_MIN: return x.sign < y.sign ? x.sign : y.sign;
    default: return ANY;
    }
}

static Range constant_range(Bounder *b, double value) {
    const Expr *e = number(b, value);
    return (Range){ e, e, value > 0 ? POSITIVE : value >= 0 ? NOT_NEGATIVE : ANY, 0 };
}

static Range range_of(MapBounds *m, const Expr *e, const Expr *const *nodes, const Range *of, int count) {
    Bounder *b = m->b;
    Saturating s;
    if (e->op == EXPR_CONST)
        return constant_range(b, e->value);
    if (e->op == EXPR_INPUT)
        return m->input[e->index];
    if (e->op == EXPR_COORD)
        return (Range){ number(b, 0), number(b, (double)(m->map->shape.dim[e->index] - 1)), NOT_NEGATIVE, 0 };
    Range arg[3] = { UNBOUNDED, UNBOUNDED, UNBOUNDED };
    bool points = true;
    for (int i = 0; i < expr_info[e->op].args; i++) {
        arg[i] = of[expr_position(nodes, count, e->arg[i])];
        points = points && is_point(arg[i]);
    }
    if (points) {
        const Expr *value = simple_make(b->exprs, e->op, arg[0].lo, arg[1].lo, arg[2].lo);
        return (Range){ value, value, point_sign(e, arg[0], arg[1]), 0 };
    }
    if (saturating_core(e, &s))
        return saturated(b, of[expr_position(nodes, count, s.bend)], of[expr_position(nodes, count, s.inner)]);
    return operation(b, e, arg[0], arg[1], arg[2]);
}

/* ---- inputs of a MAP ---- */

/* What a parameter's own range says of it. */
static Sign node_sign(const Node *n) {
    while (n->op == OP_RESHAPE || (n->op == OP_MAP && n->attr.expr->op == EXPR_INPUT))
        n = n->in[0];
    if (n->op == OP_FILL)
        return n->attr.value > 0 ? POSITIVE : n->attr.value >= 0 ? NOT_NEGATIVE : ANY;
    if (n->op != OP_TENSOR)
        return ANY;
    const Constraint *c = &n->attr.tensor->constraint;
    if (c->kind == CONSTRAINT_NONE || c->lo < 0)
        return ANY;
    return c->kind == CONSTRAINT_AT_LEAST && c->lo == 0 ? NOT_NEGATIVE : POSITIVE;
}

static const Expr *add_input(MapBounds *m, Node *n) {
    m->in[m->count] = n;
    return expr_input(m->b->exprs, m->count++);
}

/* The range of a bounded input, or of the piece that the coordinate along axis 0 says. */
static Range bounded_input(MapBounds *m, const Bounds *x, bool cut) {
    Bounder *b = m->b;
    const Expr *lo = negated(b, add_input(m, x->below)), *hi = add_input(m, x->above);
    if (!cut)
        return (Range){ lo, hi, ANY, x->terms };
    const Expr *piece = expr_coord(b->exprs, 0), *size = make(b, EXPR_MUL, make(b, EXPR_SUB, hi, lo), number(b, 1.0 / PIECES));
    const Expr *begin = make(b, EXPR_ADD, lo, make(b, EXPR_MUL, size, piece));
    return (Range){ begin, make(b, EXPR_ADD, begin, size), ANY, x->terms };
}

/* The elements of the MAP's parameters broadcast against each other, pieces along axis 0. */
static Shape interval_shape(const MapBounds *m) {
    Shape s = { 0 };
    for (int i = 0; i < m->count; i++) {
        bool fits = shape_join(&s, &m->in[i]->shape, &s);
        assert(fits && "parameters of a map broadcast");
        (void)fits;
    }
    if (m->pieces > 1 && s.rank == 0)
        s.rank = 1;
    if (m->pieces > 1)
        s.dim[0] = m->pieces;
    return s;
}

static void prepare_inputs(MapBounds *m, Bounder *b) {
    int varying = 0;
    int64_t elements = 1;
    for (int i = 0; i < m->map->arity; i++) {
        const Node *x = m->map->in[i];
        if (!b->constant[x->id])
            varying += b->of[x->id].above ? 1 : 2;
        else
            elements = shape_count(&x->shape) > elements ? shape_count(&x->shape) : elements;
    }
    m->pieces = varying == 1 && elements * PIECES <= MAX_ELEMENTS ? PIECES : 1;
    for (int i = 0; i < m->map->arity; i++) {
        Node *x = m->map->in[i];
        if (b->constant[x->id]) {
            const Expr *e = add_input(m, x);
            m->input[i] = (Range){ e, e, node_sign(x), 0 };
        } else {
            m->input[i] = b->of[x->id].above ? bounded_input(m, &b->of[x->id], m->pieces > 1) : UNBOUNDED;
        }
    }
}

/* ---- nodes ---- */

/* The largest element, rank 0. */
static Node *largest(Graph *g, Node *x, const Node *like) {
    if (shape_count(&x->shape) > 1)
        x = graph_reduce(g, OP_MAXIMUM, x, (1u << x->shape.rank) - 1, like);
    return x->shape.rank ? graph_reshape(g, x, (Shape){ 0 }, -1, like) : x;
}

static Node *interval_end(MapBounds *m, const Expr *e) {
    Graph *g = m->b->graph;
    Node *ends = graph_map_shape(g, expr_simplify(g->exprs, e), m->in, m->count, interval_shape(m), -1, m->map);
    return largest(g, ends, m->map);
}

static Bounds map_bounds(Bounder *b, const Node *n) {
    MapBounds m = { .b = b, .map = n, .in = NEW_ARRAY(b->arena, Node *, 2 * n->arity + 1), .input = NEW_ARRAY(b->arena, Range, n->arity + 1) };
    int count;
    const Expr **nodes = expr_nodes(b->arena, expr_simplify(b->exprs, n->attr.expr), &count);
    Range *of = NEW_ARRAY(b->arena, Range, count);
    prepare_inputs(&m, b);
    for (int i = 0; i < count; i++)
        of[i] = range_of(&m, nodes[i], nodes, of, count);
    Range r = of[count - 1];
    if (!is_bounded(r))
        return (Bounds){ 0 };
    return (Bounds){ interval_end(&m, negated(b, r.lo)), interval_end(&m, r.hi), larger(r.terms, 1) };
}

static Node *widened(Bounder *b, Node *x, ExprOp op, Node *with, double number_with) {
    ExprPool *p = b->exprs;
    const Expr *other = with ? expr_input(p, 1) : expr_const(p, number_with);
    return graph_map(b->graph, expr_make(p, op, expr_input(p, 0), other, NULL), (Node *[]){ x, with }, with ? 2 : 1, x);
}

static Bounds with_zero(Bounder *b, Bounds x) {
    return (Bounds){ widened(b, x.below, EXPR_MAX, NULL, 0), widened(b, x.above, EXPR_MAX, NULL, 0), x.terms };
}

static Bounds united(Bounder *b, Bounds x, Bounds y) {
    if (!x.above || !y.above)
        return (Bounds){ 0 };
    return (Bounds){ widened(b, x.below, EXPR_MAX, y.below, 0), widened(b, x.above, EXPR_MAX, y.above, 0), larger(x.terms, y.terms) };
}

/* A sum over k elements is no farther out than k times the farthest. */
static Bounds summed(Bounder *b, const Node *n, Bounds x) {
    double k = (double)shape_count(&n->in[0]->shape) / (double)shape_count(&n->shape);
    x = with_zero(b, x);
    return (Bounds){ widened(b, x.below, EXPR_MUL, NULL, k), widened(b, x.above, EXPR_MUL, NULL, k), x.terms };
}

static Bounds node_bounds(Bounder *b, const Node *n) {
    Bounds x = n->arity ? b->of[n->in[0]->id] : (Bounds){ 0 };
    if (n->op == OP_MAP)
        return n->type == TYPE_F32 ? map_bounds(b, n) : (Bounds){ 0 };
    if (n->op == OP_CONCAT) {
        for (int i = 1; i < n->arity; i++)
            x = united(b, x, b->of[n->in[i]->id]);
        return x;
    }
    if (!x.above)
        return x;
    switch (n->op) {
    case OP_MAXPOOL: case OP_MAXIMUM: case OP_RESHAPE: case OP_TRANSPOSE: case OP_SLICE: return x;
    case OP_AVGPOOL: case OP_PAD: return with_zero(b, x);
    case OP_SUM: return summed(b, n, x);
    default: return (Bounds){ 0 };
    }
}

static bool is_constant(const Bounder *b, const Node *n) {
    if (n->op == OP_TENSOR || n->op == OP_FILL)
        return true;
    if (op_info[n->op].class == CLASS_LEAF || op_info[n->op].class == CLASS_RANDOM || n->shape.batched)
        return false;
    for (int i = 0; i < n->arity; i++)
        if (!b->constant[n->in[i]->id])
            return false;
    return true;
}

Bounds *graph_bounds(Arena *arena, Graph *g) {
    Bounder b = { .arena = arena, .graph = g, .exprs = g->exprs };
    Node *last = g->last;
    b.constant = NEW_ARRAY(arena, bool, g->next_id + 1);
    b.of = NEW_ARRAY(arena, Bounds, g->next_id + 1);
    for (Node *n = g->first; n; n = n == last ? NULL : n->next) {
        b.constant[n->id] = is_constant(&b, n);
        if (!b.constant[n->id])
            b.of[n->id] = node_bounds(&b, n);
    }
    return b.of;
}

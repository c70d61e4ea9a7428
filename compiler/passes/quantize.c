/* quantize.c - --precision=int8 and f16: convolutions of `infer` by whole numbers, or in float16.
 * needs: topological order, tables     keeps: shapes     spoils: nothing
 *
 * A convolution whose operand x is bounded, -below <= x <= above, reads it as bytes: step = (below + above) / 255, zero =
 * below / step rounded, byte = x / step + zero rounded. The bytes are a MAP of type u8, so whoever computes x stores
 * them on the way; step and zero are of parameters alone. What stands behind computes in float32 as before.
 *
 * Where formulas bound nothing, or less than is useful, the range is what calibration saw.
 *
 * In float16 no range is needed: the operand is a MAP of type f16, rounded and stored by whoever computes it. */
#include "passes/bounds.h"
#include "passes/passes.h"

/* A bound that adds up so many values each within its own may lie far outside of what occurs: log2 of it is the
 * number of bits, of the eight, that are lost at worst. */
enum { MAX_TERMS = 16 };
enum { MAX_PRODUCTS = INT32_MAX / (255 * 127) };         /* so that no sum leaves 32 bits */
enum { MAX_REACH = 9 };
static const double SMALLEST = 1e-30;                    /* range of a value that is always 0 */

typedef struct { Node *bytes, *zero, *step; } Quantized;

typedef struct {
    Arena *arena;
    Program *program;
    Graph *graph;
    Bounds *bounds;                  /* by id of the nodes there were */
    Quantized *done;                 /* by id */
    bool *behind, *before;           /* by id: computed from a convolution's result; read by a convolution in the end */
    double (*seen)[2];               /* by id: quantiles of calibration, {0, 0}: not seen */
} Quantizer;

/* ---- calibration ---- */

/* Operands of convolutions, each once. */
static void calibrate(Quantizer *q, Calibration *c) {
    int count = 0, limit = graph_count(q->graph);
    Node **nodes = NEW_ARRAY(q->arena, Node *, limit + 1);
    bool *listed = NEW_ARRAY(q->arena, bool, q->graph->next_id + 1);
    for (Node *n = q->graph->first; n; n = n->next) {
        if (n->op != OP_CONV || !n->in[0]->shape.batched || listed[n->in[0]->id])
            continue;
        listed[n->in[0]->id] = true;
        nodes[count++] = n->in[0];
    }
    double (*seen)[2] = arena_alloc_array(q->arena, (size_t)count + 1, sizeof *seen);
    bool fine = c->see(c, q->graph, nodes, count, seen);
    for (int i = 0; i < count && fine; i++) {
        q->seen[nodes[i]->id][0] = seen[i][0];
        q->seen[nodes[i]->id][1] = seen[i][1];
    }
}

/* ---- which ---- */

static void find_ends(Quantizer *q) {
    for (const Node *n = q->graph->first; n; n = n->next)
        for (int i = 0; i < n->arity; i++)
            q->behind[n->id] |= q->behind[n->in[i]->id] || n->in[i]->op == OP_CONV;
    for (const Node *n = q->graph->last; n; n = n->prev)
        for (int i = 0; i < n->arity; i++)
            q->before[n->in[i]->id] |= q->before[n->id] || n->op == OP_CONV;
}

static int64_t products(const Node *w) { return shape_count(&w->shape) / w->shape.dim[0]; }

/* Wider windows have more kinds of borders than a nest of tiles holds. */
static bool is_wide(const Window *w) {
    for (int i = 0; i < w->spatial; i++)
        if ((w->kernel[i] - 1) * w->dilation[i] + 1 > MAX_REACH || w->pad_lo[i] >= MAX_REACH || w->pad_hi[i] >= MAX_REACH)
            return true;
    return false;
}

/* Why a convolution stays in float32 whatever the range of its operand is; NULL: it need not. */
static const char *reason_of_form(const Quantizer *q, const Node *n) {
    const Node *x = n->in[0], *w = n->in[1];
    if (!q->behind[n->id])
        return "the first layer stays in float32";
    if (!q->before[n->id])
        return "the last layer stays in float32";
    if (n->attr.window.groups != 1)
        return "its channels are in groups";
    int channel = window_channel(&n->attr.window);
    if (x->channel != channel || x->shape.dim[channel] < 4)
        return "its channels do not lie together in fours";
    if (is_wide(&n->attr.window))
        return "its window is too wide";
    while (w->op == OP_RESHAPE)
        w = w->in[0];
    if (w->shape.batched || w->op != OP_TENSOR)
        return "its weights are no parameter";
    return products(n->in[1]) > MAX_PRODUCTS ? "its sums could leave 32 bits" : NULL;
}

static const char *reason_of_range(const Quantizer *q, const Node *x) {
    if (q->seen[x->id][0] != 0 || q->seen[x->id][1] != 0)
        return NULL;
    if (!q->bounds[x->id].above)
        return "nothing bounds its input";
    return q->bounds[x->id].terms > MAX_TERMS
               ? arena_printf(q->arena, "its input's bound is too loose: it adds up %d bounded values", q->bounds[x->id].terms) : NULL;
}

/* ---- how ---- */

static Node *scalar(Quantizer *q, const Expr *e, Node *const *in, int arity, DType type, const Node *like) {
    e = expr_simplify(q->graph->exprs, e);
    return type == TYPE_F32 ? graph_map_shape(q->graph, e, in, arity, (Shape){ 0 }, -1, like)
                            : graph_map_integer(q->graph, e, in, arity, (Shape){ 0 }, -1, type, like);
}

/* max(0, input k) */
static const Expr *not_negative(ExprPool *p, int k) { return expr_make(p, EXPR_MAX, expr_input(p, k), expr_const(p, 0), NULL); }

static Quantized quantized(Quantizer *q, Node *x) {
    Graph *g = q->graph;
    ExprPool *p = g->exprs;
    Node *range[2] = { q->bounds[x->id].below, q->bounds[x->id].above };
    const double *seen = q->seen[x->id];
    for (int i = 0; i < 2 && (seen[0] != 0 || seen[1] != 0); i++)
        range[i] = graph_fill(g, (Shape){ 0 }, -1, i ? seen[1] : -seen[0], x);
    const Expr *width = expr_make(p, EXPR_ADD, not_negative(p, 0), not_negative(p, 1), NULL);
    width = expr_make(p, EXPR_MAX, width, expr_const(p, SMALLEST), NULL);
    const Expr *per_step = expr_make(p, EXPR_DIV, expr_const(p, 255), width, NULL);
    Quantized r;
    r.step = scalar(q, expr_make(p, EXPR_DIV, width, expr_const(p, 255), NULL), range, 2, TYPE_F32, x);
    Node *inverse = scalar(q, per_step, range, 2, TYPE_F32, x);
    r.zero = scalar(q, expr_make(p, EXPR_MUL, not_negative(p, 0), per_step, NULL), range, 2, TYPE_I32, x);
    const Expr *byte = expr_make(p, EXPR_ADD, expr_make(p, EXPR_MUL, expr_input(p, 0), expr_input(p, 1), NULL), expr_input(p, 2), NULL);
    byte = expr_make(p, EXPR_MIN, expr_make(p, EXPR_MAX, byte, expr_const(p, 0), NULL), expr_const(p, 255), NULL);
    r.bytes = graph_map_integer(g, byte, (Node *[]){ x, inverse, r.zero }, 3, x->shape, x->channel, TYPE_U8, x);
    return r;
}

static void convert(Quantizer *q, Node *n) {
    Quantized *x = &q->done[n->in[0]->id];
    if (!x->bytes)
        *x = quantized(q, n->in[0]);
    Node *with = graph_conv_int8(q->graph, x->bytes, n->in[1], x->zero, x->step, &n->attr.window, n);
    graph_replace(q->graph, n, with);
}

static void record(Quantizer *q, LayerPrecision d) {
    ARENA_PUSH(q->program->arena, q->program->precision, q->program->precision_count, q->program->precision_cap, d);
}

/* Vectors of binary16 are two vectors of floats wide. */
static void decide_half(Quantizer *q, Node *n, LayerPrecision d) {
    int64_t blocks = (n->shape.dim[1] + q->program->half - 1) / q->program->half;
    if (!d.why && (n->attr.window.spatial == 0 || n->attr.window.channel_last))
        d.why = "it has no window of pixels";
    if (!d.why && blocks % 2)
        d.why = "its output channels are an odd number of vectors";
    d.lower = !d.why;
    Quantized *x = &q->done[n->in[0]->id];
    if (d.lower && !x->bytes)
        x->bytes = graph_map_integer(q->graph, expr_input(q->graph->exprs, 0), &n->in[0], 1, n->in[0]->shape, n->in[0]->channel, TYPE_F16, n->in[0]);
    if (d.lower)
        graph_replace(q->graph, n, graph_conv_half(q->graph, x->bytes, n->in[1], &n->attr.window, n));
    d.why = d.lower ? "its operand and weights are rounded to float16" : d.why;
    record(q, d);
}

static void decide(Quantizer *q, Node *n) {
    LayerPrecision d = { .tap = n->tap, .span = n->span, .why = reason_of_form(q, n) };
    if (q->program->half) {
        decide_half(q, n, d);
        return;
    }
    d.by_range = !d.why;
    if (!d.why)
        d.why = reason_of_range(q, n->in[0]);
    d.lower = !d.why;
    if (d.lower) {
        const double *seen = q->seen[n->in[0]->id];
        d.why = seen[0] != 0 || seen[1] != 0 ? arena_printf(q->arena, "its input was seen in %.4g to %.4g", seen[0], seen[1])
                : q->bounds[n->in[0]->id].terms > 1
                    ? arena_printf(q->arena, "its input is bounded, a sum of %d bounded values", q->bounds[n->in[0]->id].terms)
                    : "its input is bounded";
        convert(q, n);
    }
    record(q, d);
}

void pass_quantize(Program *p) {
    if ((!p->int8 && !p->half) || !p->infer)
        return;
    Arena *scratch = p->arena;
    Graph *g = p->infer;
    int count = g->next_id + 1;
    Quantizer q = { .arena = scratch, .program = p, .graph = g, .done = NEW_ARRAY(scratch, Quantized, count),
                    .behind = NEW_ARRAY(scratch, bool, count), .before = NEW_ARRAY(scratch, bool, count) };
    q.seen = arena_alloc_array(scratch, (size_t)count, sizeof *q.seen);
    if (p->calibration)
        calibrate(&q, p->calibration);
    find_ends(&q);
    Node *last = g->last;
    q.bounds = p->int8 ? graph_bounds(scratch, g) : NULL;
    for (Node *n = g->first; n; n = n == last ? NULL : n->next)
        if (n->op == OP_CONV && n->shape.batched)
            decide(&q, n);
    graph_sort(g);
}

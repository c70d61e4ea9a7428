/* build_expr.c - expressions: a tree becomes a value, which may be a tensor of the graph. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

/* ---- diagnostics and bounds ---- */

enum { TRACE_SHOWN_INNER = 5, TRACE_SHOWN_OUTER = 2 };

/* Notes for the innermost and outermost calls. */
static void show_trace(Builder *b, const Trace *from) {
    int count = 0, i = 0;
    for (const Trace *t = from; t; t = t->outer)
        count++;
    for (const Trace *t = from; t; t = t->outer, i++) {
        if (i < TRACE_SHOWN_INNER || i >= count - TRACE_SHOWN_OUTER)
            diag_trace(b->diag, "in %s at %s", t->what, source_place_text(b->arena, t->span));
        else if (i == TRACE_SHOWN_INNER)
            diag_trace(b->diag, "... through %d more calls", count - TRACE_SHOWN_INNER - TRACE_SHOWN_OUTER);
    }
}

static bool in_prelude(const Builder *b, Span at) {
    return at.file && b->prelude && at.file == b->prelude->source;
}

static bool contains(Span outer, Span inner) {
    return outer.file == inner.file && outer.begin <= inner.begin && span_end(inner) <= span_end(outer);
}

/* What goes wrong inside the prelude goes wrong where the user's file calls it. A call that the error itself
 * shows needs no note. */
void build_error(Builder *b, Span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(b->arena, fmt, ap);
    va_end(ap);
    const Trace *from = b->trace, *last = NULL;
    if (from && contains(from->span, at))
        from = from->outer;
    for (; from && in_prelude(b, at); from = from->outer) {
        at = from->span;
        last = from;
    }
    if (last)
        diag_error(b->diag, at, "in `%s`: %s", last->layer, text);
    else
        diag_error(b->diag, at, "%s", text);
    show_trace(b, from);
    if (++b->reports >= BUILD_MAX_REPORTS)
        b->stopped = true;
}

bool build_stopped(Builder *b) {
    return b->stopped || diag_full(b->diag);
}

bool build_step(Builder *b, Span at) {
    if (build_stopped(b))
        return false;
    if (++b->steps > BUILD_MAX_STEPS)
        build_error(b, at, "this program is too large: elaborating it takes more than %d steps", BUILD_MAX_STEPS);
    else if (b->graph && b->graph->next_id > BUILD_MAX_NODES)
        build_error(b, at, "this network is too large: it has more than %d operations", BUILD_MAX_NODES);
    else
        return true;
    b->stopped = true;
    return false;
}

/* Nodes of the prelude's blocks stand where the user's file calls them. */
const Node *build_at(Builder *b, Span at) {
    for (const Trace *t = b->trace; t && in_prelude(b, at); t = t->outer)
        at = t->span;
    b->like = (Node){ .span = at, .tap = b->tap, .trace = b->trace };
    return &b->like;
}

bool build_shape_fits(Builder *b, const Shape *s, Span at) {
    if (shape_count(s) <= BUILD_MAX_ELEMENTS)
        return true;
    build_error(b, at, "a tensor %s is too large: more than 2^31 - 1 elements", shape_text(b->arena, TYPE_F32, s));
    return false;
}

/* ---- operators ---- */

static const ExprOp arithmetic[] = {
    [BINARY_OR] = EXPR_OR,   [BINARY_AND] = EXPR_AND, [BINARY_ADD] = EXPR_ADD, [BINARY_SUB] = EXPR_SUB,
    [BINARY_MUL] = EXPR_MUL, [BINARY_DIV] = EXPR_DIV, [BINARY_POW] = EXPR_POW,
};
static const char *const verbs[] = {
    [BINARY_OR] = "combine",  [BINARY_AND] = "combine", [BINARY_ADD] = "add",      [BINARY_SUB] = "subtract",
    [BINARY_MUL] = "multiply", [BINARY_DIV] = "divide",  [BINARY_POW] = "raise",
};

static Value whole_division(Builder *b, const AstNode *e, Value left, Value right) {
    const char *op = ast_binary_text(e->binary.op);
    double x, y;
    if (!value_want_number(b, left, e->binary.left->span, arena_printf(b->arena, "what stands left of `%s`", op), &x) ||
        !value_want_number(b, right, e->binary.right->span, arena_printf(b->arena, "what stands right of `%s`", op), &y))
        return value_bad();
    if (y == 0) {
        build_error(b, e->span, "division by zero");
        return value_bad();
    }
    return value_number(e->binary.op == BINARY_MOD ? x - y * floor(x / y) : floor(x / y));
}

/* `and` and `or` decide on what stands left where they can, so that `training and step < 8` is false in a
 * network that is deployed. */
static Value eval_logic(Builder *b, const AstNode *e) {
    bool is_or = e->binary.op == BINARY_OR;
    Value in[2] = { build_eval(b, e->binary.left) };
    if (in[0].kind == VALUE_BOOL && in[0].boolean == is_or)
        return in[0];
    in[1] = build_eval(b, e->binary.right);
    if (is_bad(in[0]) || is_bad(in[1]))
        return value_bad();
    const AstNode *side[2] = { e->binary.left, e->binary.right };
    for (int i = 0; i < 2; i++) {
        if (in[i].kind == VALUE_BOOL || in[i].kind == VALUE_TENSOR)
            continue;
        build_error(b, side[i]->span, "`%s` combines conditions, not %s", is_or ? "or" : "and", value_text(b, in[i]));
        return value_bad();
    }
    if (in[0].kind == VALUE_BOOL)
        return in[1];
    if (in[1].kind == VALUE_BOOL)
        return in[1].boolean == is_or ? in[1] : in[0];
    return build_operator(b, is_or ? EXPR_OR : EXPR_AND, in, 2, e->span, "combine");
}

static Value eval_binary(Builder *b, const AstNode *e) {
    BinaryOp op = e->binary.op;
    if (op == BINARY_AND || op == BINARY_OR)
        return eval_logic(b, e);
    Value in[2] = { build_eval(b, e->binary.left), build_eval(b, e->binary.right) };
    if (is_bad(in[0]) || is_bad(in[1]))
        return value_bad();
    if (op == BINARY_MOD || op == BINARY_FLOORDIV)
        return whole_division(b, e, in[0], in[1]);
    return build_operator(b, arithmetic[op], in, 2, e->span, verbs[op]);
}

static Value eval_unary(Builder *b, const AstNode *e) {
    Value v = build_eval(b, e->unary.operand);
    if (is_bad(v))
        return v;
    if (e->unary.op == UNARY_NOT && v.kind == VALUE_BOOL)
        return value_bool(!v.boolean);
    if (e->unary.op == UNARY_NOT && v.kind != VALUE_TENSOR) {
        build_error(b, e->unary.operand->span, "`not` takes a condition, not %s", value_text(b, v));
        return value_bad();
    }
    return build_operator(b, e->unary.op == UNARY_NOT ? EXPR_NOT : EXPR_NEG, &v, 1, e->span, "negate");
}

static Value compare_numbers(CompareOp op, double x, double y) {
    switch (op) {
    case COMPARE_EQ: return value_bool(x == y);
    case COMPARE_NE: return value_bool(x != y);
    case COMPARE_LT: return value_bool(x < y);
    case COMPARE_LE: return value_bool(x <= y);
    case COMPARE_GT: return value_bool(x > y);
    case COMPARE_GE: return value_bool(x >= y);
    }
    return value_bad();
}

static Value compare_tensors(Builder *b, const AstNode *e, Value x, Value y) {
    CompareOp op = e->compare.op;
    bool swap = op == COMPARE_GT || op == COMPARE_GE;
    Value in[2] = { swap ? y : x, swap ? x : y };
    ExprOp expr = op == COMPARE_LT || op == COMPARE_GT ? EXPR_LT : op == COMPARE_LE || op == COMPARE_GE ? EXPR_LE : EXPR_EQ;
    Value v = build_operator(b, expr, in, 2, e->span, "compare");
    if (op == COMPARE_NE && !is_bad(v))
        v = build_operator(b, EXPR_NOT, &v, 1, e->span, "compare");
    return v;
}

static Value eval_compare(Builder *b, const AstNode *e) {
    Value x = build_eval(b, e->compare.left), y = build_eval(b, e->compare.right);
    CompareOp op = e->compare.op;
    if (is_bad(x) || is_bad(y))
        return value_bad();
    if (x.kind == VALUE_NUMBER && y.kind == VALUE_NUMBER)
        return compare_numbers(op, x.number, y.number);
    if (x.kind == VALUE_TENSOR || y.kind == VALUE_TENSOR)
        return compare_tensors(b, e, x, y);
    if (op == COMPARE_EQ || op == COMPARE_NE)
        return value_bool(value_equal(x, y) == (op == COMPARE_EQ));
    build_error(b, e->span, "cannot compare %s and %s with `%s`", value_text(b, x), value_text(b, y), ast_compare_text(op));
    return value_bad();
}

/* Only the arm that is taken is evaluated; a condition on tensors takes both, element by element. */
static Value eval_cond(Builder *b, const AstNode *e) {
    Value c = build_eval(b, e->cond.condition);
    if (c.kind == VALUE_BOOL)
        return build_eval(b, c.boolean ? e->cond.then : e->cond.otherwise);
    Value in[3] = { c, build_eval(b, e->cond.then), build_eval(b, e->cond.otherwise) };
    if (is_bad(c) || is_bad(in[1]) || is_bad(in[2]))
        return value_bad();
    if (c.kind != VALUE_TENSOR) {
        build_error(b, e->cond.condition->span, "a condition must be true or false, not %s", value_text(b, c));
        return value_bad();
    }
    return build_operator(b, EXPR_SELECT, in, 3, e->span, "choose between");
}

/* ---- lists, ranges, fields ---- */

static Value eval_items(Builder *b, const AstNode *e, ValueKind kind) {
    int count = e->list.items.count;
    Value *items = NEW_ARRAY(b->arena, Value, count);
    for (int i = 0; i < count; i++)
        items[i] = build_eval(b, e->list.items.items[i]);
    return value_list(b, kind, items, count, e->span);
}

static Value eval_range(Builder *b, const AstNode *e) {
    int64_t from, to;
    const int64_t limit = (int64_t)1 << 40;
    Value x = build_eval(b, e->range.from), y = build_eval(b, e->range.to);
    bool ok = value_want_integer(b, x, e->range.from->span, "the begin of a range", -limit, limit, &from);
    ok = value_want_integer(b, y, e->range.to->span, "the end of a range", -limit, limit, &to) && ok;
    return ok ? (Value){ .kind = VALUE_RANGE, .range = { from, to } } : value_bad();
}

static Value eval_index(Builder *b, const AstNode *e) {
    Value base = build_eval(b, e->index.base);
    if (is_bad(base))
        return base;
    if (base.kind == VALUE_TENSOR) {
        build_error(b, e->span, "indexing a tensor is not supported yet");
        return value_bad();
    }
    if (base.kind != VALUE_LIST && base.kind != VALUE_TUPLE) {
        build_error(b, e->span, "%s cannot be indexed", value_text(b, base));
        return value_bad();
    }
    if (e->index.items.count != 1) {
        build_error(b, e->span, "a list takes one index, not %d", e->index.items.count);
        return value_bad();
    }
    int64_t i, count = base.list->count;
    Span at = e->index.items.items[0]->span;
    if (!value_want_integer(b, build_eval(b, e->index.items.items[0]), at, "an index", INT32_MIN, INT32_MAX, &i))
        return value_bad();
    if (i < -count || i >= count) {
        build_error(b, at, "index %lld is outside of %s, which holds %lld", (long long)i, value_text(b, base), (long long)count);
        return value_bad();
    }
    return base.list->items[i < 0 ? i + count : i];
}

static Value tensor_sizes(Builder *b, const Node *x, Span at) {
    Value items[MAX_RANK];
    int count = 0;
    for (int i = x->shape.batched; i < x->shape.rank; i++)
        items[count++] = value_number((double)x->shape.dim[i]);
    return value_list(b, VALUE_LIST, items, count, at);
}

/* .channels .channel .rank .height .width .sizes; what depends on the run-time batch is not among them */
static Value tensor_field(Builder *b, const AstNode *e, const Node *x) {
    static const char *const known[] = { "channels", "channel", "rank", "height", "width", "sizes" };
    const char *name = e->field.name.text;
    bool image = x->shape.rank == 4 && x->channel == 1;
    if (strcmp(name, "rank") == 0)
        return value_number(x->shape.rank);
    if (strcmp(name, "sizes") == 0)
        return tensor_sizes(b, x, e->span);
    if (strcmp(name, "height") == 0 && image)
        return value_number((double)x->shape.dim[2]);
    if (strcmp(name, "width") == 0 && image)
        return value_number((double)x->shape.dim[3]);
    bool channel = strcmp(name, "channel") == 0;
    if ((channel || strcmp(name, "channels") == 0) && x->channel >= 0)
        return value_number(channel ? x->channel : (double)x->shape.dim[x->channel]);
    const char *shape = shape_text(b->arena, x->type, &x->shape);
    for (int i = 0; i < COUNT(known); i++) {
        if (strcmp(known[i], name) != 0)
            continue;
        build_error(b, e->span, "a tensor %s has no `%s`", shape, name);
        diag_help(b->diag, i < 2 ? "its channel axis is not known; a reshape that moves it says so: `reshape([...], channel = 1)`"
                                 : "only pictures, [N, channels, height, width], have one");
        return value_bad();
    }
    build_error(b, e->field.name.span, "a tensor has no `%s`", name);
    diag_did_you_mean(b->diag, nearest(name, known, COUNT(known)));
    return value_bad();
}

static Value eval_field(Builder *b, const AstNode *e) {
    Value base = build_eval(b, e->field.base);
    if (base.kind == VALUE_TENSOR)
        return tensor_field(b, e, base.tensor);
    if (!is_bad(base))
        build_error(b, e->field.name.span, "%s has no `%s`", value_text(b, base), e->field.name.text);
    return value_bad();
}

/* ---- dispatch ---- */

static Value eval_kind(Builder *b, const AstNode *e) {
    switch (e->kind) {
    case EXPR_NUMBER: return value_number(e->number.value);
    case EXPR_STRING: return value_string(e->string.text);
    case EXPR_BOOL: return value_bool(e->boolean.value);
    case EXPR_NAME: return build_name(b, e->name.text, e->span, false);
    case EXPR_LIST: return eval_items(b, e, VALUE_LIST);
    case EXPR_TUPLE: return eval_items(b, e, VALUE_TUPLE);
    case EXPR_UNARY: return eval_unary(b, e);
    case EXPR_BINARY: return eval_binary(b, e);
    case EXPR_COMPARE: return eval_compare(b, e);
    case EXPR_COND: return eval_cond(b, e);
    case EXPR_CALL: return build_call(b, e);
    case EXPR_INDEX: return eval_index(b, e);
    case EXPR_FIELD: return eval_field(b, e);
    case EXPR_RANGE: return eval_range(b, e);
    case EXPR_PIPE: return build_pipe(b, e);
    default: return value_bad();
    }
}

Value build_eval(Builder *b, const AstNode *e) {
    if (!build_step(b, e->span))
        return value_bad();
    if (b->depth >= BUILD_MAX_DEPTH) {
        build_error(b, e->span, "this stands more than %d levels deep in expressions and calls", BUILD_MAX_DEPTH);
        b->stopped = true;
        return value_bad();
    }
    b->depth++;
    Value v = eval_kind(b, e);
    b->depth--;
    return v;
}

/* build_activation.c - an activation's formula becomes the scalar expression of one MAP over the tensor and its
 * learnable parameters, which are of rank 0 or lie along the channel axis. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

enum {
    FORMULA_DEPTH_MAX = 300,            /* of expressions, through activations used in activations */
    FORMULA_STEPS_MAX = 2000,           /* of one formula with what it uses written out */
    FORMULA_NAMES_MAX = 33              /* the input and its parameters */
};

typedef struct Formula {
    Builder *b;
    const Module *module;
    const char *names[FORMULA_NAMES_MAX];
    const Expr *values[FORMULA_NAMES_MAX];
    int count;
    int depth;
} Formula;

static const Expr *formula(Formula *f, const AstNode *e);

static const Expr *make(Formula *f, ExprOp op, const Expr *x, const Expr *y, const Expr *z) {
    return expr_make(f->b->program->exprs, op, x, y, z);
}

/* ---- names ---- */

static const AstNode *declared(const Module *m, const char *name, const Module **home) {
    for (; m; m = m->outer) {
        const AstNode *decl = table_get(m->decls, name);
        if (decl) {
            *home = m;
            return decl;
        }
    }
    return NULL;
}

static void unknown_in_formula(Formula *f, const char *name, Span at, bool function) {
    const char *near = nearest(name, f->names, f->count);
    build_error(f->b, at, function ? "unknown function `%s` in a formula" : "unknown name `%s` in a formula", name);
    ExprOp op;
    for (int i = 0; function && i < EXPR_OP_COUNT; i++)
        if (scalar_function(expr_info[i].text, &op) && nearest(name, &expr_info[i].text, 1) &&
            (!near || edit_distance(name, expr_info[i].text) < edit_distance(name, near)))
            near = expr_info[i].text;
    if (near)
        diag_did_you_mean(f->b->diag, near);
    else if (function)
        diag_help(f->b->diag, "formulas use + - * / ^ sqrt rsqrt exp log tanh sigmoid erf sin cos softplus abs min max, "
                              "other activations, and `a if c else b`");
}

static const Expr *formula_name(Formula *f, const AstNode *e) {
    Builder *b = f->b;
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->names[i], e->name.text) == 0)
            return f->values[i];
    const Module *home;
    const AstNode *decl = declared(f->module, e->name.text, &home);
    if (!decl || decl->kind != DECL_LET) {
        unknown_in_formula(f, e->name.text, e->span, false);
        return NULL;
    }
    Frame *outside = b->frame;
    double v;
    b->frame = build_frame(b, home, NULL);
    bool ok = value_want_number(b, build_name(b, e->name.text, e->span, false), e->span, "a name in a formula", &v);
    b->frame = outside;
    return ok ? expr_const(b->program->exprs, v) : NULL;
}

/* ---- calls ---- */

static const Expr *function_call(Formula *f, const AstNode *e, ExprOp op) {
    const ArgList *args = &e->call.args;
    const Expr *in[3] = { 0 };
    int wanted = expr_info[op].args;
    if (args->count != wanted) {
        build_error(f->b, e->span, "`%s` takes %d value%s, not %d", expr_info[op].text, wanted, wanted == 1 ? "" : "s", args->count);
        return NULL;
    }
    for (int i = 0; i < wanted; i++) {
        if (args->items[i].name.text) {
            build_error(f->b, args->items[i].span, "`%s` has no argument `%s`", expr_info[op].text, args->items[i].name.text);
            return NULL;
        }
        in[i] = formula(f, args->items[i].value);
        if (!in[i])
            return NULL;
    }
    return make(f, op, in[0], in[1], in[2]);
}

static int parameter_index(const AstNode *decl, const char *name) {
    for (int i = 0; i < decl->function.params.count; i++)
        if (strcmp(decl->function.params.items[i].name.text, name) == 0)
            return i;
    return -1;
}

/* Another activation written out in place: salu(x, a, b), every parameter given by position or name. */
static bool inner_arguments(Formula *f, const AstNode *e, const AstNode *decl, Formula *inner) {
    const ArgList *args = &e->call.args;
    const char *name = decl->function.name.text;
    for (int i = 0; i < args->count; i++) {
        const Arg *a = &args->items[i];
        int k = a->name.text ? parameter_index(decl, a->name.text) + 1 : i;
        if (k >= inner->count || (a->name.text && k == 0)) {
            build_error(f->b, a->span, "`%s` takes x and %d parameter%s", name, inner->count - 1, inner->count == 2 ? "" : "s");
            return false;
        }
        inner->values[k] = formula(f, a->value);
        if (!inner->values[k])
            return false;
    }
    for (int k = 0; k < inner->count; k++) {
        if (inner->values[k])
            continue;
        build_error(f->b, e->span, "`%s` needs its `%s` here", name, inner->names[k]);
        diag_help(f->b->diag, "inside a formula an activation has no parameters of its own: give them by position or name");
        return false;
    }
    return true;
}

static bool formula_names(Builder *b, const AstNode *decl, Formula *f) {
    const ParamList *params = &decl->function.params;
    if (params->count + 1 > FORMULA_NAMES_MAX) {
        build_error(b, decl->function.name.span, "an activation has at most %d parameters", FORMULA_NAMES_MAX - 1);
        return false;
    }
    f->names[f->count++] = decl->function.input.text;
    for (int i = 0; i < params->count; i++) {
        const Name *name = &params->items[i].name;
        for (int k = 0; k < f->count; k++)
            if (strcmp(f->names[k], name->text) == 0) {
                build_error(b, name->span, "`%s` is declared twice", name->text);
                return false;
            }
        f->names[f->count++] = name->text;
    }
    return true;
}

static const Expr *activation_call(Formula *f, const AstNode *e, const AstNode *decl, const Module *home) {
    Formula inner = { .b = f->b, .module = home, .depth = f->depth };
    if (!formula_names(f->b, decl, &inner) || !inner_arguments(f, e, decl, &inner))
        return NULL;
    return formula(&inner, decl->function.formula);
}

static const Expr *formula_call(Formula *f, const AstNode *e) {
    const AstNode *callee = e->call.callee;
    ExprOp op;
    const Module *home;
    if (e->call.label || callee->kind != EXPR_NAME) {
        build_error(f->b, e->span, e->call.label ? "formulas have no labels" : "a formula calls functions by name");
        return NULL;
    }
    if (scalar_function(callee->name.text, &op))
        return function_call(f, e, op);
    const AstNode *decl = declared(f->module, callee->name.text, &home);
    if (decl && decl->kind == DECL_ACTIVATION)
        return activation_call(f, e, decl, home);
    if (decl)
        build_error(f->b, callee->span, "`%s` is %s, not an activation", callee->name.text, ast_kind_text(decl->kind));
    else
        unknown_in_formula(f, callee->name.text, callee->span, true);
    return NULL;
}

/* ---- operators ---- */

static const Expr *formula_binary(Formula *f, const AstNode *e) {
    static const struct { BinaryOp from; ExprOp to; } known[] = {
        { BINARY_ADD, EXPR_ADD }, { BINARY_SUB, EXPR_SUB }, { BINARY_MUL, EXPR_MUL }, { BINARY_DIV, EXPR_DIV },
        { BINARY_POW, EXPR_POW }, { BINARY_AND, EXPR_AND }, { BINARY_OR, EXPR_OR },
    };
    const Expr *x = formula(f, e->binary.left), *y = formula(f, e->binary.right);
    for (int i = 0; i < COUNT(known); i++)
        if (known[i].from == e->binary.op)
            return x && y ? make(f, known[i].to, x, y, NULL) : NULL;
    build_error(f->b, e->binary.op_span, "`%s` has no place in a formula", ast_binary_text(e->binary.op));
    return NULL;
}

static const Expr *formula_compare(Formula *f, const AstNode *e) {
    const Expr *x = formula(f, e->compare.left), *y = formula(f, e->compare.right);
    if (!x || !y)
        return NULL;
    switch (e->compare.op) {
    case COMPARE_EQ: return make(f, EXPR_EQ, x, y, NULL);
    case COMPARE_NE: return make(f, EXPR_NOT, make(f, EXPR_EQ, x, y, NULL), NULL, NULL);
    case COMPARE_LT: return make(f, EXPR_LT, x, y, NULL);
    case COMPARE_LE: return make(f, EXPR_LE, x, y, NULL);
    case COMPARE_GT: return make(f, EXPR_LT, y, x, NULL);
    case COMPARE_GE: return make(f, EXPR_LE, y, x, NULL);
    }
    return NULL;
}

static const Expr *formula_cond(Formula *f, const AstNode *e) {
    const Expr *c = formula(f, e->cond.condition), *x = formula(f, e->cond.then), *y = formula(f, e->cond.otherwise);
    return c && x && y ? make(f, EXPR_SELECT, c, x, y) : NULL;
}

static const Expr *formula_unary(Formula *f, const AstNode *e) {
    const Expr *x = formula(f, e->unary.operand);
    return x ? make(f, e->unary.op == UNARY_NOT ? EXPR_NOT : EXPR_NEG, x, NULL, NULL) : NULL;
}

static const Expr *formula_kind(Formula *f, const AstNode *e) {
    ExprPool *p = f->b->program->exprs;
    switch (e->kind) {
    case EXPR_NUMBER: return expr_const(p, e->number.value);
    case EXPR_BOOL: return expr_const(p, e->boolean.value);
    case EXPR_NAME: return formula_name(f, e);
    case EXPR_UNARY: return formula_unary(f, e);
    case EXPR_BINARY: return formula_binary(f, e);
    case EXPR_COMPARE: return formula_compare(f, e);
    case EXPR_COND: return formula_cond(f, e);
    case EXPR_CALL: return formula_call(f, e);
    case EXPR_BAD: return NULL;
    default:
        build_error(f->b, e->span, "%s has no place in a formula", ast_kind_text(e->kind));
        return NULL;
    }
}

/* The expression; NULL after an error. */
static const Expr *formula(Formula *f, const AstNode *e) {
    Builder *b = f->b;
    if (!build_step(b, e->span))
        return NULL;
    if (f->depth >= FORMULA_DEPTH_MAX || ++b->formula_steps > FORMULA_STEPS_MAX) {
        build_error(b, e->span, f->depth >= FORMULA_DEPTH_MAX ? "this formula uses activations in activations without end"
                                                            : "this formula is too large");
        b->stopped = true;
        return NULL;
    }
    f->depth++;
    const Expr *result = formula_kind(f, e);
    f->depth--;
    return result;
}

/* ---- parameters ---- */

static bool bound_value(Builder *b, const Module *m, const AstNode *e, const char *what, double *out) {
    Frame *outside = b->frame;
    b->frame = build_frame(b, m, NULL);
    bool ok = value_want_number(b, build_eval(b, e), e->span, what, out);
    b->frame = outside;
    return ok;
}

static bool constraint_of(Builder *b, const Module *m, const Param *p, Constraint *out) {
    static const ConstraintKind kinds[] = { [BOUND_NONE] = CONSTRAINT_NONE, [BOUND_GREATER] = CONSTRAINT_GREATER,
                                            [BOUND_AT_LEAST] = CONSTRAINT_AT_LEAST, [BOUND_BETWEEN] = CONSTRAINT_BETWEEN };
    *out = (Constraint){ .kind = kinds[p->bound] };
    if (p->low && !bound_value(b, m, p->low, "a bound", &out->lo))
        return false;
    if (p->high && !bound_value(b, m, p->high, "a bound", &out->hi))
        return false;
    if (out->kind != CONSTRAINT_BETWEEN || out->lo < out->hi)
        return true;
    build_error(b, p->span, "no number lies between %s and %s", number_text(b, out->lo), number_text(b, out->hi));
    return false;
}

static bool within(Builder *b, const Constraint *c, double v, const char *name, Span at) {
    bool ok = c->kind == CONSTRAINT_NONE || (c->kind == CONSTRAINT_GREATER && v > c->lo) ||
              (c->kind == CONSTRAINT_AT_LEAST && v >= c->lo) || (c->kind == CONSTRAINT_BETWEEN && v > c->lo && v < c->hi);
    if (ok && isfinite(v))
        return true;
    const char *lo = number_text(b, c->lo);
    if (!isfinite(v))
        build_error(b, at, "`%s` must be finite", name);
    else if (c->kind == CONSTRAINT_BETWEEN)
        build_error(b, at, "`%s` must lie between %s and %s, and %s does not", name, lo, number_text(b, c->hi), number_text(b, v));
    else
        build_error(b, at, "`%s` must be %s %s, and %s is not", name, c->kind == CONSTRAINT_GREATER ? "greater than" : "at least", lo,
                    number_text(b, v));
    return false;
}

static bool channel_scope(Builder *b, const Param *p) {
    if (!p->scope.text || strcmp(p->scope.text, "channel") == 0)
        return true;
    build_error(b, p->scope.span, "unknown scope `%s` of `%s`", p->scope.text, p->name.text);
    if (nearest(p->scope.text, (const char *[]){ "channel" }, 1))
        diag_did_you_mean(b->diag, "channel");
    else
        diag_help(b->diag, "`: channel` gives one value per channel, nothing one for all");
    return false;
}

typedef struct Learnable {
    const Param *param;
    const Bound *given;
    Constraint constraint;
    double initial;
} Learnable;

static bool initial_value(Builder *b, const Layer *l, Learnable *out, Span at) {
    const Param *p = out->param;
    if (out->given) {
        const char *what = arena_printf(b->arena, "`%s` of `%s`", p->name.text, l->name);
        return value_want_number(b, out->given->value, out->given->span, what, &out->initial) &&
               within(b, &out->constraint, out->initial, p->name.text, out->given->span);
    }
    if (p->value)
        return bound_value(b, l->module, p->value, "an initial value", &out->initial) &&
               within(b, &out->constraint, out->initial, p->name.text, p->value->span);
    build_error(b, at, "`%s` needs an initial value for `%s`", l->name, p->name.text);
    diag_help(b->diag, "give it here, `%s(%s = 1)`, or where the activation is declared", l->name, p->name.text);
    return false;
}

/* What stands for the parameter in the formula: a constant, a tensor given, or a parameter of the instance. */
static const Expr *learnable(Builder *b, const Layer *l, const Param *p, const Bound *given, Node **in, int *inputs, Span at) {
    ExprPool *pool = b->program->exprs;
    Node *x = in[0];
    Learnable v = { .param = p, .given = given };
    if (!channel_scope(b, p) || !constraint_of(b, l->module, p, &v.constraint))
        return NULL;
    Node *n;
    if (given && given->value.kind == VALUE_TENSOR && !given->fixed) {
        n = given->value.tensor;
    } else {
        if (!initial_value(b, l, &v, at))
            return NULL;
        if (given && given->fixed)
            return expr_const(pool, v.initial);
        Shape shape = { 0 };
        if (p->scope.text) {
            if (x->channel < 0) {
                build_error(b, at, "`%s` has a value per channel, and %s has no channel axis", p->name.text,
                            shape_text(b->arena, x->type, &x->shape));
                return NULL;
            }
            shape = shape_of(false, 1, &x->shape.dim[x->channel]);
        }
        Init init = { v.initial == 0 ? INIT_ZEROS : INIT_CONST, v.initial, 0 };
        n = build_parameter(b, p->name.text, shape, p->scope.text ? 0 : -1, false, &init, &v.constraint, p->span, NULL);
        if (!n)
            return NULL;
    }
    Shape joined;
    Node *aligned = graph_align(b->graph, n, &x->shape, x->channel, build_at(b, at));
    if (!aligned || !shape_join(&aligned->shape, &x->shape, &joined) || !shape_equal(&joined, &x->shape)) {
        build_error(b, given ? given->span : at, "`%s` is %s, which does not fit %s", p->name.text, shape_text(b->arena, n->type, &n->shape),
                    shape_text(b->arena, x->type, &x->shape));
        return NULL;
    }
    in[*inputs] = aligned;
    return expr_input(pool, (*inputs)++);
}

Value build_activation(Builder *b, const Layer *layer, const Bound *args, int count, Span at) {
    const AstNode *decl = layer->decl;
    const ParamList *params = &decl->function.params;
    Formula f = { .b = b, .module = layer->module };
    if (!formula_names(b, decl, &f))
        return value_bad();
    Slot slots[FORMULA_NAMES_MAX] = { 0 };
    for (int i = 0; i < f.count; i++)
        slots[i].name = f.names[i];
    if (!build_bind(b, layer->name, slots, f.count, args, count))
        return value_bad();
    if (!slots[0].given || slots[0].given->value.kind != VALUE_TENSOR) {
        Span place = slots[0].given ? slots[0].given->span : at;
        build_error(b, place, "`%s` takes a tensor%s%s", layer->name, slots[0].given ? ", not " : "",
                    slots[0].given ? value_text(b, slots[0].given->value) : "");
        return value_bad();
    }
    Node *in[FORMULA_NAMES_MAX] = { slots[0].given->value.tensor };
    int inputs = 1;
    f.values[0] = expr_input(b->program->exprs, 0);
    for (int i = 0; i < params->count; i++) {
        f.values[i + 1] = learnable(b, layer, &params->items[i], slots[i + 1].given, in, &inputs, at);
        if (!f.values[i + 1])
            return value_bad();
    }
    b->formula_steps = 0;
    const Expr *e = formula(&f, decl->function.formula);
    if (!e)
        return value_bad();
    return value_tensor(graph_map_shape(b->graph, e, in, inputs, in[0]->shape, in[0]->channel, build_at(b, at)));
}

static void check_parameter(Builder *b, const Module *module, const Param *p) {
    Constraint c;
    double v;
    if (channel_scope(b, p) && constraint_of(b, module, p, &c) && p->value &&
        bound_value(b, module, p->value, "an initial value", &v))
        within(b, &c, v, p->name.text, p->value->span);
}

void build_check_activation(Builder *b, const Module *module, const AstNode *decl) {
    Formula f = { .b = b, .module = module };
    if (!formula_names(b, decl, &f))
        return;
    for (int i = 0; i < f.count; i++)
        f.values[i] = expr_input(b->program->exprs, i);
    for (int i = 0; i < decl->function.params.count; i++)
        check_parameter(b, module, &decl->function.params.items[i]);
    b->formula_steps = 0;
    formula(&f, decl->function.formula);
}

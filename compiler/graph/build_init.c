/* build_init.c - parameters and states: their shapes, their initial values, one table for both elaborations.
 * Initialisers are expressions over fan_in and fan_out, which are known where a tensor is declared. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

/* ---- initialisers ---- */

static const Expr *constant(Builder *b, double v) { return expr_const(b->program->exprs, v); }
static const Expr *fan(Builder *b, bool out) { return expr_input(b->program->exprs, out); }

static const Expr *expr2(Builder *b, ExprOp op, const Expr *x, const Expr *y) {
    return expr_make(b->program->exprs, op, x, y, NULL);
}

static InitSpec *spec_new(Builder *b, InitKind kind, const Expr *low, const Expr *high) {
    InitSpec *s = NEW(b->arena, InitSpec);
    *s = (InitSpec){ kind, low, high };
    return s;
}

InitSpec *init_constant(Builder *b, double v) {
    return v == 0 ? spec_new(b, INIT_ZEROS, NULL, NULL) : spec_new(b, INIT_CONST, constant(b, v), NULL);
}

/* gain / sqrt(fan): He et al. 2015 with gain sqrt(2) */
static InitSpec *kaiming(Builder *b, const Expr *over, const Expr *gain) {
    return spec_new(b, INIT_NORMAL, expr2(b, EXPR_DIV, gain, expr_make(b->program->exprs, EXPR_SQRT, over, NULL, NULL)), NULL);
}

static InitSpec *uniform(Builder *b, const Expr *bound) {
    return spec_new(b, INIT_UNIFORM, expr_make(b->program->exprs, EXPR_NEG, bound, NULL, NULL), bound);
}

const InitSpec *init_kaiming(Builder *b, bool fan_out) { return kaiming(b, fan(b, fan_out), constant(b, sqrt(2))); }

const InitSpec *init_fan_in_uniform(Builder *b) {
    return uniform(b, expr_make(b->program->exprs, EXPR_RSQRT, fan(b, false), NULL, NULL));
}

/* sqrt(6 / (fan_in + fan_out)): Glorot and Bengio 2010 */
static InitSpec *xavier(Builder *b) {
    const Expr *sum = expr2(b, EXPR_ADD, fan(b, false), fan(b, true));
    return uniform(b, expr_make(b->program->exprs, EXPR_SQRT, expr2(b, EXPR_DIV, constant(b, 6), sum), NULL, NULL));
}

typedef enum InitWord { WORD_ZEROS, WORD_ONES, WORD_XAVIER, WORD_CONST, WORD_NORMAL, WORD_TRUNC, WORD_UNIFORM, WORD_KAIMING } InitWord;

static const struct {
    const char *name;
    InitWord word;
    const char *args[2];                /* of its call */
    int required;
} init_words[] = {
    { "zeros", WORD_ZEROS, { NULL, NULL }, 0 },     { "ones", WORD_ONES, { NULL, NULL }, 0 },
    { "xavier", WORD_XAVIER, { NULL, NULL }, 0 },   { "const", WORD_CONST, { "value", NULL }, 1 },
    { "normal", WORD_NORMAL, { "std", NULL }, 1 },  { "trunc_normal", WORD_TRUNC, { "std", NULL }, 1 },
    { "uniform", WORD_UNIFORM, { "bound", NULL }, 1 }, { "kaiming", WORD_KAIMING, { "fan", "gain" }, 0 },
};

static int word_index(const char *name) {
    for (int i = 0; i < COUNT(init_words); i++)
        if (strcmp(init_words[i].name, name) == 0)
            return i;
    return -1;
}

bool init_word(const char *name) { return word_index(name) >= 0; }

static const InitSpec *spec_of(Builder *b, InitWord word, const Expr *x, const Expr *y) {
    switch (word) {
    case WORD_ZEROS: return init_constant(b, 0);
    case WORD_ONES: return init_constant(b, 1);
    case WORD_XAVIER: return xavier(b);
    case WORD_CONST: return spec_new(b, INIT_CONST, x, NULL);
    case WORD_NORMAL: return spec_new(b, INIT_NORMAL, x, NULL);
    case WORD_TRUNC: return spec_new(b, INIT_TRUNC_NORMAL, x, NULL);
    case WORD_UNIFORM: return uniform(b, x);
    case WORD_KAIMING: return kaiming(b, x ? x : fan(b, false), y ? y : constant(b, sqrt(2)));
    }
    return NULL;
}

/* A call or a bare word: `normal(0.02)`, `zeros`. */
Value build_init(Builder *b, const char *name, const Bound *args, int count, Span at, bool called) {
    int k = word_index(name);
    Slot slots[2] = { { .name = init_words[k].args[0] }, { .name = init_words[k].args[1] } };
    int slot_count = (slots[0].name != NULL) + (slots[1].name != NULL);
    if (!build_bind(b, name, slots, slot_count, args, count))
        return value_bad();
    const Expr *in[2] = { NULL, NULL };
    for (int i = 0; i < slot_count; i++) {
        if (!slots[i].given && i < init_words[k].required) {
            build_error(b, at, called ? "`%s` needs its `%s`" : "`%s` is called with its `%s`", name, slots[i].name);
            return value_bad();
        }
        if (!slots[i].given)
            continue;
        Value v = slots[i].given->value;
        if (is_bad(v))
            return v;
        if (v.kind != VALUE_NUMBER && v.kind != VALUE_SYMBOL) {
            build_error(b, slots[i].given->span, "`%s` of `%s` must be a number, not %s", slots[i].name, name, value_text(b, v));
            return value_bad();
        }
        in[i] = v.kind == VALUE_SYMBOL ? v.symbol : constant(b, v.number);
    }
    return (Value){ .kind = VALUE_INIT, .init = spec_of(b, init_words[k].word, in[0], in[1]) };
}

/* A number stands for const(number). */
bool value_want_init(Builder *b, Value v, Span at, const InitSpec **out) {
    if (v.kind == VALUE_INIT)
        *out = v.init;
    else if (v.kind == VALUE_NUMBER)
        *out = init_constant(b, v.number);
    else if (v.kind == VALUE_SYMBOL)
        *out = spec_new(b, INIT_CONST, v.symbol, NULL);
    else {
        if (!is_bad(v)) {
            build_error(b, at, "an initialiser is expected here, not %s", value_text(b, v));
            diag_help(b->diag, "initialisers are a number, zeros, ones, const(v), normal(std), trunc_normal(std), uniform(a), "
                               "kaiming(fan, gain) and xavier");
        }
        return false;
    }
    return true;
}

bool init_resolve(Builder *b, const InitSpec *spec, double fan_in, double fan_out, Span at, Init *out) {
    double fans[2] = { fan_in, fan_out };
    *out = (Init){ .kind = spec->kind };
    if (spec->a)
        out->a = expr_fold(spec->a, fans, NULL);
    if (spec->b)
        out->b = expr_fold(spec->b, fans, NULL);
    bool deviation = spec->kind == INIT_NORMAL || spec->kind == INIT_TRUNC_NORMAL;
    if (isfinite(out->a) && isfinite(out->b) && !(deviation && out->a < 0) && !(spec->kind == INIT_UNIFORM && out->a > out->b))
        return true;
    build_error(b, at, "this initialiser has no value: its %s is %s", deviation ? "deviation" : "bound",
                number_text(b, spec->kind == INIT_UNIFORM ? out->b : out->a));
    return false;
}

/* ---- declared tensors ---- */

static bool init_equal(const Init *x, const Init *y) { return x->kind == y->kind && x->a == y->a && x->b == y->b; }

/* The tensor as the other elaboration declared it. */
static bool agrees(Builder *b, const TensorDecl *t, const Shape *shape, bool is_state, const Init *init, Span at) {
    if (shape_equal(&t->shape, shape) && t->is_state == is_state && init_equal(&t->init, init))
        return true;
    if (shape_equal(&t->shape, shape))
        build_error(b, at, "`%s` is declared otherwise in inference: another %s", t->name,
                    t->is_state == is_state ? "initial value" : "kind");
    else
        build_error(b, at, "`%s` is %s here and %s in inference", t->name, shape_text(b->arena, TYPE_F32, shape),
                    shape_text(b->arena, TYPE_F32, &t->shape));
    diag_help(b->diag, "training and inference share their parameters and states");
    return false;
}

static bool declared_twice(Builder *b, const char *full, Span at) {
    const Node *first = table_get(b->declared, full);
    if (!first)
        return false;
    build_error(b, at, "two tensors are named `%s`", full);
    diag_note(b->diag, first->span, "the first is here");
    return true;
}

/* All parameters lie in one table, all states in another. */
static bool table_has_room(Builder *b, const Shape *shape, bool is_state, Span at) {
    int64_t sum = shape_count(shape);
    for (int i = 0; i < b->program->tensor_count; i++)
        if (b->program->tensors[i]->is_state == is_state)
            sum += shape_count(&b->program->tensors[i]->shape);
    if (sum <= BUILD_MAX_ELEMENTS)
        return true;
    build_error(b, at, "the %s of this network are too large: more than 2^31 - 1 elements", is_state ? "states" : "parameters");
    return false;
}

Node *build_parameter(Builder *b, const char *name, Shape shape, int channel, bool is_state, const Init *init,
                      const Constraint *constraint, Span at, TensorDecl **decl) {
    const char *full = join_name(b, b->prefix, name);
    if (!build_shape_fits(b, &shape, at) || declared_twice(b, full, at))
        return NULL;
    TensorDecl *t = program_tensor(b->program, full);
    if (t && !agrees(b, t, &shape, is_state, init, at))
        return NULL;
    if (!t) {
        if (!table_has_room(b, &shape, is_state, at))
            return NULL;
        t = program_add_tensor(b->program, full, shape, channel, is_state);
        t->init = *init;
        t->span = at;
        if (constraint)
            t->constraint = *constraint;
    }
    Node *n = graph_tensor(b->graph, t, build_at(b, at));
    table_set(b->declared, full, n);
    if (decl)
        *decl = t;
    return n;
}

/* f32[a, b, ...] without a batch. */
bool build_type_shape(Builder *b, const Type *type, Shape *out) {
    *out = (Shape){ .rank = type->dims.count };
    if (type->element.text && strcmp(type->element.text, "f32") != 0) {
        build_error(b, type->element.span, "parameters and states hold f32, not `%s`", type->element.text);
        return false;
    }
    if (out->rank > MAX_RANK) {
        build_error(b, type->span, "tensors have at most %d axes", MAX_RANK);
        return false;
    }
    bool ok = true;
    for (int i = 0; i < out->rank; i++) {
        const AstNode *dim = type->dims.items[i];
        ok = value_want_integer(b, build_eval(b, dim), dim->span, "a size", 1, (int64_t)1 << 40, &out->dim[i]) && ok;
    }
    return ok && build_shape_fits(b, out, type->span);
}

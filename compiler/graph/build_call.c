/* build_call.c - calls and pipes: evaluating arguments, binding them to layers, applying layers to tensors.
 * A call with a tensor among its arguments applies the layer; without one it gives the layer with the
 * arguments bound. `x |> f(a)` is f(x, a). */
#include "graph/build_parts.h"

#include <string.h>

enum { STAGES_MAX = 64, BOUND_MAX = 64 };

/* ---- arguments ---- */

static bool given_before(const Bound *args, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (args[i].name && strcmp(args[i].name, name) == 0)
            return true;
    return false;
}

bool build_bounds(Builder *b, const ArgList *args, Bound **out, int *count) {
    Bound *bound = NEW_ARRAY(b->arena, Bound, args->count);
    bool ok = true;
    *count = args->count;
    *out = bound;
    for (int i = 0; i < args->count; i++) {
        const Arg *a = &args->items[i];
        bound[i] = (Bound){ .name = a->name.text, .fixed = a->fixed, .span = a->span };
        if (a->name.text && given_before(bound, i, a->name.text)) {
            build_error(b, a->span, "`%s` is given twice", a->name.text);
            ok = false;
        }
        bound[i].value = build_eval(b, a->value);
        ok = ok && !is_bad(bound[i].value);
    }
    return ok;
}

static bool any_tensor(const Bound *args, int count) {
    for (int i = 0; i < count; i++)
        if (value_has_tensor(args[i].value))
            return true;
    return false;
}

static void copy_bounds(Bound *to, const Bound *from, int count) {
    for (int i = 0; i < count; i++)
        to[i] = from[i];
}

/* The layer with more arguments bound. */
static Value bind_more(Builder *b, const Layer *layer, const Bound *args, int count, Span at) {
    if (layer->kind == LAYER_COMPOSED && count) {
        build_error(b, at, "a layer composed with `|>` takes no arguments");
        return value_bad();
    }
    int total = layer->bound_count + count;
    if (total > BOUND_MAX) {
        build_error(b, at, "more than %d arguments are bound to `%s`", BOUND_MAX, layer->name);
        return value_bad();
    }
    Layer *l = NEW(b->arena, Layer);
    *l = *layer;
    Bound *all = NEW_ARRAY(b->arena, Bound, total);
    copy_bounds(all, layer->bound, layer->bound_count);
    copy_bounds(all + layer->bound_count, args, count);
    l->bound = all;
    l->bound_count = total;
    return value_layer(l);
}

/* ---- composing ---- */

static int stage_count(const Layer *l) { return l->kind == LAYER_COMPOSED ? l->stage_count : 1; }

static void put_stages(Stage *out, const Layer *l, const char *label, Span at, Span label_span) {
    if (l->kind == LAYER_COMPOSED)
        memcpy(out, l->stages, sizeof(Stage) * (size_t)l->stage_count);
    else
        *out = (Stage){ .layer = l, .label = label, .span = at, .label_span = label_span };
}

static Value compose(Builder *b, const Layer *first, const Layer *second, const char *label, const AstNode *e) {
    Span none = { 0 };
    int count = stage_count(first) + stage_count(second);
    if (count > STAGES_MAX) {
        build_error(b, e->span, "more than %d layers are composed", STAGES_MAX);
        return value_bad();
    }
    Layer *l = NEW(b->arena, Layer);
    Stage *stages = NEW_ARRAY(b->arena, Stage, count);
    put_stages(stages, first, NULL, e->pipe.left->span, none);
    put_stages(stages + stage_count(first), second, label, e->pipe.stage->span, e->pipe.label ? e->pipe.label->span : none);
    Writer *name = writer_new(b->arena);
    for (int i = 0; i < count && i < 4; i++)
        writer_printf(name, "%s%s", i ? " |> " : "", stages[i].layer->name);
    if (count > 4)
        writer_text(name, " |> ...");
    *l = (Layer){ .kind = LAYER_COMPOSED, .name = name->data, .stages = stages, .stage_count = count };
    return value_layer(l);
}

/* Stages without labels are named by their position, as torch.nn.Sequential does. */
static Value apply_composed(Builder *b, const Layer *layer, Value x) {
    for (int i = 0; i < layer->stage_count && !is_bad(x); i++) {
        const Stage *s = &layer->stages[i];
        Site site = { .label = s->label ? s->label : number_text(b, i), .label_span = s->label ? s->label_span : s->span,
                      .auto_name = s->layer->name, .span = s->span };
        Bound arg = { .value = x, .span = s->span };
        x = build_apply(b, s->layer, &arg, 1, &site);
    }
    return x;
}

/* ---- applying ---- */

/* What the layer gets: the positional arguments of the call that are tensors, what is bound, the rest. */
static Bound *merge_args(Builder *b, const Layer *l, const Bound *args, int count, int *total) {
    Bound *all = NEW_ARRAY(b->arena, Bound, l->bound_count + count);
    int first = 0;
    while (first < count && !args[first].name && value_has_tensor(args[first].value))
        first++;
    copy_bounds(all, args, first);
    copy_bounds(all + first, l->bound, l->bound_count);
    copy_bounds(all + first + l->bound_count, args + first, count - first);
    *total = l->bound_count + count;
    return all;
}

/* The tensors of the argument behind those of `call`: one, or those of a list where any number may stand. */
static bool take_tensors(Builder *b, const Bound *arg, bool any, LayerCall *call, Node ***xs, int *capacity) {
    const Value *items = &arg->value;
    int count = 1;
    bool list = items->kind == VALUE_LIST || items->kind == VALUE_TUPLE;
    if (list && any) {
        count = items->list->count;
        items = items->list->items;
    }
    for (int i = 0; i < count; i++) {
        if (items[i].kind != VALUE_TENSOR) {
            build_error(b, arg->span, "`%s` takes a tensor, not %s", call->name, value_text(b, items[i]));
            return false;
        }
        ARENA_PUSH(b->arena, *xs, call->count, *capacity, items[i].tensor);
    }
    return true;
}

/* The tensors that a built-in layer or function works on: its first arguments, `used` of them. */
static bool first_tensors(Builder *b, const Layer *l, const Bound *args, int count, LayerCall *call, int *used) {
    int wanted = l->builtin->tensors, capacity = 0;
    bool any = wanted == TENSORS_ANY;
    Node **xs = NULL;
    for (*used = 0; *used < count && !args[*used].name && (any ? !*used || value_has_tensor(args[*used].value) : *used < wanted); ++*used)
        if (!take_tensors(b, &args[*used], any, call, &xs, &capacity))
            return false;
    call->xs = xs;
    call->x = call->count ? xs[0] : NULL;
    if (any ? call->count > 0 : call->count == wanted)
        return true;
    if (wanted == 1 || any)
        build_error(b, call->span, any ? "`%s` takes tensors" : "`%s` takes a tensor", l->name);
    else
        build_error(b, call->span, "`%s` takes %d tensors, not %d", l->name, wanted, call->count);
    return false;
}

static Value apply_builtin(Builder *b, const Layer *l, const Bound *args, int count, Span at) {
    const BuiltinLayer *row = l->builtin;
    CallArg values[ARGS_MAX] = { 0 };
    LayerCall call = { .arg = values, .span = at, .name = row->name };
    int used;
    if (!first_tensors(b, l, args, count, &call, &used) ||
        !build_read_args(b, row->name, row->args, args + used, count - used, at, values))
        return value_bad();
    return row->apply(b, &call);
}

static Value apply_function(Builder *b, const Layer *l, const Bound *args, int count, Span at) {
    int wanted = expr_info[l->op].args;
    Value in[3];
    if (count != wanted) {
        build_error(b, at, "`%s` takes %d value%s, not %d", l->name, wanted, wanted == 1 ? "" : "s", count);
        return value_bad();
    }
    for (int i = 0; i < count; i++) {
        if (args[i].name) {
            build_error(b, args[i].span, "`%s` has no argument `%s`", l->name, args[i].name);
            return value_bad();
        }
        in[i] = args[i].value;
    }
    return build_operator(b, l->op, in, count, at, arena_printf(b->arena, "apply `%s` to", l->name));
}

static Value dispatch(Builder *b, const Layer *l, const Bound *args, int count, const Site *site) {
    switch (l->kind) {
    case LAYER_BUILTIN: return apply_builtin(b, l, args, count, site->span);
    case LAYER_FUNCTION: return apply_function(b, l, args, count, site->span);
    case LAYER_ACTIVATION: return build_activation(b, l, args, count, site->span);
    case LAYER_BLOCK: return build_block(b, l, args, count, site);
    case LAYER_COMPOSED:
        if (count == 1)
            return apply_composed(b, l, args[0].value);
        build_error(b, site->span, "a layer composed with `|>` takes one tensor");
        return value_bad();
    }
    return value_bad();
}

static bool one_tensor(const Bound *args, int count) {
    int tensors = 0;
    for (int i = 0; i < count; i++)
        tensors += value_has_tensor(args[i].value);
    return tensors == 1 && args[0].value.kind == VALUE_TENSOR && !args[0].name;
}

enum { SHOWN_NAME = 60 };

static const Trace *enter(Builder *b, const Layer *l, const char *name, Span at) {
    const char *kind = l->kind == LAYER_BLOCK ? "block" : "activation";
    size_t length = strlen(name);
    if (length > SHOWN_NAME)
        name = arena_printf(b->arena, "%.*s...%s", SHOWN_NAME / 2, name, name + length - SHOWN_NAME / 2);
    Trace *t = NEW(b->arena, Trace);
    *t = (Trace){ arena_printf(b->arena, "%s %s, called as %s", kind, l->name, name), at, b->trace, l->name };
    return t;
}

/* Applies the layer as the instance `name`: names and taps of what it makes begin with it. */
static Value apply_instance(Builder *b, const Layer *l, const Bound *args, int count, const Site *site, const char *name) {
    const char *prefix = b->prefix, *tap = b->tap;
    const Trace *trace = b->trace;
    bool replaceable = one_tensor(args, count);
    const Layer *placed = place_replace(b, name, replaceable, l);
    const Layer *what = placed ? placed : l;
    int opened = tap_open(b, name, what->name, site->span, replaceable);
    b->prefix = b->tap = name;
    if (what->kind == LAYER_BLOCK || what->kind == LAYER_ACTIVATION) {
        b->trace = enter(b, what, name, site->span);
    }
    Value v;
    if (placed) {
        int total;
        Bound *all = merge_args(b, placed, args, 1, &total);
        b->placing++;
        v = dispatch(b, placed, all, total, site);
        b->placing--;
    } else {
        v = dispatch(b, l, args, count, site);
    }
    b->prefix = prefix;
    b->tap = tap;
    b->trace = trace;
    tap_close(b, opened, v);
    return is_bad(v) ? v : place_append(b, name, v, site->span);
}

Value build_apply(Builder *b, const Layer *layer, const Bound *args, int count, const Site *site) {
    int total;
    Bound *all = merge_args(b, layer, args, count, &total);
    for (int i = 0; i < total; i++)
        if (is_bad(all[i].value))
            return value_bad();
    if (!build_step(b, site->span))
        return value_bad();
    if (!b->graph) {
        build_error(b, site->span, "`%s` computes a tensor, which only the body of a network can", layer->name);
        return value_bad();
    }
    bool function = layer->kind == LAYER_FUNCTION || (layer->kind == LAYER_BUILTIN && !layer->builtin->instance);
    if (function && !site->label)
        return dispatch(b, layer, all, total, site);
    const char *name = instance_name(b, site);
    return name ? apply_instance(b, layer, all, total, site, name) : value_bad();
}

/* ---- calls ---- */

/* The name at the call site: what is called, without its arguments. */
static const char *call_site_name(const AstNode *callee) {
    switch (callee->kind) {
    case EXPR_NAME: return callee->name.text;
    case EXPR_CALL: return call_site_name(callee->call.callee);
    case EXPR_INDEX: return call_site_name(callee->index.base);
    case EXPR_FIELD: return callee->field.name.text;
    default: return "layer";
    }
}

static bool site_of(Builder *b, const Label *label, const AstNode *callee, Span at, Site *site) {
    *site = (Site){ .auto_name = call_site_name(callee), .span = at };
    if (!label)
        return true;
    site->label_span = label->span;
    return label_text(b, label, &site->label);
}

static bool want_layer(Builder *b, Value v, const AstNode *callee, const Layer **out) {
    if (v.kind == VALUE_LAYER) {
        *out = v.layer;
        return true;
    }
    if (is_bad(v))
        return false;
    if (callee->kind == EXPR_NAME)
        build_error(b, callee->span, "`%s` is %s, not a layer", callee->name.text, value_text(b, v));
    else
        build_error(b, callee->span, "this is %s, not a layer", value_text(b, v));
    return false;
}

/* Initialisers and functions of numbers are called but are no layers; false: neither. */
static bool word_call(Builder *b, const AstNode *e, Value *out) {
    const AstNode *callee = e->call.callee;
    if (callee->kind != EXPR_NAME)
        return false;
    const char *name = callee->name.text;
    const Var *var = table_get(b->frame->vars, name);
    bool init = init_word(name);
    if ((var && var->defined && var->value.kind == VALUE_LAYER) || !(init || number_function(name)))
        return false;
    Bound *args;
    int count;
    if (!build_bounds(b, &e->call.args, &args, &count))
        *out = value_bad();
    else
        *out = init ? build_init(b, name, args, count, e->span, true) : number_call(b, name, args, count, e->span);
    return true;
}

/* exp(2) is a number, also where an activation of the prelude has the function's name. */
static bool folds(Builder *b, const Layer *l, const Bound *args, int count, ExprOp *op) {
    bool function = l->kind == LAYER_FUNCTION || (l->kind == LAYER_ACTIVATION && l->module == b->prelude);
    return function && count && !any_tensor(args, count) && scalar_function(l->name, op);
}

/* sum([1, 2, 3]) is a number; sum of a tensor is a layer. */
static bool sum_call(Builder *b, const Bound *args, int count, const Layer *l, Value *out) {
    if (l->kind != LAYER_BUILTIN || strcmp(l->name, "sum") != 0 || count != 1 || args[0].name || args[0].value.kind != VALUE_LIST)
        return false;
    double total = 0;
    const ValueList *list = args[0].value.list;
    for (int i = 0; i < list->count; i++) {
        double x;
        if (!value_want_number(b, list->items[i], args[0].span, "what `sum` adds", &x)) {
            *out = value_bad();
            return true;
        }
        total += x;
    }
    *out = value_number(total);
    return true;
}

static bool takes_nothing(const Layer *l) {
    return l->kind == LAYER_BLOCK && l->decl->block.inputs.count == 0;
}

Value build_call(Builder *b, const AstNode *e) {
    Value v;
    const Layer *layer;
    const AstNode *callee = e->call.callee;
    if (word_call(b, e, &v))
        return v;
    Value target = callee->kind == EXPR_NAME ? build_name(b, callee->name.text, callee->span, true) : build_eval(b, callee);
    Bound *args;
    int count;
    bool ok = want_layer(b, target, callee, &layer);
    ok = build_bounds(b, &e->call.args, &args, &count) && ok;
    if (!ok)
        return value_bad();
    ExprOp op;
    if (sum_call(b, args, count, layer, &v))
        return v;
    if (folds(b, layer, args, count, &op))
        return apply_function(b, &(Layer){ .name = layer->name, .op = op }, args, count, e->span);
    if (any_tensor(args, count) || takes_nothing(layer)) {
        Site site;
        return site_of(b, e->call.label, callee, e->span, &site) ? build_apply(b, layer, args, count, &site) : value_bad();
    }
    if (e->call.label) {
        build_error(b, e->call.label->span, "a label names a layer that is applied; here `%s` is not", layer->name);
        return value_bad();
    }
    return bind_more(b, layer, args, count, e->span);
}

/* What stands right of `|>`: a layer and the arguments of the call, which do not yet hold what is piped. */
static bool eval_stage(Builder *b, const AstNode *stage, const Layer **layer, Bound **args, int *count) {
    bool call = stage->kind == EXPR_CALL;
    const AstNode *callee = call ? stage->call.callee : stage;
    Value v = callee->kind == EXPR_NAME ? build_name(b, callee->name.text, callee->span, true) : build_eval(b, callee);
    bool ok = want_layer(b, v, callee, layer);
    *args = NULL;
    *count = 0;
    if (call)
        ok = build_bounds(b, &stage->call.args, args, count) && ok;
    return ok;
}

static Value pipe_tensor(Builder *b, const AstNode *e, Value x, const Layer *layer, const Bound *args, int count) {
    const AstNode *stage = e->pipe.stage;
    Bound *all = NEW_ARRAY(b->arena, Bound, count + 1);
    all[0] = (Bound){ .value = x, .span = e->pipe.left->span };
    copy_bounds(all + 1, args, count);
    Site site;
    if (!site_of(b, e->pipe.label, stage->kind == EXPR_CALL ? stage->call.callee : stage, stage->span, &site))
        return value_bad();
    return build_apply(b, layer, all, count + 1, &site);
}

Value build_pipe(Builder *b, const AstNode *e) {
    const Layer *layer;
    Bound *args;
    int count;
    Value x = build_eval(b, e->pipe.left);
    bool ok = eval_stage(b, e->pipe.stage, &layer, &args, &count);
    if (!ok || is_bad(x))
        return value_bad();
    if (value_has_tensor(x))
        return pipe_tensor(b, e, x, layer, args, count);
    if (x.kind != VALUE_LAYER) {
        build_error(b, e->pipe.left->span, "a tensor or a layer stands left of `|>`, not %s", value_text(b, x));
        return value_bad();
    }
    const char *label = NULL;
    Value second = count ? bind_more(b, layer, args, count, e->pipe.stage->span) : value_layer(layer);
    if (is_bad(second) || (e->pipe.label && !label_text(b, e->pipe.label, &label)))
        return value_bad();
    return compose(b, x.layer, second.layer, label, e);
}

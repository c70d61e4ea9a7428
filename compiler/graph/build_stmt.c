/* build_stmt.c - statements and blocks. `if` and `for` are resolved here: a name that a turn assigns is read by
 * the next, and nothing of either is left in the graph. */
#include "graph/build_parts.h"

#include <string.h>

/* ---- assignments ---- */

static bool assignable(Builder *b, const Name *name) {
    const Var *v = table_get(b->frame->vars, name->text);
    if (!v || !v->tensor)
        return true;
    build_error(b, name->span, "`%s` is a %s", name->text, v->tensor->is_state ? "state" : "param");
    if (v->tensor->is_state)
        diag_help(b->diag, "`update %s = ...` changes it after the forward pass, `update now %s = ...` at once", name->text,
                  name->text);
    return false;
}

static void assign(Builder *b, const Name *name, Value v) {
    if (assignable(b, name))
        frame_set(b, b->frame, name->text, v, name->span);
}

static void run_assign(Builder *b, const AstNode *s) {
    const NameList *targets = &s->assign.targets;
    Value v = build_eval(b, s->assign.value);
    if (targets->count == 1) {
        assign(b, &targets->items[0], v);
        return;
    }
    bool tuple = v.kind == VALUE_TUPLE || v.kind == VALUE_LIST;
    if (!is_bad(v) && (!tuple || v.list->count != targets->count))
        build_error(b, s->span, "%d names cannot take %s apart", targets->count, value_text(b, v));
    bool fits = tuple && v.list->count == targets->count;
    for (int i = 0; i < targets->count; i++)
        assign(b, &targets->items[i], fits ? v.list->items[i] : value_bad());
}

static void run_return(Builder *b, const AstNode *s) {
    const ArgList *values = &s->returns.values;
    Frame *f = b->frame;
    Value *items = NEW_ARRAY(b->arena, Value, values->count);
    f->result_names = NEW_ARRAY(b->arena, const char *, values->count);
    for (int i = 0; i < values->count; i++) {
        items[i] = build_eval(b, values->items[i].value);
        f->result_names[i] = values->items[i].name.text;
        for (int k = 0; k < i; k++)
            if (f->result_names[i] && f->result_names[k] && strcmp(f->result_names[i], f->result_names[k]) == 0)
                build_error(b, values->items[i].span, "two values returned are named `%s`", f->result_names[i]);
    }
    f->returned = true;
    if (values->count == 1)
        f->result = items[0];
    else if (values->count > 1)
        f->result = value_list(b, VALUE_TUPLE, items, values->count, s->span);
    else
        f->result = value_bad();
}

/* ---- for ---- */

/* Takes a value apart by a pattern; false after an error. */
static bool bind_pattern(Builder *b, const Pattern *p, Value v) {
    if (p->name.text) {
        assign(b, &p->name, v);
        return true;
    }
    if (is_bad(v))
        return false;
    if ((v.kind != VALUE_TUPLE && v.kind != VALUE_LIST) || v.list->count != p->count) {
        build_error(b, p->span, "%d names cannot take %s apart", p->count, value_text(b, v));
        return false;
    }
    for (int i = 0; i < p->count; i++)
        if (!bind_pattern(b, p->parts[i], v.list->items[i]))
            return false;
    return true;
}

typedef struct Hidden {                 /* variables that the `for` hides */
    struct { Var *var; Var saved; } items[32];
    int count;
} Hidden;

static void hide(Builder *b, Hidden *h, const Name *name) {
    if (!name->text || h->count == COUNT(h->items))
        return;
    Var *v = frame_var(b, b->frame, name->text);
    h->items[h->count].var = v;
    h->items[h->count++].saved = *v;
}

static void hide_pattern(Builder *b, Hidden *h, const Pattern *p) {
    hide(b, h, &p->name);
    for (int i = 0; i < p->count; i++)
        hide_pattern(b, h, p->parts[i]);
}

static void restore(Hidden *h) {
    while (h->count > 0) {
        h->count--;
        *h->items[h->count].var = h->items[h->count].saved;
    }
}

static void run_turn(Builder *b, const AstNode *s, Value v, int64_t turn) {
    const char *prefix = b->prefix, *label;
    if (!bind_pattern(b, s->loop.pattern, v))
        return;
    if (s->loop.index.text)
        assign(b, &s->loop.index, value_number((double)turn));
    if (s->loop.label) {
        if (!label_text(b, s->loop.label, &label))
            return;
        b->prefix = join_name(b, prefix, label);
        if (strlen(b->prefix) > BUILD_MAX_NAME) {
            build_error(b, s->loop.label->span, "names in this `for` are longer than %d bytes", BUILD_MAX_NAME);
            b->prefix = prefix;
            return;
        }
    }
    build_body(b, &s->loop.body);
    b->prefix = prefix;
}

static void run_for(Builder *b, const AstNode *s) {
    Value over = build_eval(b, s->loop.over);
    bool list = over.kind == VALUE_LIST || over.kind == VALUE_TUPLE;
    if (is_bad(over))
        return;
    if (!list && over.kind != VALUE_RANGE) {
        build_error(b, s->loop.over->span, "`for` goes over a range or a list, not %s", value_text(b, over));
        if (over.kind == VALUE_NUMBER)
            diag_help(b->diag, "`0..%s` is the range from 0 to below %s", number_text(b, over.number), number_text(b, over.number));
        return;
    }
    int64_t turns = list ? over.list->count : over.range.to - over.range.from;
    Hidden hidden = { .count = 0 };
    hide_pattern(b, &hidden, s->loop.pattern);
    hide(b, &hidden, &s->loop.index);
    for (int64_t i = 0; i < turns && !b->frame->returned && build_step(b, s->span); i++)
        run_turn(b, s, list ? over.list->items[i] : value_number((double)(over.range.from + i)), i);
    restore(&hidden);
}

/* ---- if ---- */

static void run_if(Builder *b, const AstNode *s) {
    for (int i = 0; i < s->branch.arms.count; i++) {
        const Arm *arm = &s->branch.arms.items[i];
        if (!arm->condition) {
            build_body(b, &arm->body);
            return;
        }
        Value c = build_eval(b, arm->condition);
        if (is_bad(c))
            return;
        if (c.kind != VALUE_BOOL) {
            build_error(b, arm->condition->span, "the condition of an `if` must be known at compile time, not %s", value_text(b, c));
            if (c.kind == VALUE_TENSOR)
                diag_help(b->diag, "`a if c else b` chooses when the program runs, element by element");
            return;
        }
        if (c.boolean) {
            build_body(b, &arm->body);
            return;
        }
    }
}

/* ---- parameters and states ---- */

static void fans(const Shape *s, double *in, double *out) {
    double inner = 1;
    for (int i = 2; i < s->rank; i++)
        inner *= (double)s->dim[i];
    *out = s->rank ? (double)s->dim[0] * inner : 1;
    *in = s->rank > 1 ? (double)s->dim[1] * inner : *out;
}

static void run_tensor(Builder *b, const AstNode *s) {
    bool is_state = s->kind == STMT_STATE;
    const Name *name = &s->tensor.name;
    const Var *known = table_get(b->frame->vars, name->text);
    Shape shape;
    Init init = { INIT_ZEROS, 0, 0 };
    const InitSpec *spec = NULL;
    double fan_in, fan_out;
    bool ok = build_type_shape(b, s->tensor.type, &shape);
    if (known && known->tensor) {
        build_error(b, name->span, "`%s` is declared twice", name->text);
        diag_note(b->diag, known->span, "the first is here");
        ok = false;
    }
    const AstNode *value = s->tensor.value;
    ok = (!value || value_want_init(b, build_eval(b, value), value->span, &spec)) && ok;
    if (ok && value) {
        fans(&shape, &fan_in, &fan_out);
        ok = init_resolve(b, spec, fan_in, fan_out, value->span, &init);
    }
    TensorDecl *decl = NULL;
    Node *n = ok ? build_parameter(b, name->text, shape, shape.rank == 1 ? 0 : -1, is_state, &init, NULL, name->span, &decl) : NULL;
    Var *v = frame_var(b, b->frame, name->text);
    *v = (Var){ .value = n ? value_tensor(n) : value_bad(), .defined = true, .tensor = decl, .span = name->span };
}

/* The new value as a tensor of the state's shape. */
static Node *updated_value(Builder *b, const AstNode *s, const TensorDecl *t, Value v) {
    Shape joined;
    if (v.kind == VALUE_NUMBER)
        v = value_tensor(graph_fill(b->graph, t->shape, t->channel, v.number, build_at(b, s->span)));
    if (v.kind != VALUE_TENSOR) {
        if (!is_bad(v))
            build_error(b, s->update.value->span, "`%s` takes a tensor, not %s", s->update.name.text, value_text(b, v));
        return NULL;
    }
    Node *n = v.tensor;
    if (n->shape.rank == 0 && t->shape.rank > 0) {
        ExprPool *p = b->program->exprs;
        n = graph_map_shape(b->graph, expr_input(p, 0), &n, 1, t->shape, t->channel, build_at(b, s->span));
    }
    if (shape_equal(&n->shape, &t->shape) && shape_join(&n->shape, &t->shape, &joined))
        return n;
    build_error(b, s->span, "cannot put %s into the state `%s`, which is %s", shape_text(b->arena, n->type, &n->shape),
                s->update.name.text, shape_text(b->arena, TYPE_F32, &t->shape));
    return NULL;
}

/* `update now` lets what follows read the new value, of which no gradient is taken. */
static void run_update(Builder *b, const AstNode *s) {
    const Name *name = &s->update.name;
    Var *v = table_get(b->frame->vars, name->text);
    if (!v || !v->defined || !v->tensor || !v->tensor->is_state) {
        bool bad = v && v->defined && is_bad(v->value);
        if (!bad)
            build_error(b, name->span, "`%s` is no state of this block", name->text);
        return;
    }
    if (!b->training) {
        build_error(b, s->span, "states are updated in training only");
        diag_help(b->diag, "put it inside `if training { ... }`");
        return;
    }
    if (v->updated) {
        build_error(b, s->span, "the state `%s` is updated twice", name->text);
        return;
    }
    Node *n = updated_value(b, s, v->tensor, build_eval(b, s->update.value));
    if (!n)
        return;
    v->updated = true;
    graph_effect(b->graph, EFFECT_STATE, v->tensor, n);
    if (s->update.now)
        v->value = value_tensor(graph_unary(b->graph, EXPR_DETACH, n, build_at(b, s->span)));
}

/* ---- bodies ---- */

static void run_preprocess(Builder *b, const AstNode *s) {
    if (b->frame->decl && b->frame->decl->kind == DECL_NETWORK)
        build_preprocess(b, s);
    else
        build_error(b, s->span, "`preprocess` stands in a network, not in a block");
}

static void run_line(Builder *b, const AstNode *s) {
    switch (s->kind) {
    case STMT_ASSIGN: run_assign(b, s); break;
    case STMT_RETURN: run_return(b, s); break;
    case STMT_EXPR: build_eval(b, s->expr.value); break;
    case STMT_FOR: run_for(b, s); break;
    case STMT_IF: run_if(b, s); break;
    case STMT_PREPROCESS: run_preprocess(b, s); break;
    case STMT_PARAM: case STMT_STATE: run_tensor(b, s); break;
    case STMT_UPDATE: run_update(b, s); break;
    default: build_error(b, s->span, "%s is not supported yet", ast_kind_text(s->kind));
    }
}

void build_body(Builder *b, const Body *body) {
    if (b->depth >= BUILD_MAX_DEPTH) {
        build_error(b, body->span, "this stands more than %d levels deep in statements and calls", BUILD_MAX_DEPTH);
        b->stopped = true;
        return;
    }
    b->depth++;
    for (int i = 0; i < body->lines.count && !b->frame->returned; i++)
        if (build_step(b, body->lines.items[i]->span))
            run_line(b, body->lines.items[i]);
    b->depth--;
}

/* ---- blocks ---- */

static Slot *block_slots(Builder *b, const AstNode *decl, int *count) {
    const InputList *inputs = &decl->block.inputs, *options = &decl->block.options;
    *count = inputs->count + options->count;
    Slot *slots = NEW_ARRAY(b->arena, Slot, *count);
    for (int i = 0; i < *count; i++) {
        bool option = i >= inputs->count;
        slots[i].name = (option ? options->items[i - inputs->count] : inputs->items[i]).name.text;
        slots[i].named_only = option;
    }
    return slots;
}

/* Variables for the inputs and options, in order, so that a default may use those before it. */
static bool bind_frame(Builder *b, const Layer *layer, const Slot *slots, int count, Frame *f, Span at) {
    const InputList *inputs = &layer->decl->block.inputs, *options = &layer->decl->block.options;
    Frame *caller = b->frame;
    bool ok = true;
    for (int i = 0; i < count; i++) {
        const Input *in = i < inputs->count ? &inputs->items[i] : &options->items[i - inputs->count];
        const Bound *given = slots[i].given;
        Value v = value_bad();
        if (given && given->fixed) {
            build_error(b, given->span, "only parameters of activations can be fixed");
            ok = false;
        } else if (given) {
            v = given->value;
        } else if (in->value) {
            b->frame = f;
            v = build_eval(b, in->value);
            b->frame = caller;
        } else {
            build_error(b, at, "`%s` needs its `%s`", layer->name, in->name.text);
            diag_note(b->diag, in->span, "declared here, without a default");
            ok = false;
        }
        frame_set(b, f, in->name.text, v, in->span);
    }
    return ok;
}

static bool enter_block(Builder *b, Span at) {
    if (b->blocks >= BUILD_MAX_BLOCKS) {
        build_error(b, at, "blocks call one another more than %d levels deep", BUILD_MAX_BLOCKS);
        diag_help(b->diag, "a block that calls itself needs an `if` that ends it");
        b->stopped = true;
        return false;
    }
    b->blocks++;
    return true;
}

Value build_block(Builder *b, const Layer *layer, const Bound *args, int count, const Site *site) {
    int slot_count;
    Slot *slots = block_slots(b, layer->decl, &slot_count);
    Frame *f = build_frame(b, layer->module, layer->decl), *caller = b->frame;
    if (!build_bind(b, layer->name, slots, slot_count, args, count) || !enter_block(b, site->span))
        return value_bad();
    if (bind_frame(b, layer, slots, slot_count, f, site->span)) {
        b->frame = f;
        build_body(b, &layer->decl->block.body);
        b->frame = caller;
        if (!f->returned && !build_stopped(b)) {
            build_error(b, layer->decl->block.name.span, "block `%s` returns nothing", layer->name);
            diag_help(b->diag, "it ends with `return` and what it computes");
        }
    }
    b->blocks--;
    return f->returned ? f->result : value_bad();
}

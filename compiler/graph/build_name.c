/* build_name.c - what a name means where it stands, labels, and the names that instances get.
 * Order: variables of the body, declarations of the file, the prelude, what is built in, sizes of --dim. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

/* ---- variables ---- */

Frame *build_frame(Builder *b, const Module *module, const AstNode *decl) {
    Frame *f = NEW(b->arena, Frame);
    f->module = module;
    f->decl = decl;
    f->vars = table_new(b->arena);
    return f;
}

Var *frame_var(Builder *b, Frame *f, const char *name) {
    Var *v = table_get(f->vars, name);
    if (!v) {
        v = NEW(b->arena, Var);
        table_set(f->vars, name, v);
    }
    return v;
}

void frame_set(Builder *b, Frame *f, const char *name, Value value, Span at) {
    Var *v = frame_var(b, f, name);
    *v = (Var){ .value = value, .defined = true, .span = at };
}

/* ---- declarations ---- */

typedef struct LetState {
    bool running, done;
    Value value;
} LetState;

/* The value of a `let`, evaluated where it was declared, once. */
static Value let_value(Builder *b, const Module *module, const AstNode *decl) {
    LetState *state = table_get(module->lets, decl->set.name.text);
    if (!state) {
        state = NEW(b->arena, LetState);
        table_set(module->lets, decl->set.name.text, state);
    }
    if (state->running) {
        build_error(b, decl->set.name.span, "`%s` is defined by itself", decl->set.name.text);
        return value_bad();
    }
    if (!state->done) {
        Frame *outside = b->frame;
        b->frame = build_frame(b, module, NULL);
        state->running = true;
        state->value = build_eval(b, decl->set.value);
        state->running = false;
        state->done = true;
        b->frame = outside;
        if (value_has_tensor(state->value)) {
            build_error(b, decl->span, "`%s` is a tensor; a `let` holds what is known at compile time", decl->set.name.text);
            state->value = value_bad();
        }
    }
    return state->value;
}

static Layer *layer_new(Builder *b, LayerKind kind, const char *name) {
    Layer *l = NEW(b->arena, Layer);
    l->kind = kind;
    l->name = name;
    return l;
}

static Value declared_layer(Builder *b, LayerKind kind, const char *name, const AstNode *decl, const Module *m) {
    Layer *l = layer_new(b, kind, name);
    l->decl = decl;
    l->module = m;
    return value_layer(l);
}

static Value declaration_value(Builder *b, const Module *m, const AstNode *decl, const char *name, Span at) {
    switch (decl->kind) {
    case DECL_LET: return let_value(b, m, decl);
    case DECL_ACTIVATION: return declared_layer(b, LAYER_ACTIVATION, name, decl, m);
    case DECL_BLOCK: return declared_layer(b, LAYER_BLOCK, name, decl, m);
    case DECL_NETWORK: case DECL_VARIANT:
        build_error(b, at, "`%s` is a network; networks inside networks are not supported yet", name);
        diag_help(b->diag, "declare what both share as a `block`");
        return value_bad();
    default:
        build_error(b, at, "`%s` is %s, which is not supported yet", name, ast_kind_text(decl->kind));
        return value_bad();
    }
}

/* ---- what is built in ---- */

static bool builtin_word(Builder *b, const char *name, Value *out) {
    if (strcmp(name, "training") == 0)
        *out = value_bool(b->training);
    else if (strcmp(name, "same") == 0)
        *out = value_string("same");
    else if (strcmp(name, "fan_in") == 0)
        *out = value_symbol(expr_input(b->program->exprs, 0));
    else if (strcmp(name, "fan_out") == 0)
        *out = value_symbol(expr_input(b->program->exprs, 1));
    else
        return false;
    return true;
}

/* Training counts its steps; what is deployed has all of them behind it. */
static Value step_value(Builder *b, Span at) {
    if (!b->training || !b->graph)
        return value_number(INFINITY);
    return value_tensor(graph_scalar(b->graph, SCALAR_STEP, build_at(b, at)));
}

static bool builtin_value(Builder *b, const char *name, Span at, Value *out) {
    const BuiltinLayer *layer = builtin_layer(name);
    ExprOp op;
    if (builtin_word(b, name, out))
        return true;
    if (strcmp(name, "step") == 0) {
        *out = step_value(b, at);
    } else if (layer) {
        Layer *l = layer_new(b, LAYER_BUILTIN, name);
        l->builtin = layer;
        *out = value_layer(l);
    } else if (init_word(name)) {
        *out = build_init(b, name, NULL, 0, at, false);
    } else if (scalar_function(name, &op)) {
        Layer *l = layer_new(b, LAYER_FUNCTION, name);
        l->op = op;
        *out = value_layer(l);
    } else {
        return false;
    }
    return true;
}

static const Value *read_dim(Builder *b, const Setting *dim) {
    const char *label = arena_printf(b->arena, "--dim %s", dim->name), *what = arena_printf(b->arena, "the size %s", dim->name);
    SourceFile *source = source_from_text(b->arena, label, dim->text, strlen(dim->text));
    const AstNode *e = syntax_parse_expression(b->arena, source, b->diag);
    Value *v = NEW(b->arena, Value);
    int64_t size;
    *v = value_bad();
    table_set(b->dims, dim->name, v);
    if (e && value_want_integer(b, build_eval(b, e), e->span, what, 1, 1 << 24, &size))
        *v = value_number((double)size);
    return v;
}

static bool dim_value(Builder *b, const char *name, Value *out) {
    const Value *known = table_get(b->dims, name);
    for (int i = b->options->dim_count - 1; i >= 0 && !known; i--)
        if (strcmp(b->options->dim[i].name, name) == 0)
            known = read_dim(b, &b->options->dim[i]);
    if (known)
        *out = *known;
    return known != NULL;
}

/* ---- unknown names ---- */

static bool is_later(const char *name) {
    for (int i = 0; later_layers[i]; i++)
        if (strcmp(later_layers[i], name) == 0)
            return true;
    return false;
}

static void near_key(const char *name, const char *key, const char **best, int *distance) {
    const char *found = nearest(name, &key, 1);
    int edits = found ? edit_distance(name, found) : *distance;
    if (found && edits < *distance) {
        *best = found;
        *distance = edits;
    }
}

static const char *nearest_name(Builder *b, const char *name) {
    const char *best = NULL;
    int distance = 1000;
    for (const TableEntry *e = b->frame->vars->first; e; e = e->next)
        if (((const Var *)e->value)->defined)
            near_key(name, e->key, &best, &distance);
    for (const Module *m = b->frame->module; m; m = m->outer)
        for (const TableEntry *e = m->decls->first; e; e = e->next)
            near_key(name, e->key, &best, &distance);
    for (const BuiltinLayer *l = layers; l->name; l++)
        near_key(name, l->name, &best, &distance);
    for (const BuiltinLayer *l = move_functions; l->name; l++)
        near_key(name, l->name, &best, &distance);
    for (const BuiltinLayer *l = tensor_functions; l->name; l++)
        near_key(name, l->name, &best, &distance);
    for (int op = 0; op < EXPR_OP_COUNT; op++)
        if (scalar_function(expr_info[op].text, &(ExprOp){ 0 }))
            near_key(name, expr_info[op].text, &best, &distance);
    static const char *const words[] = { "training", "step", "same", "fan_in", "fan_out", "zeros", "ones", "const",
                                         "normal", "trunc_normal", "uniform", "kaiming", "xavier" };
    for (int i = 0; i < COUNT(words); i++)
        near_key(name, words[i], &best, &distance);
    return best;
}

static void unknown_name(Builder *b, const char *name, Span at, bool callee) {
    const Var *v = table_get(b->frame->vars, name);
    if (is_later(name)) {
        build_error(b, at, "`%s` is not supported yet", name);
    } else if (strcmp(name, "N") == 0) {
        build_error(b, at, "the batch size N is known only when the program runs");
    } else if (number_function(name)) {
        build_error(b, at, "`%s` is a function; it is called with what it works on, as `%s(x)`", name, name);
    } else if (v) {
        build_error(b, at, "`%s` has no value here", name);
        diag_help(b->diag, "it is bound only inside its `for`");
    } else {
        build_error(b, at, callee ? "unknown layer or block `%s`" : "unknown name `%s`", name);
        if (!b->diag->silent)
            diag_did_you_mean(b->diag, nearest_name(b, name));
    }
}

/* What is called is a layer: a variable that is none, such as an option `dropout = 0.3`, does not hide it. */
Value build_name(Builder *b, const char *name, Span at, bool callee) {
    Value v;
    const Var *var = table_get(b->frame->vars, name);
    bool defined = var && var->defined;
    if (defined && (!callee || var->value.kind == VALUE_LAYER || is_bad(var->value)))
        return var->value;
    for (const Module *m = b->frame->module; m; m = m->outer) {
        const AstNode *decl = table_get(m->decls, name);
        if (decl && (!defined || decl->kind != DECL_LET))
            return declaration_value(b, m, decl, name, at);
    }
    if (builtin_value(b, name, at, &v) || dim_value(b, name, &v))
        return v;
    if (defined)
        return var->value;
    unknown_name(b, name, at, callee);
    return value_bad();
}

/* ---- labels ---- */

static bool write_label_value(Builder *b, Writer *w, const LabelPart *part) {
    Value v = build_eval(b, part->value);
    if (is_bad(v))
        return false;
    if (v.kind == VALUE_STRING) {
        writer_printf(w, "%.*s", BUILD_MAX_NAME + 1, v.string);
        return true;
    }
    if (v.kind == VALUE_NUMBER && v.number == floor(v.number) && v.number >= 0 && v.number < 1e9) {
        writer_text(w, number_text(b, v.number));
        return true;
    }
    build_error(b, part->span, "a label takes a whole number or a string, not %s", value_text(b, v));
    return false;
}

static bool label_is_sound(const char *text) {
    for (const char *c = text; *c; c++) {
        bool word = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_';
        if (!word && (*c != '.' || c == text || c[1] == '.' || !c[1]))
            return false;
    }
    return *text != 0;
}

bool label_text(Builder *b, const Label *label, const char **out) {
    Writer *w = writer_new(b->arena);
    for (int i = 0; i < label->count; i++) {
        const LabelPart *part = &label->parts[i];
        if (part->text)
            writer_text(w, part->text);
        else if (!write_label_value(b, w, part))
            return false;
        if (w->length > BUILD_MAX_NAME) {
            build_error(b, label->span, "this label is longer than %d bytes", BUILD_MAX_NAME);
            return false;
        }
    }
    *out = w->data ? w->data : "";
    if (label_is_sound(*out))
        return true;
    build_error(b, label->span, "`%s` cannot be a label", *out);
    diag_help(b->diag, "labels are letters, digits and underscores, with single dots between them");
    return false;
}

const char *join_name(Builder *b, const char *prefix, const char *name) {
    return *prefix ? arena_printf(b->arena, "%s.%s", prefix, name) : name;
}

/* ---- instances ---- */

typedef struct NameUse {
    Span span;
    bool labelled;
} NameUse;

static void name_taken(Builder *b, const char *name, const Site *site, const NameUse *first) {
    build_error(b, site->label_span, "two instances are named `%s`", name);
    if (first->span.file == site->label_span.file && first->span.begin == site->label_span.begin) {
        diag_help(b->diag, "this place is reached more than once: label the `for` around it, as in `for i in 0..3 as stage{i}`");
    } else {
        diag_note(b->diag, first->span, "the first is here");
        if (!first->labelled)
            diag_help(b->diag, "a layer without a label is named after what is called; give one of them another label with `as`");
    }
}

/* name, name2, name3...: the first that is free. */
static const char *free_name(Builder *b, const char *base) {
    const char *full = join_name(b, b->prefix, base);
    if (!table_has(b->names, full))
        return full;
    const char *count_key = arena_printf(b->arena, "%s#", full);     /* no name holds a # */
    intptr_t number = (intptr_t)table_get(b->names, count_key);
    const char *numbered;
    do {
        number = number ? number + 1 : 2;
        numbered = arena_printf(b->arena, "%s%lld", full, (long long)number);
    } while (table_has(b->names, numbered));
    table_set(b->names, count_key, (void *)number);
    return numbered;
}

const char *instance_name(Builder *b, const Site *site) {
    const char *name = site->label ? join_name(b, b->prefix, site->label) : free_name(b, site->auto_name);
    if (strlen(name) > BUILD_MAX_NAME) {
        build_error(b, site->span, "the name of this instance is longer than %d bytes", BUILD_MAX_NAME);
        return NULL;
    }
    const NameUse *first = site->label ? table_get(b->names, name) : NULL;
    if (first) {
        name_taken(b, name, site, first);
        return NULL;
    }
    NameUse *use = NEW(b->arena, NameUse);
    *use = (NameUse){ site->label ? site->label_span : site->span, site->label != NULL };
    table_set(b->names, name, use);
    return name;
}

/* Taps keep the order in which instances begin; the shape is known when they end. Both elaborations find the
 * same tap under the same name. */
int tap_open(Builder *b, const char *name, const char *what, Span at, bool replaceable) {
    intptr_t known = (intptr_t)table_get(b->taps, name);
    if (known)
        return (int)known - 1;
    Program *p = b->program;
    Tap tap = { .name = name, .what = what, .span = at, .replaceable = replaceable };
    ARENA_PUSH(b->arena, p->taps, p->tap_count, p->tap_cap, tap);
    table_set(b->taps, name, (void *)(intptr_t)p->tap_count);
    return p->tap_count - 1;
}

void tap_close(Builder *b, int tap, Value result) {
    if (result.kind == VALUE_TENSOR)
        b->program->taps[tap].shape = result.tensor->shape;
}

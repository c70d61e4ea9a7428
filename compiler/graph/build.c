/* build.c - elaboration from outside: files and declarations, the network or variant that is asked for, its
 * options and inputs, and the two elaborations that share parameters, states and taps. */
#include "graph/build_parts.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { FILES_MAX = 64, VARIANTS_MAX = 32, PRELUDE_NAMES = 64 };

/* ---- declarations ---- */

typedef struct Files {
    Builder *b;
    Module *module;
    Table *seen;                        /* paths that were read */
} Files;

static Module *module_new(Arena *arena, const Module *outer, const SourceFile *source) {
    Module *m = NEW(arena, Module);
    *m = (Module){ table_new(arena), table_new(arena), table_new(arena), outer, source };
    return m;
}

static const Name *declared_name(const AstNode *d) {
    switch (d->kind) {
    case DECL_LET: return &d->set.name;
    case DECL_ACTIVATION: case DECL_WEIGHT: case DECL_SCHEDULE: return &d->function.name;
    case DECL_BLOCK: case DECL_NETWORK: return &d->block.name;
    case DECL_VARIANT: return &d->variant.name;
    case DECL_TRAIN: return &d->train.network;
    default: return NULL;
    }
}

static void declare(Builder *b, Module *m, const AstNode *d) {
    const Name *name = declared_name(d);
    Table *table = d->kind == DECL_TRAIN ? m->trains : m->decls;
    const AstNode *first = table_get(table, name->text);
    if (first) {
        build_error(b, name->span, d->kind == DECL_TRAIN ? "`%s` has two `train` sections" : "`%s` is declared twice", name->text);
        diag_note(b->diag, declared_name(first)->span, "the first is here");
        return;
    }
    if (d->kind == DECL_WEIGHT || d->kind == DECL_SCHEDULE)
        build_error(b, d->span, "%s is not supported yet", ast_kind_text(d->kind));
    table_set(table, name->text, (void *)d);
}

static const char *beside(Arena *arena, const char *file, const char *path) {
    const char *slash = strrchr(file, '/');
    if (*path == '/' || !slash)
        return path;
    return arena_printf(arena, "%.*s/%s", (int)(slash - file), file, path);
}

static void add_file(Files *f, const AstFile *tree);

static void use_file(Files *f, const AstFile *user, const AstNode *d) {
    Builder *b = f->b;
    const BuildOptions *o = b->options;
    const char *path = beside(b->arena, user->source->name, d->use.path), *error = "cannot be read";
    if (table_has(f->seen, path))
        return;
    table_set(f->seen, path, f);
    if (f->seen->count > FILES_MAX) {
        build_error(b, d->span, "more than %d files are used", FILES_MAX);
        return;
    }
    const SourceFile *source = o->load ? o->load(o->load_context, b->arena, path, &error) : source_read(b->arena, path, &error);
    if (source)
        add_file(f, syntax_parse(b->arena, source, b->diag));
    else
        build_error(b, d->use.path_span, "cannot use %s: %s", path, error);
}

static void add_file(Files *f, const AstFile *tree) {
    table_set(f->seen, tree->source->name, f);
    for (int i = 0; i < tree->declarations.count; i++) {
        const AstNode *d = tree->declarations.items[i];
        if (d->kind == DECL_USE)
            use_file(f, tree, d);
        else
            declare(f->b, f->module, d);
    }
}

static void load_modules(Builder *b, const AstFile *tree) {
    const SourceFile *source = source_from_text(b->arena, "prelude.snet", prelude_text, prelude_length);
    const AstFile *prelude = syntax_parse(b->arena, source, b->diag);
    b->prelude = module_new(b->arena, NULL, source);
    b->user = module_new(b->arena, b->prelude, tree->source);
    add_file(&(Files){ b, b->prelude, table_new(b->arena) }, prelude);
    add_file(&(Files){ b, b->user, table_new(b->arena) }, tree);
}

/* ---- which network ---- */

static const AstNode *only_network(Builder *b, Span at) {
    const AstNode *found = NULL;
    Writer *names = writer_new(b->arena);
    int count = 0;
    for (const TableEntry *e = b->user->decls->first; e; e = e->next) {
        const AstNode *d = e->value;
        if (d->kind != DECL_NETWORK)
            continue;
        writer_printf(names, "%s`%s`", count++ ? ", " : "", e->key);
        found = d;
    }
    if (count == 1)
        return found;
    if (count) {
        build_error(b, found->block.name.span, "this file holds several networks: %s", names->data);
        diag_help(b->diag, "choose one with --network");
    } else {
        build_error(b, at, "this file holds no network");
    }
    return NULL;
}

static void unknown_network(Builder *b, const char *name, Span at) {
    const char *names[PRELUDE_NAMES];
    int count = 0;
    Writer *list = writer_new(b->arena);
    for (const TableEntry *e = b->user->decls->first; e && count < COUNT(names); e = e->next) {
        const AstNode *d = e->value;
        if (d->kind != DECL_NETWORK && d->kind != DECL_VARIANT)
            continue;
        writer_printf(list, "%s`%s`", count ? ", " : "", e->key);
        names[count++] = e->key;
    }
    build_error(b, at, "there is no network or variant `%s`", name);
    const char *near = nearest(name, names, count);
    if (near)
        diag_did_you_mean(b->diag, near);
    else if (count)
        diag_help(b->diag, "this file holds %s", list->data);
}

/* Fills network and variants, from the network outwards. */
static bool choose_network(Builder *b, Span file) {
    const char *name = b->options->network;
    const AstNode *chain[VARIANTS_MAX], *d = name ? table_get(b->user->decls, name) : only_network(b, file);
    int count = 0;
    Span at = file;
    if (!name && !d)
        return false;
    while (d && d->kind == DECL_VARIANT) {
        if (count == VARIANTS_MAX) {
            build_error(b, d->variant.name.span, "variants stand on one another more than %d levels deep", VARIANTS_MAX);
            return false;
        }
        chain[count++] = d;
        name = d->variant.base.text;
        at = d->variant.base.span;
        d = table_get(b->user->decls, name);
    }
    if (!d || d->kind != DECL_NETWORK) {
        if (!count)
            at = (Span){ source_from_text(b->arena, "--network", name, strlen(name)), 0, (uint32_t)strlen(name) };
        unknown_network(b, name, at);
        return false;
    }
    b->network = d;
    b->variant_count = count;
    b->variants = NEW_ARRAY(b->arena, const AstNode *, count);
    for (int i = 0; i < count; i++)
        b->variants[i] = chain[count - 1 - i];
    b->program->name = count ? chain[0]->variant.name.text : d->block.name.text;
    return true;
}

/* What is wrong whichever network is chosen: formulas, values, what variants and trains stand on. */
static void check_declarations(Builder *b) {
    for (const TableEntry *e = b->user->decls->first; e; e = e->next) {
        const AstNode *d = e->value;
        if (d->kind == DECL_ACTIVATION)
            build_check_activation(b, b->user, d);
        if (d->kind == DECL_LET)
            build_name(b, e->key, d->set.name.span, false);
        const AstNode *base = d->kind == DECL_VARIANT ? table_get(b->user->decls, d->variant.base.text) : NULL;
        if (d->kind == DECL_VARIANT && (!base || (base->kind != DECL_NETWORK && base->kind != DECL_VARIANT)))
            unknown_network(b, d->variant.base.text, d->variant.base.span);
    }
    for (const TableEntry *e = b->user->trains->first; e; e = e->next) {
        const AstNode *d = table_get(b->user->decls, e->key);
        if (!d || (d->kind != DECL_NETWORK && d->kind != DECL_VARIANT))
            unknown_network(b, e->key, ((const AstNode *)e->value)->train.network.span);
    }
}

/* ---- options ---- */

static const Input *option_named(const Builder *b, const char *name) {
    const InputList *options = &b->network->block.options;
    for (int i = 0; i < options->count; i++)
        if (strcmp(options->items[i].name.text, name) == 0)
            return &options->items[i];
    return NULL;
}

static void unknown_option(Builder *b, const char *name, Span at) {
    const InputList *options = &b->network->block.options;
    const char **names = NEW_ARRAY(b->arena, const char *, options->count);
    Writer *list = writer_new(b->arena);
    for (int i = 0; i < options->count; i++) {
        names[i] = options->items[i].name.text;
        writer_printf(list, "%s%s", i ? ", " : "", names[i]);
    }
    build_error(b, at, "network `%s` has no option `%s`", b->network->block.name.text, name);
    const char *near = nearest(name, names, options->count);
    if (near)
        diag_did_you_mean(b->diag, near);
    else if (options->count)
        diag_help(b->diag, "its options are %s", list->data);
    else
        diag_help(b->diag, "it has none");
}

static void check_option_names(Builder *b) {
    for (int i = 0; i < b->variant_count; i++) {
        const AstList *lines = &b->variants[i]->variant.body.lines;
        for (int k = 0; k < lines->count; k++)
            if (lines->items[k]->kind == ITEM_OPTION && !option_named(b, lines->items[k]->set.name.text))
                unknown_option(b, lines->items[k]->set.name.text, lines->items[k]->set.name.span);
    }
    for (int i = 0; i < b->options->define_count; i++) {
        const char *name = b->options->define[i].name;
        SourceFile *source = source_from_text(b->arena, "-D", name, strlen(name));
        if (!option_named(b, name))
            unknown_option(b, name, (Span){ source, 0, source->length });
    }
}

/* Sizes given with --dim that nothing has read. */
static void check_dim_names(Builder *b) {
    for (int i = 0; i < b->options->dim_count; i++) {
        const char *name = b->options->dim[i].name;
        if (table_get(b->dims, name))
            continue;
        build_error(b, (Span){ source_from_text(b->arena, "--dim", name, strlen(name)), 0, (int)strlen(name) },
                    "network `%s` leaves no size `%s` open", b->network->block.name.text, name);
    }
}

/* What -D, the variants or the declaration say; NULL: nothing. */
static const AstNode *option_value(Builder *b, const Input *option, bool *ok) {
    const char *name = option->name.text;
    *ok = true;
    for (int i = b->options->define_count - 1; i >= 0; i--) {
        const Setting *s = &b->options->define[i];
        if (strcmp(s->name, name) != 0)
            continue;
        const char *label = arena_printf(b->arena, "-D %s", name);
        const AstNode *e = syntax_parse_expression(b->arena, source_from_text(b->arena, label, s->text, strlen(s->text)), b->diag);
        *ok = e != NULL;
        return e;
    }
    for (int i = b->variant_count - 1; i >= 0; i--) {
        const AstList *lines = &b->variants[i]->variant.body.lines;
        for (int k = lines->count - 1; k >= 0; k--)
            if (lines->items[k]->kind == ITEM_OPTION && strcmp(lines->items[k]->set.name.text, name) == 0)
                return lines->items[k]->set.value;
    }
    return option->value;
}

static void bind_options(Builder *b) {
    const InputList *options = &b->network->block.options;
    for (int i = 0; i < options->count; i++) {
        const Input *o = &options->items[i];
        bool ok;
        const AstNode *e = option_value(b, o, &ok);
        if (!e && ok) {
            build_error(b, o->span, "network `%s` needs its option `%s`", b->network->block.name.text, o->name.text);
            diag_help(b->diag, "give it with -D %s=...", o->name.text);
        }
        frame_set(b, b->frame, o->name.text, e ? build_eval(b, e) : value_bad(), o->span);
    }
}

/* ---- inputs ---- */

static bool names_something(const Builder *b, const char *name) {
    const Var *v = table_get(b->frame->vars, name);
    for (int i = 0; i < b->options->dim_count; i++)
        if (strcmp(b->options->dim[i].name, name) == 0)
            return true;
    for (const Module *m = b->frame->module; m; m = m->outer)
        if (table_has(m->decls, name))
            return true;
    return v && v->defined;
}

static bool input_size(Builder *b, const AstNode *dim, int64_t *out) {
    if (dim->kind == EXPR_NAME && !names_something(b, dim->name.text)) {
        build_error(b, dim->span, "the size `%s` is not known", dim->name.text);
        diag_help(b->diag, "give it with --dim %s=8, or make it an option", dim->name.text);
        return false;
    }
    return value_want_integer(b, build_eval(b, dim), dim->span, "a size", 1, 1 << 24, out);
}

static bool input_shape(Builder *b, const Input *in, Shape *s) {
    const Type *t = in->type;
    if (!t) {
        build_error(b, in->span, "input `%s` needs a type, such as `%s: f32[N, 3, 32, 32]`", in->name.text, in->name.text);
        return false;
    }
    if (strcmp(t->element.text, "f32") != 0) {
        bool known = strcmp(t->element.text, "i32") == 0 || strcmp(t->element.text, "u8") == 0;
        build_error(b, t->element.span, known ? "inputs of %s are not supported yet" : "unknown element type `%s`", t->element.text);
        diag_help(b->diag, "inputs hold f32; pictures of bytes go through `preprocess`");
        return false;
    }
    const AstNode *first = t->dims.count ? t->dims.items[0] : NULL;
    if (!first || first->kind != EXPR_NAME || strcmp(first->name.text, "N") != 0 || t->dims.count > MAX_RANK) {
        if (t->dims.count > MAX_RANK)
            build_error(b, t->span, "tensors have at most %d axes", MAX_RANK);
        else
            build_error(b, t->span, "the first size of an input is the batch, `N`");
        return false;
    }
    *s = (Shape){ .rank = t->dims.count, .batched = true, .dim = { b->program->batch } };
    bool ok = true;
    for (int i = 1; i < s->rank; i++)
        ok = input_size(b, t->dims.items[i], &s->dim[i]) && ok;
    return ok && build_shape_fits(b, s, t->span);
}

/* Axis 1 unless `channel = last` or an axis is declared. */
static int input_channel(Builder *b, const Input *in, const Shape *s) {
    int64_t axis = s->rank > 1 ? 1 : -1;
    if (in->channel && in->channel->kind == EXPR_NAME && strcmp(in->channel->name.text, "last") == 0)
        return s->rank > 1 ? s->rank - 1 : -1;
    if (in->channel)
        value_want_integer(b, build_eval(b, in->channel), in->channel->span, "the channel axis", 1, s->rank > 1 ? s->rank - 1 : 1, &axis);
    return axis < s->rank ? (int)axis : -1;
}

static bool bind_inputs(Builder *b) {
    const InputList *inputs = &b->network->block.inputs;
    bool ok = inputs->count > 0;
    if (!ok)
        build_error(b, b->network->block.name.span, "network `%s` has no input", b->network->block.name.text);
    if (inputs->count > BUILD_MAX_PORTS) {
        build_error(b, inputs->items[BUILD_MAX_PORTS].span, "a network has at most %d inputs", BUILD_MAX_PORTS);
        return false;
    }
    for (int i = 0; i < inputs->count; i++) {
        const Input *in = &inputs->items[i];
        const Var *known = table_get(b->frame->vars, in->name.text);
        Shape s;
        if (known || (b->training && strcmp(in->name.text, "labels") == 0)) {
            if (known)
                build_error(b, in->name.span, "`%s` is declared twice", in->name.text);
            else
                build_error(b, in->name.span, "`labels` is the name of the loss's target");
            ok = false;
        } else if (input_shape(b, in, &s)) {
            Node *n = graph_input(b->graph, in->name.text, TYPE_F32, s, input_channel(b, in, &s), build_at(b, in->span));
            frame_set(b, b->frame, in->name.text, value_tensor(n), in->span);
        } else {
            ok = false;
        }
    }
    return ok;
}

/* ---- results ---- */

static bool add_output(Builder *b, Value v, const char *name, Span at) {
    if (is_bad(v))
        return false;
    if (v.kind != VALUE_TENSOR || !v.tensor->shape.batched) {
        build_error(b, at, "a network returns tensors with a batch, not %s", value_text(b, v));
        return false;
    }
    graph_output(b->graph, name, v.tensor);
    return true;
}

static Value result_at(const Value *v, int i) { return v->kind == VALUE_TUPLE ? v->list->items[i] : *v; }

static void add_results(Builder *b, const Frame *f, const AstNode *section) {
    const Value *v = &f->result;
    Span at = b->network->block.name.span;
    int count = v->kind == VALUE_TUPLE ? v->list->count : 1;
    if (!f->returned || is_bad(*v)) {
        if (!f->returned && !build_stopped(b))
            build_error(b, at, "network `%s` returns nothing", b->network->block.name.text);
        return;
    }
    if (count > BUILD_MAX_PORTS) {
        build_error(b, at, "a network returns at most %d values, not %d", BUILD_MAX_PORTS, count);
        return;
    }
    if (b->training && section && result_at(v, 0).kind == VALUE_TENSOR) {
        Node *loss = train_loss(b, section, result_at(v, 0).tensor);
        if (loss)
            graph_output(b->graph, "loss", loss);
    }
    for (int i = 0; i < count; i++) {
        const char *name = f->result_names && i < count ? f->result_names[i] : NULL;
        if (!name)
            name = count == 1 ? "output" : arena_printf(b->arena, "output%d", i + 1);
        if (b->training && strcmp(name, "loss") == 0)
            build_error(b, at, "`loss` is the name of the loss; call this output otherwise");
        add_output(b, result_at(v, i), name, at);
    }
}

/* ---- elaborating ---- */

static Graph *elaborate(Builder *b, bool training, const AstNode *section) {
    b->training = training;
    b->graph = graph_new(b->program, training ? "step" : "infer");
    if (!training)
        b->program->infer = b->graph;
    b->names = table_new(b->arena);
    b->declared = table_new(b->arena);
    b->streams = table_new(b->arena);
    b->user->lets = table_new(b->arena);
    b->prelude->lets = table_new(b->arena);
    b->prefix = b->tap = "";
    b->trace = NULL;
    b->steps = 0;
    Frame *f = b->frame = build_frame(b, b->user, b->network);
    bind_options(b);
    bool ok = bind_inputs(b);
    place_collect(b);
    if (ok) {
        build_body(b, &b->network->block.body);
        add_results(b, f, section);
    }
    return b->graph;
}

static void choose_batch(Builder *b, const AstNode *section) {
    Program *p = b->program;
    const BuildOptions *o = b->options;
    p->batch = o->batch > 0 ? o->batch : (o->training || o->check) && p->recipe.batch ? p->recipe.batch : 1;
    if (o->training && !o->check && section && o->batch <= 0 && p->recipe.batch == 0 && !diag_errors(b->diag)) {
        build_error(b, section->train.network.span, "the batch size is not known: this section names no `data`");
        diag_help(b->diag, "give it with --batch 128");
    }
    if (o->training)
        p->recipe.batch = p->batch;
}

static bool build_all(Builder *b, const AstFile *tree) {
    const BuildOptions *o = b->options;
    Span file = { tree->source, 0, 0 };
    load_modules(b, tree);
    b->frame = build_frame(b, b->user, NULL);
    check_declarations(b);
    if (!choose_network(b, file))
        return false;
    const AstNode *section = train_section(b);
    if (o->training && !section) {
        build_error(b, b->network->block.name.span, "there is no `train` section for `%s`", b->program->name);
        diag_help(b->diag, "`train %s { ... }` says data, loss, optimizer and epochs", b->network->block.name.text);
        return false;
    }
    check_option_names(b);
    train_recipe(b, section);
    choose_batch(b, section);
    elaborate(b, false, section);
    if ((o->training || o->check) && !build_stopped(b)) {
        Graph *step = elaborate(b, true, section);
        b->program->step = o->training ? step : NULL;
        b->graph = b->program->infer;
    }
    if (!diag_errors(b->diag))
        check_dim_names(b);
    if (!diag_errors(b->diag))
        place_finish(b);
    train_groups(b, section);
    return diag_errors(b->diag) == 0;
}

Program *build_program(Arena *arena, const AstFile *tree, const BuildOptions *options, Diag *diag) {
    Builder *b = NEW(arena, Builder);
    *b = (Builder){ .arena = arena, .diag = diag, .options = options, .program = program_new(arena, "") };
    b->prefix = b->tap = "";
    b->program->file = tree->source->name;
    b->taps = table_new(arena);
    b->dims = table_new(arena);
    int before = diag_errors(diag);
    if (before || !build_all(b, tree))
        return NULL;
    graph_verify(b->program->infer, "build");
    if (b->program->step)
        graph_verify(b->program->step, "build");
    return b->program;
}

static const AstNode *top_level(const AstFile *tree, AstKind kind, const char *name) {
    for (int i = 0; i < tree->declarations.count; i++) {
        const AstNode *d = tree->declarations.items[i];
        if (d->kind == kind && (!name || strcmp(declared_name(d)->text, name) == 0))
            return d;
    }
    return NULL;
}

bool build_has_train(const AstFile *tree, const char *network) {
    if (!network) {
        const AstNode *only = top_level(tree, DECL_NETWORK, NULL);
        network = only ? only->block.name.text : NULL;
    }
    for (int i = 0; network && i < VARIANTS_MAX; i++) {
        if (top_level(tree, DECL_TRAIN, network))
            return true;
        const AstNode *variant = top_level(tree, DECL_VARIANT, network);
        network = variant ? variant->variant.base.text : NULL;
    }
    return false;
}

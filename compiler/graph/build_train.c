/* build_train.c - the `train` section becomes a Recipe; the loss becomes nodes of the training graph.
 * Every word of the section is a row of a table; what the tables do not hold is reported with the nearest. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

enum { STAGES_MAX = 16, SCHEDULE_STEPS_MAX = 16 };

/* ---- words ---- */

bool pipe_stages(Builder *b, const AstNode *e, const AstNode **stages, int max, int *count) {
    int n = 1;
    for (const AstNode *p = e; p->kind == EXPR_PIPE; p = p->pipe.left)
        n++;
    if (n > max) {
        build_error(b, e->span, "more than %d stages", max);
        return false;
    }
    *count = n;
    for (; e->kind == EXPR_PIPE; e = e->pipe.left) {
        if (e->pipe.label) {
            build_error(b, e->pipe.label->span, "there are no labels here");
            return false;
        }
        stages[--n] = e->pipe.stage;
    }
    stages[0] = e;
    return true;
}

static const char *nearest_form(const char *name, const Form *forms, Writer *list) {
    const char *names[16];
    int count = 0;
    for (; forms[count].name && count < COUNT(names); count++) {
        names[count] = forms[count].name;
        writer_printf(list, "%s%s", count ? ", " : "", names[count]);
    }
    return nearest(name, names, count);
}

static void unknown_form(Builder *b, const char *name, Span at, const char *what, const Form *forms, const char *const *later) {
    for (; later && *later; later++)
        if (strcmp(*later, name) == 0) {
            build_error(b, at, "`%s` is not supported yet", name);
            return;
        }
    Writer *list = writer_new(b->arena);
    const char *near = nearest_form(name, forms, list);
    build_error(b, at, "`%s` is not %s", name, what);
    if (near)
        diag_did_you_mean(b->diag, near);
    else
        diag_help(b->diag, "known here: %s", list->data);
}

int build_form(Builder *b, const AstNode *e, const char *what, const Form *forms, const char *const *later, CallArg *out) {
    const AstNode *word = e->kind == EXPR_CALL ? e->call.callee : e;
    Bound *args = NULL;
    int count = 0;
    if (word->kind != EXPR_NAME || (e->kind == EXPR_CALL && e->call.label)) {
        Writer *list = writer_new(b->arena);
        nearest_form("", forms, list);
        build_error(b, e->span, "this is not %s", what);
        diag_help(b->diag, "known here: %s", list->data);
        return -1;
    }
    int k = 0;
    while (forms[k].name && strcmp(forms[k].name, word->name.text) != 0)
        k++;
    if (!forms[k].name) {
        unknown_form(b, word->name.text, word->span, what, forms, later);
        return -1;
    }
    if (e->kind == EXPR_CALL && !build_bounds(b, &e->call.args, &args, &count))
        return -1;
    return build_read_args(b, forms[k].name, forms[k].args, args, count, e->span, out) ? k : -1;
}

/* ---- data ---- */

enum { DATA_CIFAR10, DATA_CIFAR100, DATA_MNIST, DATA_NPY };

static const Form data_forms[] = {
    { "cifar10", { { "batch", ARG_SIZE, true, 0 } } },
    { "cifar100", { { "batch", ARG_SIZE, true, 0 } } },
    { "mnist", { { "batch", ARG_SIZE, true, 0 } } },
    { "npy", { { "images", ARG_STRING, true, 0 }, { "labels", ARG_STRING, true, 0 }, { "batch", ARG_SIZE, true, 0 } } },
    { 0 },
};
static const char *const later_data[] = { "imagenet", "folder", "images", "kinetics", "coco", NULL };

static const Form augment_forms[] = {
    { "pad_crop", { { "pixels", ARG_SIZE, true, 0 } } },
    { "flip", { { "p", ARG_NUMBER, false, 0.5 } } },
    { 0 },
};
static const char *const later_augments[] = { "random_resized_crop", "mixup", "cutmix", "color_jitter", "rotate",
                                              "randaugment", "autoaugment", "erase", "cutout", NULL };

enum { AUGMENT_PIXELS_MAX = 4096 };

static bool augment(Builder *b, const AstNode *e, Augment *out) {
    CallArg arg[ARGS_MAX];
    int k = build_form(b, e, "an augmentation", augment_forms, later_augments, arg);
    if (k < 0)
        return false;
    *out = k == 0 ? (Augment){ AUG_PAD_CROP, (double)arg[0].integer } : (Augment){ AUG_FLIP, arg[0].number };
    if (out->kind == AUG_FLIP && !(out->value >= 0 && out->value <= 1))
        build_error(b, arg[0].span, "a probability lies between 0 and 1, not at %s", number_text(b, out->value));
    else if (out->kind == AUG_PAD_CROP && out->value > AUGMENT_PIXELS_MAX)
        build_error(b, arg[0].span, "`pad_crop` pads by at most %d pixels", AUGMENT_PIXELS_MAX);
    else
        return true;
    return false;
}

static void read_data(Builder *b, Recipe *r, const AstNode *e) {
    const AstNode *stages[STAGES_MAX];
    CallArg arg[ARGS_MAX];
    int count;
    if (!pipe_stages(b, e, stages, STAGES_MAX, &count))
        return;
    int k = build_form(b, stages[0], "a data set", data_forms, later_data, arg);
    if (k >= 0) {
        r->batch = arg[k == DATA_NPY ? 2 : 0].integer;
        r->data = k == DATA_NPY ? arena_printf(b->arena, "npy:%s,%s", arg[0].string, arg[1].string) : data_forms[k].name;
    }
    r->augment = NEW_ARRAY(b->arena, Augment, count);
    for (int i = 1; i < count; i++)
        if (augment(b, stages[i], &r->augment[r->augment_count]))
            r->augment_count++;
}

/* ---- loss, optimizer, clipping ---- */

static const Form loss_forms[] = { { "cross_entropy", { { "smoothing", ARG_PROBABILITY, false, 0 } } }, { 0 } };
static const char *const later_losses[] = { "mse", "l1", "ctc", "focal", "binary_cross_entropy", "smooth_l1", NULL };

static void read_loss(Builder *b, Recipe *r, const AstNode *e) {
    CallArg arg[ARGS_MAX];
    if (build_form(b, e, "a loss", loss_forms, later_losses, arg) == 0)
        r->smoothing = arg[0].number;
}

static const Form optimizer_forms[] = {
    { "sgd", { { "lr", ARG_NUMBER, true, 0 }, { "momentum", ARG_NUMBER, false, 0 }, { "nesterov", ARG_FLAG, false, 0 },
               { "weight_decay", ARG_NUMBER, false, 0 } } },
    { 0 },
};
static const char *const later_optimizers[] = { "adam", "adamw", "rmsprop", "lars", "lamb", "lion", "adagrad", NULL };

static bool at_least_zero(Builder *b, const CallArg *a, const char *what, double below) {
    if (a->number >= 0 && a->number < below)
        return true;
    if (isinf(below))
        build_error(b, a->span, "%s must be at least 0 and finite, not %s", what, number_text(b, a->number));
    else
        build_error(b, a->span, "%s must be at least 0 and below %s, not %s", what, number_text(b, below), number_text(b, a->number));
    return false;
}

static void read_optimizer(Builder *b, Recipe *r, const AstNode *e) {
    CallArg arg[ARGS_MAX];
    if (build_form(b, e, "an optimizer", optimizer_forms, later_optimizers, arg) != 0)
        return;
    bool ok = at_least_zero(b, &arg[0], "the learning rate", INFINITY);
    ok = at_least_zero(b, &arg[1], "the momentum", 1) && ok;
    if (!at_least_zero(b, &arg[3], "the weight decay", INFINITY) || !ok)
        return;
    r->lr = arg[0].number;
    r->momentum = arg[1].number;
    r->nesterov = arg[2].number != 0;
    r->weight_decay = arg[3].number;
    if (r->nesterov && r->momentum == 0)
        build_error(b, arg[2].span, "`nesterov` needs a momentum");
}

static const Form clip_forms[] = { { "norm", { { "max", ARG_NUMBER, true, 0 } } }, { 0 } };
static const char *const later_clips[] = { "adaptive", "agc", "value", NULL };

static void read_clip(Builder *b, Recipe *r, const AstNode *e) {
    CallArg arg[ARGS_MAX];
    if (build_form(b, e, "a way of clipping", clip_forms, later_clips, arg) != 0)
        return;
    if (arg[0].number > 0 && isfinite(arg[0].number))
        r->clip_norm = arg[0].number;
    else
        build_error(b, arg[0].span, "the norm of the gradients is clipped at a positive number, not %s", number_text(b, arg[0].number));
}

/* ---- schedule ---- */

enum { FORM_WARMUP, FORM_COSINE, FORM_LINEAR, FORM_STEP, FORM_CONSTANT };

static const Form schedule_forms[] = {
    [FORM_WARMUP] = { "warmup", { { "epochs", ARG_NUMBER, true, 0 } } },
    [FORM_COSINE] = { "cosine", { { "to", ARG_NUMBER, false, 0 }, { "epochs", ARG_NUMBER, false, 0 } } },
    [FORM_LINEAR] = { "linear", { { "to", ARG_NUMBER, false, 0 }, { "epochs", ARG_NUMBER, false, 0 } } },
    [FORM_STEP] = { "step", { { "at", ARG_NUMBERS, true, 0 }, { "gamma", ARG_NUMBER, false, 0.1 }, { "epochs", ARG_NUMBER, false, 0 } } },
    [FORM_CONSTANT] = { "constant", { { "epochs", ARG_NUMBER, false, 0 } } },
    { 0 },
};
static const char *const later_schedules[] = { "polynomial", "exponential", "onecycle", "cyclic", "plateau", NULL };

static bool step_epochs(Builder *b, const CallArg *a, SchedPart *out) {
    for (int i = 0; i < a->count && i < SCHEDULE_STEPS_MAX; i++) {
        if (a->numbers[i] <= (i ? a->numbers[i - 1] : 0)) {
            build_error(b, a->span, "the epochs of `step` must grow");
            return false;
        }
        out->at[out->at_count++] = a->numbers[i];
    }
    return true;
}

static bool schedule_part(Builder *b, const AstNode *e, bool last, SchedPart *out) {
    static const SchedKind kinds[] = { SCHED_WARMUP, SCHED_COSINE, SCHED_LINEAR, SCHED_STEP, SCHED_CONST };
    static const int epochs_at[] = { 0, 1, 1, 2, 0 };
    CallArg arg[ARGS_MAX];
    int k = build_form(b, e, "a schedule", schedule_forms, later_schedules, arg);
    if (k < 0)
        return false;
    const CallArg *epochs = &arg[epochs_at[k]];
    *out = (SchedPart){ .kind = kinds[k], .epochs = epochs->number, .gamma = 1 };
    if (!at_least_zero(b, epochs, "a number of epochs", INFINITY))
        return false;
    if (!last && !epochs->given) {
        build_error(b, e->span, "only the last schedule runs to the end of training; `%s` needs its `epochs`", schedule_forms[k].name);
        return false;
    }
    if (k == FORM_COSINE || k == FORM_LINEAR) {
        out->to = arg[0].number;
        return at_least_zero(b, &arg[0], "the final factor", INFINITY);
    }
    if (k == FORM_STEP) {
        out->gamma = arg[1].number;
        return at_least_zero(b, &arg[1], "`gamma`", INFINITY) && step_epochs(b, &arg[0], out);
    }
    return true;
}

static void read_schedule(Builder *b, Recipe *r, const AstNode *e) {
    const AstNode *stages[STAGES_MAX];
    int count;
    if (!pipe_stages(b, e, stages, STAGES_MAX, &count))
        return;
    r->schedule = NEW_ARRAY(b->arena, SchedPart, count);
    for (int i = 0; i < count; i++)
        if (schedule_part(b, stages[i], i == count - 1, &r->schedule[r->schedule_count]))
            r->schedule_count++;
}

/* ---- plain numbers ---- */

static void read_epochs(Builder *b, Recipe *r, const AstNode *e) {
    value_want_integer(b, build_eval(b, e), e->span, "`epochs`", 1, 1000000, &r->epochs);
}

static void read_seed(Builder *b, Recipe *r, const AstNode *e) {
    int64_t seed;
    if (value_want_integer(b, build_eval(b, e), e->span, "`seed`", 0, INT64_C(1) << 53, &seed))
        r->seed = (uint64_t)seed;
}

static const struct {
    const char *name;
    void (*read)(Builder *b, Recipe *r, const AstNode *value);
    bool required;
} items[] = {
    { "data", read_data, false },         { "loss", read_loss, true },     { "optimizer", read_optimizer, true },
    { "clip", read_clip, false },         { "schedule", read_schedule, false }, { "epochs", read_epochs, true },
    { "seed", read_seed, false },
};

/* ---- groups ---- */

static bool group_option(Builder *b, const AstNode *line, GroupRule *rule) {
    static const char *const known[] = { "lr_scale", "weight_decay", "frozen" };
    const Name *name = &line->set.name;
    Value v = build_eval(b, line->set.value);
    Span at = line->set.value->span;
    CallArg number = { .span = at };
    if (strcmp(name->text, "frozen") == 0)
        return value_want_bool(b, v, at, "`frozen`", &rule->freeze);
    bool lr = strcmp(name->text, "lr_scale") == 0;
    if (!lr && strcmp(name->text, "weight_decay") != 0) {
        build_error(b, name->span, "a group has no `%s`", name->text);
        const char *near = nearest(name->text, known, COUNT(known));
        if (near)
            diag_did_you_mean(b->diag, near);
        else
            diag_help(b->diag, "known here: lr_scale, weight_decay, frozen");
        return false;
    }
    const char *what = lr ? "`lr_scale`" : "`weight_decay`";
    if (!value_want_number(b, v, at, what, &number.number) || !at_least_zero(b, &number, what, INFINITY))
        return false;
    *(lr ? &rule->lr_scale : &rule->weight_decay) = number.number;
    *(lr ? &rule->has_lr : &rule->has_decay) = true;
    return true;
}

static void read_group(Builder *b, Recipe *r, const AstNode *item) {
    GroupRule rule = { .lr_scale = 1 };
    const AstList *lines = &item->group.body.lines, *patterns = &item->group.patterns;
    for (int i = 0; i < lines->count; i++)
        group_option(b, lines->items[i], &rule);
    r->group = arena_grow(b->arena, r->group, (size_t)r->group_count, (size_t)(r->group_count + patterns->count), sizeof *r->group);
    for (int i = 0; i < patterns->count; i++) {
        rule.pattern = patterns->items[i]->string.text;
        r->group[r->group_count++] = rule;
    }
}

static bool apply_rule(const GroupRule *rule, ParamGroup *g) {
    if (rule->has_lr)
        g->lr_scale = rule->lr_scale;
    if (rule->has_decay)
        g->weight_decay = rule->weight_decay;
    g->frozen = g->frozen || rule->freeze;
    return true;
}

static bool apply_pattern(Builder *b, const GroupRule *rule) {
    bool matched = false;
    for (int i = 0; i < b->program->tensor_count; i++) {
        TensorDecl *t = b->program->tensors[i];
        if (!t->is_state && build_pattern_matches(rule->pattern, t->name))
            matched = apply_rule(rule, &t->group);
    }
    return matched;
}

/* A pattern with wildcards may be meant for another choice of options; a plain name may not. */
static void no_match(Builder *b, const AstNode *pattern) {
    const char *text = pattern->string.text;
    if (strpbrk(text, "*?["))
        return;
    const char *best = NULL;
    for (int i = 0; i < b->program->tensor_count; i++) {
        const char *name = b->program->tensors[i]->name;
        if (!b->program->tensors[i]->is_state && (!best || edit_distance(text, name) < edit_distance(text, best)))
            best = name;
    }
    build_error(b, pattern->span, "no parameter is named `%s`", text);
    diag_did_you_mean(b->diag, best);
}

static bool trains_something(const Program *p) {
    for (int i = 0; i < p->tensor_count; i++)
        if (!p->tensors[i]->is_state && !p->tensors[i]->group.frozen)
            return true;
    return false;
}

void train_groups(Builder *b, const AstNode *section) {
    const Recipe *r = &b->program->recipe;
    int rule = 0;
    for (int i = 0; i < b->program->tensor_count; i++)
        b->program->tensors[i]->group = (ParamGroup){ 1, r->weight_decay, false };
    for (int i = 0; section && i < section->train.body.lines.count; i++) {
        const AstNode *item = section->train.body.lines.items[i];
        for (int k = 0; item->kind == ITEM_GROUP && k < item->group.patterns.count; k++)
            if (!apply_pattern(b, &r->group[rule++]))
                no_match(b, item->group.patterns.items[k]);
    }
    if (b->options->training && section && !diag_errors(b->diag) && !trains_something(b->program))
        build_error(b, section->train.network.span, "network `%s` has no parameter that is trained", b->network->block.name.text);
}

/* ---- the section ---- */

const AstNode *train_section(Builder *b) {
    for (int i = b->variant_count - 1; i >= 0; i--) {
        const AstNode *section = table_get(b->user->trains, b->variants[i]->variant.name.text);
        if (section)
            return section;
    }
    return table_get(b->user->trains, b->network->block.name.text);
}

static int item_index(const char *name) {
    for (int i = 0; i < COUNT(items); i++)
        if (strcmp(items[i].name, name) == 0)
            return i;
    return -1;
}

static void unknown_item(Builder *b, const Name *name) {
    const char *known[COUNT(items) + 1];
    for (int i = 0; i < COUNT(items); i++)
        known[i] = items[i].name;
    known[COUNT(items)] = "group";
    build_error(b, name->span, "a `train` section has no `%s`", name->text);
    const char *near = nearest(name->text, known, COUNT(known));
    if (near)
        diag_did_you_mean(b->diag, near);
    else
        diag_help(b->diag, "known here: data, loss, optimizer, clip, group, schedule, epochs, seed");
}

static void read_item(Builder *b, Recipe *r, const AstNode *item, const AstNode **seen) {
    if (item->kind == ITEM_GROUP) {
        read_group(b, r, item);
        return;
    }
    if (item->kind != ITEM_VALUE) {
        build_error(b, item->span, "%s is not supported yet", ast_kind_text(item->kind));
        return;
    }
    const Name *name = &item->set.name;
    int k = item_index(name->text);
    if (k < 0) {
        unknown_item(b, name);
        return;
    }
    if (seen[k]) {
        build_error(b, name->span, "`%s` is given twice", name->text);
        diag_note(b->diag, seen[k]->span, "the first is here");
        return;
    }
    seen[k] = item;
    items[k].read(b, r, item->set.value);
}

void train_recipe(Builder *b, const AstNode *section) {
    Recipe *r = &b->program->recipe;
    const AstNode *seen[COUNT(items)] = { 0 };
    *r = (Recipe){ .data = "", .epochs = 1 };
    if (!section)
        return;
    b->frame = build_frame(b, b->user, NULL);
    for (int i = 0; i < section->train.body.lines.count; i++)
        read_item(b, r, section->train.body.lines.items[i], seen);
    for (int i = 0; i < COUNT(items); i++)
        if (items[i].required && !seen[i])
            build_error(b, section->train.network.span, "this `train` section says no `%s`", items[i].name);
    if (!isnan(b->options->smoothing))
        r->smoothing = b->options->smoothing;
}

/* ---- the loss ---- */

static const Expr *op2(Builder *b, ExprOp op, const Expr *x, const Expr *y) {
    return expr_make(b->program->exprs, op, x, y, NULL);
}

/* weight of class `coord 1`: 1 - s + s/C for the label, s/C for the others */
static const Expr *class_weight(Builder *b, const Expr *label, const Expr *smoothing, double classes) {
    ExprPool *p = b->program->exprs;
    const Expr *share = op2(b, EXPR_DIV, smoothing, expr_const(p, classes));
    const Expr *hit = op2(b, EXPR_EQ, expr_coord(p, 1), label);
    const Expr *rest = op2(b, EXPR_SUB, expr_const(p, 1), smoothing);
    return op2(b, EXPR_ADD, expr_make(p, EXPR_SELECT, hit, rest, expr_const(p, 0)), share);
}

static Span loss_place(const AstNode *section) {
    const AstList *lines = &section->train.body.lines;
    for (int i = 0; i < lines->count; i++)
        if (lines->items[i]->kind == ITEM_VALUE && strcmp(lines->items[i]->set.name.text, "loss") == 0)
            return lines->items[i]->span;
    return section->span;
}

/* sum over images and classes of weight (logsumexp(x) - x), over n; as torch.nn.CrossEntropyLoss */
Node *train_loss(Builder *b, const AstNode *section, Node *logits) {
    Graph *g = b->graph;
    ExprPool *p = b->program->exprs;
    Span at = loss_place(section);
    if (logits->shape.rank != 2 || !logits->shape.batched) {
        build_error(b, at, "cross entropy takes f32[N, classes], and the network returns %s",
                    shape_text(b->arena, logits->type, &logits->shape));
        return NULL;
    }
    if (logits->shape.dim[1] < 2) {
        build_error(b, at, "cross entropy takes scores of two classes or more, and the network returns one");
        return NULL;
    }
    b->tap = "loss";
    const Node *like = build_at(b, at);
    int64_t batch = logits->shape.dim[0], column[2] = { batch, 1 };
    Node *labels = graph_input(g, "labels", TYPE_I32, shape_of(true, 1, &batch), -1, like);
    Node *label = graph_reshape(g, labels, shape_of(true, 2, column), -1, like);
    Node *top = graph_reduce(g, OP_MAXIMUM, logits, 2, like);
    const Expr *shifted = op2(b, EXPR_SUB, expr_input(p, 0), expr_input(p, 1));
    const Expr *exponent = expr_make(p, EXPR_EXP, shifted, NULL, NULL);
    Node *powers = graph_map(g, exponent, (Node *[]){ logits, top }, 2, like);
    Node *log_sum = graph_unary(g, EXPR_LOG, graph_reduce(g, OP_SUM, powers, 2, like), like);
    Node *smoothing = graph_scalar(g, SCALAR_SMOOTHING, like);
    const Expr *weight = class_weight(b, expr_input(p, 3), expr_input(p, 4), (double)logits->shape.dim[1]);
    const Expr *term = op2(b, EXPR_MUL, weight, op2(b, EXPR_SUB, expr_input(p, 2), shifted));
    Node *terms = graph_map(g, term, (Node *[]){ logits, top, log_sum, label, smoothing }, 5, like);
    Node *sum = graph_reshape(g, graph_reduce(g, OP_SUM, terms, 3, like), (Shape){ 0 }, -1, like);
    Node *n = graph_scalar(g, SCALAR_BATCH, like);
    Node *loss = graph_binary(g, EXPR_DIV, sum, n, like);
    b->tap = "";
    return loss;
}

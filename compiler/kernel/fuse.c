/* fuse.c - which nodes become one loop nest.
 * needs: autodiff done, shapes, no dead nodes     keeps: the graph's meaning     spoils: node->note (now ValueInfo)
 *
 * A MAP joins the youngest group that computes one of its inputs over the same space, unless another of its
 * inputs waits for that very group; failing that, a pass that reads the same operand. Sums over everything but
 * the channels, or over everything, are added up on the way by the group of their operand. Everything else
 * starts a group of its own.
 *
 * A value that is computed again INSIDE has no place of its own: every group whose MAPs read it gets a copy. Where a
 * reader needs all of it in memory, the youngest group of the backward pass that computes or reads most of it anyway
 * stores it; such readers wait until no other node can be placed. */
#include "kernel/fuse.h"

#include <assert.h>
#include <string.h>

static bool set_has(const Word *s, int i) { return s[i / WORD_BITS] >> (i % WORD_BITS) & 1; }

bool fuse_before(const Fuse *f, int b, int g) { return set_has(f->before[g], b); }

static Group *maker(Node *n) { return value_info(fuse_resolve(n))->group; }

/* ---- groups ---- */

static void grow_sets(Fuse *f) {
    int words = (f->count + WORD_BITS) / WORD_BITS;
    if (words <= f->words && f->count < f->cap)
        return;
    int cap = f->count * 2 + 64;
    Group **groups = NEW_ARRAY(f->arena, Group *, cap);
    Word **sets = NEW_ARRAY(f->arena, Word *, cap);
    words = cap / WORD_BITS + 1;
    for (int i = 0; i < f->count; i++) {
        groups[i] = f->groups[i];
        sets[i] = NEW_ARRAY(f->arena, Word, words);
        memcpy(sets[i], f->before[i], (size_t)f->words * sizeof(Word));
    }
    f->groups = groups;
    f->before = sets;
    f->cap = cap;
    f->words = words;
}

static Group *new_group(Fuse *f, Node *anchor, const Shape *space, int channel) {
    grow_sets(f);
    Group *g = NEW(f->arena, Group);
    g->id = f->count;
    g->anchor = anchor;
    g->space = *space;
    g->channel = channel;
    f->before[f->count] = NEW_ARRAY(f->arena, Word, f->words);
    f->groups[f->count++] = g;
    return g;
}

/* `first` and all before it must run before g and before all that wait for g. */
static void order(Fuse *f, const Group *first, const Group *g) {
    if (first == g || set_has(f->before[g->id], first->id))
        return;
    for (int i = 0; i < f->count; i++) {
        if (i != g->id && !set_has(f->before[i], g->id))
            continue;
        for (int w = 0; w < f->words; w++)
            f->before[i][w] |= f->before[first->id][w];
        f->before[i][first->id / WORD_BITS] |= (Word)1 << (first->id % WORD_BITS);
    }
}

static void depend_on_inputs(Fuse *f, const Node *n, const Group *g) {
    for (int i = 0; i < n->arity; i++)
        if (maker(n->in[i]))
            order(f, maker(n->in[i]), g);
}

static void push_node(Fuse *f, Node ***items, int *count, Node *n) {
    if ((*count & (*count + 1)) == 0) {      /* 0, 1, 3, 7, ..: full */
        Node **grown = NEW_ARRAY(f->arena, Node *, *count * 2 + 1);
        if (*count)
            memcpy(grown, *items, (size_t)*count * sizeof **items);
        *items = grown;
    }
    (*items)[(*count)++] = n;
}

bool is_linear(const Node *n) {
    return op_info[n->op].class == CLASS_CONTRACT && !is_attention(n) && n->attr.window.spatial == 0 && n->attr.window.groups == 1 && n->op != OP_CONV_INT8 && n->op != OP_CONV_HALF;
}

bool fuse_trains(const Fuse *f) { return f->graph == f->graph->program->step || f->graph == f->graph->program->train; }

/* Whether this anchor's schedule hands its vectors to a body, sums included. */
static bool takes_sums(const Fuse *f, const Node *anchor) {
    if (!anchor)
        return true;
    if (f->blas && is_linear(anchor))
        return false;
    return anchor->op == OP_CONV || anchor->op == OP_CONV_INPUT || anchor->op == OP_CONV_INT8 || anchor->op == OP_CONV_HALF || anchor->op == OP_MAXPOOL || anchor->op == OP_AVGPOOL;
}

static bool same_space(const Group *g, const Node *n) {
    if (!shape_equal(&g->space, &n->shape))
        return false;
    bool blocked = group_is_blocked(g);
    return blocked == layout_wants_blocks(n) && (!blocked || g->channel == n->channel);
}

/* The gradient of weights comes in pieces of rows: what stands behind it must not ask where an element is. */
static bool takes_pieces(const Fuse *f, const Node *anchor, const Node *n) {
    if (!anchor || anchor->op != OP_CONV_WEIGHT || anchor->attr.window.groups > 1 || (f->blas && is_linear(anchor)))
        return false;
    for (int i = 0; i < n->arity; i++)
        if (!shape_equal(&n->in[i]->shape, &n->shape) && shape_count(&n->in[i]->shape) > 1)
            return false;
    return n->attr.expr->coord_limit == 0;
}

static bool takes_map(const Fuse *f, const Node *anchor, const Node *n) { return takes_sums(f, anchor) || takes_pieces(f, anchor, n); }

/* Computed again by whoever reads it: the value itself, not one of its copies. */
static bool is_inside(const Node *n) { return n->again == AGAIN_INSIDE && !value_info(n)->copy_of; }

static bool waits_for(const Fuse *f, const Node *n, const Group *g) {
    for (int i = 0; i < n->arity; i++) {
        const Group *m = maker(n->in[i]);
        if (is_inside(n->in[i]) ? waits_for(f, n->in[i], g) : m && m != g && set_has(f->before[m->id], g->id))
            return true;
    }
    return false;
}

/* A member is read by members as a register: it must be the node itself, not a reshaped view of it, and not rounded. */
static bool reads_view(const Node *n, const Group *g) {
    for (int i = 0; i < n->arity; i++) {
        Node *x = n->in[i];
        bool own = !value_info(x)->alias && shape_equal(&x->shape, &g->space);
        if (maker(x) == g && (!own || x->op == OP_SUM || x->type != TYPE_F32))
            return true;
    }
    return false;
}

/* Whether g computes forward values for the second time. */
bool fuse_late(const Group *g) {
    bool late = g->anchor && g->anchor->again == AGAIN_LATE;
    for (int i = 0; i < g->map_count && !late; i++)
        late = g->maps[i]->again == AGAIN_LATE;
    for (int i = 0; i < g->sum_count && !late; i++)
        late = g->sums[i]->again == AGAIN_LATE;
    return late;
}

static bool same_time(const Group *g, const Node *n) { return fuse_late(g) == (n->again == AGAIN_LATE); }

static Group *group_to_join(const Fuse *f, const Node *n) {
    Group *best = NULL;
    for (int i = 0; i < n->arity; i++) {
        Group *g = maker(n->in[i]);
        if (!g || is_inside(n->in[i]) || (best && g->id <= best->id) || !takes_map(f, g->anchor, n) || !same_space(g, n))
            continue;
        if (same_time(g, n) && !waits_for(f, n, g) && !reads_view(n, g))
            best = g;
    }
    return best;
}

static bool group_reads(const Group *g, const Node *x) {
    for (int m = 0; m < g->map_count; m++)
        for (int i = 0; i < g->maps[m]->arity; i++)
            if (g->maps[m]->in[i] == x)
                return true;
    return false;
}

static Node *copy_in(const Group *g, const Node *x) {
    for (int i = 0; i < g->map_count; i++)
        if (value_info(g->maps[i])->copy_of == x)
            return g->maps[i];
    return NULL;
}

/* What g (NULL: an empty group) would have to read (counted twice) and compute to have x, a value of the kind INSIDE. */
static int missing_for(const Group *g, const Node *x) {
    int missing = 1;
    if (g && copy_in(g, x))
        return 0;
    for (int i = 0; i < x->arity; i++) {
        if (is_inside(x->in[i]))
            missing += missing_for(g, x->in[i]);
        else if (shape_equal(&x->in[i]->shape, &x->shape) && !(g && group_reads(g, x->in[i])))
            missing += 2;
    }
    return missing;
}

static bool group_has(const Group *g, const Node *x) {
    return is_inside(x) ? missing_for(g, x) < missing_for(NULL, x) : group_reads(g, x);
}

/* A pass over the same space that reads one of n's full operands anyway: they are read once. */
static Group *group_beside(const Fuse *f, const Node *n) {
    for (int k = f->count - 1; k >= 0; k--) {
        Group *g = f->groups[k];
        if (g->anchor || !same_space(g, n) || !same_time(g, n) || waits_for(f, n, g) || reads_view(n, g))
            continue;
        for (int i = 0; i < n->arity; i++)
            if (shape_equal(&n->in[i]->shape, &n->shape) && group_has(g, n->in[i]))
                return g;
    }
    return NULL;
}

/* The member of g that computes x, which is a value of the kind INSIDE. */
static Node *copy_into(Fuse *f, Group *g, Node *x) {
    Node *copy = copy_in(g, x);
    if (copy)
        return copy;
    copy = graph_copy(f->graph, x);
    graph_move_before(f->graph, copy, x->next);
    ValueInfo *v = copy->note = NEW(f->arena, ValueInfo);
    *v = (ValueInfo){.layout = value_info(x)->layout, .copy_of = x, .group = g};
    for (int i = 0; i < copy->arity; i++)
        if (is_inside(copy->in[i]))
            copy->in[i] = copy_into(f, g, copy->in[i]);
    push_node(f, &g->maps, &g->map_count, copy);
    depend_on_inputs(f, copy, g);
    return copy;
}

/* Whether n, when it is placed, gets a copy of its operand i. */
static bool takes_inside(const Node *n, int i) {
    const Node *x = n->in[i];
    bool blocked = layout_wants_blocks(n);
    return is_inside(x) && n->op == OP_MAP && shape_equal(&x->shape, &n->shape) && blocked == layout_wants_blocks(x) &&
           (!blocked || x->channel == n->channel);
}

static void place_map(Fuse *f, Node *n) {
    Group *g = group_to_join(f, n);
    if (!g)
        g = group_beside(f, n);
    if (!g)
        g = new_group(f, NULL, &n->shape, n->channel);
    for (int i = 0; i < n->arity; i++)
        if (takes_inside(n, i))
            n->in[i] = copy_into(f, g, n->in[i]);
    push_node(f, &g->maps, &g->map_count, n);
    value_info(n)->group = g;
    depend_on_inputs(f, n, g);
}

/* SUM over everything, or over everything but the channels of a blocked operand. */
static bool is_side_sum(const Node *n) {
    const Node *x = n->in[0];
    if (n->op != OP_SUM || (x->shape.batched && !(n->attr.axes & 1)))
        return false;
    unsigned kept = 0;
    for (int i = 0; i < x->shape.rank; i++)
        if (!(n->attr.axes >> i & 1) && x->shape.dim[i] > 1)
            kept |= 1u << i;
    return kept == 0 || (layout_wants_blocks(x) && kept == 1u << x->channel);
}

static void place_sum(Fuse *f, Node *n) {
    Node *x = n->in[0];
    Group *g = maker(x);
    if (!g || value_info(x)->alias || !takes_sums(f, g->anchor) || x->op == OP_SUM || !shape_equal(&g->space, &x->shape))
        g = new_group(f, NULL, &x->shape, x->channel);
    push_node(f, &g->sums, &g->sum_count, n);
    value_info(n)->group = g;
    depend_on_inputs(f, n, g);
}

static void place_node(Fuse *f, Node *n) {
    if (n->op == OP_MAP) {
        place_map(f, n);
    } else if (is_side_sum(n)) {
        place_sum(f, n);
    } else {
        Group *g = new_group(f, n, &n->shape, n->channel);
        value_info(n)->group = g;
        depend_on_inputs(f, n, g);
    }
}

static bool is_placed(const Node *n) {
    const ValueInfo *v = value_info(n);
    return op_info[n->op].class == CLASS_LEAF || v->alias || v->group || is_inside(n);
}

static bool is_ready(Node *n, bool but_for_inside);

/* Whether operand i can be read: it has a place, or n gets a copy of it. */
static bool has_operand(Node *n, int i, bool but_for_inside) {
    Node *base = fuse_resolve(n->in[i]);
    if (takes_inside(n, i))
        return is_ready(n->in[i], but_for_inside);
    return is_inside(base) ? but_for_inside && is_ready(base, true) : is_placed(base);
}

static bool is_ready(Node *n, bool but_for_inside) {
    for (int i = 0; i < n->arity; i++)
        if (!has_operand(n, i, but_for_inside))
            return false;
    return true;
}

/* ---- values computed again that somebody needs in memory ---- */

static bool is_read_later(const Fuse *f, const Node *x) {
    for (const Node *n = f->graph->first; n; n = n->next)
        for (int i = 0; i < n->arity && !is_placed(n); i++)
            if (fuse_resolve(n->in[i]) == x)
                return true;
    return false;
}

/* A node that waits for nothing but such values; one that others wait for goes first. */
static Node *waiting_node(const Fuse *f) {
    Node *last = NULL;
    for (Node *n = f->graph->first; n; n = n->next) {
        if (is_placed(n) || !is_ready(n, true))
            continue;
        if (is_read_later(f, n))
            return n;
        last = last ? last : n;
    }
    assert(last && "nodes wait for each other");
    return last;
}

static bool is_backward(const Group *g) {
    const Node *n = g->anchor ? g->anchor : g->map_count ? g->maps[g->map_count - 1] : g->sums[0];
    return !value_info(n)->forward && !fuse_late(g);
}

static Group *host_of(Fuse *f, const Node *x) {
    Group *best = NULL;
    int least = missing_for(NULL, x);
    for (int k = f->count - 1; k >= 0; k--) {
        Group *g = f->groups[k];
        if (!is_backward(g) || !takes_sums(f, g->anchor) || !same_space(g, x) || waits_for(f, x, g) || reads_view(x, g))
            continue;
        if (missing_for(g, x) < least) {
            least = missing_for(g, x);
            best = g;
        }
    }
    return best ? best : new_group(f, NULL, &x->shape, x->channel);
}

static void store_operands(Fuse *f, Node *n) {
    for (int i = 0; i < n->arity; i++) {
        Node *x = fuse_resolve(n->in[i]);
        if (is_inside(x) && !takes_inside(n, i))
            value_info(x)->alias = copy_into(f, host_of(f, x), x);
    }
}

static void place_nodes(Fuse *f) {
    for (bool all = false; !all;) {
        bool any = false;
        all = true;
        for (Node *n = f->graph->first; n; n = n->next) {
            if (is_placed(n))
                continue;
            if (is_ready(n, false)) {
                place_node(f, n);
                any = true;
            } else {
                all = false;
            }
        }
        if (!all && !any)
            store_operands(f, waiting_node(f));
    }
}

static void find_forward(Fuse *f) {
    Graph *g = f->graph;
    for (int i = 0; i < g->output_count; i++)
        value_info(g->outputs[i].node)->forward = true;
    for (int i = 0; i < g->effect_count; i++)
        if (g->effects[i].kind == EFFECT_STATE)
            value_info(g->effects[i].value)->forward = true;
    for (Node *n = g->last; n; n = n->prev)
        for (int i = 0; i < n->arity && value_info(n)->forward; i++)
            value_info(n->in[i])->forward = true;
}

/* ---- effects overwrite what others read ---- */

static bool overlaps(const Node *leaf, const Effect *e) {
    const ValueInfo *v = value_info(leaf);
    int64_t begin = fuse_effect_offset(e), end = begin + 4 * shape_count(&e->value->shape);
    bool leaf_of_table = leaf->op == OP_TENSOR || leaf->op == OP_SLAB;
    return leaf_of_table && v->space == fuse_effect_space(e) && v->offset < end && begin < v->offset + 4 * shape_count(&leaf->shape);
}

static bool reads_overwritten(Node *n, const Effect *e) {
    for (int i = 0; i < n->arity; i++)
        if (overlaps(fuse_resolve(n->in[i]), e))
            return true;
    return false;
}

/* Whether every group that reads what e overwrites can run before the group that writes it, or is that group
 * and reads element by element what it then writes. */
static bool can_overwrite(const Fuse *f, const Effect *e) {
    const Group *writer = maker(e->value);
    for (Node *n = f->graph->first; n; n = n->next) {
        const Group *reader = maker(n);
        if (!reader || !reads_overwritten(n, e))
            continue;
        if (reader == writer ? n->op != OP_MAP || !shape_equal(&n->shape, &e->value->shape)
                             : set_has(f->before[reader->id], writer->id))
            return false;
    }
    return true;
}

/* The value is written where nothing reads it any more: by its own group or by a copy that waits for all readers. */
static void place_effect(Fuse *f, Effect *e) {
    if (!can_overwrite(f, e)) {
        Node *value = e->value;
        value_info(fuse_resolve(value))->placed = false;
        e->value = graph_map_shape(f->graph, expr_input(f->graph->exprs, 0), &value, 1, value->shape, value->channel, value);
        e->value->note = NEW(f->arena, ValueInfo);
        fuse_claim(e->value, fuse_effect_space(e), fuse_effect_offset(e));
        Group *g = new_group(f, NULL, &value->shape, value->channel);
        push_node(f, &g->maps, &g->map_count, e->value);
        value_info(e->value)->group = g;
        depend_on_inputs(f, e->value, g);
    }
    for (Node *n = f->graph->first; n; n = n->next)
        if (maker(n) && reads_overwritten(n, e))
            order(f, maker(n), maker(e->value));
}

/* In a graph that updates parameters the loss is known before the first of them changes: whoever runs it may stop there. */
static void place_effects(Fuse *f) {
    for (int i = 0; i < f->graph->effect_count; i++) {
        Effect *e = &f->graph->effects[i];
        if (e->kind != EFFECT_GRADIENT)
            place_effect(f, e);
        if (e->kind == EFFECT_SLAB && f->graph->output_count)
            order(f, maker(f->graph->outputs[0].node), maker(e->value));
    }
}

/* ---- what goes in and out ---- */

static void add_input(Fuse *f, Group *g, Node *x) {
    if (fuse_immediate(x) || maker(x) == g)
        return;
    for (int i = 0; i < g->input_count; i++)
        if (g->inputs[i] == x)
            return;
    push_node(f, &g->inputs, &g->input_count, x);
}

static void collect_inputs(Fuse *f, Group *g) {
    if (g->anchor)
        for (int i = 0; i < g->anchor->arity; i++)
            add_input(f, g, g->anchor->in[i]);
    for (int m = 0; m < g->map_count; m++)
        for (int i = 0; i < g->maps[m]->arity; i++)
            add_input(f, g, g->maps[m]->in[i]);
    for (int s = 0; s < g->sum_count; s++)
        add_input(f, g, g->sums[s]->in[0]);
}

static void materialise(Node *n) { value_info(fuse_resolve(n))->materialised = true; }

static void collect_outputs(Fuse *f, Group *g) {
    if (g->anchor && value_info(g->anchor)->materialised)
        push_node(f, &g->outputs, &g->output_count, g->anchor);
    for (int i = 0; i < g->map_count; i++)
        if (value_info(g->maps[i])->materialised)
            push_node(f, &g->outputs, &g->output_count, g->maps[i]);
}

static void connect(Fuse *f) {
    for (int i = 0; i < f->count; i++)
        collect_inputs(f, f->groups[i]);
    for (int i = 0; i < f->count; i++)
        for (int k = 0; k < f->groups[i]->input_count; k++)
            materialise(f->groups[i]->inputs[k]);
    for (int i = 0; i < f->graph->output_count; i++)
        materialise(f->graph->outputs[i].node);
    for (int i = 0; i < f->graph->effect_count; i++)
        materialise(f->graph->effects[i].value);
    for (int i = 0; i < f->count; i++)
        collect_outputs(f, f->groups[i]);
}

/* A group of parameters and states alone runs when they change, not for every image. */
static bool depends_on_tables_alone(const Node *n) {
    Node *x = fuse_resolve((Node *)n);
    if (x->op == OP_TENSOR || x->op == OP_FILL)
        return true;
    return value_info(x)->group && value_info(x)->group->prepare;
}

static bool reads_run_time(const Node *n) {
    for (int i = 0; i < n->arity; i++)
        if (n->in[i]->op == OP_SCALAR)
            return true;
    return n->shape.batched;
}

static void mark_prepare(Fuse *f, Group *const *sorted) {
    for (int i = 0; i < f->count; i++) {
        Group *g = sorted[i];
        g->prepare = !(g->anchor && (reads_run_time(g->anchor) || g->anchor->op == OP_RANDOM));
        for (int k = 0; k < g->map_count; k++)
            g->prepare = g->prepare && !reads_run_time(g->maps[k]);
        for (int k = 0; k < g->sum_count; k++)
            g->prepare = g->prepare && !reads_run_time(g->sums[k]);
        for (int k = 0; k < g->input_count; k++)
            g->prepare = g->prepare && depends_on_tables_alone(g->inputs[k]);
    }
}

Grouping *pass_fuse(Arena *a, Graph *g, const Target *t, bool blas) {
    Fuse f = {.arena = a, .graph = g, .target = t, .blas = blas};
    fuse_leaves(&f);
    fuse_layouts(&f);
    fuse_places(&f);
    find_forward(&f);
    place_nodes(&f);
    place_effects(&f);
    connect(&f);
    Grouping *result = NEW(a, Grouping);
    *result = (Grouping){.graph = g, .groups = fuse_order(&f), .count = f.count, .arena = a, .target = t};
    if (g == g->program->infer)
        mark_prepare(&f, result->groups);
    return result;
}

/* body.c - what stands behind an anchor, vector by vector: the group's MAPs, its side sums, its stores.
 *
 * Every operator of every MAP's expression has a level: what depends on scalars alone is computed once per
 * task, what depends on the channel once per channel block, the rest at every point. A blocked space has its
 * vectors along the channels, a plain one along the last axis. Lanes beyond the vector axis are made zero
 * before they are stored, and left out of sums. */
#include "kernel/lower.h"

#include <assert.h>

enum { LEVEL_TASK, LEVEL_CHANNEL, LEVEL_POINT };

typedef struct {                 /* one operator of one MAP */
    const Expr *e;
    int level;
    bool fused;                  /* a product that only its sum's fma reads: never computed alone */
    Reg *reg;                    /* per slot */
    bool *is_mask;               /* per slot: reg is a mask */
} Term;

typedef struct { Node *map; Term *terms; int count; } MapTerms;

typedef struct {                 /* an operand from outside, a constant or a run-time scalar */
    Node *node;
    int level;
    int buffer;                  /* -1: immediate */
    Reg *reg;                    /* per slot */
} Source;

struct Body {
    Lower *l;
    Kernel *k;
    const Group *g;
    int width, slots;
    bool blocked;
    int axis;                    /* the vectors' axis in the space; -1: rank 0 */
    int64_t extent;              /* elements along it, flattened axes included */
    bool ragged;                 /* extent is no multiple of W */
    bool flat_plain;             /* plain space walked as one axis behind the batch */
    Source *sources; int source_count;
    int *out_buffer;             /* per group output */
    MapTerms *maps;
    Reg (*sums)[8];              /* per side sum, per slot */
    Reg iota, limit;             /* ragged: lane numbers, and the extent in all lanes */
    Reg *mask;                   /* per slot: lanes that exist */
    Reg *value;                  /* per MAP, at the current point */
    Reg anchor;
    int *sum_temp;               /* per side sum: its partial sums */
    int *sum_buffer;
    int64_t panels, rows, unit;
};

/* ---- the space ---- */

static bool in_blocks(const Group *g) {
    return g->space.batched && g->space.rank >= 2 && g->channel >= 1 && g->space.dim[g->channel] > 1;
}

/* Whether a MAP asks for its coordinate along one of these axes (a bit mask). */
static bool uses_coord(const Expr *e, unsigned axes) {
    if (e->op == EXPR_COORD)
        return axes >> e->index & 1;
    if (e->coord_limit == 0)
        return false;
    for (int i = 0; i < expr_info[e->op].args; i++)
        if (uses_coord(e->arg[i], axes))
            return true;
    return false;
}

/* Whether x walks along all of the axes (bit mask) or along none of them. */
static bool all_or_none(const Node *x, const Shape *space, unsigned axes) {
    bool all = true, none = true;
    for (int i = 0; i < space->rank; i++) {
        if (!(axes >> i & 1) || space->dim[i] == 1)
            continue;
        bool full = x->shape.rank > 0 && x->shape.dim[i] == space->dim[i];
        all = all && full;
        none = none && !full;
    }
    return all || none;
}

static unsigned walked_axes(const Group *g) {
    unsigned axes = 0;
    for (int i = g->space.batched ? 1 : 0; i < g->space.rank; i++)
        if (!(in_blocks(g) && i == g->channel))
            axes |= 1u << i;
    return axes;
}

/* The walked axes must be neighbours in memory, and the last must not be skipped for having size 1. */
static bool contiguous(const Group *g, unsigned axes) {
    int last = -1, first = -1;
    for (int i = 0; i < g->space.rank; i++) {
        if (!(axes >> i & 1) || g->space.dim[i] == 1)
            continue;
        first = first < 0 ? i : first;
        last = i;
    }
    if (last < 0)
        return true;
    bool split = in_blocks(g) && g->channel > first && g->channel < last;
    return !split && last == g->space.rank - 1 - (in_blocks(g) && g->channel == g->space.rank - 1);
}

/* A group input that only the anchor reads is the schedule's business. */
static bool read_by_body(const Group *g, const Node *x) {
    for (int m = 0; m < g->map_count; m++)
        for (int i = 0; i < g->maps[m]->arity; i++)
            if (g->maps[m]->in[i] == x)
                return true;
    for (int s = 0; s < g->sum_count; s++)
        if (g->sums[s]->in[0] == x)
            return true;
    return false;
}

bool body_flat(const Group *g) {
    unsigned axes = walked_axes(g);
    if (!contiguous(g, axes))
        return false;
    for (int i = 0; i < g->map_count; i++)
        if (uses_coord(g->maps[i]->attr.expr, axes))
            return false;
    for (int i = 0; i < g->input_count; i++)
        if (read_by_body(g, g->inputs[i]) && !all_or_none(g->inputs[i], &g->space, axes))
            return false;
    return true;
}

static int64_t flat_extent(const Group *g) {
    int64_t count = 1;
    for (int i = g->space.batched ? 1 : 0; i < g->space.rank; i++)
        count *= g->space.dim[i];
    return count;
}

static void find_axis(Body *b) {
    const Shape *s = &b->g->space;
    b->blocked = in_blocks(b->g);
    b->axis = b->blocked ? b->g->channel : s->rank - 1;
    b->flat_plain = !b->blocked && body_flat(b->g);
    if (b->axis < 0 || (s->batched && b->axis == 0))
        b->extent = 1;
    else
        b->extent = b->flat_plain ? flat_extent(b->g) : s->dim[b->axis];
    b->ragged = b->extent % b->width != 0;
}

/* ---- sources ---- */

static bool only_axis(const Node *x, int axis) {
    for (int i = 0; i < x->shape.rank; i++)
        if (i != axis && x->shape.dim[i] > 1)
            return false;
    return !x->shape.batched;
}

static int source_level(const Body *b, const Node *x) {
    if (x->op == OP_FILL || x->op == OP_SCALAR || (!x->shape.batched && shape_count(&x->shape) == 1))
        return LEVEL_TASK;
    return b->blocked && only_axis(x, b->axis) ? LEVEL_CHANNEL : LEVEL_POINT;
}

static const char *buffer_name(Body *b, const Node *n, const char *role, int i) {
    return n->op == OP_TENSOR ? arena_printf(b->l->arena, "p%d", i) : arena_printf(b->l->arena, "%s%d", role, i);
}

static const char *buffer_text(Body *b, const Node *n) {
    const char *layout = value_info(n)->layout == LAYOUT_BLOCKED ? ", blocked" : "";
    const char *name = n->op == OP_TENSOR ? n->attr.tensor->name : n->tap;
    return arena_printf(b->l->arena, "%s%s%s%s", shape_text(b->l->arena, n->type, &n->shape), layout, name[0] ? " of " : "", name);
}

static Reg *new_regs(Body *b) {
    Reg *r = NEW_ARRAY(b->l->arena, Reg, b->slots);
    for (int i = 0; i < b->slots; i++)
        r[i] = NO_REG;
    return r;
}

static void add_source(Body *b, Node *x, int buffer) {
    b->sources[b->source_count++] = (Source){x, source_level(b, x), buffer, new_regs(b)};
}

static Source *find_source(Body *b, const Node *x) {
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].node == x)
            return &b->sources[i];
    return NULL;
}

static Elem elem_of(const Node *n) { return n->type == TYPE_F32 ? ELEM_F32 : ELEM_I32; }

static void declare_sources(Body *b) {
    const Group *g = b->g;
    int limit = g->input_count;
    for (int m = 0; m < g->map_count; m++)
        limit += g->maps[m]->arity;
    b->sources = NEW_ARRAY(b->l->arena, Source, limit + 1);
    for (int i = 0; i < g->input_count; i++) {
        Node *x = g->inputs[i];
        if (!read_by_body(g, x))
            continue;
        int buffer = kb_arg(b->k, buffer_name(b, x, "in", i), elem_of(x), false, value_floats(x, b->width), buffer_text(b, x));
        add_source(b, x, buffer);
    }
    for (int m = 0; m < g->map_count; m++)
        for (int i = 0; i < g->maps[m]->arity; i++) {
            Node *x = g->maps[m]->in[i];
            if ((x->op == OP_FILL || x->op == OP_SCALAR) && !find_source(b, x))
                add_source(b, x, -1);
        }
}

static void declare_outputs(Body *b) {
    const Group *g = b->g;
    b->out_buffer = NEW_ARRAY(b->l->arena, int, g->output_count + 1);
    for (int i = 0; i < g->output_count; i++) {
        Node *y = g->outputs[i];
        b->out_buffer[i] = kb_arg(b->k, arena_printf(b->l->arena, "out%d", i), elem_of(y), true, value_floats(y, b->width), buffer_text(b, y));
    }
}

/* ---- expressions ---- */

static Term *find_term(MapTerms *m, const Expr *e) {
    int low = 0, high = m->count - 1;
    while (low < high) {
        int mid = (low + high) / 2;
        if (m->terms[mid].e->id < e->id)
            low = mid + 1;
        else
            high = mid;
    }
    assert(m->terms[low].e == e);
    return &m->terms[low];
}

static int member_index(const Body *b, const Node *x) {
    for (int i = 0; i < b->g->map_count; i++)
        if (b->g->maps[i] == x)
            return i;
    return -1;
}

static int term_level(Body *b, MapTerms *m, const Expr *e) {
    if (e->op == EXPR_CONST)
        return LEVEL_TASK;
    if (e->op == EXPR_COORD)
        return LEVEL_POINT;
    if (e->op == EXPR_INPUT) {
        Source *s = find_source(b, m->map->in[e->index]);
        return s ? s->level : LEVEL_POINT;
    }
    int level = LEVEL_TASK;
    for (int i = 0; i < expr_info[e->op].args; i++) {
        int arg = find_term(m, e->arg[i])->level;
        level = arg > level ? arg : level;
    }
    return level;
}

static int uses_of(const MapTerms *m, const Expr *e) {
    int uses = 0;
    for (int i = 0; i < m->count; i++)
        for (int k = 0; k < expr_info[m->terms[i].e->op].args; k++)
            uses += m->terms[i].e->arg[k] == e;
    return uses;
}

/* ADD and SUB with a product that nothing else reads become one fma. Which argument of `e`, or -1. */
static int fma_argument(MapTerms *m, const Expr *e) {
    if (e->op != EXPR_ADD && e->op != EXPR_SUB)
        return -1;
    for (int i = 1; i >= 0; i--)
        if (e->arg[i]->op == EXPR_MUL && uses_of(m, e->arg[i]) == 1 && find_term(m, e->arg[i])->level == find_term(m, e)->level)
            if (!(e->op == EXPR_SUB && i == 0))
                return i;
    return -1;
}

static void build_terms(Body *b, int map) {
    MapTerms *m = &b->maps[map];
    m->map = b->g->maps[map];
    const Expr **nodes = expr_nodes(b->l->arena, m->map->attr.expr, &m->count);
    m->terms = NEW_ARRAY(b->l->arena, Term, m->count);
    for (int i = 0; i < m->count; i++) {
        m->terms[i] = (Term){.e = nodes[i], .reg = new_regs(b), .is_mask = NEW_ARRAY(b->l->arena, bool, b->slots)};
    }
    for (int i = 0; i < m->count; i++)
        m->terms[i].level = term_level(b, m, nodes[i]);
    for (int i = 0; i < m->count; i++) {
        int arg = fma_argument(m, nodes[i]);
        if (arg >= 0)
            find_term(m, nodes[i]->arg[arg])->fused = true;
    }
}

static int slot_of(const Term *t, int slot) { return t->level == LEVEL_TASK ? 0 : slot; }

static Reg as_float(Body *b, const Term *t, int slot) {
    Reg r = t->reg[slot_of(t, slot)];
    if (!t->is_mask[slot_of(t, slot)])
        return r;
    return kb_op(b->k, KOP_SELECT, r, kb_const(b->k, 1, true), kb_const(b->k, 0, true));
}

static Reg as_mask(Body *b, const Term *t, int slot) {
    Reg r = t->reg[slot_of(t, slot)];
    if (t->is_mask[slot_of(t, slot)])
        return r;
    return kb_op(b->k, KOP_MNOT, kb_op(b->k, KOP_FEQ, r, kb_const(b->k, 0, true), NO_REG), NO_REG, NO_REG);
}

static Reg source_value(Body *b, const Node *x, int slot) {
    Source *s = find_source(b, x);
    if (s)
        return s->reg[s->level == LEVEL_TASK ? 0 : slot];
    int member = member_index(b, x);
    return member >= 0 ? b->value[member] : b->anchor;
}

static Reg splat_index(Body *b, Index i) {
    Reg number = kb_op(b->k, KOP_I2F, kb_from_index(b->k, i), NO_REG, NO_REG);
    return kb_op(b->k, KOP_SPLAT, number, NO_REG, NO_REG);
}

static Reg coordinate(Body *b, int axis, const Index *at, Index block) {
    if (axis != b->axis)
        return splat_index(b, at[axis]);
    Reg lane = kb_op(b->k, KOP_I2F, kb_iota(b->k), NO_REG, NO_REG);
    return kb_op(b->k, KOP_FADD, splat_index(b, index_scale(block, b->width)), lane, NO_REG);
}

typedef struct { ExprOp expr; KOp op; } Direct;
static const Direct direct[] = {
    {EXPR_ADD, KOP_FADD}, {EXPR_SUB, KOP_FSUB}, {EXPR_MUL, KOP_FMUL}, {EXPR_DIV, KOP_FDIV}, {EXPR_NEG, KOP_FNEG},
    {EXPR_SQRT, KOP_FSQRT}, {EXPR_ABS, KOP_FABS}, {EXPR_MIN, KOP_FMIN}, {EXPR_MAX, KOP_FMAX}, {EXPR_DETACH, KOP_MOVE},
    {EXPR_LT, KOP_FLT}, {EXPR_LE, KOP_FLE}, {EXPR_EQ, KOP_FEQ},
};

static bool gives_mask(ExprOp op) {
    return op == EXPR_LT || op == EXPR_LE || op == EXPR_EQ || op == EXPR_AND || op == EXPR_OR || op == EXPR_NOT;
}

static Reg emit_logic(Body *b, MapTerms *m, const Expr *e, int slot) {
    Reg x = as_mask(b, find_term(m, e->arg[0]), slot);
    if (e->op == EXPR_NOT)
        return kb_op(b->k, KOP_MNOT, x, NO_REG, NO_REG);
    Reg y = as_mask(b, find_term(m, e->arg[1]), slot);
    return kb_op(b->k, e->op == EXPR_AND ? KOP_MAND : KOP_MOR, x, y, NO_REG);
}

static Reg term_reg(Body *b, MapTerms *m, const Expr *e, int slot) {
    return as_float(b, find_term(m, e), slot);
}

static Reg emit_fma(Body *b, MapTerms *m, const Expr *e, int product, int slot) {
    const Expr *p = e->arg[product];
    Reg x = term_reg(b, m, p->arg[0], slot), y = term_reg(b, m, p->arg[1], slot);
    Reg z = term_reg(b, m, e->arg[1 - product], slot);
    return kb_op(b->k, e->op == EXPR_SUB ? KOP_FNMA : KOP_FMA, x, y, z);
}

static Reg emit_operator(Body *b, MapTerms *m, const Expr *e, int slot) {
    Kernel *k = b->k;
    int product = fma_argument(m, e);
    if (product >= 0)
        return emit_fma(b, m, e, product, slot);
    if (e->op == EXPR_AND || e->op == EXPR_OR || e->op == EXPR_NOT)
        return emit_logic(b, m, e, slot);
    if (e->op == EXPR_SELECT) {
        Reg mask = as_mask(b, find_term(m, e->arg[0]), slot);
        return kb_op(k, KOP_SELECT, mask, term_reg(b, m, e->arg[1], slot), term_reg(b, m, e->arg[2], slot));
    }
    Reg x = term_reg(b, m, e->arg[0], slot);
    Reg y = expr_info[e->op].args > 1 ? term_reg(b, m, e->arg[1], slot) : NO_REG;
    for (int i = 0; i < COUNT(direct); i++)
        if (direct[i].expr == e->op)
            return kb_op(k, direct[i].op, x, y, NO_REG);
    if (e->op == EXPR_RSQRT)
        return kb_op(k, KOP_FDIV, kb_const(k, 1, true), kb_op(k, KOP_FSQRT, x, NO_REG, NO_REG), NO_REG);
    return math_op(k, e->op, x, y);
}

static void emit_term(Body *b, MapTerms *m, Term *t, int slot, const Index *at, Index block) {
    const Expr *e = t->e;
    t->is_mask[slot] = false;
    if (t->fused)
        return;
    if (e->op == EXPR_CONST)
        t->reg[slot] = kb_const(b->k, e->value, true);
    else if (e->op == EXPR_INPUT)
        t->reg[slot] = source_value(b, m->map->in[e->index], slot);
    else if (e->op == EXPR_COORD)
        t->reg[slot] = coordinate(b, e->index, at, block);
    else
        t->reg[slot] = emit_operator(b, m, e, slot);
    t->is_mask[slot] = e->op < EXPR_OP_COUNT && gives_mask(e->op);
}

static void emit_level(Body *b, int level, int slot, const Index *at, Index block) {
    for (int i = 0; i < b->g->map_count; i++) {
        MapTerms *m = &b->maps[i];
        for (int t = 0; t < m->count; t++)
            if (m->terms[t].level == level)
                emit_term(b, m, &m->terms[t], slot, at, block);
        if (level == LEVEL_POINT)
            b->value[i] = term_reg(b, m, m->map->attr.expr, slot);
    }
}

/* ---- loads and stores ---- */

/* The element that lane 0 of this vector reads, in x's own layout. */
static Index element_index(Body *b, const Node *x, const Index *at, Index block) {
    if (value_info(x)->layout == LAYOUT_BLOCKED)
        return value_index(x, b->width, at, block);
    Index copy[MAX_RANK];
    for (int i = 0; i < x->shape.rank; i++)
        copy[i] = i == b->axis && !(b->g->space.batched && i == 0) ? index_scale(block, b->width) : at[i];
    if (b->flat_plain && b->axis >= 0 && shape_count(&x->shape) > 1) {
        int64_t per_image = 1;
        for (int i = b->g->space.batched ? 1 : 0; i < x->shape.rank; i++)
            per_image *= x->shape.dim[i];
        Index base = x->shape.batched ? index_scale(at[0], per_image) : index_const(0);
        return per_image > 1 ? index_add(base, index_scale(block, b->width)) : base;
    }
    return plain_index(x, copy);
}

static bool walks_axis(const Body *b, const Node *x) {
    if (x->shape.rank == 0 || b->axis < 0)
        return false;
    if (!b->flat_plain)
        return x->shape.dim[b->axis] > 1 && !(b->g->space.batched && b->axis == 0);
    for (int i = b->g->space.batched ? 1 : 0; i < x->shape.rank; i++)
        if (x->shape.dim[i] > 1)
            return true;
    return false;
}

static int64_t axis_stride(const Body *b, const Node *x) {
    int64_t stride = 1;
    for (int i = x->shape.rank - 1; i > b->axis; i--)
        stride *= x->shape.dim[i];
    return b->flat_plain ? 1 : stride;
}

static Index lanes_of(const Body *b, Index block) {
    return index_plus(index_scale(block, -b->width), b->extent);
}

static Reg load_source(Body *b, const Source *s, const Index *at, Index block) {
    const Node *x = s->node;
    Kernel *k = b->k;
    Reg r;
    if (x->op == OP_FILL)
        return kb_const(k, x->attr.value, true);
    if (x->op == OP_SCALAR) {
        static const RunScalar scalar[SCALAR_COUNT] = {
            [SCALAR_BATCH] = RUN_BATCH, [SCALAR_STEP] = RUN_STEP, [SCALAR_LR] = RUN_LR, [SCALAR_SMOOTHING] = RUN_SMOOTHING};
        return kb_op(k, KOP_SPLAT, kb_run(k, scalar[x->attr.scalar]), NO_REG, NO_REG);
    }
    Index i = s->level == LEVEL_TASK ? index_const(0) : element_index(b, x, at, block);
    if (s->level == LEVEL_TASK || !walks_axis(b, x))
        r = kb_load(k, ACCESS_SPLAT, s->buffer, i);
    else if (value_info(x)->layout == LAYOUT_BLOCKED || (!b->ragged && axis_stride(b, x) == 1))
        r = kb_load(k, ACCESS_VECTOR, s->buffer, i);
    else if (axis_stride(b, x) == 1)
        r = kb_load_lanes(k, ACCESS_MASKED, s->buffer, i, lanes_of(b, block), 1);
    else
        r = kb_load_lanes(k, ACCESS_STRIDED, s->buffer, i, lanes_of(b, block), axis_stride(b, x));
    return x->type == TYPE_F32 ? r : kb_op(k, KOP_I2F, r, NO_REG, NO_REG);
}

static void load_level(Body *b, int level, int slot, const Index *at, Index block) {
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].level == level)
            b->sources[i].reg[slot] = load_source(b, &b->sources[i], at, block);
}

static Reg only_lanes(Body *b, int slot, Reg value) {
    return b->ragged ? kb_op(b->k, KOP_SELECT, b->mask[slot], value, kb_const(b->k, 0, true)) : value;
}

static void store_output(Body *b, int i, int slot, const Index *at, Index block) {
    Node *y = b->g->outputs[i];
    int member = member_index(b, y);
    Reg value = member >= 0 ? b->value[member] : b->anchor;
    int buffer = b->out_buffer[i];
    Index to = element_index(b, y, at, block);
    if (y->type != TYPE_F32)
        value = kb_op(b->k, KOP_ROUND, value, NO_REG, NO_REG);
    if (value_info(y)->layout == LAYOUT_BLOCKED)
        kb_store(b->k, ACCESS_VECTOR, buffer, to, only_lanes(b, slot, value));
    else if (axis_stride(b, y) == 1 && !b->ragged)
        kb_store(b->k, ACCESS_VECTOR, buffer, to, value);
    else
        kb_store_lanes(b->k, axis_stride(b, y) == 1 ? ACCESS_MASKED : ACCESS_STRIDED, buffer, to, lanes_of(b, block), axis_stride(b, y), value);
}

static void add_sum(Body *b, int i, int slot) {
    const Node *x = b->g->sums[i]->in[0];
    Reg value = only_lanes(b, slot, source_value(b, x, slot));
    kb_set(b->k, b->sums[i][slot], KOP_FADD, b->sums[i][slot], value, NO_REG);
}

/* ---- the interface ---- */

Body *body_new(Lower *l, Kernel *k, const Group *g, int slots) {
    assert(slots >= 1 && slots <= 8);
    Body *b = NEW(l->arena, Body);
    *b = (Body){.l = l, .k = k, .g = g, .width = l->target->width, .slots = slots, .anchor = NO_REG};
    find_axis(b);
    declare_sources(b);
    declare_outputs(b);
    b->maps = NEW_ARRAY(l->arena, MapTerms, g->map_count + 1);
    b->value = NEW_ARRAY(l->arena, Reg, g->map_count + 1);
    for (int i = 0; i < g->map_count; i++)
        build_terms(b, i);
    b->sums = arena_alloc_array(l->arena, (size_t)g->sum_count + 1, sizeof *b->sums);
    b->sum_temp = NEW_ARRAY(l->arena, int, g->sum_count + 1);
    b->sum_buffer = NEW_ARRAY(l->arena, int, g->sum_count + 1);
    for (int i = 0; i < g->sum_count; i++)
        b->sum_buffer[i] = kb_arg(k, arena_printf(l->arena, "sum%d", i), ELEM_F32, true, INT32_MAX, "partial sums, one vector per task");
    b->mask = new_regs(b);
    return b;
}

void body_start(Body *b) {
    Index none[MAX_RANK] = {0};
    load_level(b, LEVEL_TASK, 0, none, index_const(0));
    emit_level(b, LEVEL_TASK, 0, none, index_const(0));
    for (int i = 0; i < b->g->sum_count; i++)
        for (int s = 0; s < b->slots; s++) {
            b->sums[i][s] = kb_reg(b->k, ELEM_F32, true);
            kb_set_const(b->k, b->sums[i][s], 0);
        }
    if (b->ragged) {
        b->iota = kb_iota(b->k);
        b->limit = kb_int(b->k, (int32_t)b->extent, true);
    }
}

void body_channels(Body *b, int slot, Index block) {
    Index none[MAX_RANK] = {0};
    if (b->blocked) {
        load_level(b, LEVEL_CHANNEL, slot, none, block);
        emit_level(b, LEVEL_CHANNEL, slot, none, block);
    }
    if (b->ragged) {
        Reg first = kb_op(b->k, KOP_SPLAT, kb_from_index(b->k, index_scale(block, b->width)), NO_REG, NO_REG);
        b->mask[slot] = kb_op(b->k, KOP_ILT, kb_op(b->k, KOP_IADD, first, b->iota, NO_REG), b->limit, NO_REG);
    }
}

void body_point(Body *b, int slot, const Index *at, Index block, Reg acc) {
    b->anchor = acc;
    load_level(b, LEVEL_POINT, slot, at, block);
    emit_level(b, LEVEL_POINT, slot, at, block);
    for (int i = 0; i < b->g->sum_count; i++)
        add_sum(b, i, slot);
    for (int i = 0; i < b->g->output_count; i++)
        store_output(b, i, slot, at, block);
}

static bool per_channel(const Node *sum) { return shape_count(&sum->shape) > 1; }

/* Partial sums: [panel][slot when per channel][row at capacity][W]. */
void body_finish(Body *b, Index panel, int64_t panels, Index row, int64_t rows, int64_t unit) {
    b->panels = panels;
    b->rows = rows;
    b->unit = unit;
    int64_t units = unit ? (b->l->module->program->batch + unit - 1) / unit : 1;
    int64_t all = rows * units;
    for (int i = 0; i < b->g->sum_count; i++) {
        int parts = per_channel(b->g->sums[i]) ? b->slots : 1;
        b->sum_temp[i] = lower_temp(b->l, panels * parts * all * b->width * 4, false, "partial sums");
        b->k->buffers[b->sum_buffer[i]].count = panels * parts * all * b->width;
        if (parts == 1)
            for (int s = 1; s < b->slots; s++)
                kb_set(b->k, b->sums[i][0], KOP_FADD, b->sums[i][0], b->sums[i][s], NO_REG);
        for (int s = 0; s < parts; s++) {
            Index part = index_plus(index_scale(panel, parts), s);
            Index to = index_scale(index_add(index_scale(part, all), row), b->width);
            kb_store(b->k, ACCESS_VECTOR, b->sum_buffer[i], to, b->sums[i][s]);
        }
    }
}

void body_args(Body *b, PlannedCall *c) {
    for (int i = 0; i < b->source_count; i++)
        if (b->sources[i].buffer >= 0)
            call_arg_value(c, b->sources[i].node);
    for (int i = 0; i < b->g->output_count; i++)
        call_arg_value(c, b->g->outputs[i]);
    for (int i = 0; i < b->g->sum_count; i++)
        call_arg_temp(c, b->sum_temp[i]);
}

/* ---- adding up the partial sums ---- */

enum { CHUNK_IMAGES = 8 };

/* total of one part's rows: chunks of 8 images are added up from zero, then to the total, in order. */
static Reg add_rows(Body *b, Kernel *k, int from, Index part) {
    int64_t units = b->unit ? (b->l->module->program->batch + b->unit - 1) / b->unit : 1;
    int64_t chunk = b->unit ? b->rows * (CHUNK_IMAGES > b->unit ? CHUNK_IMAGES / b->unit : 1) : b->rows;
    Index end = index_const(b->rows);
    if (b->unit) {
        int used = kb_index(k, "units", INDEX_DIV, index_plus(index_var(VAR_N), b->unit - 1), index_const(b->unit));
        end = index_scale(index_var(used), b->rows);
    }
    Reg total = kb_reg(k, ELEM_F32, true);
    kb_set_const(k, total, 0);
    int c = kb_loop(k, "chunk", index_const(0), end, chunk);
    int last = kb_index(k, "last", INDEX_MIN, index_plus(index_var(c), chunk), end);
    Reg sum = kb_reg(k, ELEM_F32, true);
    kb_set_const(k, sum, 0);
    int r = kb_loop(k, "row", index_var(c), index_var(last), 1);
    Index at = index_scale(index_add(index_scale(part, b->rows * units), index_var(r)), b->width);
    kb_set(k, sum, KOP_FADD, sum, kb_load(k, ACCESS_VECTOR, from, at), NO_REG);
    kb_end(k);
    kb_set(k, total, KOP_FADD, total, sum, NO_REG);
    kb_end(k);
    return total;
}

static void add_up(Body *b, int i) {
    const Group *g = b->g;
    Node *sum = g->sums[i];
    int parts = per_channel(sum) ? b->slots : 1;
    Kernel *k = kernel_new(b->l->arena, b->l->target, b->l->math, arena_printf(b->l->arena, "%s_sum%d", b->k->name, i), sum->span);
    int from = kb_arg(k, "partial", ELEM_F32, false, b->k->buffers[b->sum_buffer[i]].count, "partial sums");
    int to = kb_arg(k, "sum", ELEM_F32, true, shape_count(&sum->shape), buffer_text(b, sum));
    if (parts > 1 || per_channel(sum)) {
        Reg total = add_rows(b, k, from, index_var(VAR_TASK));
        kb_store_lanes(k, ACCESS_MASKED, to, index_scale(index_var(VAR_TASK), b->width), lanes_of(b, index_var(VAR_TASK)), 1, total);
    } else {
        Reg all = kb_reg(k, ELEM_F32, true);
        kb_set_const(k, all, 0);
        int p = kb_loop(k, "panel", index_const(0), index_const(b->panels), 1);
        kb_set(k, all, KOP_FADD, all, add_rows(b, k, from, index_var(p)), NO_REG);
        kb_end(k);
        kb_store(k, ACCESS_SCALAR, to, index_const(0), kb_op(k, KOP_HSUM, all, NO_REG, NO_REG));
    }
    kernel_finish(k);
    PlannedCall *c = lower_call(b->l, k, g->prepare);
    call_arg_temp(c, b->sum_temp[i]);
    call_arg_value(c, sum);
    c->group = g;
    c->tasks = per_channel(sum) ? (b->extent + b->width - 1) / b->width : 1;
    c->flops = (double)b->rows * b->width * (b->unit ? b->l->module->program->batch : 1);
    c->tap = sum;
    c->out = 1;
}

void body_sums(Body *b) {
    for (int i = 0; i < b->g->sum_count; i++)
        add_up(b, i);
}

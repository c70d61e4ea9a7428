/* body_terms.c - the operators of a body's MAPs, each at its level, as kernel operations.
 * A product that one sum alone reads becomes that sum's fma. Comparisons are masks until a number is asked for. */
#include "kernel/body.h"

#include <assert.h>

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

static int term_level(Body *b, MapTerms *m, const Expr *e) {
    if (e->op == EXPR_CONST)
        return LEVEL_TASK;
    if (e->op == EXPR_COORD)
        return LEVEL_POINT;
    if (e->op == EXPR_INPUT) {
        const Source *s = body_source(b, m->map->in[e->index]);
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

/* Behind sums of bytes 12 bits are enough: the estimate as it is. */
static bool is_coarse(const Body *b) { return b->g->anchor && b->g->anchor->op == OP_CONV_INT8; }

/* Inputs of a MAP, the first 64, that are not the same for all vectors of a channel. */
static uint64_t varying_inputs(const Body *b, const Node *map) {
    uint64_t varying = 0;
    for (int i = 0; i < map->arity && i < 64; i++) {
        const Source *s = body_source(b, map->in[i]);
        if (!s || s->level == LEVEL_POINT)
            varying |= (uint64_t)1 << i;
    }
    return varying;
}

void body_build_terms(Body *b, int map) {
    MapTerms *m = &b->maps[map];
    m->map = b->g->maps[map];
    m->expr = m->map->attr.expr;
    if (b->l->math == MATH_FAST && !is_coarse(b))
        m->expr = body_form(b->l->arena, m->expr, varying_inputs(b, m->map));
    const Expr **nodes = expr_nodes(b->l->arena, m->expr, &m->count);
    m->terms = NEW_ARRAY(b->l->arena, Term, m->count);
    for (int i = 0; i < m->count; i++) {
        m->terms[i] = (Term){.e = nodes[i], .reg = body_new_regs(b), .estimate = body_new_regs(b), .inverse = body_new_regs(b),
                             .is_mask = NEW_ARRAY(b->l->arena, bool, b->slots)};
    }
    for (int i = 0; i < m->count; i++)
        m->terms[i].level = term_level(b, m, nodes[i]);
    for (int i = 0; i < m->count; i++) {
        Term *t = &m->terms[i];
        t->product = fma_argument(m, t->e);
        if (t->product >= 0)
            find_term(m, t->e->arg[t->product])->fused = true;
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

/* ---- --math=fast: 1 / sqrt(d) by estimate and one Newton step ---- */

bool body_is_core(const Expr *d) {
    if (d->op != EXPR_ADD || d->arg[0]->op != EXPR_CONST || !(d->arg[0]->value >= 1e-6) || d->arg[1]->op != EXPR_MUL)
        return false;
    const Expr *scaled = d->arg[1]->arg[0], *t = d->arg[1]->arg[1];
    bool square = scaled->op == EXPR_MUL && (scaled->arg[0] == t || scaled->arg[1] == t);
    return square && t->op == EXPR_MAX && t->arg[1]->op == EXPR_MIN;
}

/* What recovery from the output leaves, max(0, q) with q at most 1. */
static bool is_rest(const Expr *d) {
    return d->op == EXPR_MAX && d->arg[0]->op == EXPR_CONST && d->arg[0]->value == 0;
}

static bool has_estimate(const Body *b, const Term *t) {
    return b->l->math == MATH_FAST && t->e->op == EXPR_SQRT && t->level == LEVEL_POINT && (body_is_core(t->e->arg[0]) || is_rest(t->e->arg[0]));
}

static Reg newton_step(Kernel *k, Reg d, Reg r) {
    Reg error = kb_op(k, KOP_FNMA, kb_op(k, KOP_FMUL, d, r, NO_REG), r, kb_const(k, 1, true));
    Reg half = kb_op(k, KOP_FMUL, r, kb_const(k, 0.5, true), NO_REG);
    return kb_op(k, KOP_FMA, half, error, r);
}

/* Sets t->inverse, 1 / sqrt(d), and returns sqrt(d) = d / sqrt(d). A rest of 0 counts as 2^-100. */
static Reg emit_estimate(Body *b, MapTerms *m, Term *t, int slot) {
    Kernel *k = b->k;
    Reg d = term_reg(b, m, t->e->arg[0], slot);
    if (is_rest(t->e->arg[0]))
        d = kb_op(k, KOP_FMAX, kb_const(k, 0x1p-100, true), d, NO_REG);
    Reg r = kb_op(k, KOP_RSQRT_EST, d, NO_REG, NO_REG);
    t->estimate[slot] = r;
    t->inverse[slot] = is_coarse(b) ? r : newton_step(k, d, r);
    return kb_op(k, KOP_FMUL, d, t->inverse[slot], NO_REG);
}

/* x / (sqrt(d) / 2) by estimate and Newton step in one: x r (3 - d r^2); NO_REG where the divisor is something else. */
static Reg emit_doubled(Body *b, MapTerms *m, const Expr *e, int slot) {
    const Expr *half = e->arg[1]->arg[0], *root = e->arg[1]->arg[1];
    if (half->op != EXPR_CONST || half->value != 0.5 || root->op != EXPR_SQRT || !body_is_core(root->arg[0]))
        return NO_REG;
    const Term *t = find_term(m, root);
    if (!has_estimate(b, t) || is_coarse(b))
        return NO_REG;
    Reg r = t->estimate[slot], d = term_reg(b, m, root->arg[0], slot), x = term_reg(b, m, e->arg[0], slot);
    Reg rest = kb_op(b->k, KOP_FNMA, kb_op(b->k, KOP_FMUL, d, r, NO_REG), r, kb_const(b->k, 3, true));
    return kb_op(b->k, KOP_FMUL, kb_op(b->k, KOP_FMUL, x, r, NO_REG), rest, NO_REG);
}

/* x / sqrt(d) and x / (d sqrt(d)) as products; NO_REG where the divisor is something else. */
static Reg emit_quotient(Body *b, MapTerms *m, const Expr *e, int slot) {
    const Expr *root = e->arg[1], *d = NULL;
    if (root->op == EXPR_MUL && root->arg[0]->op == EXPR_CONST)
        return emit_doubled(b, m, e, slot);
    if (root->op == EXPR_MUL) {
        d = root->arg[0]->op == EXPR_SQRT ? root->arg[1] : root->arg[0];
        root = root->arg[0]->op == EXPR_SQRT ? root->arg[0] : root->arg[1];
    }
    if (root->op != EXPR_SQRT || (d && d != root->arg[0]) || !body_is_core(root->arg[0]))
        return NO_REG;
    const Term *t = find_term(m, root);
    if (!has_estimate(b, t))
        return NO_REG;
    Reg r = t->inverse[slot], x = term_reg(b, m, e->arg[0], slot);
    Reg by = d ? kb_op(b->k, KOP_FMUL, kb_op(b->k, KOP_FMUL, r, r, NO_REG), r, NO_REG) : r;
    return kb_op(b->k, KOP_FMUL, x, by, NO_REG);
}

/* ---- operators ---- */

static Reg emit_operator(Body *b, MapTerms *m, Term *t, int slot) {
    Kernel *k = b->k;
    const Expr *e = t->e;
    if (t->product >= 0)
        return emit_fma(b, m, e, t->product, slot);
    if (has_estimate(b, t))
        return emit_estimate(b, m, t, slot);
    Reg quotient = e->op == EXPR_DIV ? emit_quotient(b, m, e, slot) : NO_REG;
    if (quotient != NO_REG)
        return quotient;
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
        t->reg[slot] = body_value(b, m->map->in[e->index], slot);
    else if (e->op == EXPR_COORD)
        t->reg[slot] = coordinate(b, e->index, at, block);
    else
        t->reg[slot] = emit_operator(b, m, t, slot);
    t->is_mask[slot] = e->op < EXPR_OP_COUNT && gives_mask(e->op);
}

void body_emit_level(Body *b, int level, int slot, const Index *at, Index block) {
    for (int i = 0; i < b->g->map_count; i++) {
        MapTerms *m = &b->maps[i];
        for (int t = 0; t < m->count; t++)
            if (m->terms[t].level == level)
                emit_term(b, m, &m->terms[t], slot, at, block);
        if (level == LEVEL_POINT)
            b->value[i] = term_reg(b, m, m->expr, slot);
    }
}

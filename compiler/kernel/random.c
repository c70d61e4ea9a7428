/* random.c - RANDOM: uniform numbers in [0, 1), each a function of seed, step, stream and position.
 * Source: Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 * Element e (row-major in the whole batch at capacity) is output word e % 4 of the counter
 * (e / 4 low, e / 4 high, step, stream) under the key (seed low, seed high); word u gives (u >> 8) 2^-24. */
#include "kernel/lower.h"

enum { PHILOX_ROUNDS = 10 };

typedef struct { Reg word[4]; } Counter;

static Reg op2(Kernel *k, KOp op, Reg x, Reg y) { return kb_op(k, op, x, y, NO_REG); }
static Reg splat(Kernel *k, Reg scalar) { return kb_op(k, KOP_SPLAT, scalar, NO_REG, NO_REG); }

static Counter philox_round(Kernel *k, Counter c, Reg key0, Reg key1) {
    Reg m0 = kb_int(k, (int32_t)0xD2511F53u, true), m1 = kb_int(k, (int32_t)0xCD9E8D57u, true);
    Reg hi0 = op2(k, KOP_IMULHI, c.word[0], m0), lo0 = op2(k, KOP_IMUL, c.word[0], m0);
    Reg hi1 = op2(k, KOP_IMULHI, c.word[2], m1), lo1 = op2(k, KOP_IMUL, c.word[2], m1);
    Counter r = {{op2(k, KOP_IXOR, op2(k, KOP_IXOR, hi1, c.word[1]), key0), lo1,
                  op2(k, KOP_IXOR, op2(k, KOP_IXOR, hi0, c.word[3]), key1), lo0}};
    return r;
}

/* Word `lane` (0..3, per lane of the vector) of the encrypted counter. */
static Reg pick_word(Kernel *k, Counter c, Reg lane) {
    Reg r = c.word[3];
    for (int w = 2; w >= 0; w--)
        r = kb_op(k, KOP_SELECT, op2(k, KOP_IEQ, lane, kb_int(k, w, true)), c.word[w], r);
    return r;
}

/* Uniform numbers of the elements whose numbers stand in `element`. */
static Reg philox(Kernel *k, Reg element, uint32_t stream) {
    Counter c = {{op2(k, KOP_ISHR, element, kb_int(k, 2, true)), kb_int(k, 0, true),
                  splat(k, kb_run(k, RUN_STEP_COUNT)), kb_int(k, (int32_t)stream, true)}};
    Reg key0 = splat(k, kb_run(k, RUN_SEED0)), key1 = splat(k, kb_run(k, RUN_SEED1));
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        c = philox_round(k, c, key0, key1);
        key0 = op2(k, KOP_IADD, key0, kb_int(k, (int32_t)0x9E3779B9u, true));
        key1 = op2(k, KOP_IADD, key1, kb_int(k, (int32_t)0xBB67AE85u, true));
    }
    Reg word = pick_word(k, c, op2(k, KOP_IAND, element, kb_int(k, 3, true)));
    Reg high = kb_op(k, KOP_I2F, op2(k, KOP_ISHR, word, kb_int(k, 8, true)), NO_REG, NO_REG);
    return op2(k, KOP_FMUL, high, kb_const(k, 0x1p-24, true));
}

typedef struct { Lower *l; Node *y; Kernel *k; int to, width, axis; bool blocked; int64_t blocks; } Random;

/* The vector at at[] (at[axis]: element number of lane 0 along the axis). */
static void emit_vector(Random *r, Index *at, Index block) {
    Kernel *k = r->k;
    int64_t stride = r->axis < 0 ? 1 : plain_stride(r->y, r->axis), extent = r->axis < 0 ? 1 : r->y->shape.dim[r->axis];
    Index lanes = index_plus(index_scale(block, -r->width), extent);
    Index first = plain_index(r->y, at);
    Reg lane = op2(k, KOP_IMUL, kb_iota(k), kb_int(k, (int32_t)stride, true));
    Reg value = philox(k, op2(k, KOP_IADD, splat(k, kb_from_index(k, first)), lane), r->y->attr.stream);
    if (!r->blocked) {
        kb_store_lanes(k, stride == 1 ? ACCESS_MASKED : ACCESS_STRIDED, r->to, first, lanes, stride, value);
        return;
    }
    if (extent % r->width != 0) {
        Reg limit = splat(k, kb_from_index(k, lanes));
        value = kb_op(k, KOP_SELECT, op2(k, KOP_ILT, kb_iota(k), limit), value, kb_const(k, 0, true));
    }
    kb_store(k, ACCESS_VECTOR, r->to, value_index(r->y, r->width, at, block), value);
}

static void random_task(Random *r) {
    static const char *const names[MAX_RANK] = {"i", "j", "y", "x", "z", "w"};
    Kernel *k = r->k;
    const Shape *s = &r->y->shape;
    Index at[MAX_RANK];
    int opened = 0;
    for (int i = 0; i < s->rank; i++) {
        at[i] = index_const(0);
        if (i == 0 && s->batched)
            at[i] = index_var(VAR_TASK);
        else if (i != r->axis && s->dim[i] > 1) {
            at[i] = index_var(kb_loop(k, names[i], index_const(0), index_const(s->dim[i]), 1));
            opened++;
        }
    }
    Index block = index_var(kb_loop(k, "v", index_const(0), index_const(r->blocks), 1));
    if (r->axis >= 0)
        at[r->axis] = index_scale(block, r->width);
    emit_vector(r, at, block);
    for (opened++; opened--;)
        kb_end(k);
}

void lower_random(Lower *l, const Group *g) {
    Random r = {.l = l, .y = g->anchor, .width = l->target->width};
    const Shape *s = &r.y->shape;
    r.blocked = value_info(r.y)->layout == LAYOUT_BLOCKED;
    r.axis = r.blocked ? r.y->channel : s->rank - 1;
    if (s->batched && r.axis == 0)
        r.axis = -1;
    r.blocks = r.axis < 0 ? 1 : ceil_div(s->dim[r.axis], r.width);
    r.k = lower_kernel(l, g, "_random");
    r.to = kb_arg(r.k, "y", ELEM_F32, true, value_floats(r.y, r.width), shape_text(l->arena, TYPE_F32, s));
    random_task(&r);
    kernel_finish(r.k);
    PlannedCall *c = lower_call(l, r.k, false);
    call_arg_value(c, r.y);
    c->group = g;
    c->unit = s->batched ? 1 : 0;
    c->tasks = 1;
    c->flops = 100.0 * (double)shape_count(s) / (double)(s->batched ? s->dim[0] : 1);
    c->tap = r.y;
    c->out = 0;
}

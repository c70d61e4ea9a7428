/* reduce.c - SUM and MAXIMUM over axes that no side sum covers: pooling over positions, softmax over classes.
 * A task computes one vector of results where the vectors' axis is kept, one number where it is reduced.
 * The order within a result is fixed: axes from left to right, then the tree over the lanes. */
#include "kernel/lower.h"

#include <assert.h>
#include <math.h>

typedef struct {
    Lower *l;
    const Group *g;
    Kernel *k;
    Node *x, *y;
    int width;
    bool blocked;                  /* x is blocked */
    int axis;                      /* of x's vectors */
    bool axis_kept;
    int64_t blocks;                /* of that axis */
    int from, to;                  /* buffers */
    Index at[MAX_RANK];
    Index block;
    Reg acc;
} Reduce;

static bool reduced(const Reduce *r, int axis) { return r->y->attr.axes >> axis & 1; }

static bool is_max(const Reduce *r) { return r->y->op == OP_MAXIMUM; }

/* Kept axes but the batch become digits of the task number, the last one fastest. */
static int64_t kept_tasks(const Reduce *r) {
    int64_t tasks = 1;
    for (int i = 0; i < r->x->shape.rank; i++) {
        if (reduced(r, i) || (i == 0 && r->x->shape.batched))
            continue;
        tasks *= i == r->axis ? r->blocks : r->x->shape.dim[i];
    }
    return tasks;
}

static void decode_task(Reduce *r, Index rest) {
    static const char *const names[MAX_RANK] = {"d0", "d1", "d2", "d3", "d4", "d5"};
    for (int i = r->x->shape.rank - 1; i >= 0; i--) {
        int64_t size = i == r->axis ? r->blocks : r->x->shape.dim[i];
        if (reduced(r, i) || (i == 0 && r->x->shape.batched))
            continue;
        Index digit = index_const(0);
        if (size > 1) {
            digit = index_var(kb_index(r->k, names[i], INDEX_MOD, rest, index_const(size)));
            rest = index_var(kb_index(r->k, "rest", INDEX_DIV, rest, index_const(size)));
        }
        r->at[i] = digit;
        if (i == r->axis)
            r->block = digit;
    }
}

static Index batch_end(const Reduce *r, int axis) {
    bool batch = axis == 0 && r->x->shape.batched;
    return batch ? index_var(VAR_N) : index_const(r->x->shape.dim[axis]);
}

static int open_reduced(Reduce *r) {
    static const char *const names[MAX_RANK] = {"r0", "r1", "r2", "r3", "r4", "r5"};
    int opened = 0;
    for (int i = 0; i < r->x->shape.rank; i++) {
        if (!reduced(r, i))
            continue;
        Index end = i == r->axis ? index_const(r->blocks) : batch_end(r, i);
        Index v = index_var(kb_loop(r->k, names[i], index_const(0), end, 1));
        r->at[i] = v;
        if (i == r->axis)
            r->block = v;
        opened++;
    }
    return opened;
}

static Index lanes(const Reduce *r) {
    return index_plus(index_scale(r->block, -r->width), r->x->shape.dim[r->axis]);
}

static Reg load_vector(Reduce *r) {
    if (r->blocked)
        return kb_load(r->k, ACCESS_VECTOR, r->from, value_index(r->x, r->width, r->at, r->block));
    Index at[MAX_RANK];
    for (int i = 0; i < r->x->shape.rank; i++)
        at[i] = i == r->axis ? index_scale(r->block, r->width) : r->at[i];
    Access a = plain_stride(r->x, r->axis) == 1 ? ACCESS_MASKED : ACCESS_STRIDED;
    return kb_load_lanes(r->k, a, r->from, plain_index(r->x, at), lanes(r), plain_stride(r->x, r->axis));
}

/* Lanes that do not exist hold zero: neutral for a sum, not for a maximum. */
static Reg neutral_lanes(Reduce *r, Reg v) {
    if (!is_max(r) || r->axis_kept || r->x->shape.dim[r->axis] % r->width == 0)
        return v;
    Reg first = kb_op(r->k, KOP_SPLAT, kb_from_index(r->k, index_scale(r->block, r->width)), NO_REG, NO_REG);
    Reg lane = kb_op(r->k, KOP_IADD, first, kb_iota(r->k), NO_REG);
    Reg mask = kb_op(r->k, KOP_ILT, lane, kb_int(r->k, (int32_t)r->x->shape.dim[r->axis], true), NO_REG);
    return kb_op(r->k, KOP_SELECT, mask, v, kb_const(r->k, -INFINITY, true));
}

static void store_result(Reduce *r) {
    for (int i = 0; i < r->x->shape.rank; i++)
        if (reduced(r, i))
            r->at[i] = index_const(0);
    if (!r->axis_kept) {
        Reg number = kb_op(r->k, is_max(r) ? KOP_HMAX : KOP_HSUM, r->acc, NO_REG, NO_REG);
        Index to = value_info(r->y)->layout == LAYOUT_BLOCKED ? value_index(r->y, r->width, r->at, index_const(0)) : plain_index(r->y, r->at);
        kb_store(r->k, ACCESS_SCALAR, r->to, to, number);
        return;
    }
    if (value_info(r->y)->layout == LAYOUT_BLOCKED) {
        kb_store(r->k, ACCESS_VECTOR, r->to, value_index(r->y, r->width, r->at, r->block), r->acc);
        return;
    }
    int64_t stride = plain_stride(r->y, r->axis);
    r->at[r->axis] = index_scale(r->block, r->width);
    kb_store_lanes(r->k, stride == 1 ? ACCESS_MASKED : ACCESS_STRIDED, r->to, plain_index(r->y, r->at), lanes(r), stride, r->acc);
}

static void reduce_task(Reduce *r) {
    Index image, rest;
    bool per_image = r->x->shape.batched && !reduced(r, 0);
    rest = task_split(r->k, per_image, kept_tasks(r), &image);
    if (per_image)
        r->at[0] = image;
    decode_task(r, rest);
    r->acc = kb_reg(r->k, ELEM_F32, true);
    kb_set_const(r->k, r->acc, is_max(r) ? -INFINITY : 0);
    int opened = open_reduced(r);
    Reg v = neutral_lanes(r, load_vector(r));
    kb_set(r->k, r->acc, is_max(r) ? KOP_FMAX : KOP_FADD, v, r->acc, NO_REG);
    while (opened--)
        kb_end(r->k);
    store_result(r);
}

/* The vectors' axis: the channels of a blocked operand or result, else the last axis. */
static void choose_axis(Reduce *r) {
    bool blocked_result = value_info(r->y)->layout == LAYOUT_BLOCKED && !reduced(r, r->y->channel);
    r->blocked = value_info(r->x)->layout == LAYOUT_BLOCKED;
    r->axis = r->blocked || blocked_result ? r->y->channel : r->x->shape.rank - 1;
    assert(r->axis > 0 || !r->x->shape.batched);
    r->blocks = ceil_div(r->x->shape.dim[r->axis], r->width);
    r->axis_kept = !reduced(r, r->axis);
}

void lower_reduce(Lower *l, const Group *g) {
    Reduce r = {.l = l, .g = g, .y = g->anchor, .x = g->anchor->in[0], .width = l->target->width};
    choose_axis(&r);
    r.k = lower_kernel(l, g, is_max(&r) ? "_max" : "_sum");
    r.from = kb_arg(r.k, "x", ELEM_F32, false, value_floats(r.x, r.width), shape_text(l->arena, TYPE_F32, &r.x->shape));
    r.to = kb_arg(r.k, "y", ELEM_F32, true, value_floats(r.y, r.width), shape_text(l->arena, TYPE_F32, &r.y->shape));
    for (int i = 0; i < MAX_RANK; i++)
        r.at[i] = index_const(0);
    reduce_task(&r);
    kernel_finish(r.k);
    PlannedCall *c = lower_call(l, r.k, g->prepare);
    call_arg_value(c, r.x);
    call_arg_value(c, r.y);
    c->group = g;
    c->unit = r.x->shape.batched && !reduced(&r, 0) ? 1 : 0;
    c->tasks = kept_tasks(&r);
    double images = c->unit || !r.x->shape.batched ? 1 : (double)r.x->shape.dim[0];
    c->flops = images * (double)shape_count(&r.x->shape) / (double)(r.x->shape.batched ? r.x->shape.dim[0] : 1) / (double)c->tasks;
    c->tap = r.y;
    c->out = 1;
}

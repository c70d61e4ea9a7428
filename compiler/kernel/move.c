/* move.c - RESHAPE and TRANSPOSE where they are no alias: element by element into a plain result. */
#include "kernel/lower.h"

#include <assert.h>

typedef struct {
    Lower *l;
    Node *x, *y;
    Kernel *k;
    int from, to;
    Index at[MAX_RANK];            /* position in x */
} Move;

/* Where x's element at[] stands in the result. */
static Index result_index(const Move *m) {
    Index sum = index_const(0);
    int64_t stride = 1;
    if (m->y->op == OP_RESHAPE) {
        for (int i = m->x->shape.rank - 1; i >= 0; stride *= m->x->shape.dim[i--])
            sum = index_add(sum, index_scale(m->at[i], stride));
        return sum;
    }
    for (int i = m->y->shape.rank - 1; i >= 0; stride *= m->y->shape.dim[i--])
        sum = index_add(sum, index_scale(m->at[m->y->attr.perm[i]], stride));
    return sum;
}

static int open_axes(Move *m, int but) {
    static const char *const names[MAX_RANK] = {"i", "j", "y", "x", "z", "w"};
    int opened = 0;
    for (int i = m->x->shape.batched ? 1 : 0; i < m->x->shape.rank; i++) {
        if (i == but)
            continue;
        m->at[i] = index_var(kb_loop(m->k, names[i], index_const(0), index_const(m->x->shape.dim[i]), 1));
        opened++;
    }
    return opened;
}

static void copy_element(Move *m, Index from) {
    Reg v = kb_load(m->k, ACCESS_SCALAR, m->from, from);
    kb_store(m->k, ACCESS_SCALAR, m->to, result_index(m), v);
}

static void copy_blocked(Move *m) {
    int width = m->l->target->width;
    int64_t channels = m->x->shape.dim[m->x->channel], blocks = ceil_div(channels, width);
    Index block = index_var(kb_loop(m->k, "block", index_const(0), index_const(blocks), 1));
    int end = kb_index(m->k, "lanes", INDEX_MIN, index_plus(index_scale(block, -width), channels), index_const(width));
    int opened = open_axes(m, m->x->channel);
    Index lane = index_var(kb_loop(m->k, "lane", index_const(0), index_var(end), 1));
    m->at[m->x->channel] = index_add(index_scale(block, width), lane);
    copy_element(m, index_add(value_index(m->x, width, m->at, block), lane));
    for (opened += 2; opened--;)
        kb_end(m->k);
}

static void copy_plain(Move *m) {
    int opened = open_axes(m, -1);
    copy_element(m, plain_index(m->x, m->at));
    while (opened--)
        kb_end(m->k);
}

void lower_move(Lower *l, const Group *g) {
    Move m = {.l = l, .y = g->anchor, .x = g->anchor->in[0]};
    assert(m.x->shape.batched == m.y->shape.batched && value_info(m.y)->layout == LAYOUT_PLAIN);
    m.k = lower_kernel(l, g, "_copy");
    m.from = kb_arg(m.k, "x", ELEM_F32, false, value_floats(m.x, l->target->width), shape_text(l->arena, TYPE_F32, &m.x->shape));
    m.to = kb_arg(m.k, "y", ELEM_F32, true, value_floats(m.y, l->target->width), shape_text(l->arena, TYPE_F32, &m.y->shape));
    for (int i = 0; i < MAX_RANK; i++)
        m.at[i] = index_const(0);
    if (m.x->shape.batched)
        m.at[0] = index_var(VAR_TASK);
    if (value_info(m.x)->layout == LAYOUT_BLOCKED)
        copy_blocked(&m);
    else
        copy_plain(&m);
    kernel_finish(m.k);
    PlannedCall *c = lower_call(l, m.k, g->prepare);
    call_arg_value(c, m.x);
    call_copies(c, g, m.y);
}

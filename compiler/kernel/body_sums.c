/* body_sums.c - adding up the partial sums that the tasks of a group left behind, in a fixed order.
 * Chunks of 8 images are added up from zero, then to the total: so the order does not depend on the capacity. */
#include "kernel/body.h"

enum { CHUNK_IMAGES = 8 };

/* total of one part's rows: chunks of 8 images are added up from zero, then to the total, in order. */
static Reg add_rows(Body *b, Kernel *k, int from, Index part) {
    int64_t units = b->unit ? (module_images(b->l->module, b->l->entry) + b->unit - 1) / b->unit : 1;
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
    int parts = body_per_channel(sum) ? b->slots : 1;
    Kernel *k = kernel_new(b->l->arena, b->l->target, b->l->math, arena_printf(b->l->arena, "%s_sum%d", b->k->name, i), sum->span);
    int from = kb_arg(k, "partial", ELEM_F32, false, b->k->buffers[b->sum_buffer[i]].count, "partial sums");
    int to = kb_arg(k, "sum", ELEM_F32, true, shape_count(&sum->shape), body_buffer_text(b, sum));
    if (parts > 1 || body_per_channel(sum)) {
        Reg total = add_rows(b, k, from, index_var(VAR_TASK));
        kb_store_lanes(k, ACCESS_MASKED, to, index_scale(index_var(VAR_TASK), b->width), body_lanes(b, index_var(VAR_TASK)), 1, total);
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
    c->tasks = body_per_channel(sum) ? (b->extent + b->width - 1) / b->width : 1;
    c->flops = (double)b->rows * b->width * (b->unit ? module_images(b->l->module, b->l->entry) : 1);
    c->tap = sum;
    c->out = 1;
}

void body_sums(Body *b) {
    for (int i = 0; i < b->g->sum_count; i++)
        add_up(b, i);
}

/* product.c - linear layers and their gradients as products of the BLAS (--blas=openblas).
 * y = x w^T, dx = dy w, dw = dy^T x, with x [N, C], w [O, C], dy [N, O]. A blocked value of rank 2 is a matrix
 * whose rows are padded to whole vectors; the padding is made zero here, as every reader expects. */
#include "kernel/lower.h"

static int64_t row_length(const Node *n, int width) {
    int64_t columns = n->shape.dim[1];
    return value_info(n)->layout == LAYOUT_BLOCKED ? (columns + width - 1) / width * width : columns;
}

static int matrix_arg(Lower *l, Kernel *k, const char *name, const Node *n, bool written) {
    return kb_arg(k, name, ELEM_F32, written, value_floats(n, l->target->width), shape_text(l->arena, n->type, &n->shape));
}

static void clear_padding(Kernel *k, int buffer, const Node *y, int64_t row) {
    int64_t columns = y->shape.dim[1];
    if (row == columns)
        return;
    Index image = index_var(kb_loop(k, "image", index_const(0), index_var(VAR_N), 1));
    Index at = index_plus(index_scale(image, row), columns);
    Reg zero = kb_const(k, 0, true);
    kb_store_lanes(k, ACCESS_MASKED, buffer, at, index_const(row - columns), 1, zero);
    kb_end(k);
}

static Product product_of(const Lower *l, const Node *y) {
    const Node *a = y->op == OP_CONV_WEIGHT ? y->in[1] : y->in[0];
    const Node *b = y->op == OP_CONV_WEIGHT ? y->in[0] : y->in[1];
    bool weight = y->op == OP_CONV_WEIGHT;
    Product p = {.a_transposed = weight, .b_transposed = y->op == OP_CONV};
    p.n = y->shape.dim[1];
    p.m = weight ? index_const(y->shape.dim[0]) : index_var(VAR_N);
    p.k = weight ? index_var(VAR_N) : index_const(a->shape.dim[1]);
    p.lda = row_length(a, l->target->width);
    p.ldb = row_length(b, l->target->width);
    p.ldc = row_length(y, l->target->width);
    return p;
}

void lower_product(Lower *l, const Group *g) {
    Node *y = g->anchor;
    Node *a = y->op == OP_CONV_WEIGHT ? y->in[1] : y->in[0];
    Node *b = y->op == OP_CONV_WEIGHT ? y->in[0] : y->in[1];
    Kernel *k = lower_kernel(l, g, y->op == OP_CONV ? "" : y->op == OP_CONV_INPUT ? "_dx" : "_dw");
    Product p = product_of(l, y);
    p.a = matrix_arg(l, k, "a", a, false);
    p.b = matrix_arg(l, k, "b", b, false);
    p.c = matrix_arg(l, k, "c", y, true);
    kb_product(k, p);
    clear_padding(k, p.c, y, p.ldc);
    kernel_finish(k);
    PlannedCall *c = lower_call(l, k, g->prepare);
    call_arg_value(c, a);
    call_arg_value(c, b);
    call_arg_value(c, y);
    c->group = g;
    c->tasks = 1;
    c->flops = 2.0 * (double)shape_count(&y->shape) * (double)(y->op == OP_CONV_WEIGHT ? a->shape.dim[0] : a->shape.dim[1]);
    c->tap = y;
    c->out = 2;
}

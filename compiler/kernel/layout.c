/* layout.c - how a value lies in memory, and the element index of a logical position in it. */
#include "kernel/group.h"

#include <assert.h>

/* Feature maps are blocked over their channels; what users see, parameters and single channels stay plain. */
bool layout_wants_blocks(const Node *n) {
    return n->shape.batched && n->shape.rank >= 2 && n->channel >= 1 && n->shape.dim[n->channel] > 1;
}

bool group_is_blocked(const Group *g) {
    return g->space.batched && g->space.rank >= 2 && g->channel >= 1 && g->space.dim[g->channel] > 1;
}

int64_t value_floats(const Node *n, int width) {
    int64_t count = shape_count(&n->shape);
    if (value_info(n)->layout == LAYOUT_PLAIN)
        return count;
    int64_t channels = n->shape.dim[n->channel];
    return count / channels * ceil_div(channels, width) * width;
}

int64_t value_size(const Node *n, int width) {
    return value_floats(n, width) * (n->type == TYPE_U8 ? 1 : n->type == TYPE_F16 ? 2 : 4);
}

int64_t plain_stride(const Node *n, int axis) {
    int64_t stride = 1;
    for (int i = n->shape.rank - 1; i > axis; i--)
        stride *= n->shape.dim[i];
    return stride;
}

Index plain_index(const Node *n, const Index *at) {
    Index sum = index_const(0);
    int64_t stride = 1;
    for (int i = n->shape.rank - 1; i >= 0; i--) {
        if (n->shape.dim[i] > 1)
            sum = index_add(sum, index_scale(at[i], stride));
        stride *= n->shape.dim[i];
    }
    return sum;
}

static Index plain_block_index(const Node *n, int width, const Index *at, Index block) {
    Index copy[MAX_RANK];
    for (int i = 0; i < n->shape.rank; i++)
        copy[i] = i == n->channel ? index_scale(block, width) : at[i];
    return plain_index(n, copy);
}

Index value_index(const Node *n, int width, const Index *at, Index block) {
    if (value_info(n)->layout == LAYOUT_PLAIN)
        return plain_block_index(n, width, at, block);
    Index sum = index_const(0);
    int64_t stride = width;
    for (int i = n->shape.rank - 1; i >= 1; i--) {
        if (i == n->channel)
            continue;
        if (n->shape.dim[i] > 1)
            sum = index_add(sum, index_scale(at[i], stride));
        stride *= n->shape.dim[i];
    }
    sum = index_add(sum, index_scale(block, stride));
    stride *= ceil_div(n->shape.dim[n->channel], width);
    return index_add(sum, index_scale(at[0], stride));
}

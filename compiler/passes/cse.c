/* cse.c - equal computations become one node, the first. Random numbers are functions of their
 * stream, and leaves are values when the entry begins: both merge like anything else.
 * needs: topological order     keeps: order, shapes     spoils: use counts */
#include "passes/passes.h"

#include <string.h>

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static bool same_window(const Window *a, const Window *b) {
    if (a->spatial != b->spatial || a->groups != b->groups || a->channel_last != b->channel_last)
        return false;
    for (int i = 0; i < a->spatial; i++)
        if (a->kernel[i] != b->kernel[i] || a->stride[i] != b->stride[i] || a->dilation[i] != b->dilation[i] ||
            a->pad_lo[i] != b->pad_lo[i] || a->pad_hi[i] != b->pad_hi[i])
            return false;
    return true;
}

static bool same_attention(const Attention *a, const Attention *b) {
    return a->heads == b->heads && a->scale == b->scale && a->causal == b->causal;
}

static bool same_attr(const Node *a, const Node *b) {
    switch (a->op) {
    case OP_INPUT: return a->attr.input == b->attr.input;
    case OP_TENSOR: return a->attr.tensor == b->attr.tensor;
    case OP_FILL: return !memcmp(&a->attr.value, &b->attr.value, sizeof a->attr.value);
    case OP_SCALAR: return a->attr.scalar == b->attr.scalar;
    case OP_SLAB: return a->attr.slab.table == b->attr.slab.table && a->attr.slab.offset == b->attr.slab.offset;
    case OP_RANDOM: return a->attr.stream == b->attr.stream;
    case OP_MAP: return a->attr.expr == b->attr.expr;
    case OP_SUM:
    case OP_MAXIMUM: return a->attr.axes == b->attr.axes;
    case OP_TRANSPOSE: return !memcmp(a->attr.perm, b->attr.perm, sizeof(int) * (size_t)a->shape.rank);
    case OP_RESHAPE: return true;
    case OP_SLICE:
    case OP_PAD: return a->attr.part.axis == b->attr.part.axis && a->attr.part.from == b->attr.part.from;
    case OP_CONCAT: return a->attr.part.axis == b->attr.part.axis;
    case OP_ATTENTION:
    case OP_ATTENTION_Q:
    case OP_ATTENTION_K:
    case OP_ATTENTION_V: return same_attention(&a->attr.attention, &b->attr.attention);
    default: return same_window(&a->attr.window, &b->attr.window);
    }
}

static bool same_value(const Node *a, const Node *b) {
    if (a->op != b->op || a->again != b->again || a->type != b->type || a->arity != b->arity || a->channel != b->channel ||
        !shape_equal(&a->shape, &b->shape))
        return false;
    for (int i = 0; i < a->arity; i++)
        if (a->in[i] != b->in[i])
            return false;
    return same_attr(a, b);
}

static uint64_t hash_of(const Node *n) {
    uint64_t hash = mix((uint64_t)n->op, (uint64_t)shape_count(&n->shape));
    for (int i = 0; i < n->arity; i++)
        hash = mix(hash, (uint64_t)n->in[i]->id);
    if (n->op == OP_MAP)
        hash = mix(hash, (uint64_t)n->attr.expr->id);
    else if (n->op == OP_TENSOR)
        hash = mix(hash, (uint64_t)n->attr.tensor->index);
    return hash;
}

void graph_cse(Graph *g) {
    Arena *scratch = arena_new(0);
    size_t slots = 16;
    while (slots < 2 * (size_t)graph_count(g))
        slots *= 2;
    Node **seen = NEW_ARRAY(scratch, Node *, slots);
    forward_start(g);
    for (Node *n = g->first; n; n = n->next) {
        forward_inputs(n);
        size_t at = hash_of(n) & (slots - 1);
        while (seen[at] && !same_value(seen[at], n))
            at = (at + 1) & (slots - 1);
        if (seen[at])
            forward_to(n, seen[at]);
        else
            seen[at] = n;
    }
    forward_finish(g);
    arena_destroy(scratch);
    graph_dce(g);
}

/* part.c - SLICE, PAD and CONCAT: a result made of parts beside each other along one axis.
 *
 * Where a part is whole runs of memory in operand and result (no cut axis between the channels of a block), runs are
 * copied by vectors, else element by element. Lanes beyond the channels of a blocked result are made zero. */
#include "kernel/lower.h"

typedef struct {
    Node *x;                       /* NULL: zeros */
    int buffer;
    int64_t from, to, size;        /* along the axis: in x, in the result, how many */
} Part;

/* `outer` runs of `length` floats, equal steps apart: what a part is in memory. */
typedef struct { int64_t outer, length, x_at, x_step, y_at, y_step; } Runs;

typedef struct {
    Lower *l;
    Kernel *k;
    Node *y;
    int to, axis, width;
    Part *parts; int count;
} Parts;

static bool is_blocked(const Node *n) { return value_info(n)->layout == LAYOUT_BLOCKED; }

static void add_part(Parts *s, Node *x, int64_t from, int64_t to, int64_t size) {
    if (size > 0)
        s->parts[s->count++] = (Part){x, -1, from, to, size};
}

static void list_parts(Parts *s) {
    Node *y = s->y, *x = y->in[0];
    int64_t from = y->attr.part.from, size = y->shape.dim[s->axis], at = 0;
    s->parts = NEW_ARRAY(s->l->arena, Part, y->arity + 2);
    if (y->op == OP_SLICE) {
        add_part(s, x, from, 0, size);
    } else if (y->op == OP_PAD) {
        int64_t end = from + x->shape.dim[s->axis];
        add_part(s, NULL, 0, 0, from);
        add_part(s, x, 0, from, x->shape.dim[s->axis]);
        add_part(s, NULL, 0, end, size - end);
    } else {
        for (int i = 0; i < y->arity; at += y->in[i++]->shape.dim[s->axis])
            add_part(s, y->in[i], 0, at, y->in[i]->shape.dim[s->axis]);
    }
}

/* ---- runs ---- */

/* Floats of one image from one position of the axis to the next (`inner`), and how often they repeat. */
static void strides_of(const Parts *s, const Node *n, int64_t *inner, int64_t *outer) {
    bool blocked = is_blocked(n);
    *inner = blocked ? s->width : 1;
    *outer = 1;
    for (int i = n->shape.batched ? 1 : 0; i < n->shape.rank; i++) {
        if (i == s->axis || (blocked && i == n->channel))
            continue;
        if (i > s->axis || (blocked && s->axis == n->channel))
            *inner *= n->shape.dim[i];
        else
            *outer *= n->shape.dim[i];
    }
    if (blocked && s->axis != n->channel)
        *outer *= ceil_div(n->shape.dim[n->channel], s->width);
}

/* Along the channels of blocked values a part must begin and end between blocks, or end with both values. */
static bool cut_between_blocks(const Parts *s, const Part *p) {
    int64_t end = p->to + p->size, x_end = p->from + p->size;
    if (p->to % s->width || p->from % s->width)
        return false;
    bool y_ends = end % s->width == 0 || end == s->y->shape.dim[s->axis];
    bool x_ends = x_end % s->width == 0 || !p->x || x_end == p->x->shape.dim[s->axis];
    return y_ends && x_ends;
}

static bool find_runs(const Parts *s, const Part *p, Runs *r) {
    int64_t inner, outer, unit = 1;
    if (p->x && is_blocked(p->x) != is_blocked(s->y))
        return false;
    strides_of(s, s->y, &inner, &outer);
    if (is_blocked(s->y) && s->axis == s->y->channel) {
        if (!cut_between_blocks(s, p))
            return false;
        unit = s->width;
    }
    *r = (Runs){.outer = outer, .length = ceil_div(p->size, unit) * inner};
    r->x_at = p->from / unit * inner;
    r->y_at = p->to / unit * inner;
    r->x_step = p->x ? ceil_div(p->x->shape.dim[s->axis], unit) * inner : 0;
    r->y_step = ceil_div(s->y->shape.dim[s->axis], unit) * inner;
    return true;
}

static void copy_vector(Parts *s, const Part *p, Index from, Index to, Index lanes, bool whole) {
    Kernel *k = s->k;
    Reg v;
    if (!p->x)
        v = k->buffers[s->to].elem == ELEM_F32 ? kb_const(k, 0, true) : kb_int(k, 0, true);
    else
        v = whole ? kb_load(k, ACCESS_VECTOR, p->buffer, from) : kb_load_lanes(k, ACCESS_MASKED, p->buffer, from, lanes, 1);
    if (whole)
        kb_store(k, ACCESS_VECTOR, s->to, to, v);
    else
        kb_store_lanes(k, ACCESS_MASKED, s->to, to, lanes, 1, v);
}

static void copy_runs(Parts *s, const Part *p, const Runs *r, Index image) {
    Kernel *k = s->k;
    Index from = index_const(r->x_at), to = index_const(r->y_at);
    from = index_add(from, index_scale(image, r->outer * r->x_step));
    to = index_add(to, index_scale(image, r->outer * r->y_step));
    if (r->outer > 1) {
        Index outer = index_var(kb_loop(k, "run", index_const(0), index_const(r->outer), 1));
        from = index_add(from, index_scale(outer, r->x_step));
        to = index_add(to, index_scale(outer, r->y_step));
    }
    int64_t whole = r->length / s->width * s->width;
    if (whole > 0) {
        Index i = index_var(kb_loop(k, "i", index_const(0), index_const(whole), s->width));
        copy_vector(s, p, index_add(from, i), index_add(to, i), index_const(0), true);
        kb_end(k);
    }
    if (whole < r->length)
        copy_vector(s, p, index_plus(from, whole), index_plus(to, whole), index_const(r->length - whole), false);
    if (r->outer > 1)
        kb_end(k);
}

/* ---- elements ---- */

static Index element(Parts *s, const Node *n, const Index *at) {
    if (!is_blocked(n))
        return plain_index(n, at);
    Index block = index_var(kb_index(s->k, "block", INDEX_DIV, at[n->channel], index_const(s->width)));
    Index lane = index_var(kb_index(s->k, "lane", INDEX_MOD, at[n->channel], index_const(s->width)));
    return index_add(value_index(n, s->width, at, block), lane);
}

static void copy_elements(Parts *s, const Part *p, Index image) {
    static const char *const names[MAX_RANK] = {"i", "j", "y", "x", "z", "w"};
    Kernel *k = s->k;
    Index at[MAX_RANK], from[MAX_RANK];
    int opened = 0;
    for (int i = 0; i < s->y->shape.rank; i++) {
        if (i == 0 && s->y->shape.batched) {
            at[i] = from[i] = image;
            continue;
        }
        int64_t size = i == s->axis ? p->size : s->y->shape.dim[i];
        at[i] = from[i] = index_var(kb_loop(k, names[i], index_const(0), index_const(size), 1));
        opened++;
    }
    from[s->axis] = index_plus(at[s->axis], p->from);
    at[s->axis] = index_plus(at[s->axis], p->to);
    Reg v;
    if (p->x)
        v = kb_load(k, ACCESS_SCALAR, p->buffer, element(s, p->x, from));
    else
        v = k->buffers[s->to].elem == ELEM_F32 ? kb_const(k, 0, false) : kb_int(k, 0, false);
    kb_store(k, ACCESS_SCALAR, s->to, element(s, s->y, at), v);
    while (opened--)
        kb_end(k);
}

/* The last block of every position, whose lanes beyond the channels no element writes. */
static void clear_last_block(Parts *s, Index image) {
    Node *y = s->y;
    int64_t blocks = ceil_div(y->shape.dim[y->channel], s->width);
    int64_t floats = value_floats(y, s->width) / y->shape.dim[0], block = floats / blocks;
    Index i = index_var(kb_loop(s->k, "i", index_const(floats - block), index_const(floats), s->width));
    kb_store(s->k, ACCESS_VECTOR, s->to, index_add(index_scale(image, floats), i), kb_const(s->k, 0, true));
    kb_end(s->k);
}

/* ---- the kernel ---- */

static void build(Parts *s) {
    Index image = s->y->shape.batched ? index_var(VAR_TASK) : index_const(0);
    Runs *runs = NEW_ARRAY(s->l->arena, Runs, s->count);
    bool *in_runs = NEW_ARRAY(s->l->arena, bool, s->count), all = true;
    for (int i = 0; i < s->count; i++)
        all = (in_runs[i] = find_runs(s, &s->parts[i], &runs[i])) && all;
    if (!all && is_blocked(s->y) && s->y->shape.dim[s->y->channel] % s->width)
        clear_last_block(s, image);
    for (int i = 0; i < s->count; i++) {
        if (in_runs[i])
            copy_runs(s, &s->parts[i], &runs[i], image);
        else
            copy_elements(s, &s->parts[i], image);
    }
}

void lower_part(Lower *l, const Group *g) {
    Parts s = {.l = l, .y = g->anchor, .axis = g->anchor->attr.part.axis, .width = l->target->width};
    Elem elem = s.y->type == TYPE_F32 ? ELEM_F32 : ELEM_I32;
    list_parts(&s);
    s.k = lower_kernel(l, g, "_copy");
    for (int i = 0; i < s.count; i++) {
        Node *x = s.parts[i].x;
        if (x)
            s.parts[i].buffer = kb_arg(s.k, arena_printf(l->arena, "x%d", i), elem, false, value_floats(x, s.width), shape_text(l->arena, x->type, &x->shape));
    }
    s.to = kb_arg(s.k, "y", elem, true, value_floats(s.y, s.width), shape_text(l->arena, s.y->type, &s.y->shape));
    build(&s);
    kernel_finish(s.k);
    PlannedCall *c = lower_call(l, s.k, g->prepare);
    for (int i = 0; i < s.count; i++)
        if (s.parts[i].x)
            call_arg_value(c, s.parts[i].x);
    call_copies(c, g, s.y);
}

/* pool.c - MAXPOOL, AVGPOOL and their gradients over windows of 1 to 3 dimensions.
 * A task is one image and one block of channels (blocked results: vectors along the channels) or one plane
 * (plain results: element by element). Gradients are cleared and then added up window by window in row-major
 * order, so that overlapping windows add in a fixed order. Taps in the padding are left out by loop bounds. */
#include "kernel/lower.h"

typedef struct {
    Kernel *k;
    const Node *a;                         /* the anchor */
    const Window *win;
    int width, dims;
    bool blocked;                          /* of the result */
    int64_t in[MAX_SPATIAL], out[MAX_SPATIAL];   /* sizes of the larger and of the pooled side */
    int64_t units;                         /* blocks or planes of an image */
    int buffer[4];                         /* in[0..], then the result of a gradient */
    Body *body;
    int stage;                             /* plain: the pooled plane */
    Index image, unit;
    Index at[MAX_SPATIAL], tap[MAX_SPATIAL];
    Index begin[MAX_SPATIAL], end[MAX_SPATIAL];  /* taps inside, at this window */
} Pool;

static Index zero(void) { return index_const(0); }

static int64_t product(const int64_t *size, int dims) {
    int64_t p = 1;
    for (int i = 0; i < dims; i++)
        p *= size[i];
    return p;
}

static bool is_gradient(const Pool *s) { return s->a->op == OP_MAXPOOL_INPUT || s->a->op == OP_AVGPOOL_INPUT; }
static bool is_max(const Pool *s) { return s->a->op == OP_MAXPOOL || s->a->op == OP_MAXPOOL_INPUT; }

static void constant_to(Pool *s, Reg *r, double value) {
    *r = kb_reg(s->k, ELEM_F32, s->blocked);
    kb_set_const(s->k, *r, value);
}

/* ---- memory ---- */

/* First element of the task's part of a value with `pixels` elements per channel. */
static Index value_base(const Pool *s, const Node *v, int64_t pixels) {
    bool blocked = value_info(v)->layout == LAYOUT_BLOCKED;
    int64_t channels = v->shape.dim[1], step = blocked ? pixels * s->width : pixels;
    int64_t planes = blocked ? (channels + s->width - 1) / s->width : channels;
    int64_t per_unit = s->blocked && !blocked ? step * s->width : step;
    return index_add(index_scale(s->image, planes * step), index_scale(s->unit, per_unit));
}

static Reg load_pixel(Pool *s, int i, int64_t pixels, Index pixel) {
    const Node *v = s->a->in[i];
    bool blocked = value_info(v)->layout == LAYOUT_BLOCKED;
    Index at = index_add(value_base(s, v, pixels), index_scale(pixel, blocked ? s->width : 1));
    if (!s->blocked)
        return kb_load(s->k, ACCESS_SCALAR, s->buffer[i], at);
    if (blocked)
        return kb_load(s->k, ACCESS_VECTOR, s->buffer[i], at);
    Index lanes = index_plus(index_scale(s->unit, -s->width), v->shape.dim[1]);
    return kb_load_lanes(s->k, ACCESS_STRIDED, s->buffer[i], at, lanes, pixels);
}

static Access result_access(const Pool *s) { return s->blocked ? ACCESS_VECTOR : ACCESS_SCALAR; }

/* ---- windows ---- */

/* The pixel of the larger side under the current tap. */
static Index tap_pixel(const Pool *s) {
    Index p = zero();
    for (int i = 0; i < s->dims; i++) {
        Index at = index_plus(index_scale(s->at[i], s->win->stride[i]), -s->win->pad_lo[i]);
        at = index_add(at, index_scale(s->tap[i], s->win->dilation[i]));
        p = index_add(index_scale(p, s->in[i]), at);
    }
    return p;
}

static Index window_pixel(const Pool *s) {
    Index p = zero();
    for (int i = 0; i < s->dims; i++)
        p = index_add(index_scale(p, s->out[i]), s->at[i]);
    return p;
}

/* Taps t of dimension i with 0 <= at * stride - pad + t * dilation < in. */
static void tap_range(Pool *s, int i) {
    int64_t stride = s->win->stride[i], pad = s->win->pad_lo[i], dil = s->win->dilation[i], taps = s->win->kernel[i];
    s->begin[i] = zero();
    s->end[i] = index_const(taps);
    if (pad > 0) {                             /* t >= (pad - at * stride) / dilation, rounded up */
        Index need = index_plus(index_scale(s->at[i], -stride), pad);
        int64_t lift = s->out[i] * stride;
        if (dil > 1)
            need = index_plus(index_var(kb_index(s->k, "need", INDEX_DIV, index_plus(need, dil - 1 + lift * dil), index_const(dil))), -lift);
        s->begin[i] = index_var(kb_index(s->k, "begin", INDEX_MAX, need, zero()));
    }
    if ((s->out[i] - 1) * stride - pad + (taps - 1) * dil >= s->in[i]) {
        Index room = index_plus(index_scale(s->at[i], -stride), s->in[i] - 1 + pad);
        int64_t lift = s->out[i] * stride;
        if (dil > 1)
            room = index_plus(index_var(kb_index(s->k, "room", INDEX_DIV, index_plus(room, lift * dil), index_const(dil))), -lift);
        s->end[i] = index_var(kb_index(s->k, "end", INDEX_MIN, index_plus(room, 1), index_const(taps)));
    }
}

static void open_windows(Pool *s) {
    static const char *const name[MAX_SPATIAL] = { "i", "j", "l" };
    for (int i = 0; i < s->dims; i++) {
        s->at[i] = index_var(kb_loop(s->k, name[i], zero(), index_const(s->out[i]), 1));
        tap_range(s, i);
    }
}

static void open_taps(Pool *s) {
    for (int i = 0; i < s->dims; i++)
        s->tap[i] = index_var(kb_loop(s->k, "tap", s->begin[i], s->end[i], 1));
}

static void close(Pool *s, int loops) {
    while (loops--)
        kb_end(s->k);
}

static double window_share(const Pool *s) { return 1 / (double)product(s->win->kernel, s->dims); }

/* ---- forward ---- */

/* A NaN is larger than all. */
static Reg is_nan(Pool *s, Reg x) {
    return kb_op(s->k, KOP_MNOT, kb_op(s->k, KOP_FEQ, x, x, NO_REG), NO_REG, NO_REG);
}

static Reg pooled(Pool *s) {
    int64_t pixels = product(s->in, s->dims);
    Reg acc;
    constant_to(s, &acc, is_max(s) ? -__builtin_inf() : 0);
    open_taps(s);
    Reg x = load_pixel(s, 0, pixels, tap_pixel(s));
    if (is_max(s))
        kb_set(s->k, acc, KOP_SELECT, kb_op(s->k, KOP_MOR, is_nan(s, x), kb_op(s->k, KOP_FLT, acc, x, NO_REG), NO_REG), x, acc);
    else
        kb_set(s->k, acc, KOP_FADD, acc, x, NO_REG);
    close(s, s->dims);
    if (is_max(s))
        return acc;
    Reg share;
    constant_to(s, &share, window_share(s));
    return kb_op(s->k, KOP_FMUL, acc, share, NO_REG);
}

static void pool_blocked(Pool *s) {
    Index at[MAX_RANK] = { s->image };
    body_channels(s->body, 0, s->unit);
    open_windows(s);
    for (int i = 0; i < s->dims; i++)
        at[2 + i] = s->at[i];
    body_point(s->body, 0, at, s->unit, pooled(s));
    close(s, s->dims);
}

/* Plain: the image is pooled into scratch, then walked in vectors along the last axis, or along all. */
static void pool_plain(Pool *s, const Group *g) {
    int64_t pixels = product(s->out, s->dims), planes = s->units, extent = 1;
    s->unit = index_var(kb_loop(s->k, "plane", zero(), index_const(planes), 1));
    open_windows(s);
    Index to = index_add(index_scale(s->unit, pixels), window_pixel(s));
    kb_store(s->k, ACCESS_SCALAR, s->stage, to, pooled(s));
    close(s, s->dims + 1);
    Index at[MAX_RANK] = { s->image }, from = zero();
    int opened = 0;
    for (int i = 1; i < s->a->shape.rank; i++) {
        int64_t size = s->a->shape.dim[i];
        if (body_flat(g) || i == s->a->shape.rank - 1) {
            extent *= size;
            continue;
        }
        at[i] = index_var(kb_loop(s->k, "axis", zero(), index_const(size), 1));
        from = index_add(index_scale(from, size), at[i]);
        opened++;
    }
    Index block = index_var(kb_loop(s->k, "vec", zero(), index_const((extent + s->width - 1) / s->width), 1));
    from = index_add(index_scale(from, extent), index_scale(block, s->width));
    body_channels(s->body, 0, block);
    body_point(s->body, 0, at, block, kb_load(s->k, ACCESS_VECTOR, s->stage, from));
    close(s, opened + 1);
}

/* ---- gradients ---- */

static void clear(Pool *s, Index base, int64_t pixels) {
    int64_t step = s->blocked ? s->width : 1;
    Reg none;
    constant_to(s, &none, 0);
    Index i = index_var(kb_loop(s->k, "i", zero(), index_const(pixels), 1));
    kb_store(s->k, result_access(s), s->buffer[3], index_add(base, index_scale(i, step)), none);
    kb_end(s->k);
}

/* found: 1.0 where an earlier tap of this window was the largest element. Sets it, returns dy or zero. */
static Reg winner(Pool *s, Reg found, Reg y, Reg dy, Reg none, Reg one) {
    Reg x = load_pixel(s, 0, product(s->in, s->dims), tap_pixel(s));
    Reg open = kb_op(s->k, KOP_FLT, found, one, NO_REG);
    Reg equal = kb_op(s->k, KOP_MOR, is_nan(s, x), kb_op(s->k, KOP_FEQ, x, y, NO_REG), NO_REG);
    Reg first = kb_op(s->k, KOP_MAND, open, equal, NO_REG);
    kb_set(s->k, found, KOP_SELECT, first, one, found);
    return kb_op(s->k, KOP_SELECT, first, dy, none);
}

static void pool_gradient(Pool *s) {
    int64_t larger = product(s->in, s->dims), pooled_pixels = product(s->out, s->dims);
    Index base = value_base(s, s->a, larger);
    clear(s, base, larger);
    Reg none, one, found = NO_REG, share;
    constant_to(s, &none, 0);
    constant_to(s, &one, 1);
    constant_to(s, &share, window_share(s));
    open_windows(s);
    Reg dy = load_pixel(s, is_max(s) ? 2 : 0, pooled_pixels, window_pixel(s)), y = NO_REG;
    if (is_max(s)) {
        y = load_pixel(s, 1, pooled_pixels, window_pixel(s));
        constant_to(s, &found, 0);
    } else {
        dy = kb_op(s->k, KOP_FMUL, dy, share, NO_REG);
    }
    open_taps(s);
    Reg add = is_max(s) ? winner(s, found, y, dy, none, one) : dy;
    Index to = index_add(base, index_scale(tap_pixel(s), s->blocked ? s->width : 1));
    kb_add_to(s->k, result_access(s), s->buffer[3], to, zero(), add);
    close(s, 2 * s->dims);
}

/* ---- the kernel ---- */

static void sizes(Pool *s) {
    const Node *larger = is_gradient(s) ? s->a : s->a->in[0];
    const Node *pooled_side = is_gradient(s) ? s->a->in[s->a->arity - 1] : s->a;
    for (int i = 0; i < s->dims; i++) {
        s->in[i] = larger->shape.dim[2 + i];
        s->out[i] = pooled_side->shape.dim[2 + i];
    }
}

static void build(Pool *s, Lower *l, const Group *g) {
    const Node *a = s->a;
    static const char *const name[] = { "x", "y", "dy" };
    for (int i = 0; i < a->arity; i++)
        s->buffer[i] = kb_arg(s->k, name[i], ELEM_F32, false, value_floats(a->in[i], s->width), shape_text(l->arena, a->in[i]->type, &a->in[i]->shape));
    if (is_gradient(s))
        s->buffer[3] = kb_arg(s->k, "dx", ELEM_F32, true, value_floats(a, s->width), shape_text(l->arena, a->type, &a->shape));
    else
        s->body = body_new(l, s->k, g, 1);
    bool by_image = !s->blocked && !is_gradient(s);
    if (by_image)
        s->stage = kb_scratch(s->k, "stage", ELEM_F32, s->units * product(s->out, s->dims) + s->width);
    s->unit = task_split(s->k, true, by_image ? 1 : s->units, &s->image);
    if (is_gradient(s)) {
        pool_gradient(s);
        return;
    }
    body_start(s->body);
    if (s->blocked)
        pool_blocked(s);
    else
        pool_plain(s, g);
    body_finish(s->body, by_image ? zero() : s->unit, by_image ? 1 : s->units, s->image, 1, 1);
}

void lower_pool(Lower *l, const Group *g) {
    Node *a = g->anchor;
    Pool s = { .k = lower_kernel(l, g, is_gradient(&(Pool){ .a = a }) ? "_input" : ""), .a = a, .win = &a->attr.window,
               .width = l->target->width, .dims = a->attr.window.spatial };
    s.blocked = value_info(a)->layout == LAYOUT_BLOCKED;
    s.units = s.blocked ? (a->shape.dim[1] + s.width - 1) / s.width : a->shape.dim[1];
    sizes(&s);
    build(&s, l, g);
    kernel_finish(s.k);
    PlannedCall *c = lower_call(l, s.k, false);
    bool by_image = !s.blocked && !is_gradient(&s);
    c->tasks = by_image ? 1 : s.units;
    c->unit = 1;
    c->group = g;
    c->flops = (double)(product(s.out, s.dims) * product(s.win->kernel, s.dims) * (s.blocked ? s.width : by_image ? s.units : 1));
    for (int i = 0; i < a->arity; i++)
        call_arg_value(c, a->in[i]);
    if (is_gradient(&s)) {
        call_arg_value(c, a);
        c->tap = a;
        c->out = c->arg_count - 1;
        return;
    }
    body_args(s.body, c);
    if (g->output_count) {
        c->tap = g->outputs[g->output_count - 1];
        c->out = c->arg_count - g->sum_count - 1;
    }
    body_sums(s.body);
}

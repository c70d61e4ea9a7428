/* pack_winograd.c - weights transformed for Winograd's algorithm, U = G g G^T, in the order in which they are read
 * (conv_winograd.h): one task per panel and input block. In entry infer those of parameters are made once, by prepare. */
#include "kernel/conv_winograd.h"

typedef struct {
    Kernel *k;
    const WinogradPlan *p;
    int from, to;
} Pack;

enum { TAPS = WINOGRAD_TAPS * WINOGRAD_TAPS };

/* With groups: moves *at, where the weights of output channel `out` and input channel `in` would lie without, and returns
 * `lanes` where both are of one group, none else. Weights count one of the two within the group, `step` back for each before. */
static Index own_group(Pack *s, Index out, Index in, Index lanes, int64_t step, Index *at) {
    const PanelInputs *g = &s->p->inputs;
    Index group = index_var(kb_index(s->k, "group", INDEX_DIV, out, index_const(g->group_out)));
    Index within = index_add(in, index_scale(group, -g->group_in)), behind = index_plus(index_scale(within, -1), g->group_in);
    *at = index_add(*at, index_scale(group, step * (s->p->backward ? g->group_out : g->group_in)));
    Index room = index_var(kb_index(s->k, "own", INDEX_MIN, index_plus(within, 1), behind));
    return index_var(kb_index(s->k, "lanes", INDEX_MIN, lanes, index_scale(room, s->p->width)));
}

/* The 3x3 weights of W output channels from block `out` on and one input channel, lanes beyond either channel zero: rows of
 * the weights, one per output channel, transposed. */
static void load_weights(Pack *s, Index out, Index in, Reg g[WINOGRAD_TAPS][WINOGRAD_TAPS]) {
    const WinogradPlan *p = s->p;
    int64_t row = p->w->shape.dim[1] * TAPS;
    int64_t out_step = p->backward ? TAPS : row, in_step = p->backward ? row : TAPS;
    Index from = index_add(index_scale(out, out_step), index_scale(in, in_step));
    bool grouped = p->inputs.group_in < p->in_channels;
    for (int first = 0; first < TAPS; first += p->width) {
        int count = TAPS - first < p->width ? TAPS - first : p->width;
        Index room = index_const(count);
        if (p->in_channels % p->lanes) {
            Index left = index_scale(index_plus(index_scale(in, -1), p->in_channels), p->width);
            room = index_var(kb_index(s->k, "room", INDEX_MIN, room, left));
        }
        Reg rows[TRANSPOSE_WIDTH], columns[TRANSPOSE_WIDTH];
        for (int i = 0; i < p->width; i++) {
            Index lanes = room;
            if (p->out_channels % p->width) {
                Index left = index_scale(index_plus(index_scale(out, -1), p->out_channels - i), p->width);
                lanes = index_var(kb_index(s->k, "lanes", INDEX_MIN, room, left));
            }
            bool is_none = i >= p->out_channels;
            Index at = index_plus(from, i * out_step + first);
            if (grouped)
                lanes = own_group(s, index_plus(out, i), in, lanes, p->backward ? -out_step : -in_step, &at);
            rows[i] = is_none ? kb_const(s->k, 0, true) : kb_load_lanes(s->k, ACCESS_MASKED, s->from, at, lanes, 1);
        }
        transpose(s->k, rows, count, columns);
        for (int i = 0; i < count; i++) {
            int tap = p->backward ? TAPS - 1 - first - i : first + i;
            g[tap / WINOGRAD_TAPS][tap % WINOGRAD_TAPS] = columns[i];
        }
    }
}

static void transform(Pack *s, Reg g[WINOGRAD_TAPS][WINOGRAD_TAPS], Index to, int64_t step) {
    const Winograd *f = &s->p->f;
    Reg column[WINOGRAD_SIZE][WINOGRAD_TAPS], out[WINOGRAD_SIZE];
    for (int j = 0; j < WINOGRAD_TAPS; j++) {
        Reg in[WINOGRAD_TAPS] = { g[0][j], g[1][j], g[2][j] };
        winograd_apply(s->k, &f->weights, in, out);
        for (int i = 0; i < f->distinct; i++)
            column[i][j] = out[i];
    }
    for (int i = 0; i < f->distinct; i++) {
        winograd_apply(s->k, &f->weights, column[i], out);
        for (int j = 0; j < f->distinct; j++)
            kb_store(s->k, ACCESS_VECTOR, s->to, index_plus(to, (i * f->distinct + j) * step), out[j]);
    }
}

/* As much of the next input block as one input channel and W output channels take: what lies side by side in the weights. */
static void prefetch_next(Pack *s, Index out, Index block, Index lane) {
    const WinogradPlan *p = s->p;
    int64_t row = p->w->shape.dim[1] * TAPS;
    Index next = index_plus(index_scale(block, p->lanes), p->lanes);
    Index at = p->backward ? index_add(index_scale(out, TAPS), index_scale(index_add(next, lane), row))
                           : index_add(index_scale(index_add(out, lane), row), index_scale(next, TAPS));
    pack_prefetch(s->k, s->from, at, p->width * TAPS);
}

/* One input block of a panel, `step` floats from one point to the next. */
static void transform_block(Pack *s, Index panel, Index block, Index to, int64_t step) {
    const WinogradPlan *p = s->p;
    Index lane = index_const(0), slot = index_const(0);
    if (p->lanes > 1)
        lane = index_var(kb_loop(s->k, "lane", index_const(0), index_const(p->lanes), 1));
    if (p->slots > 1)
        slot = index_var(kb_loop(s->k, "slot", index_const(0), index_const(p->slots), 1));
    Index in = index_add(index_scale(block, p->lanes), lane);
    in = index_add(in, index_scale(panel_inputs(s->k, &p->inputs, panel).first, p->width));
    Index out = index_scale(index_add(index_scale(panel, p->slots), slot), p->width);
    if (p->packs && p->lanes == p->width)
        prefetch_next(s, out, block, lane);
    Reg weights[WINOGRAD_TAPS][WINOGRAD_TAPS];
    load_weights(s, out, in, weights);
    transform(s, weights, index_add(to, index_scale(index_add(index_scale(lane, p->slots), slot), p->width)), step);
    for (int i = (p->lanes > 1) + (p->slots > 1); i; i--)
        kb_end(s->k);
}

void pack_winograd_block(Kernel *k, const WinogradPlan *p, int from, int to, Index panel, Index block) {
    Pack s = { .k = k, .p = p, .from = from, .to = to };
    transform_block(&s, panel, block, index_const(0), p->lanes * p->slots * p->width);
}

PackNest pack_winograd_begin(Lower *l, const Group *g, const WinogradPlan *p) {
    PackNest n = { .k = lower_kernel(l, g, "_pack"), .p = p, .constant = pack_is_constant(p->w), .block = index_const(0) };
    int64_t count = p->panels * p->panel_floats;
    n.temp = lower_temp(l, count * store_bytes(p->storage), n.constant, "transformed weights");
    n.from = kb_arg(n.k, "w", ELEM_F32, false, shape_count(&p->w->shape), shape_text(l->arena, TYPE_F32, &p->w->shape));
    n.to = kb_arg(n.k, "packed", ELEM_F32, true, count, "[panel][point][channel][channels]");
    n.k->buffers[n.to].store = p->storage;
    n.panel = index_var(VAR_TASK);
    if (p->inputs.most > 1) {
        n.panel = index_var(kb_index(n.k, "panel", INDEX_DIV, index_var(VAR_TASK), index_const(p->inputs.most)));
        n.block = index_var(kb_index(n.k, "block", INDEX_MOD, index_var(VAR_TASK), index_const(p->inputs.most)));
    }
    return n;
}

int pack_winograd_end(Lower *l, const Group *g, const PackNest *n, double flops) {
    kernel_finish(n->k);
    PlannedCall *c = lower_call(l, n->k, n->constant);
    c->group = g;
    c->tasks = n->p->panels * n->p->inputs.most;
    c->flops = (double)n->p->panel_floats * flops / (double)n->p->inputs.most;
    call_arg_value(c, n->p->w);
    call_arg_temp(c, n->temp);
    return n->temp;
}

int pack_winograd(Lower *l, const Group *g, const WinogradPlan *p) {
    PackNest n = pack_winograd_begin(l, g, p);
    Pack s = { .k = n.k, .p = p, .from = n.from, .to = n.to };
    Index to = index_add(index_scale(n.block, p->lanes * p->slots * p->width), index_scale(n.panel, p->panel_floats));
    transform_block(&s, n.panel, n.block, to, p->inputs.most * p->lanes * p->slots * p->width);
    return pack_winograd_end(l, g, &n, 4);
}

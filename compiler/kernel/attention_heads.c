/* attention_heads.c - the loops that attention and its gradients are made of (attention.h). */
#include "kernel/attention.h"

#include <assert.h>
#include <math.h>

static Index zero(void) { return index_const(0); }

static bool is_blocked(const Node *n) { return value_info(n)->layout == LAYOUT_BLOCKED; }

static int divisor(int64_t of, int limit) {
    for (int u = limit; u > 1; u--)
        if (of % u == 0)
            return u;
    return 1;
}

static Index named(Heads *h, const char *name, Index i) {
    return index_var(kb_index(h->k, name, INDEX_AFFINE, i, zero()));
}

/* ---- tasks and chunks ---- */

static Index digit(Heads *h, const char *name, Index *rest, int64_t size) {
    if (size == 1)
        return zero();
    Index d = index_var(kb_index(h->k, name, INDEX_MOD, *rest, index_const(size)));
    *rest = index_var(kb_index(h->k, "rest", INDEX_DIV, *rest, index_const(size)));
    return d;
}

void heads_begin(Heads *h) {
    Index rest = index_var(VAR_TASK);
    h->first = digit(h, "part", &rest, h->parts);
    h->number = digit(h, "head", &rest, h->attr.heads);
    h->image = rest;
}

int heads_chunks(Heads *h) {
    Index part = h->first;
    h->first = zero();
    h->count = index_const(h->static_count);
    if (h->chunks == 1)
        return 0;
    Index end = index_const(h->chunks), begin = zero();
    if (h->parts > 1) {
        begin = index_scale(part, h->part_chunks);
        end = index_var(kb_index(h->k, "end", INDEX_MIN, index_plus(begin, h->part_chunks), end));
    }
    Index chunk = index_var(kb_loop(h->k, "chunk", begin, end, 1));
    h->first = named(h, "first", index_scale(chunk, h->lanes));
    if (!h->static_count) {
        Index left = index_plus(index_scale(h->first, -1), h->queries);
        h->count = index_var(kb_index(h->k, "count", INDEX_MIN, left, index_const(h->lanes)));
    }
    return 1;
}

/* ---- operands ---- */

/* The whole value's element (token 0, channel 0) of the task's image; steps in it. */
static Index value_base(const Heads *h, const HeadRows *r, int64_t *token_step, int64_t *block_step) {
    bool blocked = is_blocked(r->node);
    *token_step = blocked ? h->width : r->node->shape.dim[2];
    *block_step = blocked ? r->tokens * h->width : h->width;
    return index_scale(h->image, value_floats(r->node, h->width) / r->node->shape.dim[0]);
}

void heads_place(Heads *h, HeadRows *r) {
    if (r->direct) {
        r->base = value_base(h, r, &r->token_step, &r->block_step);
        r->base = index_add(r->base, index_scale(h->number, h->blocks * r->block_step));
        r->base = index_plus(r->base, is_blocked(r->node) ? r->channel / h->width * r->block_step : r->channel);
        return;
    }
    r->base = zero();
    r->token_step = h->row;
    r->block_step = h->width;
    r->buffer = kb_scratch(h->k, arena_printf(h->l->arena, "%s_rows", h->k->buffers[r->argument].name), ELEM_F32, r->tokens * h->row);
}

static Index row_at(const HeadRows *r, Index token) {
    return index_add(r->base, index_scale(token, r->token_step));
}

/* Runs of the head's channels that lie beside each other in a value, and where they are in its rows: the lanes of one
 * block, or of one vector of a plain row. */
typedef struct { Index value, row, lanes; bool guarded; } Piece;

static Piece piece_of(Heads *h, const HeadRows *r, int number) {
    int64_t token_step, block_step;
    Index base = value_base(h, r, &token_step, &block_step), channel = index_plus(index_scale(h->number, h->head), r->channel);
    if (!is_blocked(r->node)) {
        int64_t from = (int64_t)number * h->width;
        return (Piece){index_plus(index_add(base, channel), from), index_const(from), index_const(h->head - from), false};
    }
    Kernel *k = h->k;
    Index block = index_var(kb_index(k, "block", INDEX_DIV, channel, index_const(h->width)));
    block = index_plus(block, number);
    Index from = index_scale(block, h->width), end = index_plus(from, h->width);
    Index begin = index_var(kb_index(k, "begin", INDEX_MAX, channel, from));
    end = index_var(kb_index(k, "end", INDEX_MIN, end, index_plus(channel, h->head)));
    Piece p = {.guarded = number > 0};
    p.value = index_add(index_add(base, index_scale(block, block_step)), index_add(begin, index_scale(from, -1)));
    p.row = index_add(begin, index_scale(channel, -1));
    p.lanes = index_add(end, index_scale(begin, -1));
    return p;
}

static int piece_count(const Heads *h, const HeadRows *r) {
    if (!is_blocked(r->node))
        return (int)h->blocks;
    return h->width % h->head == 0 && r->channel % h->head == 0 ? 1 : (int)((h->head + h->width - 2) / h->width + 1);
}

/* Opens the loop over tokens of piece `number`; where the token's lanes are. */
static Piece open_piece(Heads *h, const HeadRows *r, int number, Index from, Index end) {
    int64_t token_step, block_step;
    Piece p = piece_of(h, r, number);
    value_base(h, r, &token_step, &block_step);
    if (p.guarded)
        kb_if(h->k, zero(), p.lanes);
    Index t = index_var(kb_loop(h->k, "token", from, end, 1));
    p.value = index_add(p.value, index_scale(t, token_step));
    p.row = index_add(p.row, index_scale(t, h->row));
    return p;
}

static void close_piece(Heads *h, const Piece *p) {
    kb_end(h->k);
    if (p->guarded)
        kb_end(h->k);
}

void heads_gather(Heads *h, const HeadRows *r) {
    if (r->direct)
        return;
    if (h->head < h->row) {                    /* lanes beyond the head's channels */
        Index t = index_var(kb_loop(h->k, "token", zero(), index_const(r->tokens), 1));
        kb_store(h->k, ACCESS_VECTOR, r->buffer, index_plus(index_scale(t, h->row), h->row - h->width), kb_const(h->k, 0, true));
        kb_end(h->k);
    }
    for (int i = 0; i < piece_count(h, r); i++) {
        Piece p = open_piece(h, r, i, zero(), index_const(r->tokens));
        Reg v = kb_load_lanes(h->k, ACCESS_MASKED, r->argument, p.value, p.lanes, 1);
        kb_store_lanes(h->k, ACCESS_MASKED, r->buffer, p.row, p.lanes, 1, v);
        close_piece(h, &p);
    }
}

/* Lanes beyond the channels of a blocked result are zero: the last head sees to it. */
static void clear_lanes(Heads *h, const HeadRows *r, Index from, Index end) {
    int64_t token_step, block_step, used = h->channels % h->width;
    if (!is_blocked(r->node) || used == 0)
        return;
    Index base = value_base(h, r, &token_step, &block_step);
    kb_if(h->k, index_const(h->attr.heads - 2), h->number);
    Index t = index_var(kb_loop(h->k, "token", from, end, 1));
    Index at = index_plus(index_add(base, index_scale(t, token_step)), h->channels / h->width * block_step + used);
    kb_store_lanes(h->k, ACCESS_MASKED, r->argument, at, index_const(h->width - used), 1, kb_const(h->k, 0, true));
    kb_end(h->k);
    kb_end(h->k);
}

void heads_scatter(Heads *h, const HeadRows *r, Index from, Index end) {
    if (r->direct)
        return;
    for (int i = 0; i < piece_count(h, r); i++) {
        Piece p = open_piece(h, r, i, from, end);
        Reg v = kb_load_lanes(h->k, ACCESS_MASKED, r->buffer, p.row, p.lanes, 1);
        kb_store_lanes(h->k, ACCESS_MASKED, r->argument, p.value, p.lanes, 1, v);
        close_piece(h, &p);
    }
    clear_lanes(h, r, from, end);
}

/* ---- [channel][lane] ---- */

static void transpose_block(Heads *h, const HeadRows *r, int to, double factor, Index token, Index block, int64_t channels) {
    Index from = named(h, "from", index_add(row_at(r, index_add(h->first, token)), index_scale(block, r->block_step)));
    Index at = named(h, "at", index_add(index_scale(block, h->width * h->lanes), token));
    for (int64_t c = 0; c < channels; c++) {
        Reg v = kb_load(h->k, ACCESS_SCALAR, r->buffer, index_plus(from, c));
        if (factor != 1)
            v = kb_op(h->k, KOP_FMUL, v, kb_const(h->k, factor, false), NO_REG);
        kb_store(h->k, ACCESS_SCALAR, to, index_plus(at, c * h->lanes), v);
    }
}

void heads_transpose(Heads *h, const HeadRows *r, int to, double factor) {
    if (h->static_count != h->lanes) {         /* lanes without a query */
        Index i = index_var(kb_loop(h->k, "i", zero(), index_const(h->head * h->lanes), h->width));
        kb_store(h->k, ACCESS_VECTOR, to, i, kb_const(h->k, 0, true));
        kb_end(h->k);
    }
    int64_t whole = h->head / h->width, rest = h->head % h->width;
    Index token = index_var(kb_loop(h->k, "token", zero(), h->count, 1));
    if (whole > 0) {
        Index block = whole > 1 ? index_var(kb_loop(h->k, "block", zero(), index_const(whole), 1)) : zero();
        transpose_block(h, r, to, factor, token, block, h->width);
        if (whole > 1)
            kb_end(h->k);
    }
    if (rest > 0)
        transpose_block(h, r, to, factor, token, index_const(whole), rest);
    kb_end(h->k);
}

Index heads_lane(const Heads *h, Index key, int vector) {
    return index_plus(index_scale(key, h->lanes), (int64_t)vector * h->width);
}

/* ---- tiles ---- */

/* acc[i * slots + v] += vector[s][v] * value[s][i]: element steps of one sum s, one vector v, one value i. */
typedef struct {
    int slots;
    int vectors; int64_t vector_sum, vector_slot;
    int values; int64_t value_sum, value_pixel;
} Tile;

static void clear_sums(Heads *h, int count) {
    assert(count <= MAX_HEAD_ACC);
    for (int i = 0; i < count; i++) {
        if (h->acc[i] == NO_REG)
            h->acc[i] = kb_reg(h->k, ELEM_F32, true);
        kb_set_const(h->k, h->acc[i], 0);
    }
}

static void add_products(Heads *h, const Tile *t, int pixels, Index vector, Index value, int count) {
    Kernel *k = h->k;
    vector = named(h, "vi", vector);
    value = named(h, "xi", value);
    for (int s = 0; s < count; s++) {
        Reg v[MAX_HEAD_VECTORS];
        for (int i = 0; i < t->slots; i++)
            v[i] = kb_load(k, ACCESS_VECTOR, t->vectors, index_plus(vector, s * t->vector_sum + i * t->vector_slot));
        for (int i = 0; i < pixels; i++) {
            Reg x = kb_load(k, ACCESS_SPLAT, t->values, index_plus(value, s * t->value_sum + i * t->value_pixel));
            for (int j = 0; j < t->slots; j++)
                kb_set(k, h->acc[i * t->slots + j], KOP_FMA, x, v[j], h->acc[i * t->slots + j]);
        }
    }
}

/* Sums s from 0 to `sums`, `unroll` of them at a time. */
static void sum_loop(Heads *h, const Tile *t, int pixels, Index vector, Index value, Index sums, int unroll) {
    int64_t count;
    if (index_is_const(&sums, &count) && count == unroll) {
        add_products(h, t, pixels, vector, value, unroll);
        return;
    }
    Index s = index_var(kb_loop(h->k, "s", zero(), sums, unroll));
    add_products(h, t, pixels, index_add(vector, index_scale(s, t->vector_sum)), index_add(value, index_scale(s, t->value_sum)), unroll);
    kb_end(h->k);
}

/* ---- sums over channels ---- */

static void lanes_tile(Heads *h, const Tile *t, const HeadRows *x, Index key, int keys) {
    int64_t whole = h->head / h->width, rest = h->head % h->width;
    clear_sums(h, keys * h->vectors);
    if (whole > 0) {
        Index block = whole > 1 ? index_var(kb_loop(h->k, "block", zero(), index_const(whole), 1)) : zero();
        Index value = index_add(row_at(x, key), index_scale(block, x->block_step));
        sum_loop(h, t, keys, index_scale(block, h->width * h->lanes), value, index_const(h->width), divisor(h->width, 4));
        if (whole > 1)
            kb_end(h->k);
    }
    if (rest > 0)
        sum_loop(h, t, keys, index_const(whole * h->width * h->lanes), index_plus(row_at(x, key), whole * x->block_step), index_const(rest),
                 divisor(rest, 4));
}

void heads_lanes(Heads *h, const HeadRows *x, int transposed, HeadsFinish *finish, void *context) {
    Tile t = {.slots = h->vectors, .vectors = transposed, .vector_sum = h->lanes, .vector_slot = h->width,
              .values = x->buffer, .value_sum = 1, .value_pixel = x->token_step};
    int64_t whole = h->keys / h->key_tile * h->key_tile;
    for (int64_t from = 0; from < h->keys; from = whole) {
        int64_t end = from < whole ? whole : h->keys;
        int size = (int)(from < whole ? h->key_tile : h->keys - from);
        Index key = index_const(from);
        bool loop = end - from > size;
        if (loop)
            key = index_var(kb_loop(h->k, "key", key, index_const(end), size));
        lanes_tile(h, &t, x, key, size);
        finish(h, context, key, size);
        if (loop)
            kb_end(h->k);
        if (end == h->keys)
            break;
    }
}

/* ---- sums over tokens ---- */

static void store_row(Heads *h, const RowProduct *p, Index row, Index block, int pixel) {
    Kernel *k = h->k;
    Reg factor = p->factor < 0 ? NO_REG : kb_load(k, ACCESS_SPLAT, p->factor, row);
    for (int v = 0; v < h->row_slots; v++) {
        Reg sum = h->acc[pixel * h->row_slots + v];
        if (p->factor >= 0)
            sum = kb_op(k, KOP_FMUL, sum, factor, NO_REG);
        Index at = index_add(row_at(p->to, index_add(p->to_first, row)), index_scale(index_plus(block, v), p->to->block_step));
        if (p->add)
            kb_add_to(k, ACCESS_VECTOR, p->to->buffer, at, zero(), sum);
        else
            kb_store(k, ACCESS_VECTOR, p->to->buffer, at, sum);
    }
}

static void rows_tile(Heads *h, const RowProduct *p, Index row, int rows) {
    Tile t = {.slots = h->row_slots, .vectors = p->x->buffer, .vector_sum = p->x->token_step, .vector_slot = p->x->block_step,
              .values = p->weights, .value_sum = p->sum_step, .value_pixel = p->row_step};
    Index block = zero();
    if (h->blocks > h->row_slots)
        block = index_var(kb_loop(h->k, "block", zero(), index_const(h->blocks), h->row_slots));
    clear_sums(h, rows * h->row_slots);
    Index vector = index_add(row_at(p->x, p->x_first), index_scale(block, p->x->block_step));
    sum_loop(h, &t, rows, vector, index_scale(row, p->row_step), p->sums, p->static_sums ? divisor(p->static_sums, 5) : 1);
    for (int i = 0; i < rows; i++)
        store_row(h, p, index_plus(row, i), block, i);
    if (h->blocks > h->row_slots)
        kb_end(h->k);
}

/* Tiles of `size` rows from `from` to `end`. */
static void rows_loop(Heads *h, const RowProduct *p, Index from, Index end, int size) {
    Index row = index_var(kb_loop(h->k, "row", from, end, size));
    rows_tile(h, p, row, size);
    kb_end(h->k);
}

void heads_rows(Heads *h, const RowProduct *p) {
    if (!p->static_rows) {                     /* all of a chunk but the last, whose rest is done row by row */
        int size = divisor(h->lanes, h->row_tile);
        Index whole = index_scale(index_var(kb_index(h->k, "whole", INDEX_DIV, p->rows, index_const(size))), size);
        rows_loop(h, p, zero(), whole, size);
        rows_loop(h, p, whole, p->rows, 1);
        return;
    }
    int64_t rows = p->static_rows, size = ceil_div(rows, ceil_div(rows, h->row_tile)), whole = rows / size * size;
    if (whole > size)
        rows_loop(h, p, zero(), index_const(whole), (int)size);
    else
        rows_tile(h, p, zero(), (int)size);
    if (whole < rows)
        rows_tile(h, p, index_const(whole), (int)(rows - whole));
}

/* ---- softmax ---- */

/* Queries in front of a key do not see it: -infinite. */
static Reg hide(Heads *h, Reg score, Index key, int vector) {
    Kernel *k = h->k;
    Index lane = index_plus(h->first, (int64_t)vector * h->width + h->keys - h->queries);
    Reg query = kb_op(k, KOP_IADD, kb_op(k, KOP_SPLAT, kb_from_index(k, lane), NO_REG, NO_REG), kb_iota(k), NO_REG);
    Reg first = kb_op(k, KOP_SPLAT, kb_from_index(k, key), NO_REG, NO_REG);
    return kb_op(k, KOP_SELECT, kb_op(k, KOP_ILT, query, first, NO_REG), kb_const(k, -INFINITY, true), score);
}

static void finish_score(Heads *h, void *context, Index key, int keys) {
    Kernel *k = h->k;
    (void)context;
    for (int v = 0; v < h->vectors; v++) {
        Index at = index_const((int64_t)v * h->width);
        Reg largest = kb_load(k, ACCESS_VECTOR, h->largest, at);
        for (int i = 0; i < keys; i++) {
            Reg score = h->acc[i * h->vectors + v];
            if (h->attr.causal)
                score = hide(h, score, index_plus(key, i), v);
            kb_store(k, ACCESS_VECTOR, h->scores, heads_lane(h, index_plus(key, i), v), score);
            largest = kb_op(k, KOP_FMAX, largest, score, NO_REG);
        }
        kb_store(k, ACCESS_VECTOR, h->largest, at, largest);
    }
}

/* e^x for x <= 0 in units of ln 2; exactly 0 for keys that are not seen. */
static Reg probability(const Heads *h, Reg x) {
    Reg e = math_exp2_nonpositive(h->k, x), none = kb_const(h->k, -INFINITY, true);
    return h->attr.causal ? kb_op(h->k, KOP_SELECT, kb_op(h->k, KOP_FEQ, x, none, NO_REG), kb_const(h->k, 0, true), e) : e;
}

/* Scores are in units of ln 2, so that probabilities are powers of two. */
void heads_softmax(Heads *h, const HeadRows *queries, const HeadRows *keys) {
    Kernel *k = h->k;
    Reg largest[MAX_HEAD_VECTORS], sum[MAX_HEAD_VECTORS];
    for (int v = 0; v < h->vectors; v++)
        kb_store(k, ACCESS_VECTOR, h->largest, index_const((int64_t)v * h->width), kb_const(k, -INFINITY, true));
    heads_transpose(h, queries, h->transposed, h->attr.scale * 1.44269504088896341);
    heads_lanes(h, keys, h->transposed, finish_score, NULL);
    for (int v = 0; v < h->vectors; v++) {
        largest[v] = kb_load(k, ACCESS_VECTOR, h->largest, index_const((int64_t)v * h->width));
        sum[v] = kb_reg(k, ELEM_F32, true);
        kb_set_const(k, sum[v], 0);
    }
    Index key = index_var(kb_loop(k, "key", zero(), index_const(h->keys), 1));
    for (int v = 0; v < h->vectors; v++) {
        Index at = heads_lane(h, key, v);
        Reg e = probability(h, kb_op(k, KOP_FSUB, kb_load(k, ACCESS_VECTOR, h->scores, at), largest[v], NO_REG));
        kb_store(k, ACCESS_VECTOR, h->scores, at, e);
        kb_set(k, sum[v], KOP_FADD, sum[v], e, NO_REG);
    }
    kb_end(k);
    for (int v = 0; v < h->vectors; v++) {
        Reg inverse = kb_op(k, KOP_FDIV, kb_const(k, 1, true), sum[v], NO_REG);
        kb_store(k, ACCESS_VECTOR, h->inverse, index_const((int64_t)v * h->width), inverse);
    }
}

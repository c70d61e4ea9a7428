/* winograd.c - the matrices of winograd.h from interpolation points, and a transform as operations on vectors.
 *
 * Points are 0, pairs +-p, and infinity. Pairs halve the work: results at p and -p are the sum and the difference of
 * an even and an odd part. 5/8 and 3/2 have the least error of all pairs with few bits: in float32, over 256 channels,
 * 1.5e-6 of the results' root mean square, where the common 1 and 2 have 3.3e-6. Every entry of A and B is exact.
 * F(4, 2) does without 0: 1/4 and 5/4 have the least error of all pairs, over 128 channels 4.2e-7, less than with 0, 1, -1 and
 * any fourth point (7e-7 with 1/2, 9e-7 with 2). F(2, 2) takes 1, -1. */
#include "kernel/winograd.h"

#include <assert.h>
#include <math.h>

/* ---- matrices ---- */

/* coef[0..count] of the product of (x - point[i]) over all i but `skip`. */
static void polynomial(const double *point, int count, int skip, double *coef) {
    int degree = 0;
    coef[0] = 1;
    for (int i = 0; i < count; i++) {
        if (i == skip)
            continue;
        coef[++degree] = 0;
        for (int d = degree; d > 0; d--)
            coef[d] = coef[d - 1] - point[i] * coef[d];
        coef[0] *= -point[i];
    }
}

static double power(double x, int n) {
    double y = 1;
    while (n--)
        y *= x;
    return y;
}

static Transform transposed(const Transform *t) {
    Transform r = { .rows = t->cols, .cols = t->rows };
    for (int i = 0; i < r.rows; i++)
        for (int j = 0; j < r.cols; j++)
            r.at[i][j] = t->at[j][i];
    return r;
}

typedef struct { Transform data, weights, gradient; } Filter;

/* F(m, taps) with these points and infinity. */
static Filter filter(int m, int taps, const double *point) {
    int n = m + taps - 1, last = n - 1;
    Filter f = { { n, n, { { 0 } } }, { n, taps, { { 0 } } }, { n, m, { { 0 } } } };
    for (int i = 0; i < last; i++) {
        double scale = 1;
        polynomial(point, last, i, f.data.at[i]);
        for (int j = 0; j < last; j++)
            scale *= j == i ? 1 : point[i] - point[j];
        for (int j = 0; j < taps; j++)
            f.weights.at[i][j] = power(point[i], j) / scale;
        for (int j = 0; j < m; j++)
            f.gradient.at[i][j] = power(point[i], j);
    }
    polynomial(point, last, -1, f.data.at[last]);
    f.weights.at[last][taps - 1] = 1;
    f.gradient.at[last][m - 1] = 1;
    return f;
}

static Filter outer_taps(int m) {
    static const double two[] = { 1, -1 }, four[] = { 0.25, -0.25, 1.25, -1.25 };
    return filter(m, WINOGRAD_TAPS - 1, m == 2 ? two : four);
}

/* Weights of F(m, 2) for the outer taps, then those of the middle one. */
static Transform phase_weights(const Filter *f) {
    Transform t = { f->weights.rows + 1, WINOGRAD_TAPS, { { 0 } } };
    for (int i = 0; i < f->weights.rows; i++)
        for (int j = 0; j < 2; j++)
            t.at[i][2 * j] = f->weights.at[i][j];
    t.at[f->weights.rows][1] = 1;
    return t;
}

/* Two phases, of which the second is plain products. */
static Winograd phases(int m, const Filter *f) {
    int n = 2 * m + 1;
    Winograd w = { .m = m, .n = n, .stride = 2, .distinct = m + 2, .weights = phase_weights(f), .gradient = { n, m, { { 0 } } } };
    for (int j = 0; j < m; j++) {
        for (int i = 0; i <= m; i++)
            w.gradient.at[i][j] = f->gradient.at[i][j];
        w.gradient.at[m + 1 + j][j] = 1;
    }
    w.back = transposed(&w.weights);
    return w;
}

static Winograd make_strided(int m) {
    Filter f = outer_taps(m);
    Winograd w = phases(m, &f);
    w.read_step = 2 * m;
    w.data = (Transform){ w.n, w.n, { { 0 } } };
    for (int i = 0; i <= m; i++)
        for (int j = 0; j <= m; j++)
            w.data.at[i][2 * j] = f.data.at[i][j];
    for (int j = 0; j < m; j++)
        w.data.at[m + 1 + j][2 * j + 1] = 1;
    w.result = transposed(&w.gradient);
    return w;
}

Winograd winograd_make(int m, int stride) {
    static const double two[] = { 0, 1, -1 }, four[] = { 0, 0.625, -0.625, 1.5, -1.5 };
    assert((m == 2 || m == 4) && (stride == 1 || stride == 2));
    if (stride == 2)
        return make_strided(m);
    Filter f = filter(m, WINOGRAD_TAPS, m == 2 ? two : four);
    int n = f.data.rows;
    return (Winograd){ .m = m, .n = n, .stride = 1, .distinct = n, .read_step = m, .data = f.data, .weights = f.weights, .result = transposed(&f.gradient),
                       .gradient = f.gradient, .back = transposed(&f.weights) };
}

Winograd winograd_make_input(int m, bool is_odd) {
    Filter f = outer_taps(m);
    Winograd w = phases(m, &f);
    w.read_step = m;
    w.data = (Transform){ w.n, m + 1, { { 0 } } };
    w.result = (Transform){ 2 * m, w.n, { { 0 } } };
    for (int i = 0; i <= m; i++)
        for (int j = 0; j <= m; j++)
            w.data.at[i][j] = f.data.at[i][j];
    for (int j = 0; j < m; j++) {
        int plain = m + 1 + j;                 /* multiplies the element that the next or the same result of F(m, 2) begins with */
        w.data.at[plain][is_odd ? j : j + 1] = 1;
        w.result.at[is_odd ? 2 * j : 2 * j + 1][plain] = 1;
        for (int i = 0; i <= m; i++)
            w.result.at[is_odd ? 2 * j + 1 : 2 * j][i] = f.gradient.at[i][j];
    }
    return w;
}

/* ---- points ---- */

WinogradSlice winograd_slices(Kernel *k, const Winograd *f) {
    bool all = f->distinct == f->n;
    Index zero = index_const(0), last = index_const(f->distinct - 1);
    Index slice = index_var(kb_loop(k, all ? "point" : "slice", zero, index_const((int64_t)f->distinct * f->distinct), 1));
    WinogradSlice s = { .slice = slice };
    if (all)
        return s;
    s.row = index_var(kb_index(k, "row", INDEX_DIV, slice, index_const(f->distinct)));
    s.col = index_var(kb_index(k, "col", INDEX_MOD, slice, index_const(f->distinct)));
    Index more[2] = { index_var(kb_index(k, "more", INDEX_DIV, s.row, last)), index_var(kb_index(k, "more", INDEX_DIV, s.col, last)) };
    s.rows = index_plus(index_scale(more[0], f->n - f->distinct), 1);
    s.cols = index_plus(index_scale(more[1], f->n - f->distinct), 1);
    return s;
}

int winograd_point_loops(const Winograd *f) { return f->distinct == f->n ? 0 : 2; }

Index winograd_points(Kernel *k, const Winograd *f, const WinogradSlice *s) {
    if (f->distinct == f->n)
        return s->slice;
    Index i = index_var(kb_loop(k, "i", index_const(0), s->rows, 1)), j = index_var(kb_loop(k, "j", index_const(0), s->cols, 1));
    return index_add(index_scale(index_add(s->row, i), f->n), index_add(s->col, j));
}

/* ---- operations ---- */

typedef struct { Kernel *k; int operations; } Emitter;   /* k NULL: they are counted alone */

static Reg emit(Emitter *e, KOp op, Reg x, Reg y, Reg z) {
    e->operations++;
    return e->k ? kb_op(e->k, op, x, y, z) : 0;
}

static Reg number(const Emitter *e, double value) { return e->k ? kb_const(e->k, value, true) : 0; }

/* y + c * x; y NO_REG: c * x. */
static Reg add_term(Emitter *e, Reg y, double c, Reg x) {
    if (y == NO_REG)
        return c == 1 ? x : c == -1 ? emit(e, KOP_FNEG, x, NO_REG, NO_REG) : emit(e, KOP_FMUL, number(e, c), x, NO_REG);
    if (c == 1 || c == -1)
        return emit(e, c > 0 ? KOP_FADD : KOP_FSUB, y, x, NO_REG);
    return emit(e, c > 0 ? KOP_FMA : KOP_FNMA, number(e, fabs(c)), x, y);
}

/* The sum of coef[i] * in[i], from a term that needs no product where there is one; NO_REG: all are zero. */
static Reg linear(Emitter *e, const double *coef, const Reg *in, int count) {
    int first = -1;
    for (int i = count - 1; i >= 0 && first < 0; i--)
        first = coef[i] == 1 ? i : -1;
    Reg y = first < 0 ? NO_REG : in[first];
    for (int i = 0; i < count; i++)
        if (coef[i] != 0 && i != first)
            y = add_term(e, y, coef[i], in[i]);
    return y;
}

/* Whether a and b have the same entries but for some signs; `same` and `other`: columns by sign. */
static bool is_pair(const double *a, const double *b, int count, unsigned *same, unsigned *other) {
    *same = *other = 0;
    for (int i = 0; i < count; i++) {
        if (fabs(a[i]) != fabs(b[i]))
            return false;
        if (a[i] != 0)
            *(a[i] == b[i] ? same : other) |= 1u << i;
    }
    return *same && *other;
}

/* Rows a and b: the common part plus and minus `scale` times the part that differs. */
static void row_pair(Emitter *e, const double *a, const Reg *in, int count, unsigned same, Reg *plus, Reg *minus) {
    double even[WINOGRAD_SIZE], odd[WINOGRAD_SIZE], scale = 0;
    for (int i = 0; i < count; i++) {
        bool is_same = same >> i & 1;
        even[i] = is_same ? a[i] : 0;
        odd[i] = is_same ? 0 : a[i];
        scale = odd[i] != 0 ? odd[i] : scale;
    }
    for (int i = 0; i < count; i++)
        odd[i] /= scale;
    Reg x = linear(e, even, in, count), y = linear(e, odd, in, count);
    *plus = add_term(e, x, scale, y);
    *minus = add_term(e, x, -scale, y);
}

/* Columns that are pairs: their inputs become sum and difference. Changes `t` and `in`. */
static void join_columns(Emitter *e, Transform *t, Reg *in) {
    Transform columns = transposed(t);
    bool done[WINOGRAD_SIZE] = { false };
    for (int i = 0; i < t->cols; i++)
        for (int j = i + 1; j < t->cols && !done[i]; j++) {
            unsigned same, other;
            if (done[j] || !is_pair(columns.at[i], columns.at[j], t->rows, &same, &other))
                continue;
            Reg x = in[i], y = in[j];
            done[i] = done[j] = true;
            in[i] = emit(e, KOP_FADD, x, y, NO_REG);
            in[j] = emit(e, KOP_FSUB, x, y, NO_REG);
            for (int r = 0; r < t->rows; r++) {
                t->at[r][i] = same >> r & 1 ? columns.at[i][r] : 0;
                t->at[r][j] = other >> r & 1 ? columns.at[i][r] : 0;
            }
        }
}

static void apply(Emitter *e, const Transform *t, const Reg *inputs, Reg *out) {
    Transform m = *t;
    Reg in[WINOGRAD_SIZE];
    bool done[WINOGRAD_SIZE] = { false };
    for (int i = 0; i < m.cols; i++)
        in[i] = inputs[i];
    if (m.rows < m.cols)
        join_columns(e, &m, in);
    for (int i = 0; i < m.rows; i++) {
        unsigned same, other;
        for (int j = i + 1; j < m.rows && !done[i]; j++)
            if (!done[j] && is_pair(m.at[i], m.at[j], m.cols, &same, &other)) {
                done[i] = done[j] = true;
                row_pair(e, m.at[i], in, m.cols, same, &out[i], &out[j]);
            }
        if (!done[i])
            out[i] = linear(e, m.at[i], in, m.cols);
    }
}

void winograd_apply(Kernel *k, const Transform *t, const Reg *in, Reg *out) {
    Emitter e = { k, 0 };
    apply(&e, t, in, out);
}

int winograd_operations(const Transform *t) {
    Emitter e = { NULL, 0 };
    Reg in[WINOGRAD_SIZE] = { 0 }, out[WINOGRAD_SIZE];
    apply(&e, t, in, out);
    return e.operations;
}

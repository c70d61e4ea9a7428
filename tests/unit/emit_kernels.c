/* emit_kernels.c - kernels of every operation, access and statement, and running one both ways. */
#include "emit_kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernel/kir_eval.h"

enum { N = 1024, OUT = 128 * N };                   /* elements of an input, of the output */
enum { ALL = 1 << 16, HALVES = 12 * ALL };          /* floats of 16 bits: every one of them; results */

/* ---- the kernels under test ---- */

typedef struct { KOp op; const char *args; } Row;    /* f float, r float that rounds to an integer, i integer, c constant shift, l number of a lane, m mask */
static const Row rows[] = {
    { KOP_MOVE, "f" }, { KOP_FADD, "ff" }, { KOP_FSUB, "ff" }, { KOP_FMUL, "ff" }, { KOP_FDIV, "ff" }, { KOP_FMA, "fff" },
    { KOP_FNMA, "fff" }, { KOP_FSQRT, "f" }, { KOP_FNEG, "f" }, { KOP_FABS, "f" }, { KOP_FMIN, "ff" }, { KOP_FMAX, "ff" },
    { KOP_FLT, "ff" }, { KOP_FLE, "ff" }, { KOP_FEQ, "ff" }, { KOP_ILT, "ii" }, { KOP_IEQ, "ii" }, { KOP_MAND, "mm" },
    { KOP_MOR, "mm" }, { KOP_MNOT, "m" }, { KOP_SELECT, "mff" }, { KOP_SELECT, "mii" }, { KOP_SELECT, "mmm" }, { KOP_ROUND, "r" },
    { KOP_I2F, "i" }, { KOP_BITS, "f" }, { KOP_FLOAT, "i" }, { KOP_IADD, "ii" }, { KOP_ISUB, "ii" }, { KOP_IMUL, "ii" },
    { KOP_IMULHI, "ii" }, { KOP_IAND, "ii" }, { KOP_IOR, "ii" }, { KOP_IXOR, "ii" }, { KOP_ISHL, "ic" }, { KOP_ISHR, "ic" },
    { KOP_ISAR, "ic" }, { KOP_SPLAT, "s" }, { KOP_HSUM, "f" }, { KOP_HMAX, "f" }, { KOP_DOT4, "iii" },
    { KOP_ZIP_LOW, "ff" }, { KOP_ZIP_HIGH, "ff" }, { KOP_TAKE, "fl" },
};

static bool of_vectors(KOp op) {
    return op == KOP_HSUM || op == KOP_HMAX || op == KOP_SPLAT || op == KOP_ZIP_LOW || op == KOP_ZIP_HIGH || op == KOP_TAKE;
}

/* Argument number `number` of a row at element i; every argument reads elsewhere in its input. */
static Reg argument(Kernel *k, char type, int number, int i, bool vector) {
    Access a = vector ? ACCESS_VECTOR : ACCESS_SCALAR;
    Index at = index_plus(index_var(i), 16 * number);
    if (type == 'm') {
        Reg x = kb_load(k, a, 0, at), y = kb_load(k, a, 0, index_plus(at, 5));
        return kb_op(k, KOP_FLT, x, y, NO_REG);
    }
    if (type == 'l')
        return kb_op(k, KOP_IAND, kb_load(k, a, 2, at), kb_int(k, k->target->width - 1, vector), NO_REG);
    if (type == 'c')
        return kb_int(k, 7, vector);
    if (type == 's')
        return kb_load(k, ACCESS_SCALAR, 0, at);
    return kb_load(k, a, type == 'f' ? 0 : type == 'r' ? 1 : 2, at);
}

static void store_result(Kernel *k, Reg r, Index at) {
    RegType t = k->regs[r];
    Access a = t.vector ? ACCESS_VECTOR : ACCESS_SCALAR;
    if (t.elem == ELEM_MASK)
        r = kb_op(k, KOP_SELECT, r, kb_int(k, 1, t.vector), kb_int(k, 0, t.vector));
    kb_store(k, a, k->regs[r].elem == ELEM_F32 ? 3 : 4, at, r);
}

/* Every operation over all elements, on scalars or on vectors. Arguments: f, r, i, then the outputs. */
Kernel *kernel_of_operations(Arena *arena, const Target *t, bool vector) {
    Kernel *k = kernel_new(arena, t, MATH_STRICT, vector ? "vectors" : "scalars", (Span){ 0 });
    kb_arg(k, "f", ELEM_F32, false, N + 64, "f32");
    kb_arg(k, "r", ELEM_F32, false, N + 64, "f32 */ not the end");
    kb_arg(k, "i", ELEM_I32, false, N + 64, "");
    kb_arg(k, "out", ELEM_F32, true, OUT, "");
    kb_arg(k, "iout", ELEM_I32, true, OUT, "");
    for (int row = 0; row < COUNT(rows); row++) {
        if (!vector && of_vectors(rows[row].op))
            continue;
        int i = kb_loop(k, "at", index_const(0), index_const(N), vector ? t->width : 1);
        Reg arg[3] = { NO_REG, NO_REG, NO_REG };
        for (int a = 0; rows[row].args[a]; a++)
            arg[a] = argument(k, rows[row].args[a], a, i, vector);
        kb_note(k, "%s */", kop_info[rows[row].op].text);
        Reg r = kb_op(k, rows[row].op, arg[0], arg[1], arg[2]);
        store_result(k, r, index_plus(index_var(i), (int64_t)row * N));
        kb_end(k);
    }
    kernel_finish(k);
    return k;
}

/* Every access. Arguments as above, then bytes. */
Kernel *kernel_of_accesses(Arena *arena, const Target *t) {
    Kernel *k = kernel_new(arena, t, MATH_FAST, "accesses", (Span){ 0 });
    int f = kb_arg(k, "for", ELEM_F32, false, N + 64, ""), r = kb_arg(k, "r", ELEM_F32, false, N + 64, "");
    int i = kb_arg(k, "v12", ELEM_I32, false, N + 64, ""), out = kb_arg(k, "out", ELEM_F32, true, OUT, "");
    int iout = kb_arg(k, "iout", ELEM_I32, true, OUT, ""), bytes = kb_arg(k, "task", ELEM_F32, false, N, "");
    int ibytes = kb_arg(k, "ibytes", ELEM_I32, true, N, "");
    k->buffers[bytes].store = k->buffers[ibytes].store = STORE_U8;
    int scratch = kb_scratch(k, "scratch", ELEM_F32, 256), second = kb_scratch(k, "_second", ELEM_I32, 64);
    (void)r;
    int lanes = kb_loop(k, "lanes", index_const(-1), index_const(t->width + 2), 1);
    int at = kb_index(k, "at", INDEX_AFFINE, index_plus(index_scale(index_var(lanes), 32), 64), index_const(0));
    Index here = index_var(at), some = index_var(lanes);
    Reg x = kb_load_lanes(k, ACCESS_MASKED, f, here, some, 0);
    kb_store(k, ACCESS_VECTOR, out, here, x);
    kb_store_lanes(k, ACCESS_MASKED, out, index_plus(here, 4096), some, 0, x);
    kb_store_lanes(k, ACCESS_STRIDED, out, index_plus(here, 8192), some, 3, x);
    kb_store_lanes(k, ACCESS_STRIDED, out, index_plus(here, 16384), some, -2, x);
    Reg y = kb_load_lanes(k, ACCESS_STRIDED, f, index_const(600), some, -7);
    kb_store(k, ACCESS_VECTOR, out, index_plus(here, 24576), y);
    kb_add_to(k, ACCESS_MASKED, out, index_plus(here, 24576), some, y);
    kb_add_to(k, ACCESS_VECTOR, out, here, index_const(0), y);
    Reg w = kb_load_lanes(k, ACCESS_MASKED, i, here, some, 0), z = kb_load_lanes(k, ACCESS_STRIDED, i, here, some, 5);
    kb_store_lanes(k, ACCESS_MASKED, iout, here, some, 0, kb_op(k, KOP_IADD, w, z, NO_REG));
    kb_store_lanes(k, ACCESS_STRIDED, iout, index_plus(here, 8192), some, 2, w);
    kb_store(k, ACCESS_VECTOR, out, index_plus(here, 32768), kb_load(k, ACCESS_VECTOR, bytes, index_plus(here, 3)));
    kb_store(k, ACCESS_VECTOR, out, index_plus(here, 36864), kb_load_lanes(k, ACCESS_MASKED, bytes, index_const(9), some, 0));
    kb_store_lanes(k, ACCESS_STRIDED, ibytes, index_scale(index_plus(index_var(lanes), 1), 40), some, 2, kb_iota(k));
    kb_store(k, ACCESS_VECTOR, scratch, index_const(0), kb_load(k, ACCESS_SPLAT, f, here));
    kb_opaque(k, scratch);
    kb_prefetch(k, f, here, 2);
    kb_store(k, ACCESS_VECTOR, out, index_plus(here, 40960), kb_load(k, ACCESS_VECTOR, scratch, index_const(0)));
    kb_store(k, ACCESS_SCALAR, second, index_const(3), kb_from_index(k, some));
    kb_store(k, ACCESS_SCALAR, iout, index_plus(here, 20), kb_load(k, ACCESS_SCALAR, second, index_const(3)));
    kb_load(k, ACCESS_VECTOR, f, here);                            /* read by nobody */
    kb_end(k);
    kernel_finish(k);
    return k;
}

/* Loops, indices, registers that live across blocks, run-time scalars. */
Kernel *kernel_of_statements(Arena *arena, const Target *t) {
    Kernel *k = kernel_new(arena, t, MATH_FAST, "control", (Span){ 0 });
    int f = kb_arg(k, "f", ELEM_F32, false, N + 64, "");
    kb_arg(k, "r", ELEM_F32, false, N + 64, "");
    int i = kb_arg(k, "i", ELEM_I32, false, N + 64, "");
    int out = kb_arg(k, "n", ELEM_F32, true, OUT, ""), iout = kb_arg(k, "iout", ELEM_I32, true, OUT, "");
    Reg sum = kb_const(k, 0, true), inside = kb_reg(k, ELEM_F32, true), one = kb_const(k, 0.1, true), seven = kb_int(k, INT32_MIN, false);
    int a = kb_loop(k, "a", index_const(0), index_const(8), 1);
    int b = kb_loop(k, "a", index_const(1), index_var(VAR_N), 2);
    kb_set(k, sum, KOP_FMA, kb_load(k, ACCESS_VECTOR, f, index_add(index_scale(index_var(a), 3), index_var(b))), one, sum);
    kb_end(k);
    kb_if(k, index_const(2), index_var(a));
    kb_store(k, ACCESS_VECTOR, out, index_scale(index_var(a), 16), sum);
    kb_end(k);
    kb_set(k, inside, KOP_MOVE, sum, NO_REG, NO_REG);
    kb_end(k);
    kb_store(k, ACCESS_VECTOR, out, index_const(256), inside);
    int task = kb_index(k, "div", INDEX_DIV, index_plus(index_var(VAR_TASK), -3), index_const(4));
    int mod = kb_index(k, "mod", INDEX_MOD, index_plus(index_var(VAR_TASK), 6), index_const(4));
    int low = kb_index(k, "low", INDEX_MIN, index_var(task), index_const(0)), high = kb_index(k, "high", INDEX_MAX, index_var(mod), index_var(VAR_N));
    int loaded = kb_index_load(k, "loaded", i, index_const(8));
    kb_index(k, "unused", INDEX_AFFINE, index_var(loaded), index_const(0));
    const int vars[] = { task, mod, low, high, loaded };
    for (int v = 0; v < COUNT(vars); v++)
        kb_store(k, ACCESS_SCALAR, iout, index_const(v), kb_from_index(k, index_plus(index_scale(index_var(vars[v]), -3), 1)));
    kb_store(k, ACCESS_SCALAR, iout, index_const(10), seven);
    for (int s = 0; s < RUN_SCALARS; s++)
        kb_store(k, ACCESS_SCALAR, s >= RUN_STEP_COUNT ? iout : out, index_const(512 + s), kb_run(k, (RunScalar)s));
    static const double numbers[] = { 0, -0.0, 1, 0.1, 1e-30, 1e-40, 1e9, 123456792, 3e38, 1e10, -2.5, INFINITY, -INFINITY, NAN, 0.0001 };
    for (int c = 0; c < COUNT(numbers); c++)
        kb_store(k, ACCESS_SCALAR, out, index_const(600 + c), kb_const(k, numbers[c], false));
    kernel_finish(k);
    return k;
}

/* Every float of 16 bits widened; narrowed: floats of any bits, and those at and beside the middle between two neighbours.
 * Arguments as above, then all of them twice, and the narrowed ones twice. */
Kernel *kernel_of_halves(Arena *arena, const Target *t) {
    static const Store stores[] = { STORE_F16, STORE_BF16 };
    Kernel *k = kernel_new(arena, t, MATH_STRICT, "halves", (Span){ 0 });
    kb_arg(k, "f", ELEM_F32, false, N + 64, "");
    kb_arg(k, "r", ELEM_F32, false, N + 64, "");
    kb_arg(k, "i", ELEM_F32, false, N + 64, "");
    int out = kb_arg(k, "out", ELEM_F32, true, OUT, ""), in[2], to[2];
    kb_arg(k, "iout", ELEM_I32, true, OUT, "");
    kb_arg(k, "bytes", ELEM_I32, false, N / 4, "");
    kb_arg(k, "ibytes", ELEM_I32, true, N / 4, "");
    for (int s = 0; s < 2; s++)
        k->buffers[in[s] = kb_arg(k, store_text[stores[s]], ELEM_F32, false, ALL, "")].store = stores[s];
    for (int s = 0; s < 2; s++)
        k->buffers[to[s] = kb_arg(k, s ? "to_bf16" : "to_f16", ELEM_F32, true, HALVES, "")].store = stores[s];
    for (int s = 0; s < 2; s++) {
        Index at = index_var(kb_loop(k, "at", index_const(0), index_const(ALL), t->width));
        Reg x = kb_load(k, ACCESS_VECTOR, in[s], at), u = kb_op(k, KOP_BITS, x, NO_REG, NO_REG);
        kb_store(k, ACCESS_VECTOR, out, index_plus(at, s * ALL), x);
        for (int near = 0; near < 4; near++) {                     /* the number itself, below, at and above the middle */
            Reg by = kb_int(k, near ? (s ? 0x8000 : 0x1000) + near - 2 : 0, true);
            Reg y = kb_op(k, KOP_FLOAT, kb_op(k, KOP_IADD, u, by, NO_REG), NO_REG, NO_REG);
            kb_store(k, ACCESS_VECTOR, to[s], index_plus(at, near * ALL), y);
        }
        kb_end(k);
        at = index_var(kb_loop(k, "at", index_const(0), index_const(ALL), 61));
        x = kb_load(k, ACCESS_SCALAR, in[s], at);
        u = kb_op(k, KOP_BITS, x, NO_REG, NO_REG);
        kb_store(k, ACCESS_SCALAR, to[s], index_plus(at, 4 * ALL), x);
        kb_store(k, ACCESS_SCALAR, 4, at, u);
        for (int near = 0; near < 3; near++) {
            Reg y = kb_op(k, KOP_IADD, u, kb_int(k, (s ? 0x7fff : 0xfff) + near, false), NO_REG);
            kb_store(k, ACCESS_SCALAR, to[s], index_plus(at, (5 + near) * ALL), kb_op(k, KOP_FLOAT, y, NO_REG, NO_REG));
        }
        kb_end(k);
        at = index_var(kb_loop(k, "at", index_const(0), index_const(N), t->width));
        for (int from = 0; from < 3; from++)
            kb_store(k, ACCESS_VECTOR, to[s], index_plus(at, 8 * ALL + from * N), kb_load(k, ACCESS_VECTOR, from, at));
        kb_end(k);
        Index some = index_var(kb_loop(k, "lanes", index_const(-1), index_const(t->width + 2), 1));
        at = index_plus(index_scale(some, 64), 9 * ALL + 1024);
        x = kb_load_lanes(k, ACCESS_MASKED, in[s], index_plus(index_scale(some, 3001), 4000), some, 0);
        kb_store(k, ACCESS_VECTOR, to[s], at, x);
        kb_store_lanes(k, ACCESS_MASKED, to[s], index_plus(at, 4096), some, 0, x);
        kb_store_lanes(k, ACCESS_STRIDED, to[s], index_plus(at, 8192), some, 3, x);
        x = kb_load_lanes(k, ACCESS_STRIDED, in[s], index_const(50000), some, -1009);
        kb_store(k, ACCESS_VECTOR, to[s], index_plus(at, 20480), x);
        kb_store(k, ACCESS_VECTOR, to[s], index_plus(at, 24576), kb_load(k, ACCESS_SPLAT, in[s], index_plus(index_scale(some, 2003), 9000)));
        kb_end(k);
    }
    kernel_finish(k);
    return k;
}

Kernel *kernel_of_half_arithmetic(Arena *arena, const Target *t) {
    Kernel *k = kernel_new(arena, t, MATH_STRICT, "half_arithmetic", (Span){ 0 });
    kb_arg(k, "f", ELEM_F32, false, N + 64, "");
    kb_arg(k, "r", ELEM_F32, false, N + 64, "");
    kb_arg(k, "i", ELEM_F32, false, N + 64, "");
    int out = kb_arg(k, "out", ELEM_F32, true, OUT, "");
    kb_arg(k, "iout", ELEM_I32, true, OUT, "");
    kb_arg(k, "bytes", ELEM_I32, false, N / 4, "");
    kb_arg(k, "ibytes", ELEM_I32, true, N / 4, "");
    int in = kb_arg(k, "halves", ELEM_F16, false, ALL, "");
    k->buffers[in].store = STORE_F16;
    Reg sum = kb_reg(k, ELEM_F16, true);
    kb_set_const(k, sum, 0);
    Index at = index_var(kb_loop(k, "at", index_const(0), index_const(ALL / 2), 2 * t->width));
    Reg x = kb_load(k, ACCESS_VECTOR, in, at), y = kb_load(k, ACCESS_SPLAT, in, index_plus(index_scale(at, -1), ALL - 1));
    kb_set(k, sum, KOP_HFMA, x, y, sum);
    kb_store(k, ACCESS_VECTOR, out, at, kb_op(k, KOP_HLOW, sum, NO_REG, NO_REG));
    kb_store(k, ACCESS_VECTOR, out, index_plus(at, t->width), kb_op(k, KOP_HHIGH, sum, NO_REG, NO_REG));
    kb_set(k, sum, KOP_MOVE, x, NO_REG, NO_REG);
    kb_end(k);
    kernel_finish(k);
    return k;
}

/* ---- running both ways ---- */

typedef struct { float f[N + 64], r[N + 64]; int32_t i[N + 64]; float out[OUT]; int32_t iout[OUT]; uint8_t bytes[N], ibytes[N]; float scratch[1024]; uint16_t all[ALL], halves[2][HALVES]; } Data;

static uint32_t random_bits(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state ^ *state >> 15;
}

static Data *data_new(Arena *arena) {
    static const float special[] = { 0, -0.0f, 1, -1, 1e30f, -1e30f, 1e-40f, -1e-42f, INFINITY, -INFINITY, NAN, 0x1p-126f, 3.4e38f, 0.5f, -0.5f, 1.5f };
    Data *d = NEW(arena, Data);
    uint32_t state = 1;
    for (int i = 0; i < N + 64; i++) {
        d->i[i] = (int32_t)random_bits(&state);
        d->f[i] = random_bits(&state) % 4 ? ldexpf((float)(int32_t)random_bits(&state), -(int)(random_bits(&state) % 40)) : special[random_bits(&state) % 16];
        d->r[i] = random_bits(&state) % 2 ? (float)(int32_t)(random_bits(&state) % 64) * 0.5f - 9 : ldexpf((float)(int32_t)random_bits(&state), -2);
    }
    for (int i = 0; i < N; i++)
        d->bytes[i] = (uint8_t)random_bits(&state);
    for (int i = 0; i < ALL; i++)
        d->all[i] = (uint16_t)i;
    d->i[8] = 100;
    return d;
}

/* Equal bits; where arithmetic gives a NaN, any NaN. */
static bool same_bits(const void *a, const void *b, int count, bool floats) {
    const uint32_t *x = a, *y = b;
    for (int i = 0; i < count; i++) {
        bool nan_x = (x[i] & 0x7fffffffu) > 0x7f800000u, nan_y = (y[i] & 0x7fffffffu) > 0x7f800000u;
        if (x[i] != y[i] && !(floats && nan_x && nan_y)) {
            fprintf(stderr, "element %d (row %d, %d): %08x, not %08x\n", i, i / N, i % N, x[i], y[i]);
            return false;
        }
    }
    return true;
}

static bool evaluate(const Kernel *k, Data *d, int64_t n, int64_t task, Writer *why) {
    EvalBuffer args[] = { { d->f, N + 64 }, { d->r, N + 64 }, { d->i, N + 64 }, { d->out, OUT }, { d->iout, OUT }, { d->bytes, N }, { d->ibytes, N },
                          { d->all, ALL }, { d->all, ALL }, { d->halves[0], HALVES }, { d->halves[1], HALVES } };
    EvalRun run = { .n = n, .step = 12, .lr = 0.25f, .smoothing = 0.1f, .step_count = 12, .seed = { 0xdeadbeefu, 7 } };
    return kernel_eval(k, args, &run, task, why);
}

static void run_compiled(SalunKernel *kernel, Data *d, int64_t n, int64_t task) {
    void *args[] = { d->f, d->r, d->i, d->out, d->iout, d->bytes, d->ibytes, d->all, d->all, d->halves[0], d->halves[1] };
    SalunRun run = { .n = n, .batch = (float)n, .step = 12, .lr = 0.25f, .smoothing = 0.1f, .step_count = 12, .seed = { 0xdeadbeefu, 7 }, .scratch = d->scratch };
    kernel(args, &run, task);
}

const char *kernel_compare(Arena *arena, const Kernel *k, SalunKernel *compiled) {
    Data *expected = data_new(arena), *got = data_new(arena);
    Writer *why = writer_new(arena);
    for (int64_t task = 0; task < 3; task++) {
        if (!evaluate(k, expected, 4 + task, task, why))
            return why->data;
        run_compiled(compiled, got, 4 + task, task);
    }
    bool same = same_bits(got->out, expected->out, OUT, true) && same_bits(got->iout, expected->iout, OUT, false);
    for (int s = 0; s < 2 && same; s++)
        for (int i = 0; i < HALVES && same; i++) {
            unsigned x = got->halves[s][i], y = expected->halves[s][i], infinite = s ? 0x7f80 : 0x7c00, quiet = s ? 0x40 : 0x200;
            same = x == y || ((x & 0x7fff) > infinite && (x | quiet) == y);    /* widened and narrowed at once: as it was */
            if (!same)
                fprintf(stderr, "%s %d: %04x, not %04x\n", s ? "bf16" : "f16", i, x, y);
        }
    return same && !memcmp(got->ibytes, expected->ibytes, N) ? NULL : arena_printf(arena, "%s: not the evaluator's bits", k->name);
}

bool target_runs_here(const Target *t) {
    const Target *native = target_find("native");
    return (t->cpu & ~native->cpu) == 0;
}

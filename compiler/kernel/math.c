/* math.c - exp, log, tanh, sigmoid, erf, sin, cos, softplus and pow as kernel operations.
 *
 * Range reduction and a polynomial, all in operations that every back end rounds alike. The coefficients
 * are weighted minimax fits (iteratively reweighted least squares at Chebyshev nodes, 60 digits) over the
 * reduced ranges named at each table, rounded to float. tests/unit/test_math.c holds the errors to
 * the bounds of lower.h. */
#include "kernel/lower.h"

#include <assert.h>
#include <math.h>

/* ---- short hands ---- */

typedef struct { Kernel *k; bool vector; } M;

static Reg num(M m, double v) { return kb_const(m.k, v, m.vector); }
static Reg bits(M m, uint32_t v) { return kb_int(m.k, (int32_t)v, m.vector); }
static Reg un(M m, KOp op, Reg x) { return kb_op(m.k, op, x, NO_REG, NO_REG); }
static Reg bin(M m, KOp op, Reg x, Reg y) { return kb_op(m.k, op, x, y, NO_REG); }
static Reg add(M m, Reg x, Reg y) { return bin(m, KOP_FADD, x, y); }
static Reg sub(M m, Reg x, Reg y) { return bin(m, KOP_FSUB, x, y); }
static Reg mul(M m, Reg x, Reg y) { return bin(m, KOP_FMUL, x, y); }
static Reg quot(M m, Reg x, Reg y) { return bin(m, KOP_FDIV, x, y); }
static Reg fma3(M m, Reg x, Reg y, Reg z) { return kb_op(m.k, KOP_FMA, x, y, z); }
static Reg fnma3(M m, Reg x, Reg y, Reg z) { return kb_op(m.k, KOP_FNMA, x, y, z); }
static Reg pick(M m, Reg mask, Reg x, Reg y) { return kb_op(m.k, KOP_SELECT, mask, x, y); }
static Reg less(M m, Reg x, Reg y) { return bin(m, KOP_FLT, x, y); }

/* c[0] + x (c[1] + x (c[2] + ..)) */
static Reg horner(M m, Reg x, const float *c, int count) {
    Reg r = num(m, c[count - 1]);
    for (int i = count - 2; i >= 0; i--)
        r = fma3(m, r, x, num(m, c[i]));
    return r;
}

/* x's sign on the magnitude of y >= 0 */
static Reg with_sign(M m, Reg y, Reg x) {
    Reg sign = bin(m, KOP_IAND, un(m, KOP_BITS, x), bits(m, 0x80000000u));
    return un(m, KOP_FLOAT, bin(m, KOP_IOR, un(m, KOP_BITS, y), sign));
}

/* 2^n for an integer n in [-126, 127] */
static Reg power_of_two(M m, Reg n) {
    Reg biased = bin(m, KOP_IADD, n, bits(m, 127));
    return un(m, KOP_FLOAT, bin(m, KOP_ISHL, biased, bits(m, 23)));
}

/* ---- exp ---- */

/* (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2 */
static const float exp_poly[] = {5.000000000e-01f, 1.666666716e-01f, 4.166645557e-02f, 8.333284408e-03f, 1.393454382e-03f, 1.990889868e-04f};

/* x = n ln 2 + r, e^r by the polynomial, then times 2^n in two steps so that results below the normal range
 * round once more only. Outside [-104, 89] the result is 0 or infinite. NaN stays. */
static Reg emit_exp(M m, Reg input) {
    Reg x = pick(m, less(m, input, num(m, -104)), num(m, -104), input);
    x = pick(m, less(m, num(m, 89), x), num(m, 89), x);
    Reg n = un(m, KOP_ROUND, mul(m, x, num(m, 1.44269504088896341)));
    Reg nf = un(m, KOP_I2F, n);
    Reg r = fnma3(m, nf, num(m, 0x1.62e4p-1), x);            /* ln 2 in two parts; the first product is exact */
    r = fnma3(m, nf, num(m, 0x1.7f7d1cp-20), r);
    Reg p = horner(m, r, exp_poly, COUNT(exp_poly));
    Reg e = add(m, num(m, 1), fma3(m, mul(m, r, r), p, r));
    Reg half = bin(m, KOP_ISAR, n, bits(m, 1));
    Reg scaled = mul(m, e, power_of_two(m, half));
    Reg result = mul(m, scaled, power_of_two(m, bin(m, KOP_ISUB, n, half)));
    return pick(m, bin(m, KOP_FEQ, input, input), result, input);
}

/* (2^r - 1) / r for |r| <= 1/2 */
static const float exp2_poly[] = {6.931471825e-01f, 2.402264774e-01f, 5.550332367e-02f, 9.618437849e-03f, 1.339887502e-03f, 1.535335759e-04f};

/* x = n + r is exact. n is added to the exponent, which stays above that of 2^-127. NaN stays: fmax gives its second argument then. */
Reg math_exp2_nonpositive(Kernel *k, Reg input) {
    M m = {k, k->regs[input].vector};
    Reg x = bin(m, KOP_FMAX, num(m, -125), input);
    Reg n = un(m, KOP_ROUND, x), r = sub(m, x, un(m, KOP_I2F, n));
    Reg e = fma3(m, r, horner(m, r, exp2_poly, COUNT(exp2_poly)), num(m, 1));
    return un(m, KOP_FLOAT, bin(m, KOP_IADD, un(m, KOP_BITS, e), bin(m, KOP_ISHL, n, bits(m, 23))));
}

/* ---- log ---- */

/* (log(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2) */
static const float log_poly[] = {3.333331347e-01f, -2.500000894e-01f, 2.000211924e-01f, -1.666799486e-01f, 1.421954334e-01f,
                                 -1.240559742e-01f, 1.188823208e-01f, -1.167562306e-01f, 6.746454537e-02f};

/* x = 2^n (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for 0 < x < infinity; then log x = n ln 2 + log(1 + f). */
static Reg log_positive(M m, Reg x) {
    Reg tiny = less(m, x, num(m, 0x1p-126));
    Reg scaled = un(m, KOP_BITS, pick(m, tiny, mul(m, x, num(m, 0x1p24)), x));
    Reg n = bin(m, KOP_ISAR, bin(m, KOP_ISUB, scaled, bits(m, 0x3f3504f3u)), bits(m, 23));   /* bits of sqrt(1/2) */
    Reg mantissa = un(m, KOP_FLOAT, bin(m, KOP_ISUB, scaled, bin(m, KOP_ISHL, n, bits(m, 23))));
    Reg exponent = sub(m, un(m, KOP_I2F, n), pick(m, tiny, num(m, 24), num(m, 0)));
    Reg f = sub(m, mantissa, num(m, 1)), f2 = mul(m, f, f);
    Reg p = mul(m, mul(m, f2, f), horner(m, f, log_poly, COUNT(log_poly)));
    p = fma3(m, exponent, num(m, 0x1.7f7d1cp-20), p);
    p = fnma3(m, num(m, 0.5), f2, p);
    return fma3(m, exponent, num(m, 0x1.62e4p-1), add(m, f, p));
}

/* log 0 = -inf, log of what is negative is NaN, log inf = inf. */
static Reg emit_log(M m, Reg x) {
    Reg result = log_positive(m, x);
    result = pick(m, less(m, x, num(m, INFINITY)), result, x);               /* inf and NaN stay */
    result = pick(m, less(m, x, num(m, 0)), num(m, NAN), result);
    return pick(m, bin(m, KOP_FEQ, x, num(m, 0)), num(m, -INFINITY), result);
}

/* ---- tanh, sigmoid, softplus ---- */

/* (tanh x / x - 1) / x^2 in x^2 for x^2 <= 0.4 */
static const float tanh_poly[] = {-3.333333433e-01f, 1.333330125e-01f, -5.395878479e-02f, 2.176475339e-02f, -8.329600096e-03f,
                                  2.275902778e-03f};

static Reg emit_tanh(M m, Reg x) {
    Reg magnitude = un(m, KOP_FABS, x), x2 = mul(m, x, x);
    Reg small = fma3(m, mul(m, x2, x), horner(m, x2, tanh_poly, COUNT(tanh_poly)), x);
    Reg e = emit_exp(m, add(m, magnitude, magnitude));
    Reg large = with_sign(m, sub(m, num(m, 1), quot(m, num(m, 2), add(m, e, num(m, 1)))), x);
    return pick(m, less(m, magnitude, num(m, 0.625)), small, large);
}

static Reg emit_sigmoid(M m, Reg x) {
    Reg e = emit_exp(m, un(m, KOP_FNEG, un(m, KOP_FABS, x)));                /* in (0, 1] */
    Reg upper = quot(m, num(m, 1), add(m, num(m, 1), e));
    return pick(m, less(m, x, num(m, 0)), quot(m, e, add(m, num(m, 1), e)), upper);
}

/* log(1 + t) for 0 <= t <= 1: the logarithm of the rounded sum, plus what rounding took, relative to it. */
static Reg log1p_unit(M m, Reg t) {
    Reg sum = add(m, num(m, 1), t);
    Reg lost = sub(m, t, sub(m, sum, num(m, 1)));
    return add(m, log_positive(m, sum), quot(m, lost, sum));
}

static Reg emit_softplus(M m, Reg x) {
    Reg tail = log1p_unit(m, emit_exp(m, un(m, KOP_FNEG, un(m, KOP_FABS, x))));
    Reg positive = pick(m, less(m, x, num(m, 0)), num(m, 0), x);
    return add(m, positive, tail);
}

/* ---- erf ---- */

/* erf x / x in x^2 for |x| <= 1 */
static const float erf_poly[] = {1.128379107e+00f, -3.761262596e-01f, 1.128360033e-01f, -2.685444430e-02f, 5.189534742e-03f,
                                 -8.020836394e-04f, 7.889102562e-05f};
/* e^(x^2) (1 - erf x) in 1 / (1 + x / 2) for 1 <= x <= 4.2 */
static const float erfc_poly[] = {-8.645449998e-05f, 2.840800583e-01f, 2.640358210e-01f, 3.352949023e-01f, -8.221594244e-02f,
                                  5.415111184e-01f, -4.590252936e-01f, 1.164583191e-01f};

static Reg emit_erf(M m, Reg x) {
    Reg x2 = mul(m, x, x);
    Reg small = mul(m, x, horner(m, x2, erf_poly, COUNT(erf_poly)));
    Reg magnitude = un(m, KOP_FABS, x);
    Reg a = pick(m, less(m, num(m, 4.2), magnitude), num(m, 4.2), magnitude);
    Reg t = quot(m, num(m, 1), fma3(m, num(m, 0.5), a, num(m, 1)));
    Reg tail = mul(m, emit_exp(m, un(m, KOP_FNEG, mul(m, a, a))), horner(m, t, erfc_poly, COUNT(erfc_poly)));
    Reg large = with_sign(m, sub(m, num(m, 1), tail), x);
    return pick(m, less(m, magnitude, num(m, 1)), small, large);
}

/* ---- sin, cos ---- */

/* (sin x - x) / x^3 and (cos x - 1 + x^2 / 2) / x^4, both in x^2, for |x| <= pi / 4 */
static const float sin_poly[] = {-1.666666716e-01f, 8.333331905e-03f, -1.984004048e-04f, 2.724389105e-06f};
static const float cos_poly[] = {4.166666791e-02f, -1.388888806e-03f, 2.480056173e-05f, -2.729591131e-07f};

/* quarter: 0 for sin, 1 for cos. x = n pi / 2 + r in three parts, good to |x| of about 10^4. */
static Reg emit_sin(M m, Reg x, uint32_t quarter) {
    Reg n = un(m, KOP_ROUND, mul(m, x, num(m, 0.63661977236758134)));
    Reg nf = un(m, KOP_I2F, n);
    Reg r = fnma3(m, nf, num(m, 0x1.92p0), x);
    r = fnma3(m, nf, num(m, 0x1.fb4p-12), r);
    r = fnma3(m, nf, num(m, 0x1.4442d2p-24), r);
    Reg r2 = mul(m, r, r);
    Reg s = fma3(m, mul(m, r2, r), horner(m, r2, sin_poly, COUNT(sin_poly)), r);
    Reg c = fma3(m, mul(m, r2, r2), horner(m, r2, cos_poly, COUNT(cos_poly)), fnma3(m, num(m, 0.5), r2, num(m, 1)));
    Reg turns = bin(m, KOP_IADD, n, bits(m, quarter));
    Reg odd = bin(m, KOP_IEQ, bin(m, KOP_IAND, turns, bits(m, 1)), bits(m, 1));
    Reg flip = bin(m, KOP_ISHL, bin(m, KOP_IAND, turns, bits(m, 2)), bits(m, 30));
    return un(m, KOP_FLOAT, bin(m, KOP_IXOR, un(m, KOP_BITS, pick(m, odd, c, s)), flip));
}

/* ---- pow ---- */

/* e^(y log |x|); for x < 0 a number where y is an integer, with its sign, else NaN. 0^y: 0, 1 or infinite. */
static Reg emit_pow(M m, Reg x, Reg y) {
    Reg magnitude = un(m, KOP_FABS, x);
    Reg power = emit_exp(m, mul(m, y, emit_log(m, magnitude)));
    Reg whole = un(m, KOP_ROUND, y);
    Reg is_whole = bin(m, KOP_FEQ, un(m, KOP_I2F, whole), y);
    Reg sign = bin(m, KOP_ISHL, bin(m, KOP_IAND, whole, bits(m, 1)), bits(m, 31));
    Reg signed_power = un(m, KOP_FLOAT, bin(m, KOP_IXOR, un(m, KOP_BITS, power), sign));
    Reg negative = pick(m, is_whole, signed_power, num(m, NAN));
    Reg result = pick(m, less(m, x, num(m, 0)), negative, power);
    return pick(m, bin(m, KOP_FEQ, y, num(m, 0)), num(m, 1), result);
}

Reg math_op(Kernel *k, ExprOp op, Reg x, Reg y) {
    M m = {k, k->regs[x].vector};
    switch (op) {
    case EXPR_EXP: return emit_exp(m, x);
    case EXPR_LOG: return emit_log(m, x);
    case EXPR_TANH: return emit_tanh(m, x);
    case EXPR_SIGMOID: return emit_sigmoid(m, x);
    case EXPR_SOFTPLUS: return emit_softplus(m, x);
    case EXPR_ERF: return emit_erf(m, x);
    case EXPR_SIN: return emit_sin(m, x, 0);
    case EXPR_COS: return emit_sin(m, x, 1);
    case EXPR_POW: return emit_pow(m, x, y);
    default: break;
    }
    assert(!"no expansion of this operator");
    return NO_REG;
}

/* strassen.c - the additions of Strassen's algorithm in Winograd's variant, on vectors (conv_strassen.h). */
#include "kernel/conv_strassen.h"

static Reg add(Kernel *k, Reg x, Reg y) { return kb_op(k, KOP_FADD, x, y, NO_REG); }
static Reg sub(Kernel *k, Reg x, Reg y) { return kb_op(k, KOP_FSUB, x, y, NO_REG); }

void strassen_data(Kernel *k, const Reg a[STRASSEN_PARTS], Reg out[STRASSEN_POINTS]) {
    out[0] = a[0];
    out[1] = a[1];
    out[3] = a[3];
    out[4] = add(k, a[2], a[3]);
    out[5] = sub(k, out[4], a[0]);
    out[6] = sub(k, a[0], a[2]);
    out[2] = sub(k, a[1], out[5]);
}

void strassen_weights(Kernel *k, const Reg b[STRASSEN_PARTS], Reg out[STRASSEN_POINTS]) {
    out[0] = b[0];
    out[1] = b[2];
    out[2] = b[3];
    out[4] = sub(k, b[1], b[0]);
    out[5] = sub(k, b[3], out[4]);
    out[6] = sub(k, b[3], b[1]);
    out[3] = sub(k, out[5], b[2]);
}

void strassen_result(Kernel *k, const Reg p[STRASSEN_POINTS], Reg out[STRASSEN_PARTS]) {
    Reg common = add(k, p[0], p[5]), second = add(k, common, p[6]);
    out[0] = add(k, p[0], p[1]);
    out[1] = add(k, add(k, common, p[4]), p[2]);
    out[2] = sub(k, second, p[3]);
    out[3] = add(k, second, p[4]);
}

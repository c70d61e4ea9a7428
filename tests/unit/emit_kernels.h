/* emit_kernels.h - what the tests of the back ends share: kernels of every operation, access and statement, and a
 * comparison of a compiled kernel with the evaluator, bit for bit. */
#ifndef SALUN_TESTS_EMIT_KERNELS_H
#define SALUN_TESTS_EMIT_KERNELS_H

#include "kernel/kir.h"
#include "../../runtime/salun.h"

Kernel *kernel_of_operations(Arena *arena, const Target *t, bool vector);   /* every operation but the estimate */
Kernel *kernel_of_accesses(Arena *arena, const Target *t);
Kernel *kernel_of_halves(Arena *arena, const Target *t);                    /* memory of 16 bits: every value, every access */
/* Arithmetic in binary16; only for targets that have it. Reads all floats of 16 bits. */
Kernel *kernel_of_half_arithmetic(Arena *arena, const Target *t);
Kernel *kernel_of_statements(Arena *arena, const Target *t);
/* Runs three tasks both ways on the same data. NULL: the same bits everywhere (any NaN for a NaN); else what differs. */
const char *kernel_compare(Arena *arena, const Kernel *k, SalunKernel *compiled);
bool target_runs_here(const Target *t);
#endif

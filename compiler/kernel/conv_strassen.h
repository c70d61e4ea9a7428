/* conv_strassen.h - a 1x1 convolution with stride 1, or its input gradient, by Strassen's algorithm in Winograd's variant:
 * 7 products of matrices of half the size in place of 8, and 15 additions (Strassen, "Gaussian elimination is not optimal",
 * 1969; the variant: Higham, "Accuracy and Stability of Numerical Algorithms", 23.2.2).
 *
 * It runs in the nest of conv_winograd.h. A tile is two pixels beside each other in an image whose rows lie end to end; a second
 * one that does not exist is zero. These, two input blocks beside each other and the two halves of a panel's output blocks
 * are rows and columns of matrices of 2 x 2 parts: Points are the 7 products. In a plan, channels, blocks and slots are those of a
 * half. */
#ifndef SALUN_KERNEL_CONV_STRASSEN_H
#define SALUN_KERNEL_CONV_STRASSEN_H

#include "kernel/conv_winograd.h"

enum { STRASSEN_PARTS = 4, STRASSEN_POINTS = 7, STRASSEN_OPERATIONS = 4 };   /* operations: on the operand's parts */

/* Cycles of one tile and input block of a half, and of one tile and slot, the body apart: loads and stores, in the cache of
 * level 2; additions hide. */
#define STRASSEN_DATA_COST (STRASSEN_PARTS * 1.0 + STRASSEN_POINTS * 4.0)
#define STRASSEN_RESULT_COST (STRASSEN_POINTS * 2.0)

/* strassen.c: parts of a matrix, row by row, to what is multiplied; products to parts of the result. Emits the operations. */
void strassen_data(Kernel *k, const Reg a[STRASSEN_PARTS], Reg out[STRASSEN_POINTS]);      /* pixels x input channels */
void strassen_weights(Kernel *k, const Reg b[STRASSEN_PARTS], Reg out[STRASSEN_POINTS]);   /* input x output channels */
void strassen_result(Kernel *k, const Reg p[STRASSEN_POINTS], Reg out[STRASSEN_PARTS]);    /* pixels x output channels */

/* conv_strassen_plan.c */
bool strassen_applies(const Lower *l, const Group *g);
WinogradPlan strassen_plan(const Lower *l, const Group *g);
void strassen_plan_print(Writer *out, const WinogradPlan *p);
double strassen_pack_cost(const WinogradPlan *p);   /* cycles of the weights' transform */
double strassen_flops(const WinogradPlan *p);       /* of all products, as if none were saved */

/* conv_strassen.c: V of the range's tiles, input blocks [begin, end); the results of a panel, in place of the first products; the
 * body over those of one of its output blocks, number `part` of the panel and `block` of all. */
void strassen_range(WinogradNest *c, Index begin, Index end);
void strassen_results(WinogradNest *c);
void strassen_finish_slot(WinogradNest *c, Index part, Index block);
/* pack_strassen.c: appends the call that transforms p's weights; the temporary that holds U. */
int pack_strassen(Lower *l, const Group *g, const WinogradPlan *p);
#endif

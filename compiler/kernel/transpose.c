/* transpose.c - rows of a matrix in registers become its columns.
 *
 * A perfect shuffle of W registers, new[2 i] = zip_low(old[i], old[i + W/2]), new[2 i + 1] = zip_high of the same, moves the
 * top bit of a register's number to the bottom of the lanes' numbers, and their top bit to the bottom of its own. After log2 W
 * of them the two have changed places. What a column needs is computed when it is asked for, so that columns that nobody wants
 * cost little. */
#include "kernel/lower.h"

typedef struct { Kernel *k; int width; Reg at[TRANSPOSE_STAGES][TRANSPOSE_WIDTH]; } Shuffle;

/* Register i behind `stage` shuffles. */
static Reg shuffled(Shuffle *s, int stage, int i) {
    Reg *r = &s->at[stage][i];
    if (*r == NO_REG) {
        Reg low = shuffled(s, stage - 1, i / 2), high = shuffled(s, stage - 1, i / 2 + s->width / 2);
        *r = kb_op(s->k, i % 2 ? KOP_ZIP_HIGH : KOP_ZIP_LOW, low, high, NO_REG);
    }
    return *r;
}

void transpose(Kernel *k, const Reg *rows, int count, Reg *columns) {
    Shuffle s = { .k = k, .width = k->target->width };
    int stages = 0;
    while (1 << stages < s.width)
        stages++;
    for (int i = 0; i < s.width; i++) {
        s.at[0][i] = rows[i];
        for (int stage = 1; stage <= stages; stage++)
            s.at[stage][i] = NO_REG;
    }
    for (int i = 0; i < count; i++)
        columns[i] = shuffled(&s, stages, i);
}

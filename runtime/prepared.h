/* prepared.h - weight files of the other kind: what entry infer reads, as it lies in memory.
 *
 * Such a file belongs to every program that would prepare the same bytes from the same weights (SalunProgram.prepared_hash), and
 * to no other. It is mapped, so that starting reads what the first images need and processes share it. The head and the table
 * of its pieces are under a checksum; the numbers are not, no more than those of a .safetensors file. */
#ifndef SALUN_PREPARED_H
#define SALUN_PREPARED_H

#include "base.h"

/* Whether these are the first bytes of a file that salun_save_prepared wrote. */
bool salun_is_prepared(const void *data, size_t bytes);
/* Whether it is whole, and this program's. */
int salun_prepared_check(const SalunProgram *p, const void *data, size_t bytes, const char *name, SalunError *err);
/* Makes infer read from `data`, which stays where it is, aligned to SALUN_ALIGN, until salun_prepared_drop. The model is unchanged
 * on failure, and where the program is tables alone, whose compiler only asks whether the file fits. */
int salun_prepared_use(SalunModel *m, const void *data, size_t bytes, const char *name, SalunError *err);
/* infer reads the model's own tables again. */
void salun_prepared_drop(SalunModel *m);

/* Marks in read[tensor_count], which is all false, the tensors that infer reads beside PREPARED. False where an argument of infer or
 * prepare lies in no tensor: such a program keeps all its tables. */
bool salun_infer_reads(const SalunProgram *p, bool *read);
/* Runs prepare with value[i] in place of the table's tensor i where it is not NULL. */
void salun_prepare_from(SalunModel *m, const void *const *value);

#endif

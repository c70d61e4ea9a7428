/* safetensors.h - the file format of weights, gradients and checkpoints.
 *
 * A file is 8 bytes (little-endian header size H), H bytes of JSON { "name": { "dtype", "shape", "data_offsets" }, ...,
 * "__metadata__": { "key": "text" } }, then the tensors' bytes, row-major, little-endian, each byte belonging to exactly
 * one tensor. The reader checks all of that before it returns, so that what it hands out can be read without checks. */
#ifndef SALUN_SAFETENSORS_H
#define SALUN_SAFETENSORS_H

#include "base.h"

enum { SALUN_ST_RANK = 8 };
typedef enum {
    SALUN_ST_BOOL, SALUN_ST_U8, SALUN_ST_I8, SALUN_ST_F8_E5M2, SALUN_ST_F8_E4M3, SALUN_ST_U16, SALUN_ST_I16, SALUN_ST_F16,
    SALUN_ST_BF16, SALUN_ST_U32, SALUN_ST_I32, SALUN_ST_F32, SALUN_ST_U64, SALUN_ST_I64, SALUN_ST_F64, SALUN_ST_TYPES
} SalunStType;

typedef struct {
    const char *name;
    SalunStType type;
    int rank;
    int64_t dim[SALUN_ST_RANK];
    int64_t count;
    const unsigned char *data;               /* not aligned */
    size_t bytes;
} SalunStTensor;

typedef struct SalunSt SalunSt;              /* an open file */

SalunSt *salun_st_open(const char *path, SalunError *err);
/* The same for bytes in memory, which must outlive it; name is for messages. */
SalunSt *salun_st_memory(const void *data, size_t bytes, const char *name, SalunError *err);
void salun_st_close(SalunSt *st);

int salun_st_count(const SalunSt *st);
const SalunStTensor *salun_st_at(const SalunSt *st, int index);               /* in the order of their names */
const SalunStTensor *salun_st_find(const SalunSt *st, const char *name);      /* NULL: not there */
const char *salun_st_metadata(const SalunSt *st, const char *key);            /* NULL: not there */
const char *salun_st_type_name(SalunStType type);
size_t salun_st_type_size(SalunStType type);
/* Elements begin to begin + count as float32. Type F16, BF16, F32 or F64. */
void salun_st_floats(const SalunStTensor *t, int64_t begin, int64_t count, float *out);
bool salun_st_is_float(SalunStType type);

/* ---- writing ---- */

typedef struct { const char *name; SalunStType type; int rank; int64_t dim[SALUN_ST_RANK]; const void *data; } SalunStOut;

/* Atomic, as SalunSink. metadata: pairs of strings, key then text (metadata_count strings); names are UTF-8 and differ.
 * Tensors lie in the file in the order given: put wider types first to keep them aligned. */
int salun_st_save(const char *path, const SalunStOut *tensors, int count, const char *const *metadata, int metadata_count,
                  SalunError *err);

#endif

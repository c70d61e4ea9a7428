/* npy.h - numpy's .npy files: float32, uint8, int32, int64 arrays in C order; versions 1 to 3.
 * The format is described in numpy's documentation, numpy.lib.format. */
#ifndef SALUN_NPY_H
#define SALUN_NPY_H

#include "base.h"

enum { SALUN_NPY_RANK = 8 };
typedef enum { SALUN_NPY_F32, SALUN_NPY_U8, SALUN_NPY_I32, SALUN_NPY_I64 } SalunNpyType;

typedef struct {
    SalunNpyType type;
    int rank;
    int64_t dim[SALUN_NPY_RANK];
    int64_t count;
    const void *data;                        /* aligned for its type; valid until salun_npy_close */
    SalunMap map;
} SalunNpy;

/* Reads and checks: a file that is short, long, of another type or order is an error that says so. */
int salun_npy_open(SalunNpy *npy, const char *path, SalunError *err);
void salun_npy_close(SalunNpy *npy);
size_t salun_npy_size(SalunNpyType type);    /* bytes of one element */
const char *salun_npy_type_name(SalunNpyType type);

/* Begins an array; its bytes (exactly those the shape asks for) follow by salun_sink_write, then salun_sink_commit. */
int salun_npy_create(SalunSink *s, const char *path, SalunNpyType type, int rank, const int64_t *dim, SalunError *err);

#endif

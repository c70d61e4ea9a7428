/* backend.h - from module and kernels to a file that a compiler of the system reads.
 *
 * A back end prints Module and Kernels and looks at nothing else of the compiler. Back ends stand side by
 * side as structs of functions; what they share is the header of a compiled network (emit_header.c) and
 * the table of runtime functions that generated code calls (calls.def). */
#ifndef SALUN_BACKEND_BACKEND_H
#define SALUN_BACKEND_BACKEND_H

#include "kernel/module.h"

typedef struct {
    const char *header;        /* name of the header to include: the API's functions are printed; NULL: neither */
    bool api;                  /* the API's functions without a header, whose text the file repeats */
    const char *embed;         /* absolute path of a weights file to put into the object; NULL: none */
    const char *command;       /* for readers: how this file was made */
    bool main;                 /* a main function: of the training program when the module has a step, else of inference */
} EmitOptions;

typedef struct {
    const char *name;          /* "c" */
    const char *extension;     /* of its files: ".c" */
    void (*emit)(Writer *out, const Module *m, const EmitOptions *o);
} Backend;

extern const Backend backend_c;
const Backend *backend_find(const char *name);       /* NULL: there is none of that name */

/* The C API of the network: a header that is valid C99 and C++. */
void emit_header(Writer *out, const Module *m);

/* ---- what back ends share: emit_names.c ---- */

/* The network's name as the prefix of its API: lower case, "resnet50". */
const char *emit_prefix(const Module *m);
/* "w16 fma strict": what the bits of a result depend on besides program, data and seed. */
const char *emit_numeric(const Module *m);
/* Tap names in order of the program, then those of calls that are no tap of the program. */
const char *const *emit_taps(const Module *m, int *count);
int emit_tap_index(const char *const *taps, int count, const char *tap);   /* -1 for NULL */
/* The ports of infer and step, by role. */
typedef struct { const Port *inputs, *targets, *outputs; int input_count, target_count, output_count; } EmitPorts;
EmitPorts emit_ports(const Module *m);
/* Parameter names of the API's infer function, valid and distinct: inputs, then outputs. */
const char **emit_port_names(const Module *m);
int64_t emit_image_count(const Node *n);             /* elements of one image */
/* "resnet50.snet:16", "" without a place. */
const char *emit_place(Arena *a, Span at);

#endif

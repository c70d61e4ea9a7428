/* backend.h - from module and kernels to a file that a compiler of the system reads.
 *
 * A back end prints Module and Kernels and looks at nothing else of the compiler. Back ends stand side by
 * side as structs of functions; what they share is the header of a compiled network (emit_header.c) and
 * the table of runtime functions that generated code calls (calls.def). */
#ifndef SALUN_BACKEND_BACKEND_H
#define SALUN_BACKEND_BACKEND_H

#include "kernel/module.h"

typedef enum { PROFILE_NONE, PROFILE_MAP, PROFILE_DUMP } Profile;

typedef struct {
    const char *header;        /* name of the header to include: the API's functions are printed; NULL: neither */
    bool api;                  /* the API's functions without a header, whose text the file repeats */
    const char *embed;         /* absolute path of a weights file to put into the object; NULL: none */
    const char *command;       /* for readers: how this file was made */
    bool main;                 /* a main function: of the training program when the module has a step, else of inference */
    const char *triple;        /* of the machine, "aarch64-linux-gnu"; NULL: this one. LLVM only, like those that follow */
    const char *cpu;           /* processor to order instructions for, which stay those of the target; NULL: none in particular */
    int level;                 /* 0 to 3 */
    Profile profile;           /* of a program in this process: what perf is told about it */
    /* Of a program in this process: called with what the parts of its compilation took, by another thread; NULL: by none. */
    void (*report)(const char *stage, double milliseconds);
} EmitOptions;

typedef enum { FORM_IR, FORM_BITCODE, FORM_ASSEMBLY, FORM_OBJECT } MachineForm;
typedef struct Loaded Loaded;  /* a program in this process */

typedef struct {
    const char *name;          /* "c" */
    const char *extension;     /* of its files: ".c" */
    /* The text of a file; false: *error says why not, in words for the user. */
    bool (*emit)(Writer *out, const Module *m, const EmitOptions *o, const char **error);
    /* A file for machines, optimized; NULL: a compiler of the system makes objects of its text. */
    bool (*write)(Writer *out, const Module *m, const EmitOptions *o, MachineForm form, const char **error);
    /* Compiles into this process; *program is the SalunProgram, until it is unloaded. NULL after *error. Kernels may still be
     * being compiled then; who calls one before it is ready waits for it. m stays as it is until the program is unloaded. */
    Loaded *(*load)(const Module *m, const EmitOptions *o, const void **program, const char **error);
    void (*unload)(Loaded *loaded);
} Backend;

extern const Backend backend_c;
extern const Backend backend_llvm;     /* found by backend_find where the compiler was built with LLVM, and there alone defined */
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

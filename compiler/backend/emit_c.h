/* emit_c.h - what the files of the C back end share; private to it.
 *
 * Kernels are printed first, in memory, and note which functions of the prelude they use; the file then
 * holds the prelude's used part, the kernels, the tables and the API. */
#ifndef SALUN_BACKEND_EMIT_C_H
#define SALUN_BACKEND_EMIT_C_H

#include "backend/backend.h"

/* Functions of the prelude that compute. */
typedef enum {
#define INLINE(id, result, name, parameters, any, sse, fma128, neon, avx2, avx512) PRELUDE_##id,
#include "backend/emit_c_prelude.def"
    PRELUDE_COUNT
} PreludeId;

/* Functions of the prelude that read and write vectors, by form and type. */
typedef enum { MEMORY_LOAD, MEMORY_STORE, MEMORY_LOAD_FIRST, MEMORY_STORE_FIRST, MEMORY_LOAD_STEP, MEMORY_STORE_STEP,
               MEMORY_LOAD_FAR, MEMORY_STORE_FAR, MEMORY_FORMS } MemoryForm;
typedef enum { MEMORY_F32, MEMORY_I32, MEMORY_U8_F32, MEMORY_U8_I32, MEMORY_BF16, MEMORY_F16, MEMORY_TYPES } MemoryType;

typedef struct { bool blas; bool function[PRELUDE_COUNT]; bool memory[MEMORY_FORMS][MEMORY_TYPES]; } PreludeUse;

const char *prelude_function(PreludeUse *use, PreludeId id);                        /* its name; notes that it is used */
const char *prelude_memory(PreludeUse *use, MemoryForm form, MemoryType type);
void emit_c_prelude(Writer *out, const Target *t, PreludeUse *use);

/* Between these two the code may use the target's instructions. */
void emit_c_target_begin(Writer *out, const Target *t);
void emit_c_target_end(Writer *out, const Target *t);

void emit_c_kernel(Writer *out, const Kernel *k, PreludeUse *use);                  /* emit_c_kernel.c */
void emit_c_module(Writer *out, const Module *m, const EmitOptions *o);             /* emit_c_module.c: tables and descriptor */
void emit_c_api(Writer *out, const Module *m, const EmitOptions *o);                /* emit_c_api.c: functions and main */

void emit_c_string(Writer *out, const char *text);                                  /* "text", escaped; NULL: 0 */
void emit_c_comment(Writer *out, const char *text);                                 /* text that cannot end a comment */

#endif

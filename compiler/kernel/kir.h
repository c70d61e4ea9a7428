/* kir.h - the kernel form: what both back ends print.
 *
 * A Kernel computes one task of a parallel loop over its buffers. Its body is a tree of statements: loops
 * over index variables, loads, operations on registers, stores. Registers are mutable, typed, scalar or a
 * vector of the target's width; accumulators are registers that a loop sets again and again. Index
 * variables are 64-bit integers. Register tiles are unrolled before they come here.
 *
 * The text form (kernel_print) is stable and complete; kernel_verify checks types, that registers are set
 * before use on every path, that buffers are in bounds where indices are known, and that only written
 * buffers are stored to. */
#ifndef SALUN_KERNEL_KIR_H
#define SALUN_KERNEL_KIR_H

#include <stdbool.h>
#include <stdint.h>
#include "support/arena.h"
#include "support/source.h"
#include "support/writer.h"

typedef enum { MATH_FAST, MATH_STRICT } MathMode;
typedef struct {
    const char *name;          /* "portable", "fma128", "avx2", "avx512", "avx512vnni" */
    int width;                 /* W: floats of a vector, 4, 8 or 16 */
    int registers;             /* vector registers */
    bool fma;
    bool dot4;                 /* one instruction does DOT4 */
    bool half;                 /* arithmetic in binary16: HFMA and its like */
    unsigned cpu;              /* SALUN_CPU_ bits, the same numbers as in salun.h */
    int64_t l1, l2;            /* bytes of cache to plan for */
} Target;
const Target *target_find(const char *name);      /* NULL: unknown; "native": the best that this processor has */
const Target *target_list(int *count);

/* ---- indices: base + sum of coefficient * variable ---- */
enum { VAR_TASK, VAR_N, VAR_FIRST };              /* the task number and the run-time batch; then the kernel's own */
enum { MAX_TERMS = 10 };
typedef struct { int64_t base; int count; struct { int var; int64_t coef; } term[MAX_TERMS]; } Index;  /* terms sorted by var, no zero coefficient */
Index index_const(int64_t value);
Index index_var(int var);
Index index_add(Index a, Index b);
Index index_scale(Index a, int64_t factor);
Index index_plus(Index a, int64_t constant);
bool index_is_const(const Index *a, int64_t *value);

typedef enum { INDEX_AFFINE, INDEX_DIV, INDEX_MOD, INDEX_MIN, INDEX_MAX, INDEX_LOAD } IndexOp;
/* var = a | floor(a / d) | a mod d (a >= 0, d > 0) | min(a, b) | max(a, b) | integer buffer[a] */

/* ---- registers ---- */
/* F16: binary16, only as vectors of 2 W lanes; from memory that holds F16, whole vectors and splats. Never stored. */
typedef enum { ELEM_F32, ELEM_I32, ELEM_MASK, ELEM_F16 } Elem;
typedef struct { Elem elem; bool vector; } RegType;
typedef int Reg;               /* index into kernel->regs; NO_REG where there is none */
enum { NO_REG = -1 };

typedef enum {
#define KOP(id, text, n, result, meaning) KOP_##id,
#include "kernel/kir.def"
    KOP_COUNT
} KOp;
typedef struct { const char *text; int args; } KOpInfo;
extern const KOpInfo kop_info[KOP_COUNT];

/* Run-time scalars of SalunRun. BATCH, STEP, LR, SMOOTHING are floats; the others integers. */
typedef enum { RUN_BATCH, RUN_STEP, RUN_LR, RUN_SMOOTHING, RUN_STEP_COUNT, RUN_SEED0, RUN_SEED1, RUN_SCALARS } RunScalar;

/* ---- memory ---- */
typedef enum { BUFFER_ARG, BUFFER_SCRATCH } BufferKind;
/* How memory holds an element: as its type does; as a byte; a float as bfloat16 or IEEE binary16, which loads widen exactly
 * and stores round to nearest with ties to even (support/half.h). Nothing is added to memory of 16 bits (STM_ADD_TO). */
typedef enum { STORE_WHOLE, STORE_U8, STORE_BF16, STORE_F16, STORE_COUNT } Store;
extern const char *const store_text[STORE_COUNT];      /* NULL, "u8", "bf16", "f16" */
int store_bytes(Store s);                              /* 4, 1, 2, 2 */
typedef struct {
    const char *name;          /* a C identifier: "x", "weight", "conv1" */
    BufferKind kind;
    Elem elem;                 /* F32 or I32 */
    Store store;               /* how memory holds it */
    bool written;
    int64_t count;             /* elements at full capacity; scratch: its size */
    int64_t scratch_offset;    /* SCRATCH: bytes from run->scratch */
    const char *text;          /* shape and layout for readers: "f32[N, 64/16, 32, 32, 16]" */
} Buffer;

typedef enum {
    ACCESS_SCALAR,             /* one element to a scalar register */
    ACCESS_SPLAT,              /* load only: one element to all lanes */
    ACCESS_VECTOR,             /* W consecutive elements, any alignment */
    ACCESS_MASKED,             /* the first `lanes` (an Index, clamped to 0..W) of W consecutive; others load 0, are not stored */
    ACCESS_STRIDED             /* lane i at index + i * stride; the first `lanes` only, others load 0, are not stored */
} Access;

/* ---- statements ---- */
typedef enum {
    STM_LOOP,                  /* for var from begin to end (exclusive) by step: body */
    STM_IF,                    /* if begin < end: body */
    STM_INDEX,                 /* var = index_op(begin, end or divisor) */
    STM_CONST,                 /* dst = number (bits for I32), splat when vector */
    STM_IOTA,                  /* dst = 0, 1, .. W-1 as integers */
    STM_FROM_INDEX,            /* dst = (i32) index, scalar */
    STM_RUN,                   /* dst = run-time scalar */
    STM_OP,                    /* dst = op(args) */
    STM_LOAD, STM_STORE,
    STM_ADD_TO,                /* memory at index += src; VECTOR, MASKED or SCALAR; a read, an add, a write */
    STM_OPAQUE,                /* the back end must forget what it knows of `buffer`'s address (keeps registers from spilling) */
    STM_PREFETCH,              /* buffer at index, into level `value` of the cache */
    STM_PRODUCT,               /* a matrix product by the BLAS: `product` */
    STM_COUNT                  /* only while building: a note that waits for its statement */
} StmKind;

/* c[i][j] = sum over l < k of a[i][l] b[l][j], i < m, j < n; row-major, rows lda, ldb, ldc elements apart; a or b
 * may be stored transposed. Its rounding is the library's own: --blas=openblas alone makes such statements. */
typedef struct { int a, b, c; bool a_transposed, b_transposed; Index m, k; int64_t n, lda, ldb, ldc; } Product;

typedef struct Stm Stm;
struct Stm {
    StmKind kind;
    Stm *next;
    Stm *body, *body_last;     /* LOOP, IF */
    int var;                   /* LOOP, INDEX */
    Index begin, end;
    int64_t step;
    IndexOp index_op;
    KOp op;
    Reg dst, arg[3];
    double number; int32_t bits;
    RunScalar scalar;
    int buffer;
    Access access;
    Index index, lanes;
    int64_t stride;
    int value;
    const Product *product;
    const char *note;          /* a comment for readers above this statement, or NULL */
};

typedef struct {
    Arena *arena;
    const Target *target;
    MathMode math;
    const char *name;          /* from taps, a C identifier: "layer1_0_conv1" */
    const char *title;         /* one line for readers: taps, shapes */
    Span span;                 /* the source line that it comes from */
    Buffer *buffers; int buffer_count, buffer_cap;   /* arguments first, in call order */
    RegType *regs; int reg_count, reg_cap;
    const char **vars; int var_count, var_cap;       /* names; VAR_TASK, VAR_N first */
    Stm *body, *body_last;
    Stm **open; int open_count, open_cap;            /* builder: enclosing loops */
    int64_t scratch;           /* bytes */
    uint64_t hash;             /* of the printed form without names: equal kernels are emitted once */
} Kernel;

/* ---- builder: statements go to the innermost open loop ---- */
Kernel *kernel_new(Arena *arena, const Target *t, MathMode math, const char *name, Span span);
int kb_arg(Kernel *k, const char *name, Elem e, bool written, int64_t count, const char *text);
int kb_scratch(Kernel *k, const char *name, Elem e, int64_t count);
int kb_loop(Kernel *k, const char *name, Index begin, Index end, int64_t step);   /* opens; returns the variable */
void kb_end(Kernel *k);                                                           /* closes a loop or an if */
void kb_if(Kernel *k, Index a, Index b);                                          /* opens: if a < b */
int kb_index(Kernel *k, const char *name, IndexOp op, Index a, Index b);          /* DIV, MOD: b constant; LOAD: see kb_index_load */
int kb_index_load(Kernel *k, const char *name, int buffer, Index at);
void kb_note(Kernel *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* for the next statement */
Reg kb_reg(Kernel *k, Elem e, bool vector);                                       /* unset register */
Reg kb_const(Kernel *k, double value, bool vector);
Reg kb_int(Kernel *k, int32_t bits, bool vector);
Reg kb_iota(Kernel *k);
Reg kb_from_index(Kernel *k, Index i);
Reg kb_run(Kernel *k, RunScalar s);
Reg kb_op(Kernel *k, KOp op, Reg x, Reg y, Reg z);                                /* a new register */
void kb_set(Kernel *k, Reg dst, KOp op, Reg x, Reg y, Reg z);                     /* an existing one */
void kb_set_const(Kernel *k, Reg dst, double value);
Reg kb_load(Kernel *k, Access a, int buffer, Index at);
Reg kb_load_lanes(Kernel *k, Access a, int buffer, Index at, Index lanes, int64_t stride);   /* MASKED, STRIDED */
void kb_store(Kernel *k, Access a, int buffer, Index at, Reg src);
void kb_store_lanes(Kernel *k, Access a, int buffer, Index at, Index lanes, int64_t stride, Reg src);
void kb_add_to(Kernel *k, Access a, int buffer, Index at, Index lanes, Reg src);
void kb_opaque(Kernel *k, int buffer);
void kb_prefetch(Kernel *k, int buffer, Index at, int level);
void kb_product(Kernel *k, Product p);
void kernel_finish(Kernel *k);                    /* orders, verifies, hashes */
void kernel_order(Kernel *k);                     /* kir_order.c: one order however it was built; constants once, at the start */

void kernel_print(Writer *out, const Kernel *k);
void kernel_print_form(Writer *out, const Kernel *k);  /* without names, notes and title: what kernel_equal compares */
bool kernel_verify(const Kernel *k, Writer *why); /* false: a compiler bug, `why` says where */
bool kernel_equal(const Kernel *a, const Kernel *b);  /* the same but for names, title and span */
#endif

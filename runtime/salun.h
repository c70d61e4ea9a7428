/* salun.h - what generated code and the runtime know of each other (the ABI), and the C API below the
 * network's own header.
 *
 * Generated code exports one constant SalunProgram: tables of tensors, ports and taps, and entry points.
 * An entry point is a list of calls of kernels; a kernel is a function over buffers that computes one
 * task of its outermost parallel loop. The runtime resolves every call's places to pointers, and runs the
 * tasks of one call on its threads before the next call begins. It knows nothing of any network.
 *
 * Everything is float32 unless said. Offsets into tables are in floats, places and sizes in bytes. */
#ifndef SALUN_H
#define SALUN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SALUN_ABI 4
#define SALUN_ALIGN 64                 /* every table, tensor and buffer */

/* Exit codes of every program, compiled networks and salunc alike (docs/language.md). */
enum {
    SALUN_OK = 0,
    SALUN_FAIL = 1,                    /* the program or its input is wrong (a .snet error, a loss that is not finite) */
    SALUN_BAD_INPUT = 2,               /* usage, a missing or broken file */
    SALUN_NO_CPU = 3,                  /* this processor lacks the target's instructions */
    SALUN_NO_SPACE = 4,                /* memory or disk is full, or writing failed */
    SALUN_INTERRUPTED = 5              /* stopped by a signal; the checkpoint is written */
};

/* ---- memory ---- */

typedef enum {
    SALUN_PARAMS,                      /* constrained values of all parameters */
    SALUN_STATES,                      /* tensors that training updates without gradient */
    SALUN_RAW,                         /* unconstrained values of constrained parameters */
    SALUN_GRADS,                       /* laid out like PARAMS */
    SALUN_SLOTS,                       /* the optimizer's: slot_count blocks, each laid out like PARAMS */
    SALUN_PREPARED,                    /* what prepare makes of the parameters: packed weights, folded scales */
    SALUN_BLOCK,                       /* intermediate values, planned at compile time */
    SALUN_CONSTANTS,                   /* program->constants */
    SALUN_INPUT,                       /* + index: the caller's arrays, plain row-major */
    SALUN_OUTPUT = SALUN_INPUT + 8,    /* + index */
    SALUN_SPACES = SALUN_OUTPUT + 8
} SalunSpace;

typedef struct { int32_t space; int32_t reserved; int64_t offset; } SalunPlace;     /* offset in bytes */

/* What a kernel may read besides its buffers. */
typedef struct {
    int64_t n;                         /* images in this call, 1 to program->batch */
    int64_t thread;                    /* 0 to threads - 1 */
    void *scratch;                     /* program->scratch bytes, this thread's own */
    float batch;                       /* n as a number */
    float step;                        /* training steps done */
    float lr;                          /* this step's learning rate, before per-parameter factors */
    float smoothing;                   /* label smoothing of the loss */
    uint32_t step_count;               /* step, for random numbers */
    uint32_t seed[2];
} SalunRun;

typedef void SalunKernel(void *const *arg, const SalunRun *run, int64_t task);

typedef struct {
    SalunKernel *kernel;
    const SalunPlace *args;
    int32_t arg_count;
    int32_t tap;                       /* index into program->taps of what it computes, -1: none */
    const char *name;                  /* the kernel's name, for profiles */
    int64_t tasks;                     /* tasks of one unit */
    int64_t unit;                      /* 0: `tasks` in all; U: tasks * ceil(n / U) */
    double flops;                      /* of one task (elements, when it only moves them), to decide whether forking pays; never changes a result */
    int32_t out;                       /* which argument is the tap's value, -1: none */
    int32_t out_unit;                  /* floats of it: out_count, times n when 1 */
    int64_t out_count;
} SalunCall;

typedef struct { const char *name; const SalunCall *calls; int32_t count; } SalunEntry;

/* ---- tables ---- */

typedef enum { SALUN_F32, SALUN_I32, SALUN_U8 } SalunType;
typedef enum { SALUN_INIT_ZEROS, SALUN_INIT_CONST, SALUN_INIT_NORMAL, SALUN_INIT_TRUNC_NORMAL, SALUN_INIT_UNIFORM } SalunInit;
typedef enum { SALUN_FREE, SALUN_GREATER, SALUN_AT_LEAST, SALUN_BETWEEN } SalunConstraint;

typedef struct {
    const char *name;                  /* as in weight files: "layer1.0.bn1.a" */
    int32_t is_state;
    int32_t rank;
    int64_t dim[6];
    int64_t count;
    int64_t offset;                    /* floats, into PARAMS or STATES */
    int64_t raw_offset;                /* floats, into RAW; -1: unconstrained */
    int32_t init; int32_t constraint;
    double init_a, init_b;             /* CONST a; NORMAL std a; TRUNC_NORMAL std a, cut at 2 std; UNIFORM in [a, b) */
    double lo, hi;                     /* of the constraint */
} SalunTensor;

typedef struct {
    const char *name;                  /* "image", "labels", "logits" */
    int32_t type;
    int32_t rank;                      /* without the batch */
    int64_t dim[6];
    int64_t count;                     /* elements of one image */
} SalunPort;

typedef enum { SALUN_RESIZE, SALUN_CENTER_CROP, SALUN_NORMALIZE } SalunPreKind;
typedef struct { int32_t kind; int32_t channels; int64_t size; double mean[4], std[4]; } SalunPreStep;

typedef enum { SALUN_PAD_CROP, SALUN_FLIP } SalunAugKind;
typedef struct { int32_t kind; int32_t reserved; double value; } SalunAugment;      /* PAD_CROP pixels; FLIP probability */

typedef enum { SALUN_SCHED_CONST, SALUN_SCHED_WARMUP, SALUN_SCHED_COSINE, SALUN_SCHED_LINEAR, SALUN_SCHED_STEP } SalunSchedKind;
typedef struct {
    int32_t kind; int32_t at_count;
    double epochs;                     /* its length; the last part runs to the end of training */
    double to;                         /* COSINE, LINEAR: the factor it ends at; the first part begins at 1, WARMUP at 0 */
    double gamma; double at[16];       /* STEP: times gamma at each epoch of at[] */
} SalunSchedPart;

typedef struct {
    const char *data;                  /* default of --data: "mnist", "cifar10", "cifar100", "npy:..."; "" none */
    const SalunAugment *augment; int32_t augment_count;
    int32_t schedule_count; const SalunSchedPart *schedule;
    double lr;
    double smoothing;                  /* label smoothing, the default of salun_set_smoothing */
    int64_t epochs;
    uint64_t seed;
} SalunRecipe;

typedef struct {
    uint32_t abi;                      /* SALUN_ABI */
    uint32_t cpu;                      /* SALUN_CPU_ bits that the code needs */
    const char *name;                  /* "resnet50" */
    const char *numeric;               /* numeric class: "w16 fma strict" */
    const char *source;                /* the .snet file */
    uint64_t hash;                     /* of the network, its options and the target: a checkpoint's key */
    uint64_t prepared_hash;            /* of entry prepare and the tables: programs with equal ones share prepared weights */
    int64_t batch;                     /* capacity N */
    int64_t piece;                     /* images that the calls of infer take at most: more go through all of them in turns; 0: N */
    const SalunTensor *tensors; int32_t tensor_count; int32_t slot_count;
    int64_t table_floats[5];           /* PARAMS STATES RAW GRADS SLOTS (SLOTS: all its blocks) */
    int64_t prepared_bytes, block_bytes, scratch_bytes;
    const void *constants; int64_t constants_bytes;
    const SalunPort *inputs; int32_t input_count;            /* of infer and step: the images first */
    int32_t target_count; const SalunPort *targets;          /* step only, behind the inputs: "labels" */
    const SalunPort *outputs; int32_t output_count;          /* of infer; step has the loss (one float) before them */
    int32_t tap_count; const char *const *taps;
    SalunEntry prepare, infer;         /* parameters -> PREPARED; PREPARED, inputs -> outputs */
    SalunEntry step;                   /* parameters, inputs, targets -> loss, outputs, GRADS, STATES; count 0: not compiled */
    SalunEntry update;                 /* GRADS, SLOTS, RAW, PARAMS -> PARAMS, RAW, SLOTS */
    SalunEntry train, finish;          /* step and update in one: train updates most parameters as soon as their gradients are there, and
                                          the first call that names the loss comes before all that; finish the others. Count 0: there is none */
    const SalunPreStep *pre; int32_t pre_count;
    int32_t reserved;
    const SalunRecipe *recipe;         /* NULL: not compiled for training */
    const unsigned char *weights, *weights_end;              /* an embedded .safetensors file, or NULL */
} SalunProgram;

enum {                                 /* SalunProgram.cpu; checked before any such instruction is run */
    SALUN_CPU_SSE2 = 1, SALUN_CPU_FMA = 2, SALUN_CPU_AVX2 = 4, SALUN_CPU_AVX512 = 8,   /* AVX512: F, BW, DQ, VL */
    SALUN_CPU_NEON = 16, SALUN_CPU_VNNI = 32,  /* AVX-512 VNNI */
    SALUN_CPU_FP16 = 64                /* arithmetic in float16: AVX512-FP16, aarch64 FP16 */
};

/* ---- API: library salun ---- */

typedef struct SalunModel SalunModel;  /* one instance; several may live at once, each used by one thread at a time */
typedef struct { char text[512]; int code; } SalunError;   /* code: an exit code above; text: one line, no newline */

/* Number of names of instructions missing on this processor; text of the first ones in err. 0: the program can run. */
int salun_cpu_check(const SalunProgram *p, SalunError *err);

/* A model with zeroed tables; threads 0: as many as processors. NULL on failure. */
SalunModel *salun_create(const SalunProgram *p, int threads, SalunError *err);
void salun_destroy(SalunModel *m);

/* Initial values of parameters (with their raw values) and states by the tensors' init rules; depends on seed and names only.
 * The optimizer's slots stay as they are. */
void salun_init(SalunModel *m, uint64_t seed);

/* Weight files (.safetensors), rules in docs/weights.md: every tensor present, shapes equal; F16, BF16, F64 converted.
 * allow: tensors of names that match this glob are left out, in the file and in the model, whose values stay (NULL: none).
 * note: where conversions are told, or NULL.
 * 0 or an exit code. The model is unchanged on failure. */
int salun_load_file(SalunModel *m, const char *path, const char *allow, void (*note)(const char *text, void *arg), void *arg, SalunError *err);
int salun_load_memory(SalunModel *m, const void *data, size_t bytes, const char *name, const char *allow,
                      void (*note)(const char *text, void *arg), void *arg, SalunError *err);
/* Parameters and states, or the table `space` (GRADS) under the parameters' names. Atomic: written beside, synced, renamed. */
int salun_save_file(const SalunModel *m, int space, const char *path, SalunError *err);

/* Prepared weights: what infer reads, as it lies in memory, in a file for this program alone (docs/weights.md). salun_load_file takes it
 * in place of a .safetensors file and maps it: nothing is read, converted or packed before it is needed, and processes share it. It
 * must stay as it is while a model uses it; writing replaces it by a rename, which leaves what is mapped. Such a model has no
 * tables (salun_table). Not for programs that train. */
int salun_save_prepared(SalunModel *m, const char *path, SalunError *err);

/* infer: n images from inputs[] to outputs[], plain row-major, aligned for their type only, not overlapping. It runs prepare first
 * when init, load, step or update came since; who writes into salun_table calls prepare. A model's floating-point mode (rounding,
 * denormals) is set while it runs and restored. */
int salun_prepare(SalunModel *m, SalunError *err);
int salun_infer(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, SalunError *err);

/* Training: one step's forward and backward over n images; then salun_update with the learning rate. */
int salun_step(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, SalunError *err);
int salun_update(SalunModel *m, float lr, SalunError *err);
/* Both in one, for who does not need the gradients: the same parameters, bit for bit, faster, and table GRADS is left in an
 * unspecified state. A loss that is not finite is SALUN_FAIL before any parameter changes (states have changed, as by salun_step). */
int salun_train_step(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, float lr, SalunError *err);
/* The step counter, the key of random numbers; salun_update and salun_train_step add one to the step. */
void salun_set_step(SalunModel *m, uint32_t step);
void salun_set_seed(SalunModel *m, uint64_t seed);
void salun_set_smoothing(SalunModel *m, float smoothing);
/* Called after every kernel that completes a tap while set: name, first value, count (of infer: for every piece). NULL: none. */
typedef void SalunProbe(void *arg, const char *tap, const char *kernel, const float *value, int64_t count);
void salun_set_probe(SalunModel *m, SalunProbe *probe, void *arg);
float *salun_table(SalunModel *m, int space, int64_t *floats);    /* NULL, 0 when the program has none, or its weights are prepared ones */
const SalunProgram *salun_program(const SalunModel *m);

/* ---- whole programs ---- */

int salun_main_infer(const SalunProgram *p, int argc, char **argv);    /* library salun-app */
int salun_main_train(const SalunProgram *p, int argc, char **argv);    /* library salun-train */

#ifdef __cplusplus
}
#endif
#endif

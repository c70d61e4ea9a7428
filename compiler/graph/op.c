/* op.c - the tables of graph/ops.def and the names of graph.h's small enumerations. */
#include "graph/graph.h"

const OpInfo op_info[OP_COUNT] = {
#define OP(id, text, arity, class, gradient) [OP_##id] = { text, arity, CLASS_##class },
#include "graph/ops.def"
};

const char *const table_text[TABLE_COUNT] = {
    [TABLE_PARAMS] = "params", [TABLE_STATES] = "states", [TABLE_RAW] = "raw",
    [TABLE_GRADS] = "grads",   [TABLE_SLOTS] = "slots",
};

const char *const scalar_text[SCALAR_COUNT] = {
    [SCALAR_BATCH] = "batch", [SCALAR_STEP] = "step", [SCALAR_LR] = "lr", [SCALAR_SMOOTHING] = "smoothing",
};

const char *const dtype_text[] = { [TYPE_F32] = "f32", [TYPE_I32] = "i32", [TYPE_U8] = "u8", [TYPE_F16] = "f16" };

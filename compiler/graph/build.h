/* build.h - elaboration: the tree of a .snet file becomes a Program.
 *
 * Everything that is known at compile time is resolved here: options, placements, loops, conditions, blocks,
 * labels. What is left are graphs over tensors of known shapes, not simplified, every node with span, tap and
 * trace. The meaning of every construct is docs/language.md.
 *
 * Bounds: no input makes elaboration recurse, loop or allocate without end; what exceeds BUILD_MAX_* is an
 * error at the place that did. */
#ifndef SALUN_GRAPH_BUILD_H
#define SALUN_GRAPH_BUILD_H

#include "graph/graph.h"
#include "syntax/ast.h"

enum {
    BUILD_MAX_BLOCKS = 64,              /* blocks called inside one another */
    BUILD_MAX_DEPTH = 1000,             /* expressions and statements evaluated inside one another */
    BUILD_MAX_STEPS = 1000000,          /* expressions evaluated in one elaboration */
    BUILD_MAX_REPORTS = 1000,           /* errors met, those of further turns of a loop included */
    BUILD_MAX_NODES = 100000,           /* of one graph */
    BUILD_MAX_NAME = 400,               /* bytes of a tap */
    BUILD_MAX_PORTS = 7                 /* inputs of a network, and outputs: with target and loss the runtime's 8 */
};
#define BUILD_MAX_ELEMENTS INT32_MAX            /* of one tensor at full batch, of all parameters, of all states: kernels number them */

typedef struct Setting {
    const char *name, *text;            /* text: an expression of the language */
} Setting;

typedef struct BuildOptions {
    const char *network;                /* a network or variant; NULL: the file's only network */
    const Setting *define;              /* -D name=expression: options of the network; later ones win */
    int define_count;
    const char *const *place;           /* --place: `pattern=layer` or `pattern+=layer`; later ones win */
    int place_count;
    const Setting *dim;                 /* --dim T=8: sizes of inputs that the file leaves open */
    int dim_count;
    int64_t batch;                      /* capacity N; 0: the recipe's when training, else 1 */
    bool training;                      /* build Program.step too; needs a `train` section */
    bool check;                         /* elaborate for training too, to find its errors; needs neither `train` nor batch */
    double smoothing;                   /* of the labels, over the recipe's; NaN: the recipe's */

    /* Reads a file named by `use`; NULL: from the disk. NULL and *error as of source_read on failure. */
    SourceFile *(*load)(void *context, Arena *arena, const char *path, const char **error);
    void *load_context;
} BuildOptions;

/* The defaults: the file's only network, inference. */
#define BUILD_DEFAULTS ((BuildOptions){ .smoothing = __builtin_nan("") })

/* Elaborates a tree without syntax errors.
 *   infer   inputs -> the values that the network returns, in order: ports "output", or the names given
 *   step    inputs, then i32[N] "labels" -> "loss" (mean over n of the cross entropy of the first value
 *           returned), then the values returned; effects: the states that training updates
 * Tensors, taps, preprocess and recipe are filled; ParamGroup holds the recipe's values after its patterns.
 * NULL after errors, which were reported. */
Program *build_program(Arena *arena, const AstFile *tree, const BuildOptions *options, Diag *diag);

/* Whether the file has a `train` section for what `network` (NULL: its only network) names. */
bool build_has_train(const AstFile *tree, const char *network);

/* One line per tap: its name, its shape, what stands there; taps that placements cannot replace say so. */
void build_taps_print(Writer *out, const Program *program);

/* `*`, `?` (both cross dots), `[abc]`, `[a-c]`, `[!a]`; everything else stands for itself. */
bool build_pattern_matches(const char *pattern, const char *name);

/* compiler/prelude/prelude.snet */
extern const char prelude_text[];
extern const unsigned prelude_length;

#endif

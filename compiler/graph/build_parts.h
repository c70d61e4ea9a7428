/* build_parts.h - what the files of elaboration share; private to build*.c.
 *
 *   build.c            entry: files, network, variant, options, the two elaborations
 *   build_value.c      compile-time values: text, equality, conversion with diagnostics
 *   build_name.c       names: variables, declarations, what is built in; taps and labels
 *   build_expr.c       expressions
 *   build_call.c       calls and pipes: arguments, applying a layer, composed layers
 *   build_stmt.c       statements, blocks
 *   build_args.c       arguments of built-in layers and of the words of `train`, checked from tables
 *   build_layer.c      built-in layers with weights, windows or randomness
 *   build_tensor.c     built-in functions of tensors and numbers, pointwise operators
 *   build_move.c       parts of tensors, putting them together, attention
 *   build_init.c       parameters, states, initialisers
 *   build_activation.c formulas
 *   build_place.c      placements and patterns
 *   build_train.c      the recipe and the loss
 *   build_pre.c        preprocess
 *
 * A function that gives a Value reports its errors and gives VALUE_BAD; BAD operands pass silently. */
#ifndef SALUN_GRAPH_BUILD_PARTS_H
#define SALUN_GRAPH_BUILD_PARTS_H

#include "graph/build.h"

typedef struct Builder Builder;
typedef struct Layer Layer;
typedef struct Module Module;
typedef struct BuiltinLayer BuiltinLayer;

/* ---- values ---- */

typedef enum ValueKind {
    VALUE_BAD,                          /* an error was reported */
    VALUE_NUMBER, VALUE_BOOL, VALUE_STRING,
    VALUE_LIST, VALUE_TUPLE, VALUE_RANGE,
    VALUE_LAYER, VALUE_TENSOR,
    VALUE_INIT,                         /* an initialiser */
    VALUE_SYMBOL                        /* a number over fan_in (input 0) and fan_out (input 1) */
} ValueKind;

typedef struct ValueList ValueList;
typedef struct InitSpec {
    InitKind kind;
    const Expr *a, *b;                  /* over fan_in, fan_out; NULL where the kind has none */
} InitSpec;

typedef struct Value {
    ValueKind kind;
    union {
        double number;
        bool boolean;
        const char *string;
        const ValueList *list;
        struct { int64_t from, to; } range;
        const Layer *layer;
        Node *tensor;
        const InitSpec *init;
        const Expr *symbol;
    };
} Value;

struct ValueList {
    const Value *items;
    int count;
    int depth;                          /* of lists in lists */
};

/* One argument of a call, evaluated. */
typedef struct Bound {
    const char *name;                   /* NULL: positional */
    bool fixed;
    Value value;
    Span span;                          /* of the argument */
} Bound;

typedef enum LayerKind { LAYER_BUILTIN, LAYER_FUNCTION, LAYER_ACTIVATION, LAYER_BLOCK, LAYER_COMPOSED } LayerKind;

typedef struct Stage {                  /* of a composed layer */
    const Layer *layer;
    const char *label;                  /* NULL: its position */
    Span span, label_span;
} Stage;

struct Layer {
    LayerKind kind;
    const char *name;                   /* "salu", "conv"; composed: its stages */
    const BuiltinLayer *builtin;
    ExprOp op;                          /* LAYER_FUNCTION */
    const AstNode *decl;                /* LAYER_ACTIVATION, LAYER_BLOCK */
    const Module *module;               /* where decl stands */
    const Bound *bound;
    int bound_count;
    const Stage *stages;
    int stage_count;
};

static inline Value value_bad(void) { return (Value){ .kind = VALUE_BAD }; }
static inline Value value_number(double v) { return (Value){ .kind = VALUE_NUMBER, .number = v }; }
static inline Value value_bool(bool v) { return (Value){ .kind = VALUE_BOOL, .boolean = v }; }
static inline Value value_string(const char *s) { return (Value){ .kind = VALUE_STRING, .string = s }; }
static inline Value value_tensor(Node *n) { return (Value){ .kind = VALUE_TENSOR, .tensor = n }; }
static inline Value value_layer(const Layer *l) { return (Value){ .kind = VALUE_LAYER, .layer = l }; }
static inline Value value_symbol(const Expr *e) { return (Value){ .kind = VALUE_SYMBOL, .symbol = e }; }
static inline bool is_bad(Value v) { return v.kind == VALUE_BAD; }

Value value_list(Builder *b, ValueKind kind, const Value *items, int count, Span at);   /* copies the items */
bool value_has_tensor(Value v);         /* a tensor, or a list or tuple that holds one directly */
bool value_equal(Value a, Value b);
const char *value_text(Builder *b, Value v);        /* `the number 3`, `a tensor f32[1, 10]` */
const char *number_text(Builder *b, double v);
/* Value as a number or integer; `what` names it in the error: "stride". False after an error or BAD. */
bool value_want_number(Builder *b, Value v, Span at, const char *what, double *out);
bool value_want_integer(Builder *b, Value v, Span at, const char *what, int64_t min, int64_t max, int64_t *out);
bool value_want_bool(Builder *b, Value v, Span at, const char *what, bool *out);

/* ---- the builder ---- */

struct Module {                         /* declarations that see one another */
    Table *decls;                       /* name -> AstNode */
    Table *lets;                        /* name -> LetState, of this elaboration */
    Table *trains;                      /* network -> AstNode */
    const Module *outer;                /* the prelude; NULL: this is it */
    const SourceFile *source;           /* of the main file */
};

typedef struct Var {
    Value value;
    bool defined;
    TensorDecl *tensor;                 /* a `param` or `state`; else NULL */
    bool updated;                       /* a state that `update` has changed */
    Span span;
} Var;

typedef struct Frame {                  /* a body being elaborated */
    const Module *module;
    Table *vars;                        /* name -> Var */
    const AstNode *decl;                /* block or network; NULL: a value outside of any */
    bool returned;
    Value result;
    const char **result_names;          /* network: of the values returned, NULL where none was given */
} Frame;

typedef struct Placement {
    const char *pattern;
    bool append;
    Value layer;
    Span span;                          /* of the pattern */
    bool matched;
    const char *refused;                /* a tap that it matched and cannot replace; NULL: none */
} Placement;

struct Builder {
    Arena *arena;
    Diag *diag;
    const BuildOptions *options;
    Program *program;
    Module *user, *prelude;
    const AstNode *network;             /* DECL_NETWORK */
    const AstNode **variants;           /* from the network outwards: the last is what was asked for */
    int variant_count;
    Table *dims;                        /* of --dim, those that were read: name -> Value */

    Graph *graph;
    bool training;
    Frame *frame;
    const char *prefix;                 /* names begin with it: "layer1.0", "" at the top */
    const char *tap;                    /* of the instance being elaborated */
    const Trace *trace;
    Node like;                          /* span, tap and trace of the nodes to come */

    Table *names;                       /* instance -> NameUse, of this elaboration */
    Table *declared;                    /* tensors declared in this elaboration -> Node */
    Table *taps;                        /* tap -> its position + 1 */
    Table *streams;                     /* random streams taken in this elaboration */
    Placement *placements;
    int placement_count, placement_capacity;
    int placing;                        /* inside of what a placement put there */

    int depth, blocks, formula_steps, reports;
    int64_t steps;
    bool stopped;                       /* a bound was exceeded, or there were too many errors */
};

/* An error with the notes that tell through which calls its place was reached. */
void build_error(Builder *b, Span at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Counts one step of elaboration; false when a bound is exceeded, which was reported. */
bool build_step(Builder *b, Span at);
bool build_stopped(Builder *b);
/* The model node for graph builders: everything they make now stands at `at`. */
const Node *build_at(Builder *b, Span at);
/* False, with an error, when a tensor of that shape would be too large. */
bool build_shape_fits(Builder *b, const Shape *s, Span at);
Frame *build_frame(Builder *b, const Module *module, const AstNode *decl);

/* ---- build_name.c ---- */

Var *frame_var(Builder *b, Frame *f, const char *name);         /* made when it is not there */
void frame_set(Builder *b, Frame *f, const char *name, Value v, Span at);
Value build_name(Builder *b, const char *name, Span at, bool callee);
bool label_text(Builder *b, const Label *label, const char **out);
const char *join_name(Builder *b, const char *prefix, const char *name);

/* Where and under which name a layer is applied. */
typedef struct Site {
    const char *label;                  /* from `as`; NULL: none */
    Span label_span;
    const char *auto_name;              /* the name at the call site */
    Span span;
} Site;

/* The instance's full name; NULL after an error. */
const char *instance_name(Builder *b, const Site *site);
int tap_open(Builder *b, const char *name, const char *what, Span at, bool replaceable);
void tap_close(Builder *b, int tap, Value result);

/* ---- expressions, calls, statements ---- */

Value build_eval(Builder *b, const AstNode *e);
Value build_call(Builder *b, const AstNode *e);
Value build_pipe(Builder *b, const AstNode *e);
/* args: what the call gives, without what is bound already */
Value build_apply(Builder *b, const Layer *layer, const Bound *args, int count, const Site *site);
bool build_bounds(Builder *b, const ArgList *args, Bound **out, int *count);
void build_body(Builder *b, const Body *body);
Value build_block(Builder *b, const Layer *layer, const Bound *args, int count, const Site *site);
/* A name for each of the inputs of a block or layer, filled from arguments. */
typedef struct Slot {
    const char *name;
    bool named_only;
    const Bound *given;
} Slot;
bool build_bind(Builder *b, const char *what, Slot *slots, int count, const Bound *args, int arg_count);

/* ---- arguments from tables ---- */

typedef enum ArgKind {
    ARG_END, ARG_SIZE, ARG_NATURAL, ARG_NUMBER, ARG_FLAG,
    ARG_PAIR,                           /* a size or [h, w] */
    ARG_PADDING,                        /* `same`, a natural number or [h, w] */
    ARG_PROBABILITY,                    /* in [0, 1) */
    ARG_INIT,
    ARG_AXIS,
    ARG_AXES,                           /* an axis or a list of them */
    ARG_INTEGERS,                       /* an integer or a list of them */
    ARG_RANGE,                          /* an integer, or from..to: two integers */
    ARG_NUMBERS,                        /* a list of numbers */
    ARG_STRING,
    ARG_LATER                           /* known, not supported yet */
} ArgKind;

enum { ARGS_MAX = 10, ARG_LIST_MAX = 16 };

typedef struct ArgDef {
    const char *name;
    ArgKind kind;
    bool required;
    double fallback;
} ArgDef;

typedef struct CallArg {
    bool given, same, single;           /* single: a number, no list */
    double number;
    int64_t integer;
    int64_t pair[2];
    int64_t integers[ARG_LIST_MAX];
    double numbers[ARG_LIST_MAX];
    int count;
    const InitSpec *init;
    const char *string;
    Span span;
} CallArg;

/* out[i] is argument defs[i]; at: the call. */
bool build_read_args(Builder *b, const char *what, const ArgDef *defs, const Bound *args, int count, Span at,
                     CallArg *out);
int arg_def_count(const ArgDef *defs);

/* ---- built-in layers and functions ---- */

typedef struct LayerCall {
    Node *x;                            /* xs[0] */
    Node *const *xs; int count;         /* all tensors that stand in front */
    const CallArg *arg;
    Span span;
    const char *name;
} LayerCall;

enum { TENSORS_ANY = 0 };

struct BuiltinLayer {
    const char *name;
    bool instance;                      /* has a tap of its own; else only when labelled */
    int tensors;                        /* in front of the arguments; TENSORS_ANY: one or more, or lists of them */
    Value (*apply)(Builder *b, const LayerCall *call);
    ArgDef args[ARGS_MAX + 1];
};

const BuiltinLayer *builtin_layer(const char *name);            /* of the tables below; NULL: none */
extern const BuiltinLayer tensor_functions[];                   /* ends with a row without name */
extern const BuiltinLayer move_functions[];
extern const BuiltinLayer layers[];
extern const char *const later_layers[];                        /* known, not supported yet; ends with NULL */
bool scalar_function(const char *name, ExprOp *op);             /* exp, sqrt... */
bool number_function(const char *name);                         /* len, floor... */
Value number_call(Builder *b, const char *name, const Bound *args, int count, Span at);
/* op over numbers, symbols and tensors; broadcasts. `verb` as in "cannot add". */
Value build_operator(Builder *b, ExprOp op, const Value *in, int count, Span at, const char *verb);
bool axis_of(Builder *b, const Node *x, int64_t axis, Span at, int *out);      /* negative: from the end */
Node *mean_over(Builder *b, Node *x, unsigned axes, Span at);   /* the axes keep size 1 */

/* ---- parameters ---- */

InitSpec *init_constant(Builder *b, double v);
bool init_word(const char *name);                               /* zeros, normal... */
Value build_init(Builder *b, const char *name, const Bound *args, int count, Span at, bool called);
bool value_want_init(Builder *b, Value v, Span at, const InitSpec **out);
bool init_resolve(Builder *b, const InitSpec *spec, double fan_in, double fan_out, Span at, Init *out);
const InitSpec *init_kaiming(Builder *b, bool fan_out);
const InitSpec *init_fan_in_uniform(Builder *b);
/* The tensor `name` of the instance being elaborated: declared once, shared by both elaborations. NULL after
 * an error. */
Node *build_parameter(Builder *b, const char *name, Shape shape, int channel, bool is_state, const Init *init,
                      const Constraint *constraint, Span at, TensorDecl **decl);
bool build_type_shape(Builder *b, const Type *type, Shape *out);

/* ---- activations, placements, train, preprocess ---- */

Value build_activation(Builder *b, const Layer *layer, const Bound *args, int count, Span at);
void build_check_activation(Builder *b, const Module *module, const AstNode *decl);    /* whether it is used or not */
void place_collect(Builder *b);                                 /* of variants, then --place */
const Layer *place_replace(Builder *b, const char *tap, bool replaceable, const Layer *layer);
Value place_append(Builder *b, const char *tap, Value result, Span at);
void place_finish(Builder *b);                                  /* patterns that matched nothing */
const AstNode *train_section(Builder *b);
void train_recipe(Builder *b, const AstNode *section);          /* all but groups' effect on parameters */
/* Adds the target "labels"; the loss is of rank 0; NULL after an error. */
Node *train_loss(Builder *b, const AstNode *section, Node *logits);
void train_groups(Builder *b, const AstNode *section);
void build_preprocess(Builder *b, const AstNode *statement);
/* The stages of `f(a) |> g |> ...`, at most `max`; false after an error. */
bool pipe_stages(Builder *b, const AstNode *e, const AstNode **stages, int max, int *count);
/* One word of a closed set with arguments, as in `sgd(lr = 0.1)`. */
typedef struct Form {
    const char *name;                   /* NULL: the end of the table */
    ArgDef args[ARGS_MAX + 1];
} Form;
/* Its position in `forms`, its arguments in out; -1 after an error. `what`: "an optimizer". later: words that
 * are known but not supported yet. */
int build_form(Builder *b, const AstNode *e, const char *what, const Form *forms, const char *const *later, CallArg *out);

#endif

/* ast.h - the tree of a .snet file, its parser and its printer.
 * The parser builds it, elaboration reads it, ast_print gives .snet again. Every node carries its span.
 * The tree holds all that the grammar accepts (`weight`, `schedule`, several networks); elaboration
 * decides what it can compile. Where parsing reported an error the tree may hold EXPR_BAD nodes; without
 * errors it holds none. No node is nested deeper than AST_MAX_DEPTH, so recursive walks are safe. */
#ifndef SALUN_SYNTAX_AST_H
#define SALUN_SYNTAX_AST_H

#include "support/arena.h"
#include "support/diag.h"
#include "support/source.h"
#include "support/writer.h"

#include <stdbool.h>

enum { AST_MAX_DEPTH = 500 };

typedef enum AstKind {
    /* expressions */
    EXPR_BAD,           /* what was not understood; an error was reported */
    EXPR_NUMBER,        /* number: 3, 0.5, 5e-4, pi, inf */
    EXPR_STRING,        /* string */
    EXPR_BOOL,          /* boolean */
    EXPR_NAME,          /* name */
    EXPR_LIST,          /* list: [a, b] */
    EXPR_TUPLE,         /* list: (a, b), at least two */
    EXPR_UNARY,         /* unary: -x, not x */
    EXPR_BINARY,        /* binary: x + y, x and y */
    EXPR_COMPARE,       /* compare: x <= y */
    EXPR_COND,          /* cond: a if c else b */
    EXPR_CALL,          /* call: f(1, k = 2, fixed a = 3) as label */
    EXPR_INDEX,         /* index: x[i, 0..4] */
    EXPR_FIELD,         /* field: x.channels */
    EXPR_RANGE,         /* range: a..b, its end exclusive */
    EXPR_PIPE,          /* pipe: left |> stage as label */
    /* statements of block and network bodies */
    STMT_ASSIGN,        /* assign: x = e, also a, b = e */
    STMT_RETURN,        /* returns: return e, return logits = e, boxes = f */
    STMT_EXPR,          /* expr: an expression for its effect */
    STMT_FOR,           /* loop */
    STMT_IF,            /* branch */
    STMT_PREPROCESS,    /* set: preprocess image = e */
    STMT_PARAM,         /* tensor: param bias: f32[C] = zeros */
    STMT_STATE,         /* tensor: state mean: f32[C] = zeros */
    STMT_TARGET,        /* tensor: target boxes: f32[N, 100, 4], also an item of train */
    STMT_UPDATE,        /* update: update [now] m = e */
    /* declarations */
    DECL_USE,           /* use */
    DECL_LET,           /* set: let name = e */
    DECL_ACTIVATION,    /* function */
    DECL_WEIGHT,        /* function */
    DECL_SCHEDULE,      /* function */
    DECL_BLOCK,         /* block */
    DECL_NETWORK,       /* block */
    DECL_VARIANT,       /* variant */
    DECL_TRAIN,         /* train */
    /* lines inside variant, group and train */
    ITEM_PLACE,         /* place: "act1" = e, "conv*" += e */
    ITEM_OPTION,        /* set: norm = e, weight_decay = 0 */
    ITEM_VALUE,         /* set: epochs 200, data cifar10(batch = 128) |> flip */
    ITEM_GROUP          /* group: group "*.a", "*.b" { weight_decay = 0 } */
} AstKind;

typedef enum UnaryOp { UNARY_NEGATE, UNARY_NOT } UnaryOp;
typedef enum BinaryOp {
    BINARY_OR, BINARY_AND, BINARY_ADD, BINARY_SUB, BINARY_MUL, BINARY_DIV, BINARY_MOD, BINARY_FLOORDIV, BINARY_POW
} BinaryOp;
typedef enum CompareOp { COMPARE_EQ, COMPARE_NE, COMPARE_LT, COMPARE_LE, COMPARE_GT, COMPARE_GE } CompareOp;

typedef struct AstNode AstNode;

typedef struct Name {
    const char *text;       /* NULL: not there */
    Span span;
} Name;

typedef struct NameList {
    Name *items;
    int count, capacity;
} NameList;

typedef struct AstList {
    AstNode **items;
    int count, capacity;
} AstList;

/* Lines between braces. */
typedef struct Body {
    AstList lines;
    Span span;              /* from `{` to `}` */
} Body;

/* One argument of a call or one value of a return. */
typedef struct Arg {
    Name name;              /* text NULL: positional */
    bool fixed;             /* fixed a = 0.5 */
    AstNode *value;
    Span span;
} Arg;

typedef struct ArgList {
    Arg *items;
    int count, capacity;
} ArgList;

/* layer{stage + 1}: text "layer", then a value. */
typedef struct LabelPart {
    const char *text;       /* NULL: a value */
    AstNode *value;
    Span span;              /* of a value with its braces */
} LabelPart;

typedef struct Label {
    LabelPart *parts;
    int count, capacity;
    Span span;              /* without `as` */
} Label;

/* f32[N, 3, 32, 32] */
typedef struct Type {
    Name element;
    AstList dims;
    Span span;
} Type;

/* An input or option of a block or network: x; stride = 1; image: f32[N, 3, 32, 32] channel = last */
typedef struct Input {
    Name name;
    Type *type;             /* networks' inputs only; else NULL */
    AstNode *channel;       /* axis, or the name `last`; NULL: 1 */
    AstNode *value;         /* default; NULL: none */
    Span span;
} Input;

typedef struct InputList {
    Input *items;
    int count, capacity;
} InputList;

/* A learnable parameter of an activation or weight; an option of a schedule. */
typedef enum BoundKind { BOUND_NONE, BOUND_GREATER, BOUND_AT_LEAST, BOUND_BETWEEN } BoundKind;
typedef struct Param {
    Name name;
    Name scope;             /* `channel`, `out`; text NULL: one scalar */
    BoundKind bound;
    AstNode *low, *high;       /* low: > e, >= e, in (low, high) */
    AstNode *value;         /* initial value; NULL: none given */
    Span span;
} Param;

typedef struct ParamList {
    Param *items;
    int count, capacity;
} ParamList;

/* What a turn of a `for` binds: a name, or a tuple of patterns. */
typedef struct Pattern Pattern;
struct Pattern {
    Name name;              /* text NULL: a tuple */
    Pattern **parts;
    int count, capacity;
    Span span;
};

/* if c { } else if d { } else { } */
typedef struct Arm {
    AstNode *condition;        /* NULL: else, the last arm */
    Body body;
    Span span;
} Arm;

typedef struct ArmList {
    Arm *items;
    int count, capacity;
} ArmList;

struct AstNode {
    AstKind kind;
    bool parens;            /* an expression that was written in parentheses; span includes them */
    bool tight;             /* a binary operator that was written without spaces around it */
    int depth;              /* levels of nodes from here down, 1 for a leaf */
    Span span;
    union {
        struct { double value; const char *text; bool integer; } number;    /* text as written */
        struct { const char *text; } string;                /* contents, escapes resolved */
        struct { bool value; } boolean;
        struct { const char *text; } name;
        struct { AstList items; } list;
        struct { UnaryOp op; Span op_span; AstNode *operand; } unary;
        struct { BinaryOp op; Span op_span; AstNode *left, *right; } binary;
        struct { CompareOp op; Span op_span; AstNode *left, *right; } compare;
        struct { AstNode *condition, *then, *otherwise; } cond;
        struct { AstNode *callee; ArgList args; Label *label; } call;          /* label NULL: none */
        struct { AstNode *base; AstList items; } index;
        struct { AstNode *base; Name name; } field;
        struct { AstNode *from, *to; Span op_span; } range;
        struct { AstNode *left, *stage; Label *label; Span op_span; } pipe;    /* the stage's label stands here,
                                                               also when the stage is an EXPR_CALL */
        struct { NameList targets; AstNode *value; } assign;
        struct { ArgList values; } returns;
        struct { AstNode *value; } expr;
        struct { Pattern *pattern; Name index; AstNode *over; Label *label; Body body; } loop;
        struct { ArmList arms; } branch;
        struct { Name name; AstNode *value; } set;
        struct { Name name; Type *type; AstNode *value; } tensor;              /* value NULL: none */
        struct { bool now; Name name; AstNode *value; } update;
        struct { const char *path; Span path_span; } use;
        struct { Name name; Name input; ParamList params; AstNode *formula; } function;
        struct { Name name; InputList inputs, options; Body body; } block;
        struct { Name name, base; Body body; } variant;     /* ITEM_PLACE, ITEM_OPTION */
        struct { Name network; Body body; } train;          /* ITEM_VALUE, ITEM_GROUP, STMT_TARGET */
        struct { AstNode *pattern; bool append; AstNode *value; } place;          /* pattern: EXPR_STRING; append: += */
        struct { AstList patterns; Body body; } group;     /* patterns: EXPR_STRING; body: ITEM_OPTION */
    };
};

typedef struct Comment {
    Span span;              /* from `#` to the end of its line */
    bool own_line;          /* nothing but space stands before it */
} Comment;

typedef struct AstFile {
    const SourceFile *source;
    AstList declarations;
    Comment *comments;      /* in order of the text; the printer puts them back */
    int comment_count;
} AstFile;

/* Parses a whole file; reports every syntax error it can find. Never NULL; what stands in the tree after an
 * error is good for more checks, not for compiling. */
AstFile *syntax_parse(Arena *arena, const SourceFile *source, Diag *diag);

/* Parses one expression, such as the value of -D or --place; NULL after an error, which was reported. */
AstNode *syntax_parse_expression(Arena *arena, const SourceFile *source, Diag *diag);

/* Prints .snet in the canonical style, comments and blank lines kept. Needs a tree without EXPR_BAD and its
 * source text. Printing what it printed gives the same text. */
void ast_print(Writer *w, const AstFile *file);

/* Prints one expression on one line, without comments. */
void ast_print_expression(Writer *w, const AstNode *expr);

/* Whether two trees say the same, spans and spacing apart. */
bool ast_equal(const AstNode *a, const AstNode *b);
bool ast_file_equal(const AstFile *a, const AstFile *b);

/* What a node is, in the user's terms: "a call", "a network". */
const char *ast_kind_text(AstKind kind);
const char *ast_binary_text(BinaryOp op);
const char *ast_compare_text(CompareOp op);

#endif

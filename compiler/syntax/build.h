/* build.h - what the grammar's actions call: one function per form of the tree, checks of form included.
 * Private to this room and the grammar. Every function takes the parse first and spans last; a node that
 * would nest deeper than AST_MAX_DEPTH is reported and becomes EXPR_BAD. */
#ifndef SALUN_SYNTAX_BUILD_H
#define SALUN_SYNTAX_BUILD_H

#include "support/table.h"
#include "syntax/parse.h"

typedef struct Inputs {         /* what stands in the parentheses of a block or network */
    InputList inputs, options;
} Inputs;

typedef struct FunctionHead {   /* and of an activation, weight or schedule */
    Name input;
    ParamList params;
} FunctionHead;

typedef struct Stage {          /* the right side of a pipe */
    AstNode *node;
    Label *label;
} Stage;

/* Lists; appending to an empty (zero) list starts one. NULL nodes are left out. */
AstList ast_nodes(Parse *p, AstList list, AstNode *node);
AstList ast_prepend(Parse *p, AstNode *first, AstList list);
NameList ast_names(Parse *p, NameList list, Name name);
ArgList ast_args(Parse *p, ArgList list, Arg arg);
InputList ast_inputs(Parse *p, InputList list, Input input);
ParamList ast_params(Parse *p, ParamList list, Param param);
ArmList ast_arms(Parse *p, ArmList list, AstNode *condition, Body body, Span at);

Name ast_name_at(Parse *p, Span at);
Body ast_body(AstList lines, Span at);

/* What the functions below are made with: a node without children, children taken over (their depth), and the
 * check of the result. Then names that may stand only once in a list, and the contents of a string. */
AstNode *ast_node(Parse *p, AstKind kind, Span at);
void ast_adopt(AstNode *n, const AstNode *child);
void ast_adopt_all(AstNode *n, AstList list);
void ast_adopt_args(AstNode *n, ArgList args);
void ast_adopt_label(AstNode *n, const Label *label);
AstNode *ast_finish(Parse *p, AstNode *n);
void ast_declare_once(Parse *p, Table *seen, Name name);
void ast_check_arg_names(Parse *p, ArgList args);
const char *ast_string_contents(Parse *p, Span at);

/* expressions */
AstNode *ast_bad(Parse *p, Span at);
AstNode *ast_number(Parse *p, Span at);
AstNode *ast_constant(Parse *p, Span at);
AstNode *ast_string(Parse *p, Span at);
AstNode *ast_bool(Parse *p, bool value, Span at);
AstNode *ast_name(Parse *p, Span at);
AstNode *ast_list(Parse *p, AstKind kind, AstList items, Span at);
AstNode *ast_paren(AstNode *expr, Span at);
AstNode *ast_unary(Parse *p, UnaryOp op, AstNode *operand, Span op_at, Span at);
AstNode *ast_binary(Parse *p, BinaryOp op, AstNode *left, AstNode *right, Span op_at, Span at);
AstNode *ast_compare(Parse *p, CompareOp op, AstNode *left, AstNode *right, Span op_at, Span at);
AstNode *ast_cond(Parse *p, AstNode *condition, AstNode *then, AstNode *otherwise, Span at);
AstNode *ast_range(Parse *p, AstNode *from, AstNode *to, Span op_at, Span at);
AstNode *ast_call(Parse *p, AstNode *callee, ArgList args, Span at);
AstNode *ast_index(Parse *p, AstNode *base, AstList items, Span at);
AstNode *ast_field(Parse *p, AstNode *base, Name name, Span at);
AstNode *ast_labelled(Parse *p, AstNode *call, Label *label, Span at);
AstNode *ast_pipe(Parse *p, AstNode *left, AstNode *stage, Label *label, Span op_at, Span at);
Arg ast_arg(Parse *p, Name fixed, Name name, AstNode *value, Span at);

/* labels */
Label *ast_label_text(Parse *p, Label *label, Span at);
Label *ast_label_value(Parse *p, Label *label, AstNode *value, Span at);
Label *ast_label_end(Parse *p, Label *label);

/* statements */
AstNode *ast_assign(Parse *p, NameList targets, AstNode *value, Span at);
AstNode *ast_return(Parse *p, ArgList values, Span at);
AstNode *ast_statement(Parse *p, AstNode *expr, Span at);
Pattern *ast_pattern_name(Parse *p, Span at);
Pattern *ast_pattern(Parse *p, Pattern *tuple, Pattern *part, Span at);
AstNode *ast_for(Parse *p, Pattern *pattern, Name index, AstNode *over, Label *label, Body body, Span at);
AstNode *ast_if(Parse *p, ArmList arms, Span at);
AstNode *ast_tensor(Parse *p, AstKind kind, Name name, Type *type, AstNode *value, Span at);
AstNode *ast_update(Parse *p, bool now, Name name, AstNode *value, Span at);
AstNode *ast_set(Parse *p, AstKind kind, Name name, AstNode *value, Span at);    /* every kind with `set` */

/* declarations and their parts */
void ast_declare(Parse *p, AstNode *declaration);
AstNode *ast_use(Parse *p, Span path, Span at);
AstNode *ast_function(Parse *p, AstKind kind, Name name, FunctionHead head, AstNode *formula, Span at);
AstNode *ast_block(Parse *p, AstKind kind, Name name, Inputs inputs, Body body, Span at);
AstNode *ast_variant(Parse *p, Name name, Name of, Name base, Body body, Span at);
AstNode *ast_train(Parse *p, Name network, Body body, Span at);
AstNode *ast_place(Parse *p, Span pattern, bool append, AstNode *value, Span at);
AstNode *ast_group(Parse *p, AstList patterns, Body body, Span at);
Type *ast_type(Parse *p, Name element, AstList dims, Span at);
Param ast_bound(BoundKind kind, AstNode *low, AstNode *high);
Param ast_param(Name name, Name scope, Param bound, AstNode *value, Span at);
Input ast_input(Parse *p, Name name, Type *type, Name channel_word, AstNode *channel, AstNode *value, Span at);

/* forms that are understood but not allowed: reported, what was meant is built */
AstNode *ast_stray_operator(Parse *p, AstNode *pipe, Span op_at);
AstNode *ast_chained_compare(Parse *p, AstNode *left, Span op_at);
AstNode *ast_pipe_in_arm(Parse *p, AstNode *expr, Span at);

#endif

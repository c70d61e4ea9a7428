/* build_expr.c - makes the nodes of expressions and labels; literals get their values here. */
#include "syntax/build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- expressions -------------------------------------------------------------------------------------- */

AstNode *ast_bad(Parse *p, Span at) {
    return ast_node(p, EXPR_BAD, at);
}

AstNode *ast_number(Parse *p, Span at) {
    AstNode *n = ast_node(p, EXPR_NUMBER, at);
    n->number.text = source_span_text(p->arena, at);
    n->number.value = strtod(n->number.text, NULL);
    n->number.integer = !strpbrk(n->number.text, ".eE");
    if (isinf(n->number.value))
        diag_error(p->diag, at, "this number is too large");
    return n;
}

AstNode *ast_constant(Parse *p, Span at) {
    AstNode *n = ast_node(p, EXPR_NUMBER, at);
    n->number.text = source_span_text(p->arena, at);
    n->number.value = !strcmp(n->number.text, "pi") ? 3.14159265358979323846 : (double)INFINITY;
    return n;
}

/* What the escape \c stands for; 0 for none. */
static char escaped(char c) {
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == '"' || c == '\\' ? c : 0;
}

const char *ast_string_contents(Parse *p, Span at) {
    const char *text = at.file->text + at.begin;
    uint32_t end = at.length > 1 && text[at.length - 1] == text[0] ? at.length - 1 : at.length;
    char *out = arena_alloc(p->arena, (size_t)at.length + 1);
    size_t length = 0;
    for (uint32_t i = 1; i < end; i++) {
        char c = text[i];
        if (c == '\\' && i + 1 < end) {
            c = escaped(text[++i]);
            if (!c)
                diag_error(p->diag, span_at(p, at.begin + i - 1, 2),
                           "unknown escape; a string knows \\\" \\\\ \\n and \\t");
        }
        if (c)
            out[length++] = c;
    }
    return out;
}

AstNode *ast_string(Parse *p, Span at) {
    AstNode *n = ast_node(p, EXPR_STRING, at);
    n->string.text = ast_string_contents(p, at);
    return n;
}

AstNode *ast_bool(Parse *p, bool value, Span at) {
    AstNode *n = ast_node(p, EXPR_BOOL, at);
    n->boolean.value = value;
    return n;
}

AstNode *ast_name(Parse *p, Span at) {
    AstNode *n = ast_node(p, EXPR_NAME, at);
    n->name.text = source_span_text(p->arena, at);
    return n;
}

AstNode *ast_list(Parse *p, AstKind kind, AstList items, Span at) {
    AstNode *n = ast_node(p, kind, at);
    n->list.items = items;
    ast_adopt_all(n, items);
    return ast_finish(p, n);
}

AstNode *ast_paren(AstNode *expr, Span at) {
    expr->parens = true;
    expr->span = at;
    return expr;
}

AstNode *ast_unary(Parse *p, UnaryOp op, AstNode *operand, Span op_at, Span at) {
    AstNode *n = ast_node(p, EXPR_UNARY, at);
    n->unary.op = op;
    n->unary.op_span = op_at;
    n->unary.operand = operand;
    ast_adopt(n, operand);
    return ast_finish(p, n);
}

AstNode *ast_binary(Parse *p, BinaryOp op, AstNode *left, AstNode *right, Span op_at, Span at) {
    AstNode *n = ast_node(p, EXPR_BINARY, at);
    n->binary.op = op;
    n->binary.op_span = op_at;
    n->binary.left = left;
    n->binary.right = right;
    n->tight = span_end(left->span) == op_at.begin || span_end(op_at) == right->span.begin;
    ast_adopt(n, left);
    ast_adopt(n, right);
    return ast_finish(p, n);
}

AstNode *ast_compare(Parse *p, CompareOp op, AstNode *left, AstNode *right, Span op_at, Span at) {
    AstNode *n = ast_node(p, EXPR_COMPARE, at);
    n->compare.op = op;
    n->compare.op_span = op_at;
    n->compare.left = left;
    n->compare.right = right;
    ast_adopt(n, left);
    ast_adopt(n, right);
    return ast_finish(p, n);
}

AstNode *ast_cond(Parse *p, AstNode *condition, AstNode *then, AstNode *otherwise, Span at) {
    AstNode *n = ast_node(p, EXPR_COND, at);
    n->cond.condition = condition;
    n->cond.then = then;
    n->cond.otherwise = otherwise;
    ast_adopt(n, condition);
    ast_adopt(n, then);
    ast_adopt(n, otherwise);
    return ast_finish(p, n);
}

AstNode *ast_range(Parse *p, AstNode *from, AstNode *to, Span op_at, Span at) {
    AstNode *n = ast_node(p, EXPR_RANGE, at);
    n->range.from = from;
    n->range.to = to;
    n->range.op_span = op_at;
    ast_adopt(n, from);
    ast_adopt(n, to);
    return ast_finish(p, n);
}

AstNode *ast_call(Parse *p, AstNode *callee, ArgList args, Span at) {
    AstNode *n = ast_node(p, EXPR_CALL, at);
    n->call.callee = callee;
    n->call.args = args;
    ast_check_arg_names(p, args);
    ast_adopt(n, callee);
    ast_adopt_args(n, args);
    return ast_finish(p, n);
}

AstNode *ast_index(Parse *p, AstNode *base, AstList items, Span at) {
    AstNode *n = ast_node(p, EXPR_INDEX, at);
    n->index.base = base;
    n->index.items = items;
    ast_adopt(n, base);
    ast_adopt_all(n, items);
    return ast_finish(p, n);
}

AstNode *ast_field(Parse *p, AstNode *base, Name name, Span at) {
    AstNode *n = ast_node(p, EXPR_FIELD, at);
    n->field.base = base;
    n->field.name = name;
    ast_adopt(n, base);
    return ast_finish(p, n);
}

AstNode *ast_labelled(Parse *p, AstNode *call, Label *label, Span at) {
    if (call->kind == EXPR_BAD)
        return call;
    if (call->kind != EXPR_CALL || call->parens) {
        diag_error(p->diag, label->span, "only a call or a stage of a pipe can have a label");
        return call;
    }
    call->call.label = label;
    call->span = at;
    ast_adopt_label(call, label);
    return ast_finish(p, call);
}

AstNode *ast_pipe(Parse *p, AstNode *left, AstNode *stage, Label *label, Span op_at, Span at) {
    switch (stage->kind) {
    case EXPR_NUMBER: case EXPR_STRING: case EXPR_BOOL: case EXPR_LIST: case EXPR_TUPLE:
        diag_error(p->diag, stage->span, "%s cannot stand behind `|>`; a layer's name or call can",
                   ast_kind_text(stage->kind));
        break;
    default:
        break;
    }
    AstNode *n = ast_node(p, EXPR_PIPE, at);
    n->pipe.left = left;
    n->pipe.stage = stage;
    n->pipe.label = label;
    n->pipe.op_span = op_at;
    ast_adopt(n, left);
    ast_adopt(n, stage);
    ast_adopt_label(n, label);
    return ast_finish(p, n);
}

Arg ast_arg(Parse *p, Name fixed, Name name, AstNode *value, Span at) {
    if (fixed.text && strcmp(fixed.text, "fixed")) {
        diag_error(p->diag, fixed.span, "`%s` cannot stand before `%s = ...`; is a comma missing?", fixed.text, name.text);
        fixed.text = NULL;
    }
    return (Arg){ .name = name, .fixed = fixed.text != NULL, .value = value, .span = at };
}

AstNode *ast_stray_operator(Parse *p, AstNode *pipe, Span op_at) {
    const char *op = source_span_text(p->arena, op_at);
    diag_error(p->diag, op_at, "`%s` cannot stand behind a stage of a pipe", op);
    diag_help(p->diag, "`|>` is looser than `%s`: write `(x |> f) %s y`, or name the pipe's result first", op, op);
    return pipe;
}

AstNode *ast_chained_compare(Parse *p, AstNode *left, Span op_at) {
    diag_error(p->diag, op_at, "comparisons cannot be chained");
    diag_help(p->diag, "write `a < b and b < c`");
    return left;
}

AstNode *ast_pipe_in_arm(Parse *p, AstNode *expr, Span at) {
    diag_error(p->diag, at, "a pipe and an `if ... else` need parentheses between them");
    diag_help(p->diag, "write `(x |> f) if c else y`, or `x |> (f if c else g)`");
    return expr;
}

/* --- labels ------------------------------------------------------------------------------------------- */

static Label *label_part(Parse *p, Label *label, LabelPart part) {
    if (!label) {
        label = NEW(p->arena, Label);
        label->span = part.span;
    }
    label->span = span_join(label->span, part.span);
    ARENA_PUSH(p->arena, label->parts, label->count, label->capacity, part);
    return label;
}

Label *ast_label_text(Parse *p, Label *label, Span at) {
    return label_part(p, label, (LabelPart){ .text = source_span_text(p->arena, at), .span = at });
}

Label *ast_label_value(Parse *p, Label *label, AstNode *value, Span at) {
    return label_part(p, label, (LabelPart){ .value = value, .span = at });
}

/* Between a label's dots something must stand. */
Label *ast_label_end(Parse *p, Label *label) {
    bool dot = true, empty = false;
    for (int i = 0; i < label->count; i++) {
        if (!label->parts[i].text)
            dot = false;
        for (const char *c = label->parts[i].text; c && *c; c++) {
            empty = empty || (dot && *c == '.');
            dot = *c == '.';
        }
    }
    if (empty || dot)
        diag_error(p->diag, label->span, "a label has a name or number before, between and after its dots");
    return label;
}

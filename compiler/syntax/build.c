/* build.c - makes the nodes of the tree from what the grammar recognised; checks what a rule cannot. */
#include "syntax/build.h"

#include "support/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- nodes and lists ---------------------------------------------------------------------------------- */

static AstNode *node_new(Parse *p, AstKind kind, Span at) {
    AstNode *n = NEW(p->arena, AstNode);
    n->kind = kind;
    n->depth = 1;
    n->span = at;
    return n;
}

static void adopt(AstNode *n, const AstNode *child) {
    if (child && child->depth >= n->depth)
        n->depth = child->depth + 1;
}

static void adopt_all(AstNode *n, AstList list) {
    for (int i = 0; i < list.count; i++)
        adopt(n, list.items[i]);
}

static void adopt_args(AstNode *n, ArgList args) {
    for (int i = 0; i < args.count; i++)
        adopt(n, args.items[i].value);
}

static void adopt_label(AstNode *n, const Label *label) {
    for (int i = 0; label && i < label->count; i++)
        adopt(n, label->parts[i].value);
}

static void adopt_inputs(AstNode *n, InputList list) {
    for (int i = 0; i < list.count; i++) {
        adopt(n, list.items[i].value);
        adopt(n, list.items[i].channel);
        if (list.items[i].type)
            adopt_all(n, list.items[i].type->dims);
    }
}

/* Keeps the tree's depth bounded: a node too deep becomes EXPR_BAD, a statement is left out. */
static AstNode *finish(Parse *p, AstNode *n) {
    if (n->depth <= AST_MAX_DEPTH)
        return n;
    if (!p->too_deep)
        diag_error(p->diag, n->span, "this nests deeper than %d levels", AST_MAX_DEPTH);
    p->too_deep = true;
    return n->kind < STMT_ASSIGN ? ast_bad(p, n->span) : NULL;
}

AstList ast_nodes(Parse *p, AstList list, AstNode *node) {
    if (node)
        ARENA_PUSH(p->arena, list.items, list.count, list.capacity, node);
    return list;
}

AstList ast_prepend(Parse *p, AstNode *first, AstList list) {
    AstList all = ast_nodes(p, (AstList){ 0 }, first);
    for (int i = 0; i < list.count; i++)
        all = ast_nodes(p, all, list.items[i]);
    return all;
}

NameList ast_names(Parse *p, NameList list, Name name) {
    ARENA_PUSH(p->arena, list.items, list.count, list.capacity, name);
    return list;
}

ArgList ast_args(Parse *p, ArgList list, Arg arg) {
    if (!arg.name.text && list.count && list.items[list.count - 1].name.text)
        diag_error(p->diag, arg.span, "a value without a name cannot follow one with a name");
    ARENA_PUSH(p->arena, list.items, list.count, list.capacity, arg);
    return list;
}

InputList ast_inputs(Parse *p, InputList list, Input input) {
    ARENA_PUSH(p->arena, list.items, list.count, list.capacity, input);
    return list;
}

ParamList ast_params(Parse *p, ParamList list, Param param) {
    ARENA_PUSH(p->arena, list.items, list.count, list.capacity, param);
    return list;
}

ArmList ast_arms(Parse *p, ArmList list, AstNode *condition, Body body, Span at) {
    Arm arm = { .condition = condition, .body = body, .span = at };
    ARENA_PUSH(p->arena, list.items, list.count, list.capacity, arm);
    return list;
}

Name ast_name_at(Parse *p, Span at) {
    return (Name){ .text = source_span_text(p->arena, at), .span = at };
}

Body ast_body(AstList lines, Span at) {
    return (Body){ .lines = lines, .span = at };
}

/* Reports a name that is already in the table. */
static void declare_once(Parse *p, Table *seen, Name name) {
    Name *before = table_get(seen, name.text);
    if (before) {
        diag_error(p->diag, name.span, "`%s` stands here twice", name.text);
        diag_note(p->diag, before->span, "the first");
        return;
    }
    Name *kept = NEW(p->arena, Name);
    *kept = name;
    table_set(seen, name.text, kept);
}

static void check_arg_names(Parse *p, ArgList args) {
    Table *seen = NULL;
    for (int i = 0; i < args.count; i++) {
        if (!args.items[i].name.text)
            continue;
        seen = seen ? seen : table_new(p->arena);
        declare_once(p, seen, args.items[i].name);
    }
}

/* --- expressions -------------------------------------------------------------------------------------- */

AstNode *ast_bad(Parse *p, Span at) {
    return node_new(p, EXPR_BAD, at);
}

AstNode *ast_number(Parse *p, Span at) {
    AstNode *n = node_new(p, EXPR_NUMBER, at);
    n->number.text = source_span_text(p->arena, at);
    n->number.value = strtod(n->number.text, NULL);
    n->number.integer = !strpbrk(n->number.text, ".eE");
    if (isinf(n->number.value))
        diag_error(p->diag, at, "this number is too large");
    return n;
}

AstNode *ast_constant(Parse *p, Span at) {
    AstNode *n = node_new(p, EXPR_NUMBER, at);
    n->number.text = source_span_text(p->arena, at);
    n->number.value = !strcmp(n->number.text, "pi") ? 3.14159265358979323846 : (double)INFINITY;
    return n;
}

/* What the escape \c stands for; 0 for none. */
static char escaped(char c) {
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == '"' || c == '\\' ? c : 0;
}

static const char *string_contents(Parse *p, Span at) {
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
    AstNode *n = node_new(p, EXPR_STRING, at);
    n->string.text = string_contents(p, at);
    return n;
}

AstNode *ast_bool(Parse *p, bool value, Span at) {
    AstNode *n = node_new(p, EXPR_BOOL, at);
    n->boolean.value = value;
    return n;
}

AstNode *ast_name(Parse *p, Span at) {
    AstNode *n = node_new(p, EXPR_NAME, at);
    n->name.text = source_span_text(p->arena, at);
    return n;
}

AstNode *ast_list(Parse *p, AstKind kind, AstList items, Span at) {
    AstNode *n = node_new(p, kind, at);
    n->list.items = items;
    adopt_all(n, items);
    return finish(p, n);
}

AstNode *ast_paren(AstNode *expr, Span at) {
    expr->parens = true;
    expr->span = at;
    return expr;
}

AstNode *ast_unary(Parse *p, UnaryOp op, AstNode *operand, Span op_at, Span at) {
    AstNode *n = node_new(p, EXPR_UNARY, at);
    n->unary.op = op;
    n->unary.op_span = op_at;
    n->unary.operand = operand;
    adopt(n, operand);
    return finish(p, n);
}

AstNode *ast_binary(Parse *p, BinaryOp op, AstNode *left, AstNode *right, Span op_at, Span at) {
    AstNode *n = node_new(p, EXPR_BINARY, at);
    n->binary.op = op;
    n->binary.op_span = op_at;
    n->binary.left = left;
    n->binary.right = right;
    n->tight = span_end(left->span) == op_at.begin || span_end(op_at) == right->span.begin;
    adopt(n, left);
    adopt(n, right);
    return finish(p, n);
}

AstNode *ast_compare(Parse *p, CompareOp op, AstNode *left, AstNode *right, Span op_at, Span at) {
    AstNode *n = node_new(p, EXPR_COMPARE, at);
    n->compare.op = op;
    n->compare.op_span = op_at;
    n->compare.left = left;
    n->compare.right = right;
    adopt(n, left);
    adopt(n, right);
    return finish(p, n);
}

AstNode *ast_cond(Parse *p, AstNode *condition, AstNode *then, AstNode *otherwise, Span at) {
    AstNode *n = node_new(p, EXPR_COND, at);
    n->cond.condition = condition;
    n->cond.then = then;
    n->cond.otherwise = otherwise;
    adopt(n, condition);
    adopt(n, then);
    adopt(n, otherwise);
    return finish(p, n);
}

AstNode *ast_range(Parse *p, AstNode *from, AstNode *to, Span op_at, Span at) {
    AstNode *n = node_new(p, EXPR_RANGE, at);
    n->range.from = from;
    n->range.to = to;
    n->range.op_span = op_at;
    adopt(n, from);
    adopt(n, to);
    return finish(p, n);
}

AstNode *ast_call(Parse *p, AstNode *callee, ArgList args, Span at) {
    AstNode *n = node_new(p, EXPR_CALL, at);
    n->call.callee = callee;
    n->call.args = args;
    check_arg_names(p, args);
    adopt(n, callee);
    adopt_args(n, args);
    return finish(p, n);
}

AstNode *ast_index(Parse *p, AstNode *base, AstList items, Span at) {
    AstNode *n = node_new(p, EXPR_INDEX, at);
    n->index.base = base;
    n->index.items = items;
    adopt(n, base);
    adopt_all(n, items);
    return finish(p, n);
}

AstNode *ast_field(Parse *p, AstNode *base, Name name, Span at) {
    AstNode *n = node_new(p, EXPR_FIELD, at);
    n->field.base = base;
    n->field.name = name;
    adopt(n, base);
    return finish(p, n);
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
    adopt_label(call, label);
    return finish(p, call);
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
    AstNode *n = node_new(p, EXPR_PIPE, at);
    n->pipe.left = left;
    n->pipe.stage = stage;
    n->pipe.label = label;
    n->pipe.op_span = op_at;
    adopt(n, left);
    adopt(n, stage);
    adopt_label(n, label);
    return finish(p, n);
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

/* --- statements --------------------------------------------------------------------------------------- */

AstNode *ast_assign(Parse *p, NameList targets, AstNode *value, Span at) {
    AstNode *n = node_new(p, STMT_ASSIGN, at);
    n->assign.targets = targets;
    n->assign.value = value;
    adopt(n, value);
    Table *seen = targets.count > 1 ? table_new(p->arena) : NULL;
    for (int i = 0; seen && i < targets.count; i++)
        declare_once(p, seen, targets.items[i]);
    return finish(p, n);
}

AstNode *ast_return(Parse *p, ArgList values, Span at) {
    AstNode *n = node_new(p, STMT_RETURN, at);
    n->returns.values = values;
    if (values.count == 0)
        diag_error(p->diag, at, "`return` needs a value");
    for (int i = 0; i < values.count; i++)
        if (values.items[i].fixed)
            diag_error(p->diag, values.items[i].span, "only an argument can be `fixed`");
    check_arg_names(p, values);
    adopt_args(n, values);
    return finish(p, n);
}

AstNode *ast_statement(Parse *p, AstNode *expr, Span at) {
    AstNode *n = node_new(p, STMT_EXPR, at);
    n->expr.value = expr;
    adopt(n, expr);
    return finish(p, n);
}

Pattern *ast_pattern_name(Parse *p, Span at) {
    Pattern *pattern = NEW(p->arena, Pattern);
    pattern->name = ast_name_at(p, at);
    pattern->span = at;
    return pattern;
}

Pattern *ast_pattern(Parse *p, Pattern *tuple, Pattern *part, Span at) {
    if (!tuple) {
        tuple = NEW(p->arena, Pattern);
        tuple->span = at;
    }
    ARENA_PUSH(p->arena, tuple->parts, tuple->count, tuple->capacity, part);
    return tuple;
}

static void declare_pattern(Parse *p, Table *seen, const Pattern *pattern) {
    if (pattern->name.text)
        declare_once(p, seen, pattern->name);
    for (int i = 0; i < pattern->count; i++)
        declare_pattern(p, seen, pattern->parts[i]);
}

static void adopt_body(AstNode *n, Body body) {
    adopt_all(n, body.lines);
}

AstNode *ast_for(Parse *p, Pattern *pattern, Name index, AstNode *over, Label *label, Body body, Span at) {
    AstNode *n = node_new(p, STMT_FOR, at);
    n->loop.pattern = pattern;
    n->loop.index = index;
    n->loop.over = over;
    n->loop.label = label;
    n->loop.body = body;
    Table *seen = table_new(p->arena);
    declare_pattern(p, seen, pattern);
    if (index.text)
        declare_once(p, seen, index);
    adopt(n, over);
    adopt_label(n, label);
    adopt_body(n, body);
    return finish(p, n);
}

AstNode *ast_if(Parse *p, ArmList arms, Span at) {
    AstNode *n = node_new(p, STMT_IF, at);
    n->branch.arms = arms;
    for (int i = 0; i < arms.count; i++) {
        adopt(n, arms.items[i].condition);
        adopt_body(n, arms.items[i].body);
    }
    return finish(p, n);
}

AstNode *ast_tensor(Parse *p, AstKind kind, Name name, Type *type, AstNode *value, Span at) {
    AstNode *n = node_new(p, kind, at);
    n->tensor.name = name;
    n->tensor.type = type;
    n->tensor.value = value;
    adopt_all(n, type->dims);
    adopt(n, value);
    return finish(p, n);
}

AstNode *ast_update(Parse *p, bool now, Name name, AstNode *value, Span at) {
    AstNode *n = node_new(p, STMT_UPDATE, at);
    n->update.now = now;
    n->update.name = name;
    n->update.value = value;
    adopt(n, value);
    return finish(p, n);
}

AstNode *ast_set(Parse *p, AstKind kind, Name name, AstNode *value, Span at) {
    AstNode *n = node_new(p, kind, at);
    n->set.name = name;
    n->set.value = value;
    adopt(n, value);
    return finish(p, n);
}

/* --- declarations ------------------------------------------------------------------------------------- */

void ast_declare(Parse *p, AstNode *declaration) {
    p->file->declarations = ast_nodes(p, p->file->declarations, declaration);
}

AstNode *ast_use(Parse *p, Span path, Span at) {
    AstNode *n = node_new(p, DECL_USE, at);
    n->use.path = string_contents(p, path);
    n->use.path_span = path;
    return n;
}

AstNode *ast_function(Parse *p, AstKind kind, Name name, FunctionHead head, AstNode *formula, Span at) {
    AstNode *n = node_new(p, kind, at);
    n->function.name = name;
    ParamList params = head.params;
    n->function.input = head.input;
    n->function.params = params;
    n->function.formula = formula;
    Table *seen = table_new(p->arena);
    declare_once(p, seen, head.input);
    for (int i = 0; i < params.count; i++) {
        declare_once(p, seen, params.items[i].name);
        adopt(n, params.items[i].low);
        adopt(n, params.items[i].high);
        adopt(n, params.items[i].value);
    }
    adopt(n, formula);
    return finish(p, n);
}

static void check_inputs(Parse *p, AstKind kind, InputList inputs) {
    const Input *with_default = NULL;
    for (int i = 0; i < inputs.count; i++) {
        const Input *input = &inputs.items[i];
        if (kind == DECL_NETWORK && !input->type) {
            diag_error(p->diag, input->span, "an input of a network needs a type");
            diag_help(p->diag, "write `%s: f32[N, 3, 32, 32]`; options stand behind a `;`", input->name.text);
        } else if (kind == DECL_BLOCK && input->type) {
            diag_error(p->diag, input->span, "inputs of a block have no types; they take the shapes that a call gives");
        } else if (with_default && !input->value) {
            diag_error(p->diag, input->span, "an input without a default cannot follow one with a default");
        }
        with_default = input->value ? input : with_default;
    }
}

AstNode *ast_block(Parse *p, AstKind kind, Name name, Inputs inputs, Body body, Span at) {
    AstNode *n = node_new(p, kind, at);
    n->block.name = name;
    n->block.inputs = inputs.inputs;
    n->block.options = inputs.options;
    n->block.body = body;
    check_inputs(p, kind, inputs.inputs);
    Table *seen = table_new(p->arena);
    for (int i = 0; i < inputs.inputs.count; i++)
        declare_once(p, seen, inputs.inputs.items[i].name);
    for (int i = 0; i < inputs.options.count; i++) {
        declare_once(p, seen, inputs.options.items[i].name);
        if (inputs.options.items[i].type)
            diag_error(p->diag, inputs.options.items[i].span, "options have no types");
    }
    adopt_inputs(n, inputs.inputs);
    adopt_inputs(n, inputs.options);
    adopt_body(n, body);
    return finish(p, n);
}

AstNode *ast_variant(Parse *p, Name name, Name of, Name base, Body body, Span at) {
    AstNode *n = node_new(p, DECL_VARIANT, at);
    if (strcmp(of.text, "of"))
        diag_error(p->diag, of.span, "expected `of`, found `%s`", of.text);
    n->variant.name = name;
    n->variant.base = base;
    n->variant.body = body;
    adopt_body(n, body);
    return finish(p, n);
}

AstNode *ast_train(Parse *p, Name network, Body body, Span at) {
    AstNode *n = node_new(p, DECL_TRAIN, at);
    n->train.network = network;
    n->train.body = body;
    adopt_body(n, body);
    return finish(p, n);
}

AstNode *ast_place(Parse *p, Span pattern, bool append, AstNode *value, Span at) {
    AstNode *n = node_new(p, ITEM_PLACE, at);
    n->place.pattern = ast_string(p, pattern);
    n->place.append = append;
    n->place.value = value;
    adopt(n, value);
    return finish(p, n);
}

AstNode *ast_group(Parse *p, AstList patterns, Body body, Span at) {
    AstNode *n = node_new(p, ITEM_GROUP, at);
    n->group.patterns = patterns;
    n->group.body = body;
    adopt_body(n, body);
    return finish(p, n);
}

Type *ast_type(Parse *p, Name element, AstList dims, Span at) {
    Type *type = NEW(p->arena, Type);
    *type = (Type){ .element = element, .dims = dims, .span = at };
    return type;
}

Param ast_bound(BoundKind kind, AstNode *low, AstNode *high) {
    return (Param){ .bound = kind, .low = low, .high = high };
}

Param ast_param(Name name, Name scope, Param bound, AstNode *value, Span at) {
    bound.name = name;
    bound.scope = scope;
    bound.value = value;
    bound.span = at;
    return bound;
}

Input ast_input(Parse *p, Name name, Type *type, Name channel_word, AstNode *channel, AstNode *value, Span at) {
    if (channel_word.text && strcmp(channel_word.text, "channel"))
        diag_error(p->diag, channel_word.span, "expected `channel = ...` or `,` behind the type, found `%s`",
                   channel_word.text);
    return (Input){ .name = name, .type = type, .channel = channel, .value = value, .span = at };
}

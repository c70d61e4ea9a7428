/* build.c - makes the nodes of statements and declarations from what the grammar recognised, checks what a
 * rule cannot, and keeps the tree shallow. build_expr.c makes the nodes of expressions. */
#include "syntax/build.h"

#include <string.h>

/* --- nodes and lists ---------------------------------------------------------------------------------- */

AstNode *ast_node(Parse *p, AstKind kind, Span at) {
    AstNode *n = NEW(p->arena, AstNode);
    n->kind = kind;
    n->depth = 1;
    n->span = at;
    return n;
}

void ast_adopt(AstNode *n, const AstNode *child) {
    if (child && child->depth >= n->depth)
        n->depth = child->depth + 1;
}

void ast_adopt_all(AstNode *n, AstList list) {
    for (int i = 0; i < list.count; i++)
        ast_adopt(n, list.items[i]);
}

void ast_adopt_args(AstNode *n, ArgList args) {
    for (int i = 0; i < args.count; i++)
        ast_adopt(n, args.items[i].value);
}

void ast_adopt_label(AstNode *n, const Label *label) {
    for (int i = 0; label && i < label->count; i++)
        ast_adopt(n, label->parts[i].value);
}

static void adopt_inputs(AstNode *n, InputList list) {
    for (int i = 0; i < list.count; i++) {
        ast_adopt(n, list.items[i].value);
        ast_adopt(n, list.items[i].channel);
        if (list.items[i].type)
            ast_adopt_all(n, list.items[i].type->dims);
    }
}

/* Keeps the tree's depth bounded: a node too deep becomes EXPR_BAD, a statement is left out. */
AstNode *ast_finish(Parse *p, AstNode *n) {
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
void ast_declare_once(Parse *p, Table *seen, Name name) {
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

void ast_check_arg_names(Parse *p, ArgList args) {
    Table *seen = NULL;
    for (int i = 0; i < args.count; i++) {
        if (!args.items[i].name.text)
            continue;
        seen = seen ? seen : table_new(p->arena);
        ast_declare_once(p, seen, args.items[i].name);
    }
}

/* --- statements --------------------------------------------------------------------------------------- */

AstNode *ast_assign(Parse *p, NameList targets, AstNode *value, Span at) {
    AstNode *n = ast_node(p, STMT_ASSIGN, at);
    n->assign.targets = targets;
    n->assign.value = value;
    ast_adopt(n, value);
    Table *seen = targets.count > 1 ? table_new(p->arena) : NULL;
    for (int i = 0; seen && i < targets.count; i++)
        ast_declare_once(p, seen, targets.items[i]);
    return ast_finish(p, n);
}

AstNode *ast_return(Parse *p, ArgList values, Span at) {
    AstNode *n = ast_node(p, STMT_RETURN, at);
    n->returns.values = values;
    if (values.count == 0)
        diag_error(p->diag, at, "`return` needs a value");
    for (int i = 0; i < values.count; i++)
        if (values.items[i].fixed)
            diag_error(p->diag, values.items[i].span, "only an argument can be `fixed`");
    ast_check_arg_names(p, values);
    ast_adopt_args(n, values);
    return ast_finish(p, n);
}

AstNode *ast_statement(Parse *p, AstNode *expr, Span at) {
    AstNode *n = ast_node(p, STMT_EXPR, at);
    n->expr.value = expr;
    ast_adopt(n, expr);
    return ast_finish(p, n);
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
        ast_declare_once(p, seen, pattern->name);
    for (int i = 0; i < pattern->count; i++)
        declare_pattern(p, seen, pattern->parts[i]);
}

static void adopt_body(AstNode *n, Body body) {
    ast_adopt_all(n, body.lines);
}

AstNode *ast_for(Parse *p, Pattern *pattern, Name index, AstNode *over, Label *label, Body body, Span at) {
    AstNode *n = ast_node(p, STMT_FOR, at);
    n->loop.pattern = pattern;
    n->loop.index = index;
    n->loop.over = over;
    n->loop.label = label;
    n->loop.body = body;
    Table *seen = table_new(p->arena);
    declare_pattern(p, seen, pattern);
    if (index.text)
        ast_declare_once(p, seen, index);
    ast_adopt(n, over);
    ast_adopt_label(n, label);
    adopt_body(n, body);
    return ast_finish(p, n);
}

AstNode *ast_if(Parse *p, ArmList arms, Span at) {
    AstNode *n = ast_node(p, STMT_IF, at);
    n->branch.arms = arms;
    for (int i = 0; i < arms.count; i++) {
        ast_adopt(n, arms.items[i].condition);
        adopt_body(n, arms.items[i].body);
    }
    return ast_finish(p, n);
}

AstNode *ast_tensor(Parse *p, AstKind kind, Name name, Type *type, AstNode *value, Span at) {
    AstNode *n = ast_node(p, kind, at);
    n->tensor.name = name;
    n->tensor.type = type;
    n->tensor.value = value;
    ast_adopt_all(n, type->dims);
    ast_adopt(n, value);
    return ast_finish(p, n);
}

AstNode *ast_update(Parse *p, bool now, Name name, AstNode *value, Span at) {
    AstNode *n = ast_node(p, STMT_UPDATE, at);
    n->update.now = now;
    n->update.name = name;
    n->update.value = value;
    ast_adopt(n, value);
    return ast_finish(p, n);
}

AstNode *ast_set(Parse *p, AstKind kind, Name name, AstNode *value, Span at) {
    AstNode *n = ast_node(p, kind, at);
    n->set.name = name;
    n->set.value = value;
    ast_adopt(n, value);
    return ast_finish(p, n);
}

/* --- declarations ------------------------------------------------------------------------------------- */

void ast_declare(Parse *p, AstNode *declaration) {
    p->file->declarations = ast_nodes(p, p->file->declarations, declaration);
}

AstNode *ast_use(Parse *p, Span path, Span at) {
    AstNode *n = ast_node(p, DECL_USE, at);
    n->use.path = ast_string_contents(p, path);
    n->use.path_span = path;
    return n;
}

AstNode *ast_function(Parse *p, AstKind kind, Name name, FunctionHead head, AstNode *formula, Span at) {
    AstNode *n = ast_node(p, kind, at);
    n->function.name = name;
    ParamList params = head.params;
    n->function.input = head.input;
    n->function.params = params;
    n->function.formula = formula;
    Table *seen = table_new(p->arena);
    ast_declare_once(p, seen, head.input);
    for (int i = 0; i < params.count; i++) {
        ast_declare_once(p, seen, params.items[i].name);
        ast_adopt(n, params.items[i].low);
        ast_adopt(n, params.items[i].high);
        ast_adopt(n, params.items[i].value);
    }
    ast_adopt(n, formula);
    return ast_finish(p, n);
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
    AstNode *n = ast_node(p, kind, at);
    n->block.name = name;
    n->block.inputs = inputs.inputs;
    n->block.options = inputs.options;
    n->block.body = body;
    check_inputs(p, kind, inputs.inputs);
    Table *seen = table_new(p->arena);
    for (int i = 0; i < inputs.inputs.count; i++)
        ast_declare_once(p, seen, inputs.inputs.items[i].name);
    for (int i = 0; i < inputs.options.count; i++) {
        ast_declare_once(p, seen, inputs.options.items[i].name);
        if (inputs.options.items[i].type)
            diag_error(p->diag, inputs.options.items[i].span, "options have no types");
    }
    adopt_inputs(n, inputs.inputs);
    adopt_inputs(n, inputs.options);
    adopt_body(n, body);
    return ast_finish(p, n);
}

AstNode *ast_variant(Parse *p, Name name, Name of, Name base, Body body, Span at) {
    AstNode *n = ast_node(p, DECL_VARIANT, at);
    if (strcmp(of.text, "of"))
        diag_error(p->diag, of.span, "expected `of`, found `%s`", of.text);
    n->variant.name = name;
    n->variant.base = base;
    n->variant.body = body;
    adopt_body(n, body);
    return ast_finish(p, n);
}

AstNode *ast_train(Parse *p, Name network, Body body, Span at) {
    AstNode *n = ast_node(p, DECL_TRAIN, at);
    n->train.network = network;
    n->train.body = body;
    adopt_body(n, body);
    return ast_finish(p, n);
}

AstNode *ast_place(Parse *p, Span pattern, bool append, AstNode *value, Span at) {
    AstNode *n = ast_node(p, ITEM_PLACE, at);
    n->place.pattern = ast_string(p, pattern);
    n->place.append = append;
    n->place.value = value;
    ast_adopt(n, value);
    return ast_finish(p, n);
}

AstNode *ast_group(Parse *p, AstList patterns, Body body, Span at) {
    AstNode *n = ast_node(p, ITEM_GROUP, at);
    n->group.patterns = patterns;
    n->group.body = body;
    adopt_body(n, body);
    return ast_finish(p, n);
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

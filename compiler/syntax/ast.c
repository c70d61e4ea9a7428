/* ast.c - what nodes are called, and whether two trees say the same. */
#include "syntax/ast.h"

#include <assert.h>
#include <string.h>

const char *ast_kind_text(AstKind kind) {
    static const char *const texts[] = {
        [EXPR_BAD] = "an error",           [EXPR_NUMBER] = "a number",       [EXPR_STRING] = "a string",
        [EXPR_BOOL] = "a truth value",     [EXPR_NAME] = "a name",           [EXPR_LIST] = "a list",
        [EXPR_TUPLE] = "a tuple",          [EXPR_UNARY] = "an operation",    [EXPR_BINARY] = "an operation",
        [EXPR_COMPARE] = "a comparison",   [EXPR_COND] = "a choice",         [EXPR_CALL] = "a call",
        [EXPR_INDEX] = "an element",       [EXPR_FIELD] = "a field",         [EXPR_RANGE] = "a range",
        [EXPR_PIPE] = "a pipe",            [STMT_ASSIGN] = "an assignment",  [STMT_RETURN] = "a return",
        [STMT_EXPR] = "an expression",     [STMT_FOR] = "a for",             [STMT_IF] = "an if",
        [STMT_PREPROCESS] = "a preprocess", [STMT_PARAM] = "a param",        [STMT_STATE] = "a state",
        [STMT_TARGET] = "a target",        [STMT_UPDATE] = "an update",      [DECL_USE] = "a use",
        [DECL_LET] = "a let",              [DECL_ACTIVATION] = "an activation", [DECL_WEIGHT] = "a weight",
        [DECL_SCHEDULE] = "a schedule",    [DECL_BLOCK] = "a block",         [DECL_NETWORK] = "a network",
        [DECL_VARIANT] = "a variant",      [DECL_TRAIN] = "a train",         [ITEM_PLACE] = "a placement",
        [ITEM_OPTION] = "an option",       [ITEM_VALUE] = "an item",         [ITEM_GROUP] = "a group",
    };
    return texts[kind];
}

const char *ast_binary_text(BinaryOp op) {
    static const char *const texts[] = {
        [BINARY_OR] = "or", [BINARY_AND] = "and", [BINARY_ADD] = "+", [BINARY_SUB] = "-", [BINARY_MUL] = "*",
        [BINARY_DIV] = "/", [BINARY_MOD] = "%", [BINARY_FLOORDIV] = "//", [BINARY_POW] = "^",
    };
    return texts[op];
}

const char *ast_compare_text(CompareOp op) {
    static const char *const texts[] = {
        [COMPARE_EQ] = "==", [COMPARE_NE] = "!=", [COMPARE_LT] = "<",
        [COMPARE_LE] = "<=", [COMPARE_GT] = ">",  [COMPARE_GE] = ">=",
    };
    return texts[op];
}

/* --- equality ----------------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_names(NameList a, NameList b) {
    bool same = a.count == b.count;
    for (int i = 0; same && i < a.count; i++)
        same = same_text(a.items[i].text, b.items[i].text);
    return same;
}

static bool same_nodes(AstList a, AstList b) {
    bool same = a.count == b.count;
    for (int i = 0; same && i < a.count; i++)
        same = ast_equal(a.items[i], b.items[i]);
    return same;
}

static bool same_args(ArgList a, ArgList b) {
    bool same = a.count == b.count;
    for (int i = 0; same && i < a.count; i++)
        same = a.items[i].fixed == b.items[i].fixed && same_text(a.items[i].name.text, b.items[i].name.text) &&
               ast_equal(a.items[i].value, b.items[i].value);
    return same;
}

static bool same_label(const Label *a, const Label *b) {
    if (!a || !b)
        return a == b;
    bool same = a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = same_text(a->parts[i].text, b->parts[i].text) && ast_equal(a->parts[i].value, b->parts[i].value);
    return same;
}

static bool same_type(const Type *a, const Type *b) {
    if (!a || !b)
        return a == b;
    return same_text(a->element.text, b->element.text) && same_nodes(a->dims, b->dims);
}

static bool same_inputs(InputList a, InputList b) {
    bool same = a.count == b.count;
    for (int i = 0; same && i < a.count; i++) {
        const Input *x = &a.items[i], *y = &b.items[i];
        same = same_text(x->name.text, y->name.text) && same_type(x->type, y->type) &&
               ast_equal(x->channel, y->channel) && ast_equal(x->value, y->value);
    }
    return same;
}

static bool same_params(ParamList a, ParamList b) {
    bool same = a.count == b.count;
    for (int i = 0; same && i < a.count; i++) {
        const Param *x = &a.items[i], *y = &b.items[i];
        same = same_text(x->name.text, y->name.text) && same_text(x->scope.text, y->scope.text) &&
               x->bound == y->bound && ast_equal(x->low, y->low) && ast_equal(x->high, y->high) &&
               ast_equal(x->value, y->value);
    }
    return same;
}

static bool same_pattern(const Pattern *a, const Pattern *b) {
    bool same = same_text(a->name.text, b->name.text) && a->count == b->count;
    for (int i = 0; same && i < a->count; i++)
        same = same_pattern(a->parts[i], b->parts[i]);
    return same;
}

static bool same_arms(ArmList a, ArmList b) {
    bool same = a.count == b.count;
    for (int i = 0; same && i < a.count; i++)
        same = ast_equal(a.items[i].condition, b.items[i].condition) &&
               same_nodes(a.items[i].body.lines, b.items[i].body.lines);
    return same;
}

static bool same_expression(const AstNode *a, const AstNode *b) {
    switch (a->kind) {
    case EXPR_NUMBER:  return same_text(a->number.text, b->number.text);
    case EXPR_STRING:  return same_text(a->string.text, b->string.text);
    case EXPR_BOOL:    return a->boolean.value == b->boolean.value;
    case EXPR_NAME:    return same_text(a->name.text, b->name.text);
    case EXPR_LIST:
    case EXPR_TUPLE:   return same_nodes(a->list.items, b->list.items);
    case EXPR_UNARY:   return a->unary.op == b->unary.op && ast_equal(a->unary.operand, b->unary.operand);
    case EXPR_BINARY:
        return a->binary.op == b->binary.op && ast_equal(a->binary.left, b->binary.left) &&
               ast_equal(a->binary.right, b->binary.right);
    case EXPR_COMPARE:
        return a->compare.op == b->compare.op && ast_equal(a->compare.left, b->compare.left) &&
               ast_equal(a->compare.right, b->compare.right);
    case EXPR_COND:
        return ast_equal(a->cond.condition, b->cond.condition) && ast_equal(a->cond.then, b->cond.then) &&
               ast_equal(a->cond.otherwise, b->cond.otherwise);
    case EXPR_CALL:
        return ast_equal(a->call.callee, b->call.callee) && same_args(a->call.args, b->call.args) &&
               same_label(a->call.label, b->call.label);
    case EXPR_INDEX:   return ast_equal(a->index.base, b->index.base) && same_nodes(a->index.items, b->index.items);
    case EXPR_FIELD:   return same_text(a->field.name.text, b->field.name.text) && ast_equal(a->field.base, b->field.base);
    case EXPR_RANGE:   return ast_equal(a->range.from, b->range.from) && ast_equal(a->range.to, b->range.to);
    case EXPR_PIPE:
        return ast_equal(a->pipe.left, b->pipe.left) && ast_equal(a->pipe.stage, b->pipe.stage) &&
               same_label(a->pipe.label, b->pipe.label);
    default:           return true;
    }
}

static bool same_statement(const AstNode *a, const AstNode *b) {
    switch (a->kind) {
    case STMT_ASSIGN:  return same_names(a->assign.targets, b->assign.targets) && ast_equal(a->assign.value, b->assign.value);
    case STMT_RETURN:  return same_args(a->returns.values, b->returns.values);
    case STMT_EXPR:    return ast_equal(a->expr.value, b->expr.value);
    case STMT_FOR:
        return same_pattern(a->loop.pattern, b->loop.pattern) && same_text(a->loop.index.text, b->loop.index.text) &&
               ast_equal(a->loop.over, b->loop.over) && same_label(a->loop.label, b->loop.label) &&
               same_nodes(a->loop.body.lines, b->loop.body.lines);
    case STMT_IF:      return same_arms(a->branch.arms, b->branch.arms);
    case STMT_PARAM:
    case STMT_STATE:
    case STMT_TARGET:
        return same_text(a->tensor.name.text, b->tensor.name.text) && same_type(a->tensor.type, b->tensor.type) &&
               ast_equal(a->tensor.value, b->tensor.value);
    case STMT_UPDATE:
        return a->update.now == b->update.now && same_text(a->update.name.text, b->update.name.text) &&
               ast_equal(a->update.value, b->update.value);
    default:           /* every kind with `set` */
        return same_text(a->set.name.text, b->set.name.text) && ast_equal(a->set.value, b->set.value);
    }
}

static bool same_declaration(const AstNode *a, const AstNode *b) {
    switch (a->kind) {
    case DECL_USE:     return same_text(a->use.path, b->use.path);
    case DECL_ACTIVATION:
    case DECL_WEIGHT:
    case DECL_SCHEDULE:
        return same_text(a->function.name.text, b->function.name.text) &&
               same_text(a->function.input.text, b->function.input.text) &&
               same_params(a->function.params, b->function.params) && ast_equal(a->function.formula, b->function.formula);
    case DECL_BLOCK:
    case DECL_NETWORK:
        return same_text(a->block.name.text, b->block.name.text) && same_inputs(a->block.inputs, b->block.inputs) &&
               same_inputs(a->block.options, b->block.options) && same_nodes(a->block.body.lines, b->block.body.lines);
    case DECL_VARIANT:
        return same_text(a->variant.name.text, b->variant.name.text) &&
               same_text(a->variant.base.text, b->variant.base.text) &&
               same_nodes(a->variant.body.lines, b->variant.body.lines);
    case DECL_TRAIN:
        return same_text(a->train.network.text, b->train.network.text) &&
               same_nodes(a->train.body.lines, b->train.body.lines);
    case ITEM_PLACE:
        return a->place.append == b->place.append && ast_equal(a->place.pattern, b->place.pattern) &&
               ast_equal(a->place.value, b->place.value);
    case ITEM_GROUP:
        return same_nodes(a->group.patterns, b->group.patterns) && same_nodes(a->group.body.lines, b->group.body.lines);
    default:
        return same_statement(a, b);
    }
}

bool ast_equal(const AstNode *a, const AstNode *b) {
    if (!a || !b)
        return a == b;
    if (a->kind != b->kind)
        return false;
    if (a->kind < STMT_ASSIGN)
        return same_expression(a, b);
    return same_declaration(a, b);
}

bool ast_file_equal(const AstFile *a, const AstFile *b) {
    return same_nodes(a->declarations, b->declarations);
}

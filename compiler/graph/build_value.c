/* build_value.c - compile-time values: how diagnostics speak of them, when they are equal, and reading
 * numbers, integers and conditions from them. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

enum {
    LIST_DEPTH_MAX = 32,
    TEXT_ITEMS_MAX = 6,                 /* of a list, in a diagnostic */
    TEXT_DEPTH_MAX = 3
};

Value value_list(Builder *b, ValueKind kind, const Value *items, int count, Span at) {
    ValueList *list = NEW(b->arena, ValueList);
    Value *copy = NEW_ARRAY(b->arena, Value, count);
    for (int i = 0; i < count; i++) {
        if (is_bad(items[i]))
            return value_bad();
        copy[i] = items[i];
        bool nested = items[i].kind == VALUE_LIST || items[i].kind == VALUE_TUPLE;
        if (nested && items[i].list->depth >= list->depth)
            list->depth = items[i].list->depth + 1;
    }
    if (list->depth > LIST_DEPTH_MAX) {
        build_error(b, at, "lists stand in one another more than %d levels deep", LIST_DEPTH_MAX);
        return value_bad();
    }
    list->items = copy;
    list->count = count;
    return (Value){ .kind = kind, .list = list };
}

bool value_has_tensor(Value v) {
    if (v.kind == VALUE_TENSOR)
        return true;
    if (v.kind != VALUE_LIST && v.kind != VALUE_TUPLE)
        return false;
    for (int i = 0; i < v.list->count; i++)
        if (v.list->items[i].kind == VALUE_TENSOR)
            return true;
    return false;
}

static bool layers_equal(const Layer *a, const Layer *b) {
    if (a->kind != b->kind || a->builtin != b->builtin || a->op != b->op || a->decl != b->decl ||
        a->stage_count != b->stage_count)
        return false;
    for (int i = 0; i < a->stage_count; i++)
        if (!layers_equal(a->stages[i].layer, b->stages[i].layer))
            return false;
    return true;
}

/* Layers are equal when they are the same layer, whatever arguments are bound. Lists of lists are compared
 * only to the depth that value_list allows, and only as far as both agree. */
bool value_equal(Value a, Value b) {
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case VALUE_NUMBER: return a.number == b.number;
    case VALUE_BOOL: return a.boolean == b.boolean;
    case VALUE_STRING: return strcmp(a.string, b.string) == 0;
    case VALUE_RANGE: return a.range.from == b.range.from && a.range.to == b.range.to;
    case VALUE_LAYER: return layers_equal(a.layer, b.layer);
    case VALUE_TENSOR: return a.tensor == b.tensor;
    case VALUE_INIT: return a.init->kind == b.init->kind && a.init->a == b.init->a && a.init->b == b.init->b;
    case VALUE_SYMBOL: return a.symbol == b.symbol;
    case VALUE_LIST: case VALUE_TUPLE:
        if (a.list == b.list)
            return true;
        if (a.list->count != b.list->count)
            return false;
        for (int i = 0; i < a.list->count; i++)
            if (!value_equal(a.list->items[i], b.list->items[i]))
                return false;
        return true;
    case VALUE_BAD: return true;
    }
    return false;
}

/* ---- text ---- */

const char *number_text(Builder *b, double v) {
    if (v == floor(v) && fabs(v) < 1e15)
        return arena_printf(b->arena, "%.0f", v == 0 ? 0.0 : v);
    Writer *w = writer_new(b->arena);
    expr_print_number(w, v);
    return w->data;
}

static void write_value(Builder *b, Writer *w, Value v, int depth);

static void write_items(Builder *b, Writer *w, const ValueList *list, int depth) {
    if (depth >= TEXT_DEPTH_MAX) {
        writer_text(w, "...");
        return;
    }
    for (int i = 0; i < list->count && i < TEXT_ITEMS_MAX; i++) {
        writer_text(w, i ? ", " : "");
        write_value(b, w, list->items[i], depth + 1);
    }
    if (list->count > TEXT_ITEMS_MAX)
        writer_text(w, ", ...");
}

static void write_value(Builder *b, Writer *w, Value v, int depth) {
    switch (v.kind) {
    case VALUE_BAD: writer_text(w, "?"); break;
    case VALUE_NUMBER: writer_text(w, number_text(b, v.number)); break;
    case VALUE_BOOL: writer_text(w, v.boolean ? "true" : "false"); break;
    case VALUE_STRING: writer_printf(w, "\"%.60s\"", v.string); break;
    case VALUE_RANGE: writer_printf(w, "%lld..%lld", (long long)v.range.from, (long long)v.range.to); break;
    case VALUE_LAYER: writer_text(w, v.layer->name); break;
    case VALUE_TENSOR: writer_text(w, shape_text(b->arena, v.tensor->type, &v.tensor->shape)); break;
    case VALUE_INIT: writer_text(w, "initialiser"); break;
    case VALUE_SYMBOL: writer_text(w, "fan_in"); break;
    case VALUE_LIST: case VALUE_TUPLE:
        writer_char(w, v.kind == VALUE_LIST ? '[' : '(');
        write_items(b, w, v.list, depth);
        writer_char(w, v.kind == VALUE_LIST ? ']' : ')');
        break;
    }
}

const char *value_text(Builder *b, Value v) {
    Writer *w = writer_new(b->arena);
    switch (v.kind) {
    case VALUE_NUMBER: writer_text(w, "the number "); break;
    case VALUE_STRING: writer_text(w, "the string "); break;
    case VALUE_LIST: writer_text(w, "the list "); break;
    case VALUE_TUPLE: writer_text(w, "the tuple "); break;
    case VALUE_RANGE: writer_text(w, "the range "); break;
    case VALUE_LAYER: writer_text(w, "the layer "); break;
    case VALUE_TENSOR: writer_text(w, "a tensor "); break;
    case VALUE_INIT: writer_text(w, "an "); break;
    case VALUE_SYMBOL: return "a number that depends on fan_in or fan_out";
    default: break;
    }
    write_value(b, w, v, 0);
    return w->data;
}

/* ---- reading ---- */

bool value_want_number(Builder *b, Value v, Span at, const char *what, double *out) {
    if (v.kind == VALUE_NUMBER) {
        *out = v.number;
        return true;
    }
    if (is_bad(v))
        return false;
    build_error(b, at, "%s must be a number, not %s", what, value_text(b, v));
    if (v.kind == VALUE_SYMBOL)
        diag_help(b->diag, "fan_in and fan_out are known only inside an initialiser, as in `init = normal(fan_in^-0.5)`");
    if (v.kind == VALUE_TENSOR)
        diag_help(b->diag, "what a tensor holds is known only when the program runs");
    return false;
}

bool value_want_integer(Builder *b, Value v, Span at, const char *what, int64_t min, int64_t max, int64_t *out) {
    double d;
    if (!value_want_number(b, v, at, what, &d))
        return false;
    if (d != floor(d) || isinf(d)) {
        build_error(b, at, "%s must be a whole number, not %s", what, number_text(b, d));
        return false;
    }
    if (d < (double)min || d > (double)max) {
        if (d < (double)min)
            build_error(b, at, "%s must be at least %lld, not %s", what, (long long)min, number_text(b, d));
        else
            build_error(b, at, "%s must be at most %lld, not %s", what, (long long)max, number_text(b, d));
        return false;
    }
    *out = (int64_t)d;
    return true;
}

bool value_want_bool(Builder *b, Value v, Span at, const char *what, bool *out) {
    if (v.kind == VALUE_BOOL) {
        *out = v.boolean;
        return true;
    }
    if (!is_bad(v))
        build_error(b, at, "%s must be true or false, not %s", what, value_text(b, v));
    return false;
}

/* build_args.c - arguments: matching them with the names a block or layer declares, and reading those of
 * built-in layers and of the words of `train` from their tables. */
#include "graph/build_parts.h"

#include <stdio.h>
#include <string.h>

/* ---- matching ---- */

static Slot *slot_named(Slot *slots, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(slots[i].name, name) == 0)
            return &slots[i];
    return NULL;
}

static void unknown_argument(Builder *b, const char *what, const Slot *slots, int count, const Bound *arg) {
    const char **names = NEW_ARRAY(b->arena, const char *, count);
    Writer *list = writer_new(b->arena);
    for (int i = 0; i < count; i++) {
        names[i] = slots[i].name;
        writer_printf(list, "%s`%s`", i ? ", " : "", slots[i].name);
    }
    build_error(b, arg->span, "`%s` has no argument `%s`", what, arg->name);
    const char *near = nearest(arg->name, names, count);
    if (near)
        diag_did_you_mean(b->diag, near);
    else if (count)
        diag_help(b->diag, "its arguments are %s", list->data);
    else
        diag_help(b->diag, "it takes none");
}

static void too_many(Builder *b, const char *what, const Slot *slots, int count, const Bound *arg) {
    int positional = 0;
    for (int i = 0; i < count; i++)
        positional += !slots[i].named_only;
    if (positional)
        build_error(b, arg->span, "`%s` takes at most %d argument%s by position", what, positional, positional == 1 ? "" : "s");
    else
        build_error(b, arg->span, "`%s` takes no arguments", what);
    for (int i = 0; i < count; i++)
        if (slots[i].named_only && !slots[i].given) {
            diag_help(b->diag, "options are given by name: `%s = ...`", slots[i].name);
            return;
        }
}

/* Positional arguments fill the slots in order; a named one replaces a named one that was bound before it. */
bool build_bind(Builder *b, const char *what, Slot *slots, int count, const Bound *args, int arg_count) {
    int next = 0;
    bool ok = true;
    for (int i = 0; i < arg_count; i++) {
        const Bound *a = &args[i];
        if (a->name)
            continue;
        while (next < count && slots[next].named_only)
            next++;
        if (next == count) {
            too_many(b, what, slots, count, a);
            return false;
        }
        slots[next++].given = a;
    }
    for (int i = 0; i < arg_count; i++) {
        const Bound *a = &args[i];
        Slot *slot = a->name ? slot_named(slots, count, a->name) : NULL;
        if (!a->name)
            continue;
        if (!slot) {
            unknown_argument(b, what, slots, count, a);
            ok = false;
        } else if (slot->given && !slot->given->name) {
            build_error(b, a->span, "`%s` is given twice to `%s`", a->name, what);
            diag_note(b->diag, slot->given->span, "by position here");
            ok = false;
        } else {
            slot->given = a;
        }
    }
    return ok;
}

/* ---- reading ---- */

enum { SIZE_MAX_ARG = 1 << 24, PAIR_LENGTH = 2 };

static bool want_pair(Builder *b, Value v, Span at, const char *what, int64_t min, int64_t pair[2]) {
    if (v.kind != VALUE_LIST && v.kind != VALUE_TUPLE) {
        if (!value_want_integer(b, v, at, what, min, SIZE_MAX_ARG, &pair[0]))
            return false;
        pair[1] = pair[0];
        return true;
    }
    if (v.list->count != PAIR_LENGTH) {
        build_error(b, at, "%s must be one number or [height, width], not %s", what, value_text(b, v));
        return false;
    }
    return value_want_integer(b, v.list->items[0], at, what, min, SIZE_MAX_ARG, &pair[0]) &&
           value_want_integer(b, v.list->items[1], at, what, min, SIZE_MAX_ARG, &pair[1]);
}

static bool want_padding(Builder *b, Value v, Span at, const char *what, CallArg *out) {
    if (v.kind == VALUE_STRING) {
        out->same = strcmp(v.string, "same") == 0;
        if (!out->same)
            build_error(b, at, "%s must be `same`, a number or [height, width], not %s", what, value_text(b, v));
        return out->same;
    }
    return want_pair(b, v, at, what, 0, out->pair);
}

static bool list_items(Builder *b, Value *v, Span at, const char *what, const Value **items, int *count) {
    if (v->kind != VALUE_LIST && v->kind != VALUE_TUPLE) {
        *items = v;
        *count = 1;
        return !is_bad(*v);
    }
    *items = v->list->items;
    *count = v->list->count;
    if (*count <= ARG_LIST_MAX)
        return true;
    build_error(b, at, "%s holds more than %d numbers", what, ARG_LIST_MAX);
    return false;
}

static bool want_integers(Builder *b, Value v, Span at, const char *what, CallArg *out) {
    const Value *items;
    out->single = v.kind == VALUE_NUMBER;
    if (!list_items(b, &v, at, what, &items, &out->count))
        return false;
    for (int i = 0; i < out->count; i++)
        if (!value_want_integer(b, items[i], at, what, -SIZE_MAX_ARG, SIZE_MAX_ARG, &out->integers[i]))
            return false;
    return true;
}

static bool want_range(Builder *b, Value v, Span at, const char *what, CallArg *out) {
    if (v.kind == VALUE_RANGE) {
        out->count = 2;
        out->integers[0] = v.range.from;
        out->integers[1] = v.range.to;
        return true;
    }
    out->count = 1;
    if (v.kind == VALUE_NUMBER)
        return value_want_integer(b, v, at, what, -SIZE_MAX_ARG, SIZE_MAX_ARG, &out->integers[0]);
    if (!is_bad(v))
        build_error(b, at, "%s must be a whole number or a range `from..to`, not %s", what, value_text(b, v));
    return false;
}

static bool want_numbers(Builder *b, Value v, Span at, const char *what, CallArg *out) {
    const Value *items;
    if (!list_items(b, &v, at, what, &items, &out->count))
        return false;
    for (int i = 0; i < out->count; i++)
        if (!value_want_number(b, items[i], at, what, &out->numbers[i]))
            return false;
    return true;
}

static bool want_probability(Builder *b, Value v, Span at, const char *what, double *out) {
    if (!value_want_number(b, v, at, what, out))
        return false;
    if (*out >= 0 && *out < 1)
        return true;
    build_error(b, at, "%s must be at least 0 and below 1, not %s", what, number_text(b, *out));
    return false;
}

static bool want_string(Builder *b, Value v, Span at, const char *what, const char **out) {
    if (v.kind == VALUE_STRING)
        *out = v.string;
    else if (!is_bad(v))
        build_error(b, at, "%s must be a string in double quotes, not %s", what, value_text(b, v));
    return v.kind == VALUE_STRING;
}

static bool read_arg(Builder *b, const char *layer, const ArgDef *def, const Bound *given, CallArg *out) {
    const char *what = arena_printf(b->arena, "`%s` of `%s`", def->name, layer);
    Value v = given->value;
    Span at = given->span;
    bool flag = false, ok;
    out->span = at;
    if (given->fixed) {
        build_error(b, at, "only parameters of activations can be fixed");
        return false;
    }
    switch (def->kind) {
    case ARG_SIZE: ok = value_want_integer(b, v, at, what, 1, SIZE_MAX_ARG, &out->integer); break;
    case ARG_NATURAL: ok = value_want_integer(b, v, at, what, 0, INT64_C(1) << 53, &out->integer); break;
    case ARG_NUMBER: ok = value_want_number(b, v, at, what, &out->number); break;
    case ARG_FLAG: ok = value_want_bool(b, v, at, what, &flag); out->number = flag; break;
    case ARG_PAIR: ok = want_pair(b, v, at, what, 1, out->pair); break;
    case ARG_PADDING: out->same = false; ok = want_padding(b, v, at, what, out); break;
    case ARG_PROBABILITY: ok = want_probability(b, v, at, what, &out->number); break;
    case ARG_INIT: ok = value_want_init(b, v, at, &out->init); break;
    case ARG_AXIS: ok = value_want_integer(b, v, at, what, -MAX_RANK, MAX_RANK, &out->integers[0]); break;
    case ARG_RANGE: ok = want_range(b, v, at, what, out); break;
    case ARG_AXES: case ARG_INTEGERS: ok = want_integers(b, v, at, what, out); break;
    case ARG_NUMBERS: ok = want_numbers(b, v, at, what, out); break;
    case ARG_STRING: ok = want_string(b, v, at, what, &out->string); break;
    default:
        build_error(b, at, "%s is not supported yet", what);
        ok = false;
    }
    out->given = true;
    return ok;
}

int arg_def_count(const ArgDef *defs) {
    int count = 0;
    while (defs[count].kind != ARG_END)
        count++;
    return count;
}

bool build_read_args(Builder *b, const char *what, const ArgDef *defs, const Bound *args, int count, Span at,
                     CallArg *out) {
    Slot slots[ARGS_MAX] = { 0 };
    int def_count = arg_def_count(defs);
    for (int i = 0; i < def_count; i++)
        slots[i] = (Slot){ .name = defs[i].name };
    bool ok = build_bind(b, what, slots, def_count, args, count);
    for (int i = 0; i < def_count; i++) {
        double v = defs[i].fallback;
        out[i] = (CallArg){ .number = v, .integer = (int64_t)v, .pair = { (int64_t)v, (int64_t)v }, .span = at,
                            .same = defs[i].kind == ARG_PADDING && v < 0 };
        if (slots[i].given) {
            ok = read_arg(b, what, &defs[i], slots[i].given, &out[i]) && ok;
        } else if (defs[i].required && ok) {
            build_error(b, at, "`%s` needs its `%s`", what, defs[i].name);
            ok = false;
        }
    }
    return ok;
}

/* emit_names.c - names and numbers that every back end and the header derive from a module in the same way. */
#include "backend/backend.h"

#include <ctype.h>
#include <string.h>

static const Backend *const backends[] = {
    &backend_c,
#ifdef SALUN_LLVM
    &backend_llvm,
#endif
};

const Backend *backend_find(const char *name) {
    for (int i = 0; i < COUNT(backends); i++)
        if (!strcmp(backends[i]->name, name))
            return backends[i];
    return NULL;
}

static char *identifier(Arena *a, const char *name) {
    char *s = arena_printf(a, "%s%s", isalpha((unsigned char)name[0]) || name[0] == '_' ? "" : "x", name);
    for (char *c = s; *c; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
    return s;
}

/* Words of C and C++. */
static const char *const keywords[] = {
    "int", "float", "class", "new", "this", "auto", "char", "const", "delete", "double", "long", "short", "signed",
    "unsigned", "void", "template", "operator", "private", "public", "protected", "register", "default", "switch", "case",
    "union", "struct", "static", "return", "bool", "true", "false", "inline", "typename", "namespace", "using", "if",
    "else", "for", "while", "do", "goto", "break", "continue", "enum", "typedef", "extern", "volatile", "restrict",
    "sizeof", "try", "catch", "throw", "friend", "virtual", "explicit", "export", "mutable", "typeof", "typeid", "nullptr",
    "decltype", "noexcept", "constexpr", "consteval", "constinit", "concept", "requires", "alignas", "alignof",
    "static_assert", "static_cast", "dynamic_cast", "const_cast", "reinterpret_cast", "thread_local", "and", "or", "not",
    "xor", "and_eq", "or_eq", "not_eq", "xor_eq", "bitand", "bitor", "compl", "co_await", "co_return", "co_yield", "asm",
    "main", "linux", "unix",
};
/* Names of the runtime, and of what a program that includes a network's header is likely to include besides. */
static const char *const library[] = {
    "abort", "abs", "accept", "access", "alarm", "alloca", "assert", "atan", "atof", "atoi", "atol", "bind", "bsearch",
    "calloc", "ceil", "clock", "close", "connect", "cos", "cosh", "div", "dup", "erf", "errno", "exit", "exp", "fabs",
    "floor", "fma", "fork", "free", "gamma", "getenv", "htonl", "hypot", "index", "isatty", "j0", "j1", "jn", "kill",
    "labs", "link", "listen", "log", "malloc", "memcpy", "memset", "modf", "mktime", "nan", "nice", "open", "pause", "pipe",
    "pow", "printf", "putenv", "puts", "qsort", "rand", "random", "read", "realloc", "recv", "remove", "rename", "rindex",
    "round", "salun", "scanf", "select", "send", "setenv", "shutdown", "signal", "sin", "sinh", "sleep", "socket", "sqrt", "srand",
    "srandom", "stat", "stderr", "stdin", "stdout", "strlen", "sync", "system", "tan", "tanh", "time", "times", "tolower",
    "toupper", "trunc", "truncate", "ungetc", "unlink", "wait", "write", "y0", "y1", "yn",
};
/* What generated files call their own. */
static const char *const own[] = {
    "kernel", "tensors", "inputs", "targets", "outputs", "taps", "augment", "schedule", "recipe", "preprocess", "constants",
};

static bool is_word(const char *name, const char *const *words, int count) {
    for (int i = 0; i < count; i++)
        if (!strcmp(words[i], name))
            return true;
    return false;
}

/* Names of types in headers end in _t. */
static bool is_reserved(const char *name) {
    size_t length = strlen(name);
    return is_word(name, keywords, COUNT(keywords)) || is_word(name, own, COUNT(own)) ||
           (length > 2 && !strcmp(name + length - 2, "_t"));
}

const char *emit_prefix(const Module *m) {
    char *s = identifier(m->arena, m->program->name);
    for (char *c = s; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    bool free = !is_reserved(s) && !is_word(s, library, COUNT(library)) && strncmp(s, "salun_", 6) != 0;
    return free ? s : arena_printf(m->arena, "%s_net", s);
}

const char *emit_numeric(const Module *m) {
    return arena_printf(m->arena, "w%d %s %s%s%s%s", m->target->width, m->target->fma ? "fma" : "nofma", m->math == MATH_STRICT ? "strict" : "fast",
                        m->program->int8 ? " int8" : m->program->half ? " f16" : "", m->storage ? " weights " : "", m->storage ? store_text[m->storage] : "");
}

static void add_tap(const char **taps, int *count, const char *tap) {
    if (emit_tap_index(taps, *count, tap) < 0)
        taps[(*count)++] = tap;
}

const char *const *emit_taps(const Module *m, int *count) {
    int calls = 0;
    for (int i = 0; i < ENTRY_COUNT; i++)
        calls += m->entry[i].count;
    const char **taps = NEW_ARRAY(m->arena, const char *, m->program->tap_count + calls + 1);
    *count = 0;
    for (int i = 0; i < m->program->tap_count; i++)
        add_tap(taps, count, m->program->taps[i].name);
    for (int i = 0; i < ENTRY_COUNT; i++)
        for (int c = 0; c < m->entry[i].count; c++)
            if (m->entry[i].calls[c].tap)
                add_tap(taps, count, m->entry[i].calls[c].tap);
    return taps;
}

int emit_tap_index(const char *const *taps, int count, const char *tap) {
    for (int i = 0; tap && i < count; i++)
        if (!strcmp(taps[i], tap))
            return i;
    return -1;
}

EmitPorts emit_ports(const Module *m) {
    const Graph *infer = m->program->infer, *step = m->program->step;
    EmitPorts p = { infer->inputs, NULL, infer->outputs, infer->input_count, 0, infer->output_count };
    if (step && m->entry[ENTRY_STEP].count) {
        p.targets = step->inputs + infer->input_count;
        p.target_count = step->input_count - infer->input_count;
    }
    return p;
}

/* Names that a parameter of the API cannot have, or that another one has. */
static bool is_taken(const char *name, const char **names, int count) {
    if (is_reserved(name) || !strcmp(name, "net") || !strcmp(name, "n") || !strcmp(name, "error"))
        return true;
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

const char **emit_port_names(const Module *m) {
    EmitPorts p = emit_ports(m);
    const char **names = NEW_ARRAY(m->arena, const char *, p.input_count + p.output_count + 1);
    for (int i = 0; i < p.input_count + p.output_count; i++) {
        const char *base = identifier(m->arena, i < p.input_count ? p.inputs[i].name : p.outputs[i - p.input_count].name);
        const char *name = base;
        for (int k = 2; is_taken(name, names, i); k++)
            name = arena_printf(m->arena, "%s_%d", base, k);
        names[i] = name;
    }
    return names;
}

int64_t emit_image_count(const Node *n) {
    int64_t count = shape_count(&n->shape);
    return n->shape.batched && n->shape.dim[0] ? count / n->shape.dim[0] : count;
}

const char *emit_place(Arena *a, Span at) {
    return at.file ? arena_printf(a, "%s:%d", at.file->name, source_line(at.file, at.begin)) : "";
}

/* parse.c - parsing a text: the way from bytes to the tree, and syntax errors in the user's terms. */
#include "syntax/parse.h"

#include "syntax/build.h"

#include "snet.tab.h"

#include <string.h>

enum { MAX_STUCK = 4 };                 /* errors at one token before parsing gives up */

/* --- bytes -------------------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at text[i], 0 when it is none. */
static int utf8_length(const SourceFile *s, uint32_t i) {
    const unsigned char *t = (const unsigned char *)s->text + i;
    int need = t[0] < 0x80 ? 1 : t[0] >= 0xc2 && t[0] < 0xe0 ? 2 : t[0] >= 0xe0 && t[0] < 0xf0 ? 3
             : t[0] >= 0xf0 && t[0] < 0xf5 ? 4 : 0;
    if (need == 0 || (uint32_t)need > s->length - i)
        return 0;
    for (int k = 1; k < need; k++)
        if ((t[k] & 0xc0) != 0x80)
            return 0;
    bool overlong = (t[0] == 0xe0 && t[1] < 0xa0) || (t[0] == 0xf0 && t[1] < 0x90);
    bool beyond = (t[0] == 0xed && t[1] >= 0xa0) || (t[0] == 0xf4 && t[1] >= 0x90);
    return overlong || beyond ? 0 : need;
}

/* Reports the first byte that no text holds; the scanner copes with all of them. */
static void check_text(Parse *p) {
    const SourceFile *s = p->source;
    for (uint32_t i = 0; i < s->length;) {
        unsigned char c = (unsigned char)s->text[i];
        int length = utf8_length(s, i);
        if (length == 0) {
            diag_error(p->diag, span_at(p, i, 1), "the file is not UTF-8 text here (byte 0x%02x)", c);
            return;
        }
        if ((c < ' ' && !strchr("\t\n\r\f", c)) || c == 0 || c == 0x7f) {
            diag_error(p->diag, span_at(p, i, 1), "control character 0x%02x in the file", c);
            return;
        }
        i += (uint32_t)length;
    }
}

/* --- syntax errors ------------------------------------------------------------------------------------ */

static bool is_one_of(const char *name, const char *const *set, int count) {
    for (int i = 0; i < count; i++)
        if (!strcmp(name, set[i]))
            return true;
    return false;
}

/* How the expected tokens are told: a value instead of all that may begin one, no operators, and so on. */
typedef struct Expected {
    const char *texts[4];
    int count;
    bool many;
} Expected;

static void expect(Expected *e, const char *text) {
    if (e->count < COUNT(e->texts))
        e->texts[e->count++] = text;
    else
        e->many = true;
}

static Expected expected_texts(Parse *p, const char *const *names, int count) {
    static const char *const values[] = { "a number", "a constant", "a string", "a name", "true", "false",
                                          "'('", "'['", "'-'", "not" };
    static const char *const operators[] = { "'+'", "'-'", "'*'", "'/'", "'%'", "//", "'^'", "..", "==", "!=", "'<'",
                                             "<=", "'>'", ">=", "and", "or", "|>", "as", "if", "'.'", "'('", "'['",
                                             "resync", "file", "expression", "'>'" };
    static const char *const words[] = { "for", "if", "return", "preprocess", "param", "state", "target", "update",
                                         "group", "use", "let", "activation", "weight", "schedule", "block", "network",
                                         "variant", "train" };
    bool value = is_one_of("a number", names, count);
    bool statement = is_one_of("return", names, count), declaration = is_one_of("block", names, count);
    bool operator = is_one_of("'*'", names, count);
    Expected e = { 0 };
    if (operator && is_one_of("the end of the line", names, count)) {
        expect(&e, "the end of the line");
        return e;
    }
    if (statement)
        expect(&e, "a statement");
    else if (declaration)
        expect(&e, "a declaration");
    else if (value)
        expect(&e, "a value");
    for (int i = 0; i < count; i++) {
        const char *name = names[i];
        bool told = (value && is_one_of(name, values, COUNT(values))) ||
                    (operator && is_one_of(name, operators, COUNT(operators))) || !strcmp(name, "resync") ||
                    ((statement || declaration) && is_one_of(name, words, COUNT(words))) || !strcmp(name, "{ ") ||
                    (!strcmp(name, "a label") && is_one_of("'{'", names, count));
        if (told)
            continue;
        size_t length = strlen(name);
        if (name[0] == '\'')
            expect(&e, arena_printf(p->arena, "`%.*s`", (int)length - 2, name + 1));
        else if (!strncmp(name, "a ", 2) || !strncmp(name, "the ", 4))
            expect(&e, name);
        else
            expect(&e, arena_printf(p->arena, "`%.*s`", (int)(length - (name[length - 1] == ' ')), name));
    }
    return e;
}

/* Whether a line ends before the token; layout.c leaves no END before a `}`. */
static bool ends_line(const Parse *p, const Token *t) {
    if (t->kind != '}' || t == p->tokens)
        return t->kind == END && p->source->text[t->begin] != ';';
    uint32_t from = t[-1].begin + t[-1].length;
    return from < t->begin && memchr(p->source->text + from, '\n', t->begin - from);
}

static const char *token_text(Parse *p, const Token *t) {
    if (t->kind == 0)
        return "the end of the file";
    if (ends_line(p, t))
        return "the end of the line";
    if (t->kind == STRING)
        return "a string";
    int length = t->length > 40 ? 40 : (int)t->length;
    return arena_printf(p->arena, "`%.*s`", length, p->source->text + t->begin);
}

static bool is_word(const Token *t) {
    return t->kind == FOR || t->kind == IN || t->kind == IF || t->kind == ELSE || t->kind == RETURN || t->kind == AND ||
           t->kind == OR || t->kind == NOT || t->kind == AS || t->kind == TRUE || t->kind == FALSE ||
           t->kind == CONSTANT;
}

static bool is_operator(int kind) {
    return kind == AND || kind == OR || kind == RANGE || kind == EQ || kind == NE || kind == LE || kind == GE ||
           kind == FLOORDIV || (kind > 0 && kind < 128 && strchr("+*/%^<>.", kind));
}

/* Index of the first token of the line that holds token i, at the level of its brackets. */
static int line_start(const Parse *p, int i) {
    int open = p->tokens[i].open;
    while (i > 0 && i - 1 != open && !(p->tokens[i - 1].kind == END && p->tokens[i - 1].open == open))
        i--;
    return i;
}

/* The first token of the line whatever brackets stand between. */
static const Token *statement_start(const Parse *p, int i) {
    while (p->tokens[i].open >= 0 && p->tokens[p->tokens[i].open].kind != '{')
        i = p->tokens[i].open;
    return &p->tokens[line_start(p, i)];
}

static bool text_is(const Parse *p, const Token *t, const char *text) {
    return t->length == strlen(text) && !memcmp(p->source->text + t->begin, text, t->length);
}

static void help_declaration(Parse *p, const Token *t) {
    static const char *const words[] = { "use", "let", "activation", "weight", "schedule", "block", "network", "variant",
                                         "train" };
    const char *text = source_span_text(p->arena, token_span(p, t));
    const char *near = nearest(text, words, COUNT(words));
    if (near)
        diag_did_you_mean(p->diag, near);
    else
        diag_help(p->diag, "outside of blocks stand use, let, activation, weight, schedule, block, network, variant and "
                           "train");
}

/* What people who come from other languages, or are in a hurry, probably meant. */
static void help_line(Parse *p, const Token *t, const Token *before, const Token *first) {
    bool in_train = first->open >= 0 && statement_start(p, first->open)->kind == TRAIN;
    if (t == first && is_operator(t->kind) && t->kind != FLOORDIV)
        diag_help(p->diag, "a line goes on inside ( ) and [ ], or where the next one starts with `|>`");
    else if (t->kind == FLOORDIV && t == first)
        diag_help(p->diag, "comments start with `#`");
    else if (t->kind == '=' && (first->kind == IF || first->kind == ELSE))
        diag_help(p->diag, "`==` compares");
    else if (t->kind == '=' && in_train)
        diag_help(p->diag, "items of train are written without `=`, as in `epochs 200`");
    else if (t->kind == APPEND)
        diag_help(p->diag, "write `name = name + ...`");
    else if (t->kind == PIPE)
        diag_help(p->diag, "put the pipe in parentheses");
    else if (t->kind == ':' && (first->kind == FOR || first->kind == IF))
        diag_help(p->diag, "what belongs to it stands in { }");
    else if (t->open >= 0 && p->tokens[t->open].kind == LABEL_OPEN)
        diag_help(p->diag, "this belongs to the label; a body's `{` has white space before it");
    else if (text_is(p, before, "let"))
        diag_help(p->diag, "inside { } a value is named by `name = ...` alone");
    else if (text_is(p, before, "elif") || text_is(p, before, "elseif"))
        diag_help(p->diag, "write `else if`");
    else if (text_is(p, before, "while"))
        diag_help(p->diag, "there is no while; `for i in 0..n` repeats");
}

/* Whether a missing bracket, already reported, explains that a token does not fit. */
static bool already_explained(const Parse *p, const Token *t) {
    const Token *open = t->open >= 0 ? &p->tokens[t->open] : NULL;
    bool put_in = t->length == 0 && (t->kind == ')' || t->kind == ']' || t->kind == '}');
    bool behind = t > p->tokens && t[-1].length == 0;
    return put_in || behind || (open && open->kind != '{' && p->tokens[open->close].length == 0);
}

void parse_report(Parse *p, const char *const *names, int count) {
    const Token *t = &p->tokens[p->current];
    const Token *before = p->current ? t - 1 : t;
    const Token *first = statement_start(p, p->current);
    if (already_explained(p, t))
        return;
    Span at = token_span(p, t);
    if (t->kind == 0 || ends_line(p, t))            /* behind what stands before, not on the next line */
        at = span_at(p, before < t ? before->begin + before->length : t->begin, 0);
    if (is_word(t) && is_one_of("a name", names, count) && !is_one_of("a number", names, count)) {
        diag_error(p->diag, at, "%s is a word of the language and cannot be a name", token_text(p, t));
        return;
    }
    if (before > p->tokens && before->kind == NAME && before[-1].kind == NAME && count == 1 && !strcmp(names[0], "'='")) {
        diag_error(p->diag, token_span(p, before), "unexpected %s", token_text(p, before));
        diag_help(p->diag, "is a comma missing before it?");
        return;
    }
    Expected e = expected_texts(p, names, count);
    if (e.count == 0 || e.many) {
        diag_error(p->diag, at, "unexpected %s", token_text(p, t));
    } else {
        const char *list = e.texts[0];
        for (int i = 1; i < e.count; i++)
            list = arena_printf(p->arena, "%s%s%s", list, i + 1 < e.count ? ", " : " or ", e.texts[i]);
        diag_error(p->diag, at, "expected %s, found %s", list, token_text(p, t));
    }
    if (t->open < 0 && t == first && t->kind == NAME)
        help_declaration(p, t);
    else
        help_line(p, t, before, first);
}

static bool has_body(const Token *first) {
    switch (first->kind) {
    case FOR: case IF: case BLOCK: case NETWORK: case VARIANT: case TRAIN: case GROUP:
        return true;
    default:
        return false;
    }
}

void parse_resync(Parse *p) {
    int i = p->current;
    int open = p->tokens[i].open;
    p->resync = true;
    p->stuck = i == p->last_error ? p->stuck + 1 : 0;
    p->last_error = i;
    if (diag_full(p->diag) || p->stuck == MAX_STUCK) {
        p->next = p->count - 1;
        return;
    }
    if (open >= 0 && p->tokens[open].kind != '{') {
        p->next = p->tokens[open].close;
        return;
    }
    bool head = has_body(&p->tokens[line_start(p, i)]);
    int end = open >= 0 ? p->tokens[open].close : p->count - 1;
    while (i < end && p->tokens[i].kind != END && !(head && p->tokens[i].kind == '{'))
        i = p->tokens[i].close >= 0 ? p->tokens[i].close + 1 : i + 1;
    p->next = i;
}

/* --- the room's doors --------------------------------------------------------------------------------- */

static Parse *parse_text(Arena *arena, const SourceFile *source, Diag *diag, int start) {
    Parse *p = NEW(arena, Parse);
    p->arena = arena;
    p->source = source;
    p->diag = diag;
    p->start = start;
    p->file = NEW(arena, AstFile);
    p->file->source = source;
    diag_hold(diag);                    /* the scanner's complaints come before the grammar's */
    check_text(p);
    scan_tokens(p);
    layout_finish(p);
    snet_parse(p);
    diag_release(diag);
    return p;
}

AstFile *syntax_parse(Arena *arena, const SourceFile *source, Diag *diag) {
    return parse_text(arena, source, diag, START_FILE)->file;
}

AstNode *syntax_parse_expression(Arena *arena, const SourceFile *source, Diag *diag) {
    int before = diag_errors(diag);
    Parse *p = parse_text(arena, source, diag, START_EXPRESSION);
    return diag_errors(diag) == before ? p->expression : NULL;
}

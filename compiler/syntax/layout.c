/* layout.c - brackets, line ends and contextual words, between the scanner and the grammar.
 * After layout_finish every bracket is matched (missing ones were reported and put in), END stands only
 * between two statements, and words such as `state` or `weight` are keywords where they start a line. */
#include "syntax/parse.h"

#include "snet.tab.h"

#include <string.h>

/* --- brackets ----------------------------------------------------------------------------------------- */

static Token *innermost(const Parse *p) {
    return p->bracket_count ? &p->tokens[p->brackets[p->bracket_count - 1]] : NULL;
}

bool layout_in_brackets(const Parse *p) {
    const Token *t = innermost(p);
    return t && (t->kind == '(' || t->kind == '[');
}

void layout_token(Parse *p, int kind, uint32_t begin, uint32_t length) {
    int open = p->bracket_count ? p->brackets[p->bracket_count - 1] : -1;
    Token t = { .kind = kind, .begin = begin, .length = length, .open = open, .close = -1 };
    ARENA_PUSH(p->arena, p->tokens, p->count, p->capacity, t);
}

static int closer_of(const Token *opener) {
    return opener->kind == '(' ? ')' : opener->kind == '[' ? ']' : '}';
}

/* Puts the closing bracket of the innermost open one at begin. */
static void close_innermost(Parse *p, uint32_t begin, uint32_t length) {
    int opener = p->brackets[p->bracket_count - 1];
    layout_token(p, closer_of(&p->tokens[opener]), begin, length);
    p->tokens[opener].close = p->count - 1;
    p->bracket_count--;
}

static void report_unclosed(Parse *p) {
    const Token *t = innermost(p);
    diag_error(p->diag, token_span(p, t), "this `%c` is never closed", t->kind == LABEL_OPEN ? '{' : t->kind);
}

/* Closes what is open above the given number of brackets, each with an error. */
static void close_down_to(Parse *p, int count, uint32_t begin) {
    while (p->bracket_count > count) {
        report_unclosed(p);
        close_innermost(p, begin, 0);
    }
}

void layout_open(Parse *p, int kind, uint32_t begin) {
    while (kind == '{' && layout_in_brackets(p))            /* no expression holds a body */
        close_down_to(p, p->bracket_count - 1, begin);
    if (p->bracket_count == MAX_BRACKETS) {
        diag_error(p->diag, span_at(p, begin, 1), "brackets nest deeper than %d", MAX_BRACKETS);
        p->stopped = true;
        return;
    }
    layout_token(p, kind, begin, 1);
    p->brackets[p->bracket_count++] = p->count - 1;
}

bool layout_close(Parse *p, char closer, uint32_t begin) {
    int match = p->bracket_count;
    while (match > 0) {
        const Token *t = &p->tokens[p->brackets[match - 1]];
        if (closer_of(t) == closer)
            break;
        if (t->kind == '{' || t->kind == LABEL_OPEN) {      /* `)` and `]` never close what is around a `{` */
            match = 0;
            break;
        }
        match--;
    }
    const Token *t = innermost(p);
    if (match == 0 && closer != '}' && t && t->kind != '{') {
        diag_error(p->diag, span_at(p, begin, 1), "this `%c` meets a `%c`", closer,
                   t->kind == LABEL_OPEN ? '{' : t->kind);
        diag_note(p->diag, token_span(p, t), "opened here");
        match = p->bracket_count;
    } else if (match == 0) {
        diag_error(p->diag, span_at(p, begin, 1), "this `%c` closes nothing", closer);
        return false;
    }
    close_down_to(p, match, begin);
    bool label = innermost(p)->kind == LABEL_OPEN;
    close_innermost(p, begin, 1);
    return label;
}

/* --- lines -------------------------------------------------------------------------------------------- */

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_part(char c) {
    return is_name_start(c) || (c >= '0' && c <= '9');
}

/* Whether the text at offset is the word and then, after space, what can follow it in a declaration or
 * statement but not in the middle of an expression. */
static bool begins_with(const Parse *p, uint32_t offset, const char *word) {
    const char *text = p->source->text + offset;
    size_t length = strlen(word);
    if (strncmp(text, word, length) || is_name_part(text[length]))
        return false;
    text += length;
    const char *after = text;
    while (*after == ' ' || *after == '\t')
        after++;
    return after > text && (is_name_start(*after) || *after == '"' || *after == '(');
}

/* The declaration word that starts at offset; those that also start lines of a body are left out. */
static const char *declaration_at(const Parse *p, uint32_t offset) {
    static const char *const words[] = { "use", "activation", "block", "network", "variant", "train" };
    for (int i = 0; i < COUNT(words); i++)
        if (begins_with(p, offset, words[i]))
            return words[i];
    return NULL;
}

/* `as {` or `as name{` at the end of a line: the brace was meant to open a body. */
static void open_body_instead(Parse *p) {
    Token *brace = &p->tokens[p->count - 1];
    brace->kind = '{';
    if (brace[-1].kind != AS) {
        diag_error(p->diag, token_span(p, brace), "a body's `{` has white space before it; this one belongs to the label");
        return;
    }
    diag_error(p->diag, token_span(p, brace), "expected a label after `as`");
    brace[-1] = *brace;
    p->count--;
    p->brackets[p->bracket_count - 1]--;
}

void layout_newline(Parse *p, uint32_t begin, uint32_t end) {
    const char *declaration = declaration_at(p, end);
    bool at_margin = end > 0 && p->source->text[end - 1] == '\n';
    if (declaration && at_margin && p->bracket_count > 0) {
        close_down_to(p, 0, begin);
        diag_note(p->diag, span_at(p, end, (uint32_t)strlen(declaration)), "before this declaration");
    }
    Token *t = innermost(p);
    if (t && t->kind == LABEL_OPEN && t == &p->tokens[p->count - 1])
        open_body_instead(p);
    while ((t = innermost(p)) && t->kind == LABEL_OPEN)
        close_down_to(p, p->bracket_count - 1, begin);
    if (layout_in_brackets(p) && (begins_with(p, end, "return") || begins_with(p, end, "for"))) {
        int count = p->bracket_count;
        while (count > 0 && p->tokens[p->brackets[count - 1]].kind != '{')
            count--;
        close_down_to(p, count, begin);
    }
    if (!layout_in_brackets(p))
        layout_token(p, END, begin, 1);
}

void layout_comment(Parse *p, uint32_t begin, uint32_t length) {
    AstFile *file = p->file;
    const char *text = p->source->text;
    uint32_t i = begin;
    while (i > 0 && (text[i - 1] == ' ' || text[i - 1] == '\t' || text[i - 1] == '\r'))
        i--;
    while (length > 0 && (text[begin + length - 1] == '\r' || text[begin + length - 1] == ' ' ||
                          text[begin + length - 1] == '\t'))
        length--;
    Comment c = { .span = span_at(p, begin, length), .own_line = i == 0 || text[i - 1] == '\n' };
    ARENA_PUSH(p->arena, file->comments, file->comment_count, p->comment_capacity, c);
}

/* --- contextual words --------------------------------------------------------------------------------- */

typedef struct Word {
    const char *text;
    int kind;
} Word;

static const Word declaration_words[] = {
    { "use", USE },     { "let", LET },         { "activation", ACTIVATION }, { "weight", WEIGHT },
    { "block", BLOCK }, { "network", NETWORK }, { "schedule", SCHEDULE },     { "variant", VARIANT },
    { "train", TRAIN },
};
/* These start a line of a body when a name follows; `group` when a string does. */
static const Word body_words[] = {
    { "preprocess", PREPROCESS }, { "param", PARAM }, { "state", STATE }, { "target", TARGET }, { "update", UPDATE },
};

static bool token_is(const Parse *p, const Token *t, const char *text) {
    return t->kind == NAME && t->length == strlen(text) && !memcmp(p->source->text + t->begin, text, t->length);
}

static int word_kind(const Parse *p, const Token *t, const Word *words, int count) {
    for (int i = 0; i < count; i++)
        if (token_is(p, t, words[i].text))
            return words[i].kind;
    return NAME;
}

/* A line starts with the token at i. */
static void mark_line_start(Parse *p, int i) {
    Token *t = &p->tokens[i];
    if (t->open < 0) {
        t->kind = word_kind(p, t, declaration_words, COUNT(declaration_words));
        return;
    }
    if (t[1].kind == NAME)
        t->kind = word_kind(p, t, body_words, COUNT(body_words));
    else if (t[1].kind == STRING && token_is(p, t, "group"))
        t->kind = GROUP;
    if (t->kind == UPDATE && token_is(p, &t[1], "now") && t[2].kind == NAME)
        t[1].kind = NOW;
}

/* The `as` in the head of a `for` labels the loop, not the expression before it. */
static void mark_for_label(Parse *p, int i) {
    int open = p->tokens[i].open;
    for (i++; i < p->count; i++) {
        Token *t = &p->tokens[i];
        if (t->kind == END || t->kind == '{')
            return;
        if (t->kind == AS && t->open == open)
            t->kind = FOR_AS;
        if (t->close >= 0)
            i = t->close;
    }
}

/* What a line end may not separate from the line before; reported, then joined. */
static void report_split(Parse *p, const Token *t) {
    if (t->kind == ELSE)
        diag_error(p->diag, token_span(p, t), "`else` stands on the line of the `}` before it");
    else
        diag_error(p->diag, token_span(p, t), "`{` stands at the end of the line it belongs to");
}

/* Drops every END that separates nothing, and moves the indices of brackets accordingly. */
static void drop_ends(Parse *p) {
    int *moved = NEW_ARRAY(p->arena, int, p->count + 1);
    int kept = 0;
    for (int i = 0; i < p->count; i++) {
        Token t = p->tokens[i];
        int before = kept ? p->tokens[kept - 1].kind : END;
        moved[i] = kept;
        if (t.kind == END && (before == END || before == '{'))
            continue;
        bool joined = (t.kind == ELSE && kept > 1 && p->tokens[kept - 2].kind == '}') || (t.kind == '{' && kept > 1);
        if (before == END && kept && joined)
            report_split(p, &t);
        if (before == END && kept && (joined || t.kind == '}'))
            kept--;
        moved[i] = kept;
        p->tokens[kept++] = t;
    }
    if (kept && p->tokens[kept - 1].kind == END)
        kept--;
    moved[p->count] = kept;
    p->count = kept;
    for (int i = 0; i < kept; i++) {
        Token *t = &p->tokens[i];
        t->open = t->open < 0 ? -1 : moved[t->open];
        t->close = t->close < 0 ? -1 : moved[t->close];
    }
}

void layout_finish(Parse *p) {
    if (p->stopped)
        while (p->bracket_count)
            close_innermost(p, p->source->length, 0);
    close_down_to(p, 0, p->source->length);
    drop_ends(p);
    for (int i = 0; i < 3; i++)                 /* room to look two tokens ahead */
        layout_token(p, 0, p->source->length, 0);
    p->count -= 2;
    for (int i = 0; i + 1 < p->count && p->start == START_FILE; i++) {
        int before = i ? p->tokens[i - 1].kind : END;
        if (before != END && before != '{')
            continue;
        if (p->tokens[i].kind == NAME)
            mark_line_start(p, i);
        else if (p->tokens[i].kind == FOR)
            mark_for_label(p, i);
    }
}

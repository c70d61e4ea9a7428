/* parse.h - what scanner, layout and grammar share while one text is parsed; private to this room.
 * scan (grammar/snet.l) cuts the text into tokens and hands brackets and line ends to layout.c, which
 * balances the former and decides which of the latter end a statement; layout_finish then finds the words
 * that are keywords only in their place. The grammar (grammar/snet.y) reads the finished array. */
#ifndef SALUN_SYNTAX_PARSE_H
#define SALUN_SYNTAX_PARSE_H

#include "syntax/ast.h"

enum { MAX_BRACKETS = 200 };            /* nesting of ( ) [ ] { } */

typedef struct Token {
    int kind;                           /* of snet_tokentype, or a character */
    uint32_t begin, length;
    int open;                           /* index of the innermost bracket around it, -1 without */
    int close;                          /* of an opening bracket: index of the closing one */
} Token;

typedef struct Parse {
    Arena *arena;
    const SourceFile *source;
    Diag *diag;
    AstFile *file;
    AstNode *expression;                   /* result of syntax_parse_expression */

    Token *tokens;
    int count, capacity;
    int brackets[MAX_BRACKETS];         /* indices of the open ones */
    int bracket_count;
    bool stopped;                       /* scanning gave up */
    int comment_capacity;

    int start;                          /* the token that chooses what is parsed, 0 once given */
    int next;                           /* token to be read next */
    int current;                        /* token read last */
    bool resync;                        /* the next token is RESYNC */
    int stuck;                          /* errors in a row at the current token */
    int last_error;                     /* index of the token of the last one */
    bool too_deep;                      /* reported already */
} Parse;

static inline Span span_at(const Parse *p, uint32_t begin, uint32_t length) {
    return (Span){ p->source, begin, length };
}
static inline Span token_span(const Parse *p, const Token *t) {
    return span_at(p, t->begin, t->length);
}

/* grammar/snet.l: fills p->tokens up to, without, the end of file. */
void scan_tokens(Parse *p);

/* layout.c: called by the scanner, in order of the text. */
void layout_token(Parse *p, int kind, uint32_t begin, uint32_t length);
void layout_open(Parse *p, int kind, uint32_t begin);
bool layout_close(Parse *p, char closer, uint32_t begin);       /* true: it closed a label's `{` */
void layout_newline(Parse *p, uint32_t begin, uint32_t end);    /* end: first byte of the next line's code */
void layout_comment(Parse *p, uint32_t begin, uint32_t length);
bool layout_in_brackets(const Parse *p);                        /* innermost is ( or [ */
void layout_finish(Parse *p);

/* parse.c: reports that the current token does not fit where one of the named was expected. */
void parse_report(Parse *p, const char *const *expected, int count);

/* parse.c: moves the parser to where reading can go on after an error at its lookahead. */
void parse_resync(Parse *p);

#endif

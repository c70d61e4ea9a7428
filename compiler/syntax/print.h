/* print.h - what the two halves of the printer share; private to this room.
 * Printing walks the tree in the order of the text. `pos` is how far in the source it has come; comments
 * up to there have been printed, or wait in order for the next place where a line may end. */
#ifndef SALUN_SYNTAX_PRINT_H
#define SALUN_SYNTAX_PRINT_H

#include "syntax/ast.h"

typedef struct Printer {
    Writer *w;
    const AstFile *file;        /* NULL: an expression on one line, no comments */
    uint32_t pos;               /* end of what was printed last, in the source */
    int comment;                /* index of the first comment not yet printed */
    int indent;                 /* of the statement that is being printed */
    int brackets;               /* open ( and [ */
    int column;                 /* where lines inside the innermost bracket begin */
    bool measuring;             /* only the width is asked for: nothing inside is aligned */
    size_t *trails;             /* where in the output the space before a comment behind code begins */
    int trail_count, trail_capacity;
} Printer;

/* An open bracket: what was outside. */
typedef struct Bracket {
    int column, indent;
} Bracket;

/* ast_print_expr.c */
void print_expr(Printer *p, const AstNode *e);
void print_label(Printer *p, const Label *label);
void print_args(Printer *p, ArgList args);

/* Prints `(` or `[`, items with print_between before each but the first, and print_close at the end. */
Bracket print_open(Printer *p, char open, uint32_t first);      /* first: offset of the first item */
void print_between(Printer *p, const char *separator, uint32_t next);
void print_close(Printer *p, char close, Bracket outer);

/* Whether the source has a line end in [from, to). */
bool print_has_newline(const Printer *p, uint32_t from, uint32_t to);

/* Prints a comment and its line end; behind code with space before it. */
void print_comment(Printer *p, const Comment *c);

/* Ends the line, with the comments up to `until`; the next line begins at column. */
void print_break(Printer *p, uint32_t until, int column);

/* ast_print.c: a text at its place in the source, which printing has now passed. */
void print_at(Printer *p, const char *text, Span at);

#endif

/* ast_print_expr.c - prints expressions and brackets; line ends inside brackets and before `|>` stay. */
#include "syntax/print.h"

#include <string.h>

enum { INDENT = 2, MOST_PADDING = 24 };

void print_at(Printer *p, const char *text, Span at) {
    writer_text(p->w, text);
    if (p->file)
        p->pos = span_end(at);
}

/* --- line ends and brackets --------------------------------------------------------------------------- */

bool print_has_newline(const Printer *p, uint32_t from, uint32_t to) {
    return p->file && from < to && memchr(p->file->source->text + from, '\n', to - from);
}

void print_comment(Printer *p, const Comment *c) {
    if (p->w->column) {
        ARENA_PUSH(p->w->arena, p->trails, p->trail_count, p->trail_capacity, p->w->length);
        writer_spaces(p->w, 2);
    }
    writer_bytes(p->w, p->file->source->text + c->span.begin, c->span.length);
    writer_char(p->w, '\n');
}

void print_break(Printer *p, uint32_t until, int column) {
    const AstFile *f = p->file;
    for (; p->comment < f->comment_count && f->comments[p->comment].span.begin < until; p->comment++) {
        const Comment *c = &f->comments[p->comment];
        if (p->w->column && c->own_line)
            writer_char(p->w, '\n');
        if (!p->w->column)
            p->w->indent = column;
        print_comment(p, c);
        p->pos = span_end(c->span);
    }
    if (p->w->column)
        writer_char(p->w, '\n');
    p->w->indent = column;
}

/* A line end where the source has one and a bracket allows it; else the text (a space, or nothing). */
static void gap(Printer *p, const char *text, uint32_t next) {
    if (p->brackets && print_has_newline(p, p->pos, next))
        print_break(p, next, p->column);
    else
        writer_text(p->w, text);
}

Bracket print_open(Printer *p, char open, uint32_t first) {
    Bracket outer = { p->column, p->w->indent };
    writer_char(p->w, open);
    p->brackets++;
    bool broken = print_has_newline(p, p->pos, first);
    p->column = broken ? p->w->indent + INDENT : p->w->column;
    if (broken)
        print_break(p, first, p->column);
    return outer;
}

void print_between(Printer *p, const char *separator, uint32_t next) {
    writer_text(p->w, separator);
    gap(p, " ", next);
}

/* Offset of the next byte that is neither space nor comment, nor one of `also`. */
static uint32_t skip(const Printer *p, uint32_t at, const char *also) {
    const SourceFile *s = p->file->source;
    while (at < s->length && (strchr(" \t\r\f\n#", s->text[at]) || strchr(also, s->text[at]))) {
        if (s->text[at] == '#')
            while (at < s->length && s->text[at] != '\n')
                at++;
        else
            at++;
    }
    return at;
}

void print_close(Printer *p, char close, Bracket outer) {
    if (p->file) {
        uint32_t end = skip(p, p->pos, ",;");
        if (print_has_newline(p, p->pos, end))
            print_break(p, end, outer.indent);
        p->pos = end + 1;
    }
    writer_char(p->w, close);
    p->brackets--;
    p->column = outer.column;
}

/* --- parts -------------------------------------------------------------------------------------------- */

/* The end of a bracket that holds nothing, or where the first item would stand. */
static uint32_t empty_end(const Printer *p) {
    return p->file ? skip(p, p->pos, "([") : 0;
}

static void print_items(Printer *p, char open, AstList items, char close) {
    Bracket outer = print_open(p, open, items.count ? items.items[0]->span.begin : p->pos);
    for (int i = 0; i < items.count; i++) {
        if (i)
            print_between(p, ",", items.items[i]->span.begin);
        print_expr(p, items.items[i]);
    }
    print_close(p, close, outer);
}

/* Comments before the bracket of a list that holds nothing wait for the end of the line. */
static void print_list(Printer *p, const AstNode *e) {
    if (p->file && e->list.items.count == 0)
        p->pos = skip(p, e->span.begin, "(") + 1;
    print_items(p, '[', e->list.items, ']');
}

void print_args(Printer *p, ArgList args) {
    for (int i = 0; i < args.count; i++) {
        const Arg *arg = &args.items[i];
        if (i)
            print_between(p, ",", arg->span.begin);
        if (arg->fixed)
            writer_text(p->w, "fixed ");
        if (arg->name.text) {
            print_at(p, arg->name.text, arg->name.span);
            writer_text(p->w, " = ");
        }
        print_expr(p, arg->value);
    }
}

void print_label(Printer *p, const Label *label) {
    for (int i = 0; i < label->count; i++) {
        const LabelPart *part = &label->parts[i];
        if (part->text) {
            print_at(p, part->text, part->span);
            continue;
        }
        writer_char(p->w, '{');
        print_expr(p, part->value);
        print_at(p, "}", part->span);
    }
    if (p->file)
        p->pos = span_end(label->span);
}

static void print_string(Printer *p, const AstNode *e) {
    writer_char(p->w, '"');
    for (const char *c = e->string.text; *c; c++) {
        if (*c == '"' || *c == '\\')
            writer_char(p->w, '\\');
        if (*c == '\n' || *c == '\t')
            writer_text(p->w, *c == '\n' ? "\\n" : "\\t");
        else
            writer_char(p->w, *c);
    }
    print_at(p, "\"", e->span);
}

/* left op right, with the spaces (or none) around op. */
static void print_infix(Printer *p, const AstNode *left, const char *op, Span op_at, const AstNode *right, bool spaced) {
    const char *space = spaced ? " " : "";
    print_expr(p, left);
    gap(p, space, op_at.begin);
    print_at(p, op, op_at);
    gap(p, space, right->span.begin);
    print_expr(p, right);
}

static void print_binary(Printer *p, const AstNode *e) {
    BinaryOp op = e->binary.op;
    bool product = op == BINARY_MUL || op == BINARY_DIV || op == BINARY_MOD || op == BINARY_FLOORDIV;
    bool spaced = op != BINARY_POW && !(product && e->tight);
    print_infix(p, e->binary.left, ast_binary_text(op), e->binary.op_span, e->binary.right, spaced);
}

static void print_cond(Printer *p, const AstNode *e) {
    print_expr(p, e->cond.then);
    gap(p, " ", e->cond.condition->span.begin);
    writer_text(p->w, "if ");
    print_expr(p, e->cond.condition);
    gap(p, " ", e->cond.otherwise->span.begin);
    writer_text(p->w, "else ");
    print_expr(p, e->cond.otherwise);
}

/* --- pipes -------------------------------------------------------------------------------------------- */

/* A stage of a pipe as a cell of a table: rows are lines, columns count stages on them. */
typedef struct Cell {
    const AstNode *pipe;
    bool breaks;            /* the stage starts a line */
    bool last;              /* the stage ends a line */
    int row, column;
    int width, label_width; /* of what is printed; width -1: not aligned */
    int pad, label_pad;     /* spaces before ` as`, and behind the label */
} Cell;

/* Width of a stage or of its label as they will be printed behind `pos`; -1 where that takes several lines. */
static int width_of(const Printer *p, uint32_t pos, const AstNode *e, const Label *label) {
    Printer scratch = { .w = writer_new(p->w->arena), .file = p->file, .pos = pos, .comment = p->comment,
                        .brackets = p->brackets, .measuring = true };
    if (e)
        print_expr(&scratch, e);
    if (label)
        print_label(&scratch, label);
    return memchr(scratch.w->data, '\n', scratch.w->length) ? -1 : scratch.w->column;
}

static uint32_t pipe_left_end(const Cell *cells, int i) {
    return span_end(cells[i].pipe->pipe.left->span);
}

/* The stages of a chain of pipes, first to last; stages behind a parenthesis belong to another chain. */
static Cell *pipe_cells(Printer *p, const AstNode *e, int *count) {
    *count = 1;
    for (const AstNode *n = e->pipe.left; n->kind == EXPR_PIPE && !n->parens; n = n->pipe.left)
        ++*count;
    Cell *cells = NEW_ARRAY(p->w->arena, Cell, *count);
    const AstNode *n = e;
    for (int i = *count - 1; i >= 0; i--, n = n->pipe.left)
        cells[i].pipe = n;
    for (int i = 0; i < *count; i++) {
        Cell *c = &cells[i];
        c->breaks = print_has_newline(p, pipe_left_end(cells, i), c->pipe->pipe.op_span.begin);
        c->row = i ? cells[i - 1].row + c->breaks : 0;
        c->column = i && !c->breaks ? cells[i - 1].column + 1 : 0;
        c->last = true;
        if (i)
            cells[i - 1].last = c->breaks;
    }
    return cells;
}

static void measure_cell(const Printer *p, Cell *c, bool follows) {
    const AstNode *n = c->pipe;
    c->width = c->label_width = -1;
    if (!follows || !n->pipe.label)
        return;
    c->label_width = width_of(p, span_end(n->pipe.stage->span), NULL, n->pipe.label);
    if (c->label_width >= 0)
        c->width = width_of(p, span_end(n->pipe.op_span), n->pipe.stage, NULL);
}

/* Width that the aligned cells of a column get, by stage or by label where a stage follows: the widest, but
 * for cells much wider than the narrowest, which stick out. */
static int column_width(const Cell *cells, int count, int column, bool label) {
    int narrowest = -1, widest = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < count; i++) {
            const Cell *c = &cells[i];
            int width = label ? c->label_width : c->width;
            if (c->width < 0 || c->column != column || (label && c->last))
                continue;
            if (pass == 0 && (narrowest < 0 || width < narrowest))
                narrowest = width;
            if (pass == 1 && width > widest && width <= narrowest + MOST_PADDING)
                widest = width;
        }
    }
    return widest;
}

/* Pads labelled stages that stand above each other; a cell is aligned when all before it on its line are. */
static void align_cells(Printer *p, Cell *cells, int count) {
    int columns = 0;
    for (int i = 0; i < count; i++) {
        measure_cell(p, &cells[i], cells[i].column == 0 || cells[i - 1].width >= 0);
        columns = cells[i].column >= columns ? cells[i].column + 1 : columns;
    }
    int *width = NEW_ARRAY(p->w->arena, int, columns), *label = NEW_ARRAY(p->w->arena, int, columns);
    for (int k = 0; k < columns; k++) {
        width[k] = column_width(cells, count, k, false);
        label[k] = column_width(cells, count, k, true);
    }
    for (int i = 0; i < count; i++) {
        Cell *c = &cells[i];
        if (c->width < 0)
            continue;
        c->pad = width[c->column] - c->width;
        c->label_pad = c->last ? 0 : label[c->column] - c->label_width;
    }
}

static void print_pipe(Printer *p, const AstNode *e) {
    int count;
    Cell *cells = pipe_cells(p, e, &count);
    print_expr(p, cells[0].pipe->pipe.left);
    int column = cells[0].breaks ? p->indent + INDENT : p->w->column + 1;
    if (p->brackets && cells[0].breaks)
        column = p->column + INDENT;
    if (cells[count - 1].row > 0 && !p->measuring)
        align_cells(p, cells, count);
    for (int i = 0; i < count; i++) {
        const AstNode *n = cells[i].pipe;
        if (cells[i].breaks)
            print_break(p, n->pipe.op_span.begin, column);
        else
            writer_char(p->w, ' ');
        print_at(p, "|> ", n->pipe.op_span);
        print_expr(p, n->pipe.stage);
        if (!n->pipe.label)
            continue;
        writer_spaces(p->w, cells[i].pad);
        writer_text(p->w, " as ");
        print_label(p, n->pipe.label);
        writer_spaces(p->w, cells[i].label_pad);
    }
}

/* --- all of them -------------------------------------------------------------------------------------- */

static void print_call(Printer *p, const AstNode *e) {
    print_expr(p, e->call.callee);
    Bracket outer = print_open(p, '(', e->call.args.count ? e->call.args.items[0].span.begin : empty_end(p));
    print_args(p, e->call.args);
    print_close(p, ')', outer);
    if (e->call.label) {
        writer_text(p->w, " as ");
        print_label(p, e->call.label);
    }
}

static void print_bare(Printer *p, const AstNode *e) {
    switch (e->kind) {
    case EXPR_NUMBER:
        print_at(p, e->number.text, e->span);
        break;
    case EXPR_STRING:
        print_string(p, e);
        break;
    case EXPR_BOOL:
        print_at(p, e->boolean.value ? "true" : "false", e->span);
        break;
    case EXPR_NAME:
        print_at(p, e->name.text, e->span);
        break;
    case EXPR_LIST:
        print_list(p, e);
        break;
    case EXPR_TUPLE:
        print_items(p, '(', e->list.items, ')');
        break;
    case EXPR_UNARY:
        print_at(p, e->unary.op == UNARY_NOT ? "not " : "-", e->unary.op_span);
        print_expr(p, e->unary.operand);
        break;
    case EXPR_BINARY:
        print_binary(p, e);
        break;
    case EXPR_COMPARE:
        print_infix(p, e->compare.left, ast_compare_text(e->compare.op), e->compare.op_span, e->compare.right, true);
        break;
    case EXPR_COND:
        print_cond(p, e);
        break;
    case EXPR_CALL:
        print_call(p, e);
        break;
    case EXPR_INDEX:
        print_expr(p, e->index.base);
        print_items(p, '[', e->index.items, ']');
        break;
    case EXPR_FIELD:
        print_expr(p, e->field.base);
        writer_char(p->w, '.');
        print_at(p, e->field.name.text, e->field.name.span);
        break;
    case EXPR_RANGE:
        print_infix(p, e->range.from, "..", e->range.op_span, e->range.to, false);
        break;
    case EXPR_PIPE:
        print_pipe(p, e);
        break;
    default:
        writer_text(p->w, "<error>");
        break;
    }
}

void print_expr(Printer *p, const AstNode *e) {
    if (!e->parens) {
        print_bare(p, e);
        return;
    }
    if (p->file)
        p->pos = e->span.begin + 1;
    Bracket outer = print_open(p, '(', p->file ? skip(p, p->pos, "(") : 0);
    print_bare(p, e);
    if (p->file && p->pos >= span_end(e->span))
        p->pos = span_end(e->span) - 1;         /* a leaf, whose span is that of the parentheses */
    print_close(p, ')', outer);
    if (p->file)
        p->pos = span_end(e->span);
}

void ast_print_expression(Writer *w, const AstNode *expr) {
    Printer p = { .w = w };
    print_expr(&p, expr);
}

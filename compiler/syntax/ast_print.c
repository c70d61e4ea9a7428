/* ast_print.c - prints a file again, line by line, with its comments and blank lines.
 * Canonical: two spaces per level, one blank line at most, aligned names in runs of activations and
 * variants, aligned items in train,
 * aligned comments behind code; bodies that stood on one line stay on one. */
#include "syntax/print.h"

#include <string.h>

enum { INDENT = 2, MOST_PADDING = 30 };

static void print_line(Printer *p, const AstNode *n, int pad);

/* --- comments and blank lines ------------------------------------------------------------------------- */

static bool blank_line_between(const Printer *p, uint32_t from, uint32_t to) {
    const char *text = p->file->source->text;
    int ends = 0;
    for (uint32_t i = from; i < to; i++)
        ends += text[i] == '\n';
    return ends > 1;
}

/* Starts the line of what stands at `begin` in the source, blank line before it kept. */
static void start_line(Printer *p, uint32_t begin, bool first) {
    if (!first && blank_line_between(p, p->pos, begin))
        writer_char(p->w, '\n');
}

/* Comments before `until`, each on its line; true when there was one. */
static bool leading_comments(Printer *p, uint32_t until, bool first) {
    const AstFile *f = p->file;
    bool any = false;
    for (; p->comment < f->comment_count && f->comments[p->comment].span.begin < until; p->comment++) {
        const Comment *c = &f->comments[p->comment];
        start_line(p, c->span.begin, first && !any);
        print_comment(p, c);
        p->pos = span_end(c->span);
        any = true;
    }
    return any;
}

/* Whether only space stands between two offsets. */
static bool only_space(const Printer *p, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++)
        if (!strchr(" \t\r\f;", p->file->source->text[i]))
            return false;
    return true;
}

/* Ends a line whose source ends at `end`: the comment behind it, and those that found no place inside. */
static void end_line(Printer *p, uint32_t end) {
    const AstFile *f = p->file;
    while (p->comment < f->comment_count) {
        const Comment *c = &f->comments[p->comment];
        uint32_t begin = c->span.begin;
        if (begin >= end && !(p->w->column && only_space(p, end, begin)))
            break;
        print_comment(p, c);
        end = span_end(c->span) > end ? span_end(c->span) : end;
        p->comment++;
    }
    if (p->w->column)
        writer_char(p->w, '\n');
    p->pos = end;
}

/* --- bodies ------------------------------------------------------------------------------------------- */

static void print_lines(Printer *p, AstList lines, int pad) {
    int indent = p->w->indent;
    for (int i = 0; i < lines.count; i++) {
        const AstNode *n = lines.items[i];
        bool commented = leading_comments(p, n->span.begin, i == 0);
        start_line(p, n->span.begin, i == 0 && !commented);
        p->pos = n->span.begin;
        print_line(p, n, pad);
        p->w->indent = p->indent = indent;
        end_line(p, span_end(n->span));
    }
}

/* ` { ... }`; pad is the width of the first word of its lines, 0 where they are not aligned. */
static void print_body(Printer *p, const Body *body, int pad) {
    uint32_t end = span_end(body->span) - 1;
    int indent = p->indent;
    p->pos = body->span.begin + 1;
    if (!print_has_newline(p, p->pos, end)) {
        writer_text(p->w, " {");
        for (int i = 0; i < body->lines.count; i++) {
            writer_text(p->w, i ? "; " : " ");
            p->pos = body->lines.items[i]->span.begin;
            print_line(p, body->lines.items[i], 0);
        }
        writer_text(p->w, " }");
        p->pos = end + 1;
        return;
    }
    writer_text(p->w, " {");
    p->w->indent = p->indent = indent + INDENT;
    end_line(p, p->pos);
    print_lines(p, body->lines, pad);
    leading_comments(p, end, body->lines.count == 0);
    p->w->indent = p->indent = indent;
    writer_char(p->w, '}');
    p->pos = end + 1;
}

/* --- statements --------------------------------------------------------------------------------------- */

static void print_equals(Printer *p, const AstNode *value) {
    writer_text(p->w, " = ");
    print_expr(p, value);
}

static void print_named(Printer *p, const char *word, Name name, const AstNode *value) {
    writer_text(p->w, word);
    print_at(p, name.text, name.span);
    print_equals(p, value);
}

static void print_type(Printer *p, const Type *type) {
    print_at(p, type->element.text, type->element.span);
    if (type->span.length == type->element.span.length)
        return;
    AstList dims = type->dims;
    Bracket outer = print_open(p, '[', dims.count ? dims.items[0]->span.begin : p->pos);
    for (int i = 0; i < dims.count; i++) {
        if (i)
            print_between(p, ",", dims.items[i]->span.begin);
        print_expr(p, dims.items[i]);
    }
    print_close(p, ']', outer);
}

static void print_tensor(Printer *p, const char *word, int pad, const AstNode *n) {
    writer_printf(p->w, "%-*s ", pad, word);
    print_at(p, n->tensor.name.text, n->tensor.name.span);
    writer_text(p->w, ": ");
    print_type(p, n->tensor.type);
    if (n->tensor.value)
        print_equals(p, n->tensor.value);
}

static void print_pattern(Printer *p, const Pattern *pattern) {
    if (pattern->name.text) {
        print_at(p, pattern->name.text, pattern->name.span);
        return;
    }
    p->pos = pattern->span.begin + 1;
    Bracket outer = print_open(p, '(', pattern->parts[0]->span.begin);
    for (int i = 0; i < pattern->count; i++) {
        if (i)
            print_between(p, ",", pattern->parts[i]->span.begin);
        print_pattern(p, pattern->parts[i]);
    }
    print_close(p, ')', outer);
}

static void print_for(Printer *p, const AstNode *n) {
    writer_text(p->w, "for ");
    print_pattern(p, n->loop.pattern);
    if (n->loop.index.text) {
        writer_text(p->w, ", ");
        print_at(p, n->loop.index.text, n->loop.index.span);
    }
    writer_text(p->w, " in ");
    print_expr(p, n->loop.over);
    if (n->loop.label) {
        writer_text(p->w, " as ");
        print_label(p, n->loop.label);
    }
    print_body(p, &n->loop.body, 0);
}

static void print_if(Printer *p, const AstNode *n) {
    for (int i = 0; i < n->branch.arms.count; i++) {
        const Arm *arm = &n->branch.arms.items[i];
        if (i)
            writer_text(p->w, " else");
        if (arm->condition) {
            writer_text(p->w, i ? " if " : "if ");
            print_expr(p, arm->condition);
        }
        print_body(p, &arm->body, 0);
    }
}

static void print_assign(Printer *p, const AstNode *n) {
    for (int i = 0; i < n->assign.targets.count; i++) {
        writer_text(p->w, i ? ", " : "");
        print_at(p, n->assign.targets.items[i].text, n->assign.targets.items[i].span);
    }
    print_equals(p, n->assign.value);
}

/* --- declarations ------------------------------------------------------------------------------------- */

static void print_param(Printer *p, const Param *param) {
    print_at(p, param->name.text, param->name.span);
    if (param->scope.text) {
        writer_text(p->w, ": ");
        print_at(p, param->scope.text, param->scope.span);
    }
    if (param->bound == BOUND_BETWEEN) {
        writer_text(p->w, " in (");
        print_expr(p, param->low);
        writer_text(p->w, ", ");
        print_expr(p, param->high);
        writer_text(p->w, ")");
    } else if (param->bound != BOUND_NONE) {
        writer_text(p->w, param->bound == BOUND_GREATER ? " > " : " >= ");
        print_expr(p, param->low);
    }
    if (param->value)
        print_equals(p, param->value);
    p->pos = span_end(param->span);
}

static void print_function(Printer *p, const char *word, int pad, const AstNode *n) {
    writer_printf(p->w, "%s %-*s", word, pad, n->function.name.text);
    p->pos = span_end(n->function.name.span);
    Bracket outer = print_open(p, '(', n->function.input.span.begin);
    print_at(p, n->function.input.text, n->function.input.span);
    for (int i = 0; i < n->function.params.count; i++) {
        print_between(p, i ? "," : ";", n->function.params.items[i].span.begin);
        print_param(p, &n->function.params.items[i]);
    }
    print_close(p, ')', outer);
    print_equals(p, n->function.formula);
}

static void print_input(Printer *p, const Input *input) {
    print_at(p, input->name.text, input->name.span);
    if (input->type) {
        writer_text(p->w, ": ");
        print_type(p, input->type);
    }
    if (input->channel) {
        writer_text(p->w, " channel");
        print_equals(p, input->channel);
    }
    if (input->value)
        print_equals(p, input->value);
    p->pos = span_end(input->span);
}

static void print_block(Printer *p, const char *word, const AstNode *n) {
    InputList inputs = n->block.inputs, options = n->block.options;
    writer_text(p->w, word);
    print_at(p, n->block.name.text, n->block.name.span);
    const Input *first = inputs.count ? inputs.items : options.count ? options.items : NULL;
    Bracket outer = print_open(p, '(', first && inputs.count ? first->span.begin : p->pos);
    for (int i = 0; i < inputs.count; i++) {
        if (i)
            print_between(p, ",", inputs.items[i].span.begin);
        print_input(p, &inputs.items[i]);
    }
    for (int i = 0; i < options.count; i++) {
        print_between(p, i ? "," : ";", options.items[i].span.begin);
        print_input(p, &options.items[i]);
    }
    print_close(p, ')', outer);
    print_body(p, &n->block.body, 0);
}

static void print_variant(Printer *p, int pad, const AstNode *n) {
    writer_printf(p->w, "variant %-*s of ", pad, n->variant.name.text);
    print_at(p, n->variant.base.text, n->variant.base.span);
    print_body(p, &n->variant.body, 0);
}

static const char *item_word(const AstNode *n) {
    return n->kind == ITEM_GROUP ? "group" : n->kind == STMT_TARGET ? "target" : n->set.name.text;
}

static void print_train(Printer *p, const AstNode *n) {
    AstList items = n->train.body.lines;
    int pad = 0;
    for (int i = 0; i < items.count; i++) {
        int width = (int)strlen(item_word(items.items[i]));
        pad = width > pad ? width : pad;
    }
    writer_text(p->w, "train ");
    print_at(p, n->train.network.text, n->train.network.span);
    print_body(p, &n->train.body, pad);
}

static void print_group(Printer *p, int pad, const AstNode *n) {
    writer_printf(p->w, "%-*s ", pad, "group");
    for (int i = 0; i < n->group.patterns.count; i++) {
        writer_text(p->w, i ? ", " : "");
        print_expr(p, n->group.patterns.items[i]);
    }
    print_body(p, &n->group.body, 0);
}

static void print_place(Printer *p, const AstNode *n) {
    print_expr(p, n->place.pattern);
    writer_text(p->w, n->place.append ? " += " : " = ");
    print_expr(p, n->place.value);
}

/* One statement, item or declaration, without its line end. pad: width that its first word or name gets. */
static void print_line(Printer *p, const AstNode *n, int pad) {
    switch (n->kind) {
    case STMT_ASSIGN:     print_assign(p, n); break;
    case STMT_RETURN:     writer_text(p->w, "return "); print_args(p, n->returns.values); break;
    case STMT_EXPR:       print_expr(p, n->expr.value); break;
    case STMT_FOR:        print_for(p, n); break;
    case STMT_IF:         print_if(p, n); break;
    case STMT_PREPROCESS: print_named(p, "preprocess ", n->set.name, n->set.value); break;
    case STMT_PARAM:      print_tensor(p, "param", pad, n); break;
    case STMT_STATE:      print_tensor(p, "state", pad, n); break;
    case STMT_TARGET:     print_tensor(p, "target", pad, n); break;
    case STMT_UPDATE:     print_named(p, n->update.now ? "update now " : "update ", n->update.name, n->update.value); break;
    case DECL_USE:        writer_text(p->w, "use "); writer_text(p->w, source_span_text(p->w->arena, n->use.path_span)); break;
    case DECL_LET:        print_named(p, "let ", n->set.name, n->set.value); break;
    case DECL_ACTIVATION: print_function(p, "activation", pad, n); break;
    case DECL_WEIGHT:     print_function(p, "weight", pad, n); break;
    case DECL_SCHEDULE:   print_function(p, "schedule", pad, n); break;
    case DECL_BLOCK:      print_block(p, "block ", n); break;
    case DECL_NETWORK:    print_block(p, "network ", n); break;
    case DECL_VARIANT:    print_variant(p, pad, n); break;
    case DECL_TRAIN:      print_train(p, n); break;
    case ITEM_PLACE:      print_place(p, n); break;
    case ITEM_OPTION:     print_named(p, "", n->set.name, n->set.value); break;
    case ITEM_VALUE:      writer_printf(p->w, "%-*s ", pad, n->set.name.text); print_expr(p, n->set.value); break;
    case ITEM_GROUP:      print_group(p, pad, n); break;
    default:              print_expr(p, n); break;
    }
}

/* --- the file ----------------------------------------------------------------------------------------- */

static int name_width(const AstNode *n) {
    const char *name = n->kind == DECL_VARIANT ? n->variant.name.text
                     : n->kind == DECL_ACTIVATION || n->kind == DECL_WEIGHT || n->kind == DECL_SCHEDULE
                     ? n->function.name.text : NULL;
    return name ? (int)strlen(name) : -1;
}

/* Whether the comments of a declaration, up to the next, all find place behind its lines: at most one waits for its end. */
static bool comments_fit(const AstFile *f, uint32_t begin, uint32_t end) {
    int first = 0;
    for (int last = f->comment_count; first < last;) {
        int middle = first + (last - first) / 2;
        if (f->comments[middle].span.begin < begin)
            first = middle + 1;
        else
            last = middle;
    }
    int count = 0;
    for (; first + count < f->comment_count && f->comments[first + count].span.begin < end; count++)
        if (f->comments[first + count].own_line)
            return false;
    return count <= 1;
}

/* Whether the names of two neighbours are aligned: same kind, on lines that will be successive. */
static bool same_run(const AstFile *f, const AstNode *a, const AstNode *b) {
    return a->kind == b->kind && name_width(a) >= 0 &&
           source_line(f->source, b->span.begin) <= source_line(f->source, span_end(a->span)) + 1 &&
           comments_fit(f, a->span.begin, b->span.begin);
}

/* Prints the declarations from..to, which form a run. */
static void print_run(Printer *p, AstList all, int from, int to) {
    int pad = 0;
    for (int i = from; i < to; i++) {
        int width = name_width(all.items[i]);
        pad = width > pad ? width : pad;
    }
    for (int i = from; i < to; i++) {
        const AstNode *n = all.items[i];
        bool commented = leading_comments(p, n->span.begin, i == 0);
        start_line(p, n->span.begin, i == 0 && !commented);
        p->pos = n->span.begin;
        print_line(p, n, pad);
        p->w->indent = p->indent = 0;
        end_line(p, span_end(n->span));
    }
}

/* The line of the output that holds a trail, as offsets of its first byte and of the next line's. */
typedef struct Line {
    size_t begin, end;
} Line;

static Line line_of(const Writer *w, size_t at) {
    Line line = { at, at };
    while (line.begin > 0 && w->data[line.begin - 1] != '\n')
        line.begin--;
    while (w->data[line.end++] != '\n') {
    }
    return line;
}

/* Whether the code before a trail opens a bracket; such a line stands apart from those inside. */
static bool opens_bracket(const Writer *w, size_t trail) {
    return trail > 0 && strchr("{([", w->data[trail - 1]);
}

/* Copies the output; comments behind code on successive lines come to stand under each other. */
static void align_trails(Writer *w, const Printer *p) {
    size_t copied = 0;
    for (int i = 0, end; i < p->trail_count; i = end) {
        Line line = line_of(p->w, p->trails[i]);
        size_t widest = p->trails[i] - line.begin;
        for (end = i + 1; end < p->trail_count; end++) {
            Line next = line_of(p->w, p->trails[end]);
            if (next.begin != line.end || opens_bracket(p->w, p->trails[end - 1]))
                break;
            line = next;
            widest = p->trails[end] - line.begin > widest ? p->trails[end] - line.begin : widest;
        }
        for (int k = i; k < end; k++) {
            size_t pad = widest - (p->trails[k] - line_of(p->w, p->trails[k]).begin);
            writer_bytes(w, p->w->data + copied, p->trails[k] - copied);
            writer_spaces(w, pad <= MOST_PADDING ? (int)pad : 0);
            copied = p->trails[k];
        }
    }
    writer_bytes(w, p->w->data + copied, p->w->length - copied);
}

void ast_print(Writer *w, const AstFile *file) {
    Printer p = { .w = writer_new(w->arena), .file = file };
    AstList all = file->declarations;
    for (int i = 0, end; i < all.count; i = end) {
        for (end = i + 1; end < all.count && same_run(file, all.items[end - 1], all.items[end]);)
            end++;
        print_run(&p, all, i, end);
    }
    leading_comments(&p, file->source->length + 1, all.count == 0);
    align_trails(w, &p);
}

/* test_syntax.c - what parses, what the tree holds, what prints, what syntax errors say. */
#include "syntax/ast.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above */
#include <cmocka.h>

/* A text that was parsed, with what was reported. */
typedef struct Parsed {
    Arena *arena;
    AstFile *file;
    int errors;
    char *report;
} Parsed;

static Parsed parse_bytes(const char *text, size_t length) {
    Parsed p = { .arena = arena_new(0) };
    char *shown = NULL;
    size_t size;
    FILE *out = open_memstream(&shown, &size);
    Diag *diag = diag_new(p.arena, out);
    p.file = syntax_parse(p.arena, source_from_text(p.arena, "t.snet", text, length), diag);
    fclose(out);
    p.errors = diag_errors(diag);
    p.report = arena_strdup(p.arena, shown);
    free(shown);
    return p;
}

static Parsed parse(const char *text) {
    return parse_bytes(text, strlen(text));
}

/* The only statement in a block's body. */
static const AstNode *statement(Parsed *p, const char *text) {
    char whole[2000];
    snprintf(whole, sizeof whole, "block f(x) {\n%s\n}\n", text);
    *p = parse(whole);
    if (p->errors)
        fail_msg("%s", p->report);
    assert_int_equal(p->file->declarations.items[0]->block.body.lines.count, 1);
    return p->file->declarations.items[0]->block.body.lines.items[0];
}

static void done(Parsed *p) {
    arena_destroy(p->arena);
}

/* --- printing ----------------------------------------------------------------------------------------- */

static const char *printed(Parsed *p) {
    Writer *w = writer_new(p->arena);
    ast_print(w, p->file);
    return w->data;
}

/* text prints as expected, which prints as itself and says the same. */
static void prints_as(const char *text, const char *expected) {
    Parsed p = parse(text);
    if (p.errors)
        fail_msg("%s", p.report);
    assert_string_equal(printed(&p), expected);
    Parsed again = parse(expected);
    assert_int_equal(again.errors, 0);
    assert_true(ast_file_equal(p.file, again.file));
    assert_string_equal(printed(&again), expected);
    done(&again);
    done(&p);
}

static void canonical_files_stay(void **state) {
    (void)state;
    static const char *const files[] = {
        "tests/unit/snet/resnet18.snet", "tests/unit/snet/activations.snet", "tests/unit/snet/center.snet",
        "tests/unit/snet/placements.snet", "tests/unit/snet/everything.snet",
    };
    for (int i = 0; i < COUNT(files); i++) {
        Arena *a = arena_new(0);
        const char *error = NULL;
        SourceFile *s = source_read(a, arena_printf(a, "%s/%s", SALUN_SOURCE_DIR, files[i]), &error);
        if (!s)
            fail_msg("%s: %s", files[i], error);
        prints_as(s->text, s->text);
        arena_destroy(a);
    }
}

/* The networks that ship keep their meaning, and their comments, when printed. */
static void models_print_as_themselves(void **state) {
    (void)state;
    static const char *const files[] = {
        "models/resnet18.snet", "models/resnet50.snet",   "models/smallnet.snet",
        "models/vgg19.snet",    "models/rescalenet.snet", "compiler/prelude/prelude.snet",
    };
    for (int i = 0; i < COUNT(files); i++) {
        Arena *a = arena_new(0);
        const char *error = NULL;
        SourceFile *s = source_read(a, arena_printf(a, "%s/%s", SALUN_SOURCE_DIR, files[i]), &error);
        if (!s)
            fail_msg("%s: %s", files[i], error);
        Parsed p = parse(s->text);
        prints_as(s->text, printed(&p));
        done(&p);
        arena_destroy(a);
    }
}

static void printing_is_canonical(void **state) {
    (void)state;
    prints_as("", "");
    prints_as("# only\n\n\n\n#comment", "# only\n\n#comment\n");
    prints_as("let a=1;let b =  -2 ^ - 3\r\n\n\n\nlet c=[1,2 , ]", "let a = 1\nlet b = -2^-3\n\nlet c = [1, 2]\n");
    prints_as("let a = (1+2*3) / 4*5 //6", "let a = (1 + 2*3) / 4*5//6\n");
    prints_as("block f( x ){\n\n\n x=x|>g as l.{i}\n\n\n return x}",
              "block f(x) {\n  x = x |> g as l.{i}\n\n  return x\n}\n");
    prints_as("block f(x) {\n y = x\n |> a as long\n # c\n |> bcd as b |> e # d\n}",
              "block f(x) {\n  y = x\n    |> a   as long\n    # c\n    |> bcd as b |> e  # d\n}\n");
    prints_as("block f(x) { # c\n y = x # one\n zz = x # two\n return (x + # in\n y) }",
              "block f(x) {  # c\n  y = x        # one\n  zz = x       # two\n  return (x +  # in\n          y)\n}\n");
    prints_as("network N(x: f32[N],\n  y: f32[N]; k = 1) {\n x = f(x,\n y)\n |> g\n if x { }\n}",
              "network N(x: f32[N],\n          y: f32[N]; k = 1) {\n  x = f(x,\n        y)\n    |> g\n  if x { }\n}\n");
    prints_as("block f(x) {\n y = x |> (h) # q\n z = ((x))\n w = -((x)) - (1,\n ((2)))\n}",
              "block f(x) {\n  y = x |> (h)  # q\n  z = (x)\n  w = -(x) - (1,\n              (2))\n}\n");
    prints_as("block f(x) {\n y = x |> m(axis# c\n = [])\n z = [ # d\n ]\n}",
              "block f(x) {\n  y = x |> m(axis = [])  # c\n  z = [                  # d\n  ]\n}\n");
    prints_as("block f(x) {\n y = x |> a as b |> conv(1, k =\n3) as c\n |> dd as dd |> e as g\n}",
              "block f(x) {\n  y = x |> a  as b  |> conv(1, k = 3) as c\n        |> dd as dd |> e              as g\n}\n");
    prints_as("activation ab(x; k # one\n= 2) = x # two\nactivation a(x) = x\nactivation abc(x) = x # three",
              "activation ab(x; k = 2) = x  # one\n# two\nactivation a  (x) = x\nactivation abc(x) = x  # three\n");
    prints_as("activation a(x) = x;activation bcd(x) = x", "activation a  (x) = x\nactivation bcd(x) = x\n");
    prints_as("train N { epochs 3; seed 1 }\ntrain M {\nepochs 3; group \"a\" { lr = 1 }\n}",
              "train N { epochs 3; seed 1 }\ntrain M {\n  epochs 3\n  group  \"a\" { lr = 1 }\n}\n");
}

static void one_expression(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    Diag *diag = diag_new(a, NULL);
    const char *text = "salu(fixed a=0.5)|>f";
    AstNode *e = syntax_parse_expression(a, source_from_text(a, "-D act", text, strlen(text)), diag);
    Writer *w = writer_new(a);
    ast_print_expression(w, e);
    assert_string_equal(w->data, "salu(fixed a = 0.5) |> f");
    static const char *const wrong[] = { "", "1 2", "a = 3", "a\nb", "(", "train(", "@" };
    for (int i = 0; i < COUNT(wrong); i++)
        assert_null(syntax_parse_expression(a, source_from_text(a, "-D x", wrong[i], strlen(wrong[i])), diag));
    static const char *const right[] = { "train", "weight", "a # comment", "\n(1,\n2)\n" };
    for (int i = 0; i < COUNT(right); i++)
        assert_non_null(syntax_parse_expression(a, source_from_text(a, "-D x", right[i], strlen(right[i])), diag));
    arena_destroy(a);
}

/* --- the tree ----------------------------------------------------------------------------------------- */

/* The expression with a parenthesis around every operation. */
static void show(Writer *w, const AstNode *e) {
    switch (e->kind) {
    case EXPR_UNARY:
        writer_text(w, e->unary.op == UNARY_NOT ? "(not " : "(-");
        show(w, e->unary.operand);
        break;
    case EXPR_BINARY:
    case EXPR_COMPARE:
    case EXPR_RANGE:
    case EXPR_PIPE: {
        bool binary = e->kind == EXPR_BINARY, compare = e->kind == EXPR_COMPARE, range = e->kind == EXPR_RANGE;
        writer_char(w, '(');
        show(w, binary ? e->binary.left : compare ? e->compare.left : range ? e->range.from : e->pipe.left);
        writer_printf(w, " %s ", binary ? ast_binary_text(e->binary.op) : compare ? ast_compare_text(e->compare.op)
                      : range ? ".." : "|>");
        show(w, binary ? e->binary.right : compare ? e->compare.right : range ? e->range.to : e->pipe.stage);
        break;
    }
    case EXPR_COND:
        writer_char(w, '(');
        show(w, e->cond.then);
        writer_text(w, " if ");
        show(w, e->cond.condition);
        writer_text(w, " else ");
        show(w, e->cond.otherwise);
        break;
    default:
        ast_print_expression(w, e);
        return;
    }
    writer_char(w, ')');
}

static void binds(const char *text, const char *expected) {
    Parsed p;
    const AstNode *n = statement(&p, text);
    Writer *w = writer_new(p.arena);
    show(w, n->expr.value);
    assert_string_equal(w->data, expected);
    done(&p);
}

static void precedence(void **state) {
    (void)state;
    binds("1 + 2 * 3 - 4", "((1 + (2 * 3)) - 4)");
    binds("-a^2^-b", "(-(a ^ (2 ^ (-b))))");
    binds("-a * b // c % d", "((((-a) * b) // c) % d)");
    binds("0..n - 1", "(0 .. (n - 1))");
    binds("not a < b and c or d", "(((not (a < b)) and c) or d)");
    binds("a or b |> f", "((a or b) |> f)");
    binds("h + s |> act |> f(x)", "(((h + s) |> act) |> f(x))");
    binds("a if b else c if d else e", "(a if b else (c if d else e))");
    binds("a == 1 if b or c else -1", "((a == 1) if (b or c) else (-1))");
    binds("f(x) as a + g(y) as {i}.b", "(f(x) as a + g(y) as {i}.b)");
    binds("x.y[1](2).z", "x.y[1](2).z");
    binds("1e-4 + 0.5e2", "(1e-4 + 0.5e2)");
}

static void spans_point_at_operators(void **state) {
    (void)state;
    Parsed p;
    const AstNode *e = statement(&p, "(a) + b")->expr.value;
    assert_string_equal(source_span_text(p.arena, e->binary.op_span), "+");
    assert_string_equal(source_span_text(p.arena, e->span), "(a) + b");
    assert_string_equal(source_span_text(p.arena, e->binary.left->span), "(a)");
    assert_true(e->binary.left->parens);
    done(&p);
    e = statement(&p, "x |> f(1) as a{i}.b")->expr.value;
    assert_string_equal(source_span_text(p.arena, e->pipe.label->span), "a{i}.b");
    assert_int_equal(e->pipe.label->count, 3);
    assert_string_equal(source_span_text(p.arena, e->pipe.label->parts[1].span), "{i}");
    assert_null(e->pipe.stage->call.label);
    done(&p);
}

static void numbers(void **state) {
    (void)state;
    Parsed p;
    const AstNode *e = statement(&p, "[64, 0.5, 5e-4, pi, inf, 1e3]")->expr.value;
    static const double values[] = { 64, 0.5, 5e-4, 3.14159265358979323846, INFINITY, 1000 };
    for (int i = 0; i < COUNT(values); i++) {
        assert_true(e->list.items.items[i]->number.value == values[i]);
        assert_int_equal(e->list.items.items[i]->number.integer, i == 0);
    }
    done(&p);
}

static void statements(void **state) {
    (void)state;
    Parsed p;
    const AstNode *n = statement(&p, "for (a, (b, c)), i in 0..3 as s{i} { x = x }");
    assert_int_equal(n->kind, STMT_FOR);
    assert_int_equal(n->loop.pattern->parts[1]->count, 2);
    assert_string_equal(n->loop.index.text, "i");
    assert_int_equal(n->loop.over->kind, EXPR_RANGE);
    assert_int_equal(n->loop.label->count, 2);
    done(&p);
    n = statement(&p, "if a { x = 1 } else if b { x = 2 } else { x = 3 }");
    assert_int_equal(n->branch.arms.count, 3);
    assert_null(n->branch.arms.items[2].condition);
    done(&p);
    n = statement(&p, "update now now = 1");
    assert_true(n->update.now);
    assert_string_equal(n->update.name.text, "now");
    done(&p);
    assert_int_equal(statement(&p, "update = 1")->kind, STMT_ASSIGN);
    done(&p);
    assert_int_equal(statement(&p, "state m: f32 = zeros")->kind, STMT_STATE);
    done(&p);
    assert_int_equal(statement(&p, "state, param = f(data)")->assign.targets.count, 2);
    done(&p);
    n = statement(&p, "y = f(1, k = 2, fixed a = 3,) as l");
    assert_int_equal(n->assign.value->call.args.count, 3);
    assert_true(n->assign.value->call.args.items[2].fixed);
    done(&p);
    n = statement(&p, "x = a\n # comment\n\n |> b\n |> c");
    assert_int_equal(n->assign.value->kind, EXPR_PIPE);
    done(&p);
}

static void declarations(void **state) {
    (void)state;
    Parsed p = parse("activation f(x; a: channel in (0, 1) = 0.5) = a*x\n"
                     "network N(x: f32[N, T] channel = last; k = 3) { return x }\n"
                     "network M(x: f32) { return x }\n"
                     "variant V of N { \"a*\" += salu; k = 4 }\n"
                     "train N { group \"a\", \"b\" { lr = 1 }; schedule step(3) }\n");
    assert_int_equal(p.errors, 0);
    AstNode **d = p.file->declarations.items;
    assert_int_equal(p.file->declarations.count, 5);
    assert_int_equal(d[0]->function.params.items[0].bound, BOUND_BETWEEN);
    assert_string_equal(d[0]->function.params.items[0].scope.text, "channel");
    assert_string_equal(d[1]->block.inputs.items[0].channel->name.text, "last");
    assert_int_equal(d[1]->block.options.count, 1);
    assert_int_equal(d[2]->block.inputs.items[0].type->dims.count, 0);
    assert_true(d[3]->variant.body.lines.items[0]->place.append);
    assert_int_equal(d[4]->train.body.lines.items[0]->group.patterns.count, 2);
    done(&p);
}

/* --- errors ------------------------------------------------------------------------------------------- */

/* Parsing reports `count` errors, and says every text in the list. */
static void complains(const char *text, int count, const char *const *texts) {
    Parsed p = parse(text);
    if (p.errors != count)
        fail_msg("%d errors, not %d:\n%s", p.errors, count, p.report);
    for (int i = 0; texts[i]; i++)
        if (!strstr(p.report, texts[i]))
            fail_msg("\"%s\" is not in:\n%s", texts[i], p.report);
    done(&p);
}
#define COMPLAINS(text, count, ...) complains(text, count, (const char *const[]){ __VA_ARGS__, NULL })

static void errors_in_expressions(void **state) {
    (void)state;
    COMPLAINS("let a = 1 +\nlet b = )\nlet c = 1", 3, "t.snet:1:12: error: expected a value, found the end of the line",
              "t.snet:2:9: error: this `)` closes nothing");
    COMPLAINS("let a = x |> f + y |> g\nlet b = 1 2", 2, "t.snet:1:16: error: `+` cannot stand behind a stage",
              "write `(x |> f) + y`", "t.snet:2:11");
    COMPLAINS("let a = 1 < 2 < 3", 1, "1:15: error: comparisons cannot be chained");
    COMPLAINS("let a = b if c else d |> e", 1, "need parentheses between them");
    COMPLAINS("let a = b |> c if d else e", 1, "need parentheses between them");
    COMPLAINS("let a = f(1 2, [3 4], g(,))", 1, "expected `)` or `,`, found `2`");
    COMPLAINS("let a = [f(1 2), g(3 4)]", 2, "1:14", "1:22");
    COMPLAINS("let a = x as b", 1, "only a call or a stage of a pipe can have a label");
    COMPLAINS("let a = f(x) as a..b + f(x) as .c + f(x) as d.", 3, "a label has a name or number");
    COMPLAINS("let a = f(k = 1, 2, k = 3)", 2, "cannot follow one with a name", "`k` stands here twice", "the first");
    COMPLAINS("let a = 3x + .5 + 1e999", 3, "`3x` is neither", "write `0.5`", "too large");
    COMPLAINS("let a = b && !c || d ** 2", 4, "written `and`", "written `not`", "written `or`", "written `^`");
    COMPLAINS("let a = \"x\nlet b = 'y'\nlet c = \"\\q\"", 3, "not closed on its line", "double quotes", "unknown escape");
    COMPLAINS("let a = x |> 3", 1, "a number cannot stand behind `|>`");
}

static void errors_in_statements(void **state) {
    (void)state;
    COMPLAINS("block f(x) {\n if x = 3 { y = 1 2 }\n let z = 1\n for in in x { y = 3 4 }\n}\n", 5, "`==` compares",
              "found `2`", "named by `name = ...` alone", "`in` is a word of the language", "found `4`");
    COMPLAINS("block f(x) {\n if x { y = 1 }\n else { y = 2 }\n if x\n {\n y = 3 }\n}", 2, "`else` stands on the line of",
              "`{` stands at the end of the line");
    COMPLAINS("block f(x) {\n for i in x as {\n y = i\n }\n return\n}", 2, "expected a label after `as`",
              "`return` needs a value");
    COMPLAINS("block f(x) {\n for i in x as l{\n y = i\n }\n z = f(x) as\n}", 2, "has white space before it",
              "expected a label, found the end of the line");
    COMPLAINS("block f(x) {\n x += 1\n + 2\n // c\n if x:\n while x { }\n}", 5, "write `name = name + ...`",
              "a line goes on inside", "comments start with `#`", "stands in { }", "there is no while");
    COMPLAINS("block f(x) {\n x = (1,\n}\nblock g(x) { return x + }", 2, "2:6: error: this `(` is never closed", "4:25");
    COMPLAINS("block f(x) {\n y = g(x\n return y\n}\nblock f(x) {\n", 2, "2:7", "5:12: error: this `{` is never closed");
    COMPLAINS("block f(x) {\n y = x\nblock g(x) { return x }\n", 1, "1:12: error: this `{` is never closed",
              "before this declaration");
}

static void errors_in_declarations(void **state) {
    (void)state;
    COMPLAINS("netwrk N(x: f32[3]) { }", 1, "did you mean `network`?");
    COMPLAINS("network N(x) { return x y }\nblock f(x: f32) { return x }", 3, "an input of a network needs a type",
              "unexpected `y`", "inputs of a block have no types");
    COMPLAINS("block f(x, x; x) { return x }\nblock g(a = 1, b) { return a }", 3, "`x` stands here twice",
              "cannot follow one with a default");
    COMPLAINS("variant A off B { x = 1; y 2 }", 2, "expected `of`, found `off`", "expected `=`");
    COMPLAINS("train N { epochs = 3\n seed\n loss a b\n group \"a\" lr = 1\n}", 4, "without `=`", "found the end of the line",
              "found `b`", "expected `,` or `{`");
    COMPLAINS("activation f(x, a) = x\nactivation g(x; a > 1 > 2) + 3\nlet a = 1 1", 4, "expected `)` or `;`", "found `>`",
              "3:11");
}

static void bytes_that_are_no_text(void **state) {
    (void)state;
    static const char nul[] = "let a = \0 1\n# \0\nlet b = \"\0\"";
    Parsed p = parse_bytes(nul, sizeof nul - 1);
    assert_true(p.errors >= 1);
    assert_non_null(strstr(p.report, "1:9: error: control character 0x00"));
    done(&p);
    COMPLAINS("# \xc3\xa4 is fine\n# \xff is not\n", 1, "2:3: error: the file is not UTF-8 text here (byte 0xff)");
    COMPLAINS("let a = \xe2\x80\x9cx\xe2\x80\x9d", 2, "only ASCII has a meaning");
    COMPLAINS("let a = @ $ 3", 2, "unexpected character `@`", "unexpected character `$`");
    p = parse("\xef\xbb\xbflet a = 1\r\n");
    assert_int_equal(p.errors, 0);
    done(&p);
}

/* A text of `count` repetitions between two ends. */
static char *repeat(Arena *a, const char *begin, const char *middle, int count, const char *end) {
    Writer *w = writer_new(a);
    writer_text(w, begin);
    for (int i = 0; i < count; i++)
        writer_text(w, middle);
    writer_text(w, end);
    return w->data;
}

static void depth_is_bounded(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    static const struct { const char *begin, *middle, *end; } texts[] = {
        { "let a = ", "(", "" },           { "let a = ", "[", "" },          { "let a = ", "-", "1" },
        { "let a = ", "not ", "1" },       { "let a = 1", "^1", "" },        { "let a = 1", "+1", "" },
        { "let a = x", "|>f", "" },        { "let a = 1", " if 1 else 1", "" }, { "let a = x", ".x", "" },
        { "let a = x", "(1)", "" },        { "block f(x) { ", "if x { ", "" }, { "let a = ", "f(", "" },
        { "block f(x) { for ", "(", "" },  { "let a = x |> f as ", "{x |> f as ", "" }, { "let a = ", "x |> ", "" },
        { "block f(x) { ", "for i in x { ", "" },
    };
    for (int i = 0; i < COUNT(texts); i++) {
        Parsed p = parse(repeat(a, texts[i].begin, texts[i].middle, 100000, texts[i].end));
        if (p.errors == 0)
            fail_msg("no error after %s %s", texts[i].begin, texts[i].middle);
        done(&p);
    }
    Parsed p = parse(repeat(a, "let a = 1", " + 1", 400, ""));
    assert_int_equal(p.errors, 0);
    done(&p);
    p = parse(repeat(a, "block f(x) { if x { y = 1 }", " else if x { y = 1 }", 5000, " }"));
    assert_int_equal(p.errors, 0);
    done(&p);
    arena_destroy(a);
}

static void long_input_takes_linear_time(void **state) {
    (void)state;
    Arena *a = arena_new(0);
    static const char *const pieces[] = { "\n", "#\n", " ", "# ", "\n#", "a", "1", "\"", "\\", "a;", "1.", "{", "}", "|>",
                                          "\n|", "as ", "let a = 1\n", "(\n", ")", "\x01", "\xff" };
    for (int i = 0; i < COUNT(pieces); i++) {
        Parsed p = parse(repeat(a, "let a = 1\nlet b = ", pieces[i], 200000, ""));
        assert_true(p.errors >= 0);
        done(&p);
    }
    char *nul = arena_alloc(a, 1000000);
    memcpy(nul, "let a = \"", 9);
    Parsed p = parse_bytes(nul, 1000000);
    assert_true(p.errors > 0);
    done(&p);
    arena_destroy(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_files_stay),  cmocka_unit_test(models_print_as_themselves),
        cmocka_unit_test(printing_is_canonical),
        cmocka_unit_test(one_expression),        cmocka_unit_test(precedence),
        cmocka_unit_test(spans_point_at_operators), cmocka_unit_test(numbers),
        cmocka_unit_test(statements),            cmocka_unit_test(declarations),
        cmocka_unit_test(errors_in_expressions), cmocka_unit_test(errors_in_statements),
        cmocka_unit_test(errors_in_declarations), cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test(depth_is_bounded),      cmocka_unit_test(long_input_takes_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_build.c - elaboration: names, loops, options, placements, states, parameters, recipe, and the prelude's
 * values against closed forms. What it says about mistakes is in tests/errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/build.h"
#include "interp/interp.h"
#include "passes/passes.h"

#define NET "network Net(image: f32[N, 3, 8, 8]; classes = 10, norm = salu, act = swalu) {\n"
#define END "return x |> global_avgpool |> linear(classes) as fc\n}\n"
#define TRAIN                                                                                                          \
    "train Net {\n data cifar10(batch = 4) |> pad_crop(2) |> flip\n loss cross_entropy(smoothing = 0.1)\n"             \
    "optimizer sgd(lr = 0.2, momentum = 0.9, weight_decay = 1e-3)\n epochs 3\n }\n"

static Arena *arena;
static Diag *diag;

static int setup(void **state) {
    (void)state;
    arena = arena_new(0);
    diag = diag_new(arena, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    arena_destroy(arena);
    return 0;
}

static Program *try_build(const char *text, const BuildOptions *o) {
    const AstFile *tree = syntax_parse(arena, source_from_text(arena, "net.snet", text, strlen(text)), diag);
    return build_program(arena, tree, o, diag);
}

static Program *build(const char *text, const BuildOptions *o) {
    Program *p = try_build(text, o);
    if (!p) {
        Diag *loud = diag_new(arena, stderr);
        const AstFile *tree = syntax_parse(arena, source_from_text(arena, "net.snet", text, strlen(text)), loud);
        build_program(arena, tree, o, loud);
        fail_msg("this does not build:\n%s", text);
    }
    return p;
}

static Program *infer(const char *text) { return build(text, &BUILD_DEFAULTS); }

static Program *train(const char *text) {
    BuildOptions o = BUILD_DEFAULTS;
    o.training = true;
    return build(text, &o);
}

static const Tap *tap(const Program *p, const char *name) {
    for (int i = 0; i < p->tap_count; i++)
        if (strcmp(p->taps[i].name, name) == 0)
            return &p->taps[i];
    return NULL;
}

static const char *what(const Program *p, const char *name) {
    const Tap *t = tap(p, name);
    return t ? t->what : "nothing";
}

static int count(const Graph *g, OpId op) {
    int n = 0;
    for (const Node *v = g->first; v; v = v->next)
        n += v->op == op;
    return n;
}

static const Node *find(const Graph *g, OpId op) {
    for (const Node *v = g->first; v; v = v->next)
        if (v->op == op)
            return v;
    return NULL;
}

/* ---- names ---- */

static void test_auto_names(void **state) {
    (void)state;
    Program *p = infer(NET "x = image |> conv(4, 3) |> norm |> act\n x = x |> conv(4, 3) |> norm |> salu(a = 2)\n" END);
    assert_non_null(program_tensor(p, "conv.weight"));
    assert_non_null(program_tensor(p, "conv2.weight"));
    assert_non_null(program_tensor(p, "norm.a"));       /* after the call site, not after what is called */
    assert_non_null(program_tensor(p, "norm2.b"));
    assert_non_null(program_tensor(p, "act.a"));
    assert_float_equal(program_tensor(p, "salu.a")->init.a, 2, 0);
    assert_string_equal(what(p, "norm2"), "salu");
    assert_non_null(tap(p, "global_avgpool"));
}

static void test_labels(void **state) {
    (void)state;
    Program *p = infer("block two(x) {\n return x |> conv(3, 1) as a |> conv(3, 1) as down.0\n}\n" NET
                       "x = image\n for (f, d), s in [(1, 2), (2, 1)] as layer{s + 1} {\n for i in 0..d {\n"
                       "x = two(x) as {i}\n }\n }\n for i in 0..2 { x = x |> relu }\n" END);
    assert_non_null(program_tensor(p, "layer1.0.a.weight"));
    assert_non_null(program_tensor(p, "layer1.1.down.0.weight"));
    assert_non_null(program_tensor(p, "layer2.0.a.weight"));
    assert_null(program_tensor(p, "layer2.1.a.weight"));
    assert_non_null(tap(p, "relu"));
    assert_non_null(tap(p, "relu2"));
}

static void test_composed_names(void **state) {
    (void)state;
    Program *p = infer("let both = salu |> relu as last |> dropout(0.5)\n" NET "x = image |> both as b\n" END);
    assert_string_equal(what(p, "b"), "salu |> relu |> dropout");
    assert_string_equal(what(p, "b.0"), "salu");
    assert_string_equal(what(p, "b.last"), "relu");
    assert_string_equal(what(p, "b.2"), "dropout");
    assert_non_null(program_tensor(p, "b.0.a"));
}

static void test_numbers_do_not_hide_layers(void **state) {
    (void)state;
    Program *p = infer(NET "dropout = 0.25\n mean = 3\n x = image |> dropout(dropout)\n y = mean(x, axis = 1)\n" END);
    assert_non_null(tap(p, "dropout"));
}

/* ---- loops and conditions ---- */

static void test_loop_carries_values(void **state) {
    (void)state;
    Program *p = infer(NET "k = 0\n x = image\n i = 7\n for i in 1..5 { k = k + i\n x = x |> conv(k, 1) as c{k} }\n"
                           "if i == 7 and k == 10 { x = x |> relu as kept }\n" END);
    assert_int_equal(program_tensor(p, "c1.weight")->shape.dim[0], 1);
    assert_int_equal(program_tensor(p, "c10.weight")->shape.dim[1], 6);
    assert_non_null(tap(p, "kept"));        /* the loop's own name is gone after it */
}

static void test_values(void **state) {
    (void)state;
    infer("let sizes = [3, 4, [5, 6]]\nlet none = identity\n" NET
          "if not (sizes[2][1] == 6 and sizes[-3] == 3 and len(sizes) == 3 and sum([1, 2, 3]) == 6) { x = wrong }\n"
          "if not (7 // 2 == 3 and -7 // 2 == -4 and -7 % 3 == 2 and 2^-1 == 0.5 and max(2, 3) == 3) { x = wrong }\n"
          "if not (norm == salu(a = 3) and norm != none and none == identity and \"a\" != \"b\") { x = wrong }\n"
          "if not (exp(0) == 1 and tanh(0) == 0 and floor(1.5) == 1 and ceil(1.5) == 2) { x = wrong }\n"
          "a, b = (1, (2, 3))\n for (p, (q, r)), k in [(a, b)] { if p + q + r + k != 6 { x = wrong } }\n"
          "x = image if true else wrong\n" END);
}

static void test_shapes_of_windows(void **state) {
    (void)state;
    Program *p = infer("network Net(image: f32[N, 3, 9, 10]; classes = 10) {\n"
                       "x = image |> conv(6, [4, 3], 2, groups = 3) as a\n"
                       "y = image |> conv(4, 3, padding = 0, dilation = 2) as b\n"
                       "z = image |> maxpool(3, 2, padding = 1) as c\n w = image |> avgpool([2, 5]) as d\n" END);
    assert_string_equal(shape_text(arena, TYPE_F32, &tap(p, "a")->shape), "f32[1, 6, 5, 5]");
    assert_string_equal(shape_text(arena, TYPE_F32, &tap(p, "b")->shape), "f32[1, 4, 5, 6]");
    assert_string_equal(shape_text(arena, TYPE_F32, &tap(p, "c")->shape), "f32[1, 3, 5, 5]");
    assert_string_equal(shape_text(arena, TYPE_F32, &tap(p, "d")->shape), "f32[1, 3, 4, 2]");
    assert_int_equal(program_tensor(p, "a.weight")->shape.dim[1], 1);
    const Window *w = &find(p->infer, OP_CONV)->attr.window;
    assert_int_equal(w->pad_lo[0], 1);
    assert_int_equal(w->pad_hi[0], 2);
    assert_int_equal(w->pad_lo[1], 1);
    assert_int_equal(w->pad_hi[1], 1);
}

/* ---- options, variants, placements ---- */

#define VARIANTS                                                                                                       \
    "variant A of Net { norm = salu(a = 2); \"n\" = relu; \"n\" = gelu }\n"                                            \
    "variant B of A { classes = 7; \"n\" += salu |> relu; \"c\" += prelu }\n"

static void test_variants(void **state) {
    (void)state;
    const char *text = NET "x = image |> conv(4, 3) as c |> norm as n |> norm as m\n" END VARIANTS;
    BuildOptions o = BUILD_DEFAULTS;
    Setting define[] = { { "norm", "salu(a = 3)" }, { "norm", "salu(a = 5)" } };
    const char *place[] = { "n=silu", "m=identity", "f[a-d]+=relu" };
    o.network = "B";
    Program *p = build(text, &o);
    assert_string_equal(p->name, "B");
    assert_string_equal(what(p, "n"), "gelu");
    assert_string_equal(what(p, "n.post"), "salu |> relu");
    assert_non_null(program_tensor(p, "n.post.0.a"));
    assert_int_equal(program_tensor(p, "c.post.alpha")->shape.dim[0], 4);
    assert_float_equal(program_tensor(p, "m.a")->init.a, 2, 0);
    assert_int_equal(program_tensor(p, "fc.bias")->shape.dim[0], 7);
    o.define = define;
    o.define_count = 2;
    assert_float_equal(program_tensor(build(text, &o), "m.a")->init.a, 5, 0);
    o.place = place;
    o.place_count = 3;
    p = build(text, &o);
    assert_string_equal(what(p, "n"), "silu");
    assert_string_equal(what(p, "m"), "identity");
    assert_string_equal(what(p, "fc.post"), "relu");
    assert_null(program_tensor(p, "m.a"));
}

static void test_placements_do_not_nest(void **state) {
    (void)state;
    Program *p = infer("network Plain(image: f32[N, 4]) {\n return image |> relu as a\n}\n");
    assert_int_equal(p->tap_count, 1);
    BuildOptions o = BUILD_DEFAULTS;
    const char *place[] = { "*=twice", "*+=twice" };
    o.place = place;
    o.place_count = 2;
    p = build("block twice(x) {\n return x |> relu |> relu\n}\nnetwork Plain(image: f32[N, 4]) {\n return image |> relu as a\n}\n", &o);
    assert_string_equal(what(p, "a"), "twice");
    assert_string_equal(what(p, "a.relu2"), "relu");
    assert_string_equal(what(p, "a.post.relu2"), "relu");
    assert_int_equal(p->tap_count, 6);
}

static void test_patterns(void **state) {
    (void)state;
    assert_true(build_pattern_matches("layer[34].*.bn*", "layer4.1.bn2"));
    assert_false(build_pattern_matches("layer[34].*.bn*", "layer2.1.bn2"));
    assert_true(build_pattern_matches("*.a", "layer1.0.bn1.a"));
    assert_false(build_pattern_matches("*.a", "a"));
    assert_true(build_pattern_matches("l?yer[!2-4]*", "layer1.0"));
    assert_false(build_pattern_matches("", "a"));
    assert_true(build_pattern_matches("**a**", "a"));
    assert_true(build_pattern_matches("[", "["));
    assert_false(build_pattern_matches("a[", "a"));
    char name[400], pattern[400];
    memset(name, 'a', sizeof name - 1);
    for (size_t i = 0; i < sizeof pattern - 1; i++)
        pattern[i] = i % 2 ? 'a' : '*';
    name[sizeof name - 1] = pattern[sizeof pattern - 1] = 0;
    pattern[sizeof pattern - 2] = 'b';
    assert_false(build_pattern_matches(pattern, name));     /* no blow-up */
}

/* ---- parameters ---- */

static void test_initialisers(void **state) {
    (void)state;
    Program *p = infer(NET "x = image |> conv(8, 3, init = normal((fan_in / 2)^-0.5 * 0.5)) as a\n"
                           "x = x |> conv(16, 1) as b |> conv(8, 3, bias = true, init = uniform(1 / fan_out)) as c\n"
                           "param w: f32[2, 3, 5] = xavier\n param v: f32[] = 3\n" END);
    assert_int_equal(program_tensor(p, "a.weight")->init.kind, INIT_NORMAL);
    assert_float_equal(program_tensor(p, "a.weight")->init.a, 0.5 / sqrt(27 / 2.0), 1e-15);
    assert_float_equal(program_tensor(p, "b.weight")->init.a, sqrt(2 / 16.0), 1e-15);
    assert_float_equal(program_tensor(p, "c.weight")->init.a, -1 / 72.0, 1e-15);
    assert_float_equal(program_tensor(p, "c.weight")->init.b, 1 / 72.0, 1e-15);
    assert_int_equal(program_tensor(p, "c.bias")->init.kind, INIT_ZEROS);
    assert_float_equal(program_tensor(p, "fc.bias")->init.b, 1 / sqrt(8), 1e-15);
    assert_float_equal(program_tensor(p, "w")->init.b, sqrt(6 / (15.0 + 10)), 1e-15);
    assert_int_equal(program_tensor(p, "v")->shape.rank, 0);
    assert_float_equal(program_tensor(p, "v")->init.a, 3, 0);
}

static void test_learnables(void **state) {
    (void)state;
    Program *p = infer("activation f(x; k > 0 = 1, l >= -1 = 0, m in (0, 2) = 1, c: channel = 4) = k*x + l*m + c\n" NET
                       "x = image |> f(2, m = 1.5) as f |> f(fixed k = 2, fixed c = 1) as g |> prelu as p\n" END);
    const TensorDecl *k = program_tensor(p, "f.k"), *m = program_tensor(p, "f.m");
    assert_int_equal(k->constraint.kind, CONSTRAINT_GREATER);
    assert_float_equal(k->init.a, 2, 0);
    assert_int_equal(m->constraint.kind, CONSTRAINT_BETWEEN);
    assert_float_equal(m->constraint.hi, 2, 0);
    assert_float_equal(m->init.a, 1.5, 0);
    assert_int_equal(program_tensor(p, "f.l")->constraint.kind, CONSTRAINT_AT_LEAST);
    assert_int_equal(program_tensor(p, "f.c")->shape.dim[0], 3);
    assert_null(program_tensor(p, "g.k"));
    assert_null(program_tensor(p, "g.c"));
    assert_non_null(program_tensor(p, "g.m"));
}

/* ---- training ---- */

static void test_step_graph(void **state) {
    (void)state;
    Program *p = train(NET "x = image |> conv(4, 3) as c |> batchnorm as bn |> center as m\n" END TRAIN);
    assert_int_equal(p->batch, 4);
    assert_int_equal(p->step->input_count, 2);
    assert_string_equal(p->step->inputs[1].name, "labels");
    assert_int_equal(p->step->inputs[1].node->type, TYPE_I32);
    assert_string_equal(p->step->outputs[0].name, "loss");
    assert_int_equal(p->step->outputs[0].node->shape.rank, 0);
    assert_string_equal(p->step->outputs[1].name, "output");
    assert_int_equal(p->step->effect_count, 3);
    assert_int_equal(p->infer->effect_count, 0);
    assert_int_equal(count(p->infer, OP_SCALAR), 0);        /* what is deployed knows neither n nor step */
    assert_true(program_tensor(p, "m.mean")->is_state);
}

static void test_states(void **state) {
    (void)state;
    Program *p = train("block s(x) {\n state a: f32[x.channels] = zeros\n state b: f32[x.channels] = ones\n"
                       "if training {\n update now a = batch_mean(x)\n update b = batch_mean(x)\n }\n return x - a - b\n}\n" NET
                       "x = image |> s as s\n" END TRAIN);
    int detached = 0, read = 0;
    for (const Node *n = p->step->first; n; n = n->next) {
        detached += n->op == OP_MAP && n->attr.expr->op == EXPR_DETACH;
        read += n->op == OP_TENSOR && n->attr.tensor->is_state;
    }
    assert_int_equal(detached, 1);      /* a is read as it was just put, without gradient */
    assert_int_equal(read, 2);          /* b is read as it was */
    assert_int_equal(p->step->effect_count, 2);
}

static void test_dropout(void **state) {
    (void)state;
    Program *p = train(NET "x = image |> dropout(0.5) as d1 |> dropout2d(0.25) as d2 |> drop_path(0.1) as d3 |> dropout(0) as d4\n"
                           END TRAIN);
    uint32_t streams[3];
    int n = 0;
    assert_int_equal(count(p->infer, OP_RANDOM), 0);
    assert_int_equal(count(p->infer, OP_MAP), 2);           /* the mean and the head's bias */
    for (const Node *v = p->step->first; v; v = v->next) {
        if (v->op != OP_RANDOM)
            continue;
        assert_true(n < 3);
        assert_int_equal(v->shape.dim[0], 4);
        assert_int_equal(v->shape.dim[1], n < 2 ? 3 : 1);
        assert_int_equal(v->shape.dim[2], n < 1 ? 8 : 1);
        streams[n++] = v->attr.stream;
    }
    assert_int_equal(n, 3);
    assert_true(streams[0] != streams[1] && streams[1] != streams[2] && streams[0] != streams[2]);
    Program *q = train(NET "y = image |> relu as other\n x = image |> dropout(0.5) as d1\n" END TRAIN);
    assert_int_equal(find(q->step, OP_RANDOM)->attr.stream, streams[0]);    /* a function of the tap alone */
}

static void test_recipe(void **state) {
    (void)state;
    Program *p = train("variant V of Net { classes = 5 }\n" NET "x = image |> salu as s\n" END
                       "train Net {\n data npy(\"a.npy\", \"b.npy\", batch = 3) |> pad_crop(4) |> flip(0.25)\n"
                       "loss cross_entropy(smoothing = 0.1)\n optimizer sgd(lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 5e-4)\n"
                       "clip norm(2)\n group \"*.a\", \"*.b\" { weight_decay = 0; lr_scale = 3 }\n group \"fc.*\" { frozen = true }\n"
                       "schedule warmup(5) |> constant(10) |> step(at = [30, 60], gamma = 0.5)\n epochs 90\n seed 9\n}\n");
    const Recipe *r = &p->recipe;
    assert_string_equal(r->data, "npy:a.npy,b.npy");
    assert_int_equal(r->augment_count, 2);
    assert_float_equal(r->augment[1].value, 0.25, 0);
    assert_true(r->nesterov && r->batch == 3 && r->epochs == 90 && r->seed == 9);
    assert_float_equal(r->clip_norm, 2, 0);
    assert_int_equal(r->schedule_count, 3);
    assert_int_equal(r->schedule[1].kind, SCHED_CONST);
    assert_float_equal(r->schedule[1].epochs, 10, 0);
    assert_float_equal(r->schedule[2].at[1], 60, 0);
    assert_float_equal(program_tensor(p, "s.a")->group.weight_decay, 0, 0);
    assert_float_equal(program_tensor(p, "s.a")->group.lr_scale, 3, 0);
    assert_true(program_tensor(p, "fc.weight")->group.frozen);
    assert_float_equal(program_tensor(p, "fc.weight")->group.weight_decay, 5e-4, 0);
}

static void test_training_needs(void **state) {
    (void)state;
    BuildOptions o = BUILD_DEFAULTS;
    o.training = true;
    assert_null(try_build(NET "x = image\n" END, &o));      /* a recipe */
    o.check = true;
    assert_null(try_build(NET "x = image\n" END, &o));
    o.training = false;
    diag = diag_new(arena, NULL);
    assert_non_null(try_build(NET "x = image\n if training { x = x |> relu }\n" END, &(BuildOptions){ .smoothing = NAN }));
    const char *no_data = NET "x = image\n" END "train Net {\n loss cross_entropy\n optimizer sgd(lr = 1)\n epochs 1\n}\n";
    o = BUILD_DEFAULTS;
    diag = diag_new(arena, NULL);
    o.training = true;
    assert_null(try_build(no_data, &o));                    /* a batch size */
    diag = diag_new(arena, NULL);
    o.batch = 12;
    o.smoothing = 0.25;
    Program *p = build(no_data, &o);
    assert_int_equal(p->batch, 12);
    assert_float_equal(p->recipe.smoothing, 0.25, 0);
}

static void test_preprocess(void **state) {
    (void)state;
    Program *p = train(NET "preprocess image = resize(10) |> center_crop(8) |> normalize([0.5, 0.4, 0.3], [1, 2, 3])\n x = image\n"
                           END TRAIN);
    assert_int_equal(p->pre_count, 3);
    assert_int_equal(p->pre[0].kind, PRE_RESIZE);
    assert_int_equal(p->pre[1].size, 8);
    assert_float_equal(p->pre[2].std[2], 3, 0);
}

/* ---- files, inputs, outputs ---- */

static SourceFile *load(void *context, Arena *a, const char *path, const char **error) {
    static const char text[] = "use \"net.snet\"\nlet width = 6\n";
    *error = "no such file";
    ++*(int *)context;
    return strcmp(path, "dir/lib.snet") ? NULL : source_from_text(a, path, text, sizeof text - 1);
}

static void test_use(void **state) {
    (void)state;
    BuildOptions o = BUILD_DEFAULTS;
    int loads = 0;
    o.load = load;
    o.load_context = &loads;
    const char *text = "use \"lib.snet\"\nuse \"lib.snet\"\n" NET "x = image |> conv(width, 1) as c\n" END;
    const AstFile *tree = syntax_parse(arena, source_from_text(arena, "dir/net.snet", text, strlen(text)), diag);
    Program *p = build_program(arena, tree, &o, diag);
    assert_non_null(p);
    assert_int_equal(loads, 1);         /* each file once, and a file that uses its user */
    assert_int_equal(program_tensor(p, "c.weight")->shape.dim[0], 6);
}

static void test_inputs_and_outputs(void **state) {
    (void)state;
    BuildOptions o = BUILD_DEFAULTS;
    Setting dim[] = { { "T", "2 * 3" } };
    o.dim = dim;
    o.dim_count = 1;
    o.batch = 5;
    Program *p = build("network Two(a: f32[N, T, 4] channel = last, b: f32[N, size]; size = 7) {\n"
                       "return a |> salu as s, second = b |> flatten\n}\n", &o);
    assert_int_equal(p->infer->input_count, 2);
    assert_string_equal(shape_text(arena, TYPE_F32, &p->infer->inputs[0].node->shape), "f32[5, 6, 4]");
    assert_int_equal(p->infer->inputs[0].node->channel, 2);
    assert_string_equal(p->infer->outputs[0].name, "output1");
    assert_string_equal(p->infer->outputs[1].name, "second");
}

static void test_taps_print(void **state) {
    (void)state;
    Writer *w = writer_new(arena);
    build_taps_print(w, infer("block add(x, y) {\n return x + y\n}\nnetwork Net(a: f32[N, 4]) {\n return add(a, a |> relu) as sum\n}\n"));
    assert_string_equal(w->data, "relu  f32[1, 4]  relu\nsum   f32[1, 4]  add  (cannot be replaced)\n");
}

/* ---- values ---- */

static const double points[] = { -3, -1, -0.5, 0, 0.25, 1, 2, 5 };

/* What the network's first output is for `points` (one image of 8 numbers). */
static const double *run(const char *formula) {
    Program *p = infer(arena_printf(arena, "network Net(x: f32[N, 8]) {\n return %s\n}\n", formula));
    passes_run(p, &(PassOptions){ .limit = -1, .verify = true });
    Interp *it = interp_new(p, true, 0);
    for (int i = 0; i < p->tensor_count; i++) {
        double values[8];
        const TensorDecl *t = p->tensors[i];
        for (int k = 0; k < 8; k++)
            values[k] = t->init.kind == INIT_CONST ? t->init.a : 0;
        assert_true(interp_set_tensor(it, t, values));
    }
    assert_true(interp_set_input_double(it, 0, points, COUNT(points)));
    assert_true(interp_run(it, p->infer, 1));
    int64_t n;
    const double *y = interp_output(it, 0, &n);
    double *copy = NEW_ARRAY(arena, double, n);
    memcpy(copy, y, (size_t)n * sizeof *y);
    interp_destroy(it);
    return copy;
}

static double salu(double x) { return x / sqrt(1 + x * x); }
static double f_swalu(double x) { return x / 2 * (1 + salu(x)); }
static double f_galu(double x) { return x / 2 * (1 + salu(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static double f_relu(double x) { return x > 0 ? x : 0; }
static double f_prelu(double x) { return x > 0 ? x : 0.25 * x; }
static double f_elu(double x) { return x > 0 ? x : expm1(x); }
static double f_selu(double x) { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * expm1(x)); }
static double f_gelu(double x) { return x / 2 * (1 + erf(x / M_SQRT2)); }
static double f_gelu_tanh(double x) { return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static double f_silu(double x) { return x / (1 + exp(-x)); }
static double f_softplus(double x) { return log1p(exp(x)); }
static double f_isru(double x) { return x / sqrt(1 + x * x); }
static double f_isrlu(double x) { return x >= 0 ? x : x / sqrt(1 + x * x); }
static double f_dyt(double x) { return tanh(x / 2); }
static double f_derf(double x) { return erf(x / 2); }
static double f_leaky(double x) { return x > 0 ? x : 0.01 * x; }

static void test_prelude_activations(void **state) {
    (void)state;
    static const struct { const char *text; double (*f)(double); } cases[] = {
        { "salu", salu }, { "swalu", f_swalu }, { "galu", f_galu }, { "relu", f_relu }, { "leaky_relu", f_leaky },
        { "prelu", f_prelu }, { "elu", f_elu }, { "selu", f_selu }, { "gelu", f_gelu }, { "gelu_tanh", f_gelu_tanh },
        { "silu", f_silu }, { "tanh", tanh }, { "softplus", f_softplus }, { "isru", f_isru }, { "isrlu", f_isrlu },
        { "dyt", f_dyt }, { "derf", f_derf },
    };
    for (int i = 0; i < COUNT(cases); i++) {
        const double *y = run(arena_printf(arena, "x |> %s", cases[i].text));
        for (int k = 0; k < COUNT(points); k++)
            assert_float_equal(y[k], cases[i].f(points[k]), 1e-12);
    }
}

static void test_prelude_normalizers(void **state) {
    (void)state;
    double mean = 0, var = 0, square = 0, total = 0;
    for (int k = 0; k < COUNT(points); k++) {
        mean += points[k] / COUNT(points);
        square += points[k] * points[k] / COUNT(points);
        total += exp(points[k]);
    }
    for (int k = 0; k < COUNT(points); k++)
        var += (points[k] - mean) * (points[k] - mean) / COUNT(points);
    const double *soft = run("x |> softmax"), *layer = run("x |> layernorm"), *rms = run("x |> rmsnorm"),
                 *batch = run("x |> batchnorm"), *group = run("x |> groupnorm(2)"), *center = run("x |> center");
    for (int k = 0; k < COUNT(points); k++) {
        assert_float_equal(soft[k], exp(points[k]) / total, 1e-12);
        assert_float_equal(layer[k], (points[k] - mean) / sqrt(var + 1e-5), 1e-12);
        assert_float_equal(rms[k], points[k] / sqrt(square + 1e-6), 1e-12);
        assert_float_equal(batch[k], points[k] / sqrt(1 + 1e-5), 1e-12);
        assert_float_equal(center[k], points[k], 1e-12);
    }
    double sum = group[0] + group[1] + group[2] + group[3];
    assert_float_equal(sum, 0, 1e-9);
    assert_true(group[3] > 0 && group[4] < 0);
}

/* points as 4 tokens of 2 channels: (-3, -1), (-0.5, 0), (0.25, 1), (2, 5) */
#define TOKENS "x |> reshape([4, 2], channel = 2) |> "

static void expect_values(const char *formula, const double *wanted, int count) {
    const double *y = run(formula);
    for (int k = 0; k < count; k++)
        if (!(fabs(y[k] - wanted[k]) <= 1e-12))
            fail_msg("%s: value %d is %.17g, not %.17g", formula, k, y[k], wanted[k]);
}

static void test_parts(void **state) {
    (void)state;
    expect_values(TOKENS "slice(1, 1..3)", (double[]){ -0.5, 0, 0.25, 1 }, 4);
    expect_values(TOKENS "slice(1, -1)", (double[]){ 2, 5 }, 2);
    expect_values(TOKENS "slice(-1, 1)", (double[]){ -1, 0, 1, 5 }, 4);
    expect_values(TOKENS "slice(1, 2..-1)", (double[]){ 0.25, 1 }, 2);
    expect_values("(" TOKENS "split(1, 2))[1]", (double[]){ 0.25, 1, 2, 5 }, 4);
    expect_values("(" TOKENS "split(1, [3, 1]))[1]", (double[]){ 2, 5 }, 2);
    expect_values("(" TOKENS "split(1, [1, 3]))[0] - 1", (double[]){ -4, -2 }, 2);
    expect_values(TOKENS "transpose([0, 2, 1])", (double[]){ -3, -0.5, 0.25, 2, -1, 0, 1, 5 }, 8);
    expect_values(TOKENS "slice(1, 3..4) |> pad(1, 1, 2)", (double[]){ 0, 0, 2, 5, 0, 0, 0, 0 }, 8);
    expect_values("concat(x |> slice(1, 0..2), exp(x) |> slice(1, 3..4), axis = 1)", (double[]){ -3, -1, 1 }, 3);
    expect_values("[x, x] |> concat(1) |> slice(1, 7..10)", (double[]){ 5, -3, -1 }, 3);
    expect_values(TOKENS "sum(1)", (double[]){ -1.25, 5 }, 2);
    expect_values(TOKENS "mean(1, keep = true) |> layernorm(eps = 0)", (double[]){ -1, 1 }, 2);
}

static void test_token_shapes(void **state) {
    (void)state;
    Program *p = infer("network Net(x: f32[N, 5, 8] channel = last) {\n param first: f32[1, 1, 8] = trunc_normal(0.02)\n"
                       "t = concat(first, x, axis = 1)\n a = t |> attention(heads = 2, causal = true) as attn\n"
                       "b = a |> layernorm as norm |> linear(3, bias = false) as mlp.fc1\n"
                       "return b + t.channels, b |> slice(1, 0) |> flatten, b |> linear(2, init = zeros) |> global_avgpool\n}\n");
    const Node *conv = find(p->infer, OP_CONV), *attention = find(p->infer, OP_ATTENTION), *first = find(p->infer, OP_CONCAT)->in[0];
    assert_true(conv->attr.window.channel_last && conv->attr.window.spatial == 1 && conv->channel == 2 && conv->shape.dim[2] == 24);
    assert_true(first->op == OP_MAP && first->shape.batched && first->channel == 2);
    assert_true(attention->attr.attention.heads == 2 && attention->attr.attention.causal && attention->attr.attention.scale == 0.5);
    assert_int_equal(program_tensor(p, "attn.qkv.weight")->shape.rank, 2);
    assert_int_equal(program_tensor(p, "attn.qkv.weight")->shape.dim[0], 24);
    assert_int_equal(program_tensor(p, "attn.qkv.bias")->shape.dim[0], 24);
    assert_int_equal(program_tensor(p, "attn.proj.weight")->shape.dim[0], 8);
    assert_int_equal(program_tensor(p, "norm.weight")->shape.dim[0], 8);
    assert_null(program_tensor(p, "mlp.fc1.bias"));
    assert_int_equal(program_tensor(p, "first")->init.kind, INIT_TRUNC_NORMAL);
    assert_string_equal(what(p, "attn"), "attention");
    assert_string_equal(what(p, "attn.qkv"), "linear");
    const Node *y[3] = { p->infer->outputs[0].node, p->infer->outputs[1].node, p->infer->outputs[2].node };
    assert_true(y[0]->shape.rank == 3 && y[0]->shape.dim[1] == 6 && y[0]->shape.dim[2] == 3 && y[0]->channel == 2);
    assert_true(y[1]->shape.rank == 2 && y[1]->shape.dim[1] == 3 && y[1]->channel == 1);
    assert_true(y[2]->shape.rank == 2 && y[2]->shape.dim[1] == 2 && y[2]->channel == 1);
}

static void test_attend(void **state) {
    (void)state;
    const double one = exp(-3 * 2), two = exp(-1 * 2), sum = one + two + exp(-0.5 * 2) + 1;
    /* queries of 2 for all keys, values 0 but for the first two tokens */
    expect_values("attend(x |> reshape([8, 1], channel = 2) |> slice(1, 6..7), x |> reshape([8, 1], channel = 2) |> slice(1, 0..4), "
                  "(x < -0.7) |> reshape([8, 1], channel = 2) |> slice(1, 0..4), heads = 1)", (double[]){ (one + two) / sum }, 1);
}

static void test_tensor_expressions(void **state) {
    (void)state;
    const double *y = run("(x if x > 0 and not (x > 1) else 2 * x^2) + max(x, 1) - 1 / 2 + mean(x, axis = 1, keep = true) * 0");
    for (int k = 0; k < COUNT(points); k++) {
        double x = points[k];
        assert_float_equal(y[k], (x > 0 && x <= 1 ? x : 2 * x * x) + fmax(x, 1) - 0.5, 1e-12);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(test_auto_names), TEST(test_labels), TEST(test_composed_names), TEST(test_numbers_do_not_hide_layers),
        TEST(test_loop_carries_values), TEST(test_values), TEST(test_shapes_of_windows), TEST(test_variants),
        TEST(test_placements_do_not_nest), TEST(test_patterns), TEST(test_initialisers), TEST(test_learnables),
        TEST(test_step_graph), TEST(test_states), TEST(test_dropout), TEST(test_recipe), TEST(test_training_needs),
        TEST(test_preprocess), TEST(test_use), TEST(test_inputs_and_outputs), TEST(test_taps_print),
        TEST(test_prelude_activations), TEST(test_prelude_normalizers), TEST(test_tensor_expressions),
        TEST(test_parts), TEST(test_token_shapes), TEST(test_attend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* options.c - the table of options and commands, and reading a command line by it. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- commands ---- */

enum { COMPILE = 1, INIT = 2, EVAL = 4, CHECK = 8, FMT = 16, TAPS = 32, EXPLAIN = 64, RUN = 128, TRAIN = 256 };
enum { IN_MEMORY = RUN | TRAIN, LOWER = COMPILE | EXPLAIN | IN_MEMORY, NETWORK = LOWER | INIT | EVAL | CHECK | TAPS, ALL = NETWORK | FMT };

const Command commands[] = {
    { "", COMPILE, "salunc [options] NET.snet -o OUTPUT",
      "Compiles a network. What OUTPUT ends in decides: .c is C, .ll and .bc the IR of LLVM, .s assembly, .o an object, .a an archive,\n"
      ".so a shared library, each with its header beside it; .h the header alone; anything else an executable. $CC (default cc) with\n"
      "$CFLAGS compiles and links, or LLVM compiles (--backend=llvm). --train makes the program that trains the network.",
      "  salunc models/resnet50.snet -o resnet50.c\n"
      "  salunc models/resnet18.snet -D norm=batchnorm -D act=relu --batch 16 -o resnet18\n"
      "  salunc --train models/smallnet.snet --batch 128 -o smallnet-train\n"
      "  salunc models/smallnet.snet --embed-weights w.safetensors -o smallnet\n"
      "  salunc models/resnet50.snet --tune -o resnet50.c\n"
      "  salunc models/resnet18.snet --backend=llvm --target=aarch64-linux-gnu -o resnet18.o\n"
      "  salunc models/smallnet.snet --emit=kernels --target=avx2\n", command_compile },
    { "run", RUN, "salunc run [options] NET.snet [options of the program]",
      "Compiles a network in memory and runs it at once. Behind the network's name stand also the options of the program that it\n"
      "would be compiled to: --weights, --input, --output, --top, --bench and so on; `salunc run NET.snet --help` lists them.",
      "  salunc run models/smallnet.snet --weights w.safetensors --input photo.png --top 5\n"
      "  salunc run models/resnet18.snet --batch 64 --bench 5\n", command_run },
    { "train", TRAIN, "salunc train [options] NET.snet [options of the program]",
      "Compiles the program that trains a network in memory and runs it at once. Behind the network's name stand also the options\n"
      "of that program: --data, --epochs, --save, --resume and so on; `salunc train NET.snet --help` lists them.",
      "  salunc train models/smallnet.snet --data mnist --epochs 5 --save w.safetensors\n"
      "  salunc train models/resnet18.snet --batch 128 --data cifar10 --save w.safetensors --resume\n", command_train },
    { "init", INIT, "salunc init [options] NET.snet -o WEIGHTS.safetensors",
      "Writes initial weights, those that training would begin with.",
      "  salunc init models/resnet18.snet --seed 1 -o w.safetensors\n", command_init },
    { "eval", EVAL, "salunc eval [options] NET.snet --weights W --input X.npy --output Y.npy",
      "Evaluates a network with the plain interpreter: slow, and what every compiled program is compared with.",
      "  salunc eval models/smallnet.snet --weights w.safetensors --input x.npy --output y.npy --double\n"
      "  salunc eval models/smallnet.snet --weights w.safetensors --input x.npy --labels l.npy --gradients g.safetensors\n", command_eval },
    { "check", CHECK, "salunc check [options] NET.snet",
      "Reports every error of a file, for inference and for training, and writes nothing.",
      "  salunc check models/resnet18.snet\n"
      "  salunc check models/rescalenet.snet --network Rescale101\n", command_check },
    { "fmt", FMT, "salunc fmt [--check | -i] FILE.snet...",
      "Prints files in the canonical style; -i rewrites them, --check names those that differ.",
      "  salunc fmt -i models/*.snet\n", command_fmt },
    { "taps", TAPS, "salunc taps [options] NET.snet",
      "Lists the places of a network that --place and variants can change: name, shape, what stands there.",
      "  salunc taps models/resnet18.snet -D act=relu\n", command_taps },
    { "explain", EXPLAIN, "salunc explain [options] NET.snet",
      "Says what was fused, what was not and why, how much memory traffic that saves, FLOPs, schedules and memory.",
      "  salunc explain models/resnet50.snet --target=avx512\n"
      "  salunc explain models/resnet50.snet --tune=resnet50.tune\n"
      "  salunc explain --train models/resnet18.snet --batch 128\n", command_explain },
};
const int command_count = COUNT(commands);

/* ---- options ---- */

typedef enum {
    OPT_OUTPUT, OPT_TRAIN, OPT_BATCH, OPT_DEFINE, OPT_PLACE, OPT_NETWORK, OPT_DIM, OPT_TARGET, OPT_CPU, OPT_BACKEND, OPT_MATH, OPT_BLAS,
    OPT_PRECISION, OPT_STORAGE, OPT_CALIBRATE, OPT_MEMORY, OPT_CONV, OPT_PIECE, OPT_TUNE, OPT_TUNE_THREADS, OPT_EMBED, OPT_EMIT, OPT_LEVEL, OPT_PASS_LIMIT, OPT_DUMP, OPT_LIST_PASSES, OPT_TIME, OPT_PERF, OPT_SEED, OPT_WEIGHTS,
    OPT_INPUT, OPT_RESULT, OPT_DOUBLE,
    OPT_LABELS, OPT_GRADIENTS, OPT_IN_PLACE, OPT_CHECK, OPT_HELP, OPT_VERSION
} OptionId;

typedef struct {
    OptionId id;
    const char *name, *letter;         /* "--batch", "-D"; either may be NULL */
    const char *value;                 /* what it takes, NULL: nothing; "[=": behind = or nothing */
    unsigned commands;
    const char *help;
} OptionRow;

static const OptionRow rows[] = {
    { OPT_OUTPUT,      NULL,              "-o", "FILE",         COMPILE | INIT,  "what to write" },
    { OPT_TRAIN,       "--train",         NULL, NULL,           COMPILE | EXPLAIN,         "the program that trains the network, by its `train` section" },
    { OPT_BATCH,       "--batch",         NULL, "N",            NETWORK,         "images per call at most (default 1; training: the recipe's)" },
    { OPT_DEFINE,      "--define",        "-D", "NAME=EXPR",    NETWORK,         "an option of the network, -D norm=batchnorm" },
    { OPT_PLACE,       "--place",         NULL, "PATTERN=LAYER", NETWORK,        "another layer at these taps; += inserts behind them" },
    { OPT_NETWORK,     "--network",       NULL, "NAME",         NETWORK,         "the network or variant of the file" },
    { OPT_DIM,         "--dim",           NULL, "NAME=SIZE",    NETWORK,         "the size of a dimension that the file leaves open" },
    { OPT_TARGET,      "--target",        NULL, "NAME",         LOWER,           "portable, fma128, neonfp16, avx2, avx512, avx512vnni, avx512fp16 or native\n"
      "                             (default: this processor);\n"
      "                             also, with LLVM, a machine: aarch64-linux-gnu (give both to choose both)" },
    { OPT_CPU,         "--cpu",           NULL, "NAME",         LOWER & ~EXPLAIN, "with LLVM: order instructions for this processor" },
    { OPT_BACKEND,     "--backend",       NULL, "NAME",         LOWER & ~EXPLAIN, "c or llvm (default: what the output is called; c)" },
    { OPT_MATH,        "--math",          NULL, "fast|strict",  LOWER,           "strict: the same bits from every compiler (default fast)" },
    { OPT_BLAS,        "--blas",          NULL, "LIBRARY",      LOWER,           "openblas or builtin (default): who multiplies plain matrices" },
    { OPT_CONV,        "--conv",          NULL, "ALGORITHM",    LOWER,           "of 3x3 and 1x1 convolutions: auto (default), direct, winograd2, winograd4 or strassen" },
    { OPT_PIECE,       "--piece",         NULL, "N",            LOWER,           "images that inference takes through the whole network at a time, at most\n"
      "                             (default: by cost)" },
    { OPT_TUNE,        "--tune",          NULL, "[=FILE]",      LOWER,           "the fastest algorithm of every convolution as timed here; times and answers\n"
      "                             are kept in FILE (default: beside the network, NET.tune) and used again" },
    { OPT_TUNE_THREADS, "--tune-threads", NULL, "N",            LOWER,           "times are taken with so many threads (default: all processors)" },
    { OPT_PRECISION,   "--precision",     NULL, "f32|int8|f16", (LOWER & ~TRAIN) | EVAL,   "int8: convolutions of bounded values by whole numbers; f16: in float16,\n"
      "                             by avx512fp16 and neonfp16; for inference (explain says which, and why)" },
    { OPT_STORAGE,     "--storage",       NULL, "f32|bf16|f16", LOWER & ~TRAIN,  "what packed weights are kept in, for inference: half the memory with 16\n"
      "                             bits; computed in float32 (default f32)" },
    { OPT_CALIBRATE,   "--calibrate",     NULL, "DATA",         (LOWER & ~IN_MEMORY) | EVAL, "int8: ranges of values by these images, .npy or a data set, with the\n"
      "                             weights of --weights or --embed-weights" },
    { OPT_MEMORY,      "--memory",        NULL, "BYTES",        COMPILE | TRAIN | EXPLAIN, "at most so much for values while training (500M, 2G): others are\n"
      "                             computed again" },
    { OPT_EMBED,       "--embed-weights", NULL, "FILE",         COMPILE,         "put a .safetensors file into the object" },
    { OPT_EMIT,        "--emit",          NULL, "FORM",         COMPILE,         "print tree, graph, groups, kernels, plan, dot, c or llvm and stop" },
    { OPT_LEVEL,       NULL,              "-O", "LEVEL",        LOWER,           "0: only the passes that are needed, 1 and more: all; LLVM's 0 to 3" },
    { OPT_PASS_LIMIT,  "--pass-limit",    NULL, "N",            LOWER,           "only the first N passes, for bisecting" },
    { OPT_DUMP,        "--dump",          NULL, "PASS",         LOWER,           "print the graphs after a pass, `all` after each" },
    { OPT_LIST_PASSES, "--list-passes",   NULL, NULL,           LOWER,           "the passes in order, and stop" },
    { OPT_TIME,        "--time",          NULL, NULL,           LOWER,           "milliseconds of every stage" },
    { OPT_PERF,        "--perf",          NULL, "map|dump",     IN_MEMORY,       "tell perf the names of kernels; dump: lines too, for `perf inject --jit`" },
    { OPT_SEED,        "--seed",          NULL, "S",            INIT,            "of the random numbers (default 1)" },
    { OPT_WEIGHTS,     "--weights",       NULL, "FILE",         COMPILE | EXPLAIN | EVAL, "parameters and states, .safetensors" },
    { OPT_INPUT,       "--input",         NULL, "[NAME=]FILE",  EVAL,            "images, .npy of float32, or of uint8 through `preprocess`" },
    { OPT_RESULT,      "--output",        "-o", "[NAME=]FILE",  EVAL,            "where the network's output goes, .npy of float32" },
    { OPT_DOUBLE,      "--double",        NULL, NULL,           EVAL,            "compute in double" },
    { OPT_LABELS,      "--labels",        NULL, "FILE",         EVAL,            "classes, .npy of integers; for --gradients" },
    { OPT_GRADIENTS,   "--gradients",     NULL, "FILE",         EVAL,            "write the gradients of the mean loss by every parameter" },
    { OPT_IN_PLACE,    "--in-place",      "-i", NULL,           FMT,             "rewrite the files" },
    { OPT_CHECK,       "--check",         NULL, NULL,           FMT,             "name the files that are not in the canonical style" },
    { OPT_HELP,        "--help",          "-h", NULL,           ALL,             "this text" },
    { OPT_VERSION,     "--version",       NULL, NULL,           ALL,             "the compiler's version" },
};

int options_fail(int code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("salunc: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return code;
}

static bool needs_value(const OptionRow *r) { return r->value && strncmp(r->value, "[=", 2); }

/* ---- help ---- */

static void print_rows(const Command *c) {
    for (int i = 0; i < COUNT(rows); i++) {
        if (!(rows[i].commands & c->bit))
            continue;
        char text[64];
        snprintf(text, sizeof text, "%s%s%s%s%s", rows[i].letter ? rows[i].letter : "", rows[i].letter && rows[i].name ? ", " : "",
                 rows[i].name ? rows[i].name : "", needs_value(&rows[i]) ? " " : "", rows[i].value ? rows[i].value : "");
        printf("  %-26s %s\n", text, rows[i].help);
    }
}

static void print_help(const Command *c) {
    printf("usage: %s\n%s\n\noptions:\n", c->usage, c->help);
    print_rows(c);
    if (!c->name[0]) {
        printf("\ncommands, each with a --help of its own:\n");
        for (int i = 1; i < command_count; i++)
            printf("  %s\n", commands[i].usage);
    }
    printf("\nexamples:\n%s", c->examples);
    printf("\nexit codes: 0 done; 1 the network is wrong; 2 usage, a missing or broken file; 4 memory or disk full\n");
}

/* ---- values ---- */

static int bad_value(const OptionRow *row, const char *value, const char *what) {
    return options_fail(SALUN_BAD_INPUT, "%s %s: %s", row->name ? row->name : row->letter, value, what);
}

static bool parse_count(const char *text, int64_t low, int64_t *value) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *value = v;
    return !errno && end != text && !*end && v >= low;
}

static bool parse_setting(Options *o, const char *text, Setting *s) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return false;
    *s = (Setting){ arena_strndup(o->arena, text, (size_t)(equals - text)), arena_strdup(o->arena, equals + 1) };
    return true;
}

/* One of the words of a list; -1 after a message with the nearest one. */
static int parse_word(const OptionRow *row, const char *value, const char *const *words, int count) {
    Writer *w;
    for (int i = 0; i < count; i++)
        if (!strcmp(words[i], value))
            return i;
    const char *near = nearest(value, words, count);
    Arena *scratch = arena_new(0);
    w = writer_new(scratch);
    for (int i = 0; i < count; i++)
        writer_printf(w, i + 1 == count && i ? " or %s" : i ? ", %s" : "%s", words[i]);
    if (near)
        options_fail(SALUN_BAD_INPUT, "%s %s: there is no such; did you mean %s?", row->name, value, near);
    else
        options_fail(SALUN_BAD_INPUT, "%s %s: there is no such; %s", row->name, value, w->data);
    arena_destroy(scratch);
    return -1;
}

/* A machine's name has parts: processor-system-library. */
static int set_target(Options *o, const OptionRow *row, const char *value) {
    int count;
    if (strchr(value, '-')) {
        o->triple = value;
        return 0;
    }
    o->target_chosen = true;
    const Target *list = target_list(&count);
    const char *names[16];
    for (int i = 0; i < count && i < COUNT(names) - 1; i++)
        names[i] = list[i].name;
    names[count] = "native";
    if (parse_word(row, value, names, count + 1) < 0)
        return SALUN_BAD_INPUT;
    o->target = target_find(value);
    return 0;
}

static int set_emit(Options *o, const OptionRow *row, const char *value) {
    static const char *const forms[] = { "tree", "graph", "groups", "kernels", "plan", "dot", "c", "llvm" };
    o->emit = value;
    return parse_word(row, value, forms, COUNT(forms)) < 0 ? SALUN_BAD_INPUT : 0;
}

static int set_number(Options *o, const OptionRow *row, const char *value) {
    int64_t number;
    bool images = row->id == OPT_BATCH || row->id == OPT_PIECE;
    if (!parse_count(value, images, &number) || (row->id != OPT_SEED && number > 1000000))
        return bad_value(row, value, images ? "a number from 1 to 1000000 is needed" : "a whole number is needed");
    if (row->id == OPT_TUNE_THREADS && (number < 1 || number > 4096))
        return bad_value(row, value, "a number from 1 to 4096 is needed");
    if (row->id == OPT_LEVEL && number > 3)
        return bad_value(row, value, "levels are 0, 1, 2 and 3");
    if (row->id == OPT_BATCH)
        o->build.batch = number;
    else if (row->id == OPT_PIECE)
        o->piece = number;
    else if (row->id == OPT_TUNE_THREADS)
        o->tune_threads = (int)number;
    else if (row->id == OPT_SEED)
        o->seed = (uint64_t)number;
    else if (row->id == OPT_LEVEL)
        o->pass.level = o->level = (int)number;
    else
        o->pass.limit = (int)number;
    return 0;
}

static int set_setting(Options *o, const OptionRow *row, const char *value) {
    Setting s;
    if (row->id == OPT_PLACE) {
        if (!strchr(value, '=') || value[0] == '=')
            return bad_value(row, value, "PATTERN=LAYER or PATTERN+=LAYER is needed");
        ARENA_PUSH(o->arena, o->place, o->build.place_count, o->place_cap, value);
        return 0;
    }
    if (!parse_setting(o, value, &s))
        return bad_value(row, value, row->id == OPT_DIM ? "NAME=SIZE is needed" : "NAME=EXPRESSION is needed");
    if (row->id == OPT_DIM)
        ARENA_PUSH(o->arena, o->dim, o->build.dim_count, o->dim_cap, s);
    else
        ARENA_PUSH(o->arena, o->define, o->build.define_count, o->define_cap, s);
    return 0;
}

static int set_dump(Options *o, const OptionRow *row, const char *value) {
    if (!passes_known(value))
        return bad_value(row, value, "there is no such pass; --list-passes prints them");
    ARENA_PUSH(o->arena, o->dump, o->pass.dump_count, o->dump_cap, value);
    return 0;
}

/* 1000, 500K, 500M, 2G: K, M and G are thousands, millions and thousands of millions. */
static int set_memory(Options *o, const OptionRow *row, const char *value) {
    static const char units[] = "KMG";
    char *end;
    double bytes = value[0] >= '0' && value[0] <= '9' ? strtod(value, &end) : 0;
    if (!(bytes > 0))
        return bad_value(row, value, "a number of bytes is needed, as in 500M");
    const char *unit = *end ? strchr(units, *end) : NULL;
    for (; unit && unit >= units; unit--)
        bytes *= 1000;
    if ((*end && (!strchr(units, *end) || end[1])) || bytes > 1e15)
        return bad_value(row, value, "a number of bytes is needed, as in 500M");
    o->memory = (int64_t)bytes;
    return 0;
}

static int set_choice(Options *o, const OptionRow *row, const char *value) {
    static const struct { OptionId id; const char *words[2]; } choices[] = {
        { OPT_MATH, { "fast", "strict" } }, { OPT_BLAS, { "builtin", "openblas" } },
        { OPT_PERF, { "map", "dump" } }, { OPT_BACKEND, { "c", "llvm" } },
    };
    int choice = 0;
    while (choices[choice].id != row->id)
        choice++;
    const char *const *words = choices[choice].words;
    int i = parse_word(row, value, words, 2);
    if (i < 0)
        return SALUN_BAD_INPUT;
    if (row->id == OPT_MATH)
        o->math = i ? MATH_STRICT : MATH_FAST;
    else if (row->id == OPT_BLAS)
        o->blas = i == 1;
    else if (row->id == OPT_PERF)
        o->profile = i ? PROFILE_DUMP : PROFILE_MAP;
    else
        o->backend = words[i];
    return 0;
}

static int set_conv(Options *o, const OptionRow *row, const char *value) {
    int i = parse_word(row, value, conv_algorithm_text, CONV_ALGORITHMS);
    o->conv = i < 0 ? CONV_AUTO : (ConvAlgorithm)i;
    return i < 0 ? SALUN_BAD_INPUT : 0;
}

static int set_precision(Options *o, const OptionRow *row, const char *value) {
    static const char *const words[] = { "f32", "int8", "f16" };
    int i = parse_word(row, value, words, COUNT(words));
    o->int8 = i == 1;
    o->half = i == 2;
    return i < 0 ? SALUN_BAD_INPUT : 0;
}

static int set_storage(Options *o, const OptionRow *row, const char *value) {
    static const char *const words[] = { "f32", "bf16", "f16" };
    static const Store stores[] = { STORE_WHOLE, STORE_BF16, STORE_F16 };
    int i = parse_word(row, value, words, COUNT(words));
    if (i < 0)
        return SALUN_BAD_INPUT;
    o->storage = stores[i];
    return 0;
}

static int apply(Options *o, const OptionRow *row, const char *value, bool *done) {
    switch (row->id) {
    case OPT_OUTPUT: o->output = value; return 0;
    case OPT_TRAIN: o->train = true; return 0;
    case OPT_BATCH: case OPT_SEED: case OPT_LEVEL: case OPT_PASS_LIMIT: case OPT_TUNE_THREADS: case OPT_PIECE:
        return set_number(o, row, value);
    case OPT_DEFINE: case OPT_DIM: case OPT_PLACE: return set_setting(o, row, value);
    case OPT_NETWORK: o->build.network = value; return 0;
    case OPT_TARGET: return set_target(o, row, value);
    case OPT_CPU: o->cpu = value; return 0;
    case OPT_PRECISION: return set_precision(o, row, value);
    case OPT_MATH: case OPT_BLAS: case OPT_BACKEND: case OPT_PERF: return set_choice(o, row, value);
    case OPT_CALIBRATE: o->calibrate = value; return 0;
    case OPT_STORAGE: return set_storage(o, row, value);
    case OPT_CONV: return set_conv(o, row, value);
    case OPT_TUNE: o->tune = value ? value : ""; return 0;
    case OPT_MEMORY: return set_memory(o, row, value);
    case OPT_EMBED: o->embed = value; return 0;
    case OPT_EMIT: return set_emit(o, row, value);
    case OPT_DUMP: return set_dump(o, row, value);
    case OPT_TIME: o->time = o->pass.time = true; return 0;
    case OPT_WEIGHTS: o->weights = value; return 0;
    case OPT_INPUT: ARENA_PUSH(o->arena, o->inputs, o->input_count, o->input_cap, value); return 0;
    case OPT_RESULT: ARENA_PUSH(o->arena, o->outputs, o->output_count, o->output_cap, value); return 0;
    case OPT_DOUBLE: o->use_double = true; return 0;
    case OPT_LABELS: o->labels = value; return 0;
    case OPT_GRADIENTS: o->gradients = value; return 0;
    case OPT_IN_PLACE: o->in_place = true; return 0;
    case OPT_CHECK: o->check_only = true; return 0;
    case OPT_LIST_PASSES: passes_list(stdout); break;
    case OPT_HELP: print_help(o->command); break;
    case OPT_VERSION: printf("salunc %s\n", SALUN_VERSION); break;
    }
    *done = true;
    return 0;
}

/* ---- reading ---- */

static int unknown(const Options *o, const char *arg) {
    const char *names[COUNT(rows)], *equals = strchr(arg, '=');
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(equals && equals - arg < 60 ? equals - arg : 60), arg);
    for (int i = 0; i < COUNT(rows); i++)
        names[i] = rows[i].commands & o->command->bit ? rows[i].name : NULL;
    const char *near = nearest(name, names, COUNT(names));
    for (int i = 0; i < COUNT(rows); i++)
        if (rows[i].name && !strcmp(rows[i].name, name))
            return options_fail(SALUN_BAD_INPUT, "%s is not an option of `%s`; --help lists them", name, o->command->usage);
    if (near)
        return options_fail(SALUN_BAD_INPUT, "unknown option %s; did you mean %s?", name, near);
    return options_fail(SALUN_BAD_INPUT, "unknown option %s; --help lists them", name);
}

int options_level(const Options *o, int otherwise) { return o->level < 0 ? otherwise : o->level; }

/* The row that an argument names, and the value that is part of it: --batch=8, -Dnorm=salu, -O0. */
static const OptionRow *find_row(const Options *o, const char *arg, const char **value) {
    *value = NULL;
    for (int i = 0; i < COUNT(rows); i++) {
        const OptionRow *r = &rows[i];
        if (!(r->commands & o->command->bit))
            continue;
        size_t length = r->name ? strlen(r->name) : 0;
        if (r->name && !strcmp(arg, r->name))
            return r;
        if (r->name && r->value && !strncmp(arg, r->name, length) && arg[length] == '=') {
            *value = arg + length + 1;
            return r;
        }
        if (r->letter && !strncmp(arg, r->letter, 2) && (!arg[2] || r->value)) {
            *value = arg[2] ? arg + 2 : NULL;
            return r;
        }
    }
    return NULL;
}

static const Command *find_command(const char *arg) {
    for (int i = 1; arg && i < command_count; i++)
        if (!strcmp(arg, commands[i].name))
            return &commands[i];
    return NULL;
}

static int parse_option(Options *o, char **argv, int argc, int *at, bool *done) {
    const char *value, *arg = argv[*at];
    const OptionRow *row = find_row(o, arg, &value);
    if (!row)
        return unknown(o, arg);
    if (needs_value(row) && !value) {
        if (*at + 1 >= argc)
            return options_fail(SALUN_BAD_INPUT, "%s needs %s", arg, row->value);
        value = argv[++*at];
    }
    return apply(o, row, value, done);
}

/* Behind a network that is run at once, all but the compiler's own options are the program's. */
static bool belongs_to_program(const Options *o, const char *arg) {
    const char *value;
    if (!(o->command->bit & IN_MEMORY) || !o->file_count)
        return false;
    const OptionRow *row = arg[0] == '-' ? find_row(o, arg, &value) : NULL;
    return !row || row->id == OPT_HELP;
}

static void settle_target(Options *o) {
    if (o->triple && !o->target_chosen)
        o->target = target_find(!strncmp(o->triple, "aarch64", 7) ? "fma128" : !strncmp(o->triple, "x86_64", 6) ? o->target->name : "portable");
}

static const char *join(Arena *a, int argc, char **argv) {
    Writer *w = writer_new(a);
    writer_text(w, "salunc");
    for (int i = 1; i < argc; i++)
        writer_printf(w, " %s", argv[i]);
    return w->data;
}

static int check_tune(const Options *o) {
    if (o->tune && o->conv != CONV_AUTO)
        return options_fail(SALUN_BAD_INPUT, "--tune finds the algorithms that --conv=%s prescribes; one of the two", conv_algorithm_text[o->conv]);
    return o->tune_threads && !o->tune ? options_fail(SALUN_BAD_INPUT, "--tune-threads belongs to --tune") : 0;
}

static int check_precision(const Options *o) {
    if ((o->int8 || o->half) && (o->train || o->command->bit == TRAIN || o->gradients))
        return options_fail(SALUN_BAD_INPUT, "--precision=%s is for inference; a network is trained in float32", o->int8 ? "int8" : "f16");
    if (o->half && !o->target->half && o->command->bit != EVAL)
        return options_fail(SALUN_BAD_INPUT, "--precision=f16: %s does not compute in float16; --target=avx512fp16 and neonfp16 do", o->target->name);
    if (o->storage && (o->train || o->command->bit == TRAIN))
        return options_fail(SALUN_BAD_INPUT, "--storage is for inference; a network is trained in float32");
    if (o->calibrate && !o->int8)
        return options_fail(SALUN_BAD_INPUT, "--calibrate belongs to --precision=int8");
    if (o->calibrate && !o->weights && !o->embed)
        return options_fail(SALUN_BAD_INPUT, "--calibrate needs the weights: --weights FILE or --embed-weights FILE");
    return o->weights && !o->calibrate && o->command->bit != EVAL
               ? options_fail(SALUN_BAD_INPUT, "--weights is for --calibrate here; --embed-weights puts weights into the object") : 0;
}

int options_read(Options *o, int argc, char **argv, bool *done) {
    o->command = find_command(argc > 1 ? argv[1] : NULL);
    int at = o->command ? 2 : 1;
    if (!o->command)
        o->command = &commands[0];
    o->line = join(o->arena, argc, argv);
    if (o->command->bit & IN_MEMORY)
        ARENA_PUSH(o->arena, o->rest, o->rest_count, o->rest_cap, arena_printf(o->arena, "salunc %s", o->command->name));
    o->build = BUILD_DEFAULTS;
    o->target = target_find("native");
    o->level = -1;
    o->piece = PIECE_AUTO;
    o->pass = (PassOptions){ .level = 1, .limit = -1, .verify = true };
    o->seed = 1;
    for (bool words = false; at < argc && !*done; at++) {
        if (!words && !strcmp(argv[at], "--")) {
            words = true;
        } else if (belongs_to_program(o, argv[at])) {
            ARENA_PUSH(o->arena, o->rest, o->rest_count, o->rest_cap, argv[at]);
        } else if (!words && argv[at][0] == '-' && argv[at][1]) {
            int code = parse_option(o, argv, argc, &at, done);
            if (code)
                return code;
        } else {
            ARENA_PUSH(o->arena, o->files, o->file_count, o->file_cap, argv[at]);
        }
    }
    settle_target(o);
    o->build.define = o->define;
    o->build.place = o->place;
    o->build.dim = o->dim;
    o->pass.dump = o->dump;
    if (*done)
        return 0;
    if (!o->file_count)
        return options_fail(SALUN_BAD_INPUT, "no file; usage: %s", o->command->usage);
    if (o->memory && !o->train && o->command->bit != TRAIN)
        return options_fail(SALUN_BAD_INPUT, "--memory bounds what training keeps; --train is missing");
    if (o->file_count > 1 && o->command->bit != FMT)
        return options_fail(SALUN_BAD_INPUT, "one file at a time: %s and %s", o->files[0], o->files[1]);
    int code = check_tune(o);
    return code ? code : check_precision(o);
}

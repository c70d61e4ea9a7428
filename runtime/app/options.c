/* options.c - the command line of an inference program, and its --help. */
#include "app/app.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct { AppOptions *o; const SalunProgram *p; SalunError *err; } Parse;
typedef int Setter(Parse *s, const char *name, const char *value);

static int parse_number(const Parse *s, const char *name, const char *value, double least, double most, double *number) {
    char *end;
    errno = 0;
    *number = strtod(value, &end);
    if (end == value || *end || errno || !(*number >= least && *number <= most))
        return salun_error(s->err, SALUN_BAD_INPUT, "%s %s: a number from %g to %g is wanted", name, value, least, most);
    return 0;
}

static int parse_count(const Parse *s, const char *name, const char *value, int least, int most, int *count) {
    double number = 0;
    int code = parse_number(s, name, value, least, most, &number);
    if (!code && number != floor(number))
        code = salun_error(s->err, SALUN_BAD_INPUT, "%s %s: a whole number is wanted", name, value);
    *count = code ? 0 : (int)number;
    return code;
}

/* "FILE", or "PORT=FILE" where PORT names one of the ports. */
static int add_file(const Parse *s, AppFile **files, int *count, const SalunPort *ports, int port_count, const char *value) {
    AppFile file = { 0, value };
    for (int i = 0; i < port_count; i++) {
        size_t length = strlen(ports[i].name);
        if (!strncmp(value, ports[i].name, length) && value[length] == '=')
            file = (AppFile){ i, value + length + 1 };
    }
    AppFile *more = realloc(*files, (size_t)(*count + 1) * sizeof *more);
    if (!more)
        return salun_error(s->err, SALUN_NO_SPACE, "out of memory");
    *files = more;
    more[(*count)++] = file;
    return 0;
}

static int set_input(Parse *s, const char *name, const char *value) {
    (void)name;
    return add_file(s, &s->o->inputs, &s->o->input_count, s->p->inputs, s->p->input_count, value);
}

static int set_output(Parse *s, const char *name, const char *value) {
    (void)name;
    AppOptions *o = s->o;
    int code = add_file(s, &o->outputs, &o->output_count, s->p->outputs, s->p->output_count, value);
    for (int i = 0; i + 1 < o->output_count && !code; i++)
        if (o->outputs[i].port == o->outputs[o->output_count - 1].port)
            code = salun_error(s->err, SALUN_BAD_INPUT, "--output is given twice for %s", s->p->outputs[o->outputs[i].port].name);
        else if (!strcmp(o->outputs[i].path, o->outputs[o->output_count - 1].path))
            code = salun_error(s->err, SALUN_BAD_INPUT, "two outputs cannot go to one file, %s", o->outputs[i].path);
    return code;
}

static int set_weights(Parse *s, const char *name, const char *value) {
    (void)name;
    s->o->weights = value;
    return 0;
}

static int set_allow(Parse *s, const char *name, const char *value) {
    (void)name;
    s->o->allow = value;
    return 0;
}

static int set_prepare(Parse *s, const char *name, const char *value) {
    (void)name;
    s->o->prepare = value;
    return 0;
}

static int set_labels(Parse *s, const char *name, const char *value) {
    (void)name;
    s->o->labels = value;
    return 0;
}

static int set_threads(Parse *s, const char *name, const char *value) {
    return parse_count(s, name, value, 1, 1024, &s->o->threads);
}

static int set_top(Parse *s, const char *name, const char *value) {
    return parse_count(s, name, value, 1, 1000000, &s->o->top);
}

static int set_bench(Parse *s, const char *name, const char *value) {
    return parse_number(s, name, value, 0.001, 1e6, &s->o->bench);
}

static int set_profile(Parse *s, const char *name, const char *value) {
    (void)name, (void)value;
    s->o->profile = true;
    return 0;
}

static int set_help(Parse *s, const char *name, const char *value) {
    (void)name, (void)value;
    s->o->help = true;
    return 0;
}

static const struct { const char *name, *value; Setter *set; const char *help; } table[] = {
    { "--weights", "FILE", set_weights, "a .safetensors file with the network's parameters" },
    { "--weights-allow", "GLOB", set_allow, "tensors of matching names are left at their initial value" },
    { "--prepare", "FILE", set_prepare, "writes the weights as this program reads them; as --weights they need no preparing" },
    { "--input", "FILE", set_input, "a .npy file (float32 as it is; uint8 through preprocess) or a picture (PNG, JPEG, PPM)" },
    { "--output", "FILE", set_output, "writes the network's output as .npy, one row per image" },
    { "--top", "K", set_top, "prints the K best classes of every image (5 when nothing else is asked for)" },
    { "--labels", "FILE", set_labels, "names of the classes, one per line, for --top" },
    { "--bench", "SECONDS", set_bench, "measures: median and least time of a batch, images per second" },
    { "--profile", NULL, set_profile, "measures every kernel call" },
    { "--threads", "N", set_threads, "threads to use; default: one per processor" },
    { "--help", NULL, set_help, "this text" },
};
enum { OPTIONS = sizeof table / sizeof *table };

/* Handles argv[*i], which begins with "--"; takes the next argument too when the option wants a value. */
static int parse_option(Parse *s, int argc, char **argv, int *i) {
    const char *text = argv[*i], *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    for (int k = 0; k < OPTIONS; k++) {
        if (strlen(table[k].name) != length || strncmp(table[k].name, text, length))
            continue;
        if (!table[k].value && equals)
            return salun_error(s->err, SALUN_BAD_INPUT, "%s takes no value", table[k].name);
        const char *value = equals ? equals + 1 : NULL;
        if (table[k].value && !value && ++*i < argc)
            value = argv[*i];
        if (table[k].value && !value)
            return salun_error(s->err, SALUN_BAD_INPUT, "%s wants a value: %s", table[k].name, table[k].value);
        return table[k].set(s, table[k].name, value);
    }
    return salun_error(s->err, SALUN_BAD_INPUT, "unknown option %s; --help lists all", text);
}

static int check(const AppOptions *o, SalunError *err) {
    if (o->help || o->bench > 0 || o->profile || o->input_count || o->prepare)
        return 0;
    return salun_error(err, SALUN_BAD_INPUT, "nothing to do: give --input FILE or --bench SECONDS; --help shows examples");
}

int app_options_parse(AppOptions *o, const SalunProgram *p, int argc, char **argv, SalunError *err) {
    Parse s = { o, p, err };
    bool only_files = false;
    *o = (AppOptions){ .argv0 = argc > 0 && argv[0] ? argv[0] : p->name };
    for (int i = 1; i < argc; i++) {
        int code;
        if (!only_files && !strcmp(argv[i], "--")) {
            only_files = true;
            continue;
        }
        if (!only_files && !strcmp(argv[i], "-h"))
            o->help = true, code = 0;
        else if (!only_files && argv[i][0] == '-' && argv[i][1] == '-')
            code = parse_option(&s, argc, argv, &i);
        else if (!only_files && argv[i][0] == '-' && argv[i][1])
            code = salun_error(err, SALUN_BAD_INPUT, "unknown option %s; --help lists all", argv[i]);
        else
            code = set_input(&s, "--input", argv[i]);
        if (code)
            return code;
    }
    return check(o, err);
}

void app_options_free(AppOptions *o) {
    free(o->inputs);
    free(o->outputs);
}

static void print_ports(FILE *out, const char *what, const SalunPort *port, int count) {
    static const char *const types[] = { [SALUN_F32] = "float32", [SALUN_I32] = "int32", [SALUN_U8] = "uint8" };
    char shape[160];
    for (int i = 0; i < count; i++)
        fprintf(out, "  %-7s %s: %s %s per image\n", i ? "" : what, port[i].name, types[port[i].type],
                salun_shape_text(shape, sizeof shape, port[i].rank, port[i].dim));
}

void app_help(FILE *out, const SalunProgram *p, const char *argv0) {
    fprintf(out, "%s: the network %s, compiled from %s (%s)\n\n", argv0, p->name, p->source ? p->source : "a .snet file",
            p->numeric ? p->numeric : "");
    print_ports(out, "input", p->inputs, p->input_count);
    print_ports(out, "output", p->outputs, p->output_count);
    fprintf(out, "  batch   up to %lld images\n  weights %s\n\noptions\n", (long long)p->batch, p->weights ? "embedded" : "from --weights");
    for (int k = 0; k < OPTIONS; k++) {
        char left[40];
        snprintf(left, sizeof left, "%s %s", table[k].name, table[k].value ? table[k].value : "");
        fprintf(out, "  %-22s %s\n", left, table[k].help);
    }
    if (p->input_count > 1 || p->output_count > 1)
        fprintf(out, "  --input and --output take NAME=FILE to say which input or output is meant\n");
    const char *weights = p->weights ? "" : " --weights w.safetensors";
    fprintf(out, "\nexamples\n  %s%s --input photo.jpg --top 5 --labels labels.txt\n  %s%s --input x.npy --output y.npy\n"
            "  %s%s --top 1 *.png\n  %s --bench 10 --threads 2\n\n"
            "exit codes: 0 done, 1 failed, 2 wrong use or a broken file, 3 the processor lacks instructions, 4 no space\n",
            argv0, weights, argv0, weights, argv0, weights, argv0);
}

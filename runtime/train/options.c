/* options.c - the command line of a training program: one table, read by the parser and by --help.
 * Options are written --name value or --name=value. */
#include "options.h"

#include "base.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum { FLAG, TEXT, COUNT, SEED, NUMBER } Kind;

typedef struct {
    const char *name;
    Kind kind;
    size_t field;
    double low, high;                  /* of COUNT and NUMBER */
    const char *value, *text;          /* for --help */
} Option;

#define AT(field) offsetof(Options, field)
#define MANY 9e15
static const Option table[] = {
    { "data", TEXT, AT(data), 0, 0, "DIR", "images and labels: a folder of MNIST (IDX, .gz too), of CIFAR-10 or CIFAR-100 (binary\n"
      "form) or of images.npy and labels.npy, or npy:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS]" },
    { "val-data", TEXT, AT(val_data), 0, 0, "DIR", "evaluate on these instead: their test images, or all of them where they have none" },
    { "save", TEXT, AT(save), 0, 0, "FILE", "write the weights here (.safetensors), after every epoch and when training ends" },
    { "epochs", COUNT, AT(epochs), 1, 1e6, "N", "epochs in all; schedules end with the last" },
    { "steps", COUNT, AT(steps), 1, 4e9, "N", "stop after N optimizer steps in all" },
    { "batch", COUNT, AT(batch), 1, MANY, "N", "images per step, at most what is compiled in" },
    { "weights", TEXT, AT(weights), 0, 0, "FILE", "start from these weights instead of initial values" },
    { "weights-allow", TEXT, AT(weights_allow), 0, 0, "GLOB", "tensors that --weights may lack; they keep their initial values" },
    { "seed", SEED, AT(seed), 0, 0, "N", "of initial values, order of images, augmentation and dropout" },
    { "threads", COUNT, AT(threads), 1, 1024, "N", "threads; the result does not depend on it" },
    { "lr", NUMBER, AT(lr), 0, 1e38, "X", "learning rate, before the schedule's factor" },
    { "label-smoothing", NUMBER, AT(smoothing), 0, 1, "X", "label smoothing of the loss" },
    { "no-augment", FLAG, AT(no_augment), 0, 0, NULL, "images as they are, only preprocessed" },
    { "no-shuffle", FLAG, AT(no_shuffle), 0, 0, NULL, "images in the order of the data" },
    { "resume", FLAG, AT(resume), 0, 0, NULL, "go on from the checkpoint, to the same bits as without the break" },
    { "overwrite", FLAG, AT(overwrite), 0, 0, NULL, "begin anew where the checkpoint is of a training that is not finished" },
    { "checkpoint", TEXT, AT(checkpoint), 0, 0, "FILE", "the checkpoint (default: beside --save, .checkpoint)" },
    { "checkpoint-every", NUMBER, AT(checkpoint_every), 0, 1e9, "SECONDS", "also this often within an epoch (default 120; 0: after every step)" },
    { "log", TEXT, AT(log), 0, 0, "FILE", "one JSON line per epoch (default: beside --save, .jsonl)" },
    { "batch-log", TEXT, AT(batch_log), 0, 0, "FILE", "one JSON line per step" },
    { "dump-gradients", TEXT, AT(dump_gradients), 0, 0, "FILE", "gradients of the mean loss of the last step (.safetensors)" },
    { "eval-only", FLAG, AT(eval_only), 0, 0, NULL, "evaluate the weights (--weights, or --resume: the checkpoint's) and stop" },
    { "time", FLAG, AT(time), 0, 0, NULL, "milliseconds of what comes before the first step, and of that step" },
    { "help", FLAG, AT(help), 0, 0, NULL, "this text" },
};
#undef AT
enum { TABLE_COUNT = sizeof table / sizeof *table };

/* Edit distance of two short names. */
static int distance(const char *a, const char *b) {
    int row[64];
    int n = (int)strlen(b);
    if (n > 62)
        return 99;
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < step ? change : step;
        }
    }
    return row[n];
}

static int fail_unknown(const char *name, SalunError *err) {
    const char *nearest = NULL;
    int least = 4;
    for (int i = 0; i < TABLE_COUNT; i++) {
        int d = distance(table[i].name, name);
        if (d < least && d < (int)strlen(table[i].name)) {
            least = d;
            nearest = table[i].name;
        }
    }
    if (nearest)
        return salun_error(err, SALUN_BAD_INPUT, "unknown option --%.60s; did you mean --%s?", name, nearest);
    return salun_error(err, SALUN_BAD_INPUT, "unknown option --%.60s; --help lists them", name);
}

static int set_value(Options *o, const Option *option, const char *text, SalunError *err) {
    char *field = (char *)o + option->field;
    char *end;
    errno = 0;
    switch (option->kind) {
    case FLAG:
        *(bool *)field = true;
        return SALUN_OK;
    case TEXT:
        if (!*text)
            return salun_error(err, SALUN_BAD_INPUT, "--%s is empty", option->name);
        *(const char **)field = text;
        return SALUN_OK;
    case SEED: {
        unsigned long long v = strtoull(text, &end, 0);
        if (end == text || *end || errno || text[0] == '-')
            return salun_error(err, SALUN_BAD_INPUT, "--%s %.60s: want a number from 0 to 2^64 - 1", option->name, text);
        *(uint64_t *)field = v;
        return SALUN_OK;
    }
    case COUNT: {
        long long v = strtoll(text, &end, 10);
        if (end == text || *end || errno || (double)v < option->low || (double)v > option->high)
            return salun_error(err, SALUN_BAD_INPUT, "--%s %.60s: want a whole number from %.0f to %.0f", option->name, text,
                              option->low, option->high);
        *(int64_t *)field = v;
        return SALUN_OK;
    }
    case NUMBER: {
        double v = strtod(text, &end);
        if (end == text || *end || !isfinite(v) || v < option->low || v > option->high)
            return salun_error(err, SALUN_BAD_INPUT, "--%s %.60s: want a number from %g to %g", option->name, text, option->low, option->high);
        *(double *)field = v;
        return SALUN_OK;
    }
    }
    return SALUN_OK;
}

/* argv[*i], and the argument behind it where that is its value. */
static int parse_one(Options *o, int argc, char **argv, int *i, SalunError *err) {
    const char *arg = argv[*i];
    if (strncmp(arg, "--", 2) != 0 || !arg[2])
        return salun_error(err, SALUN_BAD_INPUT, "%.80s: not an option; --help lists them", arg);
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    for (int k = 0; k < TABLE_COUNT; k++) {
        const Option *option = &table[k];
        if (strlen(option->name) != length || memcmp(option->name, name, length) != 0)
            continue;
        if (option->kind == FLAG && equals)
            return salun_error(err, SALUN_BAD_INPUT, "--%s takes no value", option->name);
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind != FLAG && !value) {
            if (*i + 1 >= argc)
                return salun_error(err, SALUN_BAD_INPUT, "--%s needs a value: --%s %s", option->name, option->name, option->value);
            value = argv[++*i];
        }
        return set_value(o, option, value, err);
    }
    char copy[64];
    snprintf(copy, sizeof copy, "%.*s", (int)(length < 60 ? length : 60), name);
    return fail_unknown(copy, err);
}

/* save without .safetensors, with another ending */
static const char *beside(char *buffer, size_t bytes, const char *save, const char *ending) {
    size_t length = strlen(save);
    const char *suffix = ".safetensors";
    if (length > strlen(suffix) && strcmp(save + length - strlen(suffix), suffix) == 0)
        length -= strlen(suffix);
    return snprintf(buffer, bytes, "%.*s%s", (int)length, save, ending) < (int)bytes ? buffer : NULL;
}

/* /dev/null and the like. */
static bool is_device(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

/* Two outputs in one file would destroy each other; devices may be shared. */
static int check_outputs(const Options *o, SalunError *err) {
    static const char *const name[] = { "save", "checkpoint", "log", "batch-log", "dump-gradients" };
    const char *const file[] = { o->save, o->checkpoint, o->log, o->batch_log, o->dump_gradients };
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++)
            if (file[i] && file[k] && !strcmp(file[i], file[k]) && !is_device(file[i]))
                return salun_error(err, SALUN_BAD_INPUT, "--%s and --%s are the same file, %s", name[k], name[i], file[i]);
    return SALUN_OK;
}

static int complete(Options *o, const SalunProgram *p, SalunError *err) {
    if (o->batch > p->batch)
        return salun_error(err, SALUN_BAD_INPUT, "--batch %" PRId64 ": the program is compiled for batches of at most %" PRId64,
                          o->batch, p->batch);
    if (!o->save && !o->eval_only && !o->dump_gradients)
        return salun_error(err, SALUN_BAD_INPUT, "--save FILE is missing: where the trained weights go");
    bool file = o->save && !is_device(o->save);          /* beside which others are written */
    if (o->resume && !file && !o->checkpoint)
        return salun_error(err, SALUN_BAD_INPUT, "--resume needs --save or --checkpoint to find the checkpoint");
    if (o->resume && o->overwrite)
        return salun_error(err, SALUN_BAD_INPUT, "--resume goes on, --overwrite begins anew: give one of them");
    if (o->weights_allow && !o->weights)
        return salun_error(err, SALUN_BAD_INPUT, "--weights-allow is of no use without --weights");
    if (file && !o->log && !(o->log = beside(o->save_beside[0], sizeof o->save_beside[0], o->save, ".jsonl")))
        return salun_error(err, SALUN_BAD_INPUT, "--save: the name is too long");
    if (file && !o->checkpoint && !(o->checkpoint = beside(o->save_beside[1], sizeof o->save_beside[1], o->save, ".checkpoint")))
        return salun_error(err, SALUN_BAD_INPUT, "--save: the name is too long");
    return check_outputs(o, err);
}

int options_parse(Options *o, const SalunProgram *p, int argc, char **argv, SalunError *err) {
    *o = (Options){ .batch = p->batch, .checkpoint_every = 120, .seed = p->recipe->seed, .lr = p->recipe->lr,
                    .smoothing = p->recipe->smoothing };
    for (int i = 1; i < argc; i++) {
        int code = parse_one(o, argc, argv, &i, err);
        if (code)
            return code;
    }
    return o->help ? SALUN_OK : complete(o, p, err);
}

static void help_defaults(FILE *out, const SalunProgram *p) {
    const SalunRecipe *r = p->recipe;
    fprintf(out, "\nDefaults of this program: batch %" PRId64 ", epochs %" PRId64 ", lr %g, label smoothing %g, seed %" PRIu64, p->batch,
            r->epochs, r->lr, r->smoothing, r->seed);
    if (r->data && *r->data)
        fprintf(out, ", data %s", r->data);
    fputs(".\n", out);
}

void options_help(FILE *out, const SalunProgram *p, const char *argv0) {
    fprintf(out, "%s: trains the network %s (%s).\n\nUsage: %s --data DIR --save FILE [options]\n\n", argv0, p->name, p->source, argv0);
    for (int i = 0; i < TABLE_COUNT; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].value ? " " : "", table[i].value ? table[i].value : "");
        fprintf(out, "  %-26s ", left);
        for (const char *c = table[i].text; *c; c++) {
            fputc(*c, out);
            if (*c == '\n')
                fprintf(out, "%29s", "");
        }
        fputc('\n', out);
    }
    help_defaults(out, p);
    fprintf(out,
            "\nExamples:\n"
            "  %s --data mnist --epochs 5 --save w.safetensors\n"
            "  %s --data mnist --epochs 5 --save w.safetensors --resume        after Ctrl-C, a crash or a full disk\n"
            "  %s --data npy:x.npy,y.npy --weights w.safetensors --weights-allow 'fc.*' --lr 0.01 --save tuned.safetensors\n"
            "  %s --data mnist --weights w.safetensors --eval-only\n"
            "\nExit codes: 0 done, 1 the loss is not finite, 2 usage or a broken file, 3 the processor lacks instructions,\n"
            "4 no memory or disk space, 5 stopped by a signal with the checkpoint written.\n",
            argv0, argv0, argv0, argv0);
}

/* build_pre.c - `preprocess image = resize(256) |> center_crop(224) |> normalize(mean, std)`: how a picture, RGB
 * bytes scaled to 0..1, becomes the network's input. */
#include "graph/build_parts.h"

#include <math.h>
#include <string.h>

enum { STAGES_MAX = 8, CHANNELS_MAX = 4, PICTURE_MAX = 1 << 14 };

enum { FORM_RESIZE, FORM_CENTER_CROP, FORM_NORMALIZE };

static const Form forms[] = {
    [FORM_RESIZE] = { "resize", { { "size", ARG_SIZE, true, 0 } } },
    [FORM_CENTER_CROP] = { "center_crop", { { "size", ARG_SIZE, true, 0 } } },
    [FORM_NORMALIZE] = { "normalize", { { "mean", ARG_NUMBERS, true, 0 }, { "std", ARG_NUMBERS, true, 0 } } },
    { 0 },
};
static const char *const later[] = { "crop", "pad", "grayscale", "scale", NULL };

static bool statistics(Builder *b, const CallArg *a, const char *what, int64_t channels, bool positive, double *out) {
    if (a->count != channels) {
        build_error(b, a->span, "`%s` holds %d numbers for %lld channels", what, a->count, (long long)channels);
        return false;
    }
    for (int i = 0; i < a->count; i++) {
        out[i] = a->numbers[i];
        if (!isfinite(out[i]) || (positive && out[i] <= 0)) {
            build_error(b, a->span, "`%s` must be %s, not %s", what, positive ? "positive" : "finite", number_text(b, out[i]));
            return false;
        }
    }
    return true;
}

static bool read_step(Builder *b, const AstNode *stage, const Node *input, PreStep *out) {
    CallArg arg[ARGS_MAX];
    int64_t channels = input->shape.dim[1];
    int k = build_form(b, stage, "a step of `preprocess`", forms, later, arg);
    if (k < 0)
        return false;
    if (k == FORM_NORMALIZE) {
        *out = (PreStep){ .kind = PRE_NORMALIZE, .channels = (int)channels };
        return statistics(b, &arg[0], "mean", channels, false, out->mean) && statistics(b, &arg[1], "std", channels, true, out->std);
    }
    *out = (PreStep){ .kind = k == FORM_RESIZE ? PRE_RESIZE : PRE_CENTER_CROP, .size = arg[0].integer };
    if (out->size <= PICTURE_MAX)
        return true;
    build_error(b, arg[0].span, "pictures are at most %d pixels wide", PICTURE_MAX);
    return false;
}

/* Crops must fit what is left of the picture, and the last one must give the input's size. */
static void check_sizes(Builder *b, const Program *p, const Node *input, const AstNode *const *stages, Span at) {
    int64_t size = -1;
    for (int i = 0; i < p->pre_count; i++) {
        const PreStep *s = &p->pre[i];
        if (s->kind == PRE_NORMALIZE && i + 1 < p->pre_count)
            build_error(b, stages[i]->span, "`normalize` comes last");
        if (s->kind == PRE_CENTER_CROP && size >= 0 && s->size > size)
            build_error(b, stages[i]->span, "`center_crop` takes %lld pixels out of %lld", (long long)s->size, (long long)size);
        if (s->kind != PRE_NORMALIZE)
            size = s->size;
    }
    if (size >= 0 && (size != input->shape.dim[2] || size != input->shape.dim[3]))
        build_error(b, at, "this gives pictures of %lldx%lld, and the input is %s", (long long)size, (long long)size,
                    shape_text(b->arena, input->type, &input->shape));
}

void build_preprocess(Builder *b, const AstNode *s) {
    Program *p = b->program;
    const Port *first = b->graph->input_count ? &b->graph->inputs[0] : NULL;
    const AstNode *stages[STAGES_MAX];
    int count;
    if (!first || strcmp(first->name, s->set.name.text) != 0) {
        build_error(b, s->set.name.span, "`preprocess` prepares the first input%s%s%s", first ? ", `" : "", first ? first->name : "",
                    first ? "`" : "");
        return;
    }
    const Node *input = first->node;
    if (input->shape.rank != 4 || input->channel != 1 || input->shape.dim[1] > CHANNELS_MAX) {
        build_error(b, s->span, "`preprocess` makes pictures, f32[N, channels, height, width], and the input is %s",
                    shape_text(b->arena, input->type, &input->shape));
        return;
    }
    if (p->pre_count && b->graph == p->infer) {
        build_error(b, s->span, "`preprocess` is given twice");
        return;
    }
    if (b->graph != p->infer || !pipe_stages(b, s->set.value, stages, STAGES_MAX, &count))
        return;
    p->pre = NEW_ARRAY(b->arena, PreStep, count);
    for (int i = 0; i < count; i++)
        if (read_step(b, stages[i], input, &p->pre[p->pre_count]))
            p->pre_count++;
    if (p->pre_count == count)
        check_sizes(b, p, input, stages, s->span);
}

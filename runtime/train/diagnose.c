/* diagnose.c - naming the first value that is not finite. */
#include "loop.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Index of the first value that is not finite, -1: none. */
static int64_t first_bad(const float *value, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(value[i]))
            return i;
    return -1;
}

/* printf shows the sign of a NaN, which means nothing. */
static double shown(float value) {
    return isnan(value) ? (double)NAN : (double)value;
}

typedef struct { char text[256]; bool found; } Finding;

static void look(void *arg, const char *tap, const char *kernel, const float *value, int64_t count) {
    Finding *f = arg;
    int64_t i = f->found ? -1 : first_bad(value, count);
    if (i < 0)
        return;
    f->found = true;
    snprintf(f->text, sizeof f->text, "the first tap that is not finite is %s: element %" PRId64 " is %g (kernel %s)", tap, i, shown(value[i]), kernel);
}

/* A tensor of the parameters or states that is not finite; NULL: none. */
static const SalunTensor *bad_tensor(Trainer *t, float *value) {
    const SalunProgram *p = t->program;
    for (int i = 0; i < p->tensor_count; i++) {
        const SalunTensor *tensor = &p->tensors[i];
        int64_t floats;
        const float *table = salun_table(t->model, tensor->is_state ? SALUN_STATES : SALUN_PARAMS, &floats);
        int64_t k = first_bad(table + tensor->offset, tensor->count);
        if (k >= 0) {
            *value = table[tensor->offset + k];
            return tensor;
        }
    }
    return NULL;
}

int trainer_check_finite(Trainer *t, SalunError *err) {
    float value;
    const SalunTensor *tensor = bad_tensor(t, &value);
    if (!tensor)
        return SALUN_OK;
    return salun_error(err, SALUN_FAIL, "after step %" PRId64 " %s %s is not finite: it holds %g", t->at.step,
                       tensor->is_state ? "state" : "parameter", tensor->name, shown(value));
}

static void find_in_input(const Trainer *t, const Batch *batch, Finding *f) {
    const SalunPort *input = &t->program->inputs[0];
    int64_t i = first_bad(batch->input, batch->n * input->count);
    if (i < 0)
        return;
    f->found = true;
    snprintf(f->text, sizeof f->text, "image %" PRId64 " of the data holds %g", batch->index[i / input->count], shown(batch->input[i]));
}

static void find_in_tables(Trainer *t, Finding *f) {
    float value;
    const SalunTensor *tensor = bad_tensor(t, &value);
    if (!tensor)
        return;
    f->found = true;
    snprintf(f->text, sizeof f->text, "%s %s holds %g before the step", tensor->is_state ? "state" : "parameter", tensor->name, shown(value));
}

int trainer_diagnose(Trainer *t, const Batch *batch, SalunError *err) {
    float loss = t->loss;
    Finding f = { .found = false };
    trainer_restore_states(t);
    find_in_input(t, batch, &f);
    if (!f.found)
        find_in_tables(t, &f);
    if (!f.found) {
        salun_set_probe(t->model, look, &f);
        trainer_step(t, batch, err);
        salun_set_probe(t->model, NULL, NULL);
        trainer_restore_states(t);
    }
    char kept[300] = "";
    if (t->checkpoint_step >= 0)
        snprintf(kept, sizeof kept, "; the checkpoint of step %" PRId64 " is kept", t->checkpoint_step);
    return salun_error(err, SALUN_FAIL, "step %" PRId64 " (epoch %" PRId64 "): the loss is %g; %s%s", t->at.step + 1, t->at.epoch + 1,
                       shown(loss), f.found ? f.text : "every tap is finite", kept);
}

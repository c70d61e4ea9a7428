/* setup.c - what training needs before its first step: data, model, weights, memory, logs. */
#include "loop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Data sets of images and class labels train programs of one image, one label and logits. */
static int check_program(const SalunProgram *p, SalunError *err) {
    if (p->abi != SALUN_ABI)
        return salun_error(err, SALUN_FAIL, "the program is compiled for version %u of the runtime, this is %d", p->abi, SALUN_ABI);
    if (!p->recipe || !p->step.count || !p->update.count)
        return salun_error(err, SALUN_FAIL, "%s is not compiled for training", p->name);
    if (p->input_count != 1 || p->inputs[0].type != SALUN_F32)
        return salun_error(err, SALUN_FAIL, "%s has %d inputs; data sets give one, of float32 images", p->name, p->input_count);
    if (p->target_count != 1 || p->targets[0].type != SALUN_I32 || p->targets[0].count != 1)
        return salun_error(err, SALUN_FAIL, "%s wants other targets than the one class label per image that data sets give", p->name);
    if (p->output_count < 1 || p->outputs[0].type != SALUN_F32 || p->outputs[0].count < 2)
        return salun_error(err, SALUN_FAIL, "%s: its first output is not a list of class scores", p->name);
    return SALUN_OK;
}

static int open_evaluation_data(Trainer *t, const char *wanted, SalunError *err) {
    int code = data_open(&t->val, t->options->val_data, wanted, t->program->outputs[0].count, err);
    t->eval_images = t->val.test.count ? &t->val.test : &t->val.train;
    return code;
}

static int open_data(Trainer *t, SalunError *err) {
    const Options *o = t->options;
    const char *wanted = t->program->recipe->data ? t->program->recipe->data : "", *place = o->data;
    char buffer[512];
    if (o->eval_only && o->val_data)
        return open_evaluation_data(t, wanted, err);
    if (!place && !(place = data_default_place(wanted, buffer, sizeof buffer)))
        return salun_error(err, SALUN_BAD_INPUT, *wanted ? "--data DIR is missing, and neither %s nor data/%s is here"
                                                         : "--data DIR is missing: where the images and labels are", wanted, wanted);
    int code = data_open(&t->data, place, wanted, t->program->outputs[0].count, err);
    if (code)
        return code;
    if (o->val_data)
        return open_evaluation_data(t, wanted, err);
    t->eval_images = o->eval_only && t->data.test.count == 0 ? &t->data.train : &t->data.test;
    return SALUN_OK;
}

static void tell_note(const char *text, void *arg) {
    progress_line(arg, "note: %s", text);
}

static int open_model(Trainer *t, SalunError *err) {
    const SalunProgram *p = t->program;
    const Options *o = t->options;
    if (o->eval_only && !o->weights && !o->resume && !p->weights)
        return salun_error(err, SALUN_BAD_INPUT, "--eval-only needs --weights FILE, or --resume for the checkpoint's");
    t->model = salun_create(p, (int)o->threads, err);
    if (!t->model)
        return err->code;
    bool whole = o->weights ? !o->weights_allow : p->weights != NULL;
    t->seeded = !o->resume && !o->weights && !p->weights;
    if (!o->resume && !whole)          /* a checkpoint, or weights, hold all that is initialised here */
        salun_init(t->model, o->seed);
    salun_set_seed(t->model, o->seed);
    salun_set_smoothing(t->model, (float)o->smoothing);
    salun_set_step(t->model, 0);
    if (o->weights)
        return salun_load_file(t->model, o->weights, o->weights_allow, tell_note, &t->progress, err);
    if (p->weights)
        return salun_load_memory(t->model, p->weights, (size_t)(p->weights_end - p->weights), "the embedded weights", NULL, tell_note,
                                 &t->progress, err);
    return SALUN_OK;
}

static int open_loaders(Trainer *t, SalunError *err) {
    const SalunRecipe *r = t->program->recipe;
    const Options *o = t->options;
    LoaderPlan plan = { .program = t->program, .seed = o->seed };
    if (!o->eval_only) {
        plan.images = &t->data.train;
        plan.batch = o->batch;
        plan.shuffle = !o->no_shuffle;
        plan.augment = r->augment;
        plan.augment_count = o->no_augment ? 0 : r->augment_count;
        if (t->data.train.is_float && plan.augment_count)
            progress_line(&t->progress, "note: %s: float32 images are taken as they are, not augmented", t->data.train.images_file);
        if (!(t->loader = loader_create(&plan, err)))
            return err->code;
    }
    if (t->eval_images->count == 0) {
        progress_line(&t->progress, "note: the data has no test images: nothing is evaluated; --val-data gives some");
        return SALUN_OK;
    }
    plan = (LoaderPlan){ .images = t->eval_images, .program = t->program, .batch = t->program->batch };
    return (t->eval_loader = loader_create(&plan, err)) ? SALUN_OK : err->code;
}

static void *allocate(int64_t floats) {
    size_t bytes = (size_t)floats * sizeof(float);
    return aligned_alloc(SALUN_ALIGN, (bytes + SALUN_ALIGN) / SALUN_ALIGN * SALUN_ALIGN);
}

static int open_memory(Trainer *t, SalunError *err) {
    const SalunProgram *p = t->program;
    t->outputs[0] = &t->loss;
    bool ok = (t->states_before = allocate(p->table_floats[SALUN_STATES])) != NULL;
    for (int i = 0; i < p->output_count; i++)
        ok &= (t->outputs[1 + i] = allocate(p->batch * p->outputs[i].count)) != NULL;
    return ok ? SALUN_OK : salun_error(err, SALUN_NO_SPACE, "not enough memory for the outputs of %" PRId64 " images", p->batch);
}

static void set_length(Trainer *t) {
    const Options *o = t->options;
    int64_t count = t->data.train.count;
    t->steps_per_epoch = (count + o->batch - 1) / o->batch;
    t->epochs = o->epochs ? o->epochs : t->program->recipe->epochs > 0 ? t->program->recipe->epochs : 1;
    int64_t needed = (o->steps + t->steps_per_epoch - 1) / t->steps_per_epoch;
    if (!o->epochs && needed > t->epochs)
        t->epochs = needed;
    t->total_steps = t->epochs * t->steps_per_epoch;
    if (o->steps && o->steps < t->total_steps)
        t->total_steps = o->steps;
}

/* The fewest digits that read back as the same number. */
static void identify_number(Identity *id, const char *name, double value) {
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    identity_add(id, name, "%s", text);
}

/* All that the bits of the result, or the meaning of the log, depend on; not the threads, not --steps. An evaluation fits every
 * checkpoint of the program. */
static void identify(Trainer *t) {
    const SalunProgram *p = t->program;
    const Options *o = t->options;
    Identity *id = &t->identity;
    identity_add(id, "program", "%s %016" PRIx64, p->name, p->hash);
    if (o->eval_only)
        return;
    identity_add(id, "--seed", "%" PRIu64, o->seed);
    identity_add(id, "--epochs", "%" PRId64, t->epochs);
    identity_add(id, "--batch", "%" PRId64, o->batch);
    identify_number(id, "--lr", o->lr);
    identify_number(id, "--label-smoothing", o->smoothing);
    identity_add(id, "--no-augment", "%s", o->no_augment ? "on" : "off");
    identity_add(id, "--no-shuffle", "%s", o->no_shuffle ? "on" : "off");
    identity_add(id, "data", "%s %" PRId64 " images %016" PRIx64, t->data.form, t->data.train.count, t->data.hash[0]);
    const DataSet *tested = o->val_data ? &t->val : &t->data;
    identity_add(id, "test data", "%" PRId64 " images %016" PRIx64, t->eval_images->count, tested->hash[t->eval_images == &tested->test]);
}

void trainer_report(Trainer *t, const char *stage) {
    double now = salun_seconds();
    if (t->options->time)
        progress_line(&t->progress, "%-10s %8.2f ms", stage, 1e3 * (now - t->reported));
    t->reported = now;
}

int trainer_open(Trainer *t, const SalunProgram *p, const Options *o, const volatile sig_atomic_t *stop, SalunError *err) {
    *t = (Trainer){ .program = p, .options = o, .stop = stop, .log.fd = -1, .batch_log.fd = -1 };
    t->reported = salun_seconds();
    progress_begin(&t->progress, stderr);
    int code = check_program(p, err);
    if (!code)
        code = open_data(t, err);
    if (code)
        return code;
    trainer_report(t, "data");
    code = open_model(t, err);
    if (!code)
        code = open_loaders(t, err);
    if (!code)
        code = open_memory(t, err);
    if (code)
        return code;
    trainer_report(t, "weights");
    if (!o->eval_only)
        set_length(t);
    identify(t);
    return SALUN_OK;
}

void trainer_close(Trainer *t) {
    loader_destroy(t->loader);
    loader_destroy(t->eval_loader);
    salun_destroy(t->model);
    data_close(&t->data);
    data_close(&t->val);
    log_close(&t->log);
    log_close(&t->batch_log);
    lock_release(&t->locks[0]);
    lock_release(&t->locks[1]);
    for (int i = 0; t->program && i < t->program->output_count; i++)
        free(t->outputs[1 + i]);
    free(t->states_before);
}

static int write_header(Trainer *t, SalunError *err) {
    const SalunProgram *p = t->program;
    const Options *o = t->options;
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, o->seed);
    Line line = { .used = 0 };
    line_text(&line, "program", p->name);
    line_hash(&line, "hash", p->hash);
    line_text(&line, "numeric", p->numeric);
    line_text(&line, "data", t->data.form);
    line_count(&line, "images", t->data.train.count);
    line_count(&line, "test_images", t->eval_images->count);
    line_count(&line, "epochs", t->epochs);
    line_count(&line, "steps_per_epoch", t->steps_per_epoch);
    line_count(&line, "batch", o->batch);
    line_number(&line, "lr", o->lr);
    line_number(&line, "label_smoothing", o->smoothing);
    line_text(&line, "seed", seed);
    line_bool(&line, "augment", !o->no_augment);
    line_bool(&line, "shuffle", !o->no_shuffle);
    return log_write(&t->log, &line, err);
}

static void tell_start(Trainer *t) {
    int64_t parameters = 0;
    for (int i = 0; i < t->program->tensor_count; i++)
        if (!t->program->tensors[i].is_state)
            parameters += t->program->tensors[i].count;
    progress_line(&t->progress, "%s: %" PRId64 " parameters; %s: %" PRId64 " images, %" PRId64 " for evaluation; %" PRId64
                  " epochs of %" PRId64 " steps", t->program->name, parameters, t->data.form, t->data.train.count, t->eval_images->count,
                  t->epochs, t->steps_per_epoch);
}

/* A training that was broken off is not lost to one that was started by mistake; before its first step it has nothing to lose. */
static int check_unfinished(const Options *o, SalunError *err) {
    TrainPoint at;
    if (o->overwrite || !o->checkpoint || !checkpoint_peek(o->checkpoint, &at) || at.finished || at.step == 0)
        return SALUN_OK;
    return salun_error(err, SALUN_BAD_INPUT, "%s: a training that is not finished stands here at step %" PRId64 ", epoch %" PRId64
                       "/%" PRId64 "; --resume goes on from there, --overwrite begins anew", o->checkpoint, at.step, at.epoch + 1, at.epochs);
}

static int take_locks(Trainer *t, SalunError *err) {
    const Options *o = t->options;
    int code = o->save ? lock_take(&t->locks[0], o->save, err) : SALUN_OK;
    return !code && o->checkpoint ? lock_take(&t->locks[1], o->checkpoint, err) : code;
}

/* What is written late is tried first: hours of training must not end at a folder that is not there. */
static int try_outputs(const Options *o, SalunError *err) {
    int code = o->save ? salun_sink_try(o->save, err) : SALUN_OK;
    return !code && o->dump_gradients ? salun_sink_try(o->dump_gradients, err) : code;
}

int trainer_begin(Trainer *t, SalunError *err) {
    t->at = (TrainPoint){ .epochs = t->epochs };
    int code = take_locks(t, err);
    if (!code)
        code = check_unfinished(t->options, err);
    if (!code)
        code = try_outputs(t->options, err);
    if (!code)
        code = log_open(&t->log, t->options->log, -1, NULL, err);
    if (!code)
        code = log_open(&t->batch_log, t->options->batch_log, -1, NULL, err);
    if (!code)
        code = write_header(t, err);
    if (!code)
        tell_start(t);
    return code;
}

/* Whether training of this data can stand there: a right checksum does not say so. */
static bool point_holds(const Trainer *t) {
    const TrainPoint *a = &t->at;
    int64_t count = t->data.train.count, batch = t->options->batch;
    bool within = a->epoch >= 0 && a->epoch <= t->epochs && a->position >= 0 && a->position <= (a->epoch < t->epochs ? count : 0);
    return within && (a->position % batch == 0 || a->position == count) && a->seen == a->position &&
           a->step == a->epoch * t->steps_per_epoch + (a->position + batch - 1) / batch;
}

int trainer_resume(Trainer *t, SalunError *err) {
    bool lost = false;
    int code = take_locks(t, err);
    if (!code)
        code = try_outputs(t->options, err);
    if (!code)
        code = checkpoint_read(t->options->checkpoint, t->model, &t->identity, &t->at, err);
    if (!code && !point_holds(t))
        code = salun_error(err, SALUN_BAD_INPUT, "%s: the checkpoint is damaged: training cannot stand where it says", t->options->checkpoint);
    if (!code)
        code = log_open(&t->log, t->options->log, t->at.log_offset, &lost, err);
    if (!code)
        code = log_open(&t->batch_log, t->options->batch_log, t->at.batch_log_offset, &lost, err);
    if (!code && t->log.offset == 0)
        code = write_header(t, err);
    if (code)
        return code;
    salun_set_step(t->model, (uint32_t)t->at.step);
    if (lost)
        progress_line(&t->progress, "note: a log is shorter than the checkpoint says; it goes on from its end");
    tell_start(t);
    if (t->at.epoch < t->epochs)
        progress_line(&t->progress, "resumed at step %" PRId64 ", epoch %" PRId64 "/%" PRId64, t->at.step, t->at.epoch + 1, t->epochs);
    else
        progress_line(&t->progress, "resumed at step %" PRId64 ": all epochs are done", t->at.step);
    return SALUN_OK;
}

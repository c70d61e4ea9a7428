/* loop.c - steps, epochs, evaluation, and what is kept of them.
 *
 * The order at an epoch's end makes every break harmless: evaluation, log line, checkpoint, weights. A checkpoint within an
 * epoch or before its evaluation holds position; continuing repeats what came after it, and the logs are cut to where they
 * were. */
#include "loop.h"

#include "hash.h"
#include "model.h"
#include "schedule.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t image_count(const Trainer *t) {
    return t->data.train.count;
}

static double elapsed(const Trainer *t) {
    return t->begun_seconds + salun_seconds() - t->started;
}

/* Only what is good is written: tables that are not finite stop training and leave the checkpoint before. */
static int keep_checkpoint(Trainer *t, SalunError *err) {
    if (!t->options->checkpoint)
        return SALUN_OK;
    bool start = t->seeded && t->at.step == 0;
    int code = start ? SALUN_OK : trainer_check_finite(t, err);
    if (code)
        return code;
    t->at.seconds = elapsed(t);
    t->at.finished = t->at.step >= t->total_steps && t->at.position != image_count(t);
    t->at.log_offset = log_sync(&t->log);
    t->at.batch_log_offset = log_sync(&t->batch_log);
    t->checkpoint_time = salun_seconds();
    code = start ? checkpoint_write_start(t->options->checkpoint, t->model, &t->identity, &t->at, err)
                 : checkpoint_write(t->options->checkpoint, t->model, &t->identity, &t->at, err);
    if (!code)
        t->checkpoint_step = t->at.step;
    return code;
}

static int keep_weights(Trainer *t, SalunError *err) {
    if (!t->options->save || t->saved_step == t->at.step)
        return SALUN_OK;
    int code = trainer_check_finite(t, err);
    if (!code)
        code = salun_save_file(t->model, SALUN_PARAMS, t->options->save, err);
    if (!code)
        t->saved_step = t->at.step;
    return code;
}

/* A file that could not be written while training goes on: told, not fatal. What is not finite is. */
static int tolerate(Trainer *t, int code, const SalunError *err) {
    if (code == SALUN_OK || code == SALUN_FAIL)
        return code;
    progress_line(&t->progress, "warning: %s; training goes on, what was written before stays", err->text);
    return SALUN_OK;
}

/* ---- one step ---- */

int trainer_step(Trainer *t, const Batch *batch, SalunError *err) {
    const void *inputs[] = { batch->input, batch->labels };
    return salun_step(t->model, batch->n, inputs, t->outputs, err);
}

static void copy_states(Trainer *t) {
    int64_t floats;
    const float *states = salun_table(t->model, SALUN_STATES, &floats);
    if (floats)
        memcpy(t->states_before, states, (size_t)floats * sizeof *states);
}

void trainer_restore_states(Trainer *t) {
    int64_t floats;
    float *states = salun_table(t->model, SALUN_STATES, &floats);
    if (floats)
        memcpy(states, t->states_before, (size_t)floats * sizeof *states);
    salun_touch(t->model);
}

static void count_metrics(Trainer *t, const Batch *batch) {
    int64_t classes = t->program->outputs[0].count;
    const float *logits = t->outputs[1];
    for (int64_t i = 0; i < batch->n; i++)
        t->at.correct += eval_best_class(logits + i * classes, classes) == batch->labels[i];
    t->at.seen += batch->n;
    t->at.loss_sum += (double)t->loss * (double)batch->n;
    t->images_here += batch->n;
}

static int write_batch_line(Trainer *t, const Batch *batch, float lr, SalunError *err) {
    if (t->batch_log.fd < 0)
        return SALUN_OK;
    Line line = { .used = 0 };
    line_count(&line, "step", t->at.step + 1);
    line_count(&line, "epoch", t->at.epoch + 1);
    line_count(&line, "n", batch->n);
    line_number(&line, "loss", (double)t->loss);
    line_exact(&line, "loss_hex", (double)t->loss);
    line_number(&line, "lr", (double)lr);
    line_hash(&line, "indices", hash_bytes(HASH_START, batch->index, (size_t)batch->n * sizeof *batch->index));
    return log_write(&t->batch_log, &line, err);
}

typedef struct { Trainer *t; const Batch *batch; float lr; } Step;

/* What is written of a step, before it takes effect: when that fails, the state before it can still be kept. */
static int write_step(void *arg, SalunError *err) {
    const Step *s = arg;
    int code = write_batch_line(s->t, s->batch, s->lr, err);
    if (code)
        trainer_restore_states(s->t);
    return code;
}

/* The step whose gradients somebody wants to see, in two parts. */
static int step_with_gradients(Step *s, SalunError *err) {
    Trainer *t = s->t;
    int code = trainer_step(t, s->batch, err);
    if (!code && isfinite(t->loss)) {
        code = salun_save_file(t->model, SALUN_GRADS, t->options->dump_gradients, err);
        if (code)
            trainer_restore_states(t);
        else
            code = write_step(s, err);
        if (!code)
            code = salun_update(t->model, s->lr, err);
    }
    return code;
}

static int train_batch(Trainer *t, const Batch *batch, SalunError *err) {
    const void *inputs[] = { batch->input, batch->labels };
    Step s = { t, batch, (float)(t->options->lr * schedule_factor(t->program->recipe, t->at.step, t->steps_per_epoch, t->epochs)) };
    bool last = t->at.step + 1 == t->total_steps;
    copy_states(t);
    t->loss = 0;
    int code = last && t->options->dump_gradients
                   ? step_with_gradients(&s, err)
                   : salun_train_gated(t->model, batch->n, inputs, t->outputs, s.lr, write_step, &s, err);
    if (!isfinite(t->loss))
        return trainer_diagnose(t, batch, err);
    if (code)
        return code;
    count_metrics(t, batch);
    t->at.step++;
    t->at.position += batch->n;
    return SALUN_OK;
}

/* Images per second of training alone. */
static double training_rate(const Trainer *t) {
    return (double)t->images_here / (salun_seconds() - t->started - t->all_evaluation_seconds);
}

static void show(Trainer *t) {
    char label[64];
    snprintf(label, sizeof label, "epoch %" PRId64 "/%" PRId64, t->at.epoch + 1, t->epochs);
    double seen = (double)t->at.seen, rate = training_rate(t);
    double images_left = (double)(t->total_steps - t->at.step) * (double)image_count(t) / (double)t->steps_per_epoch;
    double left = images_left / rate + (double)(t->epochs - t->at.epoch) * t->evaluation_seconds;
    ProgressState state = { label, t->at.position, image_count(t), t->at.loss_sum / seen, (double)t->at.correct / seen, rate, left };
    progress_show(&t->progress, &state);
}

/* ---- one epoch ---- */

static void write_epoch(Trainer *t, const EvalResult *r, double seconds, Line *line) {
    double seen = (double)t->at.seen, count = (double)r->count;
    line_count(line, "epoch", t->at.epoch + 1);
    line_count(line, "step", t->at.step);
    line_number(line, "lr_next", t->options->lr * schedule_factor(t->program->recipe, t->at.step, t->steps_per_epoch, t->epochs));
    line_number(line, "loss", t->at.loss_sum / seen);
    line_exact(line, "loss_hex", t->at.loss_sum / seen);
    line_number(line, "accuracy", (double)t->at.correct / seen);
    if (r->count) {
        line_number(line, "test_loss", r->loss_sum / count);
        line_number(line, "test_accuracy", (double)r->correct / count);
        line_count(line, "test_correct", r->correct);
        line_count(line, "test_images", r->count);
    }
    line_number(line, "images_per_second", training_rate(t));
    line_number(line, "seconds", seconds);
}

static void tell_epoch(Trainer *t, const EvalResult *r, double seconds) {
    double seen = (double)t->at.seen;
    char test[96] = "";
    if (r->count)
        snprintf(test, sizeof test, "  test loss %.5g  test accuracy %.2f %%", r->loss_sum / (double)r->count,
                 100 * (double)r->correct / (double)r->count);
    progress_line(&t->progress, "epoch %" PRId64 "/%" PRId64 "  loss %.5g  accuracy %.2f %%%s  %.0f images/s  %.1f s", t->at.epoch + 1,
                  t->epochs, t->at.loss_sum / seen, 100 * (double)t->at.correct / seen, test, training_rate(t), seconds);
}

static int finish_epoch(Trainer *t, SalunError *err) {
    EvalResult result = { 0 };
    double begin = salun_seconds();
    int code = trainer_check_finite(t, err);
    if (!code && t->eval_images->count)
        code = eval_run(t->model, t->eval_loader, t->eval_images->count, t->outputs + 1, t->stop, &t->progress, &result, err);
    if (code)
        return code;
    t->evaluation_seconds = salun_seconds() - begin;
    t->all_evaluation_seconds += t->evaluation_seconds;
    Line line = { .used = 0 };
    write_epoch(t, &result, elapsed(t), &line);
    if ((code = log_write(&t->log, &line, err)))
        return code;
    tell_epoch(t, &result, elapsed(t));
    t->at.epoch++;
    t->at.position = t->at.seen = t->at.correct = 0;
    t->at.loss_sum = 0;
    if ((code = tolerate(t, keep_checkpoint(t, err), err)))
        return code;
    return tolerate(t, keep_weights(t, err), err);
}

/* ---- the whole ---- */

static int train_steps(Trainer *t, SalunError *err) {
    int code = SALUN_OK;
    if (t->at.position == image_count(t))
        code = finish_epoch(t, err);
    while (!code && t->at.step < t->total_steps) {
        const Batch *batch = loader_next(t->loader);
        if (!batch)
            return salun_error(err, SALUN_FAIL, "the data ended at step %" PRId64 " of %" PRId64, t->at.step, t->total_steps);
        code = salun_map_check(err);
        if (!code)
            code = train_batch(t, batch, err);
        if (code)
            return code;
        if (t->images_here == batch->n)
            trainer_report(t, "first step");
        show(t);
        if (*t->stop)
            return salun_error(err, SALUN_INTERRUPTED, "stopped by a signal");
        if (t->at.position == image_count(t))
            code = finish_epoch(t, err);
        else if (salun_seconds() - t->checkpoint_time >= t->options->checkpoint_every)
            code = tolerate(t, keep_checkpoint(t, err), err);
    }
    return code;
}

/* What is written when training ends with `code`: nothing that is not finite; after a failure of writing the state is still
 * good, and another attempt is made. Returns the code to exit with, *err told. */
static int finish(Trainer *t, int code, SalunError *err) {
    SalunError later, last;
    if (code == SALUN_FAIL)
        return code;
    int kept = t->checkpoint_step == t->at.step && code == SALUN_OK ? SALUN_OK : keep_checkpoint(t, &later);
    int saved = keep_weights(t, kept ? &last : &later);          /* even where there is no room for a checkpoint */
    kept = kept ? kept : saved;
    if (kept && code != SALUN_OK && code != SALUN_INTERRUPTED) {
        progress_line(&t->progress, "%s", later.text);
        return code;
    }
    if (kept)
        *err = later;
    return kept ? kept : code;
}

static int begin(Trainer *t, SalunError *err) {
    int code = t->options->resume ? trainer_resume(t, err) : trainer_begin(t, err);
    if (code)
        return code;
    t->begun_seconds = t->at.seconds;
    t->started = t->checkpoint_time = salun_seconds();
    t->saved_step = -1;
    t->checkpoint_step = t->options->resume ? t->at.step : -1;
    if (!t->options->resume && (code = keep_checkpoint(t, err)))
        return code;
    trainer_report(t, "checkpoint");
    if (t->at.step >= t->total_steps)
        return SALUN_OK;
    return loader_start(t->loader, t->at.epoch, t->at.position, t->epochs, err);
}

int trainer_run(Trainer *t, SalunError *err) {
    int code = begin(t, err);
    if (code)
        return code;
    code = finish(t, train_steps(t, err), err);
    progress_clear(&t->progress);
    if (code == SALUN_INTERRUPTED)
        salun_error(err, code, "stopped by a signal after step %" PRId64 "%s%s", t->at.step,
                    t->options->checkpoint ? "; --resume goes on from " : "", t->options->checkpoint ? t->options->checkpoint : "");
    return code;
}

int trainer_evaluate(Trainer *t, SalunError *err) {
    const Images *images = t->eval_images;
    EvalResult r;
    int code = t->options->resume ? checkpoint_read(t->options->checkpoint, t->model, &t->identity, &t->at, err) : SALUN_OK;
    if (!code)
        code = eval_run(t->model, t->eval_loader, images->count, t->outputs + 1, t->stop, &t->progress, &r, err);
    progress_clear(&t->progress);
    if (code)
        return code;
    printf("accuracy %.2f %% (%" PRId64 " of %" PRId64 "), loss %.6f\n", 100 * (double)r.correct / (double)r.count, r.correct, r.count,
           r.loss_sum / (double)r.count);
    return SALUN_OK;
}

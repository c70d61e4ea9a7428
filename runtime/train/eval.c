/* eval.c - evaluation by prepare and infer. */
#include "eval.h"

#include "random.h"

#include <math.h>

int64_t eval_best_class(const float *logits, int64_t classes) {
    int64_t best = 0;
    for (int64_t c = 0; c < classes; c++) {
        if (isnan(logits[c]))
            return -1;
        if (logits[c] > logits[best])
            best = c;
    }
    return best;
}

double eval_cross_entropy(const float *logits, int64_t classes, int32_t label) {
    double top = logits[0], sum = 0;
    for (int64_t c = 1; c < classes; c++)
        if (logits[c] > top)
            top = logits[c];
    for (int64_t c = 0; c < classes; c++)
        sum += salun_exp((double)logits[c] - top);
    return isfinite(sum) ? top + salun_log(sum) - (double)logits[label] : NAN;
}

static void count_batch(const Batch *batch, const float *logits, int64_t classes, EvalResult *r) {
    for (int64_t i = 0; i < batch->n; i++) {
        r->correct += eval_best_class(logits + i * classes, classes) == batch->labels[i];
        r->loss_sum += eval_cross_entropy(logits + i * classes, classes, batch->labels[i]);
    }
    r->count += batch->n;
}

int eval_run(SalunModel *m, Loader *loader, int64_t total, void *const *outputs, const volatile sig_atomic_t *stop,
             Progress *progress, EvalResult *result, SalunError *err) {
    int64_t classes = salun_program(m)->outputs[0].count;
    *result = (EvalResult){ 0 };
    int code = salun_prepare(m, err);
    if (!code)
        code = loader_start(loader, 0, 0, 1, err);
    double begin = salun_seconds();
    const Batch *batch;
    while (!code && (batch = loader_next(loader))) {
        const void *inputs[] = { batch->input };
        code = salun_infer(m, batch->n, inputs, outputs, err);
        if (code)
            break;
        count_batch(batch, outputs[0], classes, result);
        double rate = (double)result->count / (salun_seconds() - begin);
        ProgressState state = { "evaluating", result->count, total, NAN, NAN, rate, (double)(total - result->count) / rate };
        progress_show(progress, &state);
        if (*stop)
            code = salun_error(err, SALUN_INTERRUPTED, "stopped by a signal");
    }
    loader_stop(loader);
    return code ? code : salun_map_check(err);
}

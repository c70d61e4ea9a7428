/* schedule.c - learning-rate schedules in plain double arithmetic. */
#include "schedule.h"

#include "random.h"

/* gamma^(number of at[] not after epoch) */
static double step_factor(const SalunSchedPart *part, double epoch) {
    double factor = 1;
    for (int i = 0; i < part->at_count; i++)
        if (epoch >= part->at[i])
            factor *= part->gamma;
    return factor;
}

/* t in [0, 1] within the part, epoch since the start of training, one_step: the length of a step in units of t */
static double part_factor(const SalunSchedPart *part, double from, double t, double epoch, double one_step) {
    switch (part->kind) {
    case SALUN_SCHED_WARMUP: {
        double reached = t + one_step;
        return from * (reached < 1 ? reached : 1);
    }
    case SALUN_SCHED_COSINE:
        return part->to + (from - part->to) * 0.5 * (1 + salun_cos_turn(0.5 * t));
    case SALUN_SCHED_LINEAR:
        return from + (part->to - from) * t;
    case SALUN_SCHED_STEP:
        return from * step_factor(part, epoch);
    default:
        return from;
    }
}

double schedule_factor(const SalunRecipe *recipe, int64_t step, int64_t steps_per_epoch, int64_t epochs) {
    double epoch = (double)step / (double)steps_per_epoch;
    double begin = 0, from = 1;
    for (int i = 0; i < recipe->schedule_count; i++) {
        const SalunSchedPart *part = &recipe->schedule[i];
        int last = i == recipe->schedule_count - 1;
        double length = last ? (double)epochs - begin : part->epochs;
        if (length <= 0)
            length = 0;
        if (last || epoch < begin + length) {
            double t = length > 0 ? (epoch - begin) / length : 1;
            double one_step = length > 0 ? 1 / (length * (double)steps_per_epoch) : 1;
            return part_factor(part, from, t < 1 ? t : 1, epoch, one_step);
        }
        begin += length;
        from = part_factor(part, from, 1, begin, 0);
    }
    return 1;
}

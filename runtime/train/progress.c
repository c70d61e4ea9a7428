/* progress.c - the progress bar. */
#include "progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <unistd.h>

enum { BAR = 24 };
static const double terminal_period = 0.1, plain_period = 10;

void progress_begin(Progress *p, FILE *out) {
    *p = (Progress){ .out = out, .terminal = isatty(fileno(out)), .last = salun_seconds() };
}

void progress_clear(Progress *p) {
    if (p->drawn)
        fputs("\r\033[K", p->out);
    p->drawn = false;
}

static void duration_text(char *text, size_t size, double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(text, size, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(text, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

void progress_show(Progress *p, const ProgressState *state) {
    double now = salun_seconds();
    if (now - p->last < (p->terminal ? terminal_period : plain_period))
        return;
    p->last = now;
    double share = state->total > 0 ? (double)state->done / (double)state->total : 1;
    char metrics[64] = "", left[64] = "", time[32], bar[BAR + 3] = "";
    if (!isnan(state->loss))
        snprintf(metrics, sizeof metrics, "  loss %.5g  accuracy %.2f %%", state->loss, 100 * state->accuracy);
    if (state->seconds_left >= 0) {
        duration_text(time, sizeof time, state->seconds_left);
        snprintf(left, sizeof left, "  %s left", time);
    }
    if (p->terminal) {
        int filled = (int)(share * BAR);
        bar[0] = '[';
        for (int i = 0; i < BAR; i++)
            bar[1 + i] = i < filled ? '=' : i == filled ? '>' : ' ';
        bar[BAR + 1] = ']';
    }
    fprintf(p->out, "%s%s %s%3.0f %%%s  %.0f images/s%s%s", p->terminal ? "\r" : "", state->label, bar, 100 * share, metrics,
            state->images_per_second, left, p->terminal ? "\033[K" : "\n");
    fflush(p->out);
    p->drawn = p->terminal;
}

void progress_line(Progress *p, const char *format, ...) {
    progress_clear(p);
    va_list args;
    va_start(args, format);
    vfprintf(p->out, format, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
    p->last = salun_seconds();
}

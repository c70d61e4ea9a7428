/* progress.c - the progress bar. */
#include "progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LEAST_BAR = 4, SHORT_BAR = 12, MOST_BAR = 24 };
static const double terminal_period = 0.1, plain_period = 10;

void progress_begin(Progress *p, FILE *out) {
    const char *kind = getenv("TERM");
    bool plain = kind && !strcmp(kind, "dumb");
    *p = (Progress){ .out = out, .terminal = isatty(fileno(out)) && !plain, .last = salun_seconds() };
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

/* Columns of the terminal, as they are now. */
static int terminal_width(FILE *out) {
    struct winsize size;
    return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* A bar of at most `room` columns with the space behind it; empty where there is no room. */
static void bar_text(char *text, int room, double share) {
    int width = room - 3 < MOST_BAR ? room - 3 : MOST_BAR, filled = (int)(share * width), used = 0;
    if (width >= LEAST_BAR) {
        text[used++] = '[';
        for (int i = 0; i < width; i++)
            text[used++] = i < filled ? '=' : i == filled ? '>' : ' ';
        text[used++] = ']';
        text[used++] = ' ';
    }
    text[used] = 0;
}

static double share_of(const ProgressState *s) {
    return s->total > 0 ? (double)s->done / (double)s->total : 1;
}

/* The numbers behind the bar; returns their length. */
static int numbers_text(char *text, size_t size, const ProgressState *s, bool brief) {
    char metrics[64] = "", left[64] = "", time[32];
    if (!isnan(s->loss))
        snprintf(metrics, sizeof metrics, brief ? "  loss %.4g  acc %.2f %%" : "  loss %.5g  accuracy %.2f %%", s->loss, 100 * s->accuracy);
    if (s->seconds_left >= 0) {
        duration_text(time, sizeof time, s->seconds_left);
        snprintf(left, sizeof left, "  %s left", time);
    }
    return snprintf(text, size, "%2.0f %%%s  %.0f%s%s", 100 * share_of(s), metrics, s->images_per_second, brief ? "/s" : " images/s", left);
}

/* One line of the terminal: with a bar, where need be with shorter numbers, at last without a bar and cut off. */
static void draw(Progress *p, const ProgressState *s) {
    char numbers[512], bar[MOST_BAR + 4];
    int width = terminal_width(p->out), room = width > 1 ? width - 1 : 1, label = (int)strlen(s->label) + 1;
    int length = numbers_text(numbers, sizeof numbers, s, false);
    if (label + length + SHORT_BAR + 3 > room)
        length = numbers_text(numbers, sizeof numbers, s, true);
    bar_text(bar, room - label - length, share_of(s));
    fprintf(p->out, "\r%.*s %s%.*s\033[K", room - 1, s->label, bar, room > label ? room - label : 0, numbers);
    p->drawn = true;
}

void progress_show(Progress *p, const ProgressState *state) {
    char numbers[512];
    double now = salun_seconds();
    if (now - p->last < (p->terminal ? terminal_period : plain_period))
        return;
    p->last = now;
    if (p->terminal) {
        draw(p, state);
    } else {
        numbers_text(numbers, sizeof numbers, state, false);
        fprintf(p->out, "%s %s\n", state->label, numbers);
    }
    fflush(p->out);
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

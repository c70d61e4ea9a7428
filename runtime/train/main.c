/* main.c - salun_main_train: options, signals, and the message behind every exit code. */
#include "loop.h"

#include <stdlib.h>

static volatile sig_atomic_t stop_requested;

static void request_stop(int number) {
    (void)number;
    stop_requested = 1;
}

/* The first signal ends training after the running step; the second one ends the process, which loses nothing that a
 * checkpoint holds. What the parent ignores stays ignored (nohup). A pipe that closes and a size limit are seen as failed
 * writes. */
static void catch_signals(void) {
    static const int number[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = request_stop, .sa_flags = SA_RESTART | (int)SA_RESETHAND }, before;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        if (sigaction(number[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(number[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

static int run(const SalunProgram *p, int argc, char **argv, SalunError *err) {
    Options options;
    if (!p->recipe)
        return salun_error(err, SALUN_FAIL, "%s is not compiled for training", p->name);
    int code = options_parse(&options, p, argc, argv, err);
    if (code)
        return code;
    if (options.help) {
        options_help(stdout, p, argv[0]);
        return SALUN_OK;
    }
    if (salun_cpu_check(p, err))
        return SALUN_NO_CPU;
    Trainer *t = malloc(sizeof *t);
    if (!t)
        return salun_error(err, SALUN_NO_SPACE, "not enough memory");
    catch_signals();
    code = trainer_open(t, p, &options, &stop_requested, err);
    if (!code)
        code = options.eval_only ? trainer_evaluate(t, err) : trainer_run(t, err);
    trainer_close(t);
    free(t);
    return code;
}

int salun_main_train(const SalunProgram *p, int argc, char **argv) {
    SalunError err = { .text = "" };
    salun_occupy_standard();
    salun_map_guard();
    int code = run(p, argc, argv, &err);
    if (!code && (fflush(stdout) || ferror(stdout)))
        code = salun_error(&err, SALUN_NO_SPACE, "standard output cannot be written");
    if (code)
        fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : p->name, err.text);
    return code;
}

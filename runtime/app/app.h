/* app.h - the parts of an inference program: options, input, results, measuring. */
#ifndef SALUN_APP_H
#define SALUN_APP_H

#include "base.h"
#include "npy.h"
#include "preprocess.h"

#include <stdio.h>

enum { APP_PORTS = 8 };

/* ---- options.c ---- */

typedef struct { int port; const char *path; } AppFile;

typedef struct {
    const char *argv0;
    const char *weights, *allow, *labels, *prepare;
    AppFile *inputs, *outputs;               /* in the order given; app_options_free */
    int input_count, output_count;
    int threads;                             /* 0: one per processor */
    int top;                                 /* 0: not asked for */
    double bench;                            /* seconds; 0: not asked for */
    bool profile, help;
} AppOptions;

/* 0, or SALUN_BAD_INPUT with the option named. */
int app_options_parse(AppOptions *o, const SalunProgram *p, int argc, char **argv, SalunError *err);
void app_options_free(AppOptions *o);
void app_help(FILE *out, const SalunProgram *p, const char *argv0);

/* ---- input.c: the images of one port, from any number of files ---- */

/* grey: bytes [n, height, width], the channel being understood. */
typedef struct { const char *path; bool picture, grey; SalunNpy npy; int64_t count; } AppSource;

typedef struct {
    const SalunProgram *program;
    int port;
    AppSource *sources;
    int source_count, at;                    /* at: the source to read from next, and the image in it */
    int64_t image, count;                    /* count: images in all */
    SalunPre *pre;                           /* made when bytes are met first */
} AppFeed;

/* Opens and checks every .npy file of the port; pictures are opened when their turn comes. */
int app_feed_open(AppFeed *f, const SalunProgram *p, int port, const AppOptions *o, SalunError *err);
void app_feed_close(AppFeed *f);
/* The next n images, plain row-major, where they lie in a file, until app_feed_close; NULL: they have to be read. A file that is
 * cut short is found by salun_map_check, after they were used. */
const void *app_feed_take(AppFeed *f, int64_t n);
/* The same, to `to`. */
int app_feed_read(AppFeed *f, int64_t n, void *to, SalunError *err);
/* Names image number i: "cat.jpg", or "x.npy[3]" of a file with several. */
const char *app_feed_name(const AppFeed *f, int64_t i, char *text, size_t size);
size_t app_port_bytes(const SalunPort *port);        /* of one image */

/* ---- results.c ---- */

typedef struct { char *text; char **line; int count; } AppLabels;

/* One label per line; their number must be that of the scores. */
int app_labels_read(AppLabels *l, const char *path, int64_t scores, SalunError *err);
void app_labels_free(AppLabels *l);
/* The `top` classes of one image with their probabilities, best first; equal scores in the order of their numbers. */
void app_print_top(FILE *out, const char *name, const float *score, int64_t count, int top, const AppLabels *labels);

/* One .npy file per output that was asked for. */
typedef struct { SalunSink sink[APP_PORTS]; bool open[APP_PORTS]; } AppOutput;
int app_output_open(AppOutput *out, const SalunProgram *p, const AppOptions *o, int64_t images, SalunError *err);
int app_output_write(AppOutput *out, const SalunProgram *p, int64_t n, void *const *data, SalunError *err);
int app_output_commit(AppOutput *out, SalunError *err);
void app_output_abort(AppOutput *out);

/* ---- bench.c ---- */

/* Runs infer on the same n images for `seconds`, at least three times, and prints one line. */
int app_bench(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, double seconds, SalunError *err);
/* The same, with a table of every call's median time. */
int app_profile(SalunModel *m, int64_t n, const void *const *inputs, void *const *outputs, double seconds, SalunError *err);

#endif

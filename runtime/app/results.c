/* results.c - what is made of the network's outputs: .npy files and the best classes. */
#include "app/app.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- labels ---- */

static int split_lines(AppLabels *l) {
    int room = 0;
    for (char *at = l->text; *at;) {
        if (l->count == room) {
            room = room ? room * 2 : 64;
            char **more = realloc(l->line, (size_t)room * sizeof *more);
            if (!more)
                return SALUN_NO_SPACE;
            l->line = more;
        }
        size_t length = strcspn(at, "\n");
        bool last = !at[length];
        at[length] = 0;
        if (length && at[length - 1] == '\r')
            at[length - 1] = 0;
        l->line[l->count++] = at;
        at += length + !last;
    }
    return 0;
}

int app_labels_read(AppLabels *l, const char *path, int64_t scores, SalunError *err) {
    SalunMap map;
    *l = (AppLabels){ 0 };
    int code = salun_map(&map, path, err);
    if (code)
        return code;
    l->text = calloc(map.size + 1, 1);
    if (l->text)
        memcpy(l->text, map.data, map.size);
    salun_unmap(&map);
    if (!l->text || split_lines(l))
        return salun_error(err, SALUN_NO_SPACE, "%s: out of memory", path);
    if (l->count != scores)
        return salun_error(err, SALUN_BAD_INPUT, "%s has %d labels, the network %lld classes", path, l->count, (long long)scores);
    return 0;
}

void app_labels_free(AppLabels *l) {
    free(l->text);
    free(l->line);
    *l = (AppLabels){ 0 };
}

/* ---- the best classes ---- */

/* Whether the scores are a distribution already, as a network that ends in softmax gives them. */
static bool is_distribution(const float *score, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!(score[i] >= 0))
            return false;
        sum += score[i];
    }
    return fabs(sum - 1) < 1e-3;
}

/* The next best behind class `last` (-1: the best). NaN comes last. */
static int64_t next_best(const float *score, int64_t count, int64_t last) {
    int64_t best = -1;
    for (int64_t i = 0; i < count; i++) {
        bool behind = last < 0 || score[i] < score[last] || (score[i] == score[last] && i > last);
        if (behind && score[i] == score[i] && (best < 0 || score[i] > score[best]))
            best = i;
    }
    return best;
}

void app_print_top(FILE *out, const char *name, const float *score, int64_t count, int top, const AppLabels *labels) {
    int64_t best = next_best(score, count, -1), at = best;
    double sum = 0;
    bool ready = is_distribution(score, count);
    for (int64_t i = 0; i < count && best >= 0; i++)
        sum += exp((double)score[i] - score[best]);
    fprintf(out, "%s\n", name);
    if (best < 0)
        fprintf(out, "  no score is a number\n");
    for (int k = 0; k < top && at >= 0; k++, at = next_best(score, count, at)) {
        double share = ready ? score[at] : exp((double)score[at] - score[best]) / sum;
        fprintf(out, "  %7.3f %%  ", 100 * share);
        if (labels->count)
            fprintf(out, "%s\n", labels->line[at]);
        else
            fprintf(out, "class %lld\n", (long long)at);
    }
}

/* ---- .npy ---- */

int app_output_open(AppOutput *out, const SalunProgram *p, const AppOptions *o, int64_t images, SalunError *err) {
    static const SalunNpyType types[] = { [SALUN_F32] = SALUN_NPY_F32, [SALUN_I32] = SALUN_NPY_I32, [SALUN_U8] = SALUN_NPY_U8 };
    *out = (AppOutput){ 0 };
    for (int i = 0; i < o->output_count; i++) {
        int k = o->outputs[i].port;
        const SalunPort *port = &p->outputs[k];
        int64_t dim[SALUN_NPY_RANK] = { images };
        memcpy(dim + 1, port->dim, (size_t)port->rank * sizeof *dim);
        int code = salun_npy_create(&out->sink[k], o->outputs[i].path, types[port->type], port->rank + 1, dim, err);
        if (code)
            return code;
        out->open[k] = true;
    }
    return 0;
}

int app_output_write(AppOutput *out, const SalunProgram *p, int64_t n, void *const *data, SalunError *err) {
    int code = 0;
    for (int k = 0; k < p->output_count && !code; k++)
        if (out->open[k])
            code = salun_sink_write(&out->sink[k], data[k], (size_t)n * app_port_bytes(&p->outputs[k]), err);
    return code;
}

int app_output_commit(AppOutput *out, SalunError *err) {
    int code = 0;
    for (int k = 0; k < APP_PORTS && !code; k++)
        if (out->open[k]) {
            out->open[k] = false;
            code = salun_sink_commit(&out->sink[k], err);
        }
    return code;
}

void app_output_abort(AppOutput *out) {
    for (int k = 0; k < APP_PORTS; k++)
        if (out->open[k])
            salun_sink_abort(&out->sink[k]);
    *out = (AppOutput){ 0 };
}

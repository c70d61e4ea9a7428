/* loader.c - a producer thread and two batches: one is used while the other is filled. What a batch holds is a
 * function of the plan, the epoch and the position, never of timing. */
#include "loader.h"

#include "augment.h"
#include "preprocess.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 };

typedef struct { Batch batch; float *input; int32_t *labels; int64_t *index; } Slot;

struct Loader {
    LoaderPlan plan;
    int64_t input_count;               /* floats of one image of the input */
    SalunPre *pre;                     /* NULL for float images */
    uint8_t *pixels[2];                /* of augment_image */
    int64_t *order;
    Slot slot[SLOTS];

    pthread_t thread;
    bool running;
    pthread_mutex_t lock;              /* guards what follows */
    pthread_cond_t changed;
    bool stop, ended;
    int64_t filled, taken, released;   /* batches so far: made, handed out, given back */
    int64_t epoch, position, epochs;   /* what is made next; only the producer touches them while it runs */
};

/* One image into out, as the network takes it. */
static int load_image(Loader *l, int64_t epoch, int64_t index, float *out, SalunError *err) {
    const Images *x = l->plan.images;
    if (x->is_float) {
        memcpy(out, data_image(x, index), (size_t)x->elements * sizeof(float));
        return SALUN_OK;
    }
    const uint8_t *pixels = data_image(x, index);
    if (l->plan.augment_count) {
        memcpy(l->pixels[0], pixels, (size_t)x->elements);
        pixels = augment_image(l->plan.augment, l->plan.augment_count, l->plan.seed, epoch, index, x->dim, l->pixels[0], l->pixels[1]);
    }
    SalunPicture picture = salun_picture_planar(pixels, x->dim[0], x->dim[1], x->dim[2]);
    return salun_pre_apply(l->pre, &picture, x->images_file, out, err);
}

/* All images have one size, and loader_create has tried it, so that load_image cannot fail here. */
static void fill(Loader *l, Slot *s) {
    const Images *x = l->plan.images;
    int64_t left = x->count - l->position;
    int64_t n = left < l->plan.batch ? left : l->plan.batch;
    s->batch = (Batch){ n, l->epoch, l->position, s->input, s->labels, s->index };
    for (int64_t i = 0; i < n; i++) {
        int64_t index = l->order[l->position + i];
        s->index[i] = index;
        s->labels[i] = x->labels[index];
        load_image(l, l->epoch, index, s->input + i * l->input_count, NULL);
    }
}

static void order_epoch(Loader *l) {
    if (l->plan.shuffle)
        augment_order(l->order, l->plan.images->count, l->plan.seed, l->epoch);
    else
        for (int64_t i = 0; i < l->plan.images->count; i++)
            l->order[i] = i;
}

/* Waits for a slot to fill; false: told to stop. */
static bool wait_for_slot(Loader *l) {
    pthread_mutex_lock(&l->lock);
    while (!l->stop && l->filled - l->released >= SLOTS)
        pthread_cond_wait(&l->changed, &l->lock);
    bool go = !l->stop;
    pthread_mutex_unlock(&l->lock);
    return go;
}

static void *produce(void *arg) {
    Loader *l = arg;
    for (bool fresh = true; l->epoch < l->epochs && wait_for_slot(l);) {
        if (fresh)
            order_epoch(l);
        fill(l, &l->slot[l->filled % SLOTS]);
        l->position += l->slot[l->filled % SLOTS].batch.n;
        fresh = l->position == l->plan.images->count;
        if (fresh) {
            l->epoch++;
            l->position = 0;
        }
        pthread_mutex_lock(&l->lock);
        l->filled++;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
    }
    pthread_mutex_lock(&l->lock);
    l->ended = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

const Batch *loader_next(Loader *l) {
    const Batch *batch = NULL;
    pthread_mutex_lock(&l->lock);
    l->released = l->taken;
    pthread_cond_broadcast(&l->changed);
    while (l->filled == l->taken && !l->ended)
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->filled > l->taken)
        batch = &l->slot[l->taken++ % SLOTS].batch;
    pthread_mutex_unlock(&l->lock);
    return batch;
}

void loader_stop(Loader *l) {
    if (!l->running)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->running = false;
}

int loader_start(Loader *l, int64_t epoch, int64_t position, int64_t epochs, SalunError *err) {
    loader_stop(l);
    l->stop = l->ended = false;
    l->filled = l->taken = l->released = 0;
    l->epoch = epoch;
    l->position = position;
    l->epochs = epochs;
    if (l->position == l->plan.images->count) {
        l->epoch++;
        l->position = 0;
    }
    sigset_t all, old;                 /* signals are for the main thread */
    sigfillset(&all);
    sigdelset(&all, SIGBUS);              /* raised by the thread itself: guard.c */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&l->thread, NULL, produce, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        return salun_error(err, SALUN_NO_SPACE, "cannot start the thread that loads data: %s", strerror(failed));
    l->running = true;
    return SALUN_OK;
}

static int check_float(const Images *x, const SalunPort *input, SalunError *err) {
    char have[160], want[160];
    if (x->rank == input->rank && memcmp(x->dim, input->dim, (size_t)x->rank * sizeof *x->dim) == 0)
        return SALUN_OK;
    return salun_error(err, SALUN_BAD_INPUT, "%s: images of shape %s, but the network's input %s is %s", x->images_file,
                       salun_shape_text(have, sizeof have, x->rank, x->dim), input->name,
                       salun_shape_text(want, sizeof want, input->rank, input->dim));
}

static int allocate(Loader *l, SalunError *err) {
    size_t n = (size_t)l->plan.batch;
    size_t pixels = l->plan.augment_count && !l->plan.images->is_float ? (size_t)l->plan.images->elements : 1;
    bool ok = (l->order = malloc((size_t)l->plan.images->count * sizeof *l->order)) != NULL;
    for (int i = 0; i < SLOTS; i++) {
        Slot *s = &l->slot[i];
        ok &= (s->input = aligned_alloc(SALUN_ALIGN, (n * (size_t)l->input_count * sizeof(float) + SALUN_ALIGN - 1) / SALUN_ALIGN * SALUN_ALIGN)) != NULL;
        ok &= (s->labels = malloc(n * sizeof *s->labels)) != NULL;
        ok &= (s->index = malloc(n * sizeof *s->index)) != NULL;
        ok &= (l->pixels[i] = malloc(pixels)) != NULL;
    }
    return ok ? SALUN_OK : salun_error(err, SALUN_NO_SPACE, "not enough memory for batches of %" PRId64 " images", l->plan.batch);
}

Loader *loader_create(const LoaderPlan *plan, SalunError *err) {
    Loader *l = calloc(1, sizeof *l);
    if (!l) {
        salun_error(err, SALUN_NO_SPACE, "not enough memory to load data");
        return NULL;
    }
    l->plan = *plan;
    l->input_count = plan->program->inputs[0].count;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    bool ok = !allocate(l, err);
    if (ok && plan->images->is_float)
        ok = !check_float(plan->images, &plan->program->inputs[0], err);
    else if (ok)
        ok = (l->pre = salun_pre_create(plan->program, err)) && !load_image(l, 0, 0, l->slot[0].input, err);
    if (ok)
        return l;
    loader_destroy(l);
    return NULL;
}

void loader_destroy(Loader *l) {
    if (!l)
        return;
    loader_stop(l);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    for (int i = 0; i < SLOTS; i++) {
        free(l->slot[i].input);
        free(l->slot[i].labels);
        free(l->slot[i].index);
        free(l->pixels[i]);
    }
    free(l->order);
    salun_pre_destroy(l->pre);
    free(l);
}

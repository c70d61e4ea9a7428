/* classify.c - a compiled network in a C program: digits of an IDX file, shared out among threads, each with its own
 * instance of the network.
 *
 * usage: classify WEIGHTS IMAGES [LABELS] [THREADS]
 * WEIGHTS `-` means the weights embedded in the object. IMAGES and LABELS are MNIST's files, not compressed. Prints a digit
 * per image, or with LABELS how many are right. See README.md for how to build it. */
#include "smallnet.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE SMALLNET_IMAGE_SIZE
#define CLASSES SMALLNET_OUTPUT_SIZE
static const float mean = 0.1307f, deviation = 0.3081f;      /* as in smallnet.snet: pixels are 0..1 before */

typedef struct {
    const char *weights;
    const unsigned char *pixels;       /* of all images */
    unsigned char *digit;              /* of all images */
    long first, end;                   /* this worker's images */
    int failed;
} Worker;

/* The bytes behind an IDX header of `rank` sizes; *count is the first size. Exits when the file is none. */
static unsigned char *read_idx(const char *path, int rank, long *count) {
    unsigned char head[16];
    FILE *in = fopen(path, "rb");
    if (!in || fread(head, 1, 4 + 4 * (size_t)rank, in) != 4 + 4 * (size_t)rank || head[2] != 8 || head[3] != rank) {
        fprintf(stderr, "%s: not an IDX file of rank %d\n", path, rank);
        exit(2);
    }
    size_t bytes = 1;
    for (int i = 0; i < rank; i++)
        bytes *= (size_t)head[4 + 4 * i] << 24 | (size_t)head[5 + 4 * i] << 16 | (size_t)head[6 + 4 * i] << 8 | head[7 + 4 * i];
    *count = (long)((size_t)head[4] << 24 | (size_t)head[5] << 16 | (size_t)head[6] << 8 | head[7]);
    unsigned char *data = malloc(bytes ? bytes : 1);
    if (!data || fread(data, 1, bytes, in) != bytes || *count == 0 || (rank == 3 && bytes / (size_t)*count != SIZE)) {
        fprintf(stderr, "%s: cut off, or of another size\n", path);
        exit(2);
    }
    fclose(in);
    return data;
}

static unsigned char best(const float *score) {
    int at = 0;
    for (int k = 1; k < CLASSES; k++)
        if (score[k] > score[at])
            at = k;
    return (unsigned char)at;
}

/* Classifies n images from number `first` on. */
static int classify(smallnet *net, Worker *w, long first, int64_t n, SalunError *error) {
    static _Thread_local float image[SMALLNET_BATCH * SIZE], output[SMALLNET_BATCH * CLASSES];
    for (int64_t i = 0; i < n * SIZE; i++)
        image[i] = ((float)w->pixels[first * SIZE + i] / 255 - mean) / deviation;
    int code = smallnet_infer(net, image, n, output, error);
    for (int64_t i = 0; i < n && !code; i++)
        w->digit[first + i] = best(output + i * CLASSES);
    return code;
}

static void *work(void *arg) {
    Worker *w = arg;
    SalunError error;
    smallnet *net = strcmp(w->weights, "-") ? smallnet_create(w->weights, 1, &error) : smallnet_create_embedded(1, &error);
    int code = net ? 0 : error.code;
    for (long at = w->first; at < w->end && !code; at += SMALLNET_BATCH)
        code = classify(net, w, at, w->end - at < SMALLNET_BATCH ? w->end - at : SMALLNET_BATCH, &error);
    if (code)
        fprintf(stderr, "classify: %s\n", error.text);
    smallnet_destroy(net);
    w->failed = code;
    return NULL;
}

int main(int argc, char **argv) {
    enum { MOST = 64 };
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: %s WEIGHTS IMAGES [LABELS] [THREADS]\n", argv[0]);
        return 2;
    }
    long count, label_count = 0, right = 0;
    int threads = argc > 4 ? atoi(argv[4]) : 2, failed = 0;
    threads = threads < 1 ? 1 : threads > MOST ? MOST : threads;
    unsigned char *pixels = read_idx(argv[2], 3, &count), *digit = malloc((size_t)count);
    unsigned char *labels = argc > 3 ? read_idx(argv[3], 1, &label_count) : NULL;
    if (!digit || (labels && label_count != count)) {
        fprintf(stderr, "classify: %ld labels for %ld images\n", label_count, count);
        return 2;
    }
    Worker worker[MOST];
    pthread_t thread[MOST];
    for (int i = 0; i < threads; i++) {
        worker[i] = (Worker){ argv[1], pixels, digit, count * i / threads, count * (i + 1) / threads, 0 };
        if (pthread_create(&thread[i], NULL, work, &worker[i]))
            return 4;
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        failed = failed ? failed : worker[i].failed;
    }
    for (long i = 0; i < count && !failed; i++) {
        if (labels)
            right += digit[i] == labels[i];
        else
            printf("%d\n", digit[i]);
    }
    if (labels && !failed)
        printf("%ld of %ld\n", right, count);
    free(pixels);
    free(labels);
    free(digit);
    return failed;
}

/* ort.c - ONNX Runtime as a contender, through its C ABI: the npm package has the library but no header, so the entries of OrtApi
 * are called by their place in it, which the ABI keeps.
 *
 * usage: ort LIBRARY MODEL.onnx IMAGES OUTPUT N CHANNELS SIZE CLASSES THREADS [--once [--optimized] | --optimize FILE]
 * Speaks as worker.c does. --once ends after the first run: for timing the start. --optimize writes the model after all optimizations,
 * layouts of this machine included; --optimized says that MODEL is such a file, and optimizes nothing. */
#include "../turns.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

enum { API_VERSION = 16, OPTIMIZE_NOTHING = 0, OPTIMIZE_ALL = 99, LOG_ERRORS = 3, FLOAT = 1, DEVICE_ALLOCATOR = 0, DEFAULT_MEMORY = 0 };

enum {                                       /* places in OrtApi */
    GET_ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_SESSION_OPTIONS = 10, SET_OPTIMIZED_MODEL = 11,
    SET_GRAPH_OPTIMIZATION_LEVEL = 23, SET_INTRA_OP_THREADS = 24, SET_INTER_OP_THREADS = 25, CREATE_TENSOR_WITH_DATA = 49,
    GET_TENSOR_MUTABLE_DATA = 51, CREATE_CPU_MEMORY_INFO = 69
};

typedef void *Status;                        /* NULL: well done */
typedef struct { const void *const *(*get_api)(uint32_t version); const char *(*version)(void); } Base;
typedef struct { const void *const *api; void *session, *input, *output; } Ort;

/* The entry at PLACE, as a function of the arguments TYPES, called with what follows; ends the program on a failure. */
#define CALL(O, PLACE, TYPES, ...) check(O, ((Status(*) TYPES)(uintptr_t)(O)->api[PLACE])(__VA_ARGS__))

static void check(const Ort *o, Status status) {
    if (status) {
        fprintf(stderr, "ort: %s\n", ((const char *(*)(Status))(uintptr_t)o->api[GET_ERROR_MESSAGE])(status));
        exit(1);
    }
}

static const Base *open_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    const Base *(*get_base)(void) = library ? (const Base *(*)(void))(uintptr_t)dlsym(library, "OrtGetApiBase") : NULL;
    if (!get_base) {
        fprintf(stderr, "ort: %s\n", dlerror());
        exit(1);
    }
    return get_base();
}

/* optimized: where the model goes after optimizing, or NULL */
static void open_session(Ort *o, const char *model, int threads, int level, const char *optimized) {
    void *env, *options;
    CALL(o, CREATE_ENV, (int, const char *, void **), LOG_ERRORS, "bench", &env);
    CALL(o, CREATE_SESSION_OPTIONS, (void **), &options);
    CALL(o, SET_INTRA_OP_THREADS, (void *, int), options, threads);
    CALL(o, SET_INTER_OP_THREADS, (void *, int), options, 1);
    CALL(o, SET_GRAPH_OPTIMIZATION_LEVEL, (void *, int), options, level);
    if (optimized)
        CALL(o, SET_OPTIMIZED_MODEL, (void *, const char *), options, optimized);
    CALL(o, CREATE_SESSION, (void *, const char *, void *, void **), env, model, options, &o->session);
}

static void open_input(Ort *o, const char *path, const int64_t dim[4]) {
    size_t bytes = (size_t)(dim[0] * dim[1] * dim[2] * dim[3]) * sizeof(float);
    float *data = malloc(bytes);
    FILE *f = fopen(path, "rb");
    if (!data || !f || fread(data, 1, bytes, f) != bytes) {
        fprintf(stderr, "ort: %s: not %zu bytes\n", path, bytes);
        exit(2);
    }
    fclose(f);
    void *memory;
    CALL(o, CREATE_CPU_MEMORY_INFO, (int, int, void **), DEVICE_ALLOCATOR, DEFAULT_MEMORY, &memory);
    CALL(o, CREATE_TENSOR_WITH_DATA, (void *, void *, size_t, const int64_t *, size_t, int, void **), memory, data, bytes, dim, 4, FLOAT,
         &o->input);
}

static void run_once(void *session) {
    Ort *o = session;
    const char *inputs[] = { "x" }, *outputs[] = { "y" };
    const void *values[] = { o->input };
    CALL(o, RUN, (void *, void *, const char **, const void **, size_t, const char **, size_t, void **), o->session, NULL, inputs, values, 1,
         outputs, 1, &o->output);
}

static void write_output(Ort *o, const char *path, size_t count) {
    void *data;
    CALL(o, GET_TENSOR_MUTABLE_DATA, (void *, void **), o->output, &data);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, sizeof(float), count, f) != count || fclose(f))
        exit(4);
}

int main(int argc, char **argv) {
    if (argc < 10) {
        fprintf(stderr, "usage: ort LIBRARY MODEL.onnx IMAGES OUTPUT N CHANNELS SIZE CLASSES THREADS [--once [--optimized] | --optimize FILE]\n");
        return 2;
    }
    bool once = argc > 10 && !strcmp(argv[10], "--once"), optimized = argc > 11 && !strcmp(argv[11], "--optimized");
    const char *write = argc > 11 && !strcmp(argv[10], "--optimize") ? argv[11] : NULL;
    const Base *base = open_library(argv[1]);
    Ort o = { .api = base->get_api(API_VERSION) };
    int64_t n = atoll(argv[5]), size = atoll(argv[7]);
    open_session(&o, argv[2], atoi(argv[9]), optimized ? OPTIMIZE_NOTHING : OPTIMIZE_ALL, write);
    if (write)
        _Exit(0);
    open_input(&o, argv[3], (int64_t[4]){ n, atoll(argv[6]), size, size });
    run_once(&o);
    write_output(&o, argv[4], (size_t)(n * atoll(argv[8])));
    if (once)
        _Exit(0);
    printf("ready %s\n", base->version());
    fflush(stdout);
    int served = turns_serve(run_once, &o);
    fflush(stdout);
    _Exit(served ? 0 : 4);                   /* its threads need no joining */
}

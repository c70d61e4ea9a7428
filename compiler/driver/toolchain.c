/* toolchain.c - running the system's C compiler on a generated file, and finding the runtime to link with.
 *
 * The runtime is found from where salunc itself stands: PREFIX/bin/salunc with PREFIX/include and PREFIX/lib, wherever
 * PREFIX was moved to; in a build folder beside it. $CC is the compiler (default cc), $CFLAGS go behind the project's flags,
 * $AR (default ar) makes archives. */
#include "compile.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct { Arena *arena; const char **words; int count, capacity; } Words;

static void add(Words *c, const char *word) {
    ARENA_PUSH(c->arena, c->words, c->count, c->capacity, word);
}

/* The words of a text, parted by blanks. */
static void add_words(Words *c, const char *text) {
    while (text && *text) {
        text += strspn(text, " \t\n");
        size_t length = strcspn(text, " \t\n");
        if (length)
            add(c, arena_strndup(c->arena, text, length));
        text += length;
    }
}

/* ---- where the runtime is ---- */

/* The folder of this program, without a trailing slash. */
static const char *own_folder(Arena *a) {
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return NULL;
    path[length] = 0;
    char *slash = strrchr(path, '/');
    return slash ? arena_strndup(a, path, (size_t)(slash - path)) : NULL;
}

static const char *find_file(Arena *a, const char *folder, const char *const *places, int count, const char *name) {
    for (int i = 0; i < count; i++) {
        const char *place = places[i][0] == '/' ? places[i] : arena_printf(a, "%s/../%s", folder, places[i]);
        if (access(arena_printf(a, "%s/%s", place, name), R_OK) == 0)
            return place;
    }
    return NULL;
}

static int add_runtime(Words *c, BuildKind kind, const char **include) {
    static const char *const include_places[] = { SALUN_INCLUDEDIR, SALUN_SOURCE_INCLUDE };
    static const char *const lib_places[] = { SALUN_LIBDIR, "lib" };
    static const char *const libraries[][4] = {
        [BUILD_OBJECT] = { NULL }, [BUILD_ASSEMBLY] = { NULL }, [BUILD_ARCHIVE] = { NULL }, [BUILD_SHARED] = { "salun", NULL },
        [BUILD_INFERENCE] = { "salun-app", "salun-picture", "salun", NULL },
        [BUILD_TRAINING] = { "salun-train", "salun", NULL },
    };
    const char *folder = own_folder(c->arena);
    *include = folder ? find_file(c->arena, folder, include_places, COUNT(include_places), "salun.h") : NULL;
    if (!*include)
        return options_fail(SALUN_FAIL, "salun.h was not found from %s: the installation is incomplete", folder ? folder : "salunc");
    for (int i = 0; libraries[kind][i]; i++) {
        const char *name = arena_printf(c->arena, "lib%s.a", libraries[kind][i]);
        const char *place = find_file(c->arena, folder, lib_places, COUNT(lib_places), name);
        if (!place)
            return options_fail(SALUN_FAIL, "%s was not found from %s: the installation is incomplete", name, folder);
        add(c, arena_printf(c->arena, "%s/%s", place, name));
    }
    return 0;
}

/* ---- running it ---- */

/* A tool's command from the environment. */
static const char *tool(const char *variable, const char *otherwise) {
    const char *value = getenv(variable);
    return value && value[strspn(value, " \t")] ? value : otherwise;
}

static int run(const Words *c) {
    pid_t child = fork();
    if (child < 0)
        return options_fail(SALUN_FAIL, "%s cannot be started: %s", c->words[0], strerror(errno));
    if (child == 0) {
        execvp(c->words[0], (char *const *)c->words);
        fprintf(stderr, "salunc: %s cannot be started: %s ($CC names another compiler)\n", c->words[0], strerror(errno));
        _exit(127);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return options_fail(SALUN_FAIL, "%s: %s", c->words[0], strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return SALUN_BAD_INPUT;
    return options_fail(SALUN_FAIL, "%s failed", c->words[0]);
}

/* The compiler's command from a file to another; the file may be an object already. */
static Words command_line(Arena *a, const char *source, const char *result, BuildKind kind, bool blas, int *code) {
    static const char *const how[] = { [BUILD_OBJECT] = "-c", [BUILD_ASSEMBLY] = "-S", [BUILD_ARCHIVE] = "-c",
        [BUILD_SHARED] = "-fPIC -shared -Wl,--exclude-libs,ALL", [BUILD_INFERENCE] = "", [BUILD_TRAINING] = "" };
    Words libraries = { .arena = a }, c = { .arena = a };
    const char *include = NULL;
    *code = add_runtime(&libraries, kind, &include);
    if (*code)
        return c;
    add_words(&c, tool("CC", "cc"));
    add_words(&c, "-O3 -ffp-contract=off");
    add_words(&c, getenv("CFLAGS"));
    add(&c, arena_printf(a, "-I%s", include));
    add_words(&c, how[kind]);
    add(&c, "-o");
    add(&c, result);
    add(&c, source);
    for (int i = 0; i < libraries.count; i++)
        add(&c, libraries.words[i]);
    if (libraries.count) {
        add_words(&c, kind == BUILD_TRAINING ? "-lz" : kind == BUILD_INFERENCE ? "-lpng -ljpeg" : "");
        add_words(&c, blas ? "-lopenblas -lm -pthread" : "-lm -pthread");
        add_words(&c, SALUN_LINK_FLAGS);
    }
    add(&c, NULL);
    return c;
}

static int archive(Arena *a, const char *object, const char *result) {
    Words c = { .arena = a };
    add_words(&c, tool("AR", "ar"));
    add_words(&c, "rcsD");
    add(&c, result);
    add(&c, object);
    add(&c, NULL);
    return run(&c);
}

static int build(Arena *a, const char *source, bool is_object, const char *object, const char *result, BuildKind kind, bool blas) {
    int code = 0;
    bool archived = kind == BUILD_ARCHIVE;
    if (!archived || !is_object) {
        Words c = command_line(a, source, archived ? object : result, kind, blas, &code);
        if (!code)
            code = run(&c);
    }
    return code || !archived ? code : archive(a, object, result);
}

/* Where the result goes, by way of links; never in place of a device or a folder. */
static int find_target(Arena *a, const char *output, const char **target) {
    const char *slash = strrchr(output, '/');
    struct stat st;
    *target = output;
    if (!output[0] || (slash && !slash[1]))
        return options_fail(SALUN_BAD_INPUT, "-o %s: this names no file", output);
    if (stat(output, &st)) {
        const char *folder = slash ? arena_strndup(a, output, (size_t)(slash - output) + 1) : ".";
        return access(folder, W_OK) ? options_fail(SALUN_BAD_INPUT, "%s: %s", output, strerror(errno)) : 0;
    }
    if (!S_ISREG(st.st_mode))
        return options_fail(SALUN_BAD_INPUT, "%s: %s", output, S_ISDIR(st.st_mode) ? "it is a directory" : "not a regular file");
    char *real = realpath(output, NULL);
    if (!real)
        return options_fail(SALUN_BAD_INPUT, "%s: %s", output, strerror(errno));
    *target = arena_strdup(a, real);
    free(real);
    return 0;
}

/* The result is made in a folder of its own beside its place, and renamed when it is whole. */
static int build_beside(Arena *a, const char *source, bool is_object, const char *object, const char *target, const char *output, BuildKind kind,
                        bool blas) {
    const char *slash = strrchr(target, '/');
    char *folder = arena_printf(a, "%.*s.salunc-XXXXXX", slash ? (int)(slash - target) + 1 : 0, target);
    if (!mkdtemp(folder))
        return options_fail(SALUN_NO_SPACE, "%s: %s", folder, strerror(errno));
    const char *part = arena_printf(a, "%s/%s", folder, slash ? slash + 1 : target);
    int code = build(a, source, is_object, object, part, kind, blas);
    if (!code && rename(part, target))
        code = options_fail(SALUN_NO_SPACE, "%s: %s", output, strerror(errno));
    if (code)
        unlink(part);
    rmdir(folder);
    return code;
}

int toolchain_build(Arena *a, const Writer *text, bool is_object, const char *output, BuildKind kind, bool blas) {
    const char *temporary = getenv("TMPDIR"), *slash = strrchr(output, '/'), *name = slash ? slash + 1 : output, *target;
    int code = find_target(a, output, &target);
    if (code)
        return code;
    char *folder = arena_printf(a, "%s/salunc-XXXXXX", temporary && temporary[0] ? temporary : "/tmp");
    if (!mkdtemp(folder))
        return options_fail(SALUN_NO_SPACE, "%s: %s", folder, strerror(errno));
    const char *object = arena_printf(a, "%s/%s.o", folder, name);
    const char *source = is_object ? object : arena_printf(a, "%s/%s.c", folder, name);
    code = output_write(source, text->data, text->length);
    if (!code)
        code = build_beside(a, source, is_object, object, target, output, kind, blas);
    unlink(source);
    unlink(object);
    rmdir(folder);
    return code;
}

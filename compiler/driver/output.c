/* output.c - writing results: files appear whole or not at all. */
#include "base.h"
#include "compile.h"

#include <string.h>

static int tell(const SalunError *err) {
    return options_fail(err->code, "%s", err->text);
}

static int write_stdout(const char *text, size_t length) {
    if (fwrite(text, 1, length, stdout) != length || fflush(stdout) != 0)
        return options_fail(SALUN_NO_SPACE, "standard output cannot be written");
    return 0;
}

int output_write(const char *path, const char *text, size_t length) {
    if (!path || !strcmp(path, "-"))
        return write_stdout(text, length);
    SalunError err = { .text = "" };
    SalunSink sink;
    if (salun_sink_open(&sink, path, &err))
        return tell(&err);
    if (salun_sink_write(&sink, text, length, &err)) {
        salun_sink_abort(&sink);
        return tell(&err);
    }
    return salun_sink_commit(&sink, &err) ? tell(&err) : 0;
}

int output_write_pair(const char *path, const Writer *text, const char *second, const Writer *second_text) {
    SalunError err = { .text = "" };
    SalunSink sinks[2];
    const char *paths[2] = { path, second };
    const Writer *texts[2] = { text, second_text };
    int open = 0, code = 0;
    while (open < 2 && !code) {
        code = salun_sink_open(&sinks[open], paths[open], &err);
        if (!code) {
            open++;
            code = salun_sink_write(&sinks[open - 1], texts[open - 1]->data, texts[open - 1]->length, &err);
        }
    }
    for (int i = 0; i < open; i++) {
        if (code)
            salun_sink_abort(&sinks[i]);
        else
            code = salun_sink_commit(&sinks[i], &err);
    }
    return code ? tell(&err) : 0;
}

/* error.c - one-line texts of errors: cut to fit, free of control characters, never allocated. */
#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void clean(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

int salun_error(SalunError *err, int code, const char *format, ...) {
    if (!err)
        return code;
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    clean(err->text);
    err->code = code;
    return code;
}

enum { MOST_NAMES = 10, TAIL = 24 };     /* TAIL: room for "and N more" */

void salun_names_add(SalunNames *list, const char *format, ...) {
    char name[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    size_t used = strlen(list->text), room = sizeof list->text - TAIL;
    if (list->shown == list->total && list->shown < MOST_NAMES && used + strlen(name) + 3 < room) {
        snprintf(list->text + used, sizeof list->text - used, "%s%s", used ? ", " : "", name);
        list->shown++;
    }
    list->total++;
}

const char *salun_names_end(SalunNames *list) {
    if (list->shown < list->total) {
        size_t used = strlen(list->text);
        snprintf(list->text + used, sizeof list->text - used, " and %d more", list->total - list->shown);
        list->shown = list->total;
    }
    return list->text;
}

const char *salun_shape_text(char *text, size_t size, int rank, const int64_t *dim) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? "," : "", (long long)dim[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
    return text;
}

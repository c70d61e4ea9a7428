/* emit_c_prelude.c - the part of a generated file that knows the processor: types, the switch to its
 * instructions, and the functions that its kernels use.
 *
 * Nothing here needs options of the compiler: pragmas give the kernels, and nothing else in the file, the
 * target's instructions, so that the check of the processor can run first. Files for 128 bits also hold plain
 * C for processors that are neither x86-64 nor aarch64. */
#include "backend/emit_c.h"

#include <string.h>

typedef struct { const char *result, *name, *parameters, *any, *sse, *fma128, *neon, *avx2, *avx512; } Inline;
static const Inline functions[PRELUDE_COUNT] = {
#define INLINE(id, result, name, parameters, any, sse, fma128, neon, avx2, avx512) \
    { #result, #name, #parameters, any, sse, fma128, neon, avx2, avx512 },
#include "backend/emit_c_prelude.def"
};

/* ---- names ---- */

const char *prelude_function(PreludeUse *use, PreludeId id) {
    use->function[id] = true;
    return functions[id].name;
}

static const char *const memory_names[MEMORY_FORMS][MEMORY_TYPES] = {
    { "v_load", "v_load_i", "v_load_u8", "v_load_u8_i", "v_load_bf16", "v_load_f16" },
    { "v_store", "v_store_i", "v_store_u8", "v_store_u8_i", "v_store_bf16", "v_store_f16" },
    { "v_load_first", "v_load_first_i", "v_load_first_u8", "v_load_first_u8_i", "v_load_first_bf16", "v_load_first_f16" },
    { "v_store_first", "v_store_first_i", "v_store_first_u8", "v_store_first_u8_i", "v_store_first_bf16", "v_store_first_f16" },
    { "v_load_step", "v_load_step_i", "v_load_step_u8", "v_load_step_u8_i", "v_load_step_bf16", "v_load_step_f16" },
    { "v_store_step", "v_store_step_i", "v_store_step_u8", "v_store_step_u8_i", "v_store_step_bf16", "v_store_step_f16" },
    { "v_load_far", "v_load_far_i", "v_load_far_u8", "v_load_far_u8_i", "v_load_far_bf16", "v_load_far_f16" },
    { "v_store_far", "v_store_far_i", "v_store_far_u8", "v_store_far_u8_i", "v_store_far_bf16", "v_store_far_f16" },
};

static bool needs_first(const Target *t, MemoryForm form, MemoryType type) {
    if (type > MEMORY_I32)
        return false;
    if (form == MEMORY_LOAD_STEP || (form == MEMORY_STORE_STEP && t->width == 16))
        return t->width >= 8;
    return (form == MEMORY_LOAD_FIRST || form == MEMORY_STORE_FIRST) && t->width >= 8;
}

const char *prelude_memory(PreludeUse *use, MemoryForm form, MemoryType type) {
    use->memory[form][type] = true;
    return memory_names[form][type];
}

/* ---- bodies ---- */

/* @x: x once per lane; @i: 0, 1, ..; @W: lanes. */
static void print_body(Writer *out, const char *text, int width) {
    for (; *text; text++) {
        if (*text != '@') {
            writer_char(out, *text);
            continue;
        }
        text++;
        if (*text == 'W')
            writer_printf(out, "%d", width);
        for (int i = 0; *text != 'W' && i < width; i++) {
            if (*text == 'i')
                writer_printf(out, i ? ", %d" : "%d", i);
            else
                writer_printf(out, i ? ", %c" : "%c", *text);
        }
    }
}

static void print_line(Writer *out, const char *text, int width) {
    writer_text(out, "    ");
    print_body(out, text, width);
    writer_char(out, '\n');
}

/* 128 bits: one body per processor where they differ. */
static void print_bodies(Writer *out, const Inline *f, const char *sse) {
    if (!sse[0] && !f->neon[0]) {
        print_line(out, f->any, 4);
        return;
    }
    if (sse[0]) {
        writer_text(out, "#if defined(__SSE2__)\n");
        print_line(out, sse, 4);
    }
    if (f->neon[0]) {
        writer_text(out, sse[0] ? "#elif defined(__aarch64__)\n" : "#if defined(__aarch64__)\n");
        print_line(out, f->neon, 4);
    }
    writer_text(out, "#else\n");
    print_line(out, f->any, 4);
    writer_text(out, "#endif\n");
}

static void print_function(Writer *out, const Target *t, PreludeId id) {
    const Inline *f = &functions[id];
    writer_printf(out, "INLINE %s %s%s {\n", f->result, f->name, f->parameters);
    const char *text = t->width == 16 ? f->avx512 : t->width == 8 ? f->avx2 : t->fma && f->fma128[0] ? f->fma128 : f->sse;
    if (t->width > 4 && !text[0] && !strncmp(f->name, "s_", 2))
        text = f->sse;
    if (t->width == 4)
        print_bodies(out, f, text);
    else
        print_line(out, text[0] ? text : f->any, t->width);
    writer_text(out, "}\n");
}

/* ---- memory ---- */

typedef struct { const char *vector, *element, *unaligned; } MemoryNames;
static const MemoryNames memory_types[MEMORY_TYPES] = {
    { "f32v", "float", "f32u" }, { "i32v", "int32_t", "i32u" }, { "f32v", "uint8_t", NULL }, { "i32v", "uint8_t", NULL },
    { "f32v", "uint16_t", NULL }, { "f32v", "uint16_t", NULL },
};
static const struct { PreludeId from, to; } conversions[MEMORY_TYPES] = {
    [MEMORY_BF16] = { PRELUDE_FROM_BF16, PRELUDE_TO_BF16 }, [MEMORY_F16] = { PRELUDE_FROM_F16, PRELUDE_TO_F16 },
};

static bool is_load(MemoryForm form) {
    return form == MEMORY_LOAD || form == MEMORY_LOAD_FIRST || form == MEMORY_LOAD_STEP || form == MEMORY_LOAD_FAR;
}

/* The body for AVX2 and AVX-512, NULL where a loop over the lanes does. */
static const char *memory_body(int width, MemoryForm form, MemoryType type) {
    static const char *const avx2[4][2] = {
        { "return _mm256_maskload_ps(p, (__m256i)v_first(lanes));", "return (i32v)_mm256_maskload_epi32((const int *)p, (__m256i)v_first(lanes));" },
        { "_mm256_maskstore_ps(p, (__m256i)v_first(lanes), x);", "_mm256_maskstore_epi32((int *)p, (__m256i)v_first(lanes), (__m256i)x);" },
        { "return _mm256_mask_i32gather_ps((f32v){0}, p, (__m256i)((i32v){@i} * (int32_t)step), (__m256)v_first(lanes), 4);",
          "return (i32v)_mm256_mask_i32gather_epi32((__m256i){0}, (const int *)p, (__m256i)((i32v){@i} * (int32_t)step), (__m256i)v_first(lanes), 4);" },
        { NULL, NULL },
    };
    static const char *const avx512[4][2] = {
        { "return _mm512_maskz_loadu_ps(v_first(lanes), p);", "return (i32v)_mm512_maskz_loadu_epi32(v_first(lanes), p);" },
        { "_mm512_mask_storeu_ps(p, v_first(lanes), x);", "_mm512_mask_storeu_epi32(p, v_first(lanes), (__m512i)x);" },
        { "return _mm512_mask_i32gather_ps((f32v){0}, v_first(lanes), (__m512i)((i32v){@i} * (int32_t)step), p, 4);",
          "return (i32v)_mm512_mask_i32gather_epi32((__m512i){0}, v_first(lanes), (__m512i)((i32v){@i} * (int32_t)step), p, 4);" },
        { "_mm512_mask_i32scatter_ps(p, v_first(lanes), (__m512i)((i32v){@i} * (int32_t)step), x, 4);",
          "_mm512_mask_i32scatter_epi32(p, v_first(lanes), (__m512i)((i32v){@i} * (int32_t)step), (__m512i)x, 4);" },
    };
    if (type > MEMORY_I32 || form < MEMORY_LOAD_FIRST || form > MEMORY_STORE_STEP || width == 4)
        return NULL;
    return (width == 16 ? avx512 : avx2)[form - MEMORY_LOAD_FIRST][type];
}

/* Whole vectors: through a vector type that may lie anywhere. */
static void print_whole(Writer *out, MemoryForm form, MemoryType type, int width) {
    const MemoryNames *n = &memory_types[type];
    bool bytes = type > MEMORY_I32;
    if (form == MEMORY_LOAD && !bytes)
        writer_printf(out, "    return *(const %s *)p;\n", n->unaligned);
    else if (form == MEMORY_STORE && !bytes)
        writer_printf(out, "    *(%s *)p = x;\n", n->unaligned);
    else if (form == MEMORY_LOAD)
        writer_printf(out, "    %s r = {0};\n    for (int i = 0; i < %d; i++)\n        r[i] = p[i];\n    return r;\n", n->vector, width);
    else
        writer_printf(out, "    for (int i = 0; i < %d; i++)\n        p[i] = (uint8_t)(int32_t)x[i];\n", width);
}

/* Some lanes, one by one. */
static void print_lanes(Writer *out, MemoryForm form, MemoryType type, int width) {
    bool stepped = form >= MEMORY_LOAD_STEP;
    const char *at = stepped ? "i * step" : "i", *cast = type > MEMORY_I32 ? "(uint8_t)(int32_t)" : "";
    if (form == MEMORY_LOAD_FIRST || form == MEMORY_LOAD_STEP || form == MEMORY_LOAD_FAR)
        writer_printf(out, "    %s r = {0};\n    for (int i = 0; i < %d && i < lanes; i++)\n        r[i] = p[%s];\n    return r;\n",
                      memory_types[type].vector, width, at);
    else
        writer_printf(out, "    for (int i = 0; i < %d && i < lanes; i++)\n        p[%s] = %sx[i];\n", width, at, cast);
}

/* Floats of 16 bits, whole vectors and some lanes. */
static void print_narrow(Writer *out, MemoryForm form, MemoryType type, int width) {
    const char *at = form >= MEMORY_LOAD_STEP ? "i * step" : "i";
    bool whole = form < MEMORY_LOAD_FIRST;
    if (is_load(form))
        writer_text(out, whole ? "    u16v r;\n" : "    u16v r = {0};\n");
    else
        writer_printf(out, "    const u16v r = %s(x);\n", functions[conversions[type].to].name);
    if (whole)
        writer_printf(out, "    __builtin_memcpy(%s, sizeof r);\n", is_load(form) ? "&r, p" : "p, &r");
    else
        writer_printf(out, "    for (int i = 0; i < %d && i < lanes; i++)\n        ", width);
    if (!whole && is_load(form))
        writer_printf(out, "r[i] = p[%s];\n", at);
    else if (!whole)
        writer_printf(out, "p[%s] = r[i];\n", at);
    if (is_load(form))
        writer_printf(out, "    return %s(r);\n", functions[conversions[type].from].name);
}

static void print_memory(Writer *out, const Target *t, MemoryForm form, MemoryType type) {
    const MemoryNames *n = &memory_types[type];
    bool load = is_load(form);
    writer_printf(out, "INLINE %s %s(%s%s *p", load ? n->vector : "void", memory_names[form][type], load ? "const " : "", n->element);
    if (form >= MEMORY_LOAD_STEP)
        writer_text(out, ", int64_t step");
    if (form >= MEMORY_LOAD_FIRST)
        writer_text(out, ", int64_t lanes");
    writer_printf(out, load ? ") {\n" : ", %s x) {\n", n->vector);
    const char *text = memory_body(t->width, form, type);
    if (type >= MEMORY_BF16)
        print_narrow(out, form, type, t->width);
    else if (form < MEMORY_LOAD_FIRST)
        print_whole(out, form, type, t->width);
    else if (text)
        print_line(out, text, t->width);
    else
        print_lanes(out, form, type, t->width);
    writer_text(out, "}\n");
}

/* ---- the whole prelude ---- */

static const char *features(const Target *t) {
    static const char *const list[] = { "fma,f16c", "avx2,fma,f16c", "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c",
                                        "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c",
                                        "avx512fp16,avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c" };
    return list[t->width == 16 ? 2 + t->dot4 + t->half : t->width == 8];
}

/* Whether the file is for aarch64 alone. */
static bool is_neon(const Target *t) { return t->width == 4 && t->half; }

/* Every processor that the file may meet has its own instructions switched on here, and off again behind the kernels. */
void emit_c_target_begin(Writer *out, const Target *t) {
    if (!t->fma)
        return;
    if (is_neon(t)) {
        writer_text(out, "#if defined(__clang__)\n"
                         "#pragma clang attribute push(__attribute__((target(\"fullfp16\"))), apply_to = function)\n"
                         "#else\n#pragma GCC push_options\n#pragma GCC target(\"arch=armv8.2-a+fp16\")\n#endif\n");
        return;
    }
    if (t->width == 4)
        writer_text(out, "#if defined(__x86_64__)\n");
    writer_printf(out, "#if defined(__clang__)\n"
                       "#pragma clang attribute push(__attribute__((target(\"%s\"))), apply_to = function)\n"
                       "#else\n"
                       "#pragma GCC push_options\n"
                       "#pragma GCC target(\"%s%s\")\n"
                       "#endif\n", features(t), features(t), t->width == 16 ? ",prefer-vector-width=512" : "");
    if (t->width == 4)
        writer_text(out, "#endif\n");
}

void emit_c_target_end(Writer *out, const Target *t) {
    if (!t->fma)
        return;
    bool either = t->width == 4 && !is_neon(t);
    if (either)
        writer_text(out, "#if defined(__x86_64__)\n");
    writer_text(out, "#if defined(__clang__)\n#pragma clang attribute pop\n#else\n#pragma GCC pop_options\n#endif\n");
    if (either)
        writer_text(out, "#endif\n");
}

static void print_includes(Writer *out, const Target *t) {
    if (is_neon(t)) {
        writer_printf(out, "#if !defined(__aarch64__)\n#error \"compiled for %s; use --target=portable or fma128 for this processor\"\n#endif\n"
                           "#include <arm_neon.h>\n", t->name);
        return;
    }
    if (t->width == 4)
        writer_text(out, "#if defined(__SSE2__)\n#include <immintrin.h>\n#elif defined(__aarch64__)\n#include <arm_neon.h>\n#endif\n");
    else
        writer_printf(out, "#if !defined(__x86_64__)\n#error \"compiled for %s; use --target=portable or fma128 for this processor\"\n#endif\n"
                           "#include <immintrin.h>\n", t->name);
}

/* Whether kernels use memory of 16 bits; what vectors of that need. */
static bool use_narrow(PreludeUse *use) {
    bool any = false;
    for (int y = MEMORY_BF16; y <= MEMORY_F16; y++)
        for (int f = 0; f < MEMORY_FORMS; f++)
            if (use->memory[f][y]) {
                use->function[is_load((MemoryForm)f) ? conversions[y].from : conversions[y].to] = true;
                any = true;
            }
    return any;
}

static void print_types(Writer *out, const Target *t, bool narrow, bool halves) {
    int bytes = t->width * 4;
    writer_printf(out, "typedef float f32v __attribute__((vector_size(%d)));\n", bytes);
    writer_printf(out, "typedef int32_t i32v __attribute__((vector_size(%d)));\n", bytes);
    writer_printf(out, "typedef uint32_t u32v __attribute__((vector_size(%d)));\n", bytes);
    if (narrow)
        writer_printf(out, "typedef uint16_t u16v __attribute__((vector_size(%d)));\n", bytes / 2);
    if (halves && is_neon(t))
        writer_text(out, "typedef float16x8_t f16v;\n");
    else if (halves)
        writer_text(out, "#if defined(__clang__) && !defined(__AVX512FP16__)\n#error \"this version of clang may need -mavx512fp16\"\n#endif\n"
                         "typedef __m512h f16v;\n");
    writer_printf(out, "typedef float f32u __attribute__((vector_size(%d), aligned(4), may_alias));\n", bytes);
    writer_printf(out, "typedef int32_t i32u __attribute__((vector_size(%d), aligned(4), may_alias));\n", bytes);
    writer_printf(out, "typedef %s maskv;\n", t->width == 16 ? "__mmask16" : "i32v");
    writer_text(out, "#define INLINE static inline __attribute__((always_inline))\n\n");
}

void emit_c_prelude(Writer *out, const Target *t, PreludeUse *use) {
    for (int f = 0; f < MEMORY_FORMS; f++)
        for (int y = 0; y < MEMORY_TYPES; y++)
            if (use->memory[f][y] && needs_first(t, f, y))
                use->function[PRELUDE_FIRST] = true;
    print_includes(out, t);
    bool halves = false;
    for (int i = PRELUDE_H_ZERO; i <= PRELUDE_H_HIGH; i++)
        halves = halves || use->function[i];
    print_types(out, t, use_narrow(use), halves);
    emit_c_target_begin(out, t);
    writer_char(out, '\n');
    for (int i = 0; i < PRELUDE_COUNT; i++)
        if (use->function[i])
            print_function(out, t, i);
    for (int f = 0; f < MEMORY_FORMS; f++)
        for (int y = 0; y < MEMORY_TYPES; y++)
            if (use->memory[f][y])
                print_memory(out, t, f, y);
}

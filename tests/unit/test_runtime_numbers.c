/* test_runtime_numbers.c - random numbers, elementary functions, constraints, initial values, preprocess. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "constraint.h"
#include "preprocess.h"
#include "random.h"
#include "tiny_program.h"

/* Known answers of the Random123 library, kat_vectors. */
static void test_philox(void **state) {
    (void)state;
    static const struct { uint32_t counter[4], key[2], want[4]; } known[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { ~0u, ~0u, ~0u, ~0u }, { ~0u, ~0u }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        salun_philox(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].want, sizeof out);
    }
}

static void near(double have, double want, double relative) {
    if (!(fabs(have - want) <= relative * fabs(want)))
        fail_msg("%.17g is not %.17g", have, want);
}

static void test_elementary(void **state) {
    (void)state;
    for (double x = 1e-320; x < 1e308; x *= 1.7)
        near(salun_log(x), log(x), 4e-16);
    for (double x = 0.5; x < 2; x += 0.00037)
        assert_true(fabs(salun_log(x) - log(x)) <= 4e-16 * fabs(log(x)) + 1e-300);
    for (double x = -700; x < 700; x += 0.37)
        near(salun_exp(x), exp(x), 5e-16);
    for (double u = 0; u < 1; u += 0.00013)
        assert_true(fabs(salun_cos_turn(u) - cos(6.283185307179586476925 * u)) < 1e-15);
    assert_true(salun_exp(0) == 1 && salun_log(1) == 0 && salun_cos_turn(0) == 1 && salun_cos_turn(0.5) == -1);
    assert_true(salun_exp(1000) == INFINITY && salun_exp(-1000) == 0 && isnan(salun_exp(NAN)));
    assert_true(salun_exp(-740) > 0);
}

/* ---- constraints ---- */

static void test_constraint_round_trip(void **state) {
    (void)state;
    static const struct { int kind; double lo, hi; float values[5]; } cases[] = {
        { SALUN_GREATER, 0, 0, { 1, 0.5f, 1e-20f, 1e20f, 3.14159f } },
        { SALUN_GREATER, -2.5, 0, { 1, -2.4999f, 0, 100, -1 } },
        { SALUN_AT_LEAST, 0, 0, { 0, 1, 1e-10f, 1e10f, 0.1f } },
        { SALUN_BETWEEN, -1, 3, { 0, 1, 2.9f, -0.99f, 0.3f } },
        { SALUN_FREE, 0, 0, { 0, -1, 1e30f, 5, 7 } },
    };
    for (int i = 0; i < 5; i++) {
        SalunTensor t = { .constraint = cases[i].kind, .lo = cases[i].lo, .hi = cases[i].hi };
        for (int k = 0; k < 5; k++) {
            float value = cases[i].values[k], back = salun_constraint_value(&t, salun_constraint_raw(&t, value));
            assert_true(salun_constraint_holds(&t, value));
            assert_true(fabsf(back - value) <= 4e-6f * fmaxf(fabsf(value), (float)fabs(cases[i].lo)));
        }
    }
    SalunTensor t = { .constraint = SALUN_GREATER };
    assert_true(salun_constraint_raw(&t, 1) == 0 && salun_constraint_value(&t, 0) == 1);
}

static void test_constraint_edges(void **state) {
    (void)state;
    char text[64];
    SalunTensor t = { .constraint = SALUN_GREATER, .lo = 0 };
    assert_false(salun_constraint_holds(&t, 0) || salun_constraint_holds(&t, -1) || salun_constraint_holds(&t, NAN) ||
                 salun_constraint_holds(&t, INFINITY));
    assert_true(salun_constraint_holds(&t, 1e-45f));
    assert_string_equal(salun_constraint_text(&t, text, sizeof text), "> 0");
    t = (SalunTensor){ .constraint = SALUN_AT_LEAST, .lo = 0.25 };
    assert_true(salun_constraint_holds(&t, 0.25f) && !salun_constraint_holds(&t, 0.2499f) && !salun_constraint_holds(&t, NAN));
    t = (SalunTensor){ .constraint = SALUN_BETWEEN, .lo = 0, .hi = 1 };
    assert_true(salun_constraint_holds(&t, 0.5f) && !salun_constraint_holds(&t, 0) && !salun_constraint_holds(&t, 1));
    assert_string_equal(salun_constraint_text(&t, text, sizeof text), "in (0, 1)");
    t = (SalunTensor){ .constraint = SALUN_FREE };
    assert_true(salun_constraint_holds(&t, NAN));
}

/* ---- initial values ---- */

enum { MANY = 100000 };

static void moments(const float *x, double *mean, double *deviation) {
    double sum = 0, squares = 0;
    for (int i = 0; i < MANY; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    *mean = sum / MANY;
    *deviation = sqrt(squares / MANY - *mean * *mean);
}

static void test_init(void **state) {
    (void)state;
    float *x = malloc(MANY * sizeof *x), *y = malloc(MANY * sizeof *y);
    double mean, deviation;
    SalunTensor t = { .name = "conv1.weight", .count = MANY, .init = SALUN_INIT_NORMAL, .init_a = 2 };
    salun_init_part(&t, 42, x, 0, MANY);
    moments(x, &mean, &deviation);
    assert_true(fabs(mean) < 0.02 && fabs(deviation - 2) < 0.02);
    salun_init_part(&t, 42, y, 500, MANY);                       /* parts are parts of the whole */
    assert_memory_equal(x + 500, y + 500, (MANY - 500) * sizeof *x);
    salun_init_part(&t, 43, y, 0, MANY);
    assert_memory_not_equal(x, y, MANY * sizeof *x);
    t.name = "conv2.weight";
    salun_init_part(&t, 42, y, 0, MANY);
    assert_memory_not_equal(x, y, MANY * sizeof *x);

    t.init = SALUN_INIT_TRUNC_NORMAL;
    salun_init_part(&t, 1, x, 0, MANY);
    moments(x, &mean, &deviation);
    assert_true(fabs(mean) < 0.02 && fabs(deviation - 2 * 0.8796) < 0.02);
    for (int i = 0; i < MANY; i++)
        assert_true(fabsf(x[i]) <= 4);

    t.init = SALUN_INIT_UNIFORM;
    t.init_a = -1;
    t.init_b = 3;
    salun_init_part(&t, 1, x, 0, MANY);
    moments(x, &mean, &deviation);
    assert_true(fabs(mean - 1) < 0.02 && fabs(deviation - 4 / sqrt(12)) < 0.02);
    t.init = SALUN_INIT_CONST;
    salun_init_part(&t, 1, x, 0, 3);
    assert_true(x[0] == -1 && x[2] == -1);
    free(x);
    free(y);
}

/* Many at once are the numbers one by one, to the bit, wherever they begin. */
static void test_normals(void **state) {
    (void)state;
    enum { COUNT = 200 };
    const uint64_t seed = 0x123456789abcdefu, name = 0xfedcba9876543210u;
    const uint32_t key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    static const int64_t begins[] = { 0, 1, 63, 100000, 0xffffff80, 0x7fffffffff };
    double x[COUNT];
    for (size_t b = 0; b < sizeof begins / sizeof *begins; b++)
        for (int turn = 0; turn < 200; turn++) {
            int64_t begin = begins[b] + 1000 * turn, count = 1 + (turn * 37) % COUNT;
            salun_normals(name, seed, begin, count, x);
            for (int64_t i = 0; i < count; i++) {
                uint32_t counter[4] = { (uint32_t)(begin + i), (uint32_t)((begin + i) >> 32), (uint32_t)name, (uint32_t)(name >> 32) }, block[4];
                salun_philox(counter, key, block);
                double want = salun_normal(block);
                assert_memory_equal(&want, &x[i], sizeof want);
            }
        }
}

/* The bits of the first values, so that a file of initial weights means the same for ever. */
static void test_init_is_stable(void **state) {
    (void)state;
    float x[4];
    uint32_t bits[4];
    SalunTensor t = { .name = "conv1.weight", .count = 4, .init = SALUN_INIT_NORMAL, .init_a = 1 };
    salun_init_part(&t, 1, x, 0, 4);
    memcpy(bits, x, sizeof bits);
    static const uint32_t want[4] = { 0xbe66c3cb, 0xbe420a50, 0xbec4f59c, 0xbec662a7 };
    assert_memory_equal(bits, want, sizeof bits);
}

/* ---- preprocess ---- */

static uint64_t hash_bytes(const uint8_t *p, size_t size) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static uint8_t *picture_new(int64_t height, int64_t width, int64_t channels) {
    uint8_t *p = malloc((size_t)(height * width * channels)), *at = p;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int64_t c = 0; c < channels; c++)
                *at++ = (uint8_t)((x * 37 + y * 101 + c * 59) ^ (x * y * 7));
    return p;
}

/* Resized bytes of Pillow 9.4: Image.resize(..., BILINEAR), planar, FNV-1a. */
static void test_resize_is_pillow(void **state) {
    (void)state;
    static const struct { int64_t h, w, c, size, out_h, out_w; uint64_t hash; uint8_t begin[4]; } known[] = {
        { 7, 5, 3, 3, 4, 3, 0x615a5ebb7639da1a, { 69, 112, 164, 149 } },
        { 5, 7, 1, 11, 11, 15, 0xded273254c8e0af, { 0, 7, 25, 42 } },
        { 75, 100, 3, 32, 32, 42, 0x35709da052700782, { 104, 132, 147, 113 } },
        { 480, 641, 3, 256, 256, 341, 0xa4b4aad76a30c833, { 84, 119, 156, 134 } },
        { 33, 33, 3, 224, 224, 224, 0xf0a8c6f8045946bb, { 0, 0, 0, 1 } },
        { 64, 48, 1, 48, 64, 48, 0xcc9a10f4d54e0625, { 0, 37, 74, 111 } },
    };
    for (int i = 0; i < 6; i++) {
        int64_t count = known[i].c * known[i].out_h * known[i].out_w;
        SalunPreStep step = { SALUN_RESIZE, 0, known[i].size, { 0 }, { 0 } };
        SalunPort port = { "image", SALUN_F32, 3, { known[i].c, known[i].out_h, known[i].out_w }, count };
        SalunProgram p = { .name = "Net", .inputs = &port, .input_count = 1, .pre = &step, .pre_count = 1 };
        uint8_t *data = picture_new(known[i].h, known[i].w, known[i].c), *bytes = malloc((size_t)count);
        float *out = malloc((size_t)count * sizeof *out);
        SalunPre *pre = salun_pre_create(&p, NULL);
        SalunPicture picture = salun_picture_interleaved(data, known[i].c, known[i].h, known[i].w);
        SalunError err;
        if (salun_pre_apply(pre, &picture, "picture", out, &err))
            fail_msg("%s", err.text);
        for (int64_t k = 0; k < count; k++)
            bytes[k] = (uint8_t)lrintf(out[k] * 255);
        assert_memory_equal(bytes, known[i].begin, 4);
        assert_true(hash_bytes(bytes, (size_t)count) == known[i].hash);
        salun_pre_destroy(pre);
        free(data);
        free(bytes);
        free(out);
    }
}

static int apply(const SalunProgram *p, const SalunPicture *picture, float *out, SalunError *err) {
    SalunPre *pre = salun_pre_create(p, err);
    if (!pre)
        return err->code;
    int code = salun_pre_apply(pre, picture, "p.png", out, err);
    salun_pre_destroy(pre);
    return code;
}

static void test_crop(void **state) {
    (void)state;
    SalunPreStep steps[] = { { SALUN_CENTER_CROP, 0, 3, { 0 }, { 0 } }, { SALUN_NORMALIZE, 1, 0, { 0.5 }, { 0.25 } } };
    SalunPort port = { "image", SALUN_F32, 3, { 1, 3, 3 }, 9 };
    SalunProgram p = { .name = "Net", .inputs = &port, .input_count = 1, .pre = steps, .pre_count = 2 };
    uint8_t data[48];
    float out[9];
    SalunError err;
    for (int i = 0; i < 48; i++)
        data[i] = (uint8_t)i;
    /* 4 x 6: half a row over is rounded to even, 0; one and a half columns to 2 */
    SalunPicture picture = salun_picture_planar(data, 1, 4, 6);
    assert_int_equal(apply(&p, &picture, out, &err), 0);
    assert_true(out[0] == ((float)2 / 255.0f - 0.5f) / 0.25f);
    assert_true(out[8] == ((float)16 / 255.0f - 0.5f) / 0.25f);
    /* 2 x 1: padded with black, the odd row behind */
    picture = salun_picture_planar(data + 1, 1, 2, 1);
    assert_int_equal(apply(&p, &picture, out, &err), 0);
    float black = (0.0f - 0.5f) / 0.25f;
    assert_true(out[0] == black && out[1] == ((float)1 / 255.0f - 0.5f) / 0.25f && out[4] == ((float)2 / 255.0f - 0.5f) / 0.25f &&
                out[7] == black);
}

static void test_preprocess_errors(void **state) {
    (void)state;
    SalunError err;
    float out[16];
    uint8_t data[64] = { 0 };
    SalunProgram p = tiny_program;
    SalunPicture picture = salun_picture_planar(data, 3, 4, 4);
    assert_int_equal(apply(&p, &picture, out, &err), SALUN_BAD_INPUT);
    assert_string_equal(err.text, "p.png has 3 channels, Tiny takes 1");
    p.pre_count = 0;
    picture = salun_picture_planar(data, 1, 5, 6);
    assert_int_equal(apply(&p, &picture, out, &err), SALUN_BAD_INPUT);
    assert_string_equal(err.text, "p.png: 6 x 5 pixels, but Tiny takes 4 x 4");
    SalunPreStep wrong[] = { { SALUN_NORMALIZE, 1, 0, { 0 }, { 1 } }, { SALUN_RESIZE, 0, 4, { 0 }, { 0 } } };
    p.pre = wrong;
    p.pre_count = 2;
    assert_int_equal(apply(&p, &picture, out, &err), SALUN_FAIL);
    SalunPort tokens = { "tokens", SALUN_I32, 1, { 8 }, 8 };
    p = tiny_program;
    p.inputs = &tokens;
    assert_int_equal(apply(&p, &picture, out, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "takes no pictures"));
}

static void test_elongated(void **state) {
    (void)state;
    SalunError err;
    float out[16];
    uint8_t *data = calloc(65536, 1);
    SalunPreStep steps[] = { { SALUN_RESIZE, 0, 60000, { 0 }, { 0 } } };
    SalunProgram p = tiny_program;
    p.pre = steps;
    p.pre_count = 1;
    SalunPicture picture = salun_picture_planar(data, 1, 1, 65536);
    assert_int_equal(apply(&p, &picture, out, &err), SALUN_BAD_INPUT);
    assert_non_null(strstr(err.text, "cannot be resized"));
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox), cmocka_unit_test(test_elementary), cmocka_unit_test(test_constraint_round_trip),
        cmocka_unit_test(test_constraint_edges), cmocka_unit_test(test_normals), cmocka_unit_test(test_init), cmocka_unit_test(test_init_is_stable),
        cmocka_unit_test(test_resize_is_pillow), cmocka_unit_test(test_crop), cmocka_unit_test(test_preprocess_errors),
        cmocka_unit_test(test_elongated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

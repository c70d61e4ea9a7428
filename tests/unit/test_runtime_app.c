/* test_runtime_app.c - pictures of every kind, hostile ones too, and the program around a network, run as its users run it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>

#include "npy.h"
#include "picture/picture.h"
#include "tiny_program.h"

static char folder[64], paths[16][512];

static const char *path_of(const char *name) {
    static int turn;
    char *p = paths[turn = (turn + 1) % 16];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static int remove_folder(void **state) {
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(path_of(e->d_name));
    closedir(d);
    return rmdir(folder);
}

static void write_file(const char *name, const void *data, size_t bytes) {
    unlink(path_of(name));                   /* some file systems sync a file that is overwritten */
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

static size_t read_whole(const char *name, char *data, size_t room) {
    FILE *f = fopen(path_of(name), "rb");
    assert_non_null(f);
    size_t bytes = fread(data, 1, room - 1, f);
    data[bytes] = 0;
    fclose(f);
    return bytes;
}

/* ---- writing pictures ---- */

enum { W = 7, H = 5 };
static uint8_t rgb[H * W * 3], gray[H * W];

static void write_png(const char *name, int type, int depth, const uint8_t *data, int bytes_per_pixel, int interlace) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    FILE *f = fopen(path_of(name), "wb");
    png_init_io(png, f);
    png_set_IHDR(png, info, W, H, depth, type, interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[256];
        for (int i = 0; i < 256; i++)
            palette[i] = (png_color){ (png_byte)i, (png_byte)(255 - i), (png_byte)(i / 2) };
        png_set_PLTE(png, info, palette, 256);
    }
    png_bytep rows[H];
    for (int y = 0; y < H; y++)
        rows[y] = (png_bytep)data + y * W * bytes_per_pixel;
    png_write_info(png, info);
    png_write_image(png, rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(f);
}

static void write_jpeg(const char *name, J_COLOR_SPACE space, int components, const uint8_t *data, int orientation, bool progressive) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(path_of(name), "wb");
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, f);
    jpeg.image_width = W;
    jpeg.image_height = H;
    jpeg.input_components = components;
    jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    if (orientation) {
        uint8_t exif[] = { 'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, (uint8_t)orientation,
                           0, 0, 0, 0, 0, 0 };
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    }
    for (int y = 0; y < H; y++) {
        JSAMPROW row = (JSAMPROW)data + y * W * components;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(f);
}

static int setup(void **state) {
    (void)state;
    for (int i = 0; i < H * W; i++) {
        int x = i % W, y = i / W;
        rgb[3 * i] = (uint8_t)(x * 30);
        rgb[3 * i + 1] = (uint8_t)(y * 40);
        rgb[3 * i + 2] = (uint8_t)(x * 10 + y * 20);
        gray[i] = (uint8_t)((19595 * rgb[3 * i] + 38470 * rgb[3 * i + 1] + 7471 * rgb[3 * i + 2] + 32768) >> 16);
    }
    strcpy(folder, "/tmp/salun-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* ---- reading pictures ---- */

static void expect(const char *name, int channels, const uint8_t *want, int64_t height, int64_t width, int tolerance) {
    SalunPixels px;
    SalunError err;
    if (salun_pixels_read(&px, path_of(name), channels, &err))
        fail_msg("%s", err.text);
    assert_true(px.height == height && px.width == width && px.channels == channels);
    for (int64_t i = 0; i < height * width * channels; i++)
        if (abs(px.data[i] - want[i]) > tolerance)
            fail_msg("%s: byte %d is %d, not %d", name, (int)i, px.data[i], want[i]);
    salun_pixels_free(&px);
}

static void test_png(void **state) {
    (void)state;
    uint8_t wide[H * W * 6], alpha[H * W * 4], palette[H * W * 3];
    for (int i = 0; i < H * W * 3; i++)
        wide[2 * i] = wide[2 * i + 1] = rgb[i];
    for (int i = 0; i < H * W; i++) {
        memcpy(alpha + 4 * i, rgb + 3 * i, 3);
        alpha[4 * i + 3] = (uint8_t)i;
        palette[3 * i] = gray[i];
        palette[3 * i + 1] = (uint8_t)(255 - gray[i]);
        palette[3 * i + 2] = gray[i] / 2;
    }
    write_png("a.png", PNG_COLOR_TYPE_RGB, 8, rgb, 3, PNG_INTERLACE_NONE);
    expect("a.png", 3, rgb, H, W, 0);
    expect("a.png", 1, gray, H, W, 0);
    write_png("b.png", PNG_COLOR_TYPE_RGB, 8, rgb, 3, PNG_INTERLACE_ADAM7);
    expect("b.png", 3, rgb, H, W, 0);
    write_png("c.png", PNG_COLOR_TYPE_RGB, 16, wide, 6, PNG_INTERLACE_NONE);
    expect("c.png", 3, rgb, H, W, 0);
    write_png("d.png", PNG_COLOR_TYPE_RGBA, 8, alpha, 4, PNG_INTERLACE_NONE);
    expect("d.png", 3, rgb, H, W, 0);
    write_png("e.png", PNG_COLOR_TYPE_GRAY, 8, gray, 1, PNG_INTERLACE_NONE);
    expect("e.png", 1, gray, H, W, 0);
    write_png("f.png", PNG_COLOR_TYPE_PALETTE, 8, gray, 1, PNG_INTERLACE_NONE);
    expect("f.png", 3, palette, H, W, 0);
    SalunPixels px;
    assert_int_equal(salun_pixels_read(&px, path_of("e.png"), 3, NULL), 0);
    assert_true(px.data[3 * 9] == gray[9] && px.data[3 * 9 + 2] == gray[9]);
    salun_pixels_free(&px);
}

static void test_jpeg(void **state) {
    (void)state;
    uint8_t cmyk[H * W * 4];
    for (int i = 0; i < H * W; i++) {
        for (int c = 0; c < 3; c++)
            cmyk[4 * i + c] = rgb[3 * i + c];            /* as Adobe's files hold them: inverted */
        cmyk[4 * i + 3] = 255;
    }
    write_jpeg("a.jpg", JCS_RGB, 3, rgb, 0, false);
    expect("a.jpg", 3, rgb, H, W, 4);
    write_jpeg("b.jpg", JCS_RGB, 3, rgb, 0, true);
    expect("b.jpg", 3, rgb, H, W, 4);
    write_jpeg("c.jpg", JCS_GRAYSCALE, 1, gray, 0, false);
    expect("c.jpg", 1, gray, H, W, 3);
    write_jpeg("d.jpg", JCS_CMYK, 4, cmyk, 0, false);
    expect("d.jpg", 3, rgb, H, W, 4);
}

/* Where pixel (y, x) of the turned picture comes from, by orientation. */
static void test_orientation(void **state) {
    (void)state;
    for (int o = 1; o <= 9; o++) {
        uint8_t want[H * W];
        bool swap = o >= 5 && o <= 8;
        int height = swap ? W : H, width = swap ? H : W;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                static const char rule[] = " abcdefgha";
                int sy = y, sx = x;
                switch (rule[o]) {
                case 'b': sx = W - 1 - x; break;
                case 'c': sx = W - 1 - x; sy = H - 1 - y; break;
                case 'd': sy = H - 1 - y; break;
                case 'e': sy = x; sx = y; break;
                case 'f': sy = H - 1 - x; sx = y; break;
                case 'g': sy = H - 1 - x; sx = W - 1 - y; break;
                case 'h': sy = x; sx = W - 1 - y; break;
                }
                want[y * width + x] = gray[sy * W + sx];
            }
        write_jpeg("o.jpg", JCS_GRAYSCALE, 1, gray, o, false);
        expect("o.jpg", 1, want, height, width, 3);
    }
}

static void test_ppm(void **state) {
    (void)state;
    char text[512];
    int used = snprintf(text, sizeof text, "P6 # colours\n%d %d\n255\n", W, H);
    memcpy(text + used, rgb, sizeof rgb);
    write_file("a.ppm", text, (size_t)used + sizeof rgb);
    expect("a.ppm", 3, rgb, H, W, 0);
    used = snprintf(text, sizeof text, "P5\n%d\n%d 65535\n", W, H);
    for (int i = 0; i < H * W; i++)
        text[used + 2 * i] = text[used + 2 * i + 1] = (char)gray[i];
    write_file("b.pgm", text, (size_t)used + 2 * sizeof gray);
    expect("b.pgm", 1, gray, H, W, 0);
}

static void picture_fails(const char *name, const char *why) {
    SalunPixels px;
    SalunError err = { "", 0 };
    if (salun_pixels_read(&px, path_of(name), 3, &err) != SALUN_BAD_INPUT || !strstr(err.text, why))
        fail_msg("\"%s\" was expected, not \"%s\"", why, err.text);
}

static void test_hostile_pictures(void **state) {
    (void)state;
    picture_fails("nowhere.png", "No such file");
    write_file("x.png", "", 0);
    picture_fails("x.png", "empty");
    write_file("x.png", "hello, world", 12);
    picture_fails("x.png", "no picture that can be read");
    write_file("x.ppm", "P3\n1 1\n255\n1 1 1\n", 17);
    picture_fails("x.ppm", "only binary");
    write_file("x.ppm", "P6\n60000 60000 255\n", 19);
    picture_fails("x.ppm", "60000 x 60000 pixels is not read");
    write_file("x.ppm", "P6\n99999999 1 255\n", 18);
    picture_fails("x.ppm", "");
    write_file("x.ppm", "P6\n2 2 0\n123456789012", 21);
    picture_fails("x.ppm", "header is broken");
    write_file("x.ppm", "P6\n0 2 255\n", 11);
    picture_fails("x.ppm", "0 x 2 pixels");
}

/* Every cut is an error; every flipped byte is one or none, never a crash. */
static void cut_and_flip(const char *name) {
    static unsigned char bytes[8192], copy[8192];
    SalunPixels px;
    SalunError err;
    size_t size = read_whole(name, (char *)bytes, sizeof bytes);
    for (size_t cut = 0; cut + 2 < size; cut++) {
        write_file("cut", bytes, cut);
        if (salun_pixels_read(&px, path_of("cut"), 3, &err) == 0) {
            salun_pixels_free(&px);
            assert_true(cut + 16 > size);                   /* only the end mark is gone */
        }
    }
    for (size_t at = 0; at < size; at++) {
        memcpy(copy, bytes, size);
        copy[at] ^= (unsigned char)(1u << at % 8);
        write_file("flip", copy, size);
        if (!salun_pixels_read(&px, path_of("flip"), 3, &err))
            salun_pixels_free(&px);
    }
}

static void test_broken_pictures(void **state) {
    (void)state;
    cut_and_flip("a.png");
    cut_and_flip("f.png");
    cut_and_flip("a.ppm");
    write_jpeg("e.jpg", JCS_RGB, 3, rgb, 6, false);
    cut_and_flip("e.jpg");
    cut_and_flip("b.jpg");
}

/* ---- the program ---- */

static char out[1 << 16], err_text[1 << 16];

/* Runs the program in a process of its own; returns its exit code, leaves what it wrote in out and err_text. */
static int run_program(const SalunProgram *p, const char *const *arg) {
    int count = 1;
    char *argv[32] = { "tiny" };
    while (*arg)
        argv[count++] = (char *)*arg++;
    const char *out_path = path_of("stdout"), *err_path = path_of("stderr");
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        if (!freopen(out_path, "w", stdout) || !freopen(err_path, "w", stderr))
            _exit(99);
        exit(salun_main_infer(p, count, argv));
    }
    int status;
    waitpid(child, &status, 0);
    read_whole("stdout", out, sizeof out);
    read_whole("stderr", err_text, sizeof err_text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

#define RUN(...) run_program(&tiny_program, (const char *const[]){ __VA_ARGS__, NULL })

static void save_weights(void) {
    SalunModel *m = salun_create(&tiny_program, 1, NULL);
    salun_init(m, 3);
    assert_int_equal(salun_save_file(m, SALUN_PARAMS, path_of("w.safetensors"), NULL), 0);
    salun_destroy(m);
}

static void save_npy(const char *name, SalunNpyType type, int rank, const int64_t *dim, const void *data) {
    SalunSink s;
    size_t bytes = salun_npy_size(type);
    for (int i = 0; i < rank; i++)
        bytes *= (size_t)dim[i];
    assert_int_equal(salun_npy_create(&s, path_of(name), type, rank, dim, NULL), 0);
    assert_int_equal(salun_sink_write(&s, data, bytes, NULL), 0);
    assert_int_equal(salun_sink_commit(&s, NULL), 0);
}

/* What the API gives for n images. */
static void reference(int64_t n, const float *x, float *y) {
    SalunModel *m = salun_create(&tiny_program, 1, NULL);
    assert_int_equal(salun_load_file(m, path_of("w.safetensors"), NULL, NULL, NULL, NULL), 0);
    for (int64_t i = 0; i < n; i++) {
        const void *inputs[] = { x + i * TINY_IN };
        void *outputs[] = { y + i * TINY_OUT };
        assert_int_equal(salun_infer(m, 1, inputs, outputs, NULL), 0);
    }
    salun_destroy(m);
}

enum { MANY = 150 };                       /* two batches and a short one */

static void test_npy_to_npy(void **state) {
    (void)state;
    static float x[MANY * TINY_IN], y[MANY * TINY_OUT];
    static uint8_t bytes[MANY * TINY_IN];
    int64_t dim[] = { MANY, 1, 4, 4 };
    SalunNpy npy;
    save_weights();
    tiny_fill(x, MANY * TINY_IN, 9);
    reference(MANY, x, y);
    save_npy("x.npy", SALUN_NPY_F32, 4, dim, x);
    int code = RUN("--weights", path_of("w.safetensors"), "--input", path_of("x.npy"), "--output", path_of("y.npy"), "--threads=2");
    if (code)
        fail_msg("%s", err_text);
    assert_string_equal(out, "");
    assert_int_equal(salun_npy_open(&npy, path_of("y.npy"), NULL), 0);
    assert_true(npy.rank == 2 && npy.dim[0] == MANY && npy.dim[1] == 3);
    assert_memory_equal(npy.data, y, sizeof y);
    salun_npy_close(&npy);

    for (int i = 0; i < MANY * TINY_IN; i++) {                    /* bytes go through preprocess */
        bytes[i] = (uint8_t)(i * 7);
        x[i] = ((float)bytes[i] / 255.0f - 0.5f) / 0.25f;
    }
    reference(MANY, x, y);
    save_npy("b.npy", SALUN_NPY_U8, 4, dim, bytes);
    assert_int_equal(RUN("--weights", path_of("w.safetensors"), path_of("b.npy"), "--output", path_of("y.npy")), 0);
    assert_int_equal(salun_npy_open(&npy, path_of("y.npy"), NULL), 0);
    assert_memory_equal(npy.data, y, sizeof y);
    salun_npy_close(&npy);

    save_npy("g.npy", SALUN_NPY_U8, 3, (int64_t[]){ MANY, 4, 4 }, bytes);    /* the one channel is understood */
    assert_int_equal(RUN("--weights", path_of("w.safetensors"), path_of("g.npy"), "--output", path_of("y.npy")), 0);
    assert_int_equal(salun_npy_open(&npy, path_of("y.npy"), NULL), 0);
    assert_memory_equal(npy.data, y, sizeof y);
    salun_npy_close(&npy);
}

static void test_top(void **state) {
    (void)state;
    float x[2 * TINY_IN] = { 0 };
    int64_t dim[] = { 2, 1, 4, 4 };
    save_npy("z.npy", SALUN_NPY_F32, 4, dim, x);
    write_file("labels.txt", "cat\r\ndog\nowl", 12);
    assert_int_equal(RUN("--weights", path_of("w.safetensors"), path_of("z.npy"), "--top", "2", "--labels", path_of("labels.txt")), 0);
    assert_non_null(strstr(out, "z.npy[1]\n"));
    assert_true(strstr(out, "cat\n") || strstr(out, "dog\n"));
    assert_int_equal(RUN("--weights", path_of("w.safetensors"), path_of("a.png"), path_of("b.pgm")), 0);
    assert_non_null(strstr(out, "a.png\n"));
    assert_non_null(strstr(out, " %  class "));
    write_file("labels.txt", "cat\ndog\n", 8);
    assert_int_equal(RUN("--weights", path_of("w.safetensors"), path_of("z.npy"), "--labels", path_of("labels.txt")), SALUN_BAD_INPUT);
    assert_non_null(strstr(err_text, "has 2 labels, the network 3 classes"));
}

static void test_bench(void **state) {
    (void)state;
    double median, least, rate;
    assert_int_equal(RUN("--bench", "0.05"), 0);
    assert_int_equal(sscanf(out, "median %lf ms, min %lf ms, %lf images/s\n", &median, &least, &rate), 3);
    assert_true(least > 0 && least <= median && rate > 0);
    assert_non_null(strstr(err_text, "initial values"));
    assert_int_equal(RUN("--profile", "--bench=0.05", "--weights", path_of("w.safetensors"), path_of("x.npy")), 0);
    assert_non_null(strstr(out, "linear                           fc\n"));
    assert_non_null(strstr(out, "1 calls, medians of"));
}

static void test_embedded_weights(void **state) {
    (void)state;
    static char bytes[4096];
    size_t size = read_whole("w.safetensors", bytes, sizeof bytes);
    SalunProgram p = tiny_program;
    p.weights = (const unsigned char *)bytes;
    p.weights_end = p.weights + size;
    const char *const arg[] = { path_of("z.npy"), NULL };
    assert_int_equal(run_program(&p, arg), 0);
    bytes[9] = '?';
    assert_int_equal(run_program(&p, arg), SALUN_BAD_INPUT);
    assert_non_null(strstr(err_text, "embedded weights: not a sound"));
}

static void fails(int code, int want, const char *why) {
    if (code != want || !strstr(err_text, why) || strncmp(err_text, "tiny: error: ", 13))
        fail_msg("exit code %d and \"%s\" were expected, not %d and \"%s\"", want, why, code, err_text);
}

static void test_usage(void **state) {
    (void)state;
    char w[128], x[128];
    strcpy(w, path_of("w.safetensors"));
    strcpy(x, path_of("x.npy"));
    assert_int_equal(RUN("--help"), 0);
    assert_non_null(strstr(out, "image: float32 [1,4,4] per image"));
    assert_non_null(strstr(out, "examples"));
    fails(run_program(&tiny_program, (const char *const[]){ NULL }), 2, "nothing to do");
    fails(RUN("--wieghts", w), 2, "unknown option --wieghts");
    fails(RUN("--input"), 2, "--input wants a value");
    fails(RUN("--threads", "0", x), 2, "--threads 0: a number from 1 to 1024");
    fails(RUN("--top", "1.5", x), 2, "a whole number is wanted");
    fails(RUN("--bench", "fast"), 2, "--bench fast: a number");
    fails(RUN(x), 2, "no weights are embedded");
    fails(RUN("--weights", path_of("none"), x), 2, "none: No such file");
    fails(RUN("--weights", x, x), 2, "not a .safetensors file");
    fails(RUN("--weights", w, w), 2, "no picture that can be read");
    fails(RUN("--weights", w, path_of("none.npy")), 2, "No such file");
    fails(RUN("--weights", w, x, "--output", path_of("none/y.npy")), 2, "cannot be written");
    fails(RUN("--weights", w, x, "--output", "/dev/full"), 4, "writing failed");
    SalunProgram p = tiny_program;
    SalunPort two[] = { tiny_program.outputs[0], tiny_program.outputs[0] };
    two[1].name = "other";
    p.outputs = two;
    p.output_count = 2;
    fails(run_program(&p, (const char *const[]){ x, "--output", path_of("y.npy"), "--output", "other=y", "--output", "other=z", NULL }), 2,
          "given twice for other");
    fails(run_program(&p, (const char *const[]){ x, "--output", "y", "--output", "other=y", NULL }), 2, "two outputs cannot go to one file, y");
    p = tiny_program;
    p.cpu = 1u << 30;
    fails(run_program(&p, (const char *const[]){ "--bench", "1", NULL }), 3, "which this one has not");
}

static void test_wrong_arrays(void **state) {
    (void)state;
    char w[128];
    strcpy(w, path_of("w.safetensors"));
    int64_t wide[] = { 2, 1, 4, 5 }, flat[] = { 32 };
    float x[40] = { 0 };
    int64_t labels[4] = { 0 };
    save_npy("s.npy", SALUN_NPY_F32, 4, wide, x);
    fails(RUN("--weights", w, path_of("s.npy")), 2, "s.npy has shape [2,1,4,5], input image takes [n,1,4,4]");
    save_npy("s.npy", SALUN_NPY_F32, 1, flat, x);
    fails(RUN("--weights", w, path_of("s.npy")), 2, "takes [n,1,4,4]");
    flat[0] = 4;
    save_npy("s.npy", SALUN_NPY_I64, 1, flat, labels);
    fails(RUN("--weights", w, path_of("s.npy")), 2, "holds int64");
    /* an error in the middle leaves no output behind */
    write_file("broken.png", "\x89PNG\r\n\x1a\n", 8);
    fails(RUN("--weights", w, path_of("x.npy"), path_of("broken.png"), "--output", path_of("never.npy")), 2, "broken PNG");
    assert_int_equal(access(path_of("never.npy"), F_OK), -1);
    assert_int_equal(access(path_of("never.npy.part"), F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png), cmocka_unit_test(test_jpeg), cmocka_unit_test(test_orientation), cmocka_unit_test(test_ppm),
        cmocka_unit_test(test_hostile_pictures), cmocka_unit_test(test_broken_pictures), cmocka_unit_test(test_npy_to_npy),
        cmocka_unit_test(test_top), cmocka_unit_test(test_bench), cmocka_unit_test(test_embedded_weights),
        cmocka_unit_test(test_usage), cmocka_unit_test(test_wrong_arrays),
    };
    return cmocka_run_group_tests(tests, setup, remove_folder);
}

/* The C API, compiled as C99: what it computes beside plain sums, what it refuses, and what it leaves alone.
 */
#include <camnorm/camnorm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                                  \
    do {                                                                                                  \
        if (!(condition)) {                                                                               \
            printf("%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, camnorm_last_error()); \
            ++failures;                                                                                   \
        }                                                                                                 \
    } while (0)

#define REFUSED(call, status, part)                          \
    do {                                                     \
        CHECK((call) == (status));                           \
        CHECK(strstr(camnorm_last_error(), (part)) != NULL); \
    } while (0)

enum { HEIGHT = 5, WIDTH = 7, PIXELS = HEIGHT * WIDTH, COUNT = 11 };

static const camnorm_shape shape = {HEIGHT, WIDTH, 1};

static uint16_t pixel(int frame, int i) { return (uint16_t)((frame * 7919 + i * 104729 + frame * i) % 4001); }

/* Frames with padded rows, as cameras deliver them. */
enum { PITCH = WIDTH + 3 };
static uint16_t padded[COUNT][HEIGHT][PITCH];
static uint16_t dense[COUNT][PIXELS];

static camnorm_frames dense_frames(void) {
    camnorm_frames frames;
    memset(&frames, 0, sizeof frames);
    frames.data = dense;
    frames.dtype = CAMNORM_UINT16;
    frames.count = COUNT;
    frames.shape = shape;
    return frames;
}

static camnorm_frames padded_frames(void) {
    camnorm_frames frames = dense_frames();
    frames.data = padded;
    frames.strides[0] = sizeof padded[0];
    frames.strides[1] = sizeof padded[0][0];
    frames.strides[2] = sizeof padded[0][0][0];
    frames.strides[3] = sizeof padded[0][0][0];
    return frames;
}

static void fill(void) {
    int f, i;
    memset(padded, 0xFF, sizeof padded);
    for (f = 0; f < COUNT; ++f)
        for (i = 0; i < PIXELS; ++i) dense[f][i] = padded[f][i / WIDTH][i % WIDTH] = pixel(f, i);
}

static double mean_of(int i) {
    double sum = 0;
    int f;
    for (f = 0; f < COUNT; ++f) sum += pixel(f, i);
    return sum / COUNT;
}

static double std_of(int i, int ddof) {
    double sum = 0;
    int f;
    for (f = 0; f < COUNT; ++f) sum += (pixel(f, i) - mean_of(i)) * (pixel(f, i) - mean_of(i));
    return sqrt(sum / (COUNT - ddof));
}

static int near(double a, double b) { return fabs(a - b) <= 1e-12 * (fabs(a) + fabs(b)); }

static camnorm_moments* made(void) {
    camnorm_moments* moments = NULL;
    CHECK(camnorm_moments_create(shape, CAMNORM_UINT16, &moments) == CAMNORM_OK);
    return moments;
}

static void test_moments(void) {
    camnorm_moments* moments = made();
    camnorm_moments* other = made();
    camnorm_statistics statistics[COUNT];
    const camnorm_frames frames = padded_frames();
    camnorm_frames last = dense_frames();
    double image[PIXELS], again[PIXELS];
    int i;

    CHECK(camnorm_moments_count(moments) == 0);
    CHECK(camnorm_moments_mean(moments, image, PIXELS, 1) == CAMNORM_OK);
    CHECK(isnan(image[0]));
    CHECK(camnorm_moments_add(moments, &frames, statistics, 1) == CAMNORM_OK);
    CHECK(camnorm_moments_count(moments) == COUNT);
    CHECK(camnorm_moments_dtype(moments) == CAMNORM_UINT16);
    CHECK(camnorm_moments_shape(moments).height == HEIGHT && camnorm_moments_shape(moments).width == WIDTH &&
          camnorm_moments_shape(moments).planes == 1);
    CHECK(camnorm_moments_mean(moments, image, PIXELS, 1) == CAMNORM_OK);
    for (i = 0; i < PIXELS; ++i) CHECK(near(image[i], mean_of(i)));
    CHECK(camnorm_moments_std(moments, 1, image, PIXELS, 1) == CAMNORM_OK);
    for (i = 0; i < PIXELS; ++i) CHECK(near(image[i], std_of(i, 1)));

    for (i = 0; i < COUNT; ++i) {
        double sum = 0, min = 1e9, max = -1;
        int k;
        for (k = 0; k < PIXELS; ++k) {
            sum += pixel(i, k);
            if (pixel(i, k) < min) min = pixel(i, k);
            if (pixel(i, k) > max) max = pixel(i, k);
        }
        CHECK(near(statistics[i].mean, sum / PIXELS) && statistics[i].min == min && statistics[i].max == max);
    }
    {
        camnorm_statistics alone[COUNT];
        CHECK(camnorm_frame_statistics(&frames, alone, 2) == CAMNORM_OK);
        CHECK(memcmp(alone, statistics, sizeof alone) == 0);
    }

    /* What is taken away from one and merged from another gives the same state. */
    last.data = dense[COUNT - 2];
    last.count = 2;
    CHECK(camnorm_moments_subtract(moments, &last, 1) == CAMNORM_OK);
    CHECK(camnorm_moments_add(other, &last, NULL, 1) == CAMNORM_OK);
    CHECK(camnorm_moments_merge(moments, other, 1) == CAMNORM_OK);
    CHECK(camnorm_moments_count(moments) == COUNT);
    CHECK(camnorm_moments_std(moments, 1, again, PIXELS, 2) == CAMNORM_OK);
    CHECK(memcmp(again, image, sizeof image) == 0);

    camnorm_moments_destroy(moments);
    camnorm_moments_destroy(other);
}

static void test_state(void) {
    camnorm_moments* moments = made();
    camnorm_moments* loaded = NULL;
    const camnorm_frames frames = dense_frames();
    double image[PIXELS], again[PIXELS];
    size_t size, i;
    unsigned char* bytes;

    CHECK(camnorm_moments_add(moments, &frames, NULL, 1) == CAMNORM_OK);
    size = camnorm_moments_state_size(moments);
    CHECK(size == 64 + 16 * PIXELS + 4);
    bytes = malloc(2 * size);
    CHECK(bytes != NULL);
    if (bytes == NULL) return;
    REFUSED(camnorm_moments_save(moments, bytes, size - 1), CAMNORM_INVALID_ARGUMENT, "bytes");
    CHECK(camnorm_moments_save(moments, bytes, size) == CAMNORM_OK);
    CHECK(camnorm_moments_load(bytes, size, &loaded) == CAMNORM_OK);
    CHECK(camnorm_moments_exact(loaded) == 1 && camnorm_moments_exact(NULL) == 1);
    CHECK(camnorm_moments_count(loaded) == COUNT && camnorm_moments_dtype(loaded) == CAMNORM_UINT16);
    CHECK(camnorm_moments_std(moments, 0, image, PIXELS, 1) == CAMNORM_OK);
    CHECK(camnorm_moments_std(loaded, 0, again, PIXELS, 1) == CAMNORM_OK);
    CHECK(memcmp(again, image, sizeof image) == 0);
    CHECK(camnorm_moments_save(loaded, bytes + size, size) == CAMNORM_OK);
    CHECK(memcmp(bytes, bytes + size, size) == 0);
    camnorm_moments_destroy(loaded);

    loaded = NULL;
    for (i = 0; i < size; ++i) {
        bytes[i] ^= 0x10;
        REFUSED(camnorm_moments_load(bytes, size, &loaded), CAMNORM_INVALID_ARGUMENT, "no saved moments");
        bytes[i] ^= 0x10;
        REFUSED(camnorm_moments_load(bytes, i, &loaded), CAMNORM_INVALID_ARGUMENT, "no saved moments");
        CHECK(loaded == NULL);
    }
    free(bytes);
    camnorm_moments_destroy(moments);
}

static void test_correction(void) {
    const camnorm_frames frames = padded_frames();
    static float corrected[COUNT][PIXELS];
    static uint16_t back[COUNT][PIXELS];
    static uint16_t in_place[COUNT][HEIGHT][PITCH];
    double mean[PIXELS], sigma[PIXELS];
    const double target_mean = 1000, target_sigma = 300;
    uint8_t bad[PIXELS] = {0};
    camnorm_correction_options options;
    camnorm_correction* correction = NULL;
    camnorm_frames view;
    int f, i;

    for (i = 0; i < PIXELS; ++i) {
        mean[i] = mean_of(i);
        sigma[i] = std_of(i, 0);
    }
    memset(&options, 0, sizeof options);
    options.target_mean = &target_mean;
    options.target_sigma = &target_sigma;
    options.bad = bad;
    bad[3] = 1;
    CHECK(camnorm_correction_create(shape, mean, sigma, &options, &correction) == CAMNORM_OK);
    CHECK(camnorm_correction_apply(correction, &frames, corrected, CAMNORM_FLOAT32, 1) == CAMNORM_OK);
    for (f = 0; f < COUNT; ++f)
        for (i = 0; i < PIXELS; ++i) {
            const double expected =
                i == 3 ? target_mean : (pixel(f, i) - mean[i]) / sigma[i] * target_sigma + target_mean;
            CHECK(fabs(corrected[f][i] - expected) < 1e-3);
        }

    view = dense_frames();
    view.data = corrected;
    view.dtype = CAMNORM_FLOAT32;
    CHECK(camnorm_correction_inverse(correction, &view, back, CAMNORM_UINT16, 1) == CAMNORM_OK);
    for (f = 0; f < COUNT; ++f)
        for (i = 0; i < PIXELS; ++i) CHECK(i == 3 || back[f][i] == pixel(f, i));

    /* In place: the padding stays as it is. */
    memcpy(in_place, padded, sizeof padded);
    view = padded_frames();
    view.data = in_place;
    CHECK(camnorm_correction_apply(correction, &view, in_place, CAMNORM_UINT16, 1) == CAMNORM_OK);
    for (f = 0; f < COUNT; ++f)
        for (i = 0; i < HEIGHT * PITCH; ++i) {
            const int y = i / PITCH, x = i % PITCH;
            const double value = x < WIDTH ? corrected[f][y * WIDTH + x] : 0;
            CHECK(in_place[f][y][x] ==
                  (x < WIDTH ? (uint16_t)(value < 0 ? 0 : floor(value + 0.5)) : (uint16_t)0xFFFF));
        }
    REFUSED(camnorm_correction_apply(correction, &view, in_place, CAMNORM_FLOAT32, 1),
            CAMNORM_INVALID_ARGUMENT, "overlap");
    REFUSED(camnorm_correction_apply(correction, &frames, NULL, CAMNORM_FLOAT32, 1), CAMNORM_INVALID_ARGUMENT,
            "out must not be NULL");
    REFUSED(camnorm_correction_apply(NULL, &frames, corrected, CAMNORM_FLOAT32, 1), CAMNORM_INVALID_ARGUMENT,
            "correction must not be NULL");
    camnorm_correction_destroy(correction);

    correction = NULL;
    sigma[5] = -1;
    REFUSED(camnorm_correction_create(shape, mean, sigma, NULL, &correction), CAMNORM_INVALID_ARGUMENT,
            "sigma must not be negative");
    REFUSED(camnorm_correction_create(shape, NULL, sigma, NULL, &correction), CAMNORM_INVALID_ARGUMENT,
            "mean must not be NULL");
    options.bad_policy = 3;
    REFUSED(camnorm_correction_create(shape, mean, sigma, &options, &correction), CAMNORM_INVALID_ARGUMENT,
            "no bad_policy 3");
    CHECK(correction == NULL);
}

static void test_rings(void) {
    enum { SIDE = 8, HALF = SIDE / 2 + 1 };
    static float a[SIDE][HALF][2], b[SIDE][HALF][2];
    static double a64[SIDE][HALF][2], b64[SIDE][HALF][2];
    double correlation[SIDE / 2 + 1], z[SIDE / 2 + 1], c64[SIDE / 2 + 1];
    double cross[SIDE / 2 + 1] = {0}, power_a[SIDE / 2 + 1] = {0}, power_b[SIDE / 2 + 1] = {0};
    uint64_t sizes[SIDE / 2 + 1] = {0};
    camnorm_ring_index* index = NULL;
    int y, x, r;

    for (y = 0; y < SIDE; ++y)
        for (x = 0; x < HALF; ++x) {
            const int ky = y <= SIDE / 2 ? y : y - SIDE;
            const int ring = (int)floor(sqrt(ky * ky + x * x) + 0.5);
            const int mates = x == 0 || x == SIDE / 2 ? 1 : 2;
            a64[y][x][0] = a[y][x][0] = (float)((3 * y + x) % 5 - 2);
            a64[y][x][1] = a[y][x][1] = (float)((y + 2 * x) % 3 - 1);
            b64[y][x][0] = b[y][x][0] = (float)((2 * y + x) % 7 - 3);
            b64[y][x][1] = b[y][x][1] = (float)((y * x) % 4 - 1);
            if (ring > SIDE / 2) continue;
            sizes[ring] += (uint64_t)mates;
            cross[ring] += mates * (a64[y][x][0] * b64[y][x][0] + a64[y][x][1] * b64[y][x][1]);
            power_a[ring] += mates * (a64[y][x][0] * a64[y][x][0] + a64[y][x][1] * a64[y][x][1]);
            power_b[ring] += mates * (b64[y][x][0] * b64[y][x][0] + b64[y][x][1] * b64[y][x][1]);
        }
    CHECK(camnorm_ring_index_create(SIDE, SIDE, CAMNORM_BINNING_ROUND, 0, &index) == CAMNORM_OK);
    CHECK(camnorm_ring_count(index) == SIDE / 2 + 1);
    CHECK(memcmp(camnorm_ring_sizes(index), sizes, sizeof sizes) == 0);
    CHECK(camnorm_ring_correlation(index, a, b, CAMNORM_FLOAT32, correlation, z, SIDE / 2 + 1, 1) ==
          CAMNORM_OK);
    CHECK(isnan(correlation[0]) && isnan(z[0]));
    for (r = 1; r <= SIDE / 2; ++r) CHECK(near(correlation[r], cross[r] / sqrt(power_a[r] * power_b[r])));
    CHECK(camnorm_ring_correlation(index, a64, b64, CAMNORM_FLOAT64, c64, NULL, SIDE / 2 + 1, 1) ==
          CAMNORM_OK);
    for (r = 1; r <= SIDE / 2; ++r) CHECK(near(correlation[r], c64[r]));

    REFUSED(camnorm_ring_correlation(index, a, b, CAMNORM_FLOAT16, correlation, z, SIDE / 2 + 1, 1),
            CAMNORM_INVALID_ARGUMENT, "CAMNORM_FLOAT32");
    REFUSED(camnorm_ring_correlation(index, a, b, CAMNORM_FLOAT32, correlation, z, SIDE / 2, 1),
            CAMNORM_INVALID_ARGUMENT, "rings");
    REFUSED(camnorm_ring_correlation(NULL, a, b, CAMNORM_FLOAT32, correlation, z, SIDE / 2 + 1, 1),
            CAMNORM_INVALID_ARGUMENT, "index");
    camnorm_ring_index_destroy(index);
    REFUSED(camnorm_ring_index_create(0, SIDE, CAMNORM_BINNING_ROUND, 0, &index), CAMNORM_INVALID_ARGUMENT,
            "no pixels");
    REFUSED(camnorm_ring_index_create(SIZE_MAX / 2, 3, CAMNORM_BINNING_ROUND, 0, &index),
            CAMNORM_INVALID_ARGUMENT, "larger than memory");
    REFUSED(camnorm_ring_index_create(SIDE, SIDE, 2, 0, &index), CAMNORM_INVALID_ARGUMENT, "no binning 2");
}

static void test_refusals(void) {
    camnorm_moments* moments = made();
    camnorm_moments* none = NULL;
    camnorm_frames frames = dense_frames();
    camnorm_shape other = shape;
    double image[PIXELS];
    static float nan_frame[PIXELS];

    CHECK(camnorm_moments_add(moments, &frames, NULL, 1) == CAMNORM_OK);
    REFUSED(camnorm_moments_add(moments, NULL, NULL, 1), CAMNORM_INVALID_ARGUMENT, "frames must not be NULL");
    REFUSED(camnorm_moments_add(NULL, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT,
            "moments must not be NULL");
    REFUSED(camnorm_moments_add(moments, &frames, NULL, -1), CAMNORM_INVALID_ARGUMENT, "threads");
    frames.data = NULL;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "data");
    frames = dense_frames();
    frames.dtype = 9;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "no dtype 9");
    frames.dtype = CAMNORM_FLOAT32;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_WRONG_KIND, "kind");
    frames = dense_frames();
    frames.shape.width = WIDTH - 1;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "shape");
    frames.shape.width = SIZE_MAX / 4 + 2; /* the product of the sides wraps around */
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "larger than memory");
    frames.shape.height = 0;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "no pixels");
    frames = dense_frames();
    frames.count = SIZE_MAX / PIXELS;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "larger than memory");
    frames = dense_frames();
    frames.strides[1] = PTRDIFF_MAX;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "larger than memory");
    CHECK(camnorm_moments_count(moments) == COUNT);

    frames = dense_frames();
    CHECK(camnorm_moments_subtract(moments, &frames, 1) == CAMNORM_OK);
    REFUSED(camnorm_moments_subtract(moments, &frames, 1), CAMNORM_INVALID_ARGUMENT,
            "cannot subtract 11 frames");
    REFUSED(camnorm_moments_merge(moments, NULL, 1), CAMNORM_INVALID_ARGUMENT, "other must not be NULL");
    REFUSED(camnorm_moments_mean(moments, image, PIXELS + 1, 1), CAMNORM_INVALID_ARGUMENT, "pixels");
    REFUSED(camnorm_moments_mean(moments, NULL, PIXELS, 1), CAMNORM_INVALID_ARGUMENT, "out must not be NULL");
    REFUSED(camnorm_frame_statistics(&frames, NULL, 1), CAMNORM_INVALID_ARGUMENT, "statistics");
    camnorm_moments_destroy(moments);

    REFUSED(camnorm_moments_create(shape, -1, &none), CAMNORM_INVALID_ARGUMENT, "no dtype -1");
    REFUSED(camnorm_moments_create(shape, CAMNORM_UINT8, NULL), CAMNORM_INVALID_ARGUMENT, "moments");
    other.planes = 0;
    REFUSED(camnorm_moments_create(other, CAMNORM_UINT8, &none), CAMNORM_INVALID_ARGUMENT, "no pixels");
    other.planes = SIZE_MAX;
    REFUSED(camnorm_moments_create(other, CAMNORM_UINT8, &none), CAMNORM_INVALID_ARGUMENT,
            "larger than memory");
    REFUSED(camnorm_moments_load(NULL, 100, &none), CAMNORM_INVALID_ARGUMENT, "data must not be NULL");
    CHECK(none == NULL);

    CHECK(camnorm_moments_create(shape, CAMNORM_FLOAT32, &moments) == CAMNORM_OK);
    nan_frame[PIXELS / 2] = NAN;
    frames.data = nan_frame;
    frames.dtype = CAMNORM_FLOAT32;
    frames.count = 1;
    REFUSED(camnorm_moments_add(moments, &frames, NULL, 1), CAMNORM_NON_FINITE, "frame 0");
    CHECK(camnorm_moments_count(moments) == 0);
    camnorm_moments_destroy(moments);

    CHECK(camnorm_moments_count(NULL) == 0 && camnorm_moments_dtype(NULL) == -1);
    CHECK(camnorm_moments_shape(NULL).height == 0 && camnorm_moments_state_size(NULL) == 0);
    CHECK(camnorm_ring_count(NULL) == 0 && camnorm_ring_sizes(NULL) == NULL);
    camnorm_moments_destroy(NULL);
    camnorm_correction_destroy(NULL);
    camnorm_ring_index_destroy(NULL);
}

static void test_build_info(void) {
    camnorm_build_info info;
    CHECK(camnorm_get_build_info(&info) == CAMNORM_OK);
    CHECK(strcmp(info.version, camnorm_version()) == 0);
    CHECK(strlen(info.compiler) > 0 && strlen(info.isa) > 0 && strlen(info.parallel) > 0);
    REFUSED(camnorm_get_build_info(NULL), CAMNORM_INVALID_ARGUMENT, "info must not be NULL");
}

int main(void) {
    CHECK(strcmp(camnorm_last_error(), "") == 0);
    fill();
    test_moments();
    test_state();
    test_correction();
    test_rings();
    test_refusals();
    test_build_info();
    if (failures == 0) printf("the C API does what it says\n");
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

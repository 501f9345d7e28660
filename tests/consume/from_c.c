/* Moments from C. */

#include <camnorm/camnorm.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const uint8_t pixels[] = {1, 2, 3, 4, 3, 4, 5, 6};
    const camnorm_shape shape = {2, 2, 1};
    const camnorm_frames frames = {pixels, CAMNORM_UINT8, 2, {2, 2, 1}, {0, 0, 0, 0}};
    camnorm_moments* moments = NULL;
    double mean[4] = {0};
    if (camnorm_moments_create(shape, CAMNORM_UINT8, &moments) != CAMNORM_OK ||
        camnorm_moments_add(moments, &frames, NULL, 1) != CAMNORM_OK ||
        camnorm_moments_mean(moments, mean, 4, 1) != CAMNORM_OK) {
        fprintf(stderr, "%s\n", camnorm_last_error());
        return EXIT_FAILURE;
    }
    camnorm_moments_destroy(moments);
    printf("camnorm %s: means %g %g %g %g\n", camnorm_version(), mean[0], mean[1], mean[2], mean[3]);
    return mean[0] == 2 && mean[3] == 5 ? EXIT_SUCCESS : EXIT_FAILURE;
}

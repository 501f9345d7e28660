/** @file
 * camnorm for C and for whatever calls C: exact moments of every pixel, correction, and ring correlation.
 *
 * Functions that can fail return CAMNORM_OK (0) or what went wrong; camnorm_last_error() then says it in
 * words. What they should have changed or written is unchanged, unless stated otherwise. Handles are opaque:
 * distinct ones may be used from distinct threads; one that several threads share needs the caller's lock,
 * but for corrections and ring indices, which never change.
 *
 * `threads` is the number of threads that a call may use: 0 for CAMNORM_THREADS or all the cores of the
 * process, 1 to do everything in the calling thread. It does not change a bit of any result.
 */
#ifndef CAMNORM_CAMNORM_H
#define CAMNORM_CAMNORM_H

#include <stddef.h>
#include <stdint.h>

#include "camnorm/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NOLINTBEGIN(performance-enum-size): enums of C have the size that they have. */

typedef int32_t camnorm_status;
enum {
    CAMNORM_OK = 0,
    CAMNORM_INVALID_ARGUMENT = 1, /**< a wrong pointer, shape, count, option, or bytes */
    CAMNORM_WRONG_KIND = 2,       /**< integer frames for float moments, or the reverse */
    CAMNORM_NON_FINITE = 3,       /**< a frame with NaN or infinite pixels */
    CAMNORM_OUT_OF_MEMORY = 4,
    CAMNORM_FAILED = 5 /**< anything else */
};

/** Of the calling thread's last call that failed; valid until its next one. */
CAMNORM_EXPORT const char* camnorm_last_error(void);

/** Pixel types. */
typedef int32_t camnorm_dtype;
enum {
    CAMNORM_UINT8 = 0,
    CAMNORM_INT8 = 1,
    CAMNORM_UINT16 = 2,
    CAMNORM_INT16 = 3,
    CAMNORM_UINT32 = 4,
    CAMNORM_INT32 = 5,
    CAMNORM_FLOAT16 = 6,
    CAMNORM_FLOAT32 = 7,
    CAMNORM_FLOAT64 = 8
};

/** Shape of one frame; 1 plane for grey frames. */
typedef struct camnorm_shape {
    size_t height, width, planes;
} camnorm_shape;

/** A stack of frames in the caller's memory. */
typedef struct camnorm_frames {
    const void* data;
    camnorm_dtype dtype;
    size_t count;
    camnorm_shape shape;
    /** Of frame, row, column and plane, in bytes; all 0: no gaps, planes of a pixel beside each other. */
    ptrdiff_t strides[4];
} camnorm_frames;

/** Of one frame over its pixels; `std` with ddof 0. All NaN if a pixel is NaN or infinite. */
typedef struct camnorm_statistics {
    double mean, std, min, max;
} camnorm_statistics;

/** Version of the library, like "1.2.3". */
CAMNORM_EXPORT const char* camnorm_version(void);

typedef struct camnorm_build_info {
    const char* version;
    const char* compiler;
    const char* isa;      /**< kernels in use: baseline, avx2 or avx512 */
    const char* parallel; /**< what runs a call on several threads: openmp, threads, or none */
} camnorm_build_info;

CAMNORM_EXPORT camnorm_status camnorm_get_build_info(camnorm_build_info* info);

/** @param statistics  frames->count of them. */
CAMNORM_EXPORT camnorm_status camnorm_frame_statistics(const camnorm_frames* frames,
                                                       camnorm_statistics* statistics, int threads);

/** @name Moments
 * Count, sum and sum of squares of every pixel, kept exactly: frames may come in any order and batch, and be
 * taken away again. 8 and 16 bit frames are of the integer kind, all others of the float kind; the dtype that
 * moments are made for sets theirs, and frames of any dtype of that kind may be added. */
/** @{ */
typedef struct camnorm_moments camnorm_moments;

CAMNORM_EXPORT camnorm_status camnorm_moments_create(camnorm_shape shape, camnorm_dtype dtype,
                                                     camnorm_moments** moments);
/** NULL is allowed. */
CAMNORM_EXPORT void camnorm_moments_destroy(camnorm_moments* moments);

/** @param statistics  place for frames->count of them, from the same pass; NULL if they are not wanted. */
CAMNORM_EXPORT camnorm_status camnorm_moments_add(camnorm_moments* moments, const camnorm_frames* frames,
                                                  camnorm_statistics* statistics, int threads);
CAMNORM_EXPORT camnorm_status camnorm_moments_subtract(camnorm_moments* moments, const camnorm_frames* frames,
                                                       int threads);
/** Adds all the frames of `other`. */
CAMNORM_EXPORT camnorm_status camnorm_moments_merge(camnorm_moments* moments, const camnorm_moments* other,
                                                    int threads);

/** Of NULL: zeros, and dtype -1. */
CAMNORM_EXPORT uint64_t camnorm_moments_count(const camnorm_moments* moments);
/** 0 if float frames that were taken away have left a trace, as PixelMoments::exact() in moments.hpp tells;
 * else 1. */
CAMNORM_EXPORT int camnorm_moments_exact(const camnorm_moments* moments);
CAMNORM_EXPORT camnorm_shape camnorm_moments_shape(const camnorm_moments* moments);
CAMNORM_EXPORT camnorm_dtype camnorm_moments_dtype(const camnorm_moments* moments);

/** Write one value per pixel, NaN where there are no frames, or no more than ddof.
 * @param pixels  values that `out` has place for: height * width * planes. */
CAMNORM_EXPORT camnorm_status camnorm_moments_mean(const camnorm_moments* moments, double* out, size_t pixels,
                                                   int threads);
CAMNORM_EXPORT camnorm_status camnorm_moments_std(const camnorm_moments* moments, uint64_t ddof, double* out,
                                                  size_t pixels, int threads);

/** The exact state as bytes, in the format of state.hpp, which C++ and Python read and write too. */
CAMNORM_EXPORT size_t camnorm_moments_state_size(const camnorm_moments* moments);
/** @param size  of `out`: camnorm_moments_state_size(moments). */
CAMNORM_EXPORT camnorm_status camnorm_moments_save(const camnorm_moments* moments, void* out, size_t size);
/** Bytes that are not just what camnorm_moments_save() writes are refused. */
CAMNORM_EXPORT camnorm_status camnorm_moments_load(const void* data, size_t size, camnorm_moments** moments);
/** @} */

/** @name Correction
 * Ic = (I - mean) / sigma * target_sigma + target_mean: Afanasyev et al., Sci. Rep. 5, 10317 (2015), Eq. (2).
 */
/** @{ */
typedef struct camnorm_correction camnorm_correction;

typedef int32_t camnorm_bad_policy;
enum {
    CAMNORM_BAD_NEUTRAL = 0,     /**< bad pixels become the target mean */
    CAMNORM_BAD_INTERPOLATE = 1, /**< the mean of their good neighbours */
    CAMNORM_BAD_NAN = 2          /**< NaN, in float output only */
};

/** Zeros, or no options at all: both targets are the means over the good pixels' images, of each colour
 * plane. */
typedef struct camnorm_correction_options {
    const double* target_mean;  /**< NULL: the default */
    const double* target_sigma; /**< NULL: the default */
    const uint8_t* bad;         /**< one value per pixel, not 0 where it is bad; NULL: none is known to be */
    camnorm_bad_policy bad_policy;
    int targets_per_plane; /**< not 0: the targets point to one number for each colour plane */
} camnorm_correction_options;

/** @param mean, sigma  one value per pixel; they are copied.
 * @param options  NULL for none. */
CAMNORM_EXPORT camnorm_status camnorm_correction_create(camnorm_shape shape, const double* mean,
                                                        const double* sigma,
                                                        const camnorm_correction_options* options,
                                                        camnorm_correction** correction);
/** NULL is allowed. */
CAMNORM_EXPORT void camnorm_correction_destroy(camnorm_correction* correction);

/** Corrects frames, or undoes it.
 * @param out  place for as many pixels of out_dtype without gaps, apart from the frames; or frames->data,
 * with their dtype, to write the frames themselves. Pixels beyond the range of out_dtype saturate; integers
 * are rounded half to even. */
CAMNORM_EXPORT camnorm_status camnorm_correction_apply(const camnorm_correction* correction,
                                                       const camnorm_frames* frames, void* out,
                                                       camnorm_dtype out_dtype, int threads);
CAMNORM_EXPORT camnorm_status camnorm_correction_inverse(const camnorm_correction* correction,
                                                         const camnorm_frames* frames, void* out,
                                                         camnorm_dtype out_dtype, int threads);
/** @} */

/** @name Ring correlation
 * of half spectra, the real-to-complex transforms of two frames. Ring min(height, width) / 2 is Nyquist. */
/** @{ */
typedef struct camnorm_ring_index camnorm_ring_index;

typedef int32_t camnorm_binning;
enum {
    CAMNORM_BINNING_ROUND = 0, /**< radius r lies in ring floor(r + 1/2) */
    CAMNORM_BINNING_FLOOR = 1  /**< in ring floor(r) */
};

/** @param height, width  of the frames.
 * @param corners  not 0: go on beyond Nyquist into the corners of the Fourier plane. */
CAMNORM_EXPORT camnorm_status camnorm_ring_index_create(size_t height, size_t width, camnorm_binning binning,
                                                        int corners, camnorm_ring_index** index);
/** NULL is allowed. */
CAMNORM_EXPORT void camnorm_ring_index_destroy(camnorm_ring_index* index);

/** Rings, numbered from 0; 0 of NULL. */
CAMNORM_EXPORT size_t camnorm_ring_count(const camnorm_ring_index* index);
/** Frequencies of the full Fourier plane in each ring, an array that lives as long as the index. */
CAMNORM_EXPORT const uint64_t* camnorm_ring_sizes(const camnorm_ring_index* index);

/** @param fa, fb  height * (width / 2 + 1) complex numbers in C order, as real and imaginary part.
 * @param dtype  of the parts: CAMNORM_FLOAT32 or CAMNORM_FLOAT64.
 * @param correlation, z  a value a ring, see RingCorrelation in frc.hpp; z may be NULL.
 * @param rings  values that they have place for: camnorm_ring_count(index). */
CAMNORM_EXPORT camnorm_status camnorm_ring_correlation(const camnorm_ring_index* index, const void* fa,
                                                       const void* fb, camnorm_dtype dtype,
                                                       double* correlation, double* z, size_t rings,
                                                       int threads);
/** @} */

/* NOLINTEND(performance-enum-size) */

#ifdef __cplusplus
}
#endif

#endif

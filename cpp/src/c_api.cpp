#include <algorithm>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "camnorm/camnorm.h"
#include "camnorm/correction.hpp"
#include "camnorm/error.hpp"
#include "camnorm/frames.hpp"
#include "camnorm/frc.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/runtime.hpp"
#include "camnorm/state.hpp"
#include "camnorm/version.hpp"

using namespace camnorm;

struct camnorm_moments {
    SavedMoments saved;
};

struct camnorm_correction {
    Correction core;
};

struct camnorm_ring_index {
    RingIndex core;
};

namespace {

static_assert(static_cast<int>(DType::uint8) == CAMNORM_UINT8 &&
              static_cast<int>(DType::float64) == CAMNORM_FLOAT64 &&
              static_cast<int>(BadPolicy::nan) == CAMNORM_BAD_NAN &&
              static_cast<int>(Binning::floor) == CAMNORM_BINNING_FLOOR);
static_assert(sizeof(camnorm_statistics) == sizeof(FrameStatistics));

constexpr std::size_t largest_extent = std::numeric_limits<std::ptrdiff_t>::max();

// An array, since the message of a failure must not fail itself.
thread_local char last_error[512] = "";

camnorm_status failed(camnorm_status status, const char* what) noexcept {
    std::snprintf(last_error, sizeof last_error, "%s", what);
    return status;
}

/// Calls work(), and makes a status of what it throws.
template <class Work>
camnorm_status guarded(const Work& work) noexcept {
    try {
        work();
        return CAMNORM_OK;
    } catch (const WrongKind& e) {
        return failed(CAMNORM_WRONG_KIND, e.what());
    } catch (const NonFinite& e) {
        return failed(CAMNORM_NON_FINITE, e.what());
    } catch (const std::invalid_argument& e) {
        return failed(CAMNORM_INVALID_ARGUMENT, e.what());
    } catch (const std::bad_alloc&) {
        return failed(CAMNORM_OUT_OF_MEMORY, "out of memory");
    } catch (const std::length_error&) {
        return failed(CAMNORM_OUT_OF_MEMORY, "more than memory can hold");
    } catch (const std::exception& e) {
        return failed(CAMNORM_FAILED, e.what());
    } catch (...) {
        return failed(CAMNORM_FAILED, "unknown error");
    }
}

void check_pointer(const void* pointer, const char* what) {
    if (pointer == nullptr) throw InvalidArgument(std::string(what) + " must not be NULL");
}

template <class T>
T& checked(T* pointer, const char* what) {
    check_pointer(static_cast<const void*>(pointer), what);
    return *pointer;
}

DType checked_dtype(camnorm_dtype dtype) {
    if (dtype < CAMNORM_UINT8 || dtype > CAMNORM_FLOAT64)
        throw InvalidArgument("there is no dtype " + std::to_string(dtype));
    return static_cast<DType>(dtype);
}

std::size_t product(std::size_t a, std::size_t b) {
    std::size_t result = 0;
    if (__builtin_mul_overflow(a, b, &result) || result > largest_extent)
        throw InvalidArgument("frames larger than memory can be");
    return result;
}

/// Of frames with pixels, that memory can hold as float64.
FrameShape checked_shape(camnorm_shape given) {
    const FrameShape shape{given.height, given.width, given.planes};
    if (std::min({shape.height, shape.width, shape.planes}) == 0)
        throw InvalidArgument("frames of shape " + to_string(shape) + " have no pixels");
    product(product(product(shape.height, shape.width), shape.planes), sizeof(double));
    return shape;
}

/// @throws InvalidArgument if no memory is as large as frames of these strides.
void check_extent(const FramesView& frames) {
    const std::size_t steps[] = {frames.count, frames.shape.height, frames.shape.width, frames.shape.planes};
    std::size_t extent = item_size(frames.dtype);
    for (std::size_t axis = 0; axis < 4; ++axis) {
        const std::ptrdiff_t stride = frames.strides[axis];
        const std::size_t step =
            stride < 0 ? ~static_cast<std::size_t>(stride) + 1 : static_cast<std::size_t>(stride);
        extent += product(step, std::max<std::size_t>(steps[axis], 1) - 1);
        if (extent > largest_extent) throw InvalidArgument("frames larger than memory can be");
    }
}

FramesView checked_frames(const camnorm_frames* given) {
    const camnorm_frames& frames = checked(given, "frames");
    const DType dtype = checked_dtype(frames.dtype);
    const FrameShape shape = checked_shape(frames.shape);
    product(product(shape.pixels(), sizeof(double)), frames.count);
    if (frames.count > 0) check_pointer(frames.data, "data of frames");
    FramesView view = FramesView::contiguous(frames.data, dtype, frames.count, shape);
    const bool has_strides =
        std::any_of(std::begin(frames.strides), std::end(frames.strides), [](auto s) { return s != 0; });
    if (has_strides) std::copy(std::begin(frames.strides), std::end(frames.strides), view.strides.begin());
    check_extent(view);
    return view;
}

void check_size(std::size_t given, std::size_t wanted, const char* what) {
    if (given != wanted)
        throw InvalidArgument("place for " + std::to_string(given) + " " + what + ", not " +
                              std::to_string(wanted));
}

void copy(const std::vector<FrameStatistics>& from, camnorm_statistics* to) {
    for (const FrameStatistics& s : from) *to++ = {s.mean, s.std, s.min, s.max};
}

/// Calls method(core, from, to) of Correction.
template <class Method>
camnorm_status correct(const camnorm_correction* correction, const camnorm_frames* frames, void* out,
                       camnorm_dtype out_dtype, const Method& method) noexcept {
    return guarded([&] {
        const Correction& core = checked(correction, "correction").core;
        const FramesView from = checked_frames(frames);
        if (from.count > 0) check_pointer(out, "out");
        auto to = MutableFramesView::contiguous(out, checked_dtype(out_dtype), from.count, from.shape);
        if (to.data == from.data && to.dtype == from.dtype) to.strides = from.strides;
        method(core, from, to);
    });
}

template <class T>
RingCorrelation correlate(const RingIndex& index, const void* fa, const void* fb, int threads) {
    return ring_correlation(index, static_cast<const std::complex<T>*>(fa),
                            static_cast<const std::complex<T>*>(fb), threads);
}

}  // namespace

const char* camnorm_last_error(void) { return last_error; }

const char* camnorm_version(void) { return CAMNORM_VERSION; }

camnorm_status camnorm_get_build_info(camnorm_build_info* info) {
    return guarded([&] {
        static const BuildInfo build = build_info();
        checked(info, "info") = {build.version.c_str(), build.compiler.c_str(), build.isa.c_str(),
                                 build.parallel.c_str()};
    });
}

camnorm_status camnorm_frame_statistics(const camnorm_frames* frames, camnorm_statistics* statistics,
                                        int threads) {
    return guarded([&] {
        const FramesView view = checked_frames(frames);
        check_pointer(statistics, "statistics");
        copy(frame_statistics(view, threads), statistics);
    });
}

camnorm_status camnorm_moments_create(camnorm_shape shape, camnorm_dtype dtype, camnorm_moments** moments) {
    return guarded([&] {
        camnorm_moments*& result = checked(moments, "moments");
        const DType d = checked_dtype(dtype);
        result = new camnorm_moments{{PixelMoments(checked_shape(shape), kind_of(d)), d, false}};
    });
}

void camnorm_moments_destroy(camnorm_moments* moments) { delete moments; }

camnorm_status camnorm_moments_add(camnorm_moments* moments, const camnorm_frames* frames,
                                   camnorm_statistics* statistics, int threads) {
    return guarded([&] {
        PixelMoments& core = checked(moments, "moments").saved.moments;
        copy(core.add(checked_frames(frames), threads, statistics != nullptr), statistics);
    });
}

camnorm_status camnorm_moments_subtract(camnorm_moments* moments, const camnorm_frames* frames, int threads) {
    return guarded(
        [&] { checked(moments, "moments").saved.moments.subtract(checked_frames(frames), threads); });
}

camnorm_status camnorm_moments_merge(camnorm_moments* moments, const camnorm_moments* other, int threads) {
    return guarded([&] {
        checked(moments, "moments").saved.moments.merge(checked(other, "other").saved.moments, threads);
    });
}

uint64_t camnorm_moments_count(const camnorm_moments* moments) {
    return moments == nullptr ? 0 : moments->saved.moments.count();
}

int camnorm_moments_exact(const camnorm_moments* moments) {
    return moments == nullptr || moments->saved.moments.exact() ? 1 : 0;
}

camnorm_shape camnorm_moments_shape(const camnorm_moments* moments) {
    if (moments == nullptr) return {0, 0, 0};
    const FrameShape shape = moments->saved.moments.shape();
    return {shape.height, shape.width, shape.planes};
}

camnorm_dtype camnorm_moments_dtype(const camnorm_moments* moments) {
    return moments == nullptr ? -1 : static_cast<camnorm_dtype>(moments->saved.dtype);
}

camnorm_status camnorm_moments_mean(const camnorm_moments* moments, double* out, size_t pixels, int threads) {
    return guarded([&] {
        const PixelMoments& core = checked(moments, "moments").saved.moments;
        check_size(pixels, core.shape().pixels(), "pixels");
        check_pointer(out, "out");
        core.mean(out, threads);
    });
}

camnorm_status camnorm_moments_std(const camnorm_moments* moments, uint64_t ddof, double* out, size_t pixels,
                                   int threads) {
    return guarded([&] {
        const PixelMoments& core = checked(moments, "moments").saved.moments;
        check_size(pixels, core.shape().pixels(), "pixels");
        check_pointer(out, "out");
        core.standard_deviation(out, ddof, threads);
    });
}

size_t camnorm_moments_state_size(const camnorm_moments* moments) {
    return moments == nullptr ? 0 : state_size(moments->saved.moments);
}

camnorm_status camnorm_moments_save(const camnorm_moments* moments, void* out, size_t size) {
    return guarded([&] {
        const SavedMoments& saved = checked(moments, "moments").saved;
        check_size(size, state_size(saved.moments), "bytes");
        check_pointer(out, "out");
        save_state(saved.moments, saved.dtype, out, saved.plane_axis);
    });
}

camnorm_status camnorm_moments_load(const void* data, size_t size, camnorm_moments** moments) {
    return guarded([&] {
        check_pointer(data, "data");
        camnorm_moments*& result = checked(moments, "moments");
        result = new camnorm_moments{load_state(data, size)};
    });
}

camnorm_status camnorm_correction_create(camnorm_shape shape, const double* mean, const double* sigma,
                                         const camnorm_correction_options* options,
                                         camnorm_correction** correction) {
    return guarded([&] {
        camnorm_correction*& result = checked(correction, "correction");
        const FrameShape frame = checked_shape(shape);
        const auto image = [&](const auto* values, const char* what) {
            check_pointer(values, what);
            return std::vector(values, values + frame.pixels());
        };
        CorrectionOptions o;
        if (options != nullptr) {
            const std::size_t targets = options->targets_per_plane != 0 ? frame.planes : 1;
            const auto take = [&](const double* given, auto& of_all, auto& of_planes) {
                if (given == nullptr) return;
                if (targets == 1) {
                    of_all = *given;
                } else {
                    of_planes.assign(given, given + targets);
                }
            };
            take(options->target_mean, o.target_mean, o.target_means);
            take(options->target_sigma, o.target_sigma, o.target_sigmas);
            if (options->bad != nullptr) o.bad = image(options->bad, "bad");
            if (options->bad_policy < CAMNORM_BAD_NEUTRAL || options->bad_policy > CAMNORM_BAD_NAN)
                throw InvalidArgument("there is no bad_policy " + std::to_string(options->bad_policy));
            o.bad_policy = static_cast<BadPolicy>(options->bad_policy);
        }
        result = new camnorm_correction{
            Correction(frame, image(mean, "mean"), image(sigma, "sigma"), std::move(o))};
    });
}

void camnorm_correction_destroy(camnorm_correction* correction) { delete correction; }

camnorm_status camnorm_correction_apply(const camnorm_correction* correction, const camnorm_frames* frames,
                                        void* out, camnorm_dtype out_dtype, int threads) {
    return correct(
        correction, frames, out, out_dtype,
        [&](const Correction& core, const auto& from, const auto& to) { core.apply(from, to, threads); });
}

camnorm_status camnorm_correction_inverse(const camnorm_correction* correction, const camnorm_frames* frames,
                                          void* out, camnorm_dtype out_dtype, int threads) {
    return correct(
        correction, frames, out, out_dtype,
        [&](const Correction& core, const auto& from, const auto& to) { core.inverse(from, to, threads); });
}

camnorm_status camnorm_ring_index_create(size_t height, size_t width, camnorm_binning binning, int corners,
                                         camnorm_ring_index** index) {
    return guarded([&] {
        camnorm_ring_index*& result = checked(index, "index");
        if (binning != CAMNORM_BINNING_ROUND && binning != CAMNORM_BINNING_FLOOR)
            throw InvalidArgument("there is no binning " + std::to_string(binning));
        checked_shape({height, width, 1});
        result =
            new camnorm_ring_index{RingIndex(height, width, static_cast<Binning>(binning), corners != 0)};
    });
}

void camnorm_ring_index_destroy(camnorm_ring_index* index) { delete index; }

size_t camnorm_ring_count(const camnorm_ring_index* index) {
    return index == nullptr ? 0 : index->core.rings();
}

const uint64_t* camnorm_ring_sizes(const camnorm_ring_index* index) {
    return index == nullptr ? nullptr : index->core.counts().data();
}

camnorm_status camnorm_ring_correlation(const camnorm_ring_index* index, const void* fa, const void* fb,
                                        camnorm_dtype dtype, double* correlation, double* z, size_t rings,
                                        int threads) {
    return guarded([&] {
        const RingIndex& core = checked(index, "index").core;
        check_pointer(fa, "fa");
        check_pointer(fb, "fb");
        check_pointer(correlation, "correlation");
        check_size(rings, core.rings(), "rings");
        if (dtype != CAMNORM_FLOAT32 && dtype != CAMNORM_FLOAT64)
            throw InvalidArgument("spectra must be of CAMNORM_FLOAT32 or CAMNORM_FLOAT64");
        const RingCorrelation result = dtype == CAMNORM_FLOAT32 ? correlate<float>(core, fa, fb, threads)
                                                                : correlate<double>(core, fa, fb, threads);
        std::copy(result.correlation.begin(), result.correlation.end(), correlation);
        if (z != nullptr) std::copy(result.z.begin(), result.z.end(), z);
    });
}

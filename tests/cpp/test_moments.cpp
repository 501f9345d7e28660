#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

#include "camnorm/error.hpp"
#include "camnorm/moments.hpp"
#include "camnorm/stored.hpp"

using namespace camnorm;

namespace {

__extension__ using int128 = __int128;

// One whole block of pixels and the part of another, in a colour frame.
constexpr FrameShape shape{35, 50, 3};

template <class T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, std::uint8_t>) return DType::uint8;
    if constexpr (std::is_same_v<T, std::int8_t>) return DType::int8;
    if constexpr (std::is_same_v<T, std::uint16_t>) return DType::uint16;
    if constexpr (std::is_same_v<T, std::int16_t>) return DType::int16;
    if constexpr (std::is_same_v<T, std::uint32_t>) return DType::uint32;
    if constexpr (std::is_same_v<T, std::int32_t>) return DType::int32;
    if constexpr (std::is_same_v<T, float>) return DType::float32;
    return DType::float64;
}

/// Float pixels are whole numbers of 2^-8, so that the oracle can count in integers too.
template <class T>
constexpr double unit = std::is_floating_point_v<T> ? 0x1p-8 : 1.0;

template <class T>
std::vector<T> some_frames(std::size_t count, FrameShape s = shape) {
    std::mt19937_64 engine(count);
    std::vector<T> x(count * s.pixels());
    for (T& value : x) {
        if constexpr (std::is_floating_point_v<T>)
            value = static_cast<T>(static_cast<double>(static_cast<std::int32_t>(engine()) >> 10) * unit<T>);
        else
            value = static_cast<T>(engine());
    }
    return x;
}

template <class T>
FramesView view_of(const std::vector<T>& x, FrameShape s = shape) {
    return FramesView::contiguous(x.data(), dtype_of<T>(), x.size() / s.pixels(), s);
}

/// Frames [first, last) of a view.
FramesView part(FramesView view, std::size_t first, std::size_t last) {
    view.data = view.frame(first);
    view.count = last - first;
    return view;
}

template <class T>
PixelMoments moments_of(const std::vector<T>& x, FrameShape s = shape) {
    PixelMoments m(s, kind_of(dtype_of<T>()));
    m.add(view_of(x, s), 1);
    return m;
}

bool same_bits(const PixelMoments& a, const PixelMoments& b) {
    const MomentsState& s = a.state();
    const MomentsState& t = b.state();
    return s.kind == t.kind && s.shape == t.shape && s.count == t.count && s.sum == t.sum &&
           s.sum_of_squares == t.sum_of_squares && s.sum_high == t.sum_high && s.sum_low == t.sum_low &&
           s.sum_of_squares_high == t.sum_of_squares_high && s.sum_of_squares_low == t.sum_of_squares_low;
}

bool within_one_ulp(double value, long double exact) {
    const double e = static_cast<double>(exact);
    return value >= std::nextafter(e, -HUGE_VAL) && value <= std::nextafter(e, HUGE_VAL);
}

/// Checks sums, mean and standard deviation of the first `count` frames of x against integers.
template <class T>
void check_moments(const PixelMoments& m, const std::vector<T>& x, std::size_t count) {
    const std::size_t pixels = m.shape().pixels();
    REQUIRE(m.count() == count);
    std::vector<double> mean(pixels), std(pixels);
    m.mean(mean.data(), 2);
    m.standard_deviation(std.data(), 1, 2);
    bool sums = true;
    bool images = true;
    for (std::size_t i = 0; i < pixels; ++i) {
        int128 sum = 0;
        int128 squares = 0;
        for (std::size_t f = 0; f < count; ++f) {
            const auto v = static_cast<std::int64_t>(static_cast<double>(x[f * pixels + i]) / unit<T>);
            sum += v;
            squares += static_cast<int128>(v) * v;
        }
        if (m.kind() == Kind::integer) {
            sums = sums && m.state().sum[i] == static_cast<std::int64_t>(sum) &&
                   m.state().sum_of_squares[i] == static_cast<std::uint64_t>(squares);
        }
        const auto n = static_cast<long double>(count);
        const auto scatter = static_cast<long double>(static_cast<int128>(count) * squares - sum * sum);
        images = images && within_one_ulp(mean[i], static_cast<long double>(sum) * unit<T> / n) &&
                 within_one_ulp(std[i], std::sqrt(scatter / (n * (n - 1))) * unit<T>);
    }
    CHECK(sums);
    CHECK(images);
}

template <class Error, class Call>
void check_refused(PixelMoments& m, const char* message, const Call& call) {
    const PixelMoments before = m;
    CHECK_THROWS_WITH_AS(call(), message, Error);
    CHECK(same_bits(m, before));
}

}  // namespace

#define PIXEL_TYPES \
    std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float, double

TEST_CASE_TEMPLATE("any order, batches and threads give the moments", T, PIXEL_TYPES) {
    const auto x = some_frames<T>(11);
    const FramesView frames = view_of(x);
    const PixelMoments whole = moments_of(x);
    check_moments(whole, x, 11);

    PixelMoments m(shape, kind_of(dtype_of<T>()));
    m.add(part(frames, 4, 11), 3);
    for (std::size_t f = 4; f-- > 0;) m.add(part(frames, f, f + 1), 2);
    m.add(part(frames, 0, 0), 1);
    CHECK(same_bits(m, whole));
}

TEST_CASE_TEMPLATE("merge, unmerge and subtract are exact", T, PIXEL_TYPES) {
    const auto x = some_frames<T>(9);
    const FramesView frames = view_of(x);
    const Kind kind = kind_of(dtype_of<T>());
    const PixelMoments empty(shape, kind);
    PixelMoments a(shape, kind);
    PixelMoments b(shape, kind);
    a.add(part(frames, 0, 5), 2);
    b.add(part(frames, 5, 9), 2);
    PixelMoments m = b;
    m.merge(a, 3);
    check_moments(m, x, 9);
    m.unmerge(b, 2);
    CHECK(same_bits(m, a));
    m.add(part(frames, 5, 9), 2);
    m.subtract(part(frames, 5, 9), 3);
    CHECK(same_bits(m, a));
    m.merge(m, 2);
    CHECK(m.count() == 10);
    m.unmerge(m, 2);
    CHECK(same_bits(m, empty));
    a.subtract(part(frames, 0, 5));
    CHECK(same_bits(a, empty));
}

TEST_CASE_TEMPLATE("a state is restored", T, std::int16_t, double) {
    const PixelMoments m = moments_of(some_frames<T>(3));
    CHECK(same_bits(PixelMoments(m.state()), m));
}

TEST_CASE_TEMPLATE("more frames in one call than sums of 32 bits hold", T, std::uint8_t, std::int8_t,
                   std::uint16_t, std::int16_t) {
    constexpr FrameShape two{1, 2, 1};
    std::vector<T> x(2 * 70000);
    for (std::size_t f = 0; f < 70000; ++f) {
        x[2 * f] = std::numeric_limits<T>::max();
        x[2 * f + 1] = std::numeric_limits<T>::min();
    }
    check_moments(moments_of(x, two), x, 70000);
}

TEST_CASE("doubles whose squares do not fit a double") {
    // Mean and sigma are 1e6 and 1 but for the rounding of the pixels: sums of 106 bits are needed.
    constexpr FrameShape one{1, 1, 1};
    const double pixels[] = {1e6 + 0x1p-33, 1e6 - 1.0 - 0x1p-33, 1e6 + 1.0 + 0x1p-33, 1e6 - 0x1p-33};
    PixelMoments m(one, Kind::floating);
    m.add(FramesView::contiguous(pixels, DType::float64, 4, one), 1);
    double variance = 0;
    m.variance(&variance, 0, 1);
    // Of d, -1-d, 1+d, -d with d = 2^-33: (2 (1+d)^2 + 2 d^2) / 4.
    constexpr long double d = 0x1p-33L;
    CHECK(within_one_ulp(variance, ((1 + d) * (1 + d) + d * d) / 2));
}

TEST_CASE("half floats") {
    // 1, -2, 2^-24, 65504, -2^-14, -0
    const std::uint16_t x[] = {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x8400, 0x8000};
    const double values[] = {1.0, -2.0, 0x1p-24, 65504.0, -0x1p-14, 0.0};
    constexpr FrameShape s{2, 3, 1};
    PixelMoments m(s, Kind::floating);
    m.add(FramesView::contiguous(x, DType::float16, 1, s), 1);
    double mean[6];
    m.mean(mean, 1);
    for (std::size_t i = 0; i < 6; ++i) CHECK(mean[i] == values[i]);
    constexpr std::uint16_t not_finite[] = {0x7C00, 0xFC00, 0x7E00, 0x7C01};
    for (std::uint16_t bits : not_finite) {
        const std::uint16_t bad[] = {0, 0, 0, 0, 0, bits};
        check_refused<NonFinite>(m, "frame 0 has NaN or infinite pixels",
                                 [&] { m.add(FramesView::contiguous(bad, DType::float16, 1, s)); });
    }
}

TEST_CASE_TEMPLATE("views with gaps, reversed and unaligned", T, PIXEL_TYPES) {
    const std::size_t pixels = shape.pixels();
    const auto x = some_frames<T>(4);
    const PixelMoments plain = moments_of(x);
    const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
    const auto height = static_cast<std::ptrdiff_t>(shape.height);
    const auto width = static_cast<std::ptrdiff_t>(shape.width);
    const auto planes = static_cast<std::ptrdiff_t>(shape.planes);

    // Strides of frame, y, x, plane: planes apart; columns last to first; three bytes more a pixel.
    const std::ptrdiff_t frame = height * width * planes * (size + 3);
    const std::array<std::ptrdiff_t, 4> layouts[] = {
        {frame, width * size, size, height * width * size},
        {-frame, -width * planes * size, -planes * size, size},
        {frame, planes * (size + 3), height * planes * (size + 3), size + 3},
    };
    for (const auto& strides : layouts) {
        // Room before and after for whatever sign the strides have, at an odd address.
        std::vector<std::byte> memory(static_cast<std::size_t>(9 * frame) + 1);
        FramesView view{memory.data() + 4 * frame + 1, dtype_of<T>(), 4, shape, strides};
        for (std::size_t f = 0; f < 4; ++f)
            for (std::size_t i = 0; i < pixels; ++i) {
                const std::size_t index[] = {f, i / (shape.width * shape.planes),
                                             i / shape.planes % shape.width, i % shape.planes};
                std::ptrdiff_t place = 4 * frame + 1;
                for (std::size_t axis = 0; axis < 4; ++axis)
                    place += static_cast<std::ptrdiff_t>(index[axis]) * strides[axis];
                const auto* bytes = reinterpret_cast<const std::byte*>(&x[f * pixels + i]);
                std::copy_n(bytes, sizeof(T), memory.begin() + place);
            }
        PixelMoments m(shape, kind_of(dtype_of<T>()));
        m.add(view, 2);
        CHECK(same_bits(m, plain));
        const auto rows = frame_statistics(view, 2);
        const auto plain_rows = frame_statistics(view_of(x), 1);
        for (std::size_t f = 0; f < 4; ++f) {
            CHECK(rows[f].mean == plain_rows[f].mean);
            CHECK(rows[f].std == plain_rows[f].std);
        }
    }
}

TEST_CASE_TEMPLATE("statistics of frames", T, PIXEL_TYPES) {
    const auto x = some_frames<T>(3);
    const std::size_t pixels = shape.pixels();
    PixelMoments m(shape, kind_of(dtype_of<T>()));
    const auto rows = m.add(view_of(x), 2);
    REQUIRE(rows.size() == 3);
    const auto again = frame_statistics(view_of(x), 3);
    for (std::size_t f = 0; f < 3; ++f) {
        const auto first = x.begin() + static_cast<std::ptrdiff_t>(f * pixels);
        const auto last = first + static_cast<std::ptrdiff_t>(pixels);
        const auto n = static_cast<long double>(pixels);
        const long double mean = std::accumulate(first, last, 0.0L) / n;
        const long double squares = std::accumulate(first, last, 0.0L, [&](long double sum, T v) {
            return sum + (static_cast<long double>(v) - mean) * (static_cast<long double>(v) - mean);
        });
        CHECK(rows[f].mean == doctest::Approx(static_cast<double>(mean)).epsilon(1e-13));
        CHECK(rows[f].std == doctest::Approx(static_cast<double>(std::sqrt(squares / n))).epsilon(1e-14));
        CHECK(rows[f].min == static_cast<double>(*std::min_element(first, last)));
        CHECK(rows[f].max == static_cast<double>(*std::max_element(first, last)));
        CHECK(rows[f].mean == again[f].mean);
        CHECK(rows[f].std == again[f].std);
    }
}

TEST_CASE_TEMPLATE("images and targets of two moments are those of their merge", T, PIXEL_TYPES) {
    const std::vector<T> x = some_frames<T>(9);
    const std::size_t pixels = shape.pixels();
    PixelMoments a(shape, kind_of(dtype_of<T>()));
    PixelMoments b = a;
    a.add(part(view_of(x), 0, 4));
    b.add(part(view_of(x), 4, 9));
    PixelMoments both = a;
    both.merge(b);
    std::vector<double> expected(pixels), got(pixels);
    both.standard_deviation(expected.data(), 1);
    a.standard_deviation(got.data(), 1, 2, &b);
    CHECK(got == expected);
    both.mean(expected.data());
    a.mean(got.data(), 2, &b);
    CHECK(got == expected);
    const Targets targets = a.targets(2, &b);
    const Targets same = both.targets(1);
    CHECK(targets.mean == same.mean);
    CHECK(targets.sigma == same.sigma);
    // The oracle sums in long double.
    std::vector<double> sigma(pixels);
    both.standard_deviation(sigma.data());
    long double sums[2] = {};
    long double good = 0;
    for (std::size_t i = 0; i < pixels; ++i) {
        if (!(sigma[i] > 0)) continue;
        sums[0] += expected[i];
        sums[1] += sigma[i];
        good += 1;
    }
    CHECK(within_one_ulp(targets.mean, sums[0] / good));
    CHECK(within_one_ulp(targets.sigma, sums[1] / good));
}

TEST_CASE("images of states with the largest sums that there can be") {
    // Half of the frames at each end of 16 bits: sums of squares beyond 2^53, a variance that is known.
    for (const std::uint64_t half : {std::uint64_t{1}, std::uint64_t{12345}, std::uint64_t{0x7FFFFFFF}}) {
        MomentsState state;
        state.shape = {1, 3, 1};
        state.count = 2 * half;
        constexpr std::uint64_t top = 65535;
        state.sum = {static_cast<std::int64_t>(half * top), static_cast<std::int64_t>(2 * half * top), -1};
        state.sum_of_squares = {half * top * top, 2 * half * top * top, 1};
        const PixelMoments m(state);
        double mean[3], variance[3], std[3];
        m.mean(mean);
        m.variance(variance);
        m.standard_deviation(std);
        CHECK(mean[0] == 32767.5);
        CHECK(variance[0] == 32767.5 * 32767.5);
        CHECK(std[0] == 32767.5);
        CHECK(mean[1] == 65535.0);
        CHECK(std[1] == 0.0);
        const auto n = static_cast<long double>(2 * half);
        CHECK(mean[2] == static_cast<double>(-1 / n));
        CHECK(within_one_ulp(variance[2], (n - 1) / (n * n)));
        CHECK(within_one_ulp(std[2], std::sqrt(n - 1) / n));
    }
}

TEST_CASE("images of too few frames are NaN") {
    constexpr FrameShape s{1, 2, 1};
    for (Kind kind : {Kind::integer, Kind::floating}) {
        PixelMoments m(s, kind);
        double out[2];
        m.mean(out);
        CHECK(std::isnan(out[0]));
        m.variance(out);
        CHECK(std::isnan(out[1]));
        CHECK(std::isnan(m.targets().mean));
        CHECK(std::isnan(m.targets().sigma));
        m.sum(out);
        CHECK(out[0] == 0.0);
        m.sum_of_squares(out);
        CHECK(out[1] == 0.0);
    }
}

TEST_CASE("what cannot be added is refused, and nothing is changed") {
    constexpr FrameShape s{2, 3, 1};
    const std::vector<std::uint8_t> bytes(18, 7);
    std::vector<float> floats(18, 7.0F);
    PixelMoments integer = moments_of(bytes, s);
    PixelMoments floating = moments_of(floats, s);

    check_refused<InvalidArgument>(integer, "frames have shape (3, 2), the moments (2, 3)",
                                   [&] { integer.add(view_of(bytes, {3, 2, 1})); });
    check_refused<InvalidArgument>(integer, "frames have shape (1, 2, 3), the moments (2, 3)",
                                   [&] { integer.add(view_of(bytes, {1, 2, 3})); });
    check_refused<WrongKind>(
        integer,
        "float32 frames are of the float kind, the moments of the integer kind (uint8, int8, uint16, int16)",
        [&] { integer.add(view_of(floats, s)); });
    check_refused<WrongKind>(floating,
                             "uint8 frames are of the integer kind, the moments of the float kind (uint32, "
                             "int32, float16, float32, float64)",
                             [&] { floating.subtract(view_of(bytes, s)); });
    check_refused<InvalidArgument>(integer, "threads must be positive, got -1",
                                   [&] { integer.add(view_of(bytes, s), -1); });

    PixelMoments one(s, Kind::integer);
    one.add(part(view_of(bytes, s), 0, 1));
    check_refused<InvalidArgument>(one, "cannot subtract 3 frames from 1",
                                   [&] { one.subtract(view_of(bytes, s)); });
    check_refused<InvalidArgument>(one, "cannot subtract 3 frames from 1", [&] { one.unmerge(integer); });
    check_refused<WrongKind>(one, "moments of integer frames and of float frames cannot be put together",
                             [&] { one.merge(floating); });
    check_refused<InvalidArgument>(one, "moments have shape (1, 1), these (2, 3)",
                                   [&] { one.merge(PixelMoments({1, 1, 1}, Kind::integer)); });
    double image[6];
    check_refused<WrongKind>(one, "moments of integer frames and of float frames cannot be put together",
                             [&] { one.mean(image, 0, &floating); });

    one.state().count = PixelMoments::max_count;
    check_refused<InvalidArgument>(one, "more than 4294967295 frames",
                                   [&] { one.add(part(view_of(bytes, s), 0, 1)); });
    check_refused<InvalidArgument>(one, "more than 4294967295 frames", [&] { one.merge(integer); });

    floats[17] = std::numeric_limits<float>::infinity();
    check_refused<NonFinite>(floating, "frame 2 has NaN or infinite pixels",
                             [&] { floating.add(view_of(floats, s)); });
    std::vector<double> huge(18, 1.0);
    huge[6] = -1e145;
    try {
        floating.subtract(view_of(huge, s));
        FAIL("was not refused");
    } catch (const NonFinite& e) {
        CHECK(e.frame() == 1);
    }
}

TEST_CASE("no moments without pixels, and no state of another size") {
    CHECK_THROWS_WITH_AS(PixelMoments({0, 3, 1}, Kind::integer), "frames of shape (0, 3) have no pixels",
                         InvalidArgument);
    CHECK_THROWS_WITH_AS(frame_statistics(FramesView{}), "frames of shape (0, 0) have no pixels",
                         InvalidArgument);
    MomentsState state = PixelMoments({1, 2, 1}, Kind::integer).state();
    state.sum.resize(3);
    CHECK_THROWS_WITH_AS(PixelMoments{state},
                         "the state's sums do not have one value for each of the 2 pixels of shape (1, 2)",
                         InvalidArgument);
    state.sum.resize(2);
    state.count = PixelMoments::max_count + 1;
    CHECK_THROWS_AS(PixelMoments{state}, InvalidArgument);
    state.shape = {0, 2, 1};
    CHECK_THROWS_AS(PixelMoments{state}, InvalidArgument);
}

namespace {

// Frames of three blocks of pixels, more of them than are read at a time.
constexpr FrameShape stored_shape{280, 250, 1};
constexpr std::size_t stored_count = 70;

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

/// A file with a header of odd length, then frames one after another; the last `missing` bytes are not
/// there.
template <class T>
class Stored {
public:
    explicit Stored(const std::vector<T>& x, std::size_t missing = 0) : file_(std::tmpfile()) {
        REQUIRE(file_);
        const std::size_t bytes = x.size() * sizeof(T) - missing;
        std::fwrite("header", 1, 5, file_.get());
        REQUIRE(std::fwrite(x.data(), 1, bytes, file_.get()) == bytes);
        std::fflush(file_.get());
        const std::size_t frame_bytes = stored_shape.pixels() * sizeof(T);
        for (std::size_t f = 0; f < stored_count; ++f)
            places_.push_back({fileno(file_.get()), static_cast<std::int64_t>(5 + f * frame_bytes)});
    }

    StoredFrames frames() const { return {places_.data(), dtype_of<T>(), places_.size(), stored_shape}; }

private:
    std::unique_ptr<std::FILE, CloseFile> file_;
    std::vector<StoredFrames::Place> places_;
};

bool same_statistics(const std::vector<FrameStatistics>& a, const std::vector<FrameStatistics>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return x.mean == y.mean && x.std == y.std && x.min == y.min && x.max == y.max;
    });
}

}  // namespace

TEST_CASE_TEMPLATE("frames in files count as those in memory do", T, PIXEL_TYPES) {
    const auto x = some_frames<T>(stored_count, stored_shape);
    const Stored<T> stored(x);
    PixelMoments expected(stored_shape, kind_of(dtype_of<T>()));
    const auto rows = expected.add(view_of(x, stored_shape), 2);
    for (const int threads : {1, 3}) {
        PixelMoments m(stored_shape, kind_of(dtype_of<T>()));
        CHECK(same_statistics(m.add(stored.frames(), threads), rows));
        CHECK(same_bits(m, expected));
        CHECK(m.add(stored.frames(), threads, false).empty());
        m.subtract(view_of(x, stored_shape), threads);
        CHECK(same_bits(m, expected));
        m.add(view_of(x, stored_shape), threads);
        CHECK(same_statistics(m.subtract(stored.frames(), threads), rows));
        CHECK(same_bits(m, expected));
    }
}

TEST_CASE_TEMPLATE("a frame whose file ends leaves the moments as they were", T, PIXEL_TYPES) {
    const auto x = some_frames<T>(stored_count, stored_shape);
    PixelMoments m = moments_of(x, stored_shape);
    for (const std::size_t missing : {1u, 20'000u}) {
        const Stored<T> stored(x, missing);
        for (const int threads : {1, 2}) {
            check_refused<Unreadable>(m, "frame 69 cannot be read: the file ends before the frame does",
                                      [&] { m.add(stored.frames(), threads); });
        }
    }
}

TEST_CASE("a frame in a file that is not finite leaves the moments as they were") {
    auto x = some_frames<float>(stored_count, stored_shape);
    PixelMoments m = moments_of(x, stored_shape);
    x[41 * stored_shape.pixels() + 69'000] = std::numeric_limits<float>::quiet_NaN();
    const Stored<float> stored(x);
    check_refused<NonFinite>(m, "frame 41 has NaN or infinite pixels", [&] { m.add(stored.frames(), 2); });
}

TEST_CASE_TEMPLATE("a frame whose file ends early leaves the moments as they were", T, std::uint8_t, float) {
    // Of the first frames that are read together, one ends within each of the blocks, and of the parts of
    // these.
    for (std::size_t pixels = 1; pixels < stored_shape.pixels(); pixels += 4'999) {
        const auto x = some_frames<T>(stored_count, stored_shape);
        PixelMoments m = moments_of(x, stored_shape);
        const Stored<T> whole(x);
        const Stored<T> cut(x, (stored_count * stored_shape.pixels() - pixels) * sizeof(T));
        std::vector<StoredFrames::Place> places(whole.frames().places, whole.frames().places + stored_count);
        places[3] = cut.frames().places[0];
        StoredFrames frames = whole.frames();
        frames.places = places.data();
        check_refused<Unreadable>(m, "frame 3 cannot be read: the file ends before the frame does",
                                  [&] { m.add(frames, 2, false); });
    }
}

TEST_CASE("files that cannot be read") {
    const StoredFrames::Place place{-1, 0};
    PixelMoments m(stored_shape, Kind::integer);
    check_refused<Unreadable>(m, "frame 0 cannot be read: Bad file descriptor",
                              [&] { m.add(StoredFrames{&place, DType::uint8, 1, stored_shape}); });
    check_refused<InvalidArgument>(m, "cannot subtract 1 frames from 0",
                                   [&] { m.subtract(StoredFrames{&place, DType::uint8, 1, stored_shape}); });
    PixelMoments f(stored_shape, Kind::floating);
    check_refused<Unreadable>(f, "frame 0 cannot be read: Bad file descriptor",
                              [&] { f.add(StoredFrames{&place, DType::float32, 1, stored_shape}); });
    check_refused<InvalidArgument>(m, "frames have shape (1, 1), the moments (280, 250)",
                                   [&] { m.add(StoredFrames{&place, DType::uint8, 1, {1, 1, 1}}); });
    CHECK(reason_of(fetch(-1, 0, 1)) == "Bad file descriptor");
}

TEST_CASE("files are fetched to their end") {
    const auto x = some_frames<std::uint8_t>(stored_count, stored_shape);
    const Stored<std::uint8_t> stored(x);
    const int file = stored.frames().places[0].file;
    CHECK(fetch(file, 5, x.size()) == 0);
    CHECK(fetch(file, 5, x.size() + 1) == file_ended);
    CHECK(fetch(file, 0, 0) == 0);
}

TEST_CASE("moments are made for a pixel type, or for a kind") {
    CHECK(PixelMoments(shape, DType::uint16).kind() == Kind::integer);
    CHECK(PixelMoments(shape, DType::int32).kind() == Kind::floating);
    CHECK(PixelMoments(shape, Kind::floating).kind() == Kind::floating);
}

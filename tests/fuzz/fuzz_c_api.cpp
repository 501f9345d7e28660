// libFuzzer target: bytes that are to be moments, and calls of the C API with arguments of any kind. Memory
// that a call may touch is there, of just that size; all else may be wrong.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "camnorm/camnorm.h"
#include "checksum.hpp"

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

/// Whether sides or counts of this size are neither small nor refused: they would take the memory, or read
/// beyond it.
bool risky(std::size_t size) { return size > 9 && size < SIZE_MAX / 16; }

/// Takes values from the input until it ends, zeros from then on.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    template <class T>
    T take() {
        T value{};
        const std::size_t n = std::min(sizeof value, size_);
        std::memcpy(&value, data_, n);
        data_ += n;
        size_ -= n;
        return value;
    }
    /// Mostly a small number, sometimes any.
    std::size_t length() {
        const auto kind = take<std::uint8_t>();
        return kind < 0xF0 ? kind % 9 : take<std::size_t>();
    }
    bool rare() { return take<std::uint8_t>() >= 0xF8; }
    std::vector<std::uint8_t> rest() { return {data_, data_ + size_}; }

private:
    const std::uint8_t* data_;
    std::size_t size_;
};

/// The importer, of bytes as they are and of bytes whose checksums are right.
void load(std::vector<std::uint8_t> bytes, bool seal) {
    if (seal && bytes.size() >= 68) {
        const auto crc = [&](std::size_t begin, std::size_t end) {
            const std::uint32_t value = camnorm::detail::crc32c(
                reinterpret_cast<const std::byte*>(bytes.data()) + begin, end - begin);
            std::memcpy(bytes.data() + end, &value, sizeof value);
        };
        std::memcpy(bytes.data(), "camnorm\0\1\0\0", 12);
        crc(0, 60);
        crc(64, bytes.size() - 4);
    }
    camnorm_moments* moments = nullptr;
    if (camnorm_moments_load(bytes.data(), bytes.size(), &moments) != CAMNORM_OK) {
        require(moments == nullptr);
        return;
    }
    // What was taken is saved as the same bytes, and can be used.
    require(camnorm_moments_state_size(moments) == bytes.size());
    std::vector<std::uint8_t> again(bytes.size());
    require(camnorm_moments_save(moments, again.data(), again.size()) == CAMNORM_OK);
    require(again == bytes);
    const camnorm_shape shape = camnorm_moments_shape(moments);
    std::vector<double> image(shape.height * shape.width * shape.planes);
    require(camnorm_moments_std(moments, 0, image.data(), image.size(), 1) == CAMNORM_OK);
    camnorm_moments_merge(moments, moments, 1);
    camnorm_moments_destroy(moments);
}

camnorm_shape any_shape(Input& input) {
    const std::size_t height = input.length();
    const std::size_t width = input.length();
    return {height, width, input.rare() ? input.length() : 1};
}

/// Frames of any shape and layout, with memory for those that are small.
struct Frames {
    camnorm_frames view{};
    std::vector<std::uint8_t> memory;

    explicit Frames(Input& input) : Frames(input, any_shape(input)) {}
    Frames(Input& input, camnorm_shape shape) {
        view.shape = shape;
        view.count = input.length();
        view.dtype = input.rare() ? input.take<camnorm_dtype>() : input.take<std::uint8_t>() % 9;
        memory.resize(8 * pixels() * std::min<std::size_t>(view.count, 9));
        for (std::uint8_t& byte : memory) byte = input.take<std::uint8_t>();
        view.data = input.rare() ? nullptr : memory.data();
        // Strides that no memory has; those of gaps that it might have are the caller's to keep to.
        if (input.rare())
            view.strides[input.take<std::uint8_t>() % 4] = input.rare() ? PTRDIFF_MIN : PTRDIFF_MAX;
    }
    /// 0 if some side is not small: such frames are refused before they are read.
    std::size_t pixels() const {
        const camnorm_shape& s = view.shape;
        return std::max({s.height, s.width, s.planes, view.count}) > 9 ? 0 : s.height * s.width * s.planes;
    }
};

int threads_of(Input& input) { return input.rare() ? input.take<int>() & ~0xFF : 1; }

void moments_calls(Input& input) {
    const camnorm_shape shape = any_shape(input);
    const camnorm_dtype dtype = input.rare() ? input.take<camnorm_dtype>() : input.take<std::uint8_t>() % 9;
    camnorm_moments* moments = nullptr;
    if (risky(std::max({shape.height, shape.width, shape.planes}))) return;
    camnorm_status status = camnorm_moments_create(shape, dtype, &moments);
    require((status == CAMNORM_OK) == (moments != nullptr));
    for (int call = 0; call < 3; ++call) {
        const Frames frames(input, input.rare() ? any_shape(input) : shape);
        std::vector<camnorm_statistics> statistics(std::min<std::size_t>(frames.view.count, 9));
        std::vector<double> image(moments == nullptr ? 0 : shape.height * shape.width * shape.planes);
        const std::uint64_t before = camnorm_moments_count(moments);
        if (frames.pixels() > 0 || !risky(frames.view.count)) {
            status = camnorm_moments_add(moments, &frames.view,
                                         input.rare() || statistics.empty() ? nullptr : statistics.data(),
                                         threads_of(input));
            require(camnorm_moments_count(moments) ==
                    before + (status == CAMNORM_OK ? frames.view.count : 0));
            if (input.rare()) camnorm_moments_subtract(moments, &frames.view, 1);
        }
        camnorm_moments_mean(moments, image.empty() ? nullptr : image.data(),
                             input.rare() ? input.length() + 1000 : image.size(), threads_of(input));
        camnorm_moments_std(moments, input.take<std::uint8_t>(), image.data(), image.size(), 1);
    }
    camnorm_moments_destroy(moments);
}

void correction_calls(Input& input) {
    const Frames frames(input);
    const std::size_t pixels = frames.pixels();
    if (pixels == 0) return;
    std::vector<double> mean(pixels), sigma(pixels);
    std::vector<std::uint8_t> bad(pixels);
    for (std::size_t i = 0; i < pixels; ++i) {
        mean[i] = input.rare() ? input.take<double>() : input.take<std::int16_t>();
        sigma[i] = input.rare() ? input.take<double>() : input.take<std::uint8_t>();
        bad[i] = input.rare();
    }
    const auto target_mean = input.take<double>();
    const auto target_sigma = input.take<double>();
    const camnorm_correction_options options{
        input.rare() ? &target_mean : nullptr, input.rare() ? &target_sigma : nullptr,
        input.rare() ? bad.data() : nullptr,
        input.rare() ? input.take<std::int32_t>() : input.take<std::uint8_t>() % 3, 0};
    camnorm_correction* correction = nullptr;
    const camnorm_status status =
        camnorm_correction_create(frames.view.shape, input.rare() ? nullptr : mean.data(), sigma.data(),
                                  input.rare() ? nullptr : &options, &correction);
    require((status == CAMNORM_OK) == (correction != nullptr));
    std::vector<std::uint8_t> out(8 * pixels * frames.view.count);
    const camnorm_dtype dtype = input.rare() ? input.take<camnorm_dtype>() : input.take<std::uint8_t>() % 9;
    const auto call = input.rare() ? camnorm_correction_inverse : camnorm_correction_apply;
    call(correction, &frames.view, input.rare() ? nullptr : out.data(), dtype, threads_of(input));
    camnorm_correction_destroy(correction);
}

void ring_calls(Input& input) {
    const std::size_t height = input.length();
    const std::size_t width = input.length();
    if (risky(std::max(height, width))) return;
    camnorm_ring_index* index = nullptr;
    const camnorm_status status = camnorm_ring_index_create(
        height, width, input.rare() ? input.take<std::int32_t>() : input.rare(), input.rare(), &index);
    require((status == CAMNORM_OK) == (index != nullptr));
    if (index == nullptr) return;
    std::vector<double> a(2 * height * (width / 2 + 1)), b(a.size());
    for (double& x : a) x = input.rare() ? input.take<double>() : input.take<std::int8_t>();
    for (double& x : b) x = input.rare() ? input.take<double>() : input.take<std::int8_t>();
    const std::size_t rings = camnorm_ring_count(index);
    std::vector<double> correlation(rings), z(rings);
    const camnorm_dtype dtype =
        input.rare() ? input.take<camnorm_dtype>() : (input.rare() ? CAMNORM_FLOAT32 : CAMNORM_FLOAT64);
    camnorm_ring_correlation(index, input.rare() ? nullptr : a.data(), b.data(), dtype, correlation.data(),
                             input.rare() ? nullptr : z.data(), input.rare() ? rings + 1 : rings, 1);
    camnorm_ring_index_destroy(index);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    switch (input.take<std::uint8_t>() % 5) {
        case 0: load(input.rest(), false); break;
        case 1: load(input.rest(), true); break;
        case 2: moments_calls(input); break;
        case 3: correction_calls(input); break;
        default: ring_calls(input); break;
    }
    return 0;
}

#include "camnorm/state.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <string>

#include "camnorm/error.hpp"
#include "checksum.hpp"

namespace camnorm {
namespace {

using detail::crc32c;

constexpr std::size_t header_bytes = 64;
constexpr std::size_t checksum_bytes = 4;
constexpr char magic[8] = "camnorm";
constexpr std::uint32_t version = 1;

// Places in the header.
constexpr std::size_t at_version = 8;
constexpr std::size_t at_kind = 12;
constexpr std::size_t at_dtype = 13;
constexpr std::size_t at_axes = 14;
constexpr std::size_t at_shape = 16;
constexpr std::size_t at_count = 40;
constexpr std::size_t at_checksum = header_bytes - checksum_bytes;

constexpr std::size_t bytes_a_pixel(Kind kind) noexcept { return kind == Kind::integer ? 16 : 32; }

template <class T>
void put(std::byte* out, T value) noexcept {
    for (std::size_t i = 0; i < sizeof(T); ++i) out[i] = static_cast<std::byte>(value >> (8 * i) & 0xFF);
}

template <class T>
T get(const std::byte* data) noexcept {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(data[i]) << (8 * i);
    return static_cast<T>(value);
}

/// Calls use(array) for the arrays of the sums in the order in which they are saved.
template <class State, class Use>
void for_each_array(State& state, const Use& use) {
    if (state.kind == Kind::integer) {
        use(state.sum);
        use(state.sum_of_squares);
    } else {
        use(state.sum_high);
        use(state.sum_low);
        use(state.sum_of_squares_high);
        use(state.sum_of_squares_low);
    }
}

/// Calls write(bytes, size) with one part of the saved state after another.
template <class Write>
void save(const PixelMoments& moments, DType dtype, bool plane_axis, const Write& write) {
    const MomentsState& state = moments.state();
    if (kind_of(dtype) != state.kind)
        throw WrongKind("dtype " + std::string(name(dtype)) + " is not of the moments' kind");
    std::byte header[header_bytes] = {};
    std::memcpy(header, magic, sizeof magic);
    put(header + at_version, version);
    put(header + at_kind, static_cast<std::uint8_t>(state.kind));
    put(header + at_dtype, static_cast<std::uint8_t>(dtype));
    put(header + at_axes, static_cast<std::uint8_t>(plane_axis || state.shape.planes != 1 ? 3 : 2));
    put<std::uint64_t>(header + at_shape, state.shape.height);
    put<std::uint64_t>(header + at_shape + 8, state.shape.width);
    put<std::uint64_t>(header + at_shape + 16, state.shape.planes);
    put(header + at_count, state.count);
    put(header + at_checksum, crc32c(header, at_checksum));
    write(header, header_bytes);

    std::uint32_t checksum = 0;
    for_each_array(state, [&](const auto& values) {
        constexpr std::size_t most = 512;
        std::byte buffer[most * sizeof(std::uint64_t)];
        for (std::size_t begin = 0; begin < values.size(); begin += most) {
            const std::size_t n = std::min(most, values.size() - begin);
            for (std::size_t i = 0; i < n; ++i) {
                std::uint64_t bits = 0;
                std::memcpy(&bits, &values[begin + i], sizeof bits);
                put(buffer + i * sizeof bits, bits);
            }
            checksum = crc32c(buffer, n * sizeof(std::uint64_t), checksum);
            write(buffer, n * sizeof(std::uint64_t));
        }
    });
    std::byte end[checksum_bytes];
    put(end, checksum);
    write(end, sizeof end);
}

[[noreturn]] void refuse(const std::string& reason) { throw InvalidArgument("no saved moments: " + reason); }

/// What the header says.
struct Header {
    DType dtype;
    bool plane_axis;
    FrameShape shape;
    std::uint64_t count;
};

Header read_header(const std::byte* data, std::size_t size) {
    if (size < header_bytes + checksum_bytes) refuse(std::to_string(size) + " bytes are too few");
    if (std::memcmp(data, magic, sizeof magic) != 0) refuse("they begin otherwise");
    if (const auto given = get<std::uint32_t>(data + at_version); given != version)
        refuse("they are of version " + std::to_string(given) + ", not " + std::to_string(version));
    if (get<std::uint32_t>(data + at_checksum) != crc32c(data, at_checksum)) refuse("the header is damaged");

    const auto kind = get<std::uint8_t>(data + at_kind);
    const auto dtype = get<std::uint8_t>(data + at_dtype);
    const auto axes = get<std::uint8_t>(data + at_axes);
    const std::uint64_t sides[] = {get<std::uint64_t>(data + at_shape),
                                   get<std::uint64_t>(data + at_shape + 8),
                                   get<std::uint64_t>(data + at_shape + 16)};
    const auto count = get<std::uint64_t>(data + at_count);
    const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
    if (kind > 1 || dtype > static_cast<std::uint8_t>(DType::float64) ||
        static_cast<Kind>(kind) != kind_of(static_cast<DType>(dtype)))
        refuse("kind " + std::to_string(kind) + " and dtype " + std::to_string(dtype) +
               " do not go together");
    if ((axes != 2 && axes != 3) || (axes == 2 && sides[2] != 1))
        refuse("frames of " + std::to_string(axes) + " axes and " + std::to_string(sides[2]) + " planes");
    if (!is_zero(data[15]) || !std::all_of(data + at_count + 8, data + at_checksum, is_zero))
        refuse("the header holds what version 1 does not know");
    if (count > PixelMoments::max_count)
        refuse(std::to_string(count) + " frames are more than " + std::to_string(PixelMoments::max_count));

    // Divided rather than multiplied: no product of these sides can be trusted.
    const std::size_t pixel = bytes_a_pixel(static_cast<Kind>(kind));
    const std::size_t sums = size - header_bytes - checksum_bytes;
    std::uint64_t left = sums / pixel;
    bool fits = sums % pixel == 0;
    for (const std::uint64_t side : sides) {
        fits = fits && side != 0 && left % side == 0;
        if (fits) left /= side;
    }
    if (!fits || left != 1)
        refuse(std::to_string(size) + " bytes are not those of frames of shape (" + std::to_string(sides[0]) +
               ", " + std::to_string(sides[1]) + ", " + std::to_string(sides[2]) + ")");
    return {static_cast<DType>(dtype),
            axes == 3,
            {static_cast<std::size_t>(sides[0]), static_cast<std::size_t>(sides[1]),
             static_cast<std::size_t>(sides[2])},
            count};
}

}  // namespace

std::size_t state_size(const PixelMoments& moments) noexcept {
    return header_bytes + moments.shape().pixels() * bytes_a_pixel(moments.kind()) + checksum_bytes;
}

void save_state(const PixelMoments& moments, DType dtype, void* out, bool plane_axis) {
    auto* place = static_cast<std::byte*>(out);
    save(moments, dtype, plane_axis, [&](const std::byte* bytes, std::size_t size) {
        std::memcpy(place, bytes, size);
        place += size;
    });
}

std::vector<std::byte> save_state(const PixelMoments& moments, DType dtype) {
    std::vector<std::byte> bytes(state_size(moments));
    save_state(moments, dtype, bytes.data());
    return bytes;
}

void save_state(const PixelMoments& moments, DType dtype, std::ostream& out) {
    save(moments, dtype, false, [&](const std::byte* bytes, std::size_t size) {
        out.write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(size));
    });
}

SavedMoments load_state(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    const Header header = read_header(bytes, size);
    const std::byte* sums = bytes + header_bytes;
    const std::byte* end = bytes + size - checksum_bytes;
    if (get<std::uint32_t>(end) != crc32c(sums, static_cast<std::size_t>(end - sums)))
        refuse("the sums are damaged");

    SavedMoments saved{PixelMoments(header.shape, kind_of(header.dtype)), header.dtype, header.plane_axis};
    MomentsState& state = saved.moments.state();
    state.count = header.count;
    for_each_array(state, [&](auto& values) {
        for (auto& value : values) {
            const auto bits = get<std::uint64_t>(sums);
            std::memcpy(&value, &bits, sizeof bits);
            sums += sizeof bits;
        }
    });
    const std::size_t pixel = saved.moments.check().impossible;
    if (pixel < header.shape.pixels()) refuse("no frames have the sums of pixel " + std::to_string(pixel));
    return saved;
}

}  // namespace camnorm

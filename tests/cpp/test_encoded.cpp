#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "camnorm/encoded.hpp"
#include "camnorm/error.hpp"
#include "camnorm/moments.hpp"

using namespace camnorm;

namespace {

using Bytes = std::vector<std::byte>;

/// LZW codes of 9 bits, each for one byte: the table is cleared before it needs wider ones.
Bytes lzw_of(const Bytes& data) {
    std::vector<bool> bits;
    const auto put = [&](unsigned code) {
        for (int i = 8; i >= 0; --i) bits.push_back((code >> i & 1) != 0);
    };
    for (std::size_t i = 0; i < data.size(); ++i) {
        if (i % 200 == 0) put(256);
        put(std::to_integer<unsigned>(data[i]));
    }
    put(257);
    Bytes packed((bits.size() + 7) / 8);
    for (std::size_t i = 0; i < bits.size(); ++i)
        if (bits[i]) packed[i / 8] |= std::byte{1} << (7 - i % 8);
    return packed;
}

/// A deflate stream of stored blocks, in the wrapping of zlib.
Bytes deflate_of(const Bytes& data) {
    std::uint32_t a = 1, b = 0;
    for (const std::byte x : data) {
        a = (a + std::to_integer<std::uint32_t>(x)) % 65521;
        b = (b + a) % 65521;
    }
    Bytes out{std::byte{0x78}, std::byte{0x01}};
    const auto put = [&](std::uint32_t value) { out.push_back(static_cast<std::byte>(value)); };
    std::size_t i = 0;
    do {
        const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(data.size() - i, 999));
        put(i + n == data.size() ? 1 : 0);
        for (const std::uint32_t length : {n, ~n}) {
            put(length & 0xFF);
            put(length >> 8 & 0xFF);
        }
        for (std::uint32_t j = 0; j < n; ++j) out.push_back(data[i++]);
    } while (i < data.size());
    for (const int shift : {24, 16, 8, 0}) put((b << 16 | a) >> shift & 0xFF);
    return out;
}

Bytes encode(Compression compression, const Bytes& data) {
    switch (compression) {
        case Compression::lzw: return lzw_of(data);
        case Compression::deflate: return deflate_of(data);
        default: return data;
    }
}

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

/// A file with the segments of frames.
class File {
public:
    File(const std::vector<std::uint16_t>& x, std::size_t count, FrameShape shape, Encoding encoding)
        : file_(std::tmpfile()), files_(count, fileno(file_.get())) {
        frames_ = {files_.data(), nullptr, encoding, DType::uint16, count, shape};
        const std::size_t h = encoding.segment_height, w = encoding.segment_width;
        for (std::size_t f = 0; f < count; ++f)
            for (std::size_t row = 0; row < frames_.down(); ++row)
                for (std::size_t column = 0; column < frames_.across(); ++column) {
                    Bytes data;
                    for (std::size_t y = row * h; y < (row + 1) * h; ++y)
                        for (std::size_t i = column * w * shape.planes; i < (column + 1) * w * shape.planes;
                             ++i) {
                            const bool inside = y < shape.height && i < shape.width * shape.planes;
                            const unsigned v =
                                inside ? x[(f * shape.height + y) * shape.width * shape.planes + i] : 7U;
                            data.push_back(static_cast<std::byte>(v & 0xFF));
                            data.push_back(static_cast<std::byte>(v >> 8));
                        }
                    write(encode(encoding.compression, data));
                }
        std::fflush(file_.get());
        frames_.segments = segments_.data();
    }

    const EncodedFrames& frames() const { return frames_; }

    /// Overwrites the beginning of a segment.
    void damage(std::size_t segment) {
        std::fseek(file_.get(), static_cast<long>(segments_[segment].offset), SEEK_SET);
        for (int i = 0; i < 4; ++i) std::fputc(0xFF, file_.get());
        std::fflush(file_.get());
    }

    void cut(std::size_t segment) {
        REQUIRE(ftruncate(files_[0], static_cast<off_t>(segments_[segment].offset)) == 0);
    }

private:
    void write(const Bytes& data) {
        segments_.push_back({std::ftell(file_.get()), static_cast<std::int64_t>(data.size())});
        REQUIRE(std::fwrite(data.data(), 1, data.size(), file_.get()) == data.size());
    }

    std::unique_ptr<std::FILE, CloseFile> file_;
    std::vector<int> files_;
    std::vector<EncodedFrames::Segment> segments_;
    EncodedFrames frames_;
};

std::vector<std::uint16_t> some_pixels(std::size_t count) {
    std::mt19937 random(7);
    std::vector<std::uint16_t> x(count);
    for (auto& v : x) v = static_cast<std::uint16_t>(random() % 3000);
    return x;
}

bool same(const PixelMoments& a, const PixelMoments& b) {
    return a.count() == b.count() && a.state().sum == b.state().sum &&
           a.state().sum_of_squares == b.state().sum_of_squares;
}

bool same(const std::vector<FrameStatistics>& a, const std::vector<FrameStatistics>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return x.mean == y.mean && x.std == y.std && x.min == y.min && x.max == y.max;
    });
}

constexpr std::size_t count = 11;

template <class Error, class Call>
void check_refused(const std::string& message, const Call& call) {
    try {
        call();
        FAIL("nothing was thrown");
    } catch (const Error& error) {
        CHECK(std::string(error.what()) == message);
    }
}

}  // namespace

TEST_CASE("decoded frames count as those in memory do") {
    const FrameShape shapes[] = {{70, 90, 1}, {131, 257, 1}, {40, 50, 3}, {600, 500, 1}};
    for (const FrameShape shape : shapes) {
        const auto x = some_pixels(count * shape.pixels());
        const auto view = FramesView::contiguous(x.data(), DType::uint16, count, shape);
        PixelMoments expected(shape, Kind::integer);
        const auto rows = expected.add(view);
        for (const Compression compression : {Compression::none, Compression::lzw, Compression::deflate})
            for (const std::size_t height : {std::size_t{1}, std::size_t{9}, shape.height})
                for (const std::size_t width : {shape.width, std::size_t{32}}) {
                    Encoding encoding;
                    encoding.compression = compression;
                    encoding.segment_height = height;
                    encoding.segment_width = width;
                    const File file(x, count, shape, encoding);
                    std::vector<std::uint16_t> out(x.size());
                    decode(file.frames(), reinterpret_cast<std::byte*>(out.data()));
                    CHECK(out == x);
                    for (const int threads : {1, 3}) {
                        PixelMoments m(shape, DType::uint16);
                        CHECK(same(m.add(file.frames(), threads), rows));
                        CHECK(same(m, expected));
                        CHECK(m.add(file.frames(), threads, false).empty());
                        CHECK(same(m.subtract(file.frames(), threads), rows));
                        CHECK(same(m, expected));
                    }
                }
    }
}

TEST_CASE("a damaged frame leaves the moments as they were") {
    const FrameShape shape{200, 300, 1};
    const auto x = some_pixels(count * shape.pixels());
    PixelMoments m(shape, DType::uint16);
    m.add(FramesView::contiguous(x.data(), DType::uint16, count, shape));
    const PixelMoments before = m;
    Encoding encoding;
    encoding.segment_height = 10;
    encoding.segment_width = shape.width;
    std::vector<std::byte> out(2 * x.size());
    for (const Compression compression : {Compression::lzw, Compression::deflate})
        for (const std::size_t segment : {0u, 19u, 65u, 219u}) {
            encoding.compression = compression;
            File file(x, count, shape, encoding);
            file.damage(segment);
            const std::string message = "frame " + std::to_string(segment / 20) + " cannot be read: strip " +
                                        std::to_string(segment % 20) + " is damaged";
            for (const int threads : {1, 2}) {
                check_refused<Unreadable>(message, [&] { m.add(file.frames(), threads); });
                CHECK(same(m, before));
                check_refused<Unreadable>(message, [&] { m.subtract(file.frames(), threads); });
                CHECK(same(m, before));
            }
            check_refused<Unreadable>(message, [&] { decode(file.frames(), out.data()); });
            file.cut(segment);
            CHECK_THROWS_AS(m.add(file.frames(), 1), Unreadable);
            CHECK(same(m, before));
        }
}

TEST_CASE("a segment that claims more bytes than it can need is read no further") {
    const FrameShape shape{4, 5, 1};
    const auto x = some_pixels(shape.pixels());
    Encoding encoding;
    encoding.compression = Compression::lzw;
    encoding.segment_height = 4;
    encoding.segment_width = 5;
    const File file(x, 1, shape, encoding);
    EncodedFrames frames = file.frames();
    for (const std::int64_t bytes : {std::int64_t{-1}, std::int64_t{1} << 62}) {
        const EncodedFrames::Segment segment{frames.segments[0].offset, bytes};
        frames.segments = &segment;
        std::vector<std::byte> out(40);
        CHECK_THROWS_AS(decode(frames, out.data()), Unreadable);
    }
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "camnorm/error.hpp"
#include "camnorm/frames.hpp"
#include "camnorm/runtime.hpp"
#include "camnorm/version.hpp"

using namespace camnorm;

namespace {

/// CAMNORM_THREADS for as long as this lives.
class ThreadsVariable {
public:
    explicit ThreadsVariable(const char* value) { setenv("CAMNORM_THREADS", value, 1); }
    ~ThreadsVariable() { unsetenv("CAMNORM_THREADS"); }
    ThreadsVariable(const ThreadsVariable&) = delete;
    ThreadsVariable& operator=(const ThreadsVariable&) = delete;
};

}  // namespace

TEST_CASE("the build tells of itself") {
    const BuildInfo info = build_info();
    CHECK(info.version == CAMNORM_VERSION);
    CHECK(info.compiler != "unknown");
    REQUIRE_FALSE(info.isas.empty());
    CHECK(info.isas.front() == "baseline");
    CHECK(std::count(info.isas.begin(), info.isas.end(), info.isa) == 1);
    if (const char* forced = std::getenv("CAMNORM_ISA")) {
        const bool without_vnni = forced == std::string("avx512bw");
        CHECK(info.isa == (without_vnni ? "avx512" : forced));
        if (without_vnni) CHECK_FALSE(info.vnni);
    }
}

TEST_CASE("threads: what is asked for, then the environment, then the machine") {
    unsetenv("CAMNORM_THREADS");
    CHECK(resolve_threads(5) == 5);
    CHECK(resolve_threads(0) >= 1);
    CHECK_THROWS_WITH_AS(resolve_threads(-1), "threads must be positive, got -1", InvalidArgument);
    {
        const ThreadsVariable variable("3");
        CHECK(resolve_threads(0) == 3);
        CHECK(resolve_threads(2) == 2);
    }
    {
        const ThreadsVariable variable("");
        CHECK(resolve_threads(0) >= 1);
    }
    for (const char* wrong : {"0", "-1", "many", "2x"}) {
        const ThreadsVariable variable(wrong);
        const std::string message =
            "CAMNORM_THREADS must be a positive number, got '" + std::string(wrong) + "'";
        CHECK_THROWS_WITH_AS(resolve_threads(0), message.c_str(), InvalidArgument);
        CHECK(resolve_threads(1) == 1);
    }
    CHECK(resolve_threads(max_threads) == max_threads);
    CHECK_THROWS_WITH_AS(resolve_threads(99999999999), "threads must be at most 1024, got 99999999999",
                         InvalidArgument);
    const ThreadsVariable variable("1025");
    CHECK_THROWS_WITH_AS(resolve_threads(0), "CAMNORM_THREADS must be at most 1024, got '1025'",
                         InvalidArgument);
}

TEST_CASE("frames without gaps") {
    constexpr FrameShape shape{3, 4, 2};
    static_assert(shape.pixels() == 24);
    static_assert(shape != FrameShape{3, 4, 1});
    const double data[48] = {};
    FramesView view = FramesView::contiguous(data, DType::float64, 2, shape);
    CHECK(view.frames_contiguous());
    CHECK(view.frame(1) - view.frame(0) == 24 * 8);
    view.strides[0] = -view.strides[0];
    CHECK(view.frames_contiguous());
    for (std::size_t axis = 1; axis < 4; ++axis) {
        FramesView other = view;
        other.strides[axis] *= 2;
        CHECK_FALSE(other.frames_contiguous());
    }
    // The stride of an axis with one element means nothing.
    FramesView column = FramesView::contiguous(data, DType::float64, 2, {3, 1, 1});
    column.strides[2] = column.strides[3] = 0;
    CHECK(column.frames_contiguous());
}

TEST_CASE("pixel types") {
    constexpr DType all[] = {DType::uint8, DType::int8,    DType::uint16,  DType::int16,  DType::uint32,
                             DType::int32, DType::float16, DType::float32, DType::float64};
    for (DType dtype : all) {
        // The name ends in the number of bits.
        const std::string text = name(dtype);
        CHECK(std::stoul(text.substr(text.find_first_of("0123456789"))) == 8 * item_size(dtype));
        const bool integer = text.find("int") != std::string::npos && item_size(dtype) <= 2;
        CHECK((kind_of(dtype) == Kind::integer) == integer);
    }
}

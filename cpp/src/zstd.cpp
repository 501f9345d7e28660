#include "zstd.hpp"

#include <atomic>
#include <new>
#include <utility>

#include "lzw.hpp"

namespace camnorm {
namespace {

std::atomic<const ZstdFunctions*> in_use{nullptr};

}  // namespace

void use_zstd(const ZstdFunctions& functions) noexcept {
    static const ZstdFunctions kept = functions;
    in_use = &kept;
}

bool detail::has_zstd() noexcept { return in_use != nullptr; }

namespace detail {

Zstd Zstd::make() {
    Zstd zstd;
    zstd.context_ = in_use.load()->create();
    if (zstd.context_ == nullptr) throw std::bad_alloc();
    return zstd;
}

Zstd::Zstd(Zstd&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}

Zstd& Zstd::operator=(Zstd&& other) noexcept {
    std::swap(context_, other.context_);
    return *this;
}

Zstd::~Zstd() {
    if (context_ != nullptr) in_use.load()->release(context_);
}

std::ptrdiff_t Zstd::decode(const std::byte* data, std::size_t bytes, std::byte* out,
                            std::size_t capacity) noexcept {
    const ZstdFunctions& zstd = *in_use;
    const std::size_t n = zstd.decompress(context_, out, capacity, data, bytes);
    return zstd.is_error(n) != 0 ? damaged_codes : static_cast<std::ptrdiff_t>(n);
}

}  // namespace detail
}  // namespace camnorm

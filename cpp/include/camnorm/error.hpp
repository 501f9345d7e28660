#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "camnorm/export.h"

/// @file
/// What the library throws.

namespace camnorm {

/// An argument that cannot be used: a wrong shape, kind, count or option. The object is unchanged.
class CAMNORM_EXPORT InvalidArgument : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

/// Data of a kind (integer or float) that this object does not take. The object is unchanged.
class CAMNORM_EXPORT WrongKind : public InvalidArgument {
public:
    using InvalidArgument::InvalidArgument;
};

/// A frame with NaN or infinite pixels, which no sum could ever take back. The object is unchanged.
class CAMNORM_EXPORT NonFinite : public InvalidArgument {
public:
    NonFinite(std::size_t frame, const std::string& what) : InvalidArgument(what), frame_(frame) {}
    /// Index of the first such frame in the batch.
    std::size_t frame() const noexcept { return frame_; }

private:
    std::size_t frame_;
};

/// A frame that cannot be read from its file. The object is unchanged.
class CAMNORM_EXPORT Unreadable : public std::runtime_error {
public:
    Unreadable(std::size_t frame, const std::string& what) : std::runtime_error(what), frame_(frame) {}
    /// Index of the frame in the batch.
    std::size_t frame() const noexcept { return frame_; }

private:
    std::size_t frame_;
};

}  // namespace camnorm

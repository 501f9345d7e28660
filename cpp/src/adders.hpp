#pragma once

// The adder of each kind of frames.

#include "camnorm/frames.hpp"
#include "float_adder.hpp"
#include "integer_adder.hpp"

namespace camnorm::detail {

/// Calls use(adder) with the adder for frames of this dtype.
template <class Use>
auto with_adder(DType dtype, const Use& use) {
    return kind_of(dtype) == Kind::integer ? use(IntegerAdder(dtype)) : use(FloatAdder(dtype));
}

}  // namespace camnorm::detail

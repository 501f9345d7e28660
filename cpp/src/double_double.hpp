#pragma once

// Error-free transformations and arithmetic on unevaluated sums high + low, of doubles or of vectors
// of them. Dekker, Numer. Math. 18, 224 (1971); Joldes, Muller & Popescu, ACM TOMS 44, 15 (2017).
// All functions have internal linkage: this header is compiled for several instruction sets.

namespace camnorm::detail {

template <class T>
struct Unevaluated {
    T high;
    T low;
};

using DoubleDouble = Unevaluated<double>;

namespace {

/// a + b exactly.
template <class T>
inline Unevaluated<T> two_sum(T a, T b) {
    const T s = a + b;
    const T t = s - a;
    return {s, (a - (s - t)) + (b - t)};
}

/// a + b exactly, for |a| >= |b| or a == 0.
template <class T>
inline Unevaluated<T> fast_two_sum(T a, T b) {
    const T s = a + b;
    return {s, b - (s - a)};
}

/// a * b exactly, as long as nothing overflows (|a|, |b| < 2^995) or underflows.
inline DoubleDouble two_product(double a, double b) {
    const double p = a * b;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return {p, __builtin_fma(a, b, -p)};
#else
    constexpr double splitter = 134217729.0;  // 2^27 + 1 (Veltkamp)
    const double ta = splitter * a;
    const double a1 = ta - (ta - a);
    const double a2 = a - a1;
    const double tb = splitter * b;
    const double b1 = tb - (tb - b);
    const double b2 = b - b1;
    return {p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2};
#endif
}

/// Relative error at most 2^-105.
inline DoubleDouble add(DoubleDouble a, double b) {
    const DoubleDouble s = two_sum(a.high, b);
    return fast_two_sum(s.high, s.low + a.low);
}

/// Relative error at most 3 * 2^-106, also under cancellation.
template <class T>
inline Unevaluated<T> add(Unevaluated<T> a, Unevaluated<T> b) {
    const Unevaluated<T> s = two_sum(a.high, b.high);
    const Unevaluated<T> t = two_sum(a.low, b.low);
    const Unevaluated<T> v = fast_two_sum(s.high, s.low + t.high);
    return fast_two_sum(v.high, v.low + t.low);
}

inline DoubleDouble negate(DoubleDouble a) { return {-a.high, -a.low}; }

inline DoubleDouble multiply(DoubleDouble a, DoubleDouble b) {
    const DoubleDouble p = two_product(a.high, b.high);
    return fast_two_sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}

inline DoubleDouble divide(DoubleDouble a, DoubleDouble b) {
    const double q1 = a.high / b.high;
    const DoubleDouble r = add(a, negate(multiply(b, {q1, 0.0})));
    return fast_two_sum(q1, r.high / b.high);
}

}  // namespace
}  // namespace camnorm::detail

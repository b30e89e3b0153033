// elementary.cuh: the elementary functions of one argument as functors, value beside derivative,
// named after the array API in camel case. M is the arithmetic policy of math.cuh. Where a
// derivative is singular it is infinite here; the launcher's chain() keeps a zero cotangent zero.
#pragma once
#include "math.cuh"

namespace ge {

// --- signs and steps: the derivative is a sign, or zero everywhere ------------------------------
// y = |x|; y' = sign x, 0 at 0
template <class M> struct Abs {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return magnitude(x); }
  GE_HD A partial(A x) const { return x > A(0) ? A(1) : x < A(0) ? A(-1) : x == A(0) ? A(0) : x; }
};
// y = -x
template <class M> struct Negative {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return -x; }
  GE_HD A partial(A) const { return A(-1); }
};
// y = x
template <class M> struct Positive {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return x; }
  GE_HD A partial(A) const { return A(1); }
};
// y = -1, 0, 1, or NaN
template <class M> struct Sign {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return x > A(0) ? A(1) : x < A(0) ? A(-1) : x == A(0) ? A(0) : x; }
  GE_HD A partial(A) const { return A(0); }
};
template <class M> struct Floor {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::floor(x); }
  GE_HD A partial(A) const { return A(0); }
};
template <class M> struct Ceil {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::ceil(x); }
  GE_HD A partial(A) const { return A(0); }
};
template <class M> struct Trunc {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::trunc(x); }
  GE_HD A partial(A) const { return A(0); }
};
// to the nearest integer, halves to even
template <class M> struct Round {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::rint(x); }
  GE_HD A partial(A) const { return A(0); }
};

// --- powers and roots ---------------------------------------------------------------------------
// y = x^2; y' = 2x
template <class M> struct Square {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return x * x; }
  GE_HD A partial(A x) const { return x + x; }
};
// y = 1/x; y' = -1/x^2
template <class M> struct Reciprocal {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::divide(A(1), x); }
  GE_HD A partial(A x) const {
    const A r = M::divide(A(1), x);
    return -r * r;
  }
};
// y = sqrt x; y' = 1 / (2 sqrt x)
template <class M> struct Sqrt {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::sqrt(x); }
  GE_HD A partial(A x) const { return M::divide(A(0.5), M::sqrt(x)); }
};
// y = x^(-1/2); y' = -1/2 x^(-3/2)
template <class M> struct Rsqrt {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::rsqrt(x); }
  GE_HD A partial(A x) const { return M::divide(A(-0.5) * M::rsqrt(x), x); }
};

// --- exponentials and logarithms ----------------------------------------------------------------
// y = e^x = y'
template <class M> struct Exp {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::exp(x); }
  GE_HD A partial(A x) const { return M::exp(x); }
};
// y = e^x - 1; y' = e^x
template <class M> struct Expm1 {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::expm1(x); }
  GE_HD A partial(A x) const { return M::exp(x); }
};
// y = log x; y' = 1/x
template <class M> struct Log {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::log(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), x); }
};
// y = log(1 + x); y' = 1 / (1 + x)
template <class M> struct Log1p {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::log1p(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), A(1) + x); }
};
// y' = 1 / (x log 2)
template <class M> struct Log2 {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::log2(x); }
  GE_HD A partial(A x) const { return M::divide(A(1.44269504088896340736), x); }
};
// y' = 1 / (x log 10)
template <class M> struct Log10 {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::log10(x); }
  GE_HD A partial(A x) const { return M::divide(A(0.43429448190325182765), x); }
};

// --- trigonometry -------------------------------------------------------------------------------
template <class M> struct Sin {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::sin(x); }
  GE_HD A partial(A x) const { return M::cos(x); }
};
template <class M> struct Cos {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::cos(x); }
  GE_HD A partial(A x) const { return -M::sin(x); }
};
// y' = 1 + y^2
template <class M> struct Tan {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::tan(x); }
  GE_HD A partial(A x) const {
    const A y = M::tan(x);
    return A(1) + y * y;
  }
};
// y' = 1 / sqrt((1 - x)(1 + x)); the product keeps the digits that 1 - x^2 loses near 1
template <class M> struct Asin {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::asin(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), M::sqrt((A(1) - x) * (A(1) + x))); }
};
template <class M> struct Acos {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::acos(x); }
  GE_HD A partial(A x) const { return M::divide(A(-1), M::sqrt((A(1) - x) * (A(1) + x))); }
};
// y' = 1 / (1 + x^2)
template <class M> struct Atan {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::atan(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), A(1) + x * x); }
};

// --- hyperbolic functions (tanh is an activation) -----------------------------------------------
template <class M> struct Sinh {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::sinh(x); }
  GE_HD A partial(A x) const { return M::cosh(x); }
};
template <class M> struct Cosh {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::cosh(x); }
  GE_HD A partial(A x) const { return M::sinh(x); }
};
// y' = 1 / sqrt(1 + x^2); hypot does not overflow
template <class M> struct Asinh {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::asinh(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), M::hypot(A(1), x)); }
};
// y' = 1 / sqrt((x - 1)(x + 1)); two roots do not overflow
template <class M> struct Acosh {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::acosh(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), M::sqrt(x - A(1)) * M::sqrt(x + A(1))); }
};
// y' = 1 / ((1 - x)(1 + x)); NaN outside [-1, 1], as the value is
template <class M> struct Atanh {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::atanh(x); }
  GE_HD A partial(A x) const { return M::divide(A(1), (A(1) - x) * (A(1) + x)); }
};

// --- error functions ----------------------------------------------------------------------------
// y' = 2/sqrt(pi) e^(-x^2)
template <class M> struct Erf {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::erf(x); }
  GE_HD A partial(A x) const { return A(1.12837916709551257390) * M::exp(-x * x); }
};
template <class M> struct Erfc {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::erfc(x); }
  GE_HD A partial(A x) const { return A(-1.12837916709551257390) * M::exp(-x * x); }
};

}  // namespace ge

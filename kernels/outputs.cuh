// outputs.cuh: derivatives of functions whose row keeps the output y for the way back, not the input.
// They serve the vjp kernels only; the functor of the same first name gives the value.
#pragma once
#include "math.cuh"

namespace ge {

template <class M> struct ExpFromOutput {
  using A = scalar<M>;
  GE_HD A partial(A y) const { return y; }
};
template <class M> struct SqrtFromOutput {
  using A = scalar<M>;
  GE_HD A partial(A y) const { return M::divide(A(0.5), y); }
};
template <class M> struct TanFromOutput {
  using A = scalar<M>;
  GE_HD A partial(A y) const { return A(1) + y * y; }
};
// y = a / b, of y and b
template <class M> struct DivideFromOutput {
  using A = scalar<M>;
  GE_HD A partial_a(A, A b) const { return M::divide(A(1), b); }
  GE_HD A partial_b(A y, A b) const { return -M::divide(y, b); }
};
// y = |a| with the sign of b, of y and a; partial_b is unused
template <class M> struct CopysignFromOutput {
  using A = scalar<M>;
  GE_HD A sign(A v) const { return v > A(0) ? A(1) : v < A(0) ? A(-1) : v; }
  GE_HD A partial_a(A y, A a) const { return sign(y) * sign(a); }
  GE_HD A partial_b(A, A) const { return A(0); }
};
// y = sqrt(a^2 + b^2), of y and either side; 0 where y is; partial_b is unused
template <class M> struct HypotFromOutput {
  using A = scalar<M>;
  GE_HD A partial_a(A y, A a) const { return y == A(0) ? A(0) : M::divide(a, y); }
  GE_HD A partial_b(A, A) const { return A(0); }
};

}  // namespace ge

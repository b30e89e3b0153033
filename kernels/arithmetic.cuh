// arithmetic.cuh: the functions of two arguments as functors, value beside both derivatives, named
// after the array API in camel case. M is the arithmetic policy of math.cuh. At ties maximum and
// minimum share the derivative evenly between both sides.
#pragma once
#include "math.cuh"

namespace ge {

// --- the four operations ------------------------------------------------------------------------
template <class M> struct Add {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return a + b; }
  GE_HD A partial_a(A, A) const { return A(1); }
  GE_HD A partial_b(A, A) const { return A(1); }
};
template <class M> struct Subtract {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return a - b; }
  GE_HD A partial_a(A, A) const { return A(1); }
  GE_HD A partial_b(A, A) const { return A(-1); }
};
template <class M> struct Multiply {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return a * b; }
  GE_HD A partial_a(A, A b) const { return b; }
  GE_HD A partial_b(A a, A) const { return a; }
};
// a / b; 1/b and -(a/b)/b
template <class M> struct Divide {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return M::divide(a, b); }
  GE_HD A partial_a(A, A b) const { return M::divide(A(1), b); }
  GE_HD A partial_b(A a, A b) const { return -M::divide(M::divide(a, b), b); }
};

// --- larger and smaller -------------------------------------------------------------------------
template <class M> struct Maximum {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return a != a || a > b ? a : b; }
  GE_HD A partial_a(A a, A b) const { return a > b ? A(1) : a == b ? A(0.5) : A(0); }
  GE_HD A partial_b(A a, A b) const { return b > a ? A(1) : a == b ? A(0.5) : A(0); }
};
template <class M> struct Minimum {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return a != a || a < b ? a : b; }
  GE_HD A partial_a(A a, A b) const { return a < b ? A(1) : a == b ? A(0.5) : A(0); }
  GE_HD A partial_b(A a, A b) const { return b < a ? A(1) : a == b ? A(0.5) : A(0); }
};

// --- powers, lengths and angles -----------------------------------------------------------------
// a^b; b a^(b-1), 0 where b = 0; a^b log a, 0 where a = 0 and b >= 0. A power that vanishes makes
// the derivative vanish, also against an infinite factor.
template <class M> struct Power {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return M::pow(a, b); }
  GE_HD A partial_a(A a, A b) const {
    const A p = M::pow(a, b - A(1));
    return b == A(0) || p == A(0) ? A(0) : b * p;
  }
  GE_HD A partial_b(A a, A b) const {
    const A y = M::pow(a, b);
    return y == A(0) || (a == A(0) && b >= A(0)) ? A(0) : y * M::log(a);
  }
};
// sqrt(a^2 + b^2); a/y and b/y, 0 at the origin
template <class M> struct Hypot {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return M::hypot(a, b); }
  GE_HD A partial_a(A a, A b) const {
    return a == A(0) && b == b ? A(0) : M::divide(a, M::hypot(a, b));
  }
  GE_HD A partial_b(A a, A b) const {
    return b == A(0) && a == a ? A(0) : M::divide(b, M::hypot(a, b));
  }
};
// the angle of (b, a); b / (a^2 + b^2) and -a / (a^2 + b^2), divided twice so that no square
// overflows
template <class M> struct Atan2 {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return M::atan2(a, b); }
  GE_HD A partial_a(A a, A b) const {
    const A r = M::hypot(a, b);
    return M::divide(M::divide(b, r), r);
  }
  GE_HD A partial_b(A a, A b) const {
    const A r = M::hypot(a, b);
    return -M::divide(M::divide(a, r), r);
  }
};
// log(e^a + e^b); sigmoid(a - b) and sigmoid(b - a). Equal infinities have no difference: y is
// theirs.
template <class M> struct Logaddexp {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const {
    const A high = a > b ? a : b, e = M::exp(-magnitude(a - b));
    return a == b ? a + A(0.69314718055994530942) : high + M::log1p(e);
  }
  GE_HD A partial_a(A a, A b) const { return a == b ? A(0.5) : logistic<M>(a - b); }
  GE_HD A partial_b(A a, A b) const { return a == b ? A(0.5) : logistic<M>(b - a); }
};

// --- remainders and signs -----------------------------------------------------------------------
// floor(a / b) from the remainder, so that it is exact; derivative zero
template <class M> struct FloorDivide {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const {
    if (b == A(0)) return a / b;
    const A r = M::fmod(a, b), q = (a - r) / b;
    const A floored = r != A(0) && (r < A(0)) != (b < A(0)) ? q - A(1) : q;
    return M::rint(floored);
  }
  GE_HD A partial_a(A, A) const { return A(0); }
  GE_HD A partial_b(A, A) const { return A(0); }
};
// a - b floor(a / b), with the sign of b; 1 and -floor(a / b)
template <class M> struct Remainder {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const {
    const A r = M::fmod(a, b);
    if (r == A(0)) return M::copysign(A(0), b);
    return (r < A(0)) != (b < A(0)) ? r + b : r;
  }
  GE_HD A partial_a(A, A) const { return A(1); }
  GE_HD A partial_b(A a, A b) const { return -FloorDivide<M>{}.forward(a, b); }
};
// |a| with the sign of b; sign(a) sign(b), 0
template <class M> struct Copysign {
  using A = scalar<M>;
  GE_HD A forward(A a, A b) const { return M::copysign(a, b); }
  GE_HD A partial_a(A a, A b) const {
    if (a != a || a == A(0)) return a;
    return M::copysign(a > A(0) ? A(1) : A(-1), a > A(0) ? b : -b);
  }
  GE_HD A partial_b(A, A) const { return A(0); }
};

}  // namespace ge

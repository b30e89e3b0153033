// activations.cuh: one functor per activation, value beside derivative, in the order of the rows in
// gradengine/ops/activations.py and then gates.py. M is the arithmetic policy of math.cuh, A its
// float or double; the parameters are members, in the row's order. Formulas and the derivative at
// kinks are PyTorch's. Comparisons are written so that a NaN falls through to the branch that
// returns it.
#pragma once
#include "math.cuh"

namespace ge {

// --- rectifiers: straight pieces ----------------------------------------------------------------
// y = max(x, 0); y' = 1 above 0, else 0
template <class M> struct Relu {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return x <= A(0) ? A(0) : x; }
  GE_HD A partial(A x) const { return x > A(0) ? A(1) : A(0); }
};

// y = x above 0, else slope x; y' = 1 above 0, else slope
template <class M> struct LeakyRelu {
  using A = scalar<M>;
  A negative_slope;
  GE_HD A forward(A x) const { return x > A(0) ? x : negative_slope * x; }
  GE_HD A partial(A x) const { return x > A(0) ? A(1) : negative_slope; }
};

// y = x above 0, else w x; dy/dx = 1 or w, dy/dw = 0 or x
template <class M> struct Prelu {
  using A = scalar<M>;
  GE_HD A forward(A x, A w) const { return x > A(0) ? x : w * x; }
  GE_HD A partial_a(A x, A w) const { return x > A(0) ? A(1) : w; }
  GE_HD A partial_b(A x, A) const { return x > A(0) ? A(0) : x; }
};

// y = min(max(x, 0), 6); y' = 1 strictly inside
template <class M> struct Relu6 {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return x <= A(0) ? A(0) : x >= A(6) ? A(6) : x; }
  GE_HD A partial(A x) const { return x > A(0) && x < A(6) ? A(1) : A(0); }
};

// --- exponential below zero ---------------------------------------------------------------------
// y = x above 0, else alpha (e^x - 1); y' = 1 or alpha e^x
template <class M> struct Elu {
  using A = scalar<M>;
  A alpha;
  GE_HD A forward(A x) const { return x > A(0) ? x : alpha * M::expm1(x); }
  GE_HD A partial(A x) const { return x > A(0) ? A(1) : alpha * M::exp(x); }
};

// y = s x above 0, else s a (e^x - 1); Klambauer et al. 2017, the two constants of section 2
template <class M> struct Selu {
  using A = scalar<M>;
  GE_HD A forward(A x) const {
    return x > A(0) ? A(1.0507009873554804934) * x : A(1.7580993408473768600) * M::expm1(x);
  }
  GE_HD A partial(A x) const {
    return x > A(0) ? A(1.0507009873554804934) : A(1.7580993408473768600) * M::exp(x);
  }
};

// y = x above 0, else alpha (e^(x/alpha) - 1); y' = 1 or e^(x/alpha)
template <class M> struct Celu {
  using A = scalar<M>;
  A alpha;
  GE_HD A forward(A x) const { return x > A(0) ? x : alpha * M::expm1(x * (A(1) / alpha)); }
  GE_HD A partial(A x) const { return x > A(0) ? A(1) : M::exp(x * (A(1) / alpha)); }
};

// --- sigmoids -----------------------------------------------------------------------------------
// y = log(1 + e^(beta x)) / beta; y' = sigmoid(beta x). The threshold is PyTorch's signature only:
// x alone beyond it would lose digits in double. x itself, not beta x / beta, so that no product
// overflows.
template <class M> struct Softplus {
  using A = scalar<M>;
  A beta, threshold;
  GE_HD A forward(A x) const {
    const A z = beta * x, log = M::log1p(M::exp(-magnitude(z)));
    return (z > A(0) ? x : A(0)) + log * (A(1) / beta);  // the quotient leaves the loop
  }
  GE_HD A partial(A x) const { return logistic<M>(beta * x); }
};

// y = 1 / (1 + e^-x); y' = y (1 - y)
template <class M> struct Sigmoid {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return logistic<M>(x); }
  GE_HD A partial(A x) const { return logistic_slope<M>(x); }
};

// y = -log(1 + e^-x); y' = sigmoid(-x)
template <class M> struct LogSigmoid {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return -log1p_exp<M>(-x); }
  GE_HD A partial(A x) const { return logistic<M>(-x); }
};

// y = tanh x; y' = 1 - y^2
template <class M> struct Tanh {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::tanh(x); }
  GE_HD A partial(A x) const { return M::sech2(x); }
};

// --- clipped and shrunken -----------------------------------------------------------------------
// y = min(max(x, min_val), max_val); y' = 1 strictly inside
template <class M> struct Hardtanh {
  using A = scalar<M>;
  A min_val, max_val;
  GE_HD A forward(A x) const { return x <= min_val ? min_val : x >= max_val ? max_val : x; }
  GE_HD A partial(A x) const { return x > min_val && x < max_val ? A(1) : A(0); }
};

// y = relu6(x + 3) / 6; y' = 1/6 for -3 < x < 3
template <class M> struct Hardsigmoid {
  using A = scalar<M>;
  GE_HD A forward(A x) const {
    return x <= A(-3) ? A(0) : x >= A(3) ? A(1) : (x + A(3)) * A(0.16666666666666666667);
  }
  GE_HD A partial(A x) const { return x > A(-3) && x < A(3) ? A(0.16666666666666666667) : A(0); }
};

// y = x relu6(x + 3) / 6; y' = 0, x/3 + 1/2, 1
template <class M> struct Hardswish {
  using A = scalar<M>;
  GE_HD A forward(A x) const {
    return x <= A(-3) ? A(0) : x >= A(3) ? x : x * (x + A(3)) * A(0.16666666666666666667);
  }
  GE_HD A partial(A x) const {
    return x <= A(-3) ? A(0) : x >= A(3) ? A(1) : x * A(0.33333333333333333333) + A(0.5);
  }
};

// y = x / (1 + |x|), its limits at the infinities; y' = 1 / (1 + |x|)^2
template <class M> struct Softsign {
  using A = scalar<M>;
  GE_HD A forward(A x) const {
    const A t = x > A(1e30) ? A(1e30) : x < A(-1e30) ? A(-1e30) : x;
    return M::divide(t, A(1) + magnitude(t));
  }
  GE_HD A partial(A x) const {
    const A r = M::divide(A(1), A(1) + magnitude(x));
    return r * r;
  }
};

// y = x - tanh x; y' = tanh^2 x
template <class M> struct Tanhshrink {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::tanhshrink(x); }
  GE_HD A partial(A x) const {
    const A t = M::tanh(x);
    return t * t;
  }
};

// y = x - lambd above lambd, x + lambd below -lambd, else 0; y' = 1 outside
template <class M> struct Softshrink {
  using A = scalar<M>;
  A lambd;
  GE_HD A forward(A x) const {
    return magnitude(x) <= lambd ? A(0) : x > A(0) ? x - lambd : x + lambd;
  }
  GE_HD A partial(A x) const { return magnitude(x) > lambd ? A(1) : A(0); }
};

// y = x where |x| > lambd, else 0; y' = 1 outside
template <class M> struct Hardshrink {
  using A = scalar<M>;
  A lambd;
  GE_HD A forward(A x) const { return magnitude(x) <= lambd ? A(0) : x; }
  GE_HD A partial(A x) const { return magnitude(x) > lambd ? A(1) : A(0); }
};

// y = x above the threshold, else value; y' = 1 above
template <class M> struct Threshold {
  using A = scalar<M>;
  A threshold, value;
  GE_HD A forward(A x) const { return x <= threshold ? value : x; }
  GE_HD A partial(A x) const { return x > threshold ? A(1) : A(0); }
};

// --- smooth gates: x times a sigmoid-like curve -------------------------------------------------
// y = x Phi(x); y' = Phi(x) + x phi(x), Phi and phi the standard normal's
template <class M> struct Gelu {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return M::gelu(x); }
  GE_HD A partial(A x) const { return M::gelu_slope(x); }
};

// y = x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3);
// y' = s + 2 x u' s (1 - s)
template <class M> struct GeluTanh {
  using A = scalar<M>;
  GE_HD A twice_u(A x) const {
    return x * (A(1.59576912160573071175) + A(0.0713548162726002527) * x * x);
  }
  GE_HD A forward(A x) const { return bounded_below(x) * logistic<M>(twice_u(x)); }
  GE_HD A partial(A x) const {
    const A z = twice_u(x), e = M::exp(-magnitude(z)), r = M::reciprocal(A(1) + e);
    const A slope = x * (A(1.59576912160573071175) + A(0.2140644488178007581) * x * x);
    return (x < A(0) ? e * r : r) + (e == A(0) ? A(0) : slope * e * r * r);
  }
};

// y = x sigmoid(x); y' = s + x s (1 - s)
template <class M> struct Silu {
  using A = scalar<M>;
  GE_HD A forward(A x) const { return bounded_below(x) * logistic<M>(x); }
  GE_HD A partial(A x) const {
    const A e = M::exp(-magnitude(x)), r = M::reciprocal(A(1) + e);
    return (x < A(0) ? e * r : r) + (e == A(0) ? A(0) : x * e * r * r);
  }
};

// y = x tanh(softplus x). With e = e^x and n = e (e + 2): tanh(softplus x) = n / (n + 2), and
// y' = n / (n + 2) + 4 x e (1 + e) / (n + 2)^2. Above 20 (40 in double) tanh rounds to 1.
template <class M> struct Mish {
  using A = scalar<M>;
  static constexpr A linear = sizeof(A) == 4 ? A(20) : A(40);
  GE_HD A forward(A x) const {
    const A e = M::exp(x > linear ? linear : x), n = e * (e + A(2));
    return bounded_below(x) * (n * M::reciprocal(n + A(2)));
  }
  GE_HD A partial(A x) const {
    const A e = M::exp(x > linear ? linear : x), n = e * (e + A(2)), r = M::reciprocal(n + A(2));
    return x > linear ? A(1) : n * r + (e == A(0) ? A(0) : A(4) * x * e * (A(1) + e) * r * r);
  }
};

}  // namespace ge

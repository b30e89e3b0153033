// math.cuh: the arithmetic policy of the functors. A functor states its formula once, in the words
// of a policy M; math<float> and math<double> answer with libm, math<f16> and math<bf16> with the
// hardware's exp2, reciprocal and tanh in float, within 2 ulp of the 16-bit type. On the host the
// hardware approximations are libm moved by their documented worst error, so that the tests meet
// the worst case.
#pragma once
#include "common.cuh"

namespace ge {

template <class M> using scalar = typename M::A;

template <class A> GE_HD A largest(A a, A b) { return a > b ? a : b; }
template <class A> GE_HD A magnitude(A x) { return x < A(0) ? -x : x; }
template <class A> GE_HD A lowest() {
  return sizeof(A) == 4 ? A(-3.402823466e+38f) : A(-1.7976931348623157e308);
}
// A gate that has underflowed to zero times -inf shall be -0, its limit, and not NaN.
template <class A> GE_HD A bounded_below(A x) { return x < lowest<A>() ? lowest<A>() : x; }
template <> GE_HD float magnitude<float>(float x) { return fabsf(x); }
template <> GE_HD double magnitude<double>(double x) { return fabs(x); }

// gelu = x Phi(x) and its slope Phi(x) + x phi(x), given the tail Phi(-|x|) and e = exp(-x^2/2)
GE_HD float gelu_from_tail(float x, float tail) {
  return bounded_below(x) * (x < 0.f ? tail : 1.f - tail);
}
GE_HD float gelu_slope_from_tail(float x, float tail, float e) {
  const float xe = e == 0.f ? 0.f : x * e;
  return fmaf(0.39894228f, xe, x < 0.f ? tail : 1.f - tail);
}

// --- hardware approximations --------------------------------------------------------------------
namespace hardware {
#ifdef GE_ON_DEVICE
#define GE_APPROXIMATION(NAME, PTX)         \
  GE_HD float NAME(float x) {               \
    float y;                                \
    asm(PTX " %0, %1;" : "=f"(y) : "f"(x)); \
    return y;                               \
  }
GE_APPROXIMATION(exp2, "ex2.approx.ftz.f32")
GE_APPROXIMATION(reciprocal, "rcp.approx.ftz.f32")
GE_APPROXIMATION(log2, "lg2.approx.f32")
GE_APPROXIMATION(sqrt, "sqrt.approx.f32")
GE_APPROXIMATION(rsqrt, "rsqrt.approx.f32")
GE_APPROXIMATION(tanh, "tanh.approx.f32")
#undef GE_APPROXIMATION
GE_HD float divide(float a, float b) {
  float y;
  asm("div.full.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}
#else
// -1, 0 or 1 times the maximum error of the PTX manual: the tests build all three.
#ifndef GE_HARDWARE_ERROR
#define GE_HARDWARE_ERROR 0
#endif
inline float flush(float x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0.f, x) : x; }
inline float off(double y, double bound) { return float(y * (1.0 + GE_HARDWARE_ERROR * bound)); }
inline float exp2(float x) { return flush(off(::exp2(double(x)), 2.4e-7)); }     // 2^-22
inline float reciprocal(float x) { return flush(off(1.0 / flush(x), 1.2e-7)); }  // 1 ulp
inline float log2(float x) {                                                     // 2^-22 absolute
  const double y = ::log2(double(x));
  return x > 0.5f && x < 2.f ? float(y + GE_HARDWARE_ERROR * 2.4e-7) : off(y, 1.6e-7);
}
inline float sqrt(float x) { return off(::sqrt(double(x)), 1.2e-7); }
inline float rsqrt(float x) { return off(1.0 / ::sqrt(double(x)), 1.3e-7); }
inline float tanh(float x) { return off(::tanh(double(x)), 4.93e-4); }  // 2^-10.987
inline float divide(float a, float b) { return off(double(a) / double(b), 2.4e-7); }
#endif
}  // namespace hardware

// --- accurate: libm -----------------------------------------------------------------------------
// One name per function for float and double, so that a functor need not know which it has.
template <class T> struct math;

#define GE_LIBM(NAME, FLOAT, DOUBLE)                    \
  static GE_HD float NAME(float x) { return FLOAT(x); } \
  static GE_HD double NAME(double x) { return DOUBLE(x); }

struct libm {
  GE_LIBM(exp, expf, ::exp)
  GE_LIBM(expm1, expm1f, ::expm1) GE_LIBM(log, logf, ::log) GE_LIBM(log1p, log1pf, ::log1p)
      GE_LIBM(log2, log2f, ::log2) GE_LIBM(log10, log10f, ::log10) GE_LIBM(sqrt, sqrtf, ::sqrt)
          GE_LIBM(sin, sinf, ::sin) GE_LIBM(cos, cosf, ::cos) GE_LIBM(tan, tanf, ::tan)
              GE_LIBM(asin, asinf, ::asin) GE_LIBM(acos, acosf, ::acos) GE_LIBM(atan, atanf, ::atan)
                  GE_LIBM(sinh, sinhf, ::sinh) GE_LIBM(cosh, coshf, ::cosh)
                      GE_LIBM(tanh, tanhf, ::tanh) GE_LIBM(asinh, asinhf, ::asinh)
                          GE_LIBM(acosh, acoshf, ::acosh) GE_LIBM(atanh, atanhf, ::atanh)
                              GE_LIBM(erf, erff, ::erf) GE_LIBM(erfc, erfcf, ::erfc)
                                  GE_LIBM(floor, floorf, ::floor) GE_LIBM(ceil, ceilf, ::ceil)
                                      GE_LIBM(trunc, truncf, ::trunc)
                                          GE_LIBM(rint, rintf, ::rint) static GE_HD
      float pow(float a, float b) {
    return powf(a, b);
  }
  static GE_HD double pow(double a, double b) { return ::pow(a, b); }
  static GE_HD float atan2(float a, float b) { return atan2f(a, b); }
  static GE_HD double atan2(double a, double b) { return ::atan2(a, b); }
  static GE_HD float hypot(float a, float b) { return hypotf(a, b); }
  static GE_HD double hypot(double a, double b) { return ::hypot(a, b); }
  static GE_HD float fmod(float a, float b) { return fmodf(a, b); }
  static GE_HD double fmod(double a, double b) { return ::fmod(a, b); }
  static GE_HD float copysign(float a, float b) { return copysignf(a, b); }
  static GE_HD double copysign(double a, double b) { return ::copysign(a, b); }
#ifdef GE_ON_DEVICE
  static GE_HD float rsqrt(float x) { return rsqrtf(x); }
  static GE_HD double rsqrt(double x) { return ::rsqrt(x); }
#else
  static GE_HD float rsqrt(float x) { return float(1.0 / ::sqrt(double(x))); }
  static GE_HD double rsqrt(double x) { return 1.0 / ::sqrt(x); }
#endif
};
#undef GE_LIBM

template <class T> struct accurate : libm {
  using A = accumulate<T>;
  static GE_HD A divide(A a, A b) { return a / b; }
  // of numbers from 1 to 2^64, as the sigmoids need it: the hardware's guess and a Newton step in
  // float
  static GE_HD float reciprocal(float x) {
    const float r = hardware::reciprocal(x);
    return fmaf(r, fmaf(-x, r, 1.f), r);
  }
  static GE_HD double reciprocal(double x) { return 1.0 / x; }
  // 1 - tanh(x)^2 without the cancellation: 4 e / (1 + e)^2 with e = exp(-2|x|)
  static GE_HD A sech2(A x) {
    const A e = libm::exp(A(-2) * magnitude(x)), r = reciprocal(A(1) + e);
    return A(4) * e * r * r;
  }
  // standard normal: y = x Phi(x), and Phi(x) + x phi(x)
  static GE_HD double gelu(double x) {
    return 0.5 * bounded_below(x) * libm::erfc(-0.70710678118654752440 * x);
  }
  static GE_HD double gelu_slope(double x) {
    const double phi = 0.39894228040143267794 * libm::exp(-0.5 * x * x);
    return 0.5 * libm::erfc(-0.70710678118654752440 * x) + (phi == 0.0 ? 0.0 : x * phi);
  }
  // In float erfc costs as much as the memory gives time for: Phi(-|x|) = e t P(t) instead, with
  // e = exp(-x^2/2) and t = 1 / (1 + 0.475 |x|/sqrt 2), P a minimax fit of half the scaled erfc,
  // relative error 2.7e-8 for |x| < 14.
  static GE_HD float upper_tail(float x, float& e) {
    const float t = reciprocal(fmaf(0.335875721f, fminf(fabsf(x), 32.f), 1.f));
    e = libm::exp(-0.5f * x * x);
    float p = fmaf(t, -0.0233127699f, 0.129949813f);
    p = fmaf(t, p, -0.265096872f);
    p = fmaf(t, p, 0.204714905f);
    p = fmaf(t, p, -0.0447242369f);
    p = fmaf(t, p, 0.116014145f);
    p = fmaf(t, p, 0.114004542f);
    p = fmaf(t, p, 0.134475508f);
    p = fmaf(t, p, 0.13397498f);
    return p * t * e;
  }
  static GE_HD float gelu(float x) {
    float e;
    const float tail = upper_tail(x, e);
    return gelu_from_tail(x, tail);
  }
  static GE_HD float gelu_slope(float x) {
    float e;
    const float tail = upper_tail(x, e);
    return gelu_slope_from_tail(x, tail, e);
  }
  // x - tanh x. Below 5/4 the difference loses digits: there (x cosh x - sinh x) / cosh x with the
  // numerator's series, whose terms all have the sign of x.
  static GE_HD A tanhshrink(A x) {
    if (magnitude(x) >= A(1.25)) return x - libm::tanh(x);
    const A q = x * x;
    A p = A(0);
    if constexpr (sizeof(A) == 8) {
      p = A(24.0 / 15511210043330985984000000.0);
      p = p * q + A(22.0 / 25852016738884976640000.0);
      p = p * q + A(20.0 / 51090942171709440000.0);
      p = p * q + A(18.0 / 121645100408832000.0);
      p = p * q + A(16.0 / 355687428096000.0);
    }
    p = p * q + A(14.0 / 1307674368000.0);
    p = p * q + A(12.0 / 6227020800.0);
    p = p * q + A(10.0 / 39916800.0);
    p = p * q + A(8.0 / 362880.0);
    p = p * q + A(6.0 / 5040.0);
    p = p * q + A(4.0 / 120.0);
    p = p * q + A(2.0 / 6.0);
    const A e = libm::exp(magnitude(x)), sech = A(2) * e / (e * e + A(1));
    return x * q * p * sech;
  }
};
template <> struct math<float> : accurate<float> {};
template <> struct math<double> : accurate<double> {};

// --- fast: float arithmetic on the hardware's approximations, for 16-bit storage ----------------
struct fast : libm {
  using A = float;
  static GE_HD float exp(float x) { return hardware::exp2(1.4426950408889634f * x); }
  // near one log2's absolute error is all there is, near zero exp(x) - 1 and log(1 + x) lose their
  // digits: short series there
  static GE_HD float log_series(float d) {
    return fmaf(d * d, fmaf(d, fmaf(d, -0.25f, 0.33333333f), -0.5f), d);
  }
  static GE_HD float log(float x) {
    const float d = x - 1.f;
    return fabsf(d) < 0.0625f ? log_series(d) : 0.69314718055994531f * hardware::log2(x);
  }
  static GE_HD float log1p(float x) {
    return fabsf(x) < 0.0625f ? log_series(x) : 0.69314718055994531f * hardware::log2(1.f + x);
  }
  static GE_HD float log2(float x) { return 1.4426950408889634f * log(x); }
  static GE_HD float log10(float x) { return 0.43429448190325182f * log(x); }
  static GE_HD float sqrt(float x) { return hardware::sqrt(x); }
  static GE_HD float rsqrt(float x) { return hardware::rsqrt(x); }
  static GE_HD float reciprocal(float x) { return hardware::reciprocal(x); }
  static GE_HD float divide(float a, float b) { return hardware::divide(a, b); }
  static GE_HD float expm1(float x) {
    const float p = fmaf(x, fmaf(x, 0.041666667f, 0.16666667f), 0.5f);
    return fabsf(x) < 0.125f ? fmaf(x * x, p, x) : exp(x) - 1.f;
  }
  static GE_HD float tanh(float x) {
    const float e = exp(-2.f * fabsf(x)), t = (1.f - e) * reciprocal(1.f + e), q = x * x;
    const float p = fmaf(q, fmaf(q, 0.13333333f, -0.33333333f), 1.f);
    return fabsf(x) < 0.25f ? x * p : copysignf(t, x);
  }
  static GE_HD float sech2(float x) {
    const float e = exp(-2.f * fabsf(x)), r = reciprocal(1.f + e);
    return 4.f * e * r * r;
  }
  // Taylor's series below 0.6, where the difference loses digits; it is 7e-5 off there
  static GE_HD float tanhshrink(float x) {
    const float q = x * x;
    float p = fmaf(q, 0.0088632355f, -0.021869489f);
    p = fmaf(q, p, 0.053968254f);
    p = fmaf(q, p, -0.13333333f);
    p = fmaf(q, p, 0.33333333f);
    const float e = exp(-2.f * fabsf(x)), t = (1.f - e) * reciprocal(1.f + e);
    return fabsf(x) < 0.6f ? x * q * p : x - copysignf(t, x);
  }
  // Phi(-|x|) = exp(-x^2/2) t P(t), t = 1 / (1 + 0.51 |x|/sqrt 2): one exp2 and one reciprocal
  // serve value and slope. P is a minimax fit of half the scaled erfc, relative error 8.4e-7 for
  // |x| < 14.
  static GE_HD float upper_tail(float x, float& e) {
    const float t = hardware::reciprocal(fmaf(0.360624458f, fabsf(x), 1.f));
    e = hardware::exp2(-0.72134752044448170f * x * x);
    float p = fmaf(t, 0.0472059945f, -0.179410043f);
    p = fmaf(t, p, 0.179002011f);
    p = fmaf(t, p, 0.0276800669f);
    p = fmaf(t, p, 0.139477906f);
    p = fmaf(t, p, 0.14208573f);
    p = fmaf(t, p, 0.143958125f);
    return p * t * e;
  }
  static GE_HD float gelu(float x) {
    float e;
    const float tail = upper_tail(x, e);
    return gelu_from_tail(x, tail);
  }
  static GE_HD float gelu_slope(float x) {
    float e;
    const float tail = upper_tail(x, e);
    return gelu_slope_from_tail(x, tail, e);
  }
};
template <> struct math<f16> : fast {};
// bf16 keeps 8 bits: tanh.approx's 2^-11 is well below its half ulp.
template <> struct math<bf16> : fast {
  static GE_HD float tanh(float x) { return hardware::tanh(x); }
};

// --- shared pieces ------------------------------------------------------------------------------
// 1 / (1 + exp(-x)) and its slope from e = exp(-|x|): no overflow, full relative accuracy in both
// tails.
template <class M> GE_HD scalar<M> logistic(scalar<M> x) {
  using A = scalar<M>;
  const A e = M::exp(-magnitude(x)), r = M::reciprocal(A(1) + e);
  return x < A(0) ? e * r : r;
}
template <class M> GE_HD scalar<M> logistic_slope(scalar<M> x) {
  using A = scalar<M>;
  const A e = M::exp(-magnitude(x)), r = M::reciprocal(A(1) + e);
  return e * r * r;
}
// log(1 + exp(x)), from the same e
template <class M> GE_HD scalar<M> log1p_exp(scalar<M> x) {
  using A = scalar<M>;
  return (x > A(0) ? x : A(0)) + M::log1p(M::exp(-magnitude(x)));
}

}  // namespace ge

// common.cuh: the ground every kernel stands on: integer names, storage types and the type their
// arithmetic is done in, 16-byte vectors, division by a fixed number, and the macros that let one
// source pass through NVRTC, nvcc and plain g++ (functors on the host, whole kernels in the
// emulator). The loader takes a folder for ours only if this file is in it.
#pragma once
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#if !defined(__CUDACC_RTC__)
#include <cmath>
#include <cstring>
#endif

// --- where the code runs ------------------------------------------------------------------------
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define GE_HD __host__ __device__ __forceinline__
#define GE_D __device__ __forceinline__
#else
#define GE_HD inline
#define GE_D inline
#endif
#if defined(__CUDA_ARCH__)
#define GE_ON_DEVICE 1
#endif

// The emulator defines this one itself; `extern __shared__` has no host meaning.
#ifndef GE_DYNAMIC_SHARED
#define GE_DYNAMIC_SHARED(TYPE, NAME)                                \
  extern __shared__ __align__(16) unsigned char ge_dynamic_shared[]; \
  TYPE* NAME = reinterpret_cast<TYPE*>(ge_dynamic_shared)
#endif

namespace ge {

using i64 = long long;
using u32 = unsigned int;
using u64 = unsigned long long;
using f16 = __half;
using bf16 = __nv_bfloat16;

// --- storage and arithmetic ---------------------------------------------------------------------
// Values are stored as T and computed as accumulate<T>: float, or double for double.
template <class T> struct accumulator {
  using type = float;
};
template <> struct accumulator<double> {
  using type = double;
};
template <class A, class B> struct is_same {
  static constexpr bool value = false;
};
template <class A> struct is_same<A, A> {
  static constexpr bool value = true;
};
template <class T> using accumulate = typename accumulator<T>::type;

template <class To, class From> GE_HD To convert(From v) { return static_cast<To>(v); }
template <> GE_HD float convert<float, f16>(f16 v) { return __half2float(v); }
template <> GE_HD float convert<float, bf16>(bf16 v) { return __bfloat162float(v); }
template <> GE_HD double convert<double, f16>(f16 v) { return double(__half2float(v)); }
template <> GE_HD double convert<double, bf16>(bf16 v) { return double(__bfloat162float(v)); }
template <> GE_HD f16 convert<f16, float>(float v) { return __float2half_rn(v); }
template <> GE_HD bf16 convert<bf16, float>(float v) { return __float2bfloat16_rn(v); }
template <> GE_HD f16 convert<f16, f16>(f16 v) { return v; }
template <> GE_HD bf16 convert<bf16, bf16>(bf16 v) { return v; }
template <> GE_HD bf16 convert<bf16, f16>(f16 v) { return __float2bfloat16_rn(__half2float(v)); }
template <> GE_HD f16 convert<f16, bf16>(bf16 v) { return __float2half_rn(__bfloat162float(v)); }
// From double in one rounding: through float the result could be rounded twice.
template <> GE_HD f16 convert<f16, double>(double v) { return __double2half(v); }
template <> GE_HD bf16 convert<bf16, double>(double v) { return __double2bfloat16(v); }

template <class T> GE_HD accumulate<T> load(T v) { return convert<accumulate<T>, T>(v); }
template <class T> GE_HD T store(accumulate<T> v) { return convert<T, accumulate<T>>(v); }

// --- vectors ------------------------------------------------------------------------------------
// N elements moved by one instruction where sizeof(T) * N is 16.
template <class T, int N> struct alignas(sizeof(T) * N) vec {
  T v[N];
};
template <class T> struct width {
  static constexpr int value = 16 / int(sizeof(T));
};

// Inputs that nobody writes during the launch go through the read-only path. __ldg takes an int4,
// so the bits are moved, never the values.
template <class V> GE_D V read(const V* p) {
#ifdef GE_ON_DEVICE
  if constexpr (sizeof(V) == 16) {
    union {
      int4 bits;
      V value;
    } u = {__ldg(reinterpret_cast<const int4*>(p))};
    return u.value;
  }
#endif
  return *p;
}

template <class T, int N> GE_D vec<T, N> read(const T* p, u32 vector) {
  return read(reinterpret_cast<const vec<T, N>*>(p) + vector);
}
template <class T, int N> GE_D void write(T* p, u32 vector, const vec<T, N>& value) {
  reinterpret_cast<vec<T, N>*>(p)[vector] = value;
}

// --- products with a cotangent ------------------------------------------------------------------
// Zero wins: where the cotangent is exactly zero a singular local derivative contributes zero, so
// that a masked branch gives no NaN, and a derivative of zero lets no infinite cotangent through.
template <class A> GE_HD A chain(A g, A partial) {
  return g == A(0) || partial == A(0) ? A(0) : g * partial;
}

// --- division by a number fixed for the launch --------------------------------------------------
// n / d for n < 2^31 by a multiplication and a shift (Granlund and Montgomery 1994, figure 4.1);
// the multiplier and the shift come from the host.
struct FastDivisor {
  u32 divisor, multiplier, shift;
  GE_HD u32 divide(u32 n) const {
#ifdef GE_ON_DEVICE
    return (__umulhi(n, multiplier) + n) >> shift;
#else
    return u32(((u64(n) * multiplier) >> 32) + n) >> shift;
#endif
  }
  GE_HD u32 divide(u32 n, u32& remainder) const {
    const u32 q = divide(n);
    remainder = n - q * divisor;
    return q;
  }
};

}  // namespace ge

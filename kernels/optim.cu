// optim.cu: optimiser steps over flat buffers, one launch for all parameters, and the gradient norm
// with its clipping, which never asks the host. Parameters and gradients are T; moments and master
// weights are in the accumulation type. A thread moves 4 elements (8 bytes of a 16-bit type, 16 of
// a float): the moments in float are the wider traffic. Formulas in the order of PyTorch's
// documentation.
#include "math.cuh"
using namespace ge;

// What changes from step to step: by value, or read from device memory where a captured step
// replays. `scale` multiplies the gradient first (the clipping coefficient, or the inverse
// loss scale). rest1 and rest2 are 1 - beta1 and 1 - beta2 rounded once: 1 - beta in float is off by
// 1e-5 for a beta of 0.999.
template <class A> struct Step {
  A lr, weight_decay, beta1, beta2, epsilon, correction1, correction2, rest1, rest2;
};

namespace ge {

template <class T> constexpr int LANES = sizeof(T) == 8 ? 2 : 4;

// the value before the step: the master copy where there is one
template <class T, int N> struct Weights {
  T* p;
  accumulate<T>* master;
  GE_D void get(i64 v, accumulate<T> (&w)[N]) const {
    if (master) {
      const vec<accumulate<T>, N> a = reinterpret_cast<const vec<accumulate<T>, N>*>(master)[v];
#pragma unroll
      for (int k = 0; k < N; ++k) w[k] = a.v[k];
    } else {
      const vec<T, N> a = reinterpret_cast<const vec<T, N>*>(p)[v];
#pragma unroll
      for (int k = 0; k < N; ++k) w[k] = load(a.v[k]);
    }
  }
  GE_D void set(i64 v, const accumulate<T> (&w)[N]) const {
    vec<T, N> out;
    vec<accumulate<T>, N> wide;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      wide.v[k] = w[k];
      out.v[k] = store<T>(w[k]);
    }
    reinterpret_cast<vec<T, N>*>(p)[v] = out;
    if (master) reinterpret_cast<vec<accumulate<T>, N>*>(master)[v] = wide;
  }
};

}  // namespace ge

// --- SGD with momentum --------------------------------------------------------------------------
// g += weight_decay p; b = momentum b + (1 - dampening) g (b = g at the first step);
// p -= lr (nesterov ? g + momentum b : b). Without momentum the buffer is null. In Step, beta1 is
// the momentum and beta2 one minus the dampening.
template <int N, class T>
__global__ void __launch_bounds__(256)
    sgd_step(T* p, const T* __restrict__ g, accumulate<T>* buffer, accumulate<T>* master, i64 n,
             Step<accumulate<T>> step, const Step<accumulate<T>>* __restrict__ live,
             const accumulate<T>* __restrict__ scale, int nesterov, int first) {
  using A = accumulate<T>;
  if (live) step = *live;
  const A factor = scale ? *scale : A(1);
  const Weights<T, N> weights{p, master};
  const i64 vectors = n / N, threads = i64(gridDim.x) * 256;
  for (i64 v = i64(blockIdx.x) * 256 + threadIdx.x; v < vectors; v += threads) {
    const vec<T, N> grad = read(reinterpret_cast<const vec<T, N>*>(g) + v);
    A w[N];
    weights.get(v, w);
    vec<A, N> b;
    if (buffer && !first) b = reinterpret_cast<const vec<A, N>*>(buffer)[v];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const A d = load(grad.v[k]) * factor + step.weight_decay * w[k];
      A direction = d;
      if (buffer) {
        b.v[k] = first ? d : step.beta1 * b.v[k] + step.beta2 * d;
        direction = nesterov ? d + step.beta1 * b.v[k] : b.v[k];
      }
      w[k] -= step.lr * direction;
    }
    if (buffer) reinterpret_cast<vec<A, N>*>(buffer)[v] = b;
    weights.set(v, w);
  }
}

// --- Adam and AdamW -----------------------------------------------------------------------------
// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
// p -= lr (m / correction1) / (sqrt(v / correction2) + epsilon), corrections 1 - beta^t (Kingma and
// Ba 2015). DECOUPLED takes weight decay from p itself (Loshchilov and Hutter 2019), else it is
// added to g.
template <bool DECOUPLED, int N, class T>
__global__ void __launch_bounds__(256)
    adam_step(T* p, const T* __restrict__ g, accumulate<T>* m, accumulate<T>* v,
              accumulate<T>* master, i64 n, Step<accumulate<T>> step,
              const Step<accumulate<T>>* __restrict__ live,
              const accumulate<T>* __restrict__ scale) {
  using A = accumulate<T>;
  using M = math<A>;
  if (live) step = *live;
  const A factor = scale ? *scale : A(1);
  const A rate = step.lr / step.correction1, root = A(1) / M::sqrt(step.correction2);
  const A decay = DECOUPLED ? A(1) - step.lr * step.weight_decay : A(1);
  const Weights<T, N> weights{p, master};
  const i64 vectors = n / N, threads = i64(gridDim.x) * 256;
  for (i64 i = i64(blockIdx.x) * 256 + threadIdx.x; i < vectors; i += threads) {
    const vec<T, N> grad = read(reinterpret_cast<const vec<T, N>*>(g) + i);
    vec<A, N> first = reinterpret_cast<const vec<A, N>*>(m)[i];
    vec<A, N> second = reinterpret_cast<const vec<A, N>*>(v)[i];
    A w[N];
    weights.get(i, w);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      A d = load(grad.v[k]) * factor;
      if (!DECOUPLED) d += step.weight_decay * w[k];
      first.v[k] += step.rest1 * (d - first.v[k]);
      second.v[k] = step.beta2 * second.v[k] + step.rest2 * d * d;
      w[k] = decay * w[k] - rate * first.v[k] / (M::sqrt(second.v[k]) * root + step.epsilon);
    }
    reinterpret_cast<vec<A, N>*>(m)[i] = first;
    reinterpret_cast<vec<A, N>*>(v)[i] = second;
    weights.set(i, w);
  }
}

// --- norm and clipping --------------------------------------------------------------------------
// From the partial sums of squares (row_sums<true, ...> of each gradient): result[0] = norm and
// result[1] = min(1, max_norm / (norm + 1e-6)). One block; the order of additions is fixed.
template <class A>
__global__ void __launch_bounds__(256)
    clip_coefficient(const A* __restrict__ squares, i64 count, A max_norm, A* __restrict__ result) {
  __shared__ A sums[256];
  A total = A(0);
  for (i64 i = threadIdx.x; i < count; i += 256) total += squares[i];
  sums[threadIdx.x] = total;
  for (u32 half = 128; half; half >>= 1) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) {
    const A norm = math<A>::sqrt(sums[0]), coefficient = max_norm / (norm + A(1e-6));
    result[0] = norm;
    result[1] = coefficient < A(1) ? coefficient : coefficient != coefficient ? coefficient : A(1);
  }
}

// x *= *factor, the factor in device memory; may be skipped by handing the factor to the optimiser
// step
template <int N, class T>
__global__ void __launch_bounds__(256)
    scale_by(T* x, i64 n, const accumulate<T>* __restrict__ factor) {
  const accumulate<T> f = *factor;
  const i64 vectors = n / N, threads = i64(gridDim.x) * 256;
  for (i64 v = i64(blockIdx.x) * 256 + threadIdx.x; v < vectors; v += threads) {
    vec<T, N> a = reinterpret_cast<const vec<T, N>*>(x)[v];
#pragma unroll
    for (int k = 0; k < N; ++k) a.v[k] = store<T>(load(a.v[k]) * f);
    reinterpret_cast<vec<T, N>*>(x)[v] = a;
  }
}

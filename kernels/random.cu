// random.cu: counter-based random numbers and dropout. Element i's number is a pure function of
// (seed, offset, i): Philox4x32-10 (Salmon et al. 2011) with counter (i / 4, offset) and key seed;
// its four words serve four neighbours. So the numbers depend on no grid, gradengine/philox.py
// gives the same on the CPU, and the backward pass of dropout computes the mask again instead of
// storing it: it is this same kernel.
#include "philox.cuh"
using namespace ge;

// y = keep ? x scale : 0 with keep = uniform >= p and scale = 1 / (1 - p). `live`, if given, holds
// seed and offset in device memory, so that a replayed graph sees fresh ones.
template <class T>
__global__ void __launch_bounds__(256)
    dropout(const T* __restrict__ x, T* __restrict__ y, i64 n, float p, accumulate<T> scale,
            u64 seed, u64 offset, const u64* __restrict__ live) {
  if (live) {
    seed = live[0];
    offset = live[1];
  }
  constexpr int N = width<T>::value, E = N < 4 ? 4 : N, VECTORS = E / N;
  const i64 groups = n / E, threads = i64(gridDim.x) * 256,
            first = i64(blockIdx.x) * 256 + threadIdx.x;
  for (i64 group = first; group < groups; group += threads) {
    const vec<T, N>* from = reinterpret_cast<const vec<T, N>*>(x + group * E);
    vec<T, N> a[VECTORS];
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) a[v] = read(from + v);
#pragma unroll
    for (int q = 0; q < E / 4; ++q) {
      const Words w = philox(u64(group) * (E / 4) + q, offset, seed);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        T& value = a[(q * 4 + k) / N].v[(q * 4 + k) % N];
        value = store<T>(uniform(w.word[k]) >= p ? load(value) * scale : accumulate<T>(0));
      }
    }
    vec<T, N>* to = reinterpret_cast<vec<T, N>*>(y + group * E);
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) to[v] = a[v];
  }
#pragma unroll 1
  for (i64 i = groups * E + first; i < n; i += threads) {
    const Words w = philox(u64(i) / 4, offset, seed);
    y[i] = store<T>(uniform(w.word[i & 3]) >= p ? load(x[i]) * scale : accumulate<T>(0));
  }
}

// y[i] uniform in [0, 1) with as many bits as T holds: 24, or the top 11 of f16 and 8 of bf16, so
// that no number rounds to 1; a double takes words 2i and 2i + 1 for its 53
template <class T>
__global__ void __launch_bounds__(256)
    random_uniform(T* __restrict__ y, i64 n, u64 seed, u64 offset) {
  constexpr int E = sizeof(T) == 8 ? 2 : 4;
  constexpr u32 DROP = sizeof(T) == 4 ? 8 : is_same<T, f16>::value ? 21 : 24;
  const i64 groups = (n + E - 1) / E, threads = i64(gridDim.x) * 256;
  for (i64 group = i64(blockIdx.x) * 256 + threadIdx.x; group < groups; group += threads) {
    const Words w = philox(u64(group), offset, seed);
#pragma unroll
    for (int k = 0; k < E; ++k) {
      if (group * E + k >= n) continue;
      if constexpr (sizeof(T) == 8) {
        const double high = double(w.word[2 * k] >> 5) * 67108864.0;
        y[group * E + k] = (high + double(w.word[2 * k + 1] >> 6)) * 1.1102230246251565e-16;
      } else {
        y[group * E + k] = store<T>(float(w.word[k] >> DROP) / float(1u << (32 - DROP)));
      }
    }
  }
}

// After a step, on the device: the next step's numbers are fresh, also in a replayed graph.
__global__ void advance_offset(u64* state, u64 by) { state[1] += by; }

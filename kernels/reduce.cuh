// reduce.cuh: sums and the softmax pair (largest value, sum of exponentials) over the threads of a
// row. A row is the threads that share threadIdx.y: one warp (blockDim.x == 32, several rows per
// block), or the whole block (blockDim.y == 1). The order of additions depends on the launch shape
// alone, so results are the same bits every time.
#pragma once
#include "math.cuh"

namespace ge {

constexpr u32 ALL_LANES = 0xffffffffu;

// Rows handled side by side in a block, and this thread's row among them.
GE_D i64 first_row() { return i64(blockIdx.x) * blockDim.y + threadIdx.y; }
GE_D i64 row_stride() { return i64(gridDim.x) * blockDim.y; }

// --- sums ---------------------------------------------------------------------------------------
template <class A> GE_D A warp_sum(A v) {
#pragma unroll
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(ALL_LANES, v, o);
  return v;
}

// The sum over the threads of the row, given to all of them; `slots` is shared, one per warp.
template <class A> GE_D A row_sum(A v, A* slots) {
  v = warp_sum(v);
  if (blockDim.x == 32) return v;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  __syncthreads();  // the previous sum has been read by everyone
  if (lane == 0) slots[warp] = v;
  __syncthreads();
  return warp_sum(lane < warps ? slots[lane] : A(0));
}

// Two sums at once: as many barriers as one. `slots` is shared, two per warp.
template <class A> GE_D void row_sums_of_two(A& u, A& v, A (*slots)[2]) {
  u = warp_sum(u);
  v = warp_sum(v);
  if (blockDim.x == 32) return;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  __syncthreads();
  if (lane == 0) {
    slots[warp][0] = u;
    slots[warp][1] = v;
  }
  __syncthreads();
  u = warp_sum(lane < warps ? slots[lane][0] : A(0));
  v = warp_sum(lane < warps ? slots[lane][1] : A(0));
}

// --- softmax's pair -----------------------------------------------------------------------------
// m is the largest value so far and s the sum of exp(x - m); joined without overflow for any m.
template <class A> struct SoftmaxPair {
  A m, s;
};

// inf - inf, so that no header of constants is needed
template <class A> GE_D A not_a_number() {
  const A huge = -lowest<A>() * A(2);
  return huge - huge;
}

template <class M>
GE_D SoftmaxPair<scalar<M>> join(SoftmaxPair<scalar<M>> a, SoftmaxPair<scalar<M>> b) {
  using A = scalar<M>;
  const A m = a.m != a.m || a.m > b.m ? a.m : b.m;  // a NaN stays
  return SoftmaxPair<A>{m, a.s * M::exp(a.m - m) + b.s * M::exp(b.m - m)};
}

template <class M> GE_D SoftmaxPair<scalar<M>> warp_join(SoftmaxPair<scalar<M>> v) {
  using A = scalar<M>;
#pragma unroll
  for (int o = 16; o; o >>= 1) {
    const SoftmaxPair<A> other{__shfl_xor_sync(ALL_LANES, v.m, o),
                               __shfl_xor_sync(ALL_LANES, v.s, o)};
    // the lower lane goes first on both sides, so that both get the same bits
    v = threadIdx.x & o ? join<M>(other, v) : join<M>(v, other);
  }
  return v;
}

template <class M>
GE_D SoftmaxPair<scalar<M>> row_join(SoftmaxPair<scalar<M>> v, SoftmaxPair<scalar<M>>* slots) {
  using A = scalar<M>;
  v = warp_join<M>(v);
  if (blockDim.x == 32) return v;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  __syncthreads();
  if (lane == 0) slots[warp] = v;
  __syncthreads();
  SoftmaxPair<A> w{lowest<A>(), A(0)};
  if (lane < warps) w = slots[lane];
  return warp_join<M>(w);
}

}  // namespace ge

// scatter.cu: rows taken from a table by index, and the adjoint that adds them back. The adjoint
// comes twice: with atomic additions (fast, the order of additions and so the last bits vary) and
// from sorted indices (the same bits every time). An index is negative from the end, as in NumPy;
// one out of range touches no memory and sets *bad to 1, which the host may look at when it likes.
#include "common.cuh"
using namespace ge;

namespace ge {

template <class Index> GE_D i64 wrapped(Index index, i64 size, int* bad) {
  const i64 i = i64(index) < 0 ? i64(index) + size : i64(index);
  if (i >= 0 && i < size) return i;
  if (bad) *bad = 1;
  return -1;
}

}  // namespace ge

// --- gather: y[r, :] = table[index[r], :] -------------------------------------------------------
// Blocks are (x, y) = (vectors of a row, rows); rows out of range become zero.
template <int N, class T, class Index>
__global__ void __launch_bounds__(256)
    gather_rows(const T* __restrict__ table, const Index* __restrict__ index, T* __restrict__ y,
                i64 rows, i64 size, u32 cols, int* bad) {
  const u32 vectors = cols / N;
  for (i64 r = i64(blockIdx.y) * blockDim.y + threadIdx.y; r < rows;
       r += i64(gridDim.y) * blockDim.y) {
    const i64 from = wrapped(index[r], size, bad);
    for (u32 v = blockIdx.x * blockDim.x + threadIdx.x; v < vectors; v += gridDim.x * blockDim.x) {
      vec<T, N> a;
#pragma unroll
      for (int k = 0; k < N; ++k) a.v[k] = store<T>(accumulate<T>(0));
      if (from >= 0) a = read<T, N>(table + from * cols, v);
      write<T, N>(y + r * cols, v, a);
    }
  }
}

// --- scatter-add: out[index[r], :] += g[r, :] ---------------------------------------------------
// out is in the accumulation type, zero before; one atomic addition per element.
template <int N, class T, class Index>
__global__ void __launch_bounds__(256)
    scatter_add_atomic(const T* __restrict__ g, const Index* __restrict__ index,
                       accumulate<T>* __restrict__ out, i64 rows, i64 size, u32 cols, int* bad) {
  const u32 vectors = cols / N;
  for (i64 r = i64(blockIdx.y) * blockDim.y + threadIdx.y; r < rows;
       r += i64(gridDim.y) * blockDim.y) {
    const i64 to = wrapped(index[r], size, bad);
    if (to < 0) continue;
    for (u32 v = blockIdx.x * blockDim.x + threadIdx.x; v < vectors; v += gridDim.x * blockDim.x) {
      const vec<T, N> a = read<T, N>(g + r * cols, v);
#pragma unroll
      for (int k = 0; k < N; ++k) atomicAdd(out + to * cols + v * N + k, load(a.v[k]));
    }
  }
}

// `order` sorts the rows by index, stably. Whoever stands where a run of equal indices begins adds
// the run, in order, and writes it; nothing is counted on the host. Rows of out that no index names
// are not written: zero before.
template <int N, class T, class Index>
__global__ void __launch_bounds__(256)
    scatter_add_sorted(const T* __restrict__ g, const Index* __restrict__ index,
                       const i64* __restrict__ order, T* __restrict__ out, i64 rows, i64 size,
                       u32 cols, int* bad) {
  using A = accumulate<T>;
  const u32 vectors = cols / N;
  for (i64 p = i64(blockIdx.y) * blockDim.y + threadIdx.y; p < rows;
       p += i64(gridDim.y) * blockDim.y) {
    const i64 to = wrapped(index[order[p]], size, bad);
    if (to < 0 || (p > 0 && wrapped(index[order[p - 1]], size, bad) == to)) continue;
    for (u32 v = blockIdx.x * blockDim.x + threadIdx.x; v < vectors; v += gridDim.x * blockDim.x) {
      A sums[N];
#pragma unroll
      for (int k = 0; k < N; ++k) sums[k] = A(0);
      for (i64 q = p; q < rows; ++q) {
        const i64 r = order[q];
        if (wrapped(index[r], size, bad) != to) break;
        const vec<T, N> a = read<T, N>(g + r * cols, v);
#pragma unroll
        for (int k = 0; k < N; ++k) sums[k] += load(a.v[k]);
      }
      vec<T, N> total;
#pragma unroll
      for (int k = 0; k < N; ++k) total.v[k] = store<T>(sums[k]);
      write<T, N>(out + to * cols, v, total);
    }
  }
}

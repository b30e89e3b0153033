// columns.cu: sums over the rows of a matrix, the adjoint of broadcasting a row: bias gradients and
// every broadcast along leading axes. Blocks are (32 columns of vectors) x (8 rows); each thread
// adds its rows in accumulators, the block joins them in shared memory, and where the rows are cut
// into gridDim.y pieces a second launch adds the pieces. The order of additions is fixed:
// deterministic, no atomics.
#include "activations.cuh"
using namespace ge;

namespace ge {

// Adds the accumulators of the block's 8 rows of threads; row 0 has the result.
template <class A, int N> GE_D void join_rows(A (&sums)[N], A (*shared)[32][N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) shared[threadIdx.y][threadIdx.x][k] = sums[k];
  __syncthreads();
  if (threadIdx.y == 0) {
    for (u32 y = 1; y < blockDim.y; ++y) {
#pragma unroll
      for (int k = 0; k < N; ++k) sums[k] += shared[y][threadIdx.x][k];
    }
  }
}

}  // namespace ge

// out[batch, piece, col] = sum of x[batch, row, col] over the rows of the piece; blockIdx.z is the
// batch
template <int N, class T, class Out>
__global__ void __launch_bounds__(256)
    column_sums(const T* __restrict__ x, Out* __restrict__ out, i64 rows, i64 cols) {
  using A = accumulate<T>;
  __shared__ A shared[8][32][N];
  const i64 vectors = cols / N, v = i64(blockIdx.x) * 32 + threadIdx.x;
  const T* base = x + i64(blockIdx.z) * rows * cols;
  A sums[N];
#pragma unroll
  for (int k = 0; k < N; ++k) sums[k] = A(0);
  if (v < vectors) {
    const i64 step = i64(gridDim.y) * 8;
#pragma unroll 4
    for (i64 r = i64(blockIdx.y) * 8 + threadIdx.y; r < rows; r += step) {
      const vec<T, N> a = read(reinterpret_cast<const vec<T, N>*>(base + r * cols) + v);
#pragma unroll
      for (int k = 0; k < N; ++k) sums[k] += load(a.v[k]);
    }
  }
  join_rows<A, N>(sums, shared);
  if (threadIdx.y == 0 && v < vectors) {
    Out* to = out + (i64(blockIdx.z) * gridDim.y + blockIdx.y) * cols + v * N;
#pragma unroll
    for (int k = 0; k < N; ++k) to[k] = convert<Out, A>(sums[k]);
  }
}

// The vjp of y = op(x + bias): dx = g op'(x + bias) and this block's share of the bias gradient, in
// one read of x and g; column_sums adds the shares partial[piece, col].
template <template <class> class Op, class T>
__global__ void __launch_bounds__(256, 1)
    bias_vjp(const T* __restrict__ x, const T* __restrict__ bias, const T* __restrict__ g,
             T* __restrict__ dx, accumulate<T>* __restrict__ partial, i64 rows, u32 cols,
             Op<math<T>> op) {
  using A = accumulate<T>;
  constexpr int N = width<T>::value;
  __shared__ A shared[8][32][N];
  const u32 vectors = cols / N, v = blockIdx.x * 32 + threadIdx.x;
  A sums[N];
#pragma unroll
  for (int k = 0; k < N; ++k) sums[k] = A(0);
  if (v < vectors) {
    const vec<T, N> add = read<T, N>(bias, v);
    const i64 step = i64(gridDim.y) * 8;
    for (i64 r = i64(blockIdx.y) * 8 + threadIdx.y; r < rows; r += step) {
      vec<T, N> a = read<T, N>(x + r * cols, v);
      const vec<T, N> b = read<T, N>(g + r * cols, v);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A d = chain(load(b.v[k]), op.partial(load(a.v[k]) + load(add.v[k])));
        sums[k] += d;
        a.v[k] = store<T>(d);
      }
      write<T, N>(dx + r * cols, v, a);
    }
  }
  join_rows<A, N>(sums, shared);
  if (threadIdx.y == 0 && v < vectors) {
#pragma unroll
    for (int k = 0; k < N; ++k) partial[i64(blockIdx.y) * cols + v * N + k] = sums[k];
  }
}

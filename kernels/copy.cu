// copy.cu: moving elements: dtype conversion, copies between any two layouts, transposition through
// shared memory. Copies move bits, so they are written for element sizes, not for dtypes.
#include "layout.cuh"
using namespace ge;

// --- conversion ---------------------------------------------------------------------------------
// N elements per thread, 16 bytes of the wider type
template <int N, class From, class To>
__global__ void __launch_bounds__(256) cast(const From* __restrict__ x, To* __restrict__ y, i64 n) {
  const i64 vectors = n / N, threads = i64(gridDim.x) * 256;
  for (i64 v = i64(blockIdx.x) * 256 + threadIdx.x; v < vectors; v += threads) {
    const vec<From, N> a = read(reinterpret_cast<const vec<From, N>*>(x) + v);
    vec<To, N> b;
#pragma unroll
    for (int k = 0; k < N; ++k) b.v[k] = convert<To, From>(a.v[k]);
    reinterpret_cast<vec<To, N>*>(y)[v] = b;
  }
}

// --- copies -------------------------------------------------------------------------------------
// y[offset 1 of i] = x[offset 0 of i]: reading a view, writing into one, or both
template <class Word>
__global__ void __launch_bounds__(256)
    copy_strided(const Word* __restrict__ x, Word* __restrict__ y, u32 n,
                 const __grid_constant__ Layout<2> layout) {
#pragma unroll 1
  for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
    const Offsets<2> at = layout.offsets(i);
    y[at.of[1]] = x[at.of[0]];
  }
}

// y[batch, j, i] = x[batch, i, j] in tiles of 32 x 32, read and written along rows; blocks are 32
// x 8. The tile's extra column puts the elements of a column into different banks.
template <class Word>
__global__ void __launch_bounds__(256)
    transpose(const Word* __restrict__ x, Word* __restrict__ y, i64 rows, i64 cols) {
  __shared__ Word tile[32][33];
  const i64 base = i64(blockIdx.z) * rows * cols, tiles = (rows + 31) / 32;
  const i64 left = i64(blockIdx.x) * 32;
  for (i64 t = blockIdx.y; t < tiles; t += gridDim.y) {
    const i64 top = t * 32;
    for (u32 k = threadIdx.y; k < 32; k += 8)
      if (top + k < rows && left + threadIdx.x < cols)
        tile[k][threadIdx.x] = x[base + (top + k) * cols + left + threadIdx.x];
    __syncthreads();
    for (u32 k = threadIdx.y; k < 32; k += 8)
      if (left + k < cols && top + threadIdx.x < rows)
        y[base + (left + k) * rows + top + threadIdx.x] = tile[threadIdx.x][k];
    __syncthreads();
  }
}

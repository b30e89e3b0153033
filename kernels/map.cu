// map.cu: elementwise launchers, forward and vjp, written once for every functor. They know loops,
// 16-byte vectors, broadcasting and dtypes, and nothing of the maths. Blocks have 256 threads; the
// *_strided kernels take any layout, the others want contiguous operands at 16-byte boundaries (the
// Python side checks). Positions of tiles are 64-bit, once per tile; inside a tile 32 bits are
// enough.
#include "activations.cuh"
#include "arithmetic.cuh"
#include "elementary.cuh"
#include "layout.cuh"
#include "outputs.cuh"
using namespace ge;

// --- one operand --------------------------------------------------------------------------------
// y = op(x), two vectors in flight per thread
template <template <class> class Op, class T>
__global__ void __launch_bounds__(256)
    map_forward(const T* __restrict__ x, T* __restrict__ y, i64 n, Op<math<T>> op) {
  constexpr int N = width<T>::value, FLIGHT = 2, TILE = 256 * N * FLIGHT;
  const i64 tiles = n / TILE;
  for (i64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const T* from = x + tile * TILE;
    T* to = y + tile * TILE;
    vec<T, N> a[FLIGHT];
#pragma unroll
    for (int f = 0; f < FLIGHT; ++f) a[f] = read<T, N>(from, threadIdx.x + f * 256);
#pragma unroll
    for (int f = 0; f < FLIGHT; ++f) {
#pragma unroll
      for (int k = 0; k < N; ++k) a[f].v[k] = store<T>(op.forward(load(a[f].v[k])));
      write<T, N>(to, threadIdx.x + f * 256, a[f]);
    }
  }
  const i64 threads = i64(gridDim.x) * 256;
#pragma unroll 1
  for (i64 i = tiles * TILE + blockIdx.x * 256 + threadIdx.x; i < n; i += threads)
    y[i] = store<T>(op.forward(load(x[i])));
}

// dx = g op'(x)
template <template <class> class Op, class T>
__global__ void __launch_bounds__(256) map_vjp(const T* __restrict__ x, const T* __restrict__ g,
                                               T* __restrict__ dx, i64 n, Op<math<T>> op) {
  constexpr int N = width<T>::value, TILE = 256 * N;
  const i64 tiles = n / TILE;
  for (i64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const i64 start = tile * TILE;
    vec<T, N> a = read<T, N>(x + start, threadIdx.x), b = read<T, N>(g + start, threadIdx.x);
#pragma unroll
    for (int k = 0; k < N; ++k) a.v[k] = store<T>(chain(load(b.v[k]), op.partial(load(a.v[k]))));
    write<T, N>(dx + start, threadIdx.x, a);
  }
  const i64 threads = i64(gridDim.x) * 256;
#pragma unroll 1
  for (i64 i = tiles * TILE + blockIdx.x * 256 + threadIdx.x; i < n; i += threads)
    dx[i] = store<T>(chain(load(g[i]), op.partial(load(x[i]))));
}

template <template <class> class Op, class T>
__global__ void __launch_bounds__(256)
    map_forward_strided(const T* __restrict__ x, T* __restrict__ y, u32 n,
                        const __grid_constant__ Layout<1> layout, Op<math<T>> op) {
#pragma unroll 1
  for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
    const Offsets<1> at = layout.offsets(i);
    y[i] = store<T>(op.forward(load(x[at.of[0]])));
  }
}

template <template <class> class Op, class T>
__global__ void __launch_bounds__(256)
    map_vjp_strided(const T* __restrict__ x, const T* __restrict__ g, T* __restrict__ dx, u32 n,
                    const __grid_constant__ Layout<2> layout, Op<math<T>> op) {
#pragma unroll 1
  for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
    const Offsets<2> at = layout.offsets(i);
    dx[i] = store<T>(chain(load(g[at.of[1]]), op.partial(load(x[at.of[0]]))));
  }
}

// --- two operands -------------------------------------------------------------------------------
// Both operands lie over a matrix of rows x cols; an operand that broadcasts along the columns has
// step 0 there, one that broadcasts along the rows has pitch 0, a number of the host has no data at
// all. So one kernel serves equal shapes (one long row), a scalar, a row (bias) and a column. Blocks
// are (x, y) = (vectors of a row, rows).
template <class T> struct Broadcast {
  const T* data;
  i64 pitch;
  i64 step;
  T value;
  template <int N> GE_D vec<T, N> vector(i64 row, i64 v) const {
    if (step) return read(reinterpret_cast<const vec<T, N>*>(data + row * pitch) + v);
    vec<T, N> splat;
    const T one = data ? data[row * pitch] : value;
#pragma unroll
    for (int k = 0; k < N; ++k) splat.v[k] = one;
    return splat;
  }
  GE_D T element(i64 row, i64 column) const {
    return data ? data[row * pitch + column * step] : value;
  }
};

template <template <class> class Op, class T>
__global__ void __launch_bounds__(256, 1)
    map2_forward(Broadcast<T> a, Broadcast<T> b, T* __restrict__ y, i64 rows, i64 cols,
                 Op<math<T>> op) {
  constexpr int N = width<T>::value;
  const i64 vectors = cols / N, across = i64(gridDim.x) * blockDim.x;
  const i64 first = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  for (i64 row = i64(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += i64(gridDim.y) * blockDim.y) {
    for (i64 v = first; v < vectors; v += across) {
      vec<T, N> p = a.template vector<N>(row, v), q = b.template vector<N>(row, v);
#pragma unroll
      for (int k = 0; k < N; ++k) p.v[k] = store<T>(op.forward(load(p.v[k]), load(q.v[k])));
      reinterpret_cast<vec<T, N>*>(y + row * cols)[v] = p;
    }
#pragma unroll 1
    for (i64 c = vectors * N + first; c < cols; c += across)
      y[row * cols + c] = store<T>(op.forward(load(a.element(row, c)), load(b.element(row, c))));
  }
}

// da = g dop/da and db = g dop/db over the broadcast shape, in one read; either may be null
template <template <class> class Op, class T>
__global__ void __launch_bounds__(256, 1)
    map2_vjp(Broadcast<T> a, Broadcast<T> b, const T* __restrict__ g, T* __restrict__ da,
             T* __restrict__ db, i64 rows, i64 cols, Op<math<T>> op) {
  constexpr int N = width<T>::value;
  const i64 vectors = cols / N, across = i64(gridDim.x) * blockDim.x;
  const i64 first = i64(blockIdx.x) * blockDim.x + threadIdx.x;
  for (i64 row = i64(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += i64(gridDim.y) * blockDim.y) {
    for (i64 v = first; v < vectors; v += across) {
      vec<T, N> p = a.template vector<N>(row, v), q = b.template vector<N>(row, v);
      const vec<T, N> t = read(reinterpret_cast<const vec<T, N>*>(g + row * cols) + v);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const accumulate<T> left = load(p.v[k]), right = load(q.v[k]), up = load(t.v[k]);
        p.v[k] = store<T>(chain(up, op.partial_a(left, right)));
        q.v[k] = store<T>(chain(up, op.partial_b(left, right)));
      }
      if (da) reinterpret_cast<vec<T, N>*>(da + row * cols)[v] = p;
      if (db) reinterpret_cast<vec<T, N>*>(db + row * cols)[v] = q;
    }
#pragma unroll 1
    for (i64 c = vectors * N + first; c < cols; c += across) {
      const accumulate<T> left = load(a.element(row, c)), right = load(b.element(row, c));
      const accumulate<T> up = load(g[row * cols + c]);
      if (da) da[row * cols + c] = store<T>(chain(up, op.partial_a(left, right)));
      if (db) db[row * cols + c] = store<T>(chain(up, op.partial_b(left, right)));
    }
  }
}

template <template <class> class Op, class T>
__global__ void __launch_bounds__(256, 1)
    map2_forward_strided(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, u32 n,
                         const __grid_constant__ Layout<2> layout, Op<math<T>> op) {
#pragma unroll 1
  for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
    const Offsets<2> at = layout.offsets(i);
    y[i] = store<T>(op.forward(load(a[at.of[0]]), load(b[at.of[1]])));
  }
}

template <template <class> class Op, class T>
__global__ void __launch_bounds__(256, 1)
    map2_vjp_strided(const T* __restrict__ a, const T* __restrict__ b, const T* __restrict__ g,
                     T* __restrict__ da, T* __restrict__ db, u32 n,
                     const __grid_constant__ Layout<3> layout, Op<math<T>> op) {
#pragma unroll 1
  for (u32 i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) {
    const Offsets<3> at = layout.offsets(i);
    const accumulate<T> left = load(a[at.of[0]]), right = load(b[at.of[1]]), up = load(g[at.of[2]]);
    if (da) da[i] = store<T>(chain(up, op.partial_a(left, right)));
    if (db) db[i] = store<T>(chain(up, op.partial_b(left, right)));
  }
}

// --- bias + activation --------------------------------------------------------------------------
// y = op(x + bias) over rows x cols, cols a multiple of the vector; its vjp stands in columns.cu,
// beside the column sums that make the bias gradient.
template <template <class> class Op, class T>
__global__ void __launch_bounds__(256)
    bias_forward(const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ y, i64 rows,
                 u32 cols, Op<math<T>> op) {
  constexpr int N = width<T>::value;
  const u32 vectors = cols / N;
  for (i64 row = i64(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
       row += i64(gridDim.y) * blockDim.y) {
    const T* from = x + row * cols;
    T* to = y + row * cols;
    for (u32 v = blockIdx.x * blockDim.x + threadIdx.x; v < vectors; v += gridDim.x * blockDim.x) {
      vec<T, N> a = read<T, N>(from, v);
      const vec<T, N> b = read<T, N>(bias, v);
#pragma unroll
      for (int k = 0; k < N; ++k) a.v[k] = store<T>(op.forward(load(a.v[k]) + load(b.v[k])));
      write<T, N>(to, v, a);
    }
  }
}

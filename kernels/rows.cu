// rows.cu: kernels that work on the rows of a matrix: softmax, log-softmax, softmax cross-entropy,
// layer norm, RMS norm, sums of rows. Each row is read once: it is kept in dynamic shared memory
// between the passes (CACHED) unless it is too long for it, when the passes read it again. N is the
// vector, 16 bytes or one element where rows do not start on 16-byte boundaries. Rows are shared
// out as reduce.cuh says.
#include "reduce.cuh"
using namespace ge;

namespace ge {

// One row, kept or read again. Threads only ever look at what they wrote, so no barrier is needed.
// INPLACE: the launch may overwrite the row, which the read-only path of `read` does not allow.
template <class T, int N, bool CACHED, bool INPLACE = false> struct Row {
  const T* data;
  vec<T, N>* kept;
  GE_D vec<T, N> fetch(u32 v) const {
    return INPLACE ? reinterpret_cast<const vec<T, N>*>(data)[v] : read<T, N>(data, v);
  }
  GE_D vec<T, N> first(u32 v) const {
    const vec<T, N> value = fetch(v);
    if (CACHED) kept[v] = value;
    return value;
  }
  GE_D vec<T, N> again(u32 v) const { return CACHED ? kept[v] : fetch(v); }
};

// where this thread's row is kept, `slots` rows per row of the block
template <class V> GE_D V* kept_row(V* base, u32 vectors, u32 slots = 1, u32 slot = 0) {
  return base + (threadIdx.y * slots + slot) * vectors;
}

// A vector of a weight or a bias, or of what stands for a missing one.
template <int N, class T> GE_D vec<T, N> parameter(const T* data, u32 v, accumulate<T> missing) {
  if (data) return read<T, N>(data, v);
  vec<T, N> splat;
#pragma unroll
  for (int k = 0; k < N; ++k) splat.v[k] = store<T>(missing);
  return splat;
}

// The softmax pair of a vector of values joined to `pair`: one exponential per value and one for
// both.
template <class M, class T, int N>
GE_D SoftmaxPair<scalar<M>> absorb(SoftmaxPair<scalar<M>> pair, const vec<T, N>& values) {
  using A = scalar<M>;
  A m = pair.m;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const A x = load(values.v[k]);
    m = x > m || x != x ? x : m;
  }
  A s = pair.s * M::exp(pair.m - m);
#pragma unroll
  for (int k = 0; k < N; ++k) s += M::exp(load(values.v[k]) - m);
  return SoftmaxPair<A>{m, s};
}

template <class M, class T, int N, bool CACHED, bool INPLACE>
GE_D SoftmaxPair<scalar<M>> softmax_pair(const Row<T, N, CACHED, INPLACE>& row, u32 vectors,
                                         SoftmaxPair<scalar<M>>* slots) {
  using A = scalar<M>;
  SoftmaxPair<A> pair{lowest<A>(), A(0)};
  for (u32 v = threadIdx.x; v < vectors; v += blockDim.x)
    pair = absorb<M, T, N>(pair, row.first(v));
  return row_join<M>(pair, slots);
}

}  // namespace ge

// --- softmax ------------------------------------------------------------------------------------
// y = exp(x - m) / s, or with LOG (x - m) - log s: m + log s would round away what large values
// share
template <bool LOG, bool CACHED, int N, class T>
__global__ void __launch_bounds__(512, 1)
    softmax_forward(const T* __restrict__ x, T* __restrict__ y, i64 rows, u32 cols) {
  using M = math<T>;
  using A = scalar<M>;
  __shared__ SoftmaxPair<A> slots[32];
  typedef vec<T, N> V;
  GE_DYNAMIC_SHARED(V, dynamic);
  const u32 vectors = cols / N;
  for (i64 r = first_row(); r < rows; r += row_stride()) {
    const Row<T, N, CACHED> row{x + r * cols, kept_row(dynamic, vectors)};
    const SoftmaxPair<A> pair = softmax_pair<M>(row, vectors, slots);
    const A scale = M::divide(A(1), pair.s), shift = M::log(pair.s);
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      V a = row.again(v);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A value = load(a.v[k]);
        a.v[k] = store<T>(LOG ? value - pair.m - shift : M::exp(value - pair.m) * scale);
      }
      write<T, N>(y + r * cols, v, a);
    }
  }
}

// dx = y (g - sum g y), or with LOG g - exp(y) sum g; a row of NaN whose g is all zero gives zeros
template <bool LOG, bool CACHED, int N, class T>
__global__ void __launch_bounds__(512, 1)
    softmax_vjp(const T* __restrict__ y, const T* __restrict__ g, T* __restrict__ dx, i64 rows,
                u32 cols) {
  using M = math<T>;
  using A = scalar<M>;
  __shared__ A slots[32];
  typedef vec<T, N> V;
  GE_DYNAMIC_SHARED(V, dynamic);
  const u32 vectors = cols / N;
  for (i64 r = first_row(); r < rows; r += row_stride()) {
    const Row<T, N, CACHED> value{y + r * cols, kept_row(dynamic, vectors, 2, 0)};
    const Row<T, N, CACHED> up{g + r * cols, kept_row(dynamic, vectors, 2, 1)};
    A sum = A(0);
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      const V b = up.first(v), a = value.first(v);
#pragma unroll
      for (int k = 0; k < N; ++k) sum += LOG ? load(b.v[k]) : chain(load(b.v[k]), load(a.v[k]));
    }
    sum = row_sum(sum, slots);
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      V a = value.again(v);
      const V b = up.again(v);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A p = load(a.v[k]), q = load(b.v[k]);
        a.v[k] = store<T>(LOG ? q - chain(sum, M::exp(p)) : chain(q - sum, p));
      }
      write<T, N>(dx + r * cols, v, a);
    }
  }
}

// --- softmax cross-entropy ----------------------------------------------------------------------
// loss = log sum exp(x) - x[target] and dx = scale (softmax(x) - onehot(target)) in one read and
// one write; either may be null. A row whose target is ignore_index gives zeros, one whose target is
// out of range a NaN loss. dx may be x itself: a thread writes what it has read. The cotangent of
// the loss, factor[r * step], and the number of rows that count, counts[0], stay on the device:
// where they are given scale is multiplied by the one and divided by the other.
template <bool CACHED, int N, class T>
__global__ void __launch_bounds__(512, 1)
    softmax_cross_entropy(const T* x, const i64* __restrict__ target,
                          accumulate<T>* __restrict__ loss, T* dx, i64 rows, u32 cols,
                          accumulate<T> scale, i64 ignore_index,
                          const accumulate<T>* __restrict__ factor, i64 step,
                          const i64* __restrict__ counts) {
  using M = math<T>;
  using A = scalar<M>;
  __shared__ SoftmaxPair<A> slots[32];
  typedef vec<T, N> V;
  GE_DYNAMIC_SHARED(V, dynamic);
  const u32 vectors = cols / N;
  for (i64 r = first_row(); r < rows; r += row_stride()) {
    const i64 label = target[r];
    const bool valid = label != ignore_index;
    // read before any thread of the row may overwrite it: the barriers of the reduction lie
    // between, and in a row of one warp, which has none, this one (a shuffle orders no memory)
    A chosen = A(0);
    if (loss && valid && threadIdx.x == 0)
      chosen = label >= 0 && label < cols ? load(x[r * cols + label]) : not_a_number<A>();
    __syncwarp();
    const Row<T, N, CACHED, true> row{x + r * cols, kept_row(dynamic, vectors)};
    const SoftmaxPair<A> pair = softmax_pair<M>(row, vectors, slots);
    if (loss && threadIdx.x == 0) loss[r] = valid ? (pair.m - chosen) + M::log(pair.s) : A(0);
    if (!dx) continue;
    A weight = scale;
    if (factor) weight *= factor[r * step];
    if (counts) weight /= A(counts[0]);
    const A share = M::divide(weight, pair.s);
    const bool live = valid && weight != A(0);  // what is cut off adds nothing, not even a NaN
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      V a = row.again(v);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A p = M::exp(load(a.v[k]) - pair.m) * share;
        a.v[k] = store<T>(!live ? A(0) : i64(v) * N + k == label ? p - weight : p);
      }
      write<T, N>(dx + r * cols, v, a);
    }
  }
}

// counts = {rows that count, the first row whose target is out of range, or rows}; one block.
template <class I>
__global__ void __launch_bounds__(512)
    count_targets(const I* __restrict__ target, i64* __restrict__ counts, i64 rows, i64 classes,
                  i64 ignore_index) {
  __shared__ i64 slots[32];
  i64 valid = 0, wrong = 0;  // the latter is rows - the first wrong row, so that a maximum finds it
  for (i64 r = threadIdx.x; r < rows; r += blockDim.x) {
    const i64 label = i64(target[r]);
    if (label == ignore_index) continue;
    valid += 1;
    if ((label < 0 || label >= classes) && wrong == 0) wrong = rows - r;
  }
  valid = row_sum(valid, slots);
  __syncthreads();
#pragma unroll
  for (int o = 16; o; o >>= 1) {
    const i64 other = __shfl_xor_sync(ALL_LANES, wrong, o);
    wrong = other > wrong ? other : wrong;
  }
  if ((threadIdx.x & 31) == 0) slots[threadIdx.x >> 5] = wrong;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (u32 w = 0; w < blockDim.x / 32; ++w) wrong = slots[w] > wrong ? slots[w] : wrong;
    counts[0] = valid;
    counts[1] = rows - wrong;
  }
}

// y = sum of the rows' losses, divided by counts[0] if counts is given; one block.
template <class T>
__global__ void __launch_bounds__(512)
    total_loss(const accumulate<T>* __restrict__ loss, const i64* __restrict__ counts,
               T* __restrict__ y, i64 rows) {
  using A = accumulate<T>;
  __shared__ A slots[32];
  A total = A(0);
  for (i64 r = threadIdx.x; r < rows; r += blockDim.x) total += loss[r];
  total = row_sum(total, slots);
  if (threadIdx.x == 0) y[0] = store<T>(counts ? total / A(counts[0]) : total);
}

// --- layer norm and RMS norm --------------------------------------------------------------------
// CENTERED: y = (x - mean) rstd w + b, else y = x rstd w; w and b may be null. The variance is
// summed about the mean, in a second pass over the kept row.
template <bool CENTERED, bool CACHED, int N, class T>
__global__ void __launch_bounds__(512, 1)
    norm_forward(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ bias,
                 T* __restrict__ y, accumulate<T>* __restrict__ mean,
                 accumulate<T>* __restrict__ rstd, i64 rows, u32 cols, accumulate<T> epsilon) {
  using M = math<accumulate<T>>;
  using A = scalar<M>;
  __shared__ A slots[32];
  typedef vec<T, N> V;
  GE_DYNAMIC_SHARED(V, dynamic);
  const u32 vectors = cols / N;
  const A share = A(1) / A(cols);
  for (i64 r = first_row(); r < rows; r += row_stride()) {
    const Row<T, N, CACHED> row{x + r * cols, kept_row(dynamic, vectors)};
    A total = A(0);
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      const V a = row.first(v);
#pragma unroll
      for (int k = 0; k < N; ++k) total += CENTERED ? load(a.v[k]) : load(a.v[k]) * load(a.v[k]);
    }
    total = row_sum(total, slots) * share;
    const A center = CENTERED ? total : A(0);
    if (CENTERED) {
      total = A(0);
      for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
        const V a = row.again(v);
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const A d = load(a.v[k]) - center;
          total += d * d;
        }
      }
      total = row_sum(total, slots) * share;
    }
    const A inverse = A(1) / M::sqrt(total + epsilon);
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      V a = row.again(v);
      const V w = parameter<N>(weight, v, A(1)), b = parameter<N>(bias, v, A(0));
#pragma unroll
      for (int k = 0; k < N; ++k)
        a.v[k] = store<T>((load(a.v[k]) - center) * inverse * load(w.v[k]) + load(b.v[k]));
      write<T, N>(y + r * cols, v, a);
    }
    if (threadIdx.x == 0) {
      if (CENTERED) mean[r] = center;
      rstd[r] = inverse;
    }
  }
}

// dx, and this block's share of dw and db, in one read of x and g. A thread keeps the same PER
// vectors of columns for every row, so dw and db gather in registers; they end in
// partial[block][2][cols], which the column sums of columns.cu finish: deterministic, no atomics.
// With PER = 0, for rows longer than the registers, the shares gather in `partial` itself, which
// only this thread touches.
template <bool CENTERED, int PER, int N, class T>
__global__ void __launch_bounds__(512, 1)
    norm_vjp(const T* __restrict__ x, const T* __restrict__ weight, const T* __restrict__ g,
             const accumulate<T>* __restrict__ mean, const accumulate<T>* __restrict__ rstd,
             T* __restrict__ dx, accumulate<T>* __restrict__ partial, i64 rows, u32 cols) {
  using A = accumulate<T>;
  typedef vec<T, N> V;
  __shared__ A slots[32][2];
  constexpr int KEEP = PER ? PER : 1;
  constexpr bool HOLD = PER && PER * N <= 8;  // x_hat and g w stay in registers between the passes
  const u32 vectors = cols / N;
  const A share = A(1) / A(cols);
  const u32 turns = PER ? PER : (vectors + blockDim.x - 1) / blockDim.x;
  A dw[KEEP * N], db[KEEP * N], hats[KEEP * N], scaled[KEEP * N];
#pragma unroll
  for (int k = 0; k < KEEP * N; ++k) dw[k] = db[k] = A(0);
  A* dw_out = partial ? partial + i64(blockIdx.x) * 2 * cols : nullptr;
  A* db_out = partial ? dw_out + cols : nullptr;
  for (i64 r = blockIdx.x; r < rows; r += gridDim.x) {
    const A center = CENTERED ? mean[r] : A(0), inverse = rstd[r];
    const T *x_row = x + r * cols, *g_row = g + r * cols;
    V a[KEEP], b[KEEP];
    A plain = A(0), along = A(0);  // sums of g w and of g w x_hat
#pragma unroll
    for (u32 j = 0; j < turns; ++j) {
      const u32 v = threadIdx.x + j * blockDim.x, keep = PER ? j : 0;
      if (v >= vectors) continue;
      a[keep] = read<T, N>(x_row, v);
      b[keep] = read<T, N>(g_row, v);
      const V w = parameter<N>(weight, v, A(1));
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A hat = (load(a[keep].v[k]) - center) * inverse, up = load(b[keep].v[k]);
        const A product = up * load(w.v[k]);
        plain += product;
        along += product * hat;
        hats[keep * N + k] = hat;
        scaled[keep * N + k] = product;
        if (PER) {
          dw[keep * N + k] += up * hat;
          db[keep * N + k] += up;
        } else if (partial) {
          const bool first = r == blockIdx.x;
          dw_out[v * N + k] = (first ? A(0) : dw_out[v * N + k]) + up * hat;
          db_out[v * N + k] = (first ? A(0) : db_out[v * N + k]) + up;
        }
      }
    }
    row_sums_of_two(plain, along, slots);
    plain *= share;
    along *= share;
#pragma unroll
    for (u32 j = 0; j < turns; ++j) {
      const u32 v = threadIdx.x + j * blockDim.x, keep = PER ? j : 0;
      if (v >= vectors) continue;
      if (!PER) {
        a[0] = read<T, N>(x_row, v);
        b[0] = read<T, N>(g_row, v);
      }
      V w, out;
      if (!HOLD) w = parameter<N>(weight, v, A(1));
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A hat = HOLD ? hats[keep * N + k] : (load(a[keep].v[k]) - center) * inverse;
        const A product = HOLD ? scaled[keep * N + k] : load(b[keep].v[k]) * load(w.v[k]);
        out.v[k] = store<T>(inverse * (product - (CENTERED ? plain : A(0)) - hat * along));
      }
      write<T, N>(dx + r * cols, v, out);
    }
  }
  if (PER && partial) {
#pragma unroll
    for (int j = 0; j < KEEP; ++j) {
      const u32 v = threadIdx.x + j * blockDim.x;
      if (v >= vectors) continue;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        dw_out[v * N + k] = dw[j * N + k];
        db_out[v * N + k] = db[j * N + k];
      }
    }
  }
}

// --- sums of rows -------------------------------------------------------------------------------
// out[row, piece] = sum of the row's piece, squared first with SQUARED. A long row is cut into
// gridDim.y pieces of `length` columns, whose sums a second launch adds: deterministic.
template <bool SQUARED, int N, class T, class Out>
__global__ void __launch_bounds__(512, 1)
    row_sums(const T* __restrict__ x, Out* __restrict__ out, i64 rows, i64 cols, i64 length) {
  using A = accumulate<T>;
  __shared__ A slots[32];
  const i64 begin = i64(blockIdx.y) * length, end = begin + length < cols ? begin + length : cols;
  for (i64 r = first_row(); r < rows; r += row_stride()) {
    A total = A(0);
    for (i64 c = begin + threadIdx.x * N; c < end; c += blockDim.x * N) {
      const vec<T, N> a = read(reinterpret_cast<const vec<T, N>*>(x + r * cols + c));
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const A v = load(a.v[k]);
        total += SQUARED ? v * v : v;
      }
    }
    total = row_sum(total, slots);
    if (threadIdx.x == 0) out[r * gridDim.y + blockIdx.y] = convert<Out, A>(total);
  }
}

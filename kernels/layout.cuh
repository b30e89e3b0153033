// layout.cuh: where element i of a launch lies in each of its operands, for any strides. The Python
// side drops dimensions of size one, joins those that lie behind one another in every operand and
// sends what is left, innermost first. It keeps a launch below 2^31 elements; offsets are 64-bit.
#pragma once
#include "common.cuh"

namespace ge {

constexpr int MAX_DIMENSIONS = 6;

template <int OPERANDS> struct Offsets {
  i64 of[OPERANDS];
};

template <int OPERANDS> struct Layout {
  u32 dimensions;
  FastDivisor size[MAX_DIMENSIONS];
  i64 stride[MAX_DIMENSIONS][OPERANDS];  // in elements; 0 broadcasts

  GE_D Offsets<OPERANDS> offsets(u32 i) const {
    Offsets<OPERANDS> at;
#pragma unroll
    for (int o = 0; o < OPERANDS; ++o) at.of[o] = 0;
#pragma unroll 1
    for (u32 d = 0; d < dimensions; ++d) {
      u32 coordinate;
      i = size[d].divide(i, coordinate);
#pragma unroll
      for (int o = 0; o < OPERANDS; ++o) at.of[o] += coordinate * stride[d][o];
    }
    return at;
  }
};

}  // namespace ge

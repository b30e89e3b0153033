// philox.cuh: Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw,
// "Parallel random numbers: as easy as 1, 2, 3" (2011), section 4.1.
#pragma once
#include "common.cuh"

namespace ge {

struct Words {
  u32 word[4];
};

GE_HD u32 high_product(u32 a, u32 b) {
#ifdef GE_ON_DEVICE
  return __umulhi(a, b);
#else
  return u32((u64(a) * b) >> 32);
#endif
}

GE_HD Words philox(u64 counter, u64 offset, u64 seed) {
  u32 c0 = u32(counter), c1 = u32(counter >> 32), c2 = u32(offset), c3 = u32(offset >> 32);
  u32 k0 = u32(seed), k1 = u32(seed >> 32);
#if defined(__CUDACC_RTC__)
#pragma unroll
#endif
  for (int round = 0; round < 10; ++round) {
    const u32 h0 = high_product(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    const u32 h1 = high_product(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return Words{{c0, c1, c2, c3}};
}

// [0, 1) in steps of 2^-24, exact in float
GE_HD float uniform(u32 word) { return float(word >> 8) * 5.9604644775390625e-8f; }

}  // namespace ge

// emulator.h: runs unmodified CUDA kernels on the CPU, one block at a time, one fiber per thread, so that
// the real sources are tested where there is no GPU. It has thread and block indices, static and dynamic
// shared memory, __syncthreads, warp shuffles and votes, and atomics. It reports divergent barriers and
// shuffles, shuffles from a lane that takes no part, out-of-bounds accesses (the arrays end at a guard
// page), misaligned vectors and wrong shared indices (compiled to traps). Shared memory is filled with
// NaN before every block, and the order of threads and blocks follows a seed, so that a missing barrier
// gives a wrong or a varying answer. It knows no traffic between running blocks (grid barriers, spin
// locks) and no inline PTX.
#pragma once
#define GE_EMULATED 1
#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
// CUDA's headers come first, with their own meaning of the keywords; then the keywords become ours.
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <vector_types.h>
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __grid_constant__
#ifndef __restrict__
#define __restrict__ __restrict
#endif
// Static shared arrays go to a section of their own, to be poisoned before every block.
#define __shared__ static __attribute__((section("ge_shared")))
#define GE_DYNAMIC_SHARED(TYPE, NAME) TYPE* NAME = reinterpret_cast<TYPE*>(emulator::state().dynamic)

extern "C" {
extern char __start_ge_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_ge_shared[] __attribute__((weak, visibility("hidden")));
}

namespace emulator {

// --- fibers: one stack per thread, switched by hand -------------------------------------------------
#if defined(__x86_64__)
extern "C" void ge_emulator_switch(void** save, void* load);
#ifdef GE_EMULATOR_MAIN
asm(R"(
.text
.globl ge_emulator_switch
.hidden ge_emulator_switch
.type ge_emulator_switch,@function
ge_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ge_emulator_switch,.-ge_emulator_switch
)");
#endif
struct Context { void* sp = nullptr; };
inline void swap(Context& from, Context& to) { ge_emulator_switch(&from.sp, to.sp); }
inline void prepare(Context& c, char* stack, size_t size, void (*entry)()) {
  void** sp = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + size) & ~uintptr_t(63));
  *--sp = nullptr;
  *--sp = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  c.sp = sp;
}
#else
struct Context { ucontext_t u; };
inline void swap(Context& from, Context& to) { swapcontext(&from.u, &to.u); }
inline void prepare(Context& c, char* stack, size_t size, void (*entry)()) {
  getcontext(&c.u);
  c.u.uc_stack.ss_sp = stack;
  c.u.uc_stack.ss_size = size;
  c.u.uc_link = nullptr;
  makecontext(&c.u, entry, 0);
}
#endif

enum Wait { RUNNING, AT_BARRIER, AT_WARP, DONE };
struct Fiber {
  Context context;
  char* stack = nullptr;
  Wait wait = RUNNING;
  unsigned mask = 0;
  unsigned met = 0;  // the lanes that took part in the warp operation it waits at
};
struct State {
  uint3 thread{}, block{};
  dim3 block_size, grid_size;
  Context scheduler;
  std::vector<Fiber> fibers;
  int current = 0;
  char* dynamic = nullptr;
  size_t dynamic_size = 0;
  uint64_t deposits[32][32], exchanged[32][32];  // [warp][lane]: being gathered, and met
  std::function<void()> body;
  std::exception_ptr error;
  unsigned seed = 0;
  sigjmp_buf rescue;
  volatile int signal = 0;
  void* volatile address = nullptr;
};
inline State& state() { static State s; return s; }
constexpr size_t STACK = 64 * 1024;

inline void yield(Wait wait, unsigned mask) {
  State& s = state();
  Fiber& f = s.fibers[s.current];
  f.wait = wait;
  f.mask = mask;
  swap(f.context, s.scheduler);
}
inline void entry() {
  State& s = state();
  try { s.body(); } catch (...) { s.error = std::current_exception(); }
  s.fibers[s.current].wait = DONE;
  swap(s.fibers[s.current].context, s.scheduler);
  std::abort();
}

// --- one block ------------------------------------------------------------------------------------
inline void shuffle_order(std::vector<long>& order, std::mt19937& random, unsigned seed) {
  if (seed == 1) std::reverse(order.begin(), order.end());
  else if (seed > 1) std::shuffle(order.begin(), order.end(), random);
}
inline std::vector<long> ascending(long n) {
  std::vector<long> order(n);
  for (long i = 0; i < n; ++i) order[i] = i;
  return order;
}
// A warp goes on when every lane named by the masks of those waiting has arrived (or has exited).
inline bool release_warps(State& s, int threads) {
  bool released = false;
  for (int first = 0; first < threads; first += 32) {
    unsigned want = 0, have = 0, alive = 0;
    for (int lane = 0; lane < 32 && first + lane < threads; ++lane) {
      const Fiber& f = s.fibers[first + lane];
      if (f.wait != DONE) alive |= 1u << lane;
      if (f.wait == AT_WARP) { have |= 1u << lane; want |= f.mask; }
    }
    if (!have || ((want & alive) & ~have)) continue;
    // Those released read what was exchanged as soon as they run, before anyone meets again.
    for (int lane = 0; lane < 32; ++lane) {
      if (!(have >> lane & 1)) continue;
      s.exchanged[first / 32][lane] = s.deposits[first / 32][lane];
      s.fibers[first + lane].met = have;
      s.fibers[first + lane].wait = RUNNING;
    }
    released = true;
  }
  return released;
}
inline long first_running(const State& s, const std::vector<long>& warps, int threads) {
  for (long warp : warps)
    for (long i = warp * 32; i < warp * 32 + 32 && i < threads; ++i)
      if (s.fibers[i].wait == RUNNING) return warp;
  return -1;
}
inline void run_block() {
  State& s = state();
  const int threads = s.block_size.x * s.block_size.y * s.block_size.z;
  if (int(s.fibers.size()) < threads) s.fibers.resize(threads);
  for (int i = 0; i < threads; ++i) {
    Fiber& f = s.fibers[i];
    if (!f.stack) f.stack = static_cast<char*>(std::aligned_alloc(64, STACK));
    prepare(f.context, f.stack, STACK, &entry);
    f.wait = RUNNING;
  }
  if (__start_ge_shared)
    std::memset(__start_ge_shared, 0xFF, size_t(__stop_ge_shared - __start_ge_shared));
  if (s.dynamic_size) std::memset(s.dynamic, 0xFF, s.dynamic_size);
  std::vector<long> order = ascending(threads);
  std::mt19937 random(s.seed);
  shuffle_order(order, random, s.seed);
  // Under an odd seed one warp runs as far as it gets before another starts: threads that all move
  // on together would hide a value overwritten by a warp that runs ahead.
  std::vector<long> warps = ascending((threads + 31) / 32);
  const bool alone = s.seed > 1 && s.seed % 2;
  if (alone) std::shuffle(warps.begin(), warps.end(), random);
  int alive = threads;
  while (alive) {
    if (s.seed > 1) std::shuffle(order.begin(), order.end(), random);
    bool moved = false;
    const long warp = alone ? first_running(s, warps, threads) : -1;
    for (long i : order) {
      Fiber& f = s.fibers[i];
      if (f.wait != RUNNING || (warp >= 0 && i / 32 != warp)) continue;
      s.current = int(i);
      const unsigned t = unsigned(i), bx = s.block_size.x, by = s.block_size.y;
      s.thread = uint3{t % bx, t / bx % by, t / (bx * by)};
      swap(s.scheduler, f.context);
      moved = true;
      if (f.wait == DONE) --alive;
      if (s.error) {
        const std::exception_ptr error = std::exchange(s.error, nullptr);
        std::rethrow_exception(error);
      }
    }
    moved |= release_warps(s, threads);
    int waiting = 0, in_warp = 0;
    for (int i = 0; i < threads; ++i) {
      waiting += s.fibers[i].wait == AT_BARRIER;
      in_warp += s.fibers[i].wait == AT_WARP;
    }
    if (alive && waiting == threads) {
      for (int i = 0; i < threads; ++i) s.fibers[i].wait = RUNNING;
      moved = true;
    }
    if (alive && !moved)
      throw std::runtime_error("divergent barrier: " + std::to_string(waiting) + " threads at __syncthreads, " +
                               std::to_string(in_warp) + " at a warp operation, " +
                               std::to_string(threads - alive) + " exited");
  }
}

// --- faults become errors ---------------------------------------------------------------------------
inline void on_signal(int number, siginfo_t* info, void*) {
  State& s = state();
  s.signal = number;
  s.address = info->si_addr;
  siglongjmp(s.rescue, 1);
}
struct Handlers {
  static constexpr int COUNT = 4;
  int numbers[COUNT] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
  struct sigaction before[COUNT];
  Handlers() {
    struct sigaction mine {};
    mine.sa_sigaction = &on_signal;
    mine.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (int i = 0; i < COUNT; ++i) sigaction(numbers[i], &mine, &before[i]);
  }
  ~Handlers() {
    for (int i = 0; i < COUNT; ++i) sigaction(numbers[i], &before[i], nullptr);
  }
};
inline std::string place(const uint3& p) {
  return "(" + std::to_string(p.x) + ", " + std::to_string(p.y) + ", " + std::to_string(p.z) + ")";
}
inline std::string fault() {
  State& s = state();
  const bool memory = s.signal == SIGSEGV || s.signal == SIGBUS;
  char address[32];
  std::snprintf(address, sizeof address, "%p", s.address);
  return (memory ? std::string("out-of-bounds access at ") + address
                 : std::string("misaligned vector or shared index out of range")) +
         " in block " + place(s.block) + ", thread " + place(s.thread);
}

// --- one launch: the arguments as the driver takes them ------------------------------------------------
inline void run_grid(dim3 grid, dim3 block, size_t shared, unsigned seed) {
  State& s = state();
  s.grid_size = grid;
  s.block_size = block;
  s.seed = seed;
  s.dynamic_size = shared;
  s.dynamic = shared ? static_cast<char*>(std::aligned_alloc(128, (shared + 127) / 128 * 128)) : nullptr;
  std::vector<long> order = ascending(long(grid.x) * grid.y * grid.z);
  std::mt19937 random(seed);
  shuffle_order(order, random, seed);
  for (long i : order) {
    s.block = uint3{unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / (long(grid.x) * grid.y))};
    run_block();
  }
}
template <class... P, size_t... I> void call(void (*kernel)(P...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<P>>*>(args[I])...);
}
template <class... P>
int run(void (*kernel)(P...), const unsigned* shape, size_t shared, unsigned seed, void** args, char* message,
        size_t capacity) {
  State& s = state();
  s.body = [=] { call(kernel, args, std::make_index_sequence<sizeof...(P)>()); };
  int failed = 0;
  {
    Handlers handlers;
    s.signal = 0;
    if (sigsetjmp(s.rescue, 1)) {
      std::snprintf(message, capacity, "%s", fault().c_str());
      failed = 1;
    } else {
      try {
        run_grid(dim3(shape[0], shape[1], shape[2]), dim3(shape[3], shape[4], shape[5]), shared, seed);
      } catch (const std::exception& error) {
        std::snprintf(message, capacity, "%s", error.what());
        failed = 1;
      }
    }
  }
  std::free(std::exchange(s.dynamic, nullptr));
  return failed;
}

// --- warp operations: deposit, meet, look -----------------------------------------------------------
inline const uint64_t* meet(unsigned mask, uint64_t bits) {
  State& s = state();
  const int me = s.current;
  s.deposits[me >> 5][me & 31] = bits;
  yield(AT_WARP, mask);
  return s.exchanged[me >> 5];
}
template <class T> T exchange(unsigned mask, T value, int from) {
  static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const int me = state().current;
  bits = meet(mask, bits)[from & 31];
  if (!(state().fibers[me].met & mask & (1u << (from & 31))))
    throw std::runtime_error("divergent shuffle: lane " + std::to_string(from & 31) + " takes no part");
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
inline unsigned ballot(unsigned mask, bool vote) {
  const int me = state().current;
  const uint64_t* votes = meet(mask, vote);
  unsigned result = 0;
  for (int lane = 0; lane < 32; ++lane)
    if ((mask & state().fibers[me].met & (1u << lane)) && votes[lane]) result |= 1u << lane;
  return result;
}
inline int lane() { return state().current & 31; }
}  // namespace emulator

// --- CUDA's words -------------------------------------------------------------------------------------
#define threadIdx (emulator::state().thread)
#define blockIdx (emulator::state().block)
#define blockDim (emulator::state().block_size)
#define gridDim (emulator::state().grid_size)
inline void __syncthreads() { emulator::yield(emulator::AT_BARRIER, 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulator::meet(mask, 0); }
inline void __threadfence() {}
template <class T> T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
  return emulator::exchange(mask, v, (emulator::lane() & ~(width - 1)) | (from & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int bits, int = 32) {
  return emulator::exchange(mask, v, emulator::lane() ^ bits);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, int by, int width = 32) {
  const int lane = emulator::lane();
  return emulator::exchange(mask, v, (lane & (width - 1)) + by < width ? lane + by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int vote) { return emulator::ballot(mask, vote != 0); }
inline int __any_sync(unsigned mask, int vote) { return emulator::ballot(mask, vote != 0) != 0; }
inline int __all_sync(unsigned mask, int vote) { return emulator::ballot(mask, vote == 0) == 0; }
template <class T> T atomicAdd(T* p, T v) { const T old = *p; *p = old + v; return old; }
template <class T> T atomicMax(T* p, T v) { const T old = *p; *p = std::max(old, v); return old; }

// The entry of one kernel: launch shape, shared bytes, order seed, arguments, where an error's text goes.
#define GE_EMULATOR_EXPORT(SYMBOL, ...)                                                          \
  extern "C" int SYMBOL(const unsigned* shape, size_t shared, unsigned seed, void** args,        \
                        char* message, size_t capacity) {                                        \
    return emulator::run(&__VA_ARGS__, shape, shared, seed, args, message, capacity);            \
  }

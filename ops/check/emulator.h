// A small emulation of CUDA in plain C++, so that the kernels can be run and checked on a machine
// without a GPU: g++ -x c++ -std=c++17 -DCBK_EMULATE. Blocks run one after another; the threads of
// a block are fibers that take turns in a shuffled order and switch at barriers and shuffles, so a
// barrier that is missing gives wrong results and one that not all threads reach stops the program.
// Warps run as far ahead of each other as barriers allow; but shuffles hold the lanes of a warp
// together, so a missing __syncwarp can hide behind one. Device memory is host memory:
// -fsanitize=address,undefined sees every access. One thread of the host may use the device.

#ifndef CB_KERAS_OPS_CHECK_EMULATOR_H_
#define CB_KERAS_OPS_CHECK_EMULATOR_H_

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <memory>
#include <vector>

#include "emulated_cuda.h"
#include "half_bits.h"

#define CBK_SHARED_MEMORY(name) unsigned char* const name = cb_keras::emulator::machine.shared.get()

namespace cb_keras {

constexpr int kResidentThreads = 1024;

namespace emulator {

struct Barrier {
  int size = 0;
  int arrived = 0;
  unsigned generation = 0;
};

struct Warp {
  Barrier barrier;
  uint64_t slots[2][32];  // What the lanes show each other; two sets, used in turn.
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  unsigned thread = 0;
  unsigned shuffles = 0;
  const Barrier* waits_for = nullptr;
  unsigned generation = 0;
  bool finished = false;
};

struct Machine {
  // The most blocks of a grid, and how many of them run: the last ones. A check of rows far behind
  // the first makes grids huge and runs only their ends.
  int64_t max_blocks = 5;
  int64_t last_blocks = 5;
  dim3 block_index, block_size, grid_size;
  std::unique_ptr<unsigned char[]> shared;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier block;
  Fiber* running = nullptr;
  ucontext_t scheduler;
  std::function<void()> kernel;
  uint32_t random = 1;
};

inline Machine machine;

}  // namespace emulator

inline int64_t MaxBlocks() { return emulator::machine.max_blocks; }

namespace emulator {

inline void Wait(Barrier* barrier) {
  Fiber* const self = machine.running;
  if (++barrier->arrived == barrier->size) {
    barrier->arrived = 0;
    ++barrier->generation;
    return;
  }
  self->waits_for = barrier;
  self->generation = barrier->generation;
  swapcontext(&self->context, &machine.scheduler);
  self->waits_for = nullptr;
}

inline void RunFiber() {
  machine.kernel();
  machine.running->finished = true;
  swapcontext(&machine.running->context, &machine.scheduler);
}

inline void PrepareFibers(unsigned threads) {
  constexpr size_t kStackBytes = 64 << 10;
  if (machine.fibers.size() < threads) machine.fibers.resize(threads);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = machine.fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[kStackBytes]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, RunFiber, 0);
    fiber.thread = i;
    fiber.shuffles = 0;
    fiber.waits_for = nullptr;
    fiber.finished = false;
  }
}

// Runs the lanes of a warp in turn until none can go on; returns whether any could.
inline bool RunWarp(unsigned first, unsigned* finished) {
  bool any = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (unsigned i = 0; i < 32; ++i) {
      // An odd factor visits all lanes, in an order that changes from block to block.
      Fiber& fiber = machine.fibers[first + (i * (machine.random >> 8 | 1) ) % 32];
      if (fiber.finished) continue;
      if (fiber.waits_for && fiber.waits_for->generation == fiber.generation) continue;
      machine.running = &fiber;
      swapcontext(&machine.scheduler, &fiber.context);
      *finished += fiber.finished;
      progress = any = true;
    }
  }
  return any;
}

// `threads` is a multiple of 32 and a power of two.
inline void RunBlock(unsigned threads, size_t shared_bytes) {
  PrepareFibers(threads);
  if (shared_bytes > 0) memset(machine.shared.get(), 0xff, shared_bytes);
  const unsigned warps = threads / 32;
  machine.block = Barrier{static_cast<int>(threads)};
  machine.warps.assign(warps, Warp{});
  for (Warp& warp : machine.warps) warp.barrier.size = 32;
  machine.random = machine.random * 1664525u + 1013904223u;
  for (unsigned finished = 0; finished < threads;) {
    bool progress = false;
    for (unsigned i = 0; i < warps; ++i) {
      const unsigned warp = (i * (machine.random >> 16 | 1) + (machine.random >> 12)) % warps;
      progress |= RunWarp(32 * warp, &finished);
    }
    if (!progress) {
      fprintf(stderr, "emulator: a barrier that not all threads of its block or warp reach\n");
      abort();
    }
  }
}

template <typename T>
T ShuffleXor(T value, int lane_mask) {
  Fiber* const self = machine.running;
  Warp* const warp = &machine.warps[self->thread / 32];
  uint64_t* const slots = warp->slots[self->shuffles++ % 2];
  memcpy(&slots[self->thread % 32], &value, sizeof(value));
  Wait(&warp->barrier);
  memcpy(&value, &slots[(self->thread % 32) ^ static_cast<unsigned>(lane_mask)], sizeof(value));
  return value;
}

// An error of the size that the GPU's approximate instructions may make, up to `size`.
inline float Disturb(float value, float size) {
  const uint32_t hash = FloatBits(value) * 2654435761u;
  return value * (1 + size * (static_cast<float>(hash >> 8) / (1 << 23) - 1));
}

}  // namespace emulator

inline float Exp2Approx(float x) {
  const float result = emulator::Disturb(exp2f(x), ldexpf(1, -22));
  return result < ldexpf(1, -126) ? 0 : result;
}

inline float ReciprocalApprox(float x) { return emulator::Disturb(1 / x, ldexpf(1, -23)); }
inline float SqrtApprox(float x) { return emulator::Disturb(sqrtf(x), ldexpf(1, -23)); }

template <typename Vector>
void StoreGlobal(Vector* address, Vector bits) {
  *Aligned(address) = bits;
}
template <typename Vector>
void StoreShared(Vector* address, Vector bits) {
  *Aligned(address) = bits;
}

template <typename Args>
cudaError_t StartKernel(void (*kernel)(Args), int64_t blocks, int threads, size_t shared_bytes,
                        cudaStream_t, const Args& args) {
  emulator::Machine& machine = emulator::machine;
  if (blocks < 1 || blocks > machine.max_blocks || threads < 32 || threads > 1024 ||
      (threads & (threads - 1)) != 0) {
    return cudaErrorInvalidValue;
  }
  machine.grid_size.x = static_cast<unsigned>(blocks);
  machine.block_size.x = static_cast<unsigned>(threads);
  machine.shared.reset(new unsigned char[shared_bytes]);
  machine.kernel = [&] { kernel(args); };
  const int64_t first = blocks > machine.last_blocks ? blocks - machine.last_blocks : 0;
  machine.block_index.x = static_cast<unsigned>(first);
  for (; machine.block_index.x < blocks; ++machine.block_index.x) {
    emulator::RunBlock(machine.block_size.x, shared_bytes);
  }
  return cudaSuccess;
}

}  // namespace cb_keras

#define threadIdx (dim3{cb_keras::emulator::machine.running->thread})
#define blockIdx (cb_keras::emulator::machine.block_index)
#define blockDim (cb_keras::emulator::machine.block_size)
#define gridDim (cb_keras::emulator::machine.grid_size)

inline void __syncthreads() { cb_keras::emulator::Wait(&cb_keras::emulator::machine.block); }
inline void __syncwarp() {
  using cb_keras::emulator::machine;
  cb_keras::emulator::Wait(&machine.warps[machine.running->thread / 32].barrier);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int lane_mask) {
  return cb_keras::emulator::ShuffleXor(value, lane_mask);
}

#endif  // CB_KERAS_OPS_CHECK_EMULATOR_H_

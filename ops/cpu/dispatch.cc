#include <cstdlib>
#include <cstring>

#include "rows.h"

namespace cb_keras {
namespace {

const RowKernels& Choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // x86-64-v3 and x86-64-v4, the levels that the kernels are compiled for.
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                        __builtin_cpu_supports("f16c");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512cd") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const char* asked = std::getenv("CB_KERAS_CPU_KERNELS");
  const bool baseline_only = asked != nullptr && std::strcmp(asked, "baseline") == 0;
  const bool at_most_avx2 = asked != nullptr && std::strcmp(asked, "avx2") == 0;
  if (has_avx512 && !baseline_only && !at_most_avx2) return avx512::kRowKernels;
  if (has_avx2 && !baseline_only) return avx2::kRowKernels;
#endif
  return baseline::kRowKernels;
}

}  // namespace

const RowKernels& BestRowKernels() {
  static const RowKernels& best = Choose();
  return best;
}

bool ScalesNothing(const CbkScaling& scaling) {
  constexpr int64_t kBlock = 1024;  // a block is compared without a jump, so in vectors
  for (int64_t begin = 0; begin < scaling.rows; begin += kBlock) {
    const int64_t end = begin + kBlock < scaling.rows ? begin + kBlock : scaling.rows;
    int differ = 0;
    if (scaling.applied_is_scalar) {
      const float applied = scaling.applied[0];
      for (int64_t row = begin; row < end; ++row) differ |= scaling.upstream[row] != applied;
    } else {
      for (int64_t row = begin; row < end; ++row) {
        differ |= scaling.upstream[row] != scaling.applied[row];
      }
    }
    if (differ != 0) return false;
  }
  return true;
}

}  // namespace cb_keras

extern "C" const char* CbkCpuInstructionSet() {
  return cb_keras::BestRowKernels().instruction_set;
}

// Checks and times the CUDA kernels of ../cuda/class_balanced_loss.cu without TensorFlow:
//
//   python -m ops.check.build cuda check
//   ./check [--seed=N] [--checks-only] [--far-only] [--sanitized] [--timing-only] [--emulated]
//           [--json=FILE]
//
// --checks-only   a selection of smaller shapes; no timing.
// --far-only      more than 2^31 elements and rows, as far as the memory goes; nothing else.
// --sanitized     a shape or two for each way through the kernels, for compute-sanitizer; no timing.
// --timing-only   no checks.
// --emulated      the few small shapes that the emulated build always takes; no timing.
// --json=FILE     the timings for programs.
//
// Exit status: 0 if all checks passed, 77 if there is no GPU, else 1. Without a GPU the same checks
// run on an emulation of one:
//
//   python -m ops.check.build emulation check

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chrono>
#include <string>
#include <vector>

#include "../class_balanced_loss.h"
#include "cuda_kernels.h"
#ifndef CBK_EMULATE
#include "cuda_timing.h"
#endif
#include "far_rows.h"

namespace cb_keras {
namespace check {
namespace {

struct Flags {
  uint64_t seed = static_cast<uint64_t>(
      std::chrono::system_clock::now().time_since_epoch().count() % 1000000007);
  bool checks = true;
  bool timing = true;
  bool small = false;
  bool emulated = false;
  bool sanitized = false;
  bool far = true;
  bool shapes = true;
  std::string json_path;
};

Flags ParseFlags(int count, char** arguments) {
  Flags flags;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument.rfind("--seed=", 0) == 0) {
      flags.seed = strtoull(argument.c_str() + 7, nullptr, 10);
    } else if (argument.rfind("--json=", 0) == 0) {
      flags.json_path = argument.substr(7);
    } else if (argument == "--checks-only") {
      flags.small = true;
    } else if (argument == "--far-only") {
      flags.shapes = flags.timing = false;
    } else if (argument == "--sanitized") {
      flags.sanitized = true;
    } else if (argument == "--timing-only") {
      flags.checks = false;
    } else if (argument == "--emulated") {
      flags.emulated = true;
    } else {
      fprintf(stderr, "unknown argument %s; see the top of ops/check/cuda_check.cu\n", arguments[i]);
      exit(1);
    }
  }
  if (flags.small || flags.emulated || flags.sanitized) flags.timing = flags.far = false;
#ifdef CBK_EMULATE
  flags.emulated = flags.far = true;
  flags.timing = false;
#endif
  return flags;
}

struct Shape {
  int64_t rows, classes;
};

std::vector<Shape> AllShapes(const Flags& flags) {
  if (flags.sanitized) {
    return {{0, 10}, {127, 2}, {300, 10}, {700, 32}, {40, 80}, {5, 512}, {7, 513}, {3, 8142},
            {1, 100003}};
  }
  if (flags.emulated) {
    return {{0, 10},   {127, 1},  {127, 2},   {130, 8},  {127, 10},  {300, 10}, {1200, 16},
            {127, 31}, {127, 32}, {700, 32},  {127, 33}, {40, 80},   {9, 257},  {5, 512},
            {7, 513},  {6, 1000}, {0, 8142},  {1, 8142}, {3, 8142},  {1, 100003}};
  }
  std::vector<Shape> shapes;
  for (const int64_t classes : {1, 2, 10, 31, 32, 33, 80, 512, 513, 1000, 8142, 100003}) {
    for (const int64_t rows : {0, 1, 127, 4096}) {
      if (!flags.small || rows * classes <= 1200000) shapes.push_back({rows, classes});
    }
  }
  // More tiles and more rows than a grid has blocks.
  if (!flags.small) shapes.insert(shapes.end(), {{9000000, 3}, {70000, 600}});
  return shapes;
}

// Whether a problem of that shape fits on the device; says so if not.
bool Fits(const Case& what) {
  size_t available = 0, total = 0;
  Require(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  const double labels = static_cast<double>(LabelBytes(what.labels_type));
  const bool multi_hot = what.labels_type == kCbkMultiHot;
  const double element = static_cast<double>(2 * FloatBytes(what.float_type)) +
                         (multi_hot ? labels : 0.0);
  const double row = 8.0 + (multi_hot ? 0.0 : labels);  // and upstream factor and loss
  const double bytes = static_cast<double>(what.rows) *
                       (static_cast<double>(what.classes) * element + row);
  const bool fits = bytes < 0.9 * static_cast<double>(available);
  if (!fits) {
    printf("skipped, needs %.1f GB of the device's memory: %s\n", bytes / 1e9,
           what.Name().c_str());
  }
  return fits;
}

// All losses, types, class ids and multi-hot labels, with and without gradient. All kinds of
// upstream factors with each of them where that is quick, else in turn; the values of gamma and the
// types of class ids other than int32 always in turn.
void CheckShape(const Shape& shape, const Flags& flags, Report* report) {
  static const float gammas[] = {1.0f, 2.0f, 0.5f, 5.0f, 0.0f, 1.7f, 50.0f, 1e4f};
  static const int other_ids[] = {kCbkInt64, kCbkUint64, kCbkFloatIds, kCbkDoubleIds};
  static uint64_t turn = 0, other = 0;
  const bool in_turn = flags.emulated || flags.sanitized || shape.rows * shape.classes > 10000000;
  const bool once = flags.sanitized || shape.rows * shape.classes > 100000000;
  for (int loss = 0; loss < kCbkLossCount; ++loss) {
    for (int type = kCbkFloat32; type <= kCbkFloat16; ++type) {
      for (const int labels : {int{kCbkInt32}, other_ids[++other % 4], int{kCbkMultiHot}}) {
        for (int variant = 0; variant < (once ? 1 : in_turn ? 2 : 6); ++variant) {
          ++turn;
          const int upstream = static_cast<int>(in_turn ? turn % 3 : variant / 2);
          const float gamma = gammas[turn / 2 % 8];
          const Case what = {loss,       type,          labels, variant % 2 == 0,  upstream,
                             shape.rows, shape.classes, gamma,  flags.seed + turn};
          if (Fits(what)) CheckLoss(what, report);
        }
      }
    }
  }
}

void CheckScales(const Flags& flags, Report* report) {
  uint64_t turn = 0;
  for (const int64_t classes : {1, 10, 33, 1000, 8142}) {
    for (const int64_t rows : {0, 1, 127, 1000}) {
      if ((flags.emulated || flags.small || flags.sanitized) && rows * classes > 200000) continue;
      for (int type = kCbkFloat32; type <= kCbkFloat16; ++type) {
        for (const bool scalar : {false, true}) {
          CheckScale({type, scalar, rows, classes, flags.seed + ++turn}, report);
        }
      }
    }
  }
}

#ifdef CBK_EMULATE
using Far = FarArray;
#else
using Far = FarDeviceArray;
#endif

// More than 2^31 elements, and more than 2^31 rows. A GPU works on them all, and needs the memory;
// the emulation runs the last blocks alone.
void CheckFarRows(const Flags& flags, Report* report) {
  constexpr int64_t kLimit = int64_t{1} << 31;
#ifdef CBK_EMULATE
  const emulator::Machine usual = {};
  emulator::machine.max_blocks = 2 * kLimit - 1;
  emulator::machine.last_blocks = 8;
#endif
  uint64_t seed = flags.seed;
  for (const int64_t classes : {1, 3, 600}) {
    const int64_t rows = kLimit / classes + 150;
    for (int loss = 0; loss < kCbkLossCount; ++loss) {
      for (const int labels : {int{kCbkInt64}, int{kCbkMultiHot}}) {
        const Case what = {loss, kCbkFloat32, labels, true, kRowUpstream, 8, classes, 1.0f, ++seed};
        Case all = what;
        all.rows = rows;
        if (!Fits(all)) continue;
        CheckFarLoss<Far>(what, rows, [&](const CbkProblem& problem, int64_t) {
          Require(CbkCudaLoss(&problem, nullptr), "CbkCudaLoss of far rows");
        }, report);
      }
    }
    CheckFarScale<Far>({kCbkFloat32, false, 8, classes, ++seed}, rows,
                       [&](const CbkScaling& scaling, int64_t) {
                         Require(CbkCudaScale(&scaling, nullptr), "CbkCudaScale of far rows");
                       }, report);
  }
#ifdef CBK_EMULATE
  emulator::machine.max_blocks = usual.max_blocks;
  emulator::machine.last_blocks = usual.last_blocks;
#endif
}

// Arguments that make no sense are refused before any work.
void CheckRefusals(Report* report) {
  CbkProblem problem = {};
  problem.classes = 10;
  report->Add(CbkCudaLoss(&problem, nullptr) == cudaSuccess, "no rows are not an error");
  problem.labels_type = kCbkMultiHot;
  problem.ignores = 1;
  report->Add(CbkCudaLoss(&problem, nullptr) != cudaSuccess, "multi-hot labels ignore no class");
  problem.ignores = 0;
  const float margin = 0.0f;
  problem.margin = &margin;
  report->Add(CbkCudaLoss(&problem, nullptr) != cudaSuccess, "multi-hot labels have no margin");
  problem.labels_type = kCbkInt32;
  problem.loss = kCbkSigmoid;
  report->Add(CbkCudaLoss(&problem, nullptr) != cudaSuccess, "only softmax losses have margins");
  problem.loss = kCbkSoftmax;
  problem.margin = nullptr;
  problem.labels_type = kCbkDoubleIds + 1;
  report->Add(CbkCudaLoss(&problem, nullptr) != cudaSuccess, "there are no labels of type 6");
  problem.labels_type = kCbkInt32;
  problem.float_type = 3;
  report->Add(CbkCudaLoss(&problem, nullptr) != cudaSuccess, "there is no float type 3");
  problem.float_type = kCbkFloat32;
  problem.classes = 0;
  const int error = CbkCudaLoss(&problem, nullptr);
  report->Add(error != cudaSuccess, "no classes are an error");
  report->Add(strstr(CbkCudaErrorString(error), "invalid") != nullptr, "errors have names");
}

int Main(int count, char** arguments) {
  const Flags flags = ParseFlags(count, arguments);
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    printf("no GPU: nothing was checked\n");
    return 77;
  }
  printf("--seed=%llu\n", static_cast<unsigned long long>(flags.seed));
  Report report;
  if (flags.checks) {
    CheckRefusals(&report);
    if (flags.far) CheckFarRows(flags, &report);
    if (flags.shapes) {
      CheckScales(flags, &report);
      for (const Shape& shape : AllShapes(flags)) CheckShape(shape, flags, &report);
    }
  }
#ifndef CBK_EMULATE
  if (flags.timing) TimeAll(flags.seed, flags.json_path);
#endif
  return report.Finish();
}

}  // namespace
}  // namespace check
}  // namespace cb_keras

int main(int count, char** arguments) { return cb_keras::check::Main(count, arguments); }

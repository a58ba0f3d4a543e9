// Device memory for the check of the CUDA kernels.

#ifndef CB_KERAS_OPS_CHECK_CUDA_MEMORY_H_
#define CB_KERAS_OPS_CHECK_CUDA_MEMORY_H_

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "problem.h"

#ifdef CBK_EMULATE
#include "emulator.h"
#else
#include <cuda_runtime.h>
#endif

namespace cb_keras {
namespace check {

// Ends the program at the first CUDA error that is not itself under test.
inline void Require(int error, const char* what) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(static_cast<cudaError_t>(error)));
  exit(1);
}

// An array that begins `shift` bytes after a boundary of 256 (emulated: 16) bytes. One that is for
// output has guard zones around it, and all of it is filled with kPoison.
class DeviceArray {
 public:
  enum Use { kInput, kOutput };

  DeviceArray(Use use, int64_t bytes, int64_t shift)
      : before_(static_cast<size_t>(shift) + (use == kOutput ? kGuard : 0)),
        bytes_(static_cast<size_t>(bytes)),
        after_(use == kOutput ? kGuard : 0) {
    // One byte at least: an empty array must not look like an absent one.
    Require(cudaMalloc(reinterpret_cast<void**>(&memory_), Total() + (Total() == 0)), "cudaMalloc");
    if (use == kOutput) Require(cudaMemset(memory_, kPoison, Total()), "cudaMemset");
  }
  ~DeviceArray() { cudaFree(memory_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  void* data() const { return memory_ + before_; }

  void Upload(const void* source) const {
    Require(cudaMemcpy(data(), source, bytes_, cudaMemcpyHostToDevice), "copy to the device");
  }

  // The contents; `*guards_hold` becomes false where something was written around them.
  std::vector<unsigned char> Download(bool* guards_hold) const {
    std::vector<unsigned char> all(Total());
    Require(cudaMemcpy(all.data(), memory_, Total(), cudaMemcpyDeviceToHost),
            "copy from the device");
    for (size_t i = 0; i < Total(); ++i) {
      if (i == before_) i += bytes_;
      if (i < Total() && all[i] != kPoison) *guards_hold = false;
    }
    return std::vector<unsigned char>(
        all.begin() + static_cast<ptrdiff_t>(before_),
        all.begin() + static_cast<ptrdiff_t>(before_ + bytes_));
  }

 private:
  static constexpr size_t kGuard = 256;

  size_t Total() const { return before_ + bytes_ + after_; }

  size_t before_, bytes_, after_;
  unsigned char* memory_ = nullptr;
};

// `bytes` bytes of which the last are `end`, and the others 0: FarArray of far_rows.h, on the device.
class FarDeviceArray {
 public:
  FarDeviceArray(int64_t bytes, const std::vector<unsigned char>& end)
      : end_at_(static_cast<size_t>(bytes) - end.size()), size_(end.size()) {
    const size_t total = static_cast<size_t>(bytes);
    Require(cudaMalloc(reinterpret_cast<void**>(&memory_), total + (total == 0)), "cudaMalloc");
    Require(cudaMemset(memory_, 0, total), "cudaMemset");
    Require(cudaMemcpy(memory_ + end_at_, end.data(), size_, cudaMemcpyHostToDevice), "copy");
  }
  ~FarDeviceArray() { cudaFree(memory_); }
  FarDeviceArray(const FarDeviceArray&) = delete;
  FarDeviceArray& operator=(const FarDeviceArray&) = delete;

  void* data() const { return memory_; }
  std::vector<unsigned char> Contents() const {
    std::vector<unsigned char> end(size_);
    Require(cudaMemcpy(end.data(), memory_ + end_at_, size_, cudaMemcpyDeviceToHost), "copy back");
    return end;
  }

 private:
  size_t end_at_, size_;
  unsigned char* memory_ = nullptr;
};

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_CUDA_MEMORY_H_

// Starting kernels: what the current device offers, and a launch that may use all of it.

#ifndef CB_KERAS_OPS_CUDA_LAUNCH_CUH_
#define CB_KERAS_OPS_CUDA_LAUNCH_CUH_

#include <atomic>
#include <vector>

#include "platform.cuh"

namespace cb_keras {

struct Device {
  int index;
  int multiprocessors;
  int shared_bytes_per_block;  // That a kernel may ask for.
  int shared_bytes_per_multiprocessor;
  int reserved_shared_bytes;  // That the system takes from each block.
  int cache_bytes;
  cudaError_t error;  // Of finding out the others.
};

inline Device QueryDevice(int index) {
  Device device = {};
  device.index = index;
  const struct {
    cudaDeviceAttr attribute;
    int* value;
  } questions[] = {
      {cudaDevAttrMultiProcessorCount, &device.multiprocessors},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, &device.shared_bytes_per_block},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, &device.shared_bytes_per_multiprocessor},
      {cudaDevAttrReservedSharedMemoryPerBlock, &device.reserved_shared_bytes},
      {cudaDevAttrL2CacheSize, &device.cache_bytes},
  };
  for (const auto& question : questions) {
    device.error = cudaDeviceGetAttribute(question.value, question.attribute, index);
    if (device.error != cudaSuccess) break;
  }
  return device;
}

// The current device. All devices are asked once, by the first caller.
inline cudaError_t CurrentDevice(const Device** device) {
  static const std::vector<Device> devices = [] {
    int count = 0;
    std::vector<Device> all;
    if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
    for (int i = 0; i < count; ++i) all.push_back(QueryDevice(i));
    return all;
  }();
  int index = 0;
  const cudaError_t error = cudaGetDevice(&index);
  if (error != cudaSuccess) return error;
  if (index >= static_cast<int>(devices.size())) return cudaErrorInvalidDevice;
  *device = &devices[static_cast<size_t>(index)];
  return (*device)->error;
}

// Lets the kernel use as much shared memory as a block can have, once for each kernel and device
// (`done` is the kernel's own). Doing it twice does no harm, so threads need not wait for each
// other; and the size does not depend on the launch, so they cannot take it from each other.
template <typename Args>
cudaError_t AllowSharedMemory(void (*kernel)(Args), const Device& device, std::atomic<bool>* done) {
  if (done->load(std::memory_order_acquire)) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                 cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                 device.shared_bytes_per_block);
  if (error == cudaSuccess) done->store(true, std::memory_order_release);
  return error;
}

// `pieces` is the number of tiles or rows: one per block as far as the grid allows.
template <auto kKernel, typename Args>
cudaError_t Launch(const Device& device, int64_t pieces, int threads, size_t shared_bytes,
                   cudaStream_t stream, const Args& args) {
  constexpr size_t kAlwaysAllowed = 48 << 10;
  constexpr int kRemembered = 64;  // Devices beyond it are told each time.
  static std::atomic<bool> done[kRemembered];
  std::atomic<bool> forgotten(false);
  if (shared_bytes > kAlwaysAllowed) {
    const cudaError_t error = AllowSharedMemory<Args>(
        kKernel, device, device.index < kRemembered ? &done[device.index] : &forgotten);
    if (error != cudaSuccess) return error;
  }
  const int64_t blocks = pieces < MaxBlocks() ? pieces : MaxBlocks();
  return StartKernel<Args>(kKernel, blocks, threads, shared_bytes, stream, args);
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CUDA_LAUNCH_CUH_

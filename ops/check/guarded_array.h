// Memory for the check of the CPU kernels that ends where nothing may be touched. The sanitizers
// don't see what masked and streaming instructions access; the processor does.

#ifndef CB_KERAS_OPS_CHECK_GUARDED_ARRAY_H_
#define CB_KERAS_OPS_CHECK_GUARDED_ARRAY_H_

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "problem.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cb_keras {
namespace check {

// `bytes` bytes, filled with kPoison, up to the last one before a page that can't be accessed: so
// the array begins at a boundary of its elements, and of nothing more. Before it there is a guard
// zone.
class GuardedArray {
 public:
  explicit GuardedArray(size_t bytes) : bytes_(bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t pages = (kGuard + bytes + page - 1) / page;
    mapped_ = (pages + 1) * page;
    void* const memory =
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) Fail("mmap");
    memory_ = static_cast<unsigned char*>(memory);
    before_ = pages * page - bytes;
    memset(memory_, kPoison, pages * page);
    if (mprotect(memory_ + pages * page, page, PROT_NONE) != 0) Fail("mprotect");
    Poison(true);
  }
  GuardedArray(size_t bytes, const void* contents) : GuardedArray(bytes) {
    if (bytes > 0) memcpy(data(), contents, bytes);
  }
  ~GuardedArray() {
    Poison(false);
    munmap(memory_, mapped_);
  }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;

  void* data() const { return memory_ + before_; }

  std::vector<unsigned char> Contents() const {
    return std::vector<unsigned char>(memory_ + before_, memory_ + before_ + bytes_);
  }

  // Whether the zone before the array is as it was; the page behind it can't have changed.
  bool GuardHolds() const {
    Poison(false);
    bool holds = true;
    for (size_t i = 0; i < before_; ++i) holds = holds && memory_[i] == kPoison;
    Poison(true);
    return holds;
  }

 private:
  static constexpr size_t kGuard = 256;

  [[noreturn]] static void Fail(const char* what) {
    perror(what);
    exit(1);
  }

  void Poison(bool on) const {
#if defined(__SANITIZE_ADDRESS__)
    if (on) {
      ASAN_POISON_MEMORY_REGION(memory_, before_);
    } else {
      ASAN_UNPOISON_MEMORY_REGION(memory_, before_);
    }
#else
    (void)on;
#endif
  }

  size_t bytes_, before_, mapped_;
  unsigned char* memory_;
};

}  // namespace check
}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_GUARDED_ARRAY_H_

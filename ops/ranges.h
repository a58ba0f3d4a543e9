// How a loop is cut into ranges, which its threads take one after another.

#ifndef CB_KERAS_OPS_RANGES_H_
#define CB_KERAS_OPS_RANGES_H_

#include <stdint.h>

#include <algorithm>
#include <atomic>

#include "class_balanced_loss.h"

namespace cb_keras {

// A range of less work than this is not worth waking a thread for (cycles).
constexpr int64_t kSmallestRange = 50000;
// Ranges for each thread, so that one that was late, or was interrupted, leaves its work to others.
constexpr int64_t kRangesPerThread = 4;

inline int64_t RangesOf(int64_t n, int64_t cost) {
  return std::min(n, n * std::max<int64_t>(cost, 1) / kSmallestRange);
}

// How many threads next to the caller's a loop over n items is worth, of `threads` in all.
inline int64_t HelpersOf(int64_t n, int64_t cost, int64_t threads) {
  return std::max<int64_t>(std::min(threads, RangesOf(n, cost)) - 1, 0);
}

class Ranges {
 public:
  // For at least one helper.
  Ranges(int64_t n, int64_t cost, int64_t helpers, CbkBody body, void* work)
      : n_(n), range_(Length(n, cost, helpers)), body_(body), work_(work) {}

  // Takes ranges until there are none left; called by each thread.
  void Run() {
    for (int64_t begin; (begin = next_.fetch_add(range_)) < n_;) {
      body_(work_, begin, std::min(begin + range_, n_));
    }
  }

 private:
  static int64_t Length(int64_t n, int64_t cost, int64_t helpers) {
    const int64_t ranges = std::min(RangesOf(n, cost), (helpers + 1) * kRangesPerThread);
    return (n + ranges - 1) / ranges;
  }

  const int64_t n_, range_;
  const CbkBody body_;
  void* const work_;
  std::atomic<int64_t> next_{0};
};

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_RANGES_H_

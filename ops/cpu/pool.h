// Threads of the core's own, for callers that have none to lend.

#ifndef CB_KERAS_OPS_CPU_POOL_H_
#define CB_KERAS_OPS_CPU_POOL_H_

#include <stdint.h>

#include "../class_balanced_loss.h"

namespace cb_keras {

// A CbkParallelFor. There are as many threads as this process may use processors, less the one that
// calls, or as CB_KERAS_THREADS says, the caller included; where `most` is not nullptr it points to
// an int64_t, and this loop has no more than that. They start at the first loop that is worth
// sharing, sleep in between, and live as long as the process. A process that is forked gets threads
// of its own.
void ParallelForOfOwnPool(void* most, int64_t n, int64_t cost, CbkBody body, void* work);

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CPU_POOL_H_

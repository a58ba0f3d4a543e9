// Threads of a program that already has some by OpenMP, as PyTorch does.

#include "../class_balanced_loss.h"
#include "../ranges.h"

extern "C" void CbkForOfOpenMp(void* team, int64_t n, int64_t cost, CbkBody body, void* work) {
  using namespace cb_keras;
  const CbkOpenMp& openmp = *static_cast<const CbkOpenMp*>(team);
  const int64_t helpers = HelpersOf(n, cost, openmp.threads);
  if (helpers < 1) return body(work, 0, n);
  Ranges ranges(n, cost, helpers, body, work);
  // 0 for as many threads as every loop there has: GNU's OpenMP ends those that a loop leaves out,
  // and starts them anew for the next. More than are worth it find no range.
  openmp.parallel([](void* taken) { static_cast<Ranges*>(taken)->Run(); }, &ranges, 0, 0);
}

// The losses by name and number, for all that has to name one: TensorFlow's attribute, the kernels,
// the checks. A new loss is a line in CBK_LOSSES; see README.md for what follows from it.

#ifndef CB_KERAS_OPS_LOSSES_H_
#define CB_KERAS_OPS_LOSSES_H_

#include <string.h>

#define CBK_LOSSES(LOSS)      \
  LOSS(kCbkSoftmax, softmax)  \
  LOSS(kCbkSigmoid, sigmoid)  \
  LOSS(kCbkFocal, focal)      \
  LOSS(kCbkSoftmaxFocal, softmax_focal)

#define CBK_LOSS_NUMBER(number, name) number,
enum CbkLoss { CBK_LOSSES(CBK_LOSS_NUMBER) kCbkLossCount };
#undef CBK_LOSS_NUMBER

// The attribute `loss` as TensorFlow declares attributes: loss: {'softmax', 'sigmoid', ...}
#define CBK_QUOTED_LOSS(number, name) "'" #name "', "
#define CBK_LOSS_ATTRIBUTE "loss: {" CBK_LOSSES(CBK_QUOTED_LOSS) "}"

#ifdef __cplusplus
extern "C" {
#endif

// Name of a CbkLoss.
static inline const char* CbkLossName(int loss) {
#define CBK_LOSS_NAME(number, name) #name,
  static const char* const names[] = {CBK_LOSSES(CBK_LOSS_NAME)};
#undef CBK_LOSS_NAME
  return names[loss];
}

// Whether a loss is one of the softmax's, whose multi-hot labels mix the losses of the classes.
static inline int CbkOfSoftmax(int loss) {
  return loss == kCbkSoftmax || loss == kCbkSoftmaxFocal;
}

// The CbkLoss of a name, -1 for one that is not a loss.
static inline int CbkLossOfName(const char* name) {
  for (int loss = 0; loss < kCbkLossCount; ++loss) {
    if (strcmp(name, CbkLossName(loss)) == 0) return loss;
  }
  return -1;
}

#ifdef __cplusplus
}
#endif

#endif  // CB_KERAS_OPS_LOSSES_H_

"""The losses as stateless functions, one value per example.

Labels that are each a yes or no have functions of their own, `class_balanced_binary_crossentropy`
and `asymmetric_crossentropy`. The softmax, sigmoid and focal losses, and those that adjust the
logits of a softmax by the class counts, all take the same labels and logits:

- `y_pred`: logits `[..., C]` (probabilities with `from_logits=False`), any float dtype. The
  arithmetic is in float32, or float64 for float64 logits, and the result has that dtype. The
  values are taken as they are: Keras' own losses look behind a softmax for its logits, these do
  not. Where it can be known that "logits" are the output of a softmax or sigmoid, a warning says
  so: on TensorFlow in graphs, and by Keras' mark on the tensor; the `Loss` classes also look at
  the values of their first eager batch. Code compiled by JAX or PyTorch can't be warned.
- `y_true`: sparse class ids `[...]` or `[..., 1]`, or one-hot / soft / multi-hot labels
  `[..., C]`. A class id outside `[0, C)` or not a whole number, and for the sigmoid and focal
  losses a label outside `[0, 1]`, is refused in words where its value can be seen: in TensorFlow's
  eager code and graphs, in eager code of JAX and PyTorch on the CPU. Elsewhere (XLA, jax.jit,
  torch.compile, accelerators of JAX and PyTorch) it makes that example's loss and gradient NaN.
  Nothing is clipped or wrapped to another class.
- `class_weights`: `[C]`, or None for weight 1. A sparse label y has the weight `w_y`. Dense
  labels of the softmax losses mix the weighted losses of the classes, `sum_c y_c w_c loss_c`.
  Those of sigmoid and focal have the mean weight of their positive classes,
  `sum_c y_c w_c / sum_c y_c` (Wu et al. 2020, "Distribution-Balanced Loss", call it the average
  weight), and an example without positives `mean(class_weights)`. An example of weight 0 has loss
  0 and gradient 0, also where its logits are infinite or NaN.
- `ignore_class`: the class id of examples that do not count, or None.
"""

from cb_keras.functional.asymmetric import asymmetric_crossentropy
from cb_keras.functional.binary import class_balanced_binary_crossentropy
from cb_keras.functional.focal import (
    class_balanced_focal_crossentropy,
    class_balanced_sigmoid_crossentropy,
    label_slopes,
)
from cb_keras.functional.label_aware import label_aware_smoothing_crossentropy
from cb_keras.functional.logit_side import (
    ldam_crossentropy,
    logit_adjusted_crossentropy,
    vector_scaling_crossentropy,
)
from cb_keras.functional.prepared import prepared_crossentropy
from cb_keras.functional.softmax import class_balanced_softmax_crossentropy, softmax_terms
from cb_keras.functional.softmax_focal import (
    class_balanced_softmax_focal_crossentropy,
    softmax_focal_terms,
)
from cb_keras.functional.weighting import shares_of_weights

__all__ = [
    "asymmetric_crossentropy",
    "class_balanced_binary_crossentropy",
    "class_balanced_focal_crossentropy",
    "class_balanced_sigmoid_crossentropy",
    "class_balanced_softmax_crossentropy",
    "class_balanced_softmax_focal_crossentropy",
    "label_aware_smoothing_crossentropy",
    "label_slopes",
    "ldam_crossentropy",
    "logit_adjusted_crossentropy",
    "prepared_crossentropy",
    "shares_of_weights",
    "softmax_focal_terms",
    "softmax_terms",
    "vector_scaling_crossentropy",
]

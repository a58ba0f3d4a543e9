"""Class-balanced softmax cross-entropy."""

from typing import Any

import keras

from cb_keras.checks import check_label_smoothing
from cb_keras.counts import ByClass
from cb_keras.functional.preparation import Prepared
from cb_keras.functional.softmax import softmax
from cb_keras.losses.base import ClassBalancedLoss, Fused, FusedForm, Reduction
from cb_keras.losses.fixed import Fixed
from cb_keras.weights import Empty, Normalize


@keras.saving.register_keras_serializable(package="cb_keras")
class ClassBalancedSoftmaxCrossentropy(ClassBalancedLoss):
    """Class-balanced softmax cross-entropy.

    `w_y * -log softmax(z)_y` for an example of class y with the logits z; dense labels mix the
    weighted losses of the classes, `-sum_c y_c w_c log softmax(z)_c`, so that the loss of mixed
    labels (mixup) is the mix of their losses.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1, counted from the
            labels that the model trains on. A dict, Counter or pandas Series is read by class.
        beta: Float in `[0, 1]`; `1 - 1/N` for a prototype volume N. 1 is inverse frequency.
        power: Power of the class-balanced term, any finite float: 0 none, 0.5 square root,
            1 class-balanced, 2 squared.
        class_weights: `[C]`, finite and >= 0, in place of `class_counts` (and of `beta` and
            `power`), used as they are.
        from_logits: Whether `y_pred` are logits (default) or probabilities.
        fused: Which of two ways to the same values. `"auto"` (default): the native op of
            `cb_keras.fused` where it is built and can be used (logits of at most 32 bits, on
            TensorFlow, JAX and PyTorch; not in exports), `keras.ops` elsewhere. False: always
            `keras.ops`. True: always the op, or an error when the loss is called.
        reduction: `"sum_over_batch_size"` (default; divides by the number of examples, the
            official code's number of positives), `"mean"`, `"sum"`,
            `"mean_with_sample_weight"` or None.
        name: Name of the loss.
        dtype: As in `keras.losses.Loss`; a type below float32 computes in float32 all the same.
        label_smoothing: Share s in `[0, 1]` of each class's loss that is spread over all classes,
            under the weight of the label: `w_y * ((1 - s) CE_y + s / C * sum_c CE_c)`. With
            weights of 1 it is Keras' own.
        ignore_class: Class id of examples that do not count, such as the 255 of a segmentation's
            void pixels, also one of the C classes. Their loss and gradient are 0 whatever their
            logits are, and no mean counts them, as under a Keras mask. For class ids only.
        normalize: `"classes"`: the weights sum to C, as in the paper. `"examples"`: the mean
            weight of the training examples is 1, so that `power` does not change the step size.
        empty: `"raise"` refuses a class of count 0, `"zero"` gives it the weight 0; the others
            are weighted as if it were not there.

    Attributes:
        class_weights: float32 `keras.Variable` of shape `[C]`, not trainable. Assigning to it
            changes the loss from the next step on; on JAX the trainer compiles its value in, so
            use `cb_keras.callbacks.ClassWeightScheduler`, which works everywhere.

    Call arguments:
        y_true: Class ids `[...]` or `[..., 1]`, or one-hot or soft labels `[..., C]`.
            Integers stay exact whatever the dtype policy. A class id outside `[0, C)` or a dense
            label outside `[0, 1]` is refused with its position and value where it can be seen (in
            TensorFlow's eager code and graphs, in eager code of JAX and PyTorch on the CPU);
            elsewhere, as under XLA, its example's loss is NaN.
        y_pred: `[..., C]`, taken as it is: with `from_logits=True` never the output of a softmax
            or sigmoid. Where that can be known (on TensorFlow in graphs, and for the first eager
            batch on every backend) a warning says so; in code that JAX or PyTorch compiles it
            can't be.
        sample_weight: Optional, of the shape `[...]` of the losses or of its first axes: `[N]`
            weights the images of losses `[N, H, W]`. An example of weight 0, or that a Keras mask
            leaves out, has loss 0 and gradient 0 whatever its label and logits are.

    Raises:
        ValueError: An argument is out of range, there is only one class, both or neither of
            `class_counts` and `class_weights` are given, or (when called or traced) shapes do not
            fit.
        cb_keras.fused.FusedOpError: When called: `fused=True` can't be honoured; says why.

    Examples:
        >>> from keras import ops
        >>> from cb_keras import losses
        >>> loss = losses.ClassBalancedSoftmaxCrossentropy([9, 1], beta=1.0)
        >>> [round(float(w), 4) for w in ops.convert_to_numpy(loss.class_weights)]
        [0.2, 1.8]
        >>> round(float(loss([0, 1], [[0.0, 0.0]] * 2)), 4)  # (0.2 + 1.8) / 2 * log 2
        0.6931

        It goes into `model.compile(optimizer, loss)` like a loss of Keras.

    Source: Cui et al., CVPR 2019, equation 7; powers other than 1: Park & Hwang 2022.
    """

    label_smoothing = Fixed[float]()

    def __init__(
        self,
        class_counts: ByClass | None = None,
        beta: float = 0.9999,
        power: float = 1.0,
        class_weights: ByClass | None = None,
        from_logits: bool = True,
        fused: Fused = "auto",
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "class_balanced_softmax_crossentropy",
        dtype: Any = None,
        *,
        label_smoothing: float = 0.0,
        ignore_class: int | None = None,
        normalize: Normalize = "classes",
        empty: Empty = "raise",
    ) -> None:
        super().__init__(
            class_counts=class_counts,
            beta=beta,
            power=power,
            class_weights=class_weights,
            from_logits=from_logits,
            fused=fused,
            reduction=reduction,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            normalize=normalize,
            empty=empty,
        )
        self.label_smoothing = check_label_smoothing(label_smoothing)

    def _formula(self, prepared: Prepared) -> Any:
        return softmax(prepared, self.from_logits, self.label_smoothing)

    def _fused_form(self, sparse: bool = True) -> FusedForm:
        return FusedForm("softmax", label_smoothing=self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same loss, with the class weights it has now."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

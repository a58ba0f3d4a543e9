"""The fused op's gradients: by logits its own; by soft labels, class weights, and higher ones.

All but the first are made of the formulas in `cb_keras.functional`, and of ops that TensorFlow can
differentiate further. `module` is the module of the ops, as `tf.load_op_library` returns it.
"""

from typing import Any, NamedTuple

from cb_keras import functional
from cb_keras.fused.kinds import Form, traits

Inputs = tuple[Any, Any, Any, Any]  # of the ops: logits, labels, class weights, gamma


class Stored(NamedTuple):
    """A gradient by the logits, which the op made with the losses.

    Attributes:
        gradient: `[N, C]`, of `sum(applied * losses)`.
        applied: The upstream gradient that was expected, `[N]` or a scalar.
        mean_replicas: Where it is not 0, it was that of a mean on so many replicas instead.
    """

    gradient: Any
    applied: Any
    mean_replicas: int


def by_logits(module: Any, form: Form, inputs: Inputs, upstream: Any, stored: Stored) -> Any:
    """The gradient of `sum(upstream * losses)` by the logits, from a stored one if possible."""
    import tensorflow as tf

    gradient, applied, mean_replicas = stored
    if gradient.dtype == tf.float32:
        return module.cb_keras_scale_rows(gradient, upstream, applied, mean_replicas=mean_replicas)
    if mean_replicas:
        applied = mean(gradient, mean_replicas)

    def again() -> Any:
        return module.cb_keras_loss_and_gradient(*inputs, upstream, **form.attributes)[1]

    return tf.cond(tf.reduce_all(upstream == applied), lambda: gradient, again)


def mean(rows: Any, replicas: int) -> Any:
    """The upstream gradient of a mean over `rows` [N, ...], as TensorFlow computes it."""
    import tensorflow as tf

    return 1.0 / tf.cast(tf.shape(rows)[0], tf.float32) / float(replicas)


def by_weights_and_labels(
    module: Any, form: Form, inputs: Inputs, upstream: Any
) -> tuple[Any, Any]:
    """Gradients of `sum(upstream * losses)` by class weights and soft labels (None for ids)."""
    import tensorflow as tf

    logits, labels, weights, gamma = inputs
    if form.adjusts:
        return _by_formula(form, inputs, upstream)
    if len(labels.shape) == 2 and traits(form.kind).mixes_classes:
        terms = _terms_of_classes(form, inputs)
        of_labels = tf.where(labels == 0, 0.0, labels * terms)
        by_weights = tf.linalg.matvec(of_labels, upstream, transpose_a=True)
        return by_weights, upstream[:, None] * weights * terms
    # The losses are the weights times what the op gives for weights of 1.
    ones = tf.ones_like(weights)
    unweighted = module.cb_keras_loss(logits, labels, ones, gamma, **form.attributes)
    by_example = upstream * unweighted
    if len(labels.shape) == 1:
        class_ids = tf.cast(labels, tf.int64)
        if form.ignore_class is not None:
            class_ids = tf.where(class_ids == form.ignore_class, tf.cast(-1, tf.int64), class_ids)
        number = tf.size(weights, tf.int64)
        return tf.math.unsorted_segment_sum(by_example, class_ids, number), None
    shares, total = functional.shares_of_weights(labels)
    by_weights = tf.linalg.matvec(shares, by_example, transpose_a=True)
    weight = tf.linalg.matvec(shares, weights)[:, None]
    by_term = weight * functional.label_slopes(labels, tf.cast(logits, tf.float32), _number(gamma))
    by_share = tf.where(total > 0, unweighted[:, None] * (weights - weight) / total, 0.0)
    return by_weights, upstream[:, None] * (by_term + by_share)


def _by_formula(form: Form, inputs: Inputs, upstream: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    logits, labels, weights, gamma = inputs

    def total(weights: Any, labels: Any) -> Any:
        losses = _losses_by_formula(form, (logits, labels, weights, gamma))
        return tf.reduce_sum(upstream * losses), None

    labels = labels if labels.dtype.is_integer else tf.identity(labels)
    return tuple(_gradients(total, [tf.identity(weights), labels])[0])


def _terms_of_classes(form: Form, inputs: Inputs) -> Any:
    """Unweighted losses `[N, C]` of the classes, which dense labels of a softmax loss mix."""
    import tensorflow as tf

    logits, labels, _, gamma = inputs
    logits = tf.cast(logits, tf.float32)
    if form.kind == "softmax":
        return functional.softmax_terms(labels, logits, form.label_smoothing)
    return functional.softmax_focal_terms(labels, logits, _number(gamma))


def _losses_by_formula(form: Form, inputs: Inputs) -> Any:
    import tensorflow as tf

    logits, labels, weights, gamma = inputs
    sparse = len(labels.shape) == 1
    return functional.prepared_crossentropy(
        form.kind,
        labels,
        tf.cast(logits, tf.float32),
        weights,
        _number(gamma),
        sparse,
        form.label_smoothing,
        form.ignore_class,
        form.adjusts,
    )


def _number(gamma: Any) -> Any:
    """A gamma that is known already as a float, else as it is: a scalar tensor."""
    import tensorflow as tf

    known = tf.get_static_value(gamma)
    return gamma if known is None else float(known)


def register(module: Any) -> None:
    """Tells TensorFlow the gradients of the ops; once a process."""
    import tensorflow as tf

    @tf.RegisterGradient("CbKerasLoss")
    def of_losses(op: Any, upstream: Any) -> tuple[Any, ...]:
        form, inputs = Form.of(op), tuple(op.inputs)
        _, slope = module.cb_keras_loss_and_gradient(*inputs, upstream, **form.attributes)
        if tf.executing_eagerly() and not _needs(op, 1, 2):
            return slope, None, None, None
        by_weights, by_labels = by_weights_and_labels(module, form, inputs, upstream)
        return slope, by_labels, by_weights, None

    @tf.RegisterGradient("CbKerasLossAndGradient")
    def of_losses_and_gradient(op: Any, by_losses: Any, by_gradient: Any) -> tuple[Any, ...]:
        form = Form.of(op)
        *inputs, upstream = [x if x.dtype.is_integer else tf.identity(x) for x in op.inputs]
        replicas = op.get_attr("mean_replicas")
        if replicas:
            upstream = mean(inputs[0], replicas)

        def total(logits: Any, labels: Any, weights: Any, upstream: Any) -> Any:
            def weighted(logits: Any) -> Any:
                losses = _losses_by_formula(form, (logits, labels, weights, inputs[3]))
                return tf.reduce_sum(upstream * losses), losses

            (slope,), losses = _gradients(weighted, [logits])
            slope = tf.cast(slope, tf.float32) * tf.cast(by_gradient, tf.float32)
            return tf.reduce_sum(by_losses * losses) + tf.reduce_sum(slope), None

        (*gradients, by_upstream), _ = _gradients(total, [*inputs[:3], upstream])
        return *gradients, None, None if replicas else by_upstream

    @tf.RegisterGradient("CbKerasScaleRows")
    def of_scaled_rows(op: Any, by_scaled: Any) -> tuple[Any, Any, Any]:
        values, upstream, applied = op.inputs
        replicas = op.get_attr("mean_replicas")
        if replicas:
            applied = mean(values, replicas)
        by_factor = tf.reduce_sum(tf.cast(by_scaled, tf.float32) * tf.cast(values, tf.float32), -1)
        by_applied = -by_factor * upstream / applied**2
        if len(applied.shape) == 0:
            by_applied = tf.reduce_sum(by_applied)
        return (
            module.cb_keras_scale_rows(by_scaled, upstream, applied),
            by_factor / applied,
            None if replicas else by_applied,
        )


def _gradients(function: Any, inputs: list[Any]) -> tuple[list[Any], Any]:
    """Gradients of the first result of `function(*inputs)`, None by integers; the second result."""
    import tensorflow as tf

    floats = [x for x in inputs if x.dtype.is_floating]
    if tf.executing_eagerly():
        with tf.GradientTape() as tape:
            tape.watch(floats)
            total, other = function(*inputs)
        found = tape.gradient(total, floats)
    else:  # tapes may be stopped while TensorFlow differentiates a function
        total, other = function(*inputs)
        found = tf.gradients(total, floats)
    dense = iter([None if g is None else tf.convert_to_tensor(g) for g in found])
    return [next(dense) if x.dtype.is_floating else None for x in inputs], other


def _needs(op: Any, *indices: int) -> bool:
    """Whether an eager op's gradients by some of these inputs are asked for."""
    skipped = getattr(op, "skip_input_indices", None) or ()
    return not set(indices) <= set(skipped)

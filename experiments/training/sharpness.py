"""Sharpness-aware minimisation: the training step of TensorFlow with a second gradient."""

import keras
import tensorflow as tf


class SharpnessAwareStep:
    """A training step in place of `model.train_step`, for a network of one output.

        e = rho g(w) / |g(w)|,    w <- the optimizer's step from w with g(w + e)

    with one norm over all trained variables, and the gradient g of the whole loss, the penalty of
    the weights included. The moving statistics of batch normalisation move in the first pass, at w,
    and not in the second; losses and metrics are the first's.

    Args:
        model: A compiled `keras.Model`.
        rho: Radius, > 0.

    Source: Foret et al., "Sharpness-Aware Minimization", ICLR 2021.
    """

    def __init__(self, model, rho):
        self.model = model
        self.rho = rho

    def __call__(self, data):
        """One step on `(x, y)`; returns the metrics."""
        model, optimizer = self.model, self.model.optimizer
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        trained = model.trainable_variables
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            loss = model.compute_loss(x, y, y_pred, weight, training=True)
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in trained])
        optimizer.apply_gradients(zip(self._second(x, y, weight, gradients), trained, strict=True))
        tracker = next(metric for metric in model.metrics if metric.name == "loss")
        tracker.update_state(loss, sample_weight=tf.shape(y_pred)[0])
        return model.compute_metrics(x, y, y_pred, sample_weight=weight)

    def _second(self, x, y, weight, gradients):
        """The gradients at w + e, without a change of any variable."""
        model, trained = self.model, self.model.trainable_variables
        norm = tf.linalg.global_norm(gradients)
        factor = tf.math.divide_no_nan(tf.cast(self.rho, norm.dtype), norm)
        moved = [v.value + factor * g for v, g in zip(trained, gradients, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(moved)
            # What is assigned inside, as the statistics are, is dropped with the scope.
            with keras.StatelessScope(state_mapping=list(zip(trained, moved, strict=True))):
                y_pred = model(x, training=True)
                loss = model.compute_loss(x, y, y_pred, weight, training=True)
            scaled = model.optimizer.scale_loss(loss)
        return tape.gradient(scaled, moved)

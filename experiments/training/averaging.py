"""A moving average of the network's variables, which is what is evaluated and exported."""

import keras


class Averages:
    """The average of every variable of a network, its batch statistics included.

        a <- d a + (1 - d) v,    d = min(momentum, (1 + t) / (10 + t))

    after step t, from 1; it starts at the first values. The averages of the moving means and
    variances of batch normalisation belong to the averaged weights: those of the network itself
    are of other activations.

    Args:
        model: A `keras.Model`, its optimizer built.
        momentum: The largest d, in [0, 1).

    Attributes:
        variables: The averages, in the order of `model.variables`.

    Source: `tf.train.ExponentialMovingAverage`; Tan and Le, ICML 2019, for the statistics too.
    """

    def __init__(self, model, momentum):
        self.model = model
        self.momentum = momentum
        self.variables = [
            # A copy: of a TensorFlow variable Keras makes one that is the same.
            keras.Variable(
                keras.ops.convert_to_numpy(v), dtype=v.dtype, trainable=False, name=f"average_{i}"
            )
            for i, v in enumerate(model.variables)
        ]

    def update(self):
        """Follows the network; part of a training step, after the optimizer's."""
        steps = keras.ops.cast(self.model.optimizer.iterations, "float32")
        rest = 1 - keras.ops.minimum(self.momentum, (1 + steps) / (10 + steps))
        for average, variable in zip(self.variables, self.model.variables, strict=True):
            change = keras.ops.cast(variable, "float32") - keras.ops.cast(average, "float32")
            average.assign_add(keras.ops.cast(rest * change, average.dtype))

    def use(self):
        """Gives the network the averages; returns what it had, arrays."""
        before = [keras.ops.convert_to_numpy(v) for v in self.model.variables]
        self.put([keras.ops.convert_to_numpy(average) for average in self.variables])
        return before

    def put(self, values):
        """Gives the network these values, such as those that `use` returned."""
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)


class EvaluateAverages(keras.callbacks.Callback):
    """Evaluates the averages during the training, which goes on with the network's own values.

    Args:
        averages: `Averages`.
    """

    def __init__(self, averages):
        super().__init__()
        self.averages = averages

    def on_test_begin(self, logs=None):
        """Puts the averages in."""
        self._own = self.averages.use()

    def on_test_end(self, logs=None):
        """Puts the network's own values back."""
        self.averages.put(self._own)

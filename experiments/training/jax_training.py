"""The training loop on JAX: an epoch on a GPU is one call, its data stay on the device.

Keras' own loop makes a call for every step and copies every batch. Here the steps of an epoch are
one compiled loop that takes the images as an argument, chooses and crops each batch itself, and
gives back the state; on the CPU, whose convolutions are slow in a loop, a call is one step. What a
step computes is what `model.fit` computes.
"""

import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np

from experiments.datasets import draws, jax_batches


def fit(model, split, evaluated, settings, augmentation, first_epoch, callbacks):
    """Trains from `first_epoch`, counted from 0, to the last.

    Args:
        model: A compiled `keras.Model`, its optimizer built.
        split: `datasets.Split` to train on.
        evaluated: `datasets.Split` that is evaluated every `eval_epochs`.
        settings: Checked settings of experiments.train.
        augmentation: `"none"`, `"crop"` or `"crop_flip"`.
        first_epoch: First epoch to train.
        callbacks: List of `keras.callbacks.Callback`.
    """
    seed, epochs = settings["seed"], settings["train_epochs"]
    feed = jax_batches.Feed(split, settings["batch_size"])
    training = _Program(model, feed, training=True)
    evaluation = _Program(
        model, jax_batches.Feed(evaluated, settings["eval_batch_size"]), training=False
    )
    called = keras.callbacks.CallbackList(
        callbacks,
        add_history=True,
        model=model,
        verbose=0,
        epochs=epochs,
        steps=draws.steps_per_epoch(len(split.labels), settings["batch_size"]),
    )
    called.on_train_begin()
    logs = {}

    def plan(epoch):
        order = draws.order(settings["sampler"], split.labels, seed, epoch, epochs)
        return feed.plan(order, augmentation, seed, epoch)

    remaining = range(first_epoch, epochs)
    as_it_is = evaluation.feed.plan()
    for epoch, planned in zip(remaining, jax_batches.ahead(plan, remaining), strict=True):
        called.on_epoch_begin(epoch)
        logs = training.epoch(planned, called)
        if (epoch + 1) % settings["eval_epochs"] == 0:
            called.on_test_begin()
            found = evaluation.epoch(as_it_is)
            called.on_test_end(found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        called.on_epoch_end(epoch, logs)
    called.on_train_end(logs)


class _Program:
    """The compiled steps of a model, for training or for an evaluation.

    Its state is lists of arrays: of the variables that are trained, of those that are not, of the
    optimizer's and of the metrics'.

    Args:
        model: A compiled `keras.Model`; all that the optimizer was built for is trained now.
        feed: `jax_batches.Feed`.
        training: Whether the steps train.
    """

    def __init__(self, model, feed, training):
        self.model, self.feed, self.training = model, feed, training
        self.learned = list(model.trainable_variables)  # the optimizer's, in its order
        self.compiled_for, self.compiled = None, {}
        self.figures = jax.jit(self._figures)
        _build_metrics(model)

    def epoch(self, plan, called=None):
        """Runs an epoch; returns its metrics, a dict of floats.

        Args:
            plan: Of `Feed.plan`.
            called: `keras.callbacks.CallbackList` that is told of every call, or None.
        """
        self.model.reset_metrics()
        groups = self._variables()
        state = [[jnp.asarray(v.value) for v in group] for group in groups]
        # An argument, so that the program is the same for all weights, and for all epochs.
        weights = jnp.asarray(self.model.loss.class_weights.value)
        try:
            for call in self.feed.calls(plan):
                program = self._compiled(state, weights, call.inputs)
                if called is not None:
                    called.on_train_batch_begin(call.end - len(call.inputs[2]))
                state, losses = program(state, weights, *call.inputs)
                if called is not None:
                    step, loss = _first_that_is_not_finite(call.end, np.asarray(losses))
                    called.on_train_batch_end(step, {"loss": loss})
        finally:
            for group, values in zip(groups, state, strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
        found = jax.device_get(self.figures([v.value for v in self.model.metrics_variables]))
        return {name: float(value) for name, value in found.items()}

    def _variables(self):
        model = self.model
        optimizer = model.optimizer.variables if self.training else []
        return [
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer,
            model.metrics_variables,
        ]

    def _compiled(self, state, weights, inputs):
        """The program for such inputs. All of an epoch's are compiled before its first step."""
        frozen = len(self.learned) - len(state[0])  # by `FrozenTrunk`
        if frozen != self.compiled_for:
            self.compiled_for, self.compiled = frozen, {}
        if not self.compiled:
            for shape in dict.fromkeys(self.feed.layout()):
                self.compiled[shape] = self._compile(state, weights, inputs, shape)
        return self.compiled[inputs[2].shape]

    def _compile(self, state, weights, inputs, shape):
        images, labels, chosen, drawn = inputs
        steps, size = shape
        number = len(images) if self.feed.resident else steps * size

        def like(array, *sides):
            return jax.ShapeDtypeStruct(sides, array.dtype)

        program = jax.jit(self._run, donate_argnums=0)
        return program.lower(
            state,
            weights,
            like(images, number, *images.shape[1:]),
            like(labels, number),
            like(chosen, *shape),
            None if drawn is None else tuple(like(d, *shape) for d in drawn),
        ).compile()

    def _run(self, state, weights, images, labels, chosen, drawn):
        """All steps of a call; returns the state after them and the mean losses up to each."""

        def step(state, of_step):
            positions, drawn = of_step
            x = jax_batches.pixels(images, positions, drawn)
            after, loss = self._step(state, weights, x, labels[positions])
            return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state), loss

        if jax_batches.rolled():
            return jax.lax.scan(step, state, (chosen, drawn))
        state, loss = step(state, jax.tree.map(lambda array: array[0], (chosen, drawn)))
        return state, loss[None]

    def _step(self, state, weights, x, y):
        trained, others, optimizer, metrics = state
        compute = self._loss
        if self.training:
            compute = jax.value_and_grad(compute, has_aux=True)
        found = compute(trained, others, optimizer, weights, x, y)
        (_, (loss, y_pred, others)), slopes = found if self.training else (found, None)
        if self.training:
            trained, optimizer = self._apply(trained, others, optimizer, slopes)
        metrics, mean_loss = self._update_metrics(metrics, loss, x, y, y_pred)
        return [trained, others, optimizer, metrics], mean_loss

    def _loss(self, trained, others, optimizer, weights, x, y):
        """`(scaled loss, (loss, predictions, the variables that are not trained))`."""
        y_pred, others, penalties = self.model.stateless_call(
            trained, others, x, training=self.training, return_losses=True
        )
        with _scope([self.model.loss.class_weights], [weights]):
            loss = self.model.loss(y, y_pred)
        for penalty in penalties:
            loss = loss + keras.ops.cast(penalty, loss.dtype)
        scaled = loss
        if self.training:
            with _scope(self.model.optimizer.variables, optimizer):
                scaled = self.model.optimizer.scale_loss(loss)
        return scaled, (loss, y_pred, others)

    def _apply(self, trained, others, optimizer, slopes):
        """The trained variables and the optimizer's after a step; a frozen one has no gradient."""
        model = self.model
        values = dict(zip(map(id, model.non_trainable_variables), others, strict=True))
        values |= zip(map(id, model.trainable_variables), trained, strict=True)
        of_each = dict(zip(map(id, model.trainable_variables), slopes, strict=True))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Gradients do not exist")
            learned, optimizer = model.optimizer.stateless_apply(
                optimizer,
                [of_each.get(id(v)) for v in self.learned],
                [values[id(v)] for v in self.learned],
            )
        values |= zip(map(id, self.learned), learned, strict=True)
        return [values[id(v)] for v in model.trainable_variables], optimizer

    def _update_metrics(self, metrics, loss, x, y, y_pred):
        """The variables of the metrics after a step, and the mean loss of the epoch so far."""
        variables = self.model.metrics_variables
        with _scope(variables, metrics) as scope:
            tracker = _loss_metric(self.model)
            tracker.update_state(loss, sample_weight=len(y))
            self.model.compute_metrics(x, y, y_pred, None)
            mean = tracker.result()
        return [scope.get_current_value(v) for v in variables], mean

    def _figures(self, metrics):
        """The figures of an epoch, of the values of the metrics' variables."""
        with _scope(self.model.metrics_variables, metrics):
            return self.model.get_metrics_result()


def _scope(variables, values):
    return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))


def _loss_metric(model):
    return next(metric for metric in model.metrics if metric.name == "loss")


def _build_metrics(model):
    """Makes the variables of the metrics, which Keras does where it first sees predictions."""
    classes = model.output_shape[-1]
    model.compute_metrics(None, np.zeros(1, "int32"), np.zeros((1, classes), "float32"), None)
    model.reset_metrics()


def _first_that_is_not_finite(end, losses):
    """`(step, mean loss)` to tell of: the first that is not finite, else the last before `end`."""
    wrong = np.flatnonzero(~np.isfinite(losses))
    at = int(wrong[0]) if wrong.size else len(losses) - 1
    return end - len(losses) + at, float(losses[at])

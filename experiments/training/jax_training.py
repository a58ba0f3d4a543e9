"""The training loop on JAX: an epoch on a GPU is one call, its data stay on the device.

Keras' own loop makes a call for every step and copies every batch. Here the steps of an epoch are
one compiled loop that takes the images as an argument, chooses and crops each batch itself, and
gives back the state; on the CPU, whose convolutions are slow in a loop, a call is one step. What a
step computes is what `model.fit` computes.
"""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np

from experiments.datasets import draws, jax_batches
from experiments.datasets.recipe import Recipe


def fit(model, split, evaluated, settings, augmentation, first_epoch, callbacks, averages=None):
    """Trains from `first_epoch`, counted from 0, to the last.

    Args:
        model: A compiled `keras.Model`, its optimizer built.
        split: `datasets.Split` to train on.
        evaluated: `datasets.Split` that is evaluated every `eval_epochs`.
        settings: Checked settings of experiments.train.
        augmentation: `"none"`, `"crop"` or `"crop_flip"`.
        first_epoch: First epoch to train.
        callbacks: List of `keras.callbacks.Callback`.
        averages: `Averages` that follow the network, or None.
    """
    seed, epochs = settings["seed"], settings["train_epochs"]
    recipe = Recipe.of(settings, model.output_shape[-1])
    feed = jax_batches.Feed(split, settings["batch_size"], recipe)
    training = _Training(model, feed, settings.get("sam_rho", 0.0), averages)
    # Its labels are as those of the training, its images as they are.
    recipe = dataclasses.replace(recipe, randaugment=0.0)
    evaluation = _Program(model, jax_batches.Feed(evaluated, settings["eval_batch_size"], recipe))
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
    as_they_are = evaluation.feed.as_they_are()
    for epoch, planned in zip(remaining, jax_batches.ahead(plan, remaining), strict=True):
        called.on_epoch_begin(epoch)
        logs = training.epoch(planned, called)
        if (epoch + 1) % settings["eval_epochs"] == 0:
            called.on_test_begin()
            found = evaluation.epoch(as_they_are)
            called.on_test_end(found)
            logs |= {f"val_{name}": value for name, value in found.items()}
        called.on_epoch_end(epoch, logs)
    called.on_train_end(logs)


class _Program:
    """The compiled steps of an evaluation.

    Its state is lists of arrays: of the variables that are trained, of those that are not, of the
    metrics', of the optimizer's and of the averages, the last two of a training.

    Args:
        model: A compiled `keras.Model`; all that the optimizer was built for is trained now.
        feed: `jax_batches.Feed`.
    """

    def __init__(self, model, feed):
        self.model, self.feed = model, feed
        self.compiled_for, self.compiled = None, {}
        self.figures = jax.jit(self._figures)
        _build_metrics(model, feed.recipe.mixes)

    def epoch(self, plan, called=None):
        """Runs an epoch; returns its metrics, a dict of floats.

        Args:
            plan: Of `Feed.plan` or `Feed.as_they_are`.
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
        return [model.trainable_variables, model.non_trainable_variables, model.metrics_variables]

    def _compiled(self, state, weights, inputs):
        """The program for such inputs. All of an epoch's are compiled before its first step."""
        if len(state[0]) != self.compiled_for:  # by `FrozenTrunk`
            self.compiled_for, self.compiled = len(state[0]), {}
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
            jax.tree.map(lambda d: like(d, *shape[: d.ndim]), drawn),
        ).compile()

    def _run(self, state, weights, images, labels, chosen, drawn):
        """All steps of a call; returns the state after them and the mean losses up to each."""

        def step(state, of_step):
            x, y = self.feed.batch(images, labels, *of_step)
            after, loss = self._step(state, weights, x, y)
            return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state), loss

        if jax_batches.rolled():
            return jax.lax.scan(step, state, (chosen, drawn))
        state, loss = step(state, jax.tree.map(lambda array: array[0], (chosen, drawn)))
        return state, loss[None]

    def _step(self, state, weights, x, y):
        """The state after a batch, and the mean loss of the epoch so far."""
        trained, others, metrics = state
        y_pred, loss, others = self._loss(trained, others, weights, x, y, training=False)
        metrics, mean_loss = self._update_metrics(metrics, loss, x, y, y_pred)
        return [trained, others, metrics], mean_loss

    def _loss(self, trained, others, weights, x, y, training):
        """`(predictions, loss, the variables that are not trained)`."""
        y_pred, others, penalties = self.model.stateless_call(
            trained, others, x, training=training, return_losses=True
        )
        with _scope([self.model.loss.class_weights], [weights]):
            loss = self.model.loss(y, y_pred)
        for penalty in penalties:
            loss = loss + keras.ops.cast(penalty, loss.dtype)
        return y_pred, loss, others

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


class _Training(_Program):
    """The compiled steps of a training.

    Args:
        model: As of `_Program`.
        feed: As there.
        rho: Radius of sharpness-aware steps, as of `sharpness.SharpnessAwareStep`; 0 for none.
        averages: `Averages` that follow the network, or None.
    """

    def __init__(self, model, feed, rho, averages):
        super().__init__(model, feed)
        self.rho, self.averages = rho, averages
        self.learned = list(model.trainable_variables)  # the optimizer's, in its order

    def _variables(self):
        averages = self.averages.variables if self.averages else []
        return [*super()._variables(), self.model.optimizer.variables, averages]

    def _step(self, state, weights, x, y):
        trained, others, metrics, optimizer, averages = state
        slope = jax.value_and_grad(self._scaled_loss, has_aux=True)
        (_, (y_pred, loss, others)), slopes = slope(trained, others, optimizer, weights, x, y)
        if self.rho:
            moved = uphill(trained, slopes, self.rho)
            # The statistics have moved, at w, and do not move again; the figures are those at w.
            _, slopes = slope(moved, others, optimizer, weights, x, y)
        trained, optimizer = self._apply(trained, others, optimizer, slopes)
        if self.averages:
            averages = self._follow(averages, trained, others, optimizer)
        metrics, mean_loss = self._update_metrics(metrics, loss, x, y, y_pred)
        return [trained, others, metrics, optimizer, averages], mean_loss

    def _scaled_loss(self, trained, others, optimizer, weights, x, y):
        """The loss as the optimizer scales it, and what `_loss` returns."""
        found = self._loss(trained, others, weights, x, y, training=True)
        with _scope(self.model.optimizer.variables, optimizer):
            return self.model.optimizer.scale_loss(found[1]), found

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

    def _follow(self, averages, trained, others, optimizer):
        """The averages after a step."""
        weights, rest, _, of_optimizer, own = self._variables()
        variables = [*weights, *rest, *of_optimizer, *own]
        with _scope(variables, [*trained, *others, *optimizer, *averages]) as scope:
            self.averages.update()
        return [scope.get_current_value(v) for v in self.averages.variables]


def uphill(trained, slopes, rho):
    """Where a sharpness-aware step takes its gradient: `w + rho g / |g|`, one norm over all.

    Args:
        trained: List of arrays, w.
        slopes: List of arrays, g.
        rho: Radius.
    """
    # As one array, whose sum is one kernel and not one for every variable.
    whole = jnp.concatenate([jnp.ravel(g) for g in slopes])
    norm = jnp.sqrt(jnp.sum(whole * whole))
    factor = jnp.where(norm == 0, 0, rho / jnp.where(norm == 0, 1, norm))
    return [w + factor * g for w, g in zip(trained, slopes, strict=True)]


def _scope(variables, values):
    return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))


def _loss_metric(model):
    return next(metric for metric in model.metrics if metric.name == "loss")


def _build_metrics(model, mixes):
    """Makes the variables of the metrics, which Keras does where it first sees predictions."""
    classes = model.output_shape[-1]
    labels = np.zeros((1, classes), "float32") if mixes else np.zeros(1, "int32")
    model.compute_metrics(None, labels, np.zeros((1, classes), "float32"), None)
    model.reset_metrics()


def _first_that_is_not_finite(end, losses):
    """`(step, mean loss)` to tell of: the first that is not finite, else the last before `end`."""
    wrong = np.flatnonzero(~np.isfinite(losses))
    at = int(wrong[0]) if wrong.size else len(losses) - 1
    return end - len(losses) + at, float(losses[at])

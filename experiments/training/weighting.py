"""The class weights of a run: those it begins with, and what sets others later."""

import cb_keras
from experiments import methods


class Weighting:
    """The class weights that a method measures, and the callback that changes weights.

    Args:
        settings: Checked settings of experiments.train.
        images: `datasets.Split` to train on.
        class_counts: Training images per class `[C]`.
        begun: `config.json` of the run that is continued, or None: what it recorded of the images
            is not measured again, which another machine would round differently.

    Attributes:
        measured: Dict of what `config.json` records of the images; empty for most methods.
        callbacks: List of the callback that sets the class weights by epoch; empty where they stay
            as they are.
    """

    def __init__(self, settings, images, class_counts, begun):
        method = methods.of(settings)
        self.measured, self.callbacks, self._learns = {}, [], None
        if method.weigh is not None:
            self.measured = _recorded(begun) or method.weigh(settings, images, class_counts)
        if method.schedule is not None:
            schedule = method.schedule(settings, class_counts)
            self.callbacks = [cb_keras.callbacks.ClassWeightScheduler(None, schedule)]
        elif method.callback is not None:
            self._learns = method.callback(settings, class_counts)
            self.callbacks = [self._learns]

    @property
    def class_weights(self):
        """Those that were measured `[C]`; None where they are those of the class counts."""
        return self.measured.get("class_weights")

    def state(self):
        """What a checkpoint keeps of the callback, a JSON-able dict, or None."""
        return None if self._learns is None else self._learns.state()

    def restore(self, state):
        """Goes on from what a checkpoint kept; one of a method without it has nothing."""
        if self._learns is not None:
            self._learns.restore(state)


def _recorded(begun):
    """What a run that is continued has measured, or None."""
    if not begun or "class_volumes" not in begun:
        return None
    return {name: begun[name] for name in ("class_volumes", "class_weights")}

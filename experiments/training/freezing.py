"""A trunk that is not trained at first."""

import keras


class FrozenTrunk(keras.callbacks.Callback):
    """Trains the last layer of the network alone for the first epochs, then all of it.

    Meanwhile the trunk's batch normalisation is in inference mode: neither its variables nor its
    moving statistics change, and they, not those of the batch, are what it normalises with.
    Whether an epoch has it frozen depends on the epoch alone, so that a run may be stopped and
    continued anywhere.

    Args:
        epochs: Epochs that it is frozen for.
        progress: `ThroughputProgress`, whose rate leaves out the steps that compile.
    """

    def __init__(self, epochs, progress):
        super().__init__()
        self.epochs = epochs
        self.progress = progress

    def on_epoch_begin(self, epoch, logs=None):
        """Freezes or releases the trunk, where the epoch before had it otherwise."""
        trained = epoch >= self.epochs
        if all(layer.trainable == trained for layer in self.model.layers[:-1]):
            return
        self._set(trained)
        self.model.make_train_function(force=True)  # which has compiled what is trained
        self.progress.expect_compilation()
        if trained:
            print(f"the trunk is trained from epoch {epoch + 1} on")

    def on_train_end(self, logs=None):
        """Releases the trunk: what is saved is a network whose training can go on."""
        self._set(True)

    def _set(self, trained):
        for layer in self.model.layers[:-1]:
            layer.trainable = trained

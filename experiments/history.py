"""Keeps the history of a run while it trains."""

import keras


class HistoryWriter(keras.callbacks.Callback):
    """Adds each epoch to `history.csv`.

    Args:
        run: `RunDirectory`.
        progress: `cb_keras.callbacks.ThroughputProgress`, which must come before this callback.
        learning_rate: Function of the epoch: the rate of its last step.
    """

    def __init__(self, run, progress, learning_rate):
        super().__init__()
        self.run = run
        self.progress = progress
        self.learning_rate = learning_rate

    def on_epoch_end(self, epoch, logs=None):
        """Adds the row."""
        self.run.add_epoch(
            {
                "epoch": epoch + 1,
                **{key: float(value) for key, value in (logs or {}).items()},
                "learning_rate": float(self.learning_rate(epoch)),
                "images_per_second": self.progress.epoch_rate,
                "train_seconds": self.progress.train_seconds,
            }
        )

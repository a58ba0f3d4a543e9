"""Keeps the history of a run while it trains."""

import keras


class HistoryWriter(keras.callbacks.Callback):
    """Adds each epoch to `history.csv`.

    Args:
        run: `RunDirectory`.
        progress: `ThroughputProgress`, which must come before this callback.
        schedule: Function of the step, from 0, that gives its learning rate. The steps are the
            optimizer's: one that loss scaling skips, for a gradient that is not finite, does not
            count.
    """

    def __init__(self, run, progress, schedule):
        super().__init__()
        self.run = run
        self.progress = progress
        self.schedule = schedule

    def on_epoch_end(self, epoch, logs=None):
        """Adds the row; its rate is that of the last step."""
        steps = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        self.run.add_epoch(
            {
                "epoch": epoch + 1,
                **{key: float(value) for key, value in (logs or {}).items()},
                "learning_rate": float(self.schedule(max(steps - 1, 0))),
                "images_per_second": self.progress.epoch_rate,
                "train_seconds": self.progress.train_seconds,
            }
        )

"""The rows of history.csv."""

import keras
import numpy as np

import cb_keras
from experiments.training.history import HistoryWriter
from experiments.training.progress import ThroughputProgress


def test_the_rate_is_that_of_the_last_step_which_loss_scaling_did_not_skip():
    rows = []

    class Run:
        add_epoch = rows.append

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    schedule = cb_keras.schedules.WarmupPiecewiseConstant(0.1, 10, [], 0.1)
    sgd = cb_keras.optimizers.MomentumSGD(schedule)
    model.compile(keras.optimizers.LossScaleOptimizer(sgd), "mse")
    images = np.array([[1.0], [np.inf], [1.0]], "float32")  # the second gradient is not finite
    progress = ThroughputProgress(3, 1, 2)
    writer = HistoryWriter(Run, progress, schedule)
    for epochs in (1, 2):
        model.fit(
            *(images, np.ones((3, 1))),
            **{"batch_size": 1, "shuffle": False, "verbose": 0, "callbacks": [progress, writer]},
            **{"initial_epoch": epochs - 1, "epochs": epochs},
        )
    # Of a warm-up over 10 steps from 0, two steps an epoch were taken: the last are 1 and 3.
    np.testing.assert_allclose([row["learning_rate"] for row in rows], [0.01, 0.03], rtol=1e-6)

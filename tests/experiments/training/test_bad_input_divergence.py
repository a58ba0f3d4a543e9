"""A training that diverges is stopped at the step, and what was good stays."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import cb_keras
from experiments.cli import UserError
from experiments.training import checkpoint
from experiments.training.divergence import StopOnDivergence

STEPS = 10


class Count(keras.callbacks.Callback):
    steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1


def model(rate=0.1):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)], name="linear")
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy([4, 3, 2, 1])
    network.compile(keras.optimizers.SGD(rate), loss)
    network.optimizer.build(network.trainable_variables)
    return network


def data(bad_step=None, value=np.nan):
    """Ten batches of two; an image of the one of `bad_step`, counted from 1, has `value` in it."""
    x = np.random.default_rng(0).normal(size=(2 * STEPS, 3)).astype("float32")
    if bad_step:
        x[2 * bad_step - 1, 1] = value
    y = np.arange(2 * STEPS, dtype="int32") % 4
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(2)


def divergence(network, images, *callbacks, epochs=1):
    with pytest.raises(UserError) as caught:
        network.fit(images, epochs=epochs, verbose=0, callbacks=list(callbacks))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("every", [1, 4, 50])
@pytest.mark.parametrize("bad_step", [1, 6, STEPS])
def test_the_first_bad_step_is_named_however_often_it_is_looked_for(bad_step, every, value):
    count = Count()
    message = divergence(model(), data(bad_step, value), count, StopOnDivergence(every=every))
    assert f"diverged: the loss is nan at step {bad_step} of {STEPS} of epoch 1" in message
    assert count.steps == min(-(-bad_step // every) * every, STEPS)  # the next look, no later


def test_three_remedies_are_given():
    message = divergence(model(), data(2), StopOnDivergence())
    for remedy in ("a lower --learning_rate", "a longer --warmup_epochs", "a --cb_power nearer"):
        assert remedy in message
    assert "in another --output_dir" in message  # --resume with other flags is refused


def test_under_mixed_precision_float32_is_the_third_remedy():
    callback = StopOnDivergence()
    callback.set_model(cb_keras.resnet_cifar(8, (8, 8, 1), 3, dtype="mixed_float16"))
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(6, {"loss": np.float32("nan")})
    with pytest.raises(UserError, match=r"at step 7 of epoch 1\. .*or --precision=float32"):
        callback.on_epoch_end(0)


def test_the_loss_is_fetched_from_the_device_once_in_fifty_steps():
    class Loss:
        looks = 0

        def __float__(self):
            Loss.looks += 1
            return 1.0

    callback = StopOnDivergence()
    callback.set_model(model())
    callback.on_epoch_begin(0)
    for step in range(120):
        callback.on_train_batch_end(step, {"loss": Loss()})
    callback.on_epoch_end(0)
    assert Loss.looks == 3  # after steps 50, 100 and 120


def test_a_last_step_that_spoils_the_weights_is_found_before_they_are_saved(tmp_path):
    network = model(rate=3e38)  # the gradient is about 1e5, so the step overflows
    save = checkpoint.Checkpoint(tmp_path / "checkpoint", 1, 1, dict)
    message = divergence(
        network, data(1, 1e5).take(1), StopOnDivergence(tmp_path / "checkpoint"), save
    )
    assert "after the last step of epoch 1 the weights are not finite" in message
    assert "There is no checkpoint yet." in message
    assert not (tmp_path / "checkpoint").exists()


def test_the_last_good_checkpoint_is_named_with_its_epoch(tmp_path):
    network, folder = model(), tmp_path / "checkpoint"
    checkpoint.save(folder, network, 7, {})
    message = divergence(network, data(3), StopOnDivergence(folder))
    assert message.endswith(f"The last good checkpoint is of epoch 7: {folder / 'state.npz'}")
    (folder / "state.npz").write_bytes(b"no checkpoint")
    message = divergence(model(), data(3), StopOnDivergence(folder))
    assert "can't be read" in message


def test_a_training_that_goes_well_is_left_alone():
    network = model()
    history = network.fit(data(), epochs=3, verbose=0, callbacks=[StopOnDivergence(every=3)])
    assert len(history.history["loss"]) == 3


def test_a_run_that_diverges_keeps_the_checkpoint_from_before(tmp_path, train_tiny):
    # The rate grows 1e30-fold after the first of two epochs.
    with pytest.raises(UserError, match=r"diverged: the loss is \S+ at step \d of 6 of epoch 2"):
        train_tiny(tmp_path / "run", "--lr_decay=1e30")
    with np.load(tmp_path / "run" / "checkpoint" / "state.npz") as file:
        assert json.loads(str(file["header"]))["epochs_done"] == 1
        for name in file.files:
            assert not name.startswith("variable") or np.isfinite(file[name]).all()
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "saved_model").exists()

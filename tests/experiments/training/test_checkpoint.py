"""Checkpoints: what is saved comes back; what is damaged or another's is refused."""

import keras
import numpy as np
import pytest

from experiments.cli import UserError
from experiments.training import checkpoint


def small_model(units=4, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units, name="hidden"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.Dense(2, name="logits"),
        ],
        name="small",  # part of the names of the momenta
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def train_step(model):
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model.train_on_batch(x, x[:, :2])


def values(model):
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.fixture
def saved(tmp_path):
    """A model after two steps, and the folder of its checkpoint."""
    model = small_model()
    train_step(model)
    train_step(model)
    checkpoint.save(tmp_path / "checkpoint", model, 2, {"history": [{"epoch": 1}]})
    return model, tmp_path / "checkpoint"


def test_a_checkpoint_brings_back_weights_statistics_momenta_and_step(saved):
    model, folder = saved
    other = small_model(seed=1)
    assert checkpoint.restore(folder, other) == (2, {"history": [{"epoch": 1}]})
    assert int(other.optimizer.iterations) == 2
    for value, expected in zip(values(other), values(model), strict=True):
        np.testing.assert_array_equal(value, expected)
    # And the next step is the same, momentum included.
    train_step(model)
    train_step(other)
    for value, expected in zip(values(other), values(model), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_without_a_checkpoint_nothing_is_restored(tmp_path):
    model = small_model()
    before = values(model)
    assert checkpoint.restore(tmp_path / "none", model) == (0, None)
    for value, expected in zip(values(model), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_later_checkpoint_takes_the_place_of_the_earlier_one_which_stays_beside_it(saved):
    model, folder = saved
    for done in (4, 6, 8):
        checkpoint.save(folder, model, done, {})
        assert checkpoint.restore(folder, small_model()) == (done, {})
    assert sorted(path.name for path in folder.iterdir()) == ["previous.npz", "state.npz"]
    (folder / "state.npz").unlink()  # as between the two renames
    assert checkpoint.restore(folder, small_model()) == (6, {})


def damages():
    return {
        "empty": lambda content: b"",
        "truncated": lambda content: content[: len(content) // 2],
        "head only": lambda content: content[:40],
        "a flipped byte": lambda content: (
            content[:-2000] + bytes([content[-2000] ^ 255]) + content[-1999:]
        ),
        "text": lambda content: b"not a checkpoint",
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_checkpoint_is_refused_with_the_remedy_and_nothing_is_restored(saved, damage):
    _, folder = saved
    (file,) = folder.iterdir()
    file.write_bytes(damages()[damage](file.read_bytes()))
    other = small_model(seed=1)
    before = values(other)
    with pytest.raises(UserError, match="to start again") as caught:
        checkpoint.restore(folder, other)
    assert str(file) in str(caught.value)
    for value, expected in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("damage", damages())
def test_of_two_checkpoints_the_damaged_one_is_named_and_the_whole_one_is_used(
    saved, damage, capsys
):
    model, folder = saved
    expected = values(model)
    train_step(model)
    checkpoint.save(folder, model, 4, {})
    newest = folder / "state.npz"
    newest.write_bytes(damages()[damage](newest.read_bytes()))
    other = small_model(seed=1)
    assert checkpoint.restore(folder, other) == (2, {"history": [{"epoch": 1}]})
    assert f"{newest} is damaged" in capsys.readouterr().out
    for value, value_then in zip(values(other), expected, strict=True):
        np.testing.assert_array_equal(value, value_then)
    # The damaged one does not push the whole one out.
    checkpoint.save(folder, other, 4, {})
    assert checkpoint.restore(folder, small_model()) == (4, {})
    (folder / "state.npz").write_bytes(b"")
    assert checkpoint.restore(folder, small_model()) == (2, {"history": [{"epoch": 1}]})


def test_no_flipped_bit_in_the_directory_of_the_file_is_taken_for_another_error(saved):
    _, folder = saved
    (file,) = folder.iterdir()
    content = file.read_bytes()
    (folder / "previous.npz").write_bytes(content)
    directory = content.index(b"PK\x01\x02")  # of zip: compression, encryption, names, sizes
    other = small_model()
    accepted = 0
    for position in range(directory, directory + 60):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            file.write_bytes(flipped)
            try:
                checkpoint.restore(folder, other)
            except UserError as error:
                pytest.fail(f"byte {position}, bit {bit}: {error}")
            accepted += file.exists()
            (folder / "damaged.npz").unlink(missing_ok=True)
    assert accepted < 480


def test_values_that_do_not_match_the_checksum_are_refused(saved):
    _, folder = saved
    (file,) = folder.iterdir()
    with np.load(file) as content:
        arrays = {name: content[name] for name in content.files}
    arrays["variable_0"] = arrays["variable_0"] + 1  # a valid file, with the CRC of each member
    np.savez(file, **arrays)
    with pytest.raises(UserError, match="does not match its checksum"):
        checkpoint.restore(folder, small_model())


def test_a_checkpoint_holds_no_pickled_objects(saved):
    (file,) = saved[1].iterdir()
    with np.load(file, allow_pickle=False) as content:
        for name in content.files:
            assert content[name].dtype.kind in "fiuU"


def test_the_checkpoint_of_another_model_is_refused(saved):
    other = small_model(units=5)
    before = values(other)
    with pytest.raises(UserError, match="the variables of another model"):
        checkpoint.restore(saved[1], other)
    for value, expected in zip(values(other), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_the_checkpoint_of_another_optimizer_is_refused(saved):
    other = small_model()
    other.compile(keras.optimizers.Adam(0.1), "mse")
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(UserError, match="the variables of another model"):
        checkpoint.restore(saved[1], other)


def test_the_callback_saves_every_nth_epoch_and_after_the_last(tmp_path, monkeypatch):
    saved_epochs = []
    monkeypatch.setattr(checkpoint, "save", lambda *given: saved_epochs.append(given[2:4]))
    state = {"history": []}
    callback = checkpoint.Checkpoint(tmp_path, every=3, epochs=8, state=lambda: dict(state))
    for epoch in range(8):
        state["history"] = list(range(epoch + 1))
        callback.on_epoch_end(epoch)
    assert [done for done, _ in saved_epochs] == [3, 6, 8]
    assert [len(state["history"]) for _, state in saved_epochs] == [3, 6, 8]

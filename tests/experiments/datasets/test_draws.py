"""Order and augmentation without TensorFlow, against what `pipeline` draws with it, bit by bit."""

import numpy as np
import pytest

import cb_keras
from experiments.datasets import Split, draws, pipeline, samplers
from experiments.datasets.rows import Rows

SEEDS = (0, 7, 2**31 - 1)


def split_of(number, shape, mapped=False):
    """Random images, whose labels are their positions; `Rows` where they are in a file."""
    images = np.random.default_rng(0).integers(1, 256, (number, *shape), "uint8")
    labels = np.arange(number, dtype="int32")
    if mapped:
        images = Rows(images, np.zeros((number, 16), "uint8"), labels)
    return Split(images, labels)


@pytest.mark.parametrize("number", [1, 2, 10, 1297])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_an_epoch_is_that_of_tensorflow(number, seed):
    for epoch in (0, 1, 199):
        key = pipeline._stream(seed, epoch, 0, draws.ORDER)
        expected = samplers.uniform(number, key).numpy()
        np.testing.assert_array_equal(draws.uniform(number, seed, epoch), expected)


@pytest.mark.parametrize(
    ("sampler", "power"),
    [("square_root", 0.5), ("class_balanced", 1), ("power:-0.5", -0.5), ("progressive", None)],
)
def test_samplers_have_the_orders_of_the_library_with_and_without_tensorflow(sampler, power):
    labels = np.repeat(np.arange(3, dtype="int32"), (30, 6, 2))
    images = np.arange(38, dtype="uint8").reshape(38, 1, 1, 1)
    found = pipeline.training_dataset(Split(images, labels), 16, 7, 1, 4, "none", sampler)
    orders = np.concatenate([x.ravel() for x, _ in found.as_numpy_iterator()]).reshape(3, 38)
    for epoch, order in zip((1, 2, 3), orders, strict=True):
        if power is None:
            expected = cb_keras.sampling.progressive_order(labels, 7, epoch, epochs=4)
        else:
            expected = cb_keras.sampling.epoch_order(labels, power, 7, epoch)
        np.testing.assert_array_equal(order, expected)
        np.testing.assert_array_equal(draws.order(sampler, labels, 7, epoch, 4), expected)


@pytest.fixture
def jax_batches():
    """The module, where JAX is installed."""
    pytest.importorskip("jax")
    return pytest.importorskip("experiments.datasets.jax_batches")


def on_jax(module, split, batch_size, kind, seed, epoch):
    """The batches of an epoch as JAX makes them: `(images, labels)` of each step."""
    import jax

    pixels = jax.jit(module.pixels)
    feed = module.Feed(split, batch_size)
    order = draws.order("uniform", split.labels, seed, epoch, epoch + 1)
    ends = []
    for call in feed.calls(feed.plan(order, kind, seed, epoch)):
        ends.append(call.end)
        images, labels, chosen, drawn = call.inputs
        for step in range(len(chosen)):
            of_step = None if drawn is None else tuple(d[step] for d in drawn)
            found = pixels(images, chosen[step], of_step)
            yield np.asarray(found), np.asarray(labels)[chosen[step]]
    assert ends == np.cumsum([steps for steps, _ in feed.layout()]).tolist()


def assert_as_tensorflow(module, split, kind, seed, batch_size=16, epoch=5):
    expected = pipeline.training_dataset(split, batch_size, seed, epoch, epoch + 1, kind)
    found = on_jax(module, split, batch_size, kind, seed, epoch)
    for batch, of_tensorflow in zip(found, expected.as_numpy_iterator(), strict=True):
        for array, right in zip(batch, of_tensorflow, strict=True):
            assert array.dtype == right.dtype
            np.testing.assert_array_equal(array, right)


@pytest.mark.parametrize(
    ("kind", "shape", "mapped"), [("crop_flip", (16, 24, 3), False), ("crop", (8, 8, 1), True)]
)
def test_every_batch_is_that_of_tensorflow_to_the_bit(jax_batches, kind, shape, mapped):
    for seed in SEEDS:
        assert_as_tensorflow(jax_batches, split_of(38, shape, mapped), kind, seed)


@pytest.mark.parametrize(("most", "stays"), [(512, True), (3, False)])
def test_so_is_every_batch_of_a_call_of_many_steps_as_on_a_gpu(
    jax_batches, monkeypatch, most, stays
):
    monkeypatch.setattr(jax_batches, "rolled", lambda: True)
    monkeypatch.setattr(jax_batches, "_MOST_STEPS", most)
    monkeypatch.setattr(jax_batches, "_stays", lambda images: stays)
    split = split_of(85, (8, 8, 1))
    layout = jax_batches.Feed(split, 16).layout()
    assert layout == ([(5, 16), (1, 5)] if most > 5 else [(3, 16), (2, 16), (1, 5)])
    assert_as_tensorflow(jax_batches, split, "crop_flip", seed=3)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("rolled", [False, True])
def test_what_stays_on_a_gpu_is_what_leaves_half_of_its_memory_free(
    jax_batches, monkeypatch, rolled, mapped
):
    class Device:
        memory = 2 * 75 * 64

        def memory_stats(self):
            return {"bytes_limit": self.memory + 100, "bytes_in_use": 100}

    monkeypatch.setattr(jax_batches, "rolled", lambda: rolled)
    device = Device()
    monkeypatch.setattr(jax_batches.jax, "devices", lambda: [device])
    images = split_of(75, (8, 8, 1), mapped).images
    assert jax_batches._stays(images) is (rolled or not mapped)
    device.memory -= 2
    assert jax_batches._stays(images) is (not rolled and not mapped)

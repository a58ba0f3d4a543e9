"""Order and augmentation without TensorFlow, against what `pipeline` draws with it, bit by bit."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import cb_keras
from experiments.datasets import Split, draws, mixing, pipeline, recipe_draws, samplers
from experiments.datasets.recipe import Recipe
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


def on_jax(module, split, batch_size, kind, seed, epoch, recipe=None):
    """The batches of an epoch as JAX makes them: `(images, labels)` of each step."""
    import jax

    feed = module.Feed(split, batch_size, recipe)
    batch = jax.jit(feed.batch)
    order = draws.order("uniform", split.labels, seed, epoch, epoch + 1)
    ends = []
    for call in feed.calls(feed.plan(order, kind, seed, epoch)):
        ends.append(call.end)
        images, labels, chosen, drawn = call.inputs
        for step in range(len(chosen)):
            of_step = jax.tree.map(lambda d: d[step], drawn)  # noqa: B023
            yield tuple(map(np.asarray, batch(images, labels, chosen[step], of_step)))
    assert ends == np.cumsum([steps for steps, _ in feed.layout()]).tolist()


def assert_as_tensorflow(module, split, kind, seed, batch_size=16, epoch=5, recipe=None):
    expected = pipeline.training_dataset(
        split, batch_size, seed, epoch, epoch + 1, kind, recipe=recipe
    )
    found = on_jax(module, split, batch_size, kind, seed, epoch, recipe)
    for batch, of_tensorflow in zip(found, expected.as_numpy_iterator(), strict=True):
        for array, right in zip(batch, of_tensorflow, strict=True):
            assert array.dtype == right.dtype
            # XLA rounds once where TensorFlow rounds product and sum; integers are the same.
            np.testing.assert_allclose(array, right, rtol=1e-6 if array.dtype == "float32" else 0)


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
    monkeypatch.setattr(jax_batches, "_stays", lambda images, copies: stays)
    split = split_of(85, (8, 8, 1))
    layout = jax_batches.Feed(split, 16).layout()
    assert layout == ([(5, 16), (1, 5)] if most > 5 else [(3, 16), (2, 16), (1, 5)])
    assert_as_tensorflow(jax_batches, split, "crop_flip", seed=3)


@pytest.mark.slow
def test_of_the_same_shares_the_strong_recipe_makes_the_batches_of_tensorflow(
    jax_batches, monkeypatch
):
    # The shares alone are of other random numbers.
    monkeypatch.setattr(mixing, "_beta", lambda alpha, key: tf.constant(0.3))
    monkeypatch.setattr(recipe_draws, "_beta", lambda key, alpha: 0.3)
    recipe, kinds = Recipe(38, cutout=3, mixup_alpha=1.0, cutmix_alpha=1.0), set()
    for epoch in (0, 5):
        kinds |= {
            x > 0 for x in recipe_draws.of_epoch(recipe, (12, 8, 3), 7, epoch, 38, 16)["mix"][1]
        }
        assert_as_tensorflow(
            jax_batches, split_of(38, (12, 8, 3)), "crop_flip", 7, epoch=epoch, recipe=recipe
        )
    assert len(kinds) == 2


def test_the_shares_of_mixed_labels_are_of_the_beta_distribution_and_of_seed_epoch_and_step():
    def shares(epoch, alpha, steps=400):
        recipe = Recipe(10, mixup_alpha=alpha)
        return recipe_draws.of_epoch(recipe, (8, 8, 1), 3, epoch, 2 * steps, 2)["mix"][2]

    for alpha in (0.2, 1.0):
        found = shares(1, alpha)
        assert scipy.stats.kstest(found, scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01
        np.testing.assert_array_equal(shares(1, alpha, 30), found[:30])
        assert not np.isin(shares(2, 1.0), found).any()


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
    device.memory = 2 * 2 * 75 * 64  # where an epoch has images of its own next to them
    assert jax_batches._stays(images, copies=2) is (rolled or not mapped)
    device.memory -= 2
    assert jax_batches._stays(images, copies=2) is (not rolled and not mapped)

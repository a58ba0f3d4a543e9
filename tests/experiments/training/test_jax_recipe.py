"""The strong recipe on JAX, in a process of its own: each part against its formula, by hand."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests import HANG_SECONDS
from tests.experiments.cases import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Function of a name that gives what `jax_recipe_steps` kept by it, a list of arrays."""
    pytest.importorskip("jax")
    path = tmp_path_factory.mktemp("recipe") / "found.npz"
    flags = "--xla_backend_optimization_level=0"  # which compiles in half the time
    done = subprocess.run(
        [sys.executable, "-m", "tests.experiments.training.jax_recipe_steps", path],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(path) as file:
        arrays = dict(file)

    def named(name):
        return [a for key, a in arrays.items() if key.rpartition("_")[0] == name]

    return named


def assert_close(found, right):
    assert found
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_sharpness_aware_step_is_two_gradients_and_statistics_of_the_first(found):
    assert_close(found("sharp"), found("sharp_right"))
    assert_close(found("sharp_statistics"), found("sharp_right_statistics"))
    assert_close(found("sharp_loss"), found("sharp_right_loss"))  # at w, not at w + e
    for sharp, plain in zip(found("sharp"), found("plain_right"), strict=True):
        assert np.abs(sharp - plain).max() > 1e-3


def test_averages_are_those_of_their_formula_and_what_evaluations_see(found):
    assert_close(found("averages"), found("averages_right"))
    assert_close(found("averages_loss"), found("averages_right_loss"))
    for average, own in zip(found("averages"), found("own"), strict=True):
        assert np.abs(average - own).max() > 1e-3  # the training goes on with its own


def test_the_loss_of_mixed_images_is_the_mix_of_the_losses_of_their_labels(found):
    assert_close(found("mixed_loss"), found("mixed_right_loss"))


def test_an_epoch_in_one_call_as_on_a_gpu_is_that_of_a_call_for_every_step(found):
    assert_close(found("loop"), found("steps"))
    assert_close(found("loop_figures"), found("steps_figures"))

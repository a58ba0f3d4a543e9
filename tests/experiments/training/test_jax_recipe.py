"""The strong recipe on JAX, in a process of its own: each part against its formula, by hand."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

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


def test_an_image_is_moved_as_scipy_moves_it_with_gray_around(found):
    (images,) = found("images")
    for name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        moved, matrices = found(f"moved_{name}"), found(f"matrix_{name}")
        for image, after, m in zip(images, moved, matrices, strict=True):
            right = scipy.ndimage.affine_transform(
                *(image[..., 0].astype("float64"), m[:, :2].astype("float64"), m[:, 2]),
                **{"order": 1, "mode": "grid-constant", "cval": 128},
            )
            np.testing.assert_allclose(after[..., 0], right, atol=1e-3)


def test_images_are_moved_either_way_as_far_as_the_magnitude(found):
    # Half of 30 degrees, of 0.3 of the side in a shear, of 0.3 * 8 pixels in a translation.
    entries = {
        "rotate": lambda m: np.degrees(np.arctan2(m[0, 1], m[0, 0])) / 15,
        "shear_x": lambda m: m[1, 0] / 0.15,
        "shear_y": lambda m: m[0, 1] / 0.15,
        "translate_x": lambda m: m[1, 2] / 1.2,
        "translate_y": lambda m: m[0, 2] / 1.2,
    }
    for name, part in entries.items():
        matrices = np.array(found(f"matrix_{name}"), "float64")
        parts = [part(m) for m in matrices]
        assert scipy.stats.kstest(parts, scipy.stats.uniform(-1, 2).cdf).pvalue > 0.001
        if name == "rotate":  # around the middle, without a change of size
            np.testing.assert_allclose(np.linalg.det(matrices[:, :, :2]), 1, rtol=1e-5)
            np.testing.assert_allclose(matrices @ [3.5, 3.5, 1], 3.5, rtol=1e-5)


def test_each_operation_has_the_same_chance_and_images_their_own(found):
    image = found("images")[0][0].astype("int64")
    at_most = np.array([(image <= x).sum() for x in image.ravel()])
    least = at_most.min()
    equalised = np.round(255 * (at_most - least) / (64 - least)).reshape(image.shape)
    np.testing.assert_array_equal(found("equalize")[0], equalised)
    stretched = (image - image.min()) * 255 / np.ptp(image)
    np.testing.assert_allclose(found("autocontrast")[0], stretched, atol=1e-3)
    changed, of_next_epoch = found("of_one_image")
    for right in (equalised, found("autocontrast")[0]):
        times = (changed == np.round(right).astype("uint8")).all(axis=(1, 2, 3)).sum()
        assert scipy.stats.binomtest(int(times), 2000, 1 / 13).pvalue > 0.001
    assert len(np.unique(changed, axis=0)) > 800  # solarising and posterising have few results
    assert (changed != of_next_epoch).any(axis=(1, 2, 3)).mean() > 0.8


def test_an_image_is_a_function_of_its_place_in_the_epoch_however_it_is_made(found):
    changed, _ = found("of_one_image")
    np.testing.assert_array_equal(found("from_a_place")[0], changed[1500:])
    np.testing.assert_array_equal(found("of_all_operations")[0], changed)
    resident, read = found("resident"), found("read")
    assert len(resident) == 6
    for a, b in zip(resident, read, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.concatenate(resident[1::2]), np.arange(64)[::-1])

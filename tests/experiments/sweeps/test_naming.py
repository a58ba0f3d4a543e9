"""The names of a grid's runs tell every setting that the grid varies, and copies do not pass."""

import pytest

from experiments.runs import naming
from experiments.runs.recipe import OLDER
from tests.experiments.sweeps.cases import SETTINGS

RUN = {
    **{**SETTINGS, "seed": 3, "learning_rate": 0.05, "depth": 8, "deterministic": False},
    **{"lr_boundaries": [0.5, 0.75], "jit_compile": "auto", "balanced_lr_decay": None},
}
PLAIN = "cifar10_factor0.02_focal1_power1_beta0.9999_epochs200_seed3"


def test_a_grid_adds_what_no_name_tells_in_the_order_of_the_alphabet():
    also = ["learning_rate", "cb_power", "seed", "depth", "lr_boundaries", "deterministic"]
    name = naming.run_name(RUN, also)
    assert name == (
        f"{PLAIN}_depth=8_deterministic=false_learning_rate=0.05_lr_boundaries=0.5,0.75"
    )
    assert naming.run_name(RUN) == PLAIN
    assert naming.has_its_name(f"runs/{name}", RUN)
    assert naming.added(name, RUN) == ("depth", "deterministic", "learning_rate", "lr_boundaries")


def test_a_sampler_is_in_the_name_unless_it_is_the_usual():
    for sampler, own in {
        "uniform": "",
        "square_root": "_square_root_sampler",
        "power:0.3": "_power0.3_sampler",
    }.items():
        expected = PLAIN.replace("_epochs200", f"{own}_epochs200")
        settings = {**RUN, "sampler": sampler}
        assert naming.run_name(settings, ["sampler"]) == expected
        assert naming.added(expected, settings) == ()


def test_the_name_of_a_run_of_no_grid_adds_nothing():
    assert naming.added(PLAIN, RUN) == ()
    assert naming.has_its_name(PLAIN, RUN)


@pytest.mark.parametrize(
    "name",
    [
        f"{PLAIN}.bak",
        f"{PLAIN}_depth=80",  # of another run
        f"{PLAIN}_depth=14",
        f"{PLAIN}_learning_rate=0.05_depth=8",  # not in order
        f"{PLAIN}_depth=8_depth=8",
        f"{PLAIN}_cb_power=1",  # every name tells it already
        f"{PLAIN}_depth=8 (copy)",
        f"old_{PLAIN}",
    ],
)
def test_any_other_name_may_be_that_of_a_copy(name):
    assert naming.added(name, RUN) is None
    assert not naming.has_its_name(name, RUN)


def test_numbers_that_are_nearly_equal_and_names_with_slashes_give_names_of_their_own():
    names = {naming.run_name({**RUN, "learning_rate": r}, ["learning_rate"]) for r in (0.1, 1e-7)}
    assert names == {f"{PLAIN}_learning_rate=0.1", f"{PLAIN}_learning_rate=1e-07"}
    close = {naming.exact(value) for value in (0.12345678, 0.12345679)}
    assert close == {"0.12345678", "0.12345679"}
    name = naming.run_name({**RUN, "jit_compile": "a/b:c"}, ["jit_compile"])
    assert name == f"{PLAIN}_jit_compile=a_b_c"


def test_the_recipe_and_the_first_stage_are_in_the_name_and_older_records_keep_theirs():
    recipe = {"lr_schedule": "cosine", "cutout": 16, "mixup_alpha": 1.0, "ema": 0.999}
    recipe |= {"randaugment": 0.5, "cutmix_alpha": 0.2, "sam_rho": 0.1}
    expected = PLAIN.replace(
        "_epochs200", "_cosine_cutout16_randaugment0.5_mixup1_cutmix0.2_ema0.999_sam0.1_epochs200"
    )
    assert naming.run_name({**RUN, **recipe}, recipe) == expected
    assert naming.added(expected, {**RUN, **recipe}) == ()
    assert naming.run_name({**RUN, **OLDER}) == PLAIN
    second = {**RUN, "method": "crt", "loss": "softmax", "sampler": "class_balanced"}
    begin, end = "cifar10_factor0.02_crt_softmax_class_balanced_sampler_on", "epochs200_seed3"
    digest = "model.keras (sha256 0123456789abcdef)"
    for first, told in {PLAIN: "focal1_power1_beta0.9999_epochs200", "my run": "my run"}.items():
        # As it is given, and as the run records it.
        for given in (f"some/where/{first}/", f"{first}: {digest}"):
            name = naming.run_name({**second, "first_stage": given})
            assert name == f"{begin}_{told}_{end}"
            assert naming.added(name, {**second, "first_stage": given}) == ()

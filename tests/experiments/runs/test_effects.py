"""In which settings two runs differ, told only where they have an effect."""

import pytest

from experiments import methods
from experiments.runs import effects

FLAGS = {
    **{name: parameter.default for name, parameter in methods.PARAMETERS.items()},
    **{"method": "class_balanced", "loss": "softmax", "dataset": "digits", "seed": 0},
    **{"long_tail": "exponential", "imbalance_factor": 0.02, "backbone": "resnet", "depth": 32},
    **{"lr_schedule": "steps", "lr_boundaries": [0.8], "lr_decay": 0.01, "balanced_lr_decay": None},
    **{"fused_op": "auto", "jit_compile": "auto", "eval_batch_size": 100, "image_size": None},
}


def different(of_a, of_b, resolved_b=()):
    """What is told of two runs with these flags, a dict of name to words on either."""
    a = {"flags": {**FLAGS, **of_a}, "resolved": {"lr_decay": 0.01}}
    b = {"flags": {**FLAGS, **of_b}, "resolved": {"lr_decay": 0.01, **dict(resolved_b)}}
    return {
        name: tuple(
            effects.in_words(name, value, config["flags"])
            for value, config in zip(values, (a, b), strict=True)
        )
        for name, values in effects.different(a, b).items()
    }


NO = "without effect"


@pytest.mark.parametrize(
    ("of_a", "of_b", "expected"),
    [
        (  # vs has no class weights, and the plain loss no offsets
            {"cb_power": 0.0},
            {"method": "vs"},
            {
                "cb_beta": ("0.9999", NO),
                "cb_normalize": ("classes", NO),
                "cb_power": ("0", NO),
                "method": ("class_balanced", "vs"),
                "tau": (NO, "1"),
                "vs_gamma": (NO, "0.15"),
            },
        ),
        ({"cb_power": 0.0}, {"cb_power": 0.0, "vs_gamma": 0.3, "gamma": 2.0}, {}),
        ({"loss": "focal"}, {"loss": "focal", "gamma": 2.0}, {"gamma": ("1", "2")}),
        ({"method": "vs", "tau": 0.5}, {"method": "vs", "cb_beta": 0.9}, {"tau": ("0.5", "1")}),
        (
            {"lr_schedule": "cosine", "lr_decay": 0.1},
            {"lr_schedule": "cosine", "lr_boundaries": [0.5]},
            {},
        ),
        (
            {"long_tail": "natural"},
            {},
            {"imbalance_factor": (NO, "0.02"), "long_tail": ("natural", "exponential")},
        ),
        (
            {"backbone": "MobileNetV2"},
            {},
            {"backbone": ("MobileNetV2", "resnet"), "depth": (NO, "32")},
        ),
        ({"long_tail_seed": 3}, {}, {"long_tail_seed": ("3", "not given")}),
        ({"image_size": "32"}, {}, {"image_size": ("32", "not given")}),
        ({"jit_compile": "true"}, {"fused_op": "off", "eval_batch_size": 5}, {}),
        ({"strategy": "none"}, {}, {"strategy": ("none", "not recorded")}),
    ],
    ids=lambda value: " ".join(f"{n}={v}" for n, v in value.items()) or "nothing",
)
def test_settings_differ_where_they_have_an_effect_on_one_of_the_runs(of_a, of_b, expected):
    assert different(of_a, of_b) == expected
    swapped = {name: words[::-1] for name, words in expected.items()}
    assert different(of_b, of_a) == swapped


def test_a_setting_is_what_it_was_resolved_to():
    assert different({"augmentation": "auto"}, {"augmentation": "auto"}) == {}
    decayed = different({}, {"balanced_lr_decay": 0.1}, {"lr_decay": 0.1})
    assert decayed == {"lr_decay": ("0.01", "0.1")}

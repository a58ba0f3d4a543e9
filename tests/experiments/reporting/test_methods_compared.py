"""Methods lie side by side where only they differ; what has no effect on a run tells nothing."""

import re

import numpy as np
import pytest

from experiments import methods
from experiments.reporting import drawing, found, sections, verdict
from experiments.reporting import page as report_page
from tests.experiments import report_folders
from tests.experiments.report_folders import COUNTS

WEIGHTS = {0: [1.0, 1.0, 1.0], 1: [0.1, 0.4, 2.5]}
SHARED = "The weights depend on the class sizes, beta and the power alone"


def write_run(folder, *arguments, **flags):
    """As the helper of that name, of a version that records each parameter of the methods."""
    defaults = {name: parameter.default for name, parameter in methods.PARAMETERS.items()}
    return report_folders.write_run(folder, *arguments, **{**defaults, **flags})


def sections_of(folder):
    below = found.find(folder)
    assert below.damaged == []
    return sections.sections(below.runs)


def text_of(folder, monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda *_: b"<svg/>")
    path, _ = report_page.write(folder)
    return path.read_text()


def write_second(folder, seed, first, accuracy=0.5, **flags):
    first_stage = f"{first}: model.keras (sha256 {seed}{first[:3]})"
    given = {"method": "crt", "first_stage": first_stage, "sampler": "class_balanced", **flags}
    write_run(folder, [accuracy] * 3, seed=seed, metrics={"epochs": 2}, **given)


def test_methods_are_compared_in_one_section_and_have_a_power_only_where_it_acts(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"s{seed}", [0.5 + seed / 10] * 3, seed=seed)
        for method in ("balanced_softmax", "ldam", "difficulty", "class_volume"):
            write_run(tmp_path / f"{method}{seed}", seed=seed, method=method)
    ((section,), shared) = sections_of(tmp_path)
    powers = {label: [g.power for g in groups] for label, groups in section.groups.items()}
    assert powers == {
        "softmax": [1],
        "balanced_softmax, softmax": [None],
        "ldam, softmax": [None],
        "difficulty, softmax": [1],
        "class_volume, softmax": [1],
    }
    assert all(len(g.runs) == 2 for groups in section.groups.values() for g in groups)
    assert "cb_power" not in shared
    assert shared["cb_beta"] == "0.9999 where it has an effect"
    _, _, sentence = verdict.in_words(section)
    assert "balanced_softmax, softmax, .6000" in sentence
    assert "difficulty, softmax, power 1, .6000" in sentence


def test_the_page_has_a_row_of_each_method_with_its_mean_and_spread(tmp_path, monkeypatch):
    for seed, value in enumerate((0.4, 0.6)):
        write_run(tmp_path / f"b{seed}", [value] * 3, seed=seed, method="balanced_softmax")
        write_run(tmp_path / f"s{seed}", [value / 2] * 3, seed=seed)
    source = text_of(tmp_path, monkeypatch)
    assert len(re.findall("<h2", source)) == 2  # one section, and the commands
    row = re.search(r'<th scope="row">balanced_softmax, softmax</th>(.*?)</tr>', source, re.DOTALL)
    spread = f"{np.std([0.4, 0.6], ddof=1):.4f}".removeprefix("0")
    assert f".5000 {spread}" in re.sub("<[^>]*>|±", "", row[1]).replace("  ", " ")
    assert "balanced_softmax, softmax, power" not in source


@pytest.mark.parametrize(
    ("method", "changed", "labels"),
    [
        ("class_balanced", {"cb_beta": 0.999}, ["softmax, beta 0.999", "softmax, beta 0.9999"]),
        (
            "class_balanced",
            {"cb_beta": 0.99990000001},  # the same in six digits
            ["softmax, beta 0.9999", "softmax, beta 0.99990000001"],
        ),
        ("vs", {"tau": 0.0}, ["vs, softmax, tau 0", "vs, softmax, tau 1"]),
        (
            "class_balanced",
            {"sampler": "square_root"},
            ["softmax", "softmax, square_root sampler"],
        ),
    ],
)
def test_what_the_method_has_is_in_the_label_and_never_averaged(tmp_path, method, changed, labels):
    write_run(tmp_path / "a", seed=0, method=method)
    write_run(tmp_path / "b", seed=1, method=method, **changed)
    ((section,), _) = sections_of(tmp_path)
    assert sorted(section.groups) == labels
    assert [len(g.runs) for groups in section.groups.values() for g in groups] == [1, 1]


def test_settings_without_effect_are_neither_told_nor_heeded(tmp_path):
    write_run(tmp_path / "a", long_tail="natural", seed=0, lr_schedule="cosine")
    also = {"imbalance_factor": 0.5, "lr_boundaries": [0.1], "lr_decay": 0.5, "vs_gamma": 3.0}
    write_run(tmp_path / "b", long_tail="natural", seed=1, lr_schedule="cosine", **also)
    ((section,), shared) = sections_of(tmp_path)
    assert len(section.groups["softmax"][0].runs) == 2
    without = {"imbalance_factor", "lr_boundaries", "lr_decay", "vs_gamma", "tau", "cutout"}
    assert not without & {*shared, *section.settings} - {"cutout"}
    assert "cutout" not in shared  # which is off
    assert shared["long_tail"] == "natural"


@pytest.mark.parametrize("at_hand", [True, False])
def test_second_stages_whose_first_ones_differ_by_the_seed_alone_are_averaged(tmp_path, at_hand):
    for seed in (0, 1):
        if at_hand:
            write_run(tmp_path / f"first_seed{seed}", seed=seed, cb_power=0)
        write_second(tmp_path / f"crt{seed}", seed, f"first_seed{seed}", 0.4 + seed / 10)
    made, _ = sections_of(tmp_path)
    (section,) = [s for s in made if "first_stage" in s.settings]
    (group,) = section.groups["crt, softmax, class_balanced sampler"]
    assert group.over_seeds("accuracy").mean == pytest.approx(0.45)
    assert len(group.runs) == 2
    if at_hand:
        assert section.settings["first_stage"].startswith("softmax, power 0 (")


@pytest.mark.parametrize("changed", [{"lr_decay": 0.5}, {"cb_power": 2.0}, {"tau": 0.5}], ids=str)
def test_second_stages_on_unlike_first_ones_are_not_averaged(tmp_path, changed):
    for seed in (0, 1):
        own = {"cb_power": 0.0, **(changed if seed else {})}
        own |= {"method": "logit_adjusted"} if "tau" in changed else {}
        write_run(tmp_path / f"first_seed{seed}", seed=seed, **own)
        write_second(tmp_path / f"crt{seed}", seed, f"first_seed{seed}")
    made, _ = sections_of(tmp_path)
    assert len([s for s in made if "first_stage" in s.settings]) == 2


def test_first_stages_of_other_names_are_not_taken_for_seeds_of_one(tmp_path):
    for seed, first in ((0, "plain"), (1, "other")):
        write_second(tmp_path / f"crt{seed}", seed, first)
    made, _ = sections_of(tmp_path)
    assert len(made) == 2


def test_each_section_has_a_title_of_its_own(tmp_path, monkeypatch):
    for i, (depth, batch, decay) in enumerate(
        [(8, 32, 0.1), (8, 64, 0.1), (14, 32, 0.1), (8, 32, 0.2), (14, 32, 0.2)]
    ):
        for method in ("class_balanced", "ldam"):
            also = {"depth": depth, "batch_size": batch, "lr_decay": decay}
            write_run(tmp_path / f"{method}{i}", method=method, a=i > 3, b=i > 3, **also)
    counts = {"config": {"class_counts": [COUNTS[0] - 1, *COUNTS[1:]]}}
    write_run(tmp_path / "counts", depth=8, batch_size=32, lr_decay=0.1, a=False, b=False, **counts)
    source = text_of(tmp_path, monkeypatch)
    titles = re.findall(r'<h2 id="section.*?>(.*?)</h2>', source)
    assert len(set(titles)) == len(titles) == 6
    assert "cifar10, imbalance factor 0.01, batch_size 64" in titles


def test_only_weights_of_sizes_beta_and_power_are_told_to_be_shared(tmp_path, monkeypatch):
    for power, weights in WEIGHTS.items():
        for loss in ("softmax", "sigmoid"):
            own = {"loss": loss, "cb_power": power, "config": {"class_weights": weights}}
            write_run(tmp_path / "shared" / f"{loss}{power}", **own)
    shared = text_of(tmp_path / "shared", monkeypatch)
    assert (SHARED in shared, shared.count("<figcaption>Weights")) == (True, 1)
    for method, weights in {"class_volume": [0.2, 0.4, 2.4], "difficulty": WEIGHTS[1]}.items():
        folder = tmp_path / method
        own = {"method": method, "config": {"class_weights": weights}}
        write_run(folder / "alone" / "a", **own)
        write_run(folder / "both" / "a", **own)
        write_run(folder / "both" / "plain")
        assert SHARED not in text_of(folder / "alone", monkeypatch)
        both = text_of(folder / "both", monkeypatch)
        assert (SHARED in both, both.count("<figcaption>Weights")) == (False, 2)
    write_run(tmp_path / "without" / "a", method="ldam")
    without = text_of(tmp_path / "without", monkeypatch)
    assert (SHARED in without, without.count("<figcaption>Weights")) == (False, 0)

"""Runs are averaged over seeds, and only with runs that are alike in all else."""

import numpy as np
import pytest

from experiments.reporting import found, sections
from experiments.runs import naming
from tests.experiments.report_folders import COUNTS, FLAGS, write_run


def sections_of(folder):
    below = found.find(folder)
    assert below.damaged == []
    return sections.sections(below.runs)[0]


def test_mean_and_deviation_over_seeds_are_those_of_numpy(tmp_path):
    recalls = [(0.9, 0.6, 0.3), (0.85, 0.66, 0.2), (0.8, 0.51, 0.37)]
    for seed, r in enumerate(recalls):
        write_run(tmp_path / f"run{seed}", r, seed=seed)
    (section,) = sections_of(tmp_path)
    (group,) = section.groups["softmax"]
    for key, values in {
        "accuracy": np.mean(recalls, axis=1),
        "many_accuracy": np.array(recalls)[:, 0],
        "few_accuracy": np.array(recalls)[:, 2],
    }.items():
        over_seeds = group.over_seeds(key)
        assert over_seeds.mean == pytest.approx(np.mean(values), abs=1e-12)
        assert over_seeds.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert len(over_seeds.values) == 3


def test_one_seed_has_no_deviation_and_a_figure_that_is_null_no_mean(tmp_path):
    write_run(tmp_path / "run", metrics={"few_accuracy": ...})
    (section,) = sections_of(tmp_path)
    (group,) = section.groups["softmax"]
    accuracy, few = group.over_seeds("accuracy"), group.over_seeds("few_accuracy")
    assert (accuracy.mean, accuracy.deviation) == (pytest.approx(0.6), None)
    assert (few.mean, few.deviation, few.values) == (None, None, ())


def test_a_figure_that_one_seed_lacks_is_averaged_over_the_others(tmp_path):
    write_run(tmp_path / "a", (0.9, 0.6, 0.3), seed=0)
    write_run(tmp_path / "b", (0.9, 0.6, 0.5), seed=1)
    write_run(tmp_path / "c", seed=2, metrics={"few_accuracy": ...})
    (section,) = sections_of(tmp_path)
    few = section.groups["softmax"][0].over_seeds("few_accuracy")
    assert (few.mean, len(few.values)) == (pytest.approx(0.4), 2)


@pytest.mark.parametrize(
    "changed",
    [
        {"lr_decay": 0.1},
        {"dataset": "cifar100"},
        {"imbalance_factor": 1.0},
        {"long_tail": "natural"},
        {"a_flag_of_a_later_version": True},
        {"config": {"class_counts": [999, 100, 10]}},
        {"config": {"class_names": ["cow", "dog", "emu"]}},
        {"metrics": {"epochs": 5}},
        {"config": {"resolved": {"lr_decay": 0.01, "dataset": "other"}}},
    ],
    ids=str,
)
def test_runs_that_differ_in_another_setting_are_never_averaged(tmp_path, changed):
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=1, **changed)
    both = sections_of(tmp_path)
    assert len(both) == 2
    for section in both:
        assert [len(g.runs) for g in section.groups["softmax"]] == [1]
        assert section.different
    assert both[0].different != both[1].different


def test_settings_without_effect_do_not_separate_runs(tmp_path):
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=1, gamma=2.0)  # softmax has no gamma
    write_run(tmp_path / "c", seed=2, balanced_lr_decay=0.1)  # `resolved` has what was used
    write_run(tmp_path / "d", seed=3, config={"versions": {"keras": "3.16"}, "device": "GPU"})
    write_run(tmp_path / "e", seed=4, fused_op="on", eval_batch_size=7)
    (section,) = sections_of(tmp_path)
    assert [len(g.runs) for g in section.groups["softmax"]] == [5]
    assert section.different == {}


def test_losses_gammas_and_powers_are_apart_and_in_order(tmp_path):
    for i, (loss, power, gamma) in enumerate(
        [("focal", 1, 2), ("focal", 2, 0.5), ("focal", 0, 0.5), ("sigmoid", 0.5, 1)]
    ):
        write_run(tmp_path / f"r{i}", loss=loss, cb_power=power, gamma=gamma)
    write_run(tmp_path / "r9", loss="softmax")
    (section,) = sections_of(tmp_path)
    assert {label: [g.power for g in groups] for label, groups in section.groups.items()} == {
        "softmax": [1],
        "sigmoid": [0.5],
        "focal, gamma 0.5": [0, 2],
        "focal, gamma 2": [1],
    }
    assert list(section.groups) == ["softmax", "sigmoid", "focal, gamma 0.5", "focal, gamma 2"]


def test_a_second_run_of_a_seed_is_named_and_not_counted(tmp_path):
    write_run(tmp_path / "first", (0.9, 0.6, 0.3))
    write_run(tmp_path / "second", (0.1, 0.1, 0.1))
    (section,) = sections_of(tmp_path)
    assert [run.name for run in section.groups["softmax"][0].runs] == ["first"]
    assert [(run.name, of.name) for run, of in section.repeats] == [("second", "first")]


def test_of_repeats_the_run_with_the_name_of_its_settings_counts(tmp_path):
    name = "cifar10_factor0.01_softmax_power1_beta0.9999_epochs4_seed0"
    write_run(tmp_path / "a" / f"{name}.bak", (0.1, 0.1, 0.1))
    write_run(tmp_path / "copy", (0.1, 0.1, 0.1))
    write_run(tmp_path / "z" / name, (0.9, 0.6, 0.3))
    (section,) = sections_of(tmp_path)
    assert [run.name for run in section.groups["softmax"][0].runs] == [f"z/{name}"]
    assert [run.name for run, _ in section.repeats] == [f"a/{name}.bak", "copy"]


@pytest.mark.parametrize("flags", [{}, {"cb_beta": 10**400}, {"cb_beta": [1]}, {"dataset": 3}])
def test_settings_that_give_no_name_give_no_run_its_name(flags):
    complete = {**FLAGS, **flags} if flags else {}
    assert not naming.has_its_name("cifar10_factor0.01_softmax_power1", complete)


def test_a_run_that_recorded_no_data_is_with_those_of_its_classes_where_they_are_one(tmp_path):
    def groups():
        return sorted([r.name for r in s.groups["softmax"][0].runs] for s in sections_of(tmp_path))

    def write(name, seed, pixels, counts=COUNTS):
        data = {"name": "cifar10", "train": {"pixels": pixels}}
        write_run(tmp_path / name, seed=seed, config={"data": data, "class_counts": counts})

    write("new0", 0, "a")
    write("new1", 1, "a")
    write("others", 2, "b", [900, 90, 9])
    write_run(tmp_path / "old", seed=3)
    assert groups() == [["new0", "new1", "old"], ["others"]]
    write("again", 4, "c")  # now the data of the old run may be either of two
    assert groups() == [["again"], ["new0", "new1"], ["old"], ["others"]]


def test_shared_settings_are_told_once(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", lr_decay=0.1)
    made, shared = sections.sections(found.find(tmp_path).runs)
    assert [section.different for section in made] == [{"lr_decay": 0.01}, {"lr_decay": 0.1}]
    assert shared["cb_beta"] == 0.9999
    assert shared["class_counts"] == COUNTS
    assert not {"lr_decay", "loss", "cb_power", "seed"} & set(shared)


def test_methods_are_apart_and_what_this_version_does_not_know_comes_last(tmp_path):
    for i, (method, loss) in enumerate(
        [("later", "softmax"), (None, "of others"), ("class_balanced", "focal"), (None, "softmax")]
    ):
        write_run(tmp_path / f"{i}", loss=loss, **({"method": method} if method else {}))
    (section,) = sections_of(tmp_path)
    labels = ["softmax", "focal, gamma 1", "of others", "later, softmax"]
    assert list(section.groups) == labels


def test_a_run_that_recorded_no_method_is_averaged_with_those_of_the_first_one(tmp_path):
    write_run(tmp_path / "old", seed=0)
    write_run(tmp_path / "new", seed=1, method="class_balanced")
    (section,) = sections_of(tmp_path)
    assert [len(g.runs) for g in section.groups["softmax"]] == [2]

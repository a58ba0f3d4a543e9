"""Figures of a network after something was done to it: rows of their own, next to its run's."""

import json
import re

import pytest

from experiments.reporting import drawing, found, sections, verdict
from experiments.reporting import page as report_page
from experiments.runs import afterwards
from tests.experiments.report_folders import metrics_of, write_run

ADJUSTED = {"steps": ["logit_adjustment"], "tau": 1.0}


def write_after(run, posthoc, recalls=(0.8, 0.8, 0.8), name="posthoc_a.json", **metrics):
    content = {**metrics_of(recalls), "posthoc": posthoc, **metrics}
    (run / name).write_text(json.dumps(content))


def groups_below(folder):
    below = found.find(folder)
    assert below.damaged == []
    ((section,), _) = sections.sections(below.runs)
    return section, {g.name: g for groups in section.groups.values() for g in groups}


def test_it_is_averaged_over_seeds_and_can_be_the_best_of_a_section(tmp_path):
    for seed, more in enumerate((0.0, 0.01)):
        run = write_run(tmp_path / f"plain{seed}", cb_power=0.0, seed=seed)
        write_after(run, ADJUSTED, [0.7 + more] * 3)
        chosen = {"steps": ["logit_adjustment", "temperature"], "tau": 1.2 + more}
        chosen |= {"temperature": 1.3 - more, "chosen_by": {"tau": "x", "temperature": "y"}}
        write_after(run, chosen, [0.5] * 3, "posthoc_b.json")
    section, groups = groups_below(tmp_path)
    assert {name: len(group.runs) for name, group in groups.items()} == {
        "softmax, power 0": 2,
        "softmax, logit_adjustment tau 1, power 0": 2,
        "softmax, logit_adjustment,temperature tau chosen temperature chosen, power 0": 2,
    }
    assert groups["softmax, logit_adjustment tau 1, power 0"].over_seeds(
        "accuracy"
    ).mean == pytest.approx(0.705)
    _, _, sentence = verdict.in_words(section)
    assert "softmax, logit_adjustment tau 1, power 0 won: balanced accuracy" in sentence


def test_it_is_no_run_and_has_no_curve_but_the_command_that_measures_it(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda *_: b"<svg/>")
    run = write_run(tmp_path / "a" / "plain", cb_power=0.0)
    write_after(run, ADJUSTED)
    path, _ = report_page.write(tmp_path)
    source = path.read_text()
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", source))
    assert "1 finished run below" in text
    assert ", 1 measured again after something was done to the network" in text
    assert source.count('alt="Learning curves of') == 1
    assert (
        "python -m experiments.evaluate --saved_model=a/plain/model.keras "
        "--posthoc=logit_adjustment --posthoc_tau=1<"
    ) in source


@pytest.mark.parametrize(
    ("about", "words", "flags"),
    [
        (
            {"steps": ["prior_shift"], "prior": [0.5, 2.0]},
            "prior_shift to [0.5, 2.0]",
            "--posthoc=prior_shift --posthoc_prior=0.5,2",
        ),
        (
            {
                "steps": ["tau_norm", "temperature"],
                **{"tau": 0.5, "temperature": 1.25, "chosen_by": {"temperature": "nll"}},
            },
            "tau_norm,temperature tau 0.5 temperature chosen",
            "--posthoc=tau_norm,temperature --posthoc_tau=0.5",
        ),
    ],
)
def test_what_was_done_is_told_by_its_label_and_its_command(about, words, flags):
    assert afterwards.label(about) == words
    assert afterwards.command(about, "run").endswith(f"--saved_model=run/model.keras {flags}")


@pytest.mark.parametrize(
    ("posthoc", "metrics", "words"),
    [
        (None, {}, "posthoc_a.json: `posthoc` is missing"),
        ({"steps": []}, {}, "`posthoc.steps` is missing or not"),
        ({**ADJUSTED, "tau": -1}, {}, "`posthoc.tau` is missing or not a number >= 0"),
        (ADJUSTED, {"accuracy": 0.1}, "`accuracy` is 0.1, but its confusion_matrix gives 0.8"),
        (ADJUSTED, {"test_data": {"images": 9}}, "posthoc_a.json was measured on other images"),
    ],
)
def test_files_that_are_no_such_figures_are_told_and_left_out(tmp_path, posthoc, metrics, words):
    own = {"data": {"name": "cifar10:1", "test": {"images": 300, "labels": "ab"}}}
    run = write_run(tmp_path / "plain", config=own)
    write_after(run, posthoc, **{"test_data": {"images": 300, "labels": "ab"}, **metrics})
    below = found.find(tmp_path)
    assert [r.name for r in below.runs] == ["plain"]
    ((name, told),) = below.damaged
    assert name == "plain/posthoc_a.json"
    assert words in told

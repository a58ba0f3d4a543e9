"""The table of the losses on every framework: right answers alone are timed, what lacks is told.

Expected losses and gradients are those of `tests.cb_keras.reference`; figures of tables by hand.
"""

import json

import numpy as np
import pytest

from benchmarks.frameworks import __main__ as program
from benchmarks.frameworks import rounds, tables, worker
from benchmarks.frameworks.contenders import COMPOSED, COPIES, KERAS, NEW_COPY, OURS, WARM_COPY
from benchmarks.frameworks.processes import Died
from benchmarks.loss_problem import GAMMA, LOSS_NAMES, Problem, WrongAnswer
from benchmarks.losses import LOSSES
from tests.cb_keras import reference

SIZE = [6, 11]


def test_the_program_knows_all_losses():
    assert set(LOSS_NAMES) == set(LOSSES)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_right_answer_is_the_papers(loss):
    problem = Problem.random(loss, SIZE)
    targets = reference.one_hot(problem.labels, SIZE[1])
    weight = problem.weights[problem.labels].astype("float64")
    losses, gradient = problem.answer(slice(None))
    expected = reference.loss(loss, problem.logits, targets, weight, GAMMA)
    slopes = reference.gradient(loss, problem.logits, targets, weight, GAMMA) / SIZE[0]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-9, atol=1e-14)
    assert problem.mean_loss() == pytest.approx(expected.mean(), rel=1e-12)


@pytest.fixture(scope="module")
def tensorflow():
    return worker.Worker("tensorflow")


def prepare(process, loss, contenders=(COMPOSED, KERAS, *COPIES), **change):
    case = {"loss": loss, "size": SIZE, "dtype": "float32"}
    right = process.mean_loss(**case)["mean_loss"]
    mean_loss = change.get("mean_loss", right)
    modes = change.get("modes", ["eager", "graph", "jit"])
    return process.prepare(**case, contenders=contenders, mean_loss=mean_loss, modes=modes)


def test_every_contender_is_checked_and_timed(tensorflow):
    prepared = prepare(tensorflow, "focal")
    assert prepared["missing"] == []
    expected = [[m, c] for m in ("eager", "graph", "jit") for c in (COMPOSED, KERAS)]
    assert prepared["steps"] == [*expected, ["eager", NEW_COPY], ["eager", WARM_COPY]]
    for mode, contender in (("graph", COMPOSED), ("eager", WARM_COPY)):
        assert tensorflow.measure(mode, contender, seconds=0.0)["milliseconds"] > 0


def test_a_wrong_loss_is_not_timed(tensorflow):
    with pytest.raises(WrongAnswer, match="tensorflow eager, composed: its softmax loss is"):
        prepare(tensorflow, "softmax", mean_loss=1.0, modes=["eager"])


def test_a_wrong_gradient_is_not_timed(tensorflow, monkeypatch):
    composed = tensorflow.module.composed

    def wrong(problem):
        mean_loss = composed(problem)
        return lambda labels, logits, weights: (
            mean_loss(labels, logits, weights) + 1e-3 * (logits[0, 0] - problem.logits[0, 0])
        )

    monkeypatch.setattr(tensorflow.module, "composed", wrong)
    with pytest.raises(WrongAnswer, match="composed: its gradient of the softmax loss is off by"):
        prepare(tensorflow, "softmax")


def test_a_contender_that_cannot_run_is_told_with_its_reason(tensorflow, monkeypatch):
    from cb_keras.fused import op

    monkeypatch.setattr(op, "why_not", lambda loss, dtype: "no kernel today")
    prepared = prepare(tensorflow, "softmax", contenders=[OURS], modes=["graph", "compile"])
    assert prepared == {"steps": [], "missing": [["graph", OURS, "no kernel today"]]}


def figure(framework, mode, contender, *milliseconds):
    return {
        "framework": framework,
        "mode": mode,
        "contender": contender,
        "milliseconds": list(milliseconds),
    }


def large_table(loss="focal", ours=(50.0, 40.0, 60.0)):
    return {
        "loss": loss,
        "size": [4096, 8142],
        "dtype": "float32",
        "figures": [
            figure("jax", "eager", OURS),  # which died before it was timed
            figure("jax", "eager", COMPOSED, 900.0),
            figure("jax", "jit", OURS, *ours),
            figure("jax", "jit", COMPOSED, 300.0),
            figure("jax", "jit", KERAS, 200.0),
            figure("jax", "eager", NEW_COPY, 25.0),
        ],
        "missing": [{**figure("torch", "any", "all"), "why": "it is not installed"}],
    }


def test_ratios_are_of_medians_to_the_best_other_and_to_the_copies():
    eager, jit = tables.ratios(large_table())
    assert (eager["mode"], eager["best"], eager["copies"][NEW_COPY]) == ("eager", None, None)
    assert (jit["mode"], jit["best"], jit["keras"]) == ("jit", 200.0 / 50.0, 200.0 / 50.0)
    assert jit["copies"] == {NEW_COPY: 2.0, WARM_COPY: None}


def test_goals_are_five_times_for_focal_and_never_slower_elsewhere():
    small = {**large_table("softmax", ours=(10.0,)), "size": [128, 10]}
    goals = {goal.pop("goal"): goal for goal in tables.judge([large_table(), small])}
    large = "focal (4096, 8142) float32, jax"
    assert goals[f"{large} jit: best other / ours"] == {"at_least": 5.0, "value": 4.0, "met": False}
    assert goals[f"{large} eager: best other / ours"]["met"] is None
    found = goals[f"{large} jit: Keras built-in / ours"]
    assert found == {"at_least": 1.0, "value": 4.0, "met": True}
    assert goals[f"{large} jit: ours / {NEW_COPY}"] == {"at_most": 1.35, "value": 2.0, "met": False}
    found = goals["softmax (128, 10) float32, jax jit: best other / ours"]
    assert found == {"at_least": 1.0, "value": 20.0, "met": True}
    assert not any("copy" in goal for goal in goals if goal.startswith("softmax"))


def test_the_table_shows_medians_ratios_and_what_is_missing(capsys):
    tables.show(large_table())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "focal (4096, 8142) float32, ms jax eager jax jit"
    assert "cb_keras Loss 50" in lines
    assert "best other / ours 4x" in lines
    assert "not available: all on torch (any): it is not installed" in lines


class FakeFrameworks:
    """Two frameworks, of which one dies when it is measured."""

    deadline = None

    def __init__(self):
        self.about, self.gone = {}, {}
        self.processes = {"jax": None, "torch": None}

    def ask(self, name, do, **arguments):
        if do == "mean_loss":
            return {"mean_loss": 2.0}
        if do == "prepare":
            assert arguments["mean_loss"] == 2.0
            return {"steps": [["eager", OURS]], "missing": [["eager", KERAS, "no"]]}
        if name == "torch":
            self.gone[name] = str(Died("its process ended with status -9"))
            return None
        return {"milliseconds": 3.0}

    def start_again(self):
        pass


def test_a_framework_whose_process_dies_does_not_cost_the_others(capsys):
    case = {"loss": "focal", "size": SIZE, "dtype": "float32"}
    table = rounds.time_all(FakeFrameworks(), case, {}, repetitions=2, seconds=0.0)
    times = {of["framework"]: of["milliseconds"] for of in table["figures"]}
    assert times == {"jax": [3.0, 3.0], "torch": []}
    assert table["missing"][-1] == {
        **{"framework": "torch", "mode": "any", "contender": "all"},
        "why": "its process ended with status -9",
    }


def test_tables_that_the_time_does_not_suffice_for_are_named(tmp_path):
    frameworks = FakeFrameworks()
    frameworks.deadline = 0.0  # long ago
    case = {"loss": "focal", "size": SIZE, "dtype": "float32"}
    kept = []
    result = rounds.run(frameworks, [case], {}, 1, 0.0, kept.append)
    assert result["left_out"] == [case]
    assert kept[-1]["tables"] == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--sizes=128", "a size must be NxC, for example 4096x8142, got '128'"),
        (
            "--losses=focal,hinge",
            "softmax, sigmoid, focal, softmax_focal, got 'hinge'",
        ),
        ("--frameworks=mxnet", "each must be one of tensorflow, torch, jax, got 'mxnet'"),
        ("--dtypes=float64", "each must be one of float32, bfloat16, float16, got 'float64'"),
    ],
)
def test_a_bad_argument_is_refused_by_name(argument, message, capsys):
    with pytest.raises(SystemExit):
        program.parsed([argument])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_three_frameworks_take_turns_and_their_figures_are_saved(tmp_path, capsys):
    """A process each; the smallest of sizes."""
    file = tmp_path / "table.json"
    program.main(
        [
            *("--sizes=6x11", "--losses=focal", "--repetitions=2", "--seconds=0", "--goals"),
            f"--json={file}",
        ]
    )
    result = json.loads(file.read_text())
    (table,) = result["tables"]
    assert {of["framework"] for of in table["figures"]} == {"tensorflow", "torch", "jax"}
    for of in table["figures"]:
        assert len(of["milliseconds"]) == 2, of
    assert result["frameworks"]["jax"]["device"] == "CPU"
    assert "goals met" in capsys.readouterr().out

"""The loss benchmark: it times right answers only, and its goals and figures are what they say.

The expected losses and gradients are float64 numpy from the papers' equations
(`tests.cb_keras.reference`); the figures in the tests of goals are by hand.
"""

import json
import sys

import numpy as np
import pytest
from absl import app, flags
from absl.testing import flagsaver

from benchmarks import (
    loss_contenders,
    loss_goals,
    loss_memory,
    loss_op,
    loss_problem,
    memory_copy,
    timing,
)
from benchmarks.loss_contenders import COMPOSED, FUSED_LOSS, FUSED_OP, TORCH, XLA
from benchmarks.loss_problem import GAMMA, Problem
from benchmarks.losses import LOSSES
from cb_keras import fused
from tests.cb_keras import reference

SIZE = (6, 11)


@pytest.fixture(scope="module")
def _op():
    if not fused.available():
        try:
            fused.build()
        except fused.FusedOpError as error:
            pytest.skip(str(error))


@pytest.fixture
def _quick(_op, monkeypatch):
    """Without torch.compile, which takes a minute."""
    monkeypatch.delitem(loss_contenders.CONTENDERS, loss_contenders.TORCH_COMPILED)


def run_main(*arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["loss_op", *map(str, arguments)])
        loss_op.main(["loss_op"])


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("loss", LOSSES)
def test_all_contenders_compute_the_mean_of_the_papers_loss_and_its_gradient(loss):
    problem = Problem.random(loss, SIZE)
    steps, missing = loss_contenders.contenders(problem)
    assert set(steps) | set(missing) == set(loss_contenders.CONTENDERS)
    assert not set(missing) - {TORCH}
    targets = reference.one_hot(problem.labels, SIZE[1])
    weight = problem.weights[problem.labels].astype("float64")
    expected = reference.loss(loss, problem.logits, targets, weight, GAMMA).mean()
    gradient = reference.gradient(loss, problem.logits, targets, weight, GAMMA) / SIZE[0]
    for name, step in steps.items():
        ours, our_gradient = map(loss_problem.numpy_of, step())
        assert ours.shape == ((6,) if name == FUSED_OP else ()), name
        np.testing.assert_allclose(ours.mean(), expected, rtol=2e-6, err_msg=name)
        np.testing.assert_allclose(our_gradient, gradient, atol=2e-6, err_msg=name)
    loss_contenders.check(steps, problem)


def answers(change_loss=0.0, change_gradient=0.0):
    """Steps of the fused op and of another, whose answer differs in one element."""
    gradient = np.ones((2, 3), "float32")
    other = gradient.copy()
    other[1, 2] += change_gradient
    return {
        FUSED_OP: lambda: (np.float32([1.0, 3.0]), gradient),
        "other": lambda: (np.float32(2.0 + change_loss), other),
    }


def small_problem():
    """The weights by N are 1 and 0.01."""
    weights = np.float32([2.0, 0.02, 1.0])
    return Problem("softmax", np.array([0, 1]), np.zeros((2, 3), "float32"), weights)


@pytest.mark.parametrize("change", [{}, {"change_loss": 1e-5}, {"change_gradient": 5e-7}])
def test_the_guard_lets_rounding_pass(change):
    loss_contenders.check(answers(**change), small_problem())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"change_loss": 1e-3}, "other: its softmax loss is 2.00"),
        ({"change_loss": np.nan}, "other: its softmax loss is nan"),
        ({"change_gradient": 2e-6}, "other: its gradient .* off by 0.000"),  # 2e-4 of 0.01
        ({"change_gradient": np.nan}, "other: its gradient .* off by nan"),
    ],
)
def test_the_guard_stops_at_a_wrong_answer(change, message):
    with pytest.raises(loss_problem.WrongAnswer, match=message):
        loss_contenders.check(answers(**change), small_problem())


def test_the_guard_stops_at_a_gradient_of_another_shape():
    steps = answers()
    steps["other"] = lambda: (np.float32(2.0), np.ones((2, 1), "float32"))
    with pytest.raises(loss_problem.WrongAnswer, match=r"shape \(2, 1\)"):
        loss_contenders.check(steps, small_problem())


@pytest.mark.usefixtures("_quick")
def test_nothing_is_timed_when_a_contender_is_wrong(monkeypatch):
    def wrong(problem):
        step = loss_contenders.CONTENDERS[FUSED_OP](problem)
        return lambda: (step()[0], 1.01 * step()[1])

    monkeypatch.setitem(loss_contenders.CONTENDERS, COMPOSED, wrong)
    monkeypatch.setattr(timing, "alternate", lambda *args, **kwargs: pytest.fail("timed"))
    with pytest.raises(loss_problem.WrongAnswer, match="composed TF: its gradient"):
        loss_op.run([SIZE], ["focal"], [], repetitions=1, seconds=0.0)


@pytest.mark.usefixtures("_quick")
def test_without_torch_the_table_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    table = loss_op.time_all("sigmoid", SIZE, repetitions=1, seconds=0.0)
    assert table["missing"] == {TORCH: "torch is not installed"}
    assert TORCH not in table["medians"]
    loss_op.print_table(table)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split("  ")[0] == TORCH
    assert last.endswith("  not measured: torch is not installed")


@pytest.mark.parametrize("size", [SIZE, (300, 1001)])  # by one thread and by all
def test_the_copies_are_copies(size):
    problem = Problem.random("focal", size)
    copies = memory_copy.copies(problem)
    memory_copy.check(copies, problem)
    copies["wrong"] = lambda: problem.logits + 1.0
    with pytest.raises(loss_problem.WrongAnswer, match="wrong"):
        memory_copy.check(copies, problem)


@pytest.mark.slow
@pytest.mark.usefixtures("_op")
def test_the_peak_memory_of_the_fused_loss_is_logits_and_gradient():
    figures = loss_memory.peak_memory(FUSED_LOSS, "softmax", (512, 1000))
    assert figures["input_bytes"] == 512 * 1000 * 4
    # The gradient was new memory, so nothing of it had been kept from the calls before.
    assert 1.0 <= figures["units"] < 1.2
    assert figures["units"] == (512 * 4000 + figures["peak_bytes"]) / (2 * 512 * 4000)


def table(loss, size, **medians):
    return {"loss": loss, "size": list(size), "medians": medians}


def memory(loss, size, contender, **figures):
    return {"loss": loss, "size": list(size), "contender": contender, **figures}


def test_goals_are_ratios_of_medians_judged_by_the_loss_class():
    medians = {
        COMPOSED: 1200.0,
        XLA: 300.0,
        FUSED_LOSS: 100.0,
        FUSED_OP: 80.0,
        memory_copy.NEW_TENSOR: 62.5,
        memory_copy.WARM: 50.0,
    }
    goals = loss_goals.judge(
        [
            table("focal", (4096, 8142), **medians),
            table("softmax", (128, 10), **{COMPOSED: 2.0, FUSED_LOSS: 2.0, FUSED_OP: 1.0}),
            table("sigmoid", (128, 10), **{COMPOSED: 1.0, FUSED_LOSS: 2.0}),
        ],
        [
            memory("focal", (4096, 8142), FUSED_LOSS, units=1.01),
            memory("sigmoid", (4096, 8142), FUSED_LOSS, units=1.5),
            memory("sigmoid", (4096, 8142), COMPOSED, units=1.0),
            memory("softmax", (4096, 8142), FUSED_LOSS, why_not="exit status 1"),
        ],
    )
    figures = {goal.pop("goal"): goal for goal in goals}
    large, small = "(4096, 8142)", "(128, 10)"

    def at_least(bound, value, bare_op, met):
        return {"at_least": bound, "value": value, "bare_op": bare_op, "met": met}

    def at_most(bound, value, bare_op, met):
        return {"at_most": bound, "value": value, "bare_op": bare_op, "met": met}

    peak = "peak memory / (logits + gradient)"
    assert figures == {
        f"focal {large}: composed TF / fused": at_least(10.0, 12.0, 15.0, True),
        f"focal {large}: composed TF, XLA / fused": at_least(4.0, 3.0, 3.75, False),
        f"softmax {large}: composed TF / fused": at_least(2.0, None, None, None),
        f"softmax {small}: composed TF / fused": at_least(1.0, 1.0, 2.0, True),
        f"sigmoid {small}: composed TF / fused": at_least(1.0, 0.5, None, False),
        f"focal {small}: composed TF / fused": at_least(1.0, None, None, None),
        f"softmax_focal {small}: composed TF / fused": at_least(1.0, None, None, None),
        **{
            f"{loss} {size}: composed TF, XLA / fused": at_least(1.0, None, None, None)
            for size in ((1_000_000, 2), (1_000_000, 10))
            for loss in ("softmax", "sigmoid", "focal", "softmax_focal")
        },
        f"focal {large}: fused / copy, new tensor": at_most(1.6, 1.6, 1.28, True),
        f"focal {large}: fused / copy, warm memory": at_most(1.6, 2.0, 1.6, False),
        f"softmax {large}: {peak}": at_most(1.2, None, None, None),
        f"sigmoid {large}: {peak}": at_most(1.2, 1.5, None, False),
        f"focal {large}: {peak}": at_most(1.2, 1.01, None, True),
        f"softmax_focal {large}: {peak}": at_most(1.2, None, None, None),
    }


def test_goals_are_shown_with_their_verdict(capsys):
    loss_goals.show(
        loss_goals.judge([table("focal", (128, 10), **{COMPOSED: 3.0, FUSED_LOSS: 2.0})], [])
    )
    lines = capsys.readouterr().out.splitlines()
    assert "focal (128, 10): composed TF / fused >= 1.0 1.50 met" in [
        " ".join(x.split()) for x in lines
    ]
    assert sum(line.endswith("not measured") for line in lines) == 20


@pytest.mark.usefixtures("_quick")
def test_the_program_writes_tables_memory_and_goals(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loss_memory, "peak_memory", lambda *args: {"units": 1.25})
    file = tmp_path / "loss_op.json"
    run_main(
        *("--sizes=6x11,2x3", "--losses=focal", "--memory_sizes=4096x8142", "--goals"),
        *("--repetitions=1", "--seconds=0", f"--json={file}"),
    )
    result = json.loads(file.read_text())
    assert set(result) == {
        *("title", "machine", "device", "threads", "versions", "fused_op"),
        *("tables", "memory", "goals"),
    }
    assert result["versions"].keys() >= {"tensorflow", "keras"}
    assert "/" not in result["fused_op"]  # no folder of this machine
    first, second = result["tables"]
    assert (first["loss"], first["size"], second["size"]) == ("focal", [6, 11], [2, 3])
    names = {*loss_contenders.CONTENDERS, *memory_copy.copies(Problem.random("focal", SIZE))}
    assert set(first["milliseconds"]) | set(first["missing"]) == names
    for name, times in first["milliseconds"].items():
        assert times == [first["medians"][name]]
        assert times[0] > 0
        for to in (FUSED_LOSS, memory_copy.NEW_TENSOR):
            assert first["ratios"][to][name] == pytest.approx(times[0] / first["medians"][to])
        assert first["page_faults"][name] >= 0
    assert [m["contender"] for m in result["memory"]] == [
        *(COMPOSED, XLA, loss_contenders.FUNCTIONAL, FUSED_LOSS)
    ]
    goal = "focal (4096, 8142): peak memory / (logits + gradient)"
    figures = {"at_most": 1.2, "value": 1.25, "bare_op": None, "met": False}
    assert {"goal": goal, **figures} in result["goals"]
    assert "1.25           missed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--sizes=128", "a size must be NxC, for example 4096x8142, got '128'"),
        ("--sizes=0x8", "got '0x8'"),
        ("--memory_sizes=8x-1", "got '8x-1'"),
        (
            "--losses=hinge",
            "a loss must be one of softmax, sigmoid, focal, softmax_focal, got 'hinge'",
        ),
    ],
)
def test_a_bad_flag_is_refused_by_name(argument, message):
    with pytest.raises(app.UsageError, match=message):
        run_main(argument)

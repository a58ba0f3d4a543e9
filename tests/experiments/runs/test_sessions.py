"""What `config.json` says about a run that went on elsewhere than where it was begun."""

import os
import shutil

import pytest

from experiments.runs import sessions
from experiments.training import machine

HERE = {
    "versions": {"keras": "3.15.0", "numpy": "2.4.0"},
    "device": ["CPU, 2 cores, x86_64"],
    "command": "python -m experiments.train --output_dir=runs/a",
}
RESOLVED = {"fused_op": True, "jit_compile": False, "steps_per_epoch": 11}


def session(first_epoch, resolved=(), variables=(), **environment):
    return sessions.begin(
        first_epoch, {**RESOLVED, **dict(resolved)}, {**HERE, **environment}, dict(variables)
    )


CHANGES = {
    "nothing": ({}, None),
    "the command": ({"command": "python -m experiments.train --resume"}, None),
    "the op": ({"resolved": {"fused_op": False}}, "with the fused op, now without"),
    "XLA": ({"resolved": {"jit_compile": True}}, "without XLA, now with"),
    "the steps": ({"resolved": {"steps_per_epoch": 9}}, "with steps_per_epoch 11, now 9"),
    "the device": ({"device": ["A", "B"]}, "on CPU, 2 cores, x86_64, now on A and B"),
    "a version": ({"versions": {"keras": "3.16.0"}}, "with keras 3.15.0, now 3.16.0"),
    "a variable": (
        {"variables": {"TF_ENABLE_ONEDNN_OPTS": "0", "HOME": "/home/me"}},
        "with TF_ENABLE_ONEDNN_OPTS unset, now 0",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_session_changed_is_told_in_a_line(name):
    changed, words = CHANGES[name]
    line = words and f"epochs 1 to 4 were trained {words}: the last bits may differ"
    assert list(sessions.changes([session(1), session(5, **changed)])) == [line] * bool(words)


def test_sessions_whose_epochs_are_trained_again_are_left_out():
    first, second, third = session(1), session(3), session(5)
    assert sessions.after(None, first) == [first]
    config = {"sessions": [first, second, third]}
    assert sessions.after(config, session(6)) == [first, second, third, session(6)]
    assert sessions.after(config, session(5)) == [first, second, session(5)]
    assert sessions.after(config, session(4)) == [first, second, session(4)]
    assert sessions.after(config, session(1)) == [session(1)]


def test_a_configuration_of_an_older_version_is_its_first_session():
    older = {**HERE, "resolved": {**RESOLVED, "fused_op": False}, "flags": {}}
    begun, now = sessions.after(older, session(3))
    assert begun == {"first_epoch": None, **HERE, "resolved": older["resolved"]}
    assert list(sessions.changes([begun, now])) == [
        "the epochs up to 2 were trained without the fused op, now with: the last bits may differ"
    ]


@pytest.mark.parametrize("found", [7, [], ["a"], [{"first_epoch": "1"}], [{}], [{"versions": 1}]])
def test_sessions_that_are_not_ours_are_taken_for_none(found):
    assert sessions.of({"sessions": found, "device": ["A"]}) == [
        {"first_epoch": None, "device": ["A"]}
    ]
    not_json = {"first_epoch": 1, "device": float("nan")}
    assert sessions.of({"sessions": [not_json], **not_json}) == [{"first_epoch": None}]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("4,2", "4,2"),
        ("--xla_cpu_use_x --xla_level=3 --xla_fast=False", None),
        ("--xla_dump_to=/home/me/dump --xla_level=3", "--xla_dump_to=... --xla_level=3"),
        ("--xla_dump_to=dump", "--xla_dump_to=..."),
        ("--xla_dump_to='/home/me/my dump'", "--xla_dump_to=... ..."),
        ("/home/me/xla.flags", "..."),
    ],
)
def test_no_path_gets_into_the_configuration_with_a_variable(value, kept):
    assert session(1, variables={"XLA_FLAGS": value})["variables"] == {"XLA_FLAGS": kept or value}


def test_a_run_that_goes_on_elsewhere_keeps_what_it_was_begun_with_and_says_so(
    short_run, train_short, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(short_run.folder, folder)
    (folder / "metrics.json").unlink()  # all that is left to do is to export and to evaluate
    begun = short_run.config
    assert [s["first_epoch"] for s in begun["sessions"]] == [1]
    assert begun["sessions"][0]["resolved"] == begun["resolved"]
    here = machine.environment()
    monkeypatch.setattr(machine, "environment", lambda **_: {**here, "device": ["another"]})
    threads = {None: "1", "1": "2"}[os.environ.get("TF_NUM_INTRAOP_THREADS")]
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    capsys.readouterr()
    run = train_short(folder, "--resume")
    before, now = run.config["sessions"]
    assert before == begun["sessions"][0]
    assert (before["device"], before["resolved"]) == (begun["device"], begun["resolved"])
    assert (now["first_epoch"], now["device"]) == (3, ["another"])
    assert now["variables"]["TF_NUM_INTRAOP_THREADS"] == threads
    told = capsys.readouterr().out.splitlines()
    (line,) = (line for line in told if line.startswith("epochs 1 to 2 were trained on "))
    assert line.startswith(f"epochs 1 to 2 were trained on {here['device'][0]}, now on another; ")
    assert line.endswith(f", now {threads}: the last bits may differ")


@pytest.mark.parametrize("known", [True, False])
def test_another_framework_is_told_where_both_are_known(known):
    versions = {**HERE["versions"], **({"tensorflow": "2.21.0"} if known else {})}
    both = session(1, versions=versions), session(3, versions={**HERE["versions"], "jax": "0.11.2"})
    line = "epochs 1 to 2 were trained with tensorflow, now jax: the last bits may differ"
    assert list(sessions.changes(both)) == [line] * known

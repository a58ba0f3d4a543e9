"""The stages for a GPU: what was done is not done again, and what hangs is ended."""

import json
import pathlib
import time

import pytest

from benchmarks.gpu.stages import Stage, StepFailed


@pytest.fixture
def stage(make_kit):
    """Function that opens the stage of a kit with so many seconds, again and again."""

    def open_(seconds=60.0):
        return Stage(make_kit(), "check", seconds)

    return open_


def saved(tmp_path):
    return json.loads((tmp_path / "check.json").read_text())


def fails():
    raise StepFailed("no such kernel")


def test_a_step_that_is_done_is_not_done_again(stage):
    assert stage().step("build", lambda: {"bytes": 7}) == {"bytes": 7}
    assert stage().step("build", lambda: pytest.fail("done twice")) == {"bytes": 7}


def test_every_step_is_saved_before_the_next_begins(stage, tmp_path):
    first = stage()
    first.step("build", lambda: 1)
    first.step("check", lambda: first.step("looks", lambda: saved(tmp_path)["steps"]["build"]))
    looks = saved(tmp_path)["steps"]["looks"]["figures"]
    assert (looks["ok"], looks["figures"]) == (True, 1)
    assert saved(tmp_path)["finished"] is False


def test_a_step_that_failed_says_why_and_is_done_by_the_next_call(stage, tmp_path):
    first = stage()
    assert first.step("build", fails) is None
    first.finish()
    assert saved(tmp_path)["steps"]["build"]["why"] == "no such kernel"
    again = stage()
    assert not again.finished
    assert again.step("build", lambda: 2) == 2
    again.finish()
    assert stage().finished


def test_a_step_is_not_begun_when_less_time_is_left_than_it_needs(stage, tmp_path):
    assert stage(seconds=5.0).step("train", lambda: pytest.fail("begun"), least=30.0) is None
    assert saved(tmp_path)["steps"]["train"]["why"].startswith("not begun: ")


def test_a_command_says_what_it_printed_on_both_streams(stage):
    said = stage().run("python", "-c", "import sys; print('one'); sys.stderr.write('two')")
    assert sorted(said.split()) == ["one", "two"]


def test_a_command_that_fails_shows_its_status_and_its_last_words(stage):
    with pytest.raises(StepFailed, match=r"exit status 3\n(.|\n)*last words"):
        stage().run("python", "-c", "print('last words'); raise SystemExit(3)")


def test_a_command_that_is_not_there_fails_its_step_alone(stage):
    with pytest.raises(StepFailed, match="compute-sanitiser can't be run"):
        stage().run("compute-sanitiser")


def test_a_command_that_takes_too_long_is_ended_with_its_children(stage, tmp_path):
    child = tmp_path / "child"
    script = f"sleep 60 & echo $! > {child}; wait"
    with pytest.raises(StepFailed, match="none after 1 s"):
        stage().run("sh", "-c", script, seconds=1.0)
    state = pathlib.Path("/proc", child.read_text().strip(), "stat")
    for _ in range(100):  # until the system has taken notice
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child goes on")

"""The benchmarks' helper: rates on a clock of the test's own, turns, medians, tables, JSON.

All expected numbers are by hand.
"""

import json
import os
import time

import pytest

from benchmarks import timing

RATES = {"plain": [4.0, 1.0, 2.0], "fused": [9.0, 3.0, 3.0, 5.0]}  # medians 2 and (3 + 5) / 2


class Clock:
    """Stands in for `time`; only steps move it."""

    def __init__(self, step_seconds):
        self.now, self.calls, self.step_seconds = 0.0, 0, step_seconds

    def perf_counter(self):
        return self.now

    def step(self):
        self.now += self.step_seconds(self.calls)
        self.calls += 1


@pytest.fixture
def rate_on(monkeypatch):
    """Function of (clock, seconds) that measures the clock's step on that clock."""

    def measure(clock, seconds):
        monkeypatch.setattr(timing, "time", clock)
        return timing.rate_of(clock.step, seconds)

    return measure


@pytest.mark.parametrize(
    ("step_seconds", "seconds", "rate", "calls"),
    [
        (0.25, 1.0, 4.0, 2 + 4),
        (0.75, 1.0, 2 / 1.5, 2 + 2),  # the step under way at the end counts, with its time
        (5.0, 1.0, 0.2, 2 + 1),  # one step at least
        (5.0, 0.0, 0.2, 2 + 1),
    ],
)
def test_the_rate_is_steps_by_their_time(rate_on, step_seconds, seconds, rate, calls):
    clock = Clock(lambda call: step_seconds)
    assert rate_on(clock, seconds) == pytest.approx(rate, rel=1e-12)
    assert clock.calls == calls


def test_two_slow_steps_of_warming_up_do_not_count(rate_on):
    assert rate_on(Clock(lambda call: 100.0 if call < 2 else 0.5), 2.0) == 2.0


def test_milliseconds_are_those_of_one_step(monkeypatch):
    clock = Clock(lambda call: 0.25)
    monkeypatch.setattr(timing, "time", clock)
    assert timing.milliseconds_of(clock.step, seconds=1.0) == 250.0


def test_a_sleep_of_20_milliseconds_runs_at_no_more_than_50_per_second():
    rate = timing.rate_of(lambda: time.sleep(0.02), seconds=0.3)
    assert 0 < rate <= 50  # a busy machine may sleep longer, none sleeps shorter


def test_measurements_take_turns_in_their_order_and_keep_their_rates(capsys):
    calls = []

    def measure(name):
        calls.append(name)
        return float(len(calls))

    rates = timing.alternate(
        {name: lambda name=name: measure(name) for name in ("keras", "ours", "limit")}, 2
    )
    assert calls == ["keras", "ours", "limit", "keras", "ours", "limit"]
    assert rates == {"keras": [1.0, 4.0], "ours": [2.0, 5.0], "limit": [3.0, 6.0]}
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[:2]] == [
        "round 1/2  keras: 1.0",
        "round 1/2  ours: 2.0",
    ]


def test_turns_can_be_silent(capsys):
    assert timing.alternate({"ours": lambda: 1.0}, 2, verbose=False) == {"ours": [1.0, 1.0]}
    assert capsys.readouterr().out == ""


def test_a_report_has_medians_and_ratios_to_the_limit():
    report = timing.report("A question", RATES, "plain", "images/s")
    assert report["medians"] == {"plain": 2.0, "fused": 4.0}
    assert report["ratios"] == {"plain": 1.0, "fused": 2.0}
    other = timing.report("A question", RATES, "fused", "images/s")
    assert other["ratios"] == {"plain": 0.5, "fused": 1.0}


def test_a_report_prints_a_table_of_median_range_and_ratio(capsys):
    timing.report("A question", RATES, "plain", "images/s")
    title, header, *rows = capsys.readouterr().out.strip().splitlines()
    assert title == "A question"
    assert header.split() == ["images/s", "min", "-", "max", "ratio", "to", "plain"]
    assert [row.split() for row in rows] == [
        ["plain", "2.0", "1.0", "-", "4.0", "1.000"],
        ["fused", "4.0", "3.0", "-", "9.0", "2.000"],
    ]


def test_the_json_file_holds_the_whole_report(tmp_path):
    file = tmp_path / "report.json"
    report = timing.report("A question", RATES, "plain", "images/s", file)
    assert json.loads(file.read_text()) == report
    machine = report.pop("machine")
    assert f"{len(os.sched_getaffinity(0))} core" in machine
    assert report == {
        "title": "A question",
        "unit": "images/s",
        "limit": "plain",
        "rates": RATES,
        "medians": {"plain": 2.0, "fused": 4.0},
        "ratios": {"plain": 1.0, "fused": 2.0},
    }


def test_without_a_json_file_none_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    timing.report("A question", RATES, "plain", "images/s")
    assert list(tmp_path.iterdir()) == []

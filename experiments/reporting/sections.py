"""Finished runs grouped for a report, so that only runs that are alike are averaged."""

import dataclasses
import json

from experiments.runs import naming
from experiments.runs.figures import Statistic


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one method, loss and power that differ in their seeds alone.

    Attributes:
        label: What the method and its loss are called.
        power: Power of the class-balanced term.
        runs: List of `found.Run`.
    """

    label: str
    power: float
    runs: list

    def over_seeds(self, key):
        """`Statistic` of a figure of `metrics.json`; of no values where no run has it."""
        return Statistic.of(run.metrics[key] for run in self.runs)


@dataclasses.dataclass(frozen=True)
class Section:
    """Groups that can be compared: all their other settings are the same.

    Attributes:
        settings: What its runs share, name to value.
        different: The settings in which the sections of the report differ, name to value.
        groups: Dict of label to its groups, powers ascending.
        repeats: `(run, counted run)` of the same settings and seed.
    """

    settings: dict
    different: dict
    groups: dict
    repeats: list

    @property
    def config(self):
        """`config.json` of one of the runs, for what they share."""
        return next(iter(self.groups.values()))[0].runs[0].config


def sections(runs):
    """Groups finished runs: `(sections, settings that all of them share)`."""
    alike = {}
    for run, settings in zip(runs, _with_data(runs), strict=True):
        _, members = alike.setdefault(json.dumps(settings, sort_keys=True), (settings, []))
        members.append(run)
    settings = [of_section for of_section, _ in alike.values()]
    names = list(dict.fromkeys(name for s in settings for name in s))
    shared = {
        n: settings[0].get(n) for n in names if all(_same(s, settings[0], n) for s in settings)
    }
    made = [
        _section(of_section, members, [name for name in names if name not in shared])
        for of_section, members in alike.values()
    ]
    made.sort(
        key=lambda s: (s.settings["dataset"], s.settings["imbalance_factor"], str(s.different))
    )
    return made, shared


def _with_data(runs):
    """The settings of each run, with the data of an older one, which recorded none.

    They are those of the runs with the same classes and counts, where these are of one data set.
    """
    settings = [run.settings for run in runs]
    labels = {}
    for s in settings:
        if "data" in s:
            labels.setdefault(_classes(s), set()).add(s["data"])
    for s in settings:
        known = labels.get(_classes(s), ())
        yield {**s, "data": next(iter(known))} if "data" not in s and len(known) == 1 else s


def _classes(settings):
    return json.dumps([settings[name] for name in ("dataset", "class_names", "class_counts")])


def _same(settings, others, name):
    return name in settings and name in others and settings[name] == others[name]


def _section(settings, runs, different):
    groups, repeats, seen = {}, [], {}
    for run in sorted(runs, key=_order):
        key = (run.label, run.power, run.seed)
        if key in seen:
            repeats.append((run, seen[key]))
            continue
        seen[key] = run
        of_label = groups.setdefault(run.label, [])
        if not of_label or of_label[-1].power != run.power:
            of_label.append(Group(run.label, run.power, []))
        of_label[-1].runs.append(run)
    return Section(settings, {n: settings.get(n) for n in different}, groups, repeats)


def _order(run):
    copy = not naming.has_its_name(run.name, run.flags)  # copies come last
    return *run.rank, run.power, run.seed, copy, run.name

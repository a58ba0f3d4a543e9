"""Finished runs grouped for a report, so that only runs that are alike are averaged."""

import dataclasses
import json
import statistics

from experiments.runs import naming

_LOSSES = ("softmax", "sigmoid", "focal")


@dataclasses.dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation (None below two) of `n` values."""

    mean: float
    sd: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Method:
    """Runs of one loss and power that differ in their seeds alone."""

    loss: str
    power: float
    runs: list

    def over_seeds(self, key):
        """`Statistic` of a figure of `metrics.json`; None where no run has it."""
        return statistic(run.metrics[key] for run in self.runs)


@dataclasses.dataclass(frozen=True)
class Section:
    """Methods that can be compared: all their other settings are the same.

    Attributes:
        different: The settings in which the sections of the report differ, name to value.
        methods: Dict of loss to its methods, powers ascending.
        repeats: `(run, counted run)` of the same settings and seed.
    """

    settings: dict
    different: dict
    methods: dict
    repeats: list

    @property
    def config(self):
        """`config.json` of one of the runs, for what they share."""
        return next(iter(self.methods.values()))[0].runs[0].config


def statistic(values):
    """`Statistic` of the values that are not None; None where there is none."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Statistic(statistics.fmean(values), sd, len(values))


def sections(runs):
    """Groups finished runs: `(sections, settings that all of them share)`."""
    groups = {}
    for run, settings in zip(runs, _with_data(runs), strict=True):
        _, group = groups.setdefault(json.dumps(settings, sort_keys=True), (settings, []))
        group.append(run)
    settings = [of_group for of_group, _ in groups.values()]
    names = list(dict.fromkeys(name for s in settings for name in s))
    shared = {
        n: settings[0].get(n) for n in names if all(_same(s, settings[0], n) for s in settings)
    }
    made = [
        _section(of_group, group, [name for name in names if name not in shared])
        for of_group, group in groups.values()
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


def _section(settings, group, different):
    methods, repeats, seen = {}, [], {}
    for run in sorted(group, key=_order):
        key = (run.loss, run.flags["cb_power"], run.flags["seed"])
        if key in seen:
            repeats.append((run, seen[key]))
            continue
        seen[key] = run
        of_loss = methods.setdefault(run.loss, [])
        if not of_loss or of_loss[-1].power != run.flags["cb_power"]:
            of_loss.append(Method(run.loss, run.flags["cb_power"], []))
        of_loss[-1].runs.append(run)
    return Section(settings, {n: settings.get(n) for n in different}, methods, repeats)


def _order(run):
    flags = run.flags
    rank = _LOSSES.index(flags["loss"]) if flags["loss"] in _LOSSES else len(_LOSSES)
    gamma = flags["gamma"] if flags["loss"] == "focal" else 0
    method = rank, flags["loss"], gamma, flags["cb_power"], flags["seed"]
    return *method, not naming.has_its_name(run.name, flags), run.name  # copies come last

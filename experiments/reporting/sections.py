"""Finished runs grouped for a report, so that only runs that are alike are averaged."""

import dataclasses
import hashlib
import json
import pathlib

from experiments.runs import effects, figures, naming, recipe, tails
from experiments.runs.figures import Statistic


def name(label, power):
    """A label with its power, where the method has one."""
    return label if power is None else f"{label}, power {figures.setting(power)}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one method, loss and power that differ in their seeds alone.

    Attributes:
        label: What the method and its loss are called.
        power: Power of the class-balanced term; None of a method without one.
        runs: List of `found.Run`.
    """

    label: str
    power: float | None
    runs: list

    @property
    def name(self):
        """The label with the power, such as "softmax, power 1"."""
        return name(self.label, self.power)

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
    parameters, told, everywhere = effects.compared(runs)
    for run, settings in zip(runs, _with_first_stages(runs), strict=True):
        _, members = alike.setdefault(json.dumps(settings, sort_keys=True), (settings, []))
        members.append(run)
    settings = [of_section for of_section, _ in alike.values()]
    names = list(dict.fromkeys(name for s in settings for name in s))
    shared = {
        n: settings[0].get(n) for n in names if all(_same(s, settings[0], n) for s in settings)
    }
    made = [
        _section(of_section, members, [name for name in names if name not in shared], told)
        for of_section, members in alike.values()
    ]
    made.sort(key=_order_of_sections)
    shown = {n: value for n, value in shared.items() if not effects.is_off(n, value)}
    of_some = " where it has an effect"
    parameters = {
        n: value if n in everywhere else figures.setting(value) + of_some
        for n, value in parameters.items()
    }
    return made, {**shown, **parameters}


def _order_of_sections(section):
    """By data; second stages after what they begin with; the most runs first."""
    settings = section.settings
    runs = sum(len(group.runs) for of_label in section.groups.values() for group in of_label)
    second = recipe.first_stage(settings) is not None
    of_data = settings["dataset"], tails.factor(settings) or 0
    return *of_data, second, -runs, str(section.different)


def _with_first_stages(runs):
    """The settings of each run, the first stages of second ones without their seeds.

    A first stage is told by its settings where its run is at hand, and else by its name, which ends
    with the seed; one of neither kind is like no other.
    """
    settings, known = list(_with_data(runs)), {}
    for run, own in zip(runs, settings, strict=True):
        same = json.dumps([run.label, run.power, own], sort_keys=True)
        known.setdefault(pathlib.PurePosixPath(run.name).name, {})[same] = run
    for run, own in zip(runs, settings, strict=True):
        stage = recipe.first_stage(own)
        if stage is None:
            yield own
            continue
        found = {key: r for key, r in known.get(stage, {}).items() if r.seed == run.seed}
        if len(found) == 1:
            ((same, first),) = found.items()
            digest = hashlib.blake2b(same.encode(), digest_size=4).hexdigest()
            yield {**own, "first_stage": f"{name(first.label, first.power)} ({digest})"}
        elif stage.endswith(end := f"_seed{run.seed}"):
            yield {**own, "first_stage": stage.removesuffix(end)}
        else:
            yield own


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


def _section(settings, runs, different, told):
    groups, repeats, seen = {}, [], {}
    labels = {id(run): run.label_with(told) for run in runs}
    for run in sorted(runs, key=lambda run: _order(run, labels[id(run)])):
        label = labels[id(run)]
        key = (label, run.power, run.seed)
        if key in seen:
            repeats.append((run, seen[key]))
            continue
        seen[key] = run
        of_label = groups.setdefault(label, [])
        if not of_label or of_label[-1].power != run.power:
            of_label.append(Group(label, run.power, []))
        of_label[-1].runs.append(run)
    without = runs[0].without_effect
    own = {n: settings.get(n) for n in different if n in settings or n not in without}
    return Section(settings, own, groups, repeats)


def _order(run, label):
    copy = not naming.has_its_name(run.name, run.flags)  # copies come last
    power = (run.power is not None, run.power or 0)
    return *run.rank, label, power, run.seed, copy, run.name

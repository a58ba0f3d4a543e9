"""The page of a report: found runs, their sections and pictures, put into the template."""

import pathlib

from experiments import cli
from experiments.reporting import cards, dark, drawing, sections, verdict
from experiments.reporting import found as runs_below
from experiments.reporting.pictures import classes, powers
from experiments.reporting.pictures.series import by_size
from experiments.runs import afterwards, effects, figures, outputs, schema, sessions, tails
from experiments.sweeps.tables import DOCUMENTS

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_SHOT_RULES = {
    "thirds": "Many, medium and few shot are thirds of the classes by rank in training images, "
    "since no class has fewer than 20.",
    "moved_thirds": "Many, medium and few shot are thirds of the classes by rank in training "
    "images, since no class has fewer than 20; each cut is moved to the nearest change of the "
    "number of images.",
    "thresholds": "Many shot is above 100 training images, few shot below 20, medium between.",
}
# Columns of a section's table: heading, and whether the highest is the best.
_FIGURES = {
    "accuracy": ("accuracy", True),
    "balanced_accuracy": ("balanced", True),
    "many_accuracy": ("many shot", True),
    "medium_accuracy": ("medium shot", True),
    "few_accuracy": ("few shot", True),
    "ece": ("calibration error", False),
    "nll": ("NLL", False),
}
_ALWAYS = ("accuracy", "balanced_accuracy", *schema.SHOT_FIGURES)  # others where a run has them
_IN_TITLE = ("dataset", "long_tail", "imbalance_factor")
_MOST_SETTINGS = 3  # of a section, in the list of contents
_STAGE = "first_stage"  # says what a section is before other settings that tell as much
_WORDS = {
    "class_counts": "training images",
    "class_names": "classes",
    "shot_rule": "rule of the shot groups",
}

_LONG = tuple(_WORDS[name] for name in ("class_counts", "class_names"))


def write(runs_dir, output=None):
    """Writes the page.

    Args:
        runs_dir: Folder; every run at or below it is in the report.
        output: The HTML file; default `report.html` in `runs_dir`.

    Returns:
        `(path, found.Found)`.

    Raises:
        UserError: There is no run, a package is missing, or the file can't be written.
    """
    _check_extra()
    folder = cli.local_path("RUNS_DIR", runs_dir)
    if not folder.is_dir():
        raise cli.UserError(f"RUNS_DIR={runs_dir} is not a folder; give one that holds runs.")
    found = runs_below.find(folder)
    if not (found.runs or found.unfinished or found.damaged):
        raise cli.UserError(
            f"RUNS_DIR={runs_dir} holds no run; give the --output_dir of a run or a sweep, or a "
            "folder above it. Folders whose names begin with a dot are not searched."
        )
    path = folder / "report.html" if output is None else cli.local_path("--output", output)
    if problem := outputs.output_problem(path):
        raise cli.UserError(problem)
    # File names and JSON can hold halves of characters, which UTF-8 has no bytes for.
    outputs.write_output(path, _page(runs_dir, folder, found).encode(errors="replace"))
    return path, found


def _check_extra():
    try:
        import jinja2  # noqa: F401
        import markdown_it  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise cli.UserError(
            "the report needs matplotlib, jinja2 and markdown-it-py: pip install 'cb_keras[report]'"
        ) from error


def _page(runs_dir, folder, found):
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["accuracy"] = figures.accuracy
    environment.filters["setting"] = figures.setting
    made, shared = sections.sections(found.runs)
    titles, labels = _titles(made)
    styles = powers.styles(run.power for run in found.runs)
    return environment.get_template("report.html").render(
        folder=str(runs_dir),
        found=found,
        shared=_in_words(shared),
        sections=[
            {"title": title, "label": label, **_section(section, styles)}
            for section, title, label in zip(made, titles, labels, strict=True)
        ],
        colors={power: (s.color, dark.color(s.color)) for power, s in styles.items()},
        splits=" and ".join(sorted({runs_below.split_of(run.metrics) for run in found.runs})),
        documents=list(_documents(folder)),
    )


def _section(section, styles):
    config = section.config
    groups = [group for of_label in section.groups.values() for group in of_label]
    names = {id(run): group.name for group in groups for run in group.runs}
    varied = {label: of_label for label, of_label in section.groups.items() if len(of_label) > 1}
    sizes_differ = len(set(config["class_counts"])) > 1
    figures_shown = [
        key for key in _FIGURES if key in _ALWAYS or any(g.over_seeds(key).values for g in groups)
    ]
    drawn = cards.of_section(section, styles)
    decided, split, sentence = verdict.in_words(section)
    return {
        "chosen_on_the_test_set": decided == verdict.WON and split == "test",
        "sentence": sentence,
        "different": _in_words(section.different, but=("dataset", "imbalance_factor")),
        "shot_rule": _SHOT_RULES.get(config.get("shot_rule"), ""),
        "powers_compete": bool(varied),
        "has_powers": any(group.power is not None for group in groups),
        "columns": [_FIGURES[key][0] for key in figures_shown],
        "methods": [
            {
                "name": label,
                "rows": _rows(of_label, figures_shown),
                "classes": _classes(of_label),
                **pictures,
            }
            for (label, of_label), pictures in zip(
                section.groups.items(), drawn["methods"], strict=True
            )
        ],
        "by_power": drawn["by_power"],
        "weights": drawn["weights"],
        "all_share": _all_share(section, drawn["weights"]),
        "sizes_differ": sizes_differ,
        "many_names": not drawing.SVG.has_names(config),
        "many_classes": len(config["class_counts"]) > classes.MOST_POINTS,
        "largest_group": max(len(group.runs) for group in groups),
        "runs": [_run(run, group.name) for group in groups for run in group.runs]
        + [_run(run, names[id(of)], of.name) for run, of in section.repeats],
    }


def _titles(made):
    """Headings of the sections, and their names in the list of contents, which tell more.

    Each has the settings that it takes to tell it from the others, the fewest that are found by
    taking the one that most of them differ in, and so on.
    """
    titles = [_title(section) for section in made]
    words = [dict(_in_words(_known(section), but=_IN_TITLE)) for section in made]
    telling = [_telling(i, titles, words) for i in range(len(made))]
    headings = [
        ", ".join([title, *own.values()]) for title, own in zip(titles, telling, strict=True)
    ]
    labels = []
    for heading, own, of_section in zip(headings, telling, words, strict=True):
        others = [f"{n} {v}" for n, v in of_section.items() if n not in own and n not in _LONG]
        room = max(0, _MOST_SETTINGS - len(own))
        more = [f"{len(others) - room} more"] if len(others) > room else []
        labels.append(", ".join([heading, *others[:room], *more]))
    return headings, labels


def _known(section):
    """The settings in which sections differ, with their values, as far as they were recorded."""
    return {name: value for name, value in section.different.items() if value is not None}


def _telling(i, titles, words):
    """Those of the settings that tell one section from the others with its title, in words."""
    alike = [j for j, title in enumerate(titles) if title == titles[i] and j != i]
    told = {}
    while alike:
        differ = {n: [j for j in alike if words[j].get(n) != v] for n, v in words[i].items()}
        best = max(differ, key=lambda name: (len(differ[name]), name == _STAGE), default=None)
        if best is None or not differ[best]:
            break
        told[best] = f"{best} {words[i][best]}"
        alike = [j for j in alike if j not in differ[best]]
    return told


def _all_share(section, families):
    """Whether the class sizes, beta and the power alone make the weights of several losses."""
    first = next(iter(families), {"labels": (), "when": ""})
    methods_of = {effects.method_of(of[0].runs[0].flags) for of in section.groups.values()}
    measured = any(method.weigh is not None for method in methods_of)
    everyone = len(first["labels"]) == len(section.groups) > 1
    return everyone and not first["when"] and not measured


def _title(section):
    settings = section.settings
    unknown = "data" in section.different and "data" not in settings
    data = ", data not recorded" if unknown else ""
    return f"{settings['dataset']}, {tails.in_words(settings)}{data}"


def _rows(groups, keys):
    """A table row a power.

    Where powers compete, the best mean of a column is marked if it differs from each of the
    others by more than the spread over seeds.
    """
    columns = [[group.over_seeds(key) for key in keys] for group in groups]
    highest = [_FIGURES[key][1] for key in keys]
    best = [_best(*column) for column in zip(highest, zip(*columns, strict=True), strict=True)]
    return [
        {
            "power": group.power,
            "figures": [(s, s is top) for s, top in zip(statistics, best, strict=True)],
            "seeds": len(group.runs),
            "epochs": group.runs[0].metrics["epochs"],
        }
        for group, statistics in zip(groups, columns, strict=True)
    ]


def _best(highest, statistics):
    """The one whose mean is best by more than the spread; None where there is none."""
    known = [s for s in statistics if s.mean is not None]
    if len(known) < 2:
        return None
    top = (max if highest else min)(known, key=lambda s: s.mean)
    others = [s for s in known if s is not top]
    return top if all(figures.within_spread(top, s) is False for s in others) else None


def _classes(groups):
    """`(name, training images, statistic a power)` of every class, the largest first."""
    config = groups[0].runs[0].config
    return [
        (
            config["class_names"][c],
            config["class_counts"][c],
            [
                figures.Statistic.of(run.metrics["per_class_accuracy"][c] for run in group.runs)
                for group in groups
            ],
        )
        for c in by_size(config)
    ]


def _run(run, name, repeat_of=None):
    device, speed = run.config.get("device", "unknown device"), run.metrics["images_per_second"]
    machine = [
        "speed unknown" if speed is None else f"{speed:,.0f} images/s",
        *(map(str, device) if isinstance(device, list) else [str(device)]),
        ", ".join(f"{name} {version}" for name, version in run.config["versions"].items()),
    ]
    return {
        "title": f"{name}, seed {run.seed}",
        "accuracy": figures.accuracy(run.metrics["accuracy"]),
        "machine": " · ".join(filter(None, (*machine, *sessions.changes(sessions.of(run.config))))),
        "command": _command(run),
        "name": run.name,
        "repeat_of": repeat_of,
    }


def _command(run):
    """The command that made its figures."""
    if run.after:
        return afterwards.command(run.after, pathlib.PurePosixPath(run.name).parent)
    return str(run.config.get("command", "unknown"))


def _in_words(settings, but=()):
    """Pairs of a setting's name and its value as text, without the settings named in `but`."""
    return [
        (_WORDS.get(name, name), _classes_in_words(name, value) or figures.setting(value))
        for name, value in settings.items()
        if name not in but
    ]


def _classes_in_words(name, value):
    """Of the lists with an entry a class, their ends; None of other settings."""
    if name == "class_counts" and value is not None:
        return f"{sum(value):,} ({max(value):,} to {min(value):,} a class)"
    if name == "class_names" and value is not None:
        return f"{len(value)} ({value[0]} … {value[-1]})"
    return None


def _documents(folder):
    """`(file name, HTML)` of the documents that a sweep left in the folder."""
    import markupsafe

    from experiments.reporting import documents

    for name in DOCUMENTS:
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            yield name, markupsafe.Markup(documents.html(text, name))

"""Writes one HTML page about all runs below a folder: tables, charts, and how each was made.

python -m experiments.report RUNS_DIR [--output=FILE.html]

Links are followed; folders whose names begin with a dot are not searched.
"""

import pathlib

from experiments import cli
from experiments.reporting import report_charts, report_markdown, report_runs, report_sections
from experiments.runs import outputs, sessions
from experiments.runs.figures import counted

_TEMPLATES = pathlib.Path(__file__).parent / "reporting" / "templates"
_TABLES = ("table1.md", "table2.md", "power.md")
_SHOT_RULES = {
    "thirds": "Many, medium and few shot are thirds of the classes by rank in training images, "
    "since no class has fewer than 20.",
    "moved_thirds": "Many, medium and few shot are thirds of the classes by rank in training "
    "images, since no class has fewer than 20; each cut is moved to the nearest change of the "
    "number of images.",
    "thresholds": "Many shot is above 100 training images, few shot below 20, medium between.",
}
_IN_TITLE = ("dataset", "long_tail", "imbalance_factor", "class_counts", "class_names")
_WORDS = {
    "class_counts": "training images",
    "class_names": "classes",
    "shot_rule": "rule of the shot groups",
}


def write(runs_dir, output=None):
    """Writes the page.

    Args:
        runs_dir: Folder; every run at or below it is in the report.
        output: The HTML file; default `report.html` in `runs_dir`.

    Returns:
        `(path, report_runs.Found)`.

    Raises:
        UserError: There is no run, a package is missing, or the file can't be written.
    """
    _check_extra()
    folder = cli.local_path("RUNS_DIR", runs_dir)
    if not folder.is_dir():
        raise cli.UserError(f"RUNS_DIR={runs_dir} is no folder; give one that holds runs.")
    found = report_runs.find(folder)
    if not (found.runs or found.unfinished or found.damaged):
        raise cli.UserError(
            f"RUNS_DIR={runs_dir} holds no run; give the --output_dir of a run or a sweep, or a "
            "folder above it. Folders whose names begin with a dot are not searched."
        )
    path = folder / "report.html" if output is None else cli.local_path("--output", output)
    if problem := outputs.output_problem(path):
        raise cli.UserError(problem)
    # File names and JSON can hold halves of characters, which UTF-8 has no bytes for.
    page = _page(runs_dir, folder, found).encode(errors="replace")
    outputs.write_output(path, page)
    return path, found


def _check_extra():
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise cli.UserError(
            "the report needs matplotlib and jinja2: pip install 'cb_keras[report]'"
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
    environment.filters["accuracy"] = _accuracy
    sections, shared = report_sections.sections(found.runs)
    powers = [run.flags["cb_power"] for run in found.runs]
    styles = report_charts.power_styles(powers)
    return environment.get_template("report.html").render(
        folder=str(runs_dir),
        found=found,
        shared=_in_words(shared),
        sections=[_section(section, styles) for section in sections],
        colors={power: style.color for power, style in styles.items()},
        tables=list(_sweep_tables(folder)),
    )


def _section(section, styles):
    config = section.config
    all_methods = [method for methods in section.methods.values() for method in methods]
    varied = {loss: ms for loss, ms in section.methods.items() if len(ms) > 1}
    of_power = {method.power: method for method in all_methods}
    sizes_differ = len(set(config["class_counts"])) > 1
    told = (*_IN_TITLE, *(() if section.different.get("data") else ("data",)))
    others = _in_words(section.different, but=told)
    return {
        "title": _title(section),
        "label": ", ".join([_title(section), *(f"{n} {v}" for n, v in others)]),
        "different": _in_words(section.different, but=("dataset", "imbalance_factor")),
        "shot_rule": _SHOT_RULES.get(config.get("shot_rule"), ""),
        "powers_compete": bool(varied),
        "losses": [_loss(loss, ms, styles, sizes_differ) for loss, ms in section.methods.items()],
        "power_curves": list(_power_curves(varied)),
        "weights": _image(
            report_charts.class_weights([of_power[p] for p in sorted(of_power)], styles)
        )
        if sizes_differ
        else None,
        "many_classes": len(config["class_counts"]) > report_charts.MOST_POINTS,
        "largest_group": max(len(method.runs) for method in all_methods),
        "runs": [_run(run) for method in all_methods for run in method.runs]
        + [_run(run, of.name) for run, of in section.repeats],
    }


def _title(section):
    settings = section.settings
    unknown = "data" in section.different and "data" not in settings
    data = ", data not recorded" if unknown else ""
    if settings.get("long_tail") == "natural":
        return f"{settings['dataset']}, natural tail{data}"
    factor = settings["imbalance_factor"]
    tail = "balanced" if factor == 1 else f"imbalance factor {factor:g}"
    return f"{settings['dataset']}, {tail}{data}"


def _loss(loss, methods, styles, sizes_differ):
    config = methods[0].runs[0].config
    return {
        "name": loss,
        "rows": _rows(methods),
        "powers": [method.power for method in methods],
        "curves": _image(report_charts.learning_curves(methods, styles)),
        "class_accuracy": _image(report_charts.class_accuracy(methods, styles))
        if sizes_differ
        else None,
        "classes": [
            (name, count, [_class_statistic(method, c) for method in methods])
            for c, (name, count) in enumerate(
                zip(config["class_names"], config["class_counts"], strict=True)
            )
        ],
        "confusion": [
            (method.power, _image(report_charts.confusion_matrix(method))) for method in methods
        ],
    }


def _rows(methods):
    """A table row a power; `best` holds the largest mean of each column, where powers compete."""
    columns = [[m.over_seeds(key) for key in report_runs.FIGURES] for m in methods]
    best = [
        max((s.mean for s in column if s is not None), default=None)
        for column in zip(*columns, strict=True)
    ]
    return [
        {
            "power": method.power,
            "figures": [
                (s, len(methods) > 1 and s is not None and s.mean == top)
                for s, top in zip(statistics, best, strict=True)
            ],
            "seeds": len(method.runs),
            "epochs": method.runs[0].metrics["epochs"],
        }
        for method, statistics in zip(methods, columns, strict=True)
    ]


def _class_statistic(method, c):
    return report_sections.statistic(run.metrics["per_class_accuracy"][c] for run in method.runs)


def _power_curves(varied):
    for key, label in (
        ("balanced_accuracy", "balanced accuracy"),
        ("few_accuracy", "few-shot accuracy"),
    ):
        if any(m.over_seeds(key) for methods in varied.values() for m in methods):
            yield label, ", ".join(varied), _image(report_charts.power_curve(varied, key, label))


def _image(svg):
    return report_charts.data_uri(svg)


def _run(run, repeat_of=None):
    device, speed = run.config.get("device", "unknown device"), run.metrics["images_per_second"]
    accuracy = run.metrics["accuracy"]
    machine = [
        "speed unknown" if speed is None else f"{speed:,.0f} images/s",
        *(map(str, device) if isinstance(device, list) else [str(device)]),
        ", ".join(f"{name} {version}" for name, version in run.config["versions"].items()),
    ]
    return {
        "title": f"{run.loss}, power {run.flags['cb_power']:g}, seed {run.flags['seed']}",
        "accuracy": "unknown" if accuracy is None else _accuracy(accuracy),
        "machine": " · ".join(filter(None, (*machine, *sessions.changes(sessions.of(run.config))))),
        "command": str(run.config.get("command", "unknown")),
        "name": run.name,
        "repeat_of": repeat_of,
    }


def _in_words(settings, but=()):
    """Pairs of a setting's name and its value as text, without the settings named in `but`."""
    return [
        (_WORDS.get(name, name), _value(name, value))
        for name, value in settings.items()
        if name not in but
    ]


def _value(name, value):
    if value is None:
        return "not recorded"
    if isinstance(value, list):
        if name == "class_counts":
            return f"{sum(value):,} ({value[0]:,} … {value[-1]:,})"
        if name == "class_names":
            return f"{len(value)} ({value[0]} … {value[-1]})"
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _accuracy(value):
    """Four decimals without the leading zero, as the papers print accuracies."""
    return f"{value:.4f}".removeprefix("0")


def _sweep_tables(folder):
    """`(file name, blocks)` of the tables that a sweep left in the folder."""
    for name in _TABLES:
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            yield name, report_markdown.blocks(text)


def main(argv):
    """Writes the report that the arguments ask for and says what is in it."""
    from absl import flags

    path, found = write(argv[1], flags.FLAGS.output)
    left_out = [
        f"{len(entries)} {word}"
        for entries, word in ((found.unfinished, "unfinished"), (found.damaged, "damaged"))
        if entries
    ]
    also = f" ({', '.join(left_out)})" if left_out else ""
    print(f"{counted(len(found.runs), 'finished run')}{also}: written to {path}")


if __name__ == "__main__":
    from absl import flags

    # Not at import: other programs have an --output too.
    flags.DEFINE_string("output", None, "HTML file; default: report.html in RUNS_DIR.")
    cli.run(main, arguments=("RUNS_DIR",))

"""The runs that a report is about, found below a folder and checked."""

import contextlib
import dataclasses
import os
import pathlib

from experiments import methods
from experiments.runs import afterwards, data_record, directory, effects, files, schema

_FILES = (schema.CONFIG, schema.METRICS, schema.HISTORY)
_IN_LABEL = ("method", "loss", "sampler", "seed")  # and the parameters of methods
_CURVES = ("loss", "val_accuracy")


def split_of(metrics):
    """Which images the figures of a `metrics.json` are from: "test" where it does not say."""
    return str(metrics.get("split") or "test")


def validation_of(metrics, figure):
    """A figure of the images that were held out for validation; None where there were none."""
    validation = metrics.get("validation")
    return schema.number(validation.get(figure)) if isinstance(validation, dict) else None


def split_of_history(metrics):
    """Which images the figures of `history.csv` are from: those held out, where there are such."""
    return "validation" if metrics.get("validation") else split_of(metrics)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, or its network after something was done to it.

    Attributes:
        name: Its directory below the one that was searched; of the second kind that of its figures.
        config: Content of `config.json`, checked.
        metrics: Content of `metrics.json` or of those figures, checked.
        history: Rows of `history.csv`, dicts of numbers or None; none of the second kind.
    """

    name: str
    config: dict
    metrics: dict
    history: list

    @property
    def after(self):
        """What was done to its network after the training, `posthoc` of its figures, or None."""
        return self.metrics.get("posthoc")

    @property
    def flags(self):
        """The settings as they were given."""
        return self.config["flags"]

    @property
    def power(self):
        """Power of the class-balanced term; None of a method without one."""
        return effects.power(self.flags)

    @property
    def seed(self):
        """The seed."""
        return self.flags["seed"]

    @property
    def label(self):
        """What the method and its loss are called, such as "focal, gamma 1"."""
        return self.label_with()

    def label_with(self, names=()):
        """The label, which tells parameters of the method that are not at their defaults.

        Args:
            names: Those that are told in any case, as where others of the runs have other values.
        """
        try:
            label = methods.of(self.flags).label(self.flags)
        except ValueError:  # of another version: as it is called there
            own = [name] if (name := self._method) != methods.DEFAULT else []
            label = ", ".join([*own, self.flags["loss"]])
        done = [afterwards.label(self.after)] if self.after else []
        return ", ".join([label, *effects.in_label(self.flags, names), *done])

    @property
    def rank(self):
        """Where the label stands in a list: in the order of the methods, unknown ones last."""
        try:
            loss = methods.of(self.flags).loss(self.flags["loss"])
            values = tuple(self.flags[parameter.name] for parameter in loss.parameters)
        except ValueError:
            values = ()
        places = ((self._method, tuple(methods.METHODS)), (self.flags["loss"], methods.LOSSES))
        ranks = ((known.index(n) if n in known else len(known), n) for n, known in places)
        return *ranks, values

    @property
    def _method(self):
        return self.flags.get("method", methods.DEFAULT)

    @property
    def settings(self):
        """What else makes the run what it is, as it took effect: all but label, power and seed."""
        left_out = {*_IN_LABEL, *methods.PARAMETERS}
        found = effects.settings(self.config)
        settings = {name: value for name, value in found.items() if name not in left_out}
        data = self.config["data"]
        return {
            **settings,
            **({"data": data_record.label(data)} if data else {}),
            "train_epochs": self.metrics["epochs"],
            "class_counts": self.config["class_counts"],
            "class_names": self.config["class_names"],
            "shot_rule": self.config.get("shot_rule"),
        }

    @property
    def without_effect(self):
        """Names of the settings that have no effect on the run."""
        return effects.without(self.flags)


@dataclasses.dataclass(frozen=True)
class Found:
    """All run directories.

    Attributes:
        runs: List of `Run`: the finished, and those of them after something was done to them.
        unfinished: List of `(name, epochs, of)` of the others.
        damaged: List of `(name, reason)` of what can't be read.
    """

    runs: list
    unfinished: list
    damaged: list

    @property
    def trained(self):
        """The finished runs themselves."""
        return [run for run in self.runs if not run.after]


def find(root):
    """Reads every run directory at or below `root`, also those inside others and behind links.

    A run directory holds a `config.json` of ours, or two of a run's three files: a single one may
    be a copy, or another program's. Folders whose names begin with a dot are not searched.

    Args:
        root: An existing folder.

    Returns:
        `Found`, in the order of the names.
    """
    found = Found([], [], [])

    def unreadable(error):
        folder = pathlib.Path(error.filename)
        found.damaged.append((_name(folder, root), f"can't be read: {error.strerror}"))

    for folder, folders, names in _walk(root, unreadable):
        if _is_run(folder, names):
            folders[:] = [name for name in folders if name not in directory.OWN_FOLDERS]
            _add(found, folder, _name(folder, root))
    for entries in (found.unfinished, found.damaged):
        entries.sort()
    found.runs.sort(key=lambda run: run.name)
    return found


def _walk(root, unreadable):
    """As `os.walk`, into links too, but every folder once; hidden ones are left out.

    Links come last, so that a folder has the name that it has without them. A link to a folder
    that `root` is in leads back here, and is not followed.
    """
    seen = {str(folder) for folder in pathlib.Path(root).resolve().parents}
    starts = [root]
    for start in starts:
        for name, folders, names in os.walk(start, onerror=unreadable):
            folder, real = pathlib.Path(name), os.path.realpath(name)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield folder, folders, names
            starts += [folder / name for name in folders if (folder / name).is_symlink()]


def _is_run(folder, names):
    if len(set(names) & set(_FILES)) > 1:
        return True
    try:
        return schema.CONFIG in names and files.is_ours(folder / schema.CONFIG)
    except OSError:
        return True  # the report then says why it can't be read


def _name(folder, root):
    relative = pathlib.Path(folder).relative_to(root)
    return relative.as_posix() if relative.parts else pathlib.Path(root).absolute().name


def _add(found, folder, name):
    with _damages(found, folder, name):
        config = files.read_config(folder / schema.CONFIG)
        finished = (folder / schema.METRICS).exists()
        history = files.read_history(folder / schema.HISTORY, _CURVES, required=finished)
        if not finished:
            found.unfinished.append((name, len(history), config["flags"].get("train_epochs")))
            return
        metrics = files.read_metrics(folder / schema.METRICS, config)
        found.runs.append(Run(name, config, metrics, history))
        for path in sorted(folder.glob(f"{afterwards.PREFIX}*.json")):
            own = f"{name}/{path.name}"
            with _damages(found, path, own):
                found.runs.append(Run(own, config, files.read_posthoc(path, config), []))


@contextlib.contextmanager
def _damages(found, path, name):
    """Adds to the damaged ones what can't be read."""
    try:
        yield
    except files.DamagedError as error:
        found.damaged.append((name, str(error)))
    except OSError as error:
        file = pathlib.Path(error.filename or path).name
        found.damaged.append((name, f"{file} can't be read: {error.strerror}"))

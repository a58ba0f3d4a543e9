"""What all pictures share: matplotlib's settings, how they are saved, text that fits on an axis."""

import collections
import contextlib
import dataclasses
import functools
import io
import warnings

from experiments.reporting import dark
from experiments.runs import atomic

SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cb_keras",
    "font.size": 11,
    "text.color": "#30343b",
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#7a808a",
    "axes.labelcolor": "#30343b",
    "xtick.color": "#30343b",
    "ytick.color": "#30343b",
    "axes.grid": True,
    "grid.color": "#e7e9ed",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "lines.markersize": 4.5,
    "lines.linewidth": 1.4,
}
GREY = "#7a808a"


@dataclasses.dataclass(frozen=True)
class Medium:
    """What a picture is drawn for.

    Attributes:
        most_names: So many classes are called by their names on an axis; more have none.
        longest_name: Letters of a class name.
        own_font: Whether matplotlib's font draws the letters, not one of the reader's.
    """

    most_names: int
    longest_name: int
    own_font: bool

    def has_names(self, config):
        """Whether the classes are few enough for all of them to be called by name on an axis."""
        return len(config["class_names"]) <= self.most_names

    def class_names(self, config):
        """What each class is called, by id."""
        names = config["class_names"]
        boxes = set(lacking(names)) if self.own_font else ()
        names = [f"class {c}" if name in boxes else name for c, name in enumerate(names)]
        return class_labels(names, self.longest_name)


PNG = Medium(most_names=20, longest_name=24, own_font=True)
SVG = Medium(most_names=12, longest_name=11, own_font=False)


@contextlib.contextmanager
def own_settings(**settings):
    """Matplotlib with its defaults and these settings, whatever the user's matplotlibrc says.

    That file may ask for LaTeX, fonts or a layout that do not suit the picture, or are not there.
    What is drawn and what is saved has to be inside.
    """
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # `lacking` finds such names before they are drawn.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def figure(width, height, rows=1, columns=1, **of_panels):
    """A figure of this size in inches, and the list of its panels."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    return made, list(made.subplots(rows, columns, squeeze=False, **of_panels).flat)


def svg(draw, *arguments, **options):
    """The figure that `draw` returns, as SVG for a light or a dark page.

    The same arguments give the same bytes.
    """
    with own_settings(**SETTINGS):
        made = draw(*arguments, **options)
        picture = _saved(made, format="svg", metadata={"Date": None}, transparent=True)
    return dark.adaptive(picture.decode()).encode()


def write_png(path, draw, *arguments, **options):
    """Writes the figure that `draw` returns to a file, which appears whole."""
    with own_settings(**SETTINGS):
        atomic.write_atomically(path, png(draw(*arguments, **options)))


def png(made, dpi=120):
    """A figure as PNG; `own_settings` must be those that it was drawn under."""
    return _saved(made, format="png", dpi=dpi)


def _saved(made, **options):
    file = io.BytesIO()
    made.savefig(file, **options)
    return file.getvalue()


def label(text, length):
    """Text as matplotlib is to draw it: no formula, on one line and of `length` at most."""
    # Nor characters that XML forbids, or that turn the direction of what follows.
    text = "".join(c if c.isprintable() else "?" for c in text)
    if len(text) > length:
        text = text[: length - 1] + "…"
    return text.replace("$", r"\$")  # matplotlib reads "$0-$10" as a formula


def class_labels(names, length):
    """A label for each class, with its number in front where two would read alike."""
    labels = [label(name, length) for name in names]
    times = collections.Counter(labels)
    return [
        label(f"{c}: {name}", length) if times[text] > 1 else text
        for c, (name, text) in enumerate(zip(names, labels, strict=True))
    ]


def lacking(names):
    """Those of the names that hold characters which matplotlib's own font can't draw."""
    letters = _letters()
    return [name for name in names if any(c.isprintable() and ord(c) not in letters for c in name)]


@functools.cache
def _letters():
    from matplotlib import font_manager

    with own_settings():
        path = font_manager.findfont(font_manager.FontProperties())
        return frozenset(font_manager.get_font(path).get_charmap())

"""What all pictures share: matplotlib's settings, and names as text that fits on an axis."""

import collections
import contextlib
import functools
import warnings


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

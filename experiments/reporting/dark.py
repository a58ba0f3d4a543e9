"""Colours on a dark page: what is told apart on white is told apart there too."""

import colorsys
import re

# Text, axes and grids, which are not told apart by their colours.
_NEUTRAL = {
    "#000000": "#e7e9ed",
    "#30343b": "#d5d9df",
    "#7a808a": "#9aa3af",
    "#808080": "#9aa3af",
    "#e7e9ed": "#343a42",
}
_TAG = re.compile(r"<[^>]+>")
_COLOR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")


def color(light):
    """The colour, "#rrggbb", that stands for another on a dark page: as light as text, same hue."""
    if light in _NEUTRAL or light == "#ffffff":
        return _NEUTRAL.get(light, light)
    hue, lightness, saturation = colorsys.rgb_to_hls(
        *(int(light[i : i + 2], 16) / 255 for i in (1, 3, 5))
    )
    rgb = colorsys.hls_to_rgb(hue, max(lightness, 0.66), min(saturation, 0.8))
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def adaptive(svg):
    """An SVG of matplotlib's whose colours follow the reader's choice of a light or a dark page."""
    used = set()

    def variable(found):
        used.add(found[2])
        return f"{found[1]}: var(--{found[2][1:]})"

    # In the tags only: what is written between them is text, whatever it looks like.
    svg = _TAG.sub(lambda tag: _COLOR.sub(variable, tag[0]), svg)
    light = "".join(f"--{c[1:]}:{c};" for c in sorted(used))
    dark = "".join(f"--{c[1:]}:{color(c)};" for c in sorted(used))
    style = f":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"
    return svg.replace("</style>", f"{style}</style>", 1)

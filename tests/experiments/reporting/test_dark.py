"""Pictures on a dark page: every colour has one that is seen there, and text stays text."""

import re

import numpy as np
import pytest

from experiments.reporting import dark, drawing
from experiments.reporting.pictures import powers

CARD = "#1d2126"  # --card of the page where it is dark


def contrast(first, second):
    """Contrast ratio of two colours, by the definition of WCAG 2."""

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_and_lines_of_every_power_are_seen_on_a_dark_page():
    for color in ("#000000", "#30343b"):
        assert contrast(dark.color(color), CARD) > 7
    colors = {style.color for style in powers.styles(range(9)).values()} | {*powers._LABEL_COLORS}
    for color in colors:
        assert contrast(dark.color(color), CARD) > 4.5
    assert len({dark.color(color) for color in colors}) == len(colors)


def test_an_svg_follows_the_readers_choice_and_keeps_what_is_written():
    def draw():
        figure, (axes,) = drawing.figure(3, 3)
        axes.set_title('style="fill: #123456"')
        axes.plot([0, 1], color="#b02a3c")
        return figure

    picture = drawing.svg(draw).decode()
    assert 'style="fill: #123456"' in picture.replace("&quot;", '"')
    assert "stroke: var(--b02a3c)" in picture
    light, night = re.search(
        r":root\{(.*?)\}@media \(prefers-color-scheme: dark\)\{:root\{(.*?)\}\}", picture
    ).groups()
    assert "--b02a3c:#b02a3c;" in light
    assert f"--b02a3c:{dark.color('#b02a3c')};" in night
    used = set(re.findall(r"var\(--(\w+)\)", picture))
    assert used == set(re.findall(r"--(\w+):", light)) == set(re.findall(r"--(\w+):", night))
    assert not re.search(r"(fill|stroke): #(?!123456)", picture)


@pytest.mark.parametrize("color", ["#ffffff"])
def test_white_on_a_filled_cell_stays_white(color):
    assert dark.color(color) == color

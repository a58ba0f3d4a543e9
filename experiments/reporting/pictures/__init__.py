"""Pictures of finished runs: each drawn by one function, saved as PNG or SVG."""

from experiments.reporting.pictures.of_run import (
    draw_all,
    draw_comparison,
    draw_missing,
    rehearse,
    remove,
)
from experiments.reporting.pictures.of_runs import draw_curves

__all__ = [
    "draw_all",
    "draw_comparison",
    "draw_curves",
    "draw_missing",
    "rehearse",
    "remove",
]

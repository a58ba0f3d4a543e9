"""The page of a report in a real browser: nothing runs, nothing is loaded, nothing overflows."""

import html
import json
import re
import shutil
import subprocess

import pytest

from experiments.reporting import page as report_page
from tests import HANG_SECONDS
from tests.experiments.report_folders import hostile_runs, write_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
WIDTHS = (320, 390, 1280)
# The page itself runs no script, so another one holds it in frames and looks into them.
WRAPPER = """<!DOCTYPE html><title>wrapper</title>{frames}<pre id="seen"></pre><script>
addEventListener("load", () => {{
  document.getElementById("seen").textContent = JSON.stringify(
    [...document.querySelectorAll("iframe")].map((frame) => {{
      const page = frame.contentDocument;
      page.querySelectorAll("details").forEach((details) => {{ details.open = true; }});
      return {{
        title: page.title,
        scripts: page.scripts.length,
        handlers: page.querySelectorAll("[onerror], [onload], [onclick]").length,
        width: page.documentElement.clientWidth,
        needed: page.documentElement.scrollWidth,
        images: [...page.images].map((image) => image.naturalWidth),
        loaded: frame.contentWindow.performance.getEntriesByType("resource")
          .map((entry) => entry.name.slice(0, 40)),
      }};
    }}));
}});
</script>"""


def dumped(page, folder):
    """The page's DOM after loading, as the browser writes it out."""
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={folder}"),
        *("--virtual-time-budget=10000", "--dump-dom", page.as_uri()),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=HANG_SECONDS, check=True
    ).stdout


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report on hostile runs, on wide tables and on names without a place to break."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    folder = tmp_path_factory.mktemp("browser")
    hostile_runs(folder / "runs")
    for power in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2):
        for seed in (0, 1):
            write_run(
                folder / "runs" / f"{'a' * 150}{power}{seed}",
                loss="focal",
                cb_power=power,
                seed=seed,
                config={
                    "command": "python -m " + "x" * 300,
                    "class_names": ["c" * 90, "猫" * 60, "emu"],
                },
            )
    (folder / "runs" / "table1.md").write_text(f"# {'h' * 200}\n\n| {' | '.join('b' * 40)} |\n")
    return report_page.write(folder / "runs", folder / "page.html")[0]


@pytest.fixture(scope="module")
def frames(page, tmp_path_factory):
    """What the wrapper sees of the page, by width."""
    folder = tmp_path_factory.mktemp("wrapper")
    source = html.escape(page.read_text())
    wrapper = folder / "wrapper.html"
    tags = [
        f'<iframe style="width:{w}px" frameborder="0" srcdoc="{source}"></iframe>' for w in WIDTHS
    ]
    wrapper.write_text(WRAPPER.format(frames="".join(tags)))
    dom = dumped(wrapper, folder / "profile")
    (seen,) = re.findall(r'<pre id="seen">(.+)</pre>', dom)
    return dict(zip(WIDTHS, json.loads(html.unescape(seen)), strict=True))


@pytest.mark.slow
def test_nothing_that_a_run_directory_holds_is_executed(page, frames, tmp_path):
    title = re.search("<title>(.*?)</title>", page.read_text())[1]
    dom = dumped(page, tmp_path / "profile")
    assert re.search("<title>(.*?)</title>", dom)[1] == title
    assert "<script" not in dom
    for frame in frames.values():
        assert (frame["title"], frame["scripts"], frame["handlers"]) == (title, 0, 0)


@pytest.mark.slow
def test_the_browser_loads_nothing_and_can_draw_every_chart(frames):
    for frame in frames.values():
        assert not [name for name in frame["loaded"] if not name.startswith("data:image/svg+xml")]
        assert len(frame["images"]) > 10
        assert min(frame["images"]) > 100


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_does_not_scroll_sideways(frames, width):
    assert frames[width]["width"] > width - 20  # a scroll bar may take some
    assert frames[width]["needed"] <= frames[width]["width"]

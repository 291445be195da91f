"""The reports in a real browser: no error, every picture, and no wider than the window."""

import json
import shutil
import subprocess

import pytest
from PIL import Image
from test_search_report import BEST, NOISE, OTHER, result_of

from crnas_d2.report import Page, add_search
from crnas_d2.runs.run import Origin

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# What the page measures itself; it is written into the document, which is dumped.
_PROBE = """
<script>
window.problems = [];
window.addEventListener("error", event => window.problems.push(String(event.message)), true);
window.addEventListener("load", () => {
  const images = [...document.images];
  document.querySelector("input.zoom").checked = true;
  const enlarged = images[0].getBoundingClientRect();
  document.querySelector("input.zoom").checked = false;
  const answer = document.createElement("pre");
  answer.id = "answer";
  answer.textContent = JSON.stringify({
    problems: window.problems,
    pictures: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).length,
    window: document.documentElement.clientWidth,
    page: document.documentElement.scrollWidth,
    enlarged: enlarged.width,
    drawn: Math.min(...[...document.querySelectorAll(".drawn img")].map(
      image => image.getBoundingClientRect().width)),
    smallest: Math.min(...[...document.querySelectorAll("p, td, dd, figcaption")].map(
      element => parseFloat(getComputedStyle(element).fontSize))),
  });
  document.body.append(answer);
});
</script>
"""


def browse(*arguments):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture
def report(tmp_path):
    page = Page("A search")
    scope = "backbone body, 256-512-1024-2048 channels, 64x64"
    origin = Origin(["/a/folder/with/a/long/name" * 5], [1], "evaluations", 60.0)
    add_search(page, result_of(scope=scope, noise=NOISE, baseline=OTHER, origin=origin))
    page.table([f"column {n}" for n in range(20)], [list(range(20))])  # wider than any phone
    page.pictures({"objects": Image.new("RGB", (900, 600)), "found": Image.new("RGB", (90, 60))})
    page.write(tmp_path / "report.html")
    return tmp_path / "report.html"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [500, 1280])
def test_a_report_fits_the_window_with_all_its_pictures(report, tmp_path, width):
    text = report.read_text()
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("<style>", f"{_PROBE}<style>", 1))
    dumped = browse(f"--window-size={width},900", "--dump-dom", f"file://{probed}").stdout
    start = dumped.index('<pre id="answer">') + len('<pre id="answer">')
    found = json.loads(dumped[start : dumped.index("</pre>", start)])
    assert found["problems"] == []
    assert found["pictures"] == text.count("<img") >= 6 and found["broken"] == 0
    assert width - 20 <= found["window"] <= width  # a scroll bar takes some of it
    assert found["page"] <= found["window"]
    assert found["enlarged"] >= found["window"] and found["smallest"] >= 14
    assert found["drawn"] >= 600  # narrower, their text could not be read; they scroll instead

    picture = tmp_path / "report.png"
    log = browse(f"--window-size={width},3000", f"--screenshot={picture}", f"file://{report}")
    assert "CONSOLE" not in log.stderr
    colours = Image.open(picture).convert("RGB").getcolors(2**20)
    assert len(colours) > 100  # not blank
    assert str(BEST) in dumped

"""The page of a report in a real browser: it does not scroll sideways, whatever the names and the width."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from compress.report import write_report
from tests import report_cases

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no program chromium or google-chrome"),
]

WIDTHS = (390, 1440)
FRAME = '<iframe src="{case}/report.html" style="border:0;width:{width}px;height:800px"></iframe>'
MEASURE = """<pre id="found"></pre><script>
window.onload = () => {
  const measure = (frame) => {
    const all = frame.contentDocument, width = frame.clientWidth;
    const clipped = (one) => one && (["auto", "hidden"].includes(all.defaultView.getComputedStyle(one).overflowX)
      || clipped(one.parentElement));
    const outside = [...all.querySelectorAll("main *")].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.width && (box.right > width + 1 || box.left < -1) && !clipped(one.parentElement);
    });
    return [all.documentElement.scrollWidth, outside.map((one) => one.outerHTML.slice(0, 80))];
  };
  found.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
};
</script>"""
"""Prints the width of each page in a frame, and the elements that lie outside it; a window itself is never narrower
than 500 pixels."""


def test_nothing_lies_outside_the_page(tmp_path: Path) -> None:
    cases = ("hostile_names", "several_devices")
    for case in cases:
        write_report(getattr(report_cases, case)(), tmp_path / case)
    frames = (FRAME.format(case=case, width=width) for case in cases for width in WIDTHS)
    (tmp_path / "frames.html").write_text("<!doctype html>" + "".join(frames) + MEASURE)
    command = [
        *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"),
        *("--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1000"),
        *("--virtual-time-budget=3000", "--dump-dom", str(tmp_path / "frames.html")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    text = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    assert json.loads(html.unescape(text)) == [[width, []] for _ in cases for width in WIDTHS]

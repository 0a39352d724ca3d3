"""Make the pictures of the README and of docs/pages.md from the real pages: a server, a real run, Chromium.

    python scripts/screenshots.py --out docs/images

Needs Debian's chromium and the extras serve, report and minilm; takes a few minutes, as it trains a model.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VIEW = {"width": 1280, "height": 800}
PATIENCE_SECONDS = 1200.0


@contextlib.contextmanager
def served(home: Path) -> Iterator[tuple[str, str]]:
    """The address and the key of a server on a free port."""
    log = home.parent / "serve.txt"
    with log.open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "luthier", "serve", "--home", str(home), "--port", "0", "--workers", "1"],
            stdout=said, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        yield _told(log, r"listens on (\S+) "), _told(log, r"OPENAI_API_KEY=(lu-\S+)")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _told(log: Path, pattern: str) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = re.search(pattern, log.read_text())
        if found is not None:
            return found[1]
        time.sleep(0.2)
    raise SystemExit("the server did not start")


def photograph(browser: Any, address: str, key: str, out: Path) -> None:
    """Go from the empty home to a compared, tried model, and keep a picture of each page."""
    light = browser.new_context(viewport=VIEW, color_scheme="light")
    dark = browser.new_context(viewport=VIEW, color_scheme="dark")
    for context in (light, dark):
        answer = context.request.post(f"{address}/session", data={"key": key})
        assert answer.ok, answer.text()
    page = light.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)

    def keep(name: str, tab: Any = page) -> None:
        tab.wait_for_timeout(1500)
        tab.screenshot(path=str(out / f"{name}.png"))

    page.goto(address + "/")
    page.wait_for_selector(".choice-link")
    keep("pages-first")
    page.click(".choice-link")
    page.wait_for_selector("#start:not([disabled])")
    keep("pages-new-run")
    page.click("#start")
    page.wait_for_url("**/runs/*")
    page.wait_for_selector("[data-drawn]")
    keep("pages-run-live")
    page.wait_for_selector("#report .verdict")
    run = page.url
    keep("pages-run")
    other = dark.new_page()
    other.set_default_timeout(PATIENCE_SECONDS * 1000)
    other.goto(run)
    other.wait_for_selector("[data-drawn]")
    keep("pages-run-dark", other)
    page.click("text=Try it")
    page.wait_for_selector(".model-column select")
    page.fill("#text", "My parcel came, but the blue mug is in pieces.")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-label")
    keep("pages-try")
    page.goto(address + "/data")
    page.click("table a")
    page.wait_for_selector("table tbody tr")
    page.click("text=Labels and lengths")
    page.wait_for_selector(".histogram")
    keep("pages-data")
    page.goto(address + "/models")
    page.wait_for_selector("text=Deploy")
    keep("pages-models")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder) / "home") as (address, key),
        sync_playwright() as tool,
    ):
        browser = tool.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        photograph(browser, address, key, given.out)
        browser.close()


if __name__ == "__main__":
    main()

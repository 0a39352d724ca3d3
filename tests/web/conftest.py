"""Fixtures of the tests of the pages: one Chromium for each file, a fresh context for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, WIDE, Visit
from site_in_thread import Site

for _room in ("service", "models", "train"):  # live, tiny_causal and toy, for the files of journeys as well
    sys.path.append(str(Path(__file__).resolve().parents[1] / _room))

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, or a skip that says why there is none. Of one file only: as long as Playwright is started, an event
    loop runs in this thread, and tests of other files could start none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the pages' tests need playwright")
    if not Path(CHROMIUM).is_file():
        pytest.skip("the pages' tests need Debian's chromium (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of this file's tests."""
    running = Site(tmp_path_factory.mktemp("site")).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def toy_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a server that is not started yet, with a tiny base that reads: toy."""
    from toy import save_toy_base

    home = tmp_path_factory.mktemp("journeys") / "home"
    (home / "models").mkdir(parents=True)
    home.chmod(0o700)
    save_toy_base(home / "models" / "toy")
    return home


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """``open_page(base_url, key, scheme="dark", viewport=NARROW)``: a tab of a browser that is logged in."""
    contexts = []

    def opened(base_url: str, key: str | None, *, scheme: str = "light", viewport: dict[str, int] = WIDE) -> Visit:
        context = chromium.new_context(color_scheme=scheme, viewport=viewport, accept_downloads=True)
        contexts.append(context)
        if key is not None:
            answer = context.request.post(f"{base_url}/session", data={"key": key})
            assert answer.ok, answer.text()
        return Visit(context.new_page(), base_url)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def visit(site: Site, open_page: Open) -> Visit:
    """A tab on `site`, logged in."""
    return open_page(site.base_url, site.secret)


@pytest.fixture
def tab(served: Any, open_page: Open) -> Visit:
    """A tab on the real server `served` of this file (`live.Live`), logged in."""
    return open_page(served.base_url, served.key)

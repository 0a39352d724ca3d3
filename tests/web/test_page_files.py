"""What is served to a browser: headers, sizes, caching, and what our modules must never do."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from site_in_thread import Site
from starlette.testclient import TestClient

import luthier.web
from luthier.web import assets
from luthier.web.pages import PAGES, SECTIONS

STATIC = Path(luthier.web.__file__).parent / "static"
TEMPLATES = Path(luthier.web.__file__).parent / "templates"
MOST_BYTES = 200_000
BANNED = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc=|setAttribute\(.style"
    r"|DOMParser|createContextualFragment|javascript:"
)
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style|https?://(?!www\.w3\.org/)")
IMPORT = re.compile(r'^import .*?"(\./|\.\./)([\w./]+)";$', re.MULTILINE)


@pytest.fixture
def http(site: Site) -> TestClient:
    """A client that is logged in by a key."""
    return TestClient(site.app, base_url=site.base_url, headers={"authorization": f"Bearer {site.secret}"})


def modules_of(name: str) -> set[str]:
    """A module and all that it imports, by path below static."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        here = (STATIC / one).parent
        for dots, rest in IMPORT.findall((STATIC / one).read_text()):
            target = (here / (dots + rest)).resolve()
            assert target.is_file(), f"{one} imports {dots}{rest}, which is not there"
            waiting.append(str(target.relative_to(STATIC.resolve())))
    return found


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.js")), ids=lambda path: path.name)
def test_no_module_writes_html_or_runs_text(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if BANNED.search(line)] == []


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_no_template_has_a_script_or_style_inline(path: Path) -> None:
    assert INLINE.findall(path.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_of_ours_is_small(page: object) -> None:
    name = page.name  # type: ignore[attr-defined]
    ours = {*modules_of(f"js/pages/{name}.js"), "css/base.css", "css/parts.css", "css/print.css", "js/theme.js"}
    html = (TEMPLATES / "base.html").stat().st_size + (TEMPLATES / "pages" / f"{name}.html").stat().st_size
    assert sum((STATIC / one).stat().st_size for one in ours) + html < MOST_BYTES


def test_every_section_is_a_page() -> None:
    assert {address for _, address, _ in SECTIONS} <= {page.path for page in PAGES}
    assert {page.section for page in PAGES} - {"new"} == {section for section, _, _ in SECTIONS}


def test_files_are_kept_for_a_year_and_packed(site: Site, http: TestClient) -> None:
    address = f"/static/{assets.version()}/css/base.css"
    answer = http.get(address, headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == (STATIC / "css" / "base.css").read_text()
    again = http.get(address, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = http.get(address, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "name",
    ["../pages.py", "..%2fpages.py", "js/%2e%2e/%2e%2e/pages.py", "js", "", "css/base.css%00", "templates/base.html"],
)
def test_nothing_else_is_served(http: TestClient, name: str) -> None:
    assert http.get(f"/static/{assets.version()}/{name}").status_code in (400, 404)
    assert http.get("/static/0000000000000000/css/base.css").status_code == 404


def test_plotly_comes_from_its_wheel(http: TestClient) -> None:
    answer = http.get(f"/static/{assets.version()}/plotly.js")
    assert answer.headers["content-encoding"] == "gzip"
    assert b"plotly" in answer.content[:200]
    plotly = assets.plotly()
    assert plotly is not None
    assert len(gzip.decompress(plotly.packed)) == len(plotly.content)


def test_pages_need_a_login_and_hold_the_policy(site: Site, http: TestClient) -> None:
    anybody = TestClient(site.app, base_url=site.base_url, follow_redirects=False)
    for page in PAGES:
        path = re.sub(r"\{\w+\}", "x", page.path)
        away = anybody.get(path + "?a=1&b=//evil")
        assert away.status_code == 303
        assert away.headers["location"].startswith("/login?next=%2F")
        answer = http.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"


def test_the_api_is_as_it_was_for_programs(site: Site) -> None:
    anybody = TestClient(site.app, base_url=site.base_url, follow_redirects=False)
    assert anybody.get("/luthier/v1/jobs").status_code == 401
    assert anybody.get("/nothing").status_code == 401
    assert "html" not in anybody.get("/v1/models").headers["content-type"]

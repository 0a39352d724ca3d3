"""The pages: one row of a table each. A page's HTML holds no data of the user's; its module asks the API for them.

To add a page: a row here, its template below ``templates/pages``, its module below ``static/js/pages``, and a test
(docs/design/0007-pages.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from luthier.server.auth import open_to_all
from luthier.web import assets
from luthier.web.policy import PAGE_HEADERS
from luthier.web.visitor import visitor_of

if TYPE_CHECKING:
    from jinja2 import Environment

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        path: its address; parts in braces are read by its module from the browser's address.
        name: of its template (``pages/<name>.html``) and its module (``pages/<name>.js``).
        title: of the browser's tab.
        section: the entry of the navigation that is marked as current.
        charts: it may draw charts, so the browser is told where Plotly is.
    """

    path: str
    name: str
    title: str
    section: str
    charts: bool = False


PAGES = (
    Page("/", "home", "Home", "home"),
    Page("/data", "data", "Data", "data"),
    Page("/data/{dataset}", "dataset", "Data set", "data"),
    Page("/runs", "runs", "Runs", "runs"),
    Page("/runs/{run}", "run", "Run", "runs", charts=True),
    Page("/new", "new", "New run", "new"),
    Page("/compare", "compare", "Compare", "compare", charts=True),
    Page("/autos", "autos", "Automatic runs", "autos"),
    Page("/autos/{auto}", "auto", "Automatic run", "autos", charts=True),
    Page("/searches", "searches", "Searches", "searches"),
    Page("/searches/{search}", "search", "Search", "searches", charts=True),
    Page("/decisions", "decisions", "Decide", "decisions"),
    Page("/decisions/{decision}", "decision", "Decision", "decisions", charts=True),
    Page("/try", "try", "Try", "try"),
    Page("/models", "models", "Models and endpoints", "models", charts=True),
    Page("/settings", "settings", "Settings", "settings"),
)

SECTIONS = (
    ("home", "/", "Home"),
    ("data", "/data", "Data"),
    ("runs", "/runs", "Runs"),
    ("compare", "/compare", "Compare"),
    ("autos", "/autos", "Auto"),
    ("searches", "/searches", "Search"),
    ("decisions", "/decisions", "Decide"),
    ("try", "/try", "Try"),
    ("models", "/models", "Models"),
    ("settings", "/settings", "Settings"),
)
"""The navigation: (section, address, words)."""


def _handler(page: Page) -> Callable[[Request], Awaitable[Response]]:
    @open_to_all
    async def show(request: Request) -> Response:
        visitor = visitor_of(request)
        if visitor is None:
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(asked, safe='')}", 303, headers=PAGE_HEADERS)
        template = environment().get_template(f"pages/{page.name}.html")
        known = {"csrf": visitor.csrf, "role": visitor.role, "sections": SECTIONS}
        text = template.render(page=page, **known, **_common(page.charts))
        return HTMLResponse(text, headers=PAGE_HEADERS)

    show.__name__ = f"page_{page.name}"
    return show


@router.get("/login")
@open_to_all
async def login(request: Request) -> Response:
    """Where a key becomes a session."""
    page = Page("/login", "login", "Log in", "")
    text = environment().get_template("pages/login.html").render(page=page, csrf="", **_common(False))
    return HTMLResponse(text, headers=PAGE_HEADERS)


for _page in PAGES:
    router.add_api_route(_page.path, _handler(_page), methods=["GET"])


@cache
def environment() -> Environment:
    """Jinja2 over the templates of this room; escapes everything, and an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("luthier.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _common(charts: bool) -> dict[str, object]:
    static = f"/static/{assets.version()}"
    return {
        "static": static,
        "plotly": f"{static}/{assets.PLOTLY}" if charts and assets.plotly_version() else "",
        "plotly_styles": " ".join(assets.plotly_styles()) if charts else "",
    }

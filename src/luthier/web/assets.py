"""The files of the pages: read once, compressed once, under an address that holds the hash of all of them.

All modules, styles and icons share one hash, so that modules import each other by relative paths. What stands under
the current hash never changes, and browsers keep it for a year.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
PLOTLY = "plotly.js"
"""The name of Plotly's script, which comes from its wheel (the extra `report`)."""
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1b5eaf"/>'
    '<path d="M7 22c5 0 5-12 9-12s4 12 9 12" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round"/>'
    '<circle cx="16" cy="10" r="2.4" fill="#fff"/></svg>'
)
_LEVEL = 9


@dataclass(frozen=True)
class Asset:
    """One file. `packed` is the same by gzip."""

    content: bytes
    media_type: str

    @cached_property
    def packed(self) -> bytes:
        """Compressed once, when the first browser asks."""
        return gzip.compress(self.content, _LEVEL, mtime=0)

    @cached_property
    def tag(self) -> str:
        """The ETag."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


@cache
def assets() -> dict[str, Asset]:
    """All files of our own by their path below ``static``."""
    found = {"icon.svg": Asset(ICON.encode(), TYPES[".svg"])}
    for name, place in _walk(resources.files("luthier.web").joinpath("static"), ""):
        kind = TYPES.get(name[name.rfind(".") :])
        if kind is not None:
            found[name] = Asset(place.read_bytes(), kind)
    return found


@cache
def version() -> str:
    """The hash of all files of our own, and of which Plotly stands beside them."""
    total = hashlib.sha256(plotly_version().encode())
    for name, asset in sorted(assets().items()):
        total.update(f"{name}\0{asset.tag}\0".encode())
    return total.hexdigest()[:16]


@cache
def plotly() -> Asset | None:
    """Plotly's script; None where its wheel is not installed."""
    if find_spec("plotly") is None:
        return None
    script = resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    return Asset(script, TYPES[".js"])


@cache
def plotly_version() -> str:
    """The version of Plotly's Python package; "" where it is not installed."""
    if find_spec("plotly") is None:
        return ""
    from importlib.metadata import version as installed

    return installed("plotly")


@cache
def plotly_styles() -> tuple[str, ...]:
    """Ids of the style elements that Plotly's script writes into a page unless they are there: our policy forbids
    them, and its maps, which need them, are not drawn here."""
    script = plotly()
    if script is None:
        return ()
    return tuple(sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', script.content.decode()))))


def find(name: str) -> Asset | None:
    """The file called `name`."""
    return plotly() if name == PLOTLY else assets().get(name)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _walk(item, f"{prefix}{item.name}/")
        else:
            yield prefix + item.name, item

"""The page of a search: the verdict first, then pictures, then every trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.page import render

Report = Mapping[str, Any]


def page_of(report: Report) -> str:
    """HTML that works offline, of a search.json value."""
    return render(f"Search: {report['task']}", report["verdict"], [])

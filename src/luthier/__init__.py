"""Luthier checks your data, fine-tunes a model on it, and proves that the model got better.

    import luthier

    run = luthier.train(model="minilm", data="reviews.csv", task="classify")
    luthier.load(run.path).predict(["what a film"])

Names are loaded on first use, so that `import luthier` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.api import check, compare_runs, evaluate, export, load, resume, runs, train
    from luthier.automatic import auto
    from luthier.core.recipe import Recipe
    from luthier.deciding import decide
    from luthier.forecasting import forecast
    from luthier.label_triage import apply_review, triage
    from luthier.learning_curve import curve
    from luthier.searching import search

__version__ = "0.1.0"

__all__ = [
    "Recipe", "__version__", "apply_review", "auto", "check", "compare_runs", "curve", "decide", "evaluate", "export",
    "forecast", "load", "resume", "runs", "search", "train", "triage",
]  # fmt: skip

_HOMES = {
    "apply_review": "luthier.label_triage",
    "auto": "luthier.automatic",
    "triage": "luthier.label_triage",
    "Recipe": "luthier.core.recipe",
    "check": "luthier.api",
    "curve": "luthier.learning_curve",
    "forecast": "luthier.forecasting",
    "compare_runs": "luthier.api",
    "decide": "luthier.deciding",
    "evaluate": "luthier.api",
    "export": "luthier.api",
    "load": "luthier.api",
    "resume": "luthier.api",
    "runs": "luthier.api",
    "search": "luthier.searching",
    "train": "luthier.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


class _Package(ModuleType):
    """Keeps `luthier.train` and `luthier.evaluate` functions: Python's import would put the rooms of the
    same names in their place as soon as anything in them is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

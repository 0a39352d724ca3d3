"""The shipped example data sets: two lie in the package, the others in the repository's examples/ where that is."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.recipe_io import read_yaml
from luthier.data.formats import Row, recognise

PACKAGED = Path(__file__).parent / "examples"
FIRST = ("support-intents", "brand-voice-chat")
"""Shown first: both train in a few minutes on an ordinary processor."""
_MARKUP = re.compile(r"\*\*|`")


@dataclass(frozen=True, slots=True)
class Example:
    """A data set with the recipe that goes with it. `test` holds the rows that a run never learns from.

    Attributes:
        title: the heading of its README; `summary`: its first paragraph, plain.
        rows: of `train`; `test_rows`: of `test`.
        columns: names of the columns, in order.
        task: what is learned. recipe: the values of its recipe.yaml, without the paths of the data.
    """

    name: str
    title: str
    summary: str
    train: Path
    test: Path
    task: str
    recipe: dict[str, Any]
    rows: int
    test_rows: int
    columns: tuple[str, ...]


def examples() -> tuple[Example, ...]:
    """All that are here, the best to begin with first."""
    return _read(repository_folder())


def repository_folder() -> Path | None:
    """examples/ of the repository that this package runs from, if it does."""
    root = Path(__file__).resolve().parents[3]
    return root / "examples" if (root / "pyproject.toml").is_file() and (root / "examples").is_dir() else None


@functools.cache
def _read(repository: Path | None) -> tuple[Example, ...]:
    found: dict[str, Example] = {}
    for folder in (PACKAGED, *([repository] if repository else [])):
        for path in sorted(folder.iterdir()):
            if path.name not in found and (path / "recipe.yaml").is_file():
                found[path.name] = _example(path)
    return tuple(sorted(found.values(), key=lambda one: (one.name not in FIRST, one.name != FIRST[0], one.name)))


def _example(folder: Path) -> Example:
    values = read_yaml(folder / "recipe.yaml")
    data = values["data"]
    train, test = folder / data.pop("train"), folder / data.pop("test")
    rows = [row for row in recognise(str(train), {}, {"text", "label"}).rows() if isinstance(row, Row)]
    title, summary = _head((folder / "README.md").read_text(encoding="utf-8"))
    return Example(
        folder.name, title, summary, train, test, values["task"], values, len(rows),
        sum(isinstance(row, Row) for row in recognise(str(test), {}, {"text", "label"}).rows()), tuple(rows[0].values),
    )  # fmt: skip


def _head(text: str) -> tuple[str, str]:
    """(heading, first paragraph) of a README, without markup and line breaks."""
    blocks = [" ".join(block.split()) for block in text.split("\n\n") if block.strip()]
    heading, paragraph = blocks[0].lstrip("# "), blocks[1]
    return _MARKUP.sub("", heading), _MARKUP.sub("", paragraph)

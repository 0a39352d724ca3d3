"""Errors as data: what happened, where, and what to do about it.

Every error that a person can cause is a `LuthierError`. The command line turns it into one
paragraph (`cli.output`), a server into one JSON shape; nothing else formats errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LuthierError(Exception):
    """Something a person can act on.

    Attributes:
        code: stable machine-readable word, for example ``missing_column``.
        message: what happened, one sentence.
        where: file and line, recipe key or path; empty when there is no place.
        remedy: what to do, one sentence.
        param: the recipe key, option or column at fault, if there is one.
    """

    exit_code = 1
    default_code = "error"

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        remedy: str = "",
        code: str = "",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        self.code = code or self.default_code
        self.param = param

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{place}{self.message}{remedy}"

    def to_dict(self) -> dict[str, str | None]:
        """The error in the one shape that JSON output and the server share."""
        return {
            "message": str(self),
            "type": type(self).__name__,
            "param": self.param,
            "code": self.code,
        }


class UsageError(LuthierError):
    """The command or the recipe is wrong; nothing was started."""

    exit_code = 2
    default_code = "usage"


class RecipeError(UsageError):
    """A recipe key or value is wrong."""

    default_code = "invalid_recipe"


class DataError(LuthierError):
    """The data cannot be used as it is."""

    default_code = "invalid_data"


class ModelError(LuthierError):
    """A base model or a run cannot be found, verified or loaded."""

    default_code = "invalid_model"


class TrainingError(LuthierError):
    """A preflight gate is red, or training diverged."""

    default_code = "training_failed"


class StorageError(LuthierError):
    """The disk is full or a path cannot be written."""

    default_code = "storage"


class Interrupted(LuthierError):
    """A signal asked the run to stop; its state is saved."""

    default_code = "interrupted"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known words nearest to `word`, or lists them when none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "Known: " + ", ".join(known) + "." if known else ""

"""An error says what, where and what to do, in one paragraph and in one JSON shape."""

from __future__ import annotations

import pytest

from luthier.core import errors
from luthier.core.errors import DataError, LuthierError, RecipeError, UsageError, nearest
from luthier.jobs import errors as job_errors


def test_an_error_is_one_paragraph_and_one_shape():
    error = DataError(
        "the label is missing.", where="a.csv:7", remedy="Fill it in.", code="missing_label", param="label"
    )
    assert str(error) == "a.csv:7: the label is missing. Fill it in."
    assert error.to_dict() == {
        "message": "a.csv:7: the label is missing. Fill it in.",
        "type": "DataError",
        "param": "label",
        "code": "missing_label",
    }
    assert str(DataError("it is empty.")) == "it is empty."


OURS = [
    kind
    for module in (errors, job_errors)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__base__ is LuthierError
]
"""Not `__subclasses__`, which are those that other tests happened to import."""


@pytest.mark.parametrize("kind", OURS)
def test_every_kind_has_a_code_and_an_exit_code_of_the_contract(kind):
    error = kind("no.")
    assert error.code != LuthierError.default_code
    assert error.exit_code == (2 if kind is UsageError else 1)


def test_recipe_errors_are_usage_errors():
    assert RecipeError("no.").exit_code == 2
    assert issubclass(errors.RecipeError, UsageError)


def test_nearest_names_what_is_near_and_else_all():
    assert nearest("epoch", ["epochs", "warmup"]) == "Did you mean 'epochs'?"
    assert nearest("xyz", ["b", "a"]) == "Known: a, b."
    assert nearest("xyz", []) == ""

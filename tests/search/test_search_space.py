"""The notation of searches: what it means, and what is refused before anything trains."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.core.errors import RecipeError, UsageError
from luthier.core.recipe import Recipe
from luthier.search.parameters import Parameter
from luthier.search.space import Space

RATE = {"search": {"low": 1e-5, "high": 1e-3, "log": True}}


def space(**changes: Any) -> Space:
    return Space.read({"data": "train.csv", **changes}, where="recipe.yaml")


def refused(**changes: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        space(**changes)
    assert str(caught.value).startswith("recipe.yaml: ")
    assert caught.value.remedy or "Did you mean" in caught.value.message
    return caught.value


def test_choices_and_ranges_become_parameters() -> None:
    found = space(train={"batch_size": {"search": [8, 16]}, "learning_rate": RATE, "epochs": 3})
    assert found.parameters == [
        Parameter("train.batch_size", "train.batch_size", choices=(8, 16)),
        Parameter("train.learning_rate", "train.learning_rate", None, 1e-5, 1e-3, True),
    ]
    recipe = found.of({"train.batch_size": 16, "train.learning_rate": 2e-4})
    assert (recipe.train.batch_size, recipe.train.learning_rate, recipe.train.epochs) == (16, 2e-4, 3)
    assert not found.is_conditional


def test_a_recipe_without_a_search_is_told_so() -> None:
    assert refused(train={"epochs": 3}).code == "no_search"


def test_yaml_reads_1e_4_as_a_text_and_it_is_a_number() -> None:
    found = space(train={"learning_rate": {"search": {"low": "1e-5", "high": "1e-3", "log": True}}})
    assert found.parameters[0].low == 1e-5
    assert space(train={"learning_rate": {"search": ["1e-4", "3e-4"]}}).parameters[0].choices == (1e-4, 3e-4)


@pytest.mark.parametrize(
    ("key", "spec", "whole"),
    [
        ("train.epochs", {"low": 1, "high": 9}, True),
        ("train.batch_size", {"low": 8, "high": 32, "step": 8}, True),
        ("train.weight_decay", {"low": 0, "high": 1}, False),
        ("train.warmup", {"low": 0, "high": 0.5}, False),
        ("method.rank", {"low": 4, "high": 64, "log": True}, True),
    ],
)
def test_the_field_decides_whether_numbers_are_whole(key: str, spec: dict[str, Any], whole: bool) -> None:
    parent, name = key.split(".")
    values: dict[str, Any] = {parent: {name: {"search": spec}}}
    if parent == "method":
        values["method"]["kind"] = "lora"
    assert space(**values).parameters[0].integer is whole


def test_settings_of_a_choice_are_there_only_with_it() -> None:
    found = space(method={"search": [{"kind": "lora", "rank": {"search": [4, 8]}}, "full"]})
    assert [parameter.name for parameter in found.parameters] == ["method", "method.rank (lora)"]
    assert found.parameters[1].requires == {"method": "lora"}
    assert found.of({"method": "full"}).method.kind == "full"
    assert found.of({"method": "lora", "method.rank (lora)": 8}).method.model_dump()["rank"] == 8
    assert found.is_conditional


def test_choices_of_one_kind_are_numbered() -> None:
    found = space(method={"search": [{"kind": "lora", "rank": 4}, {"kind": "lora", "rank": {"search": [8, 16]}}]})
    assert found.parameters[0].choices == ("lora 1", "lora 2")
    assert found.parameters[1].name == "method.rank (lora 2)"
    assert found.of({"method": "lora 1"}).method.model_dump()["rank"] == 4


def test_a_field_may_depend_on_the_method() -> None:
    by_method = {"lora": {"low": 1e-4, "high": 1e-2, "log": True}, "full": [1e-5, 3e-5], "else": "auto"}
    found = space(
        train={"learning_rate": {"search": {"by_method": by_method}}}, method={"search": ["full", "lora", "head"]}
    )
    names = [parameter.name for parameter in found.parameters]
    assert names == ["method", "train.learning_rate (lora)", "train.learning_rate (full)"]
    assert found.of({"method": "lora", "train.learning_rate (lora)": 1e-3}).train.learning_rate == 1e-3
    assert found.of({"method": "full", "train.learning_rate (full)": 3e-5}).train.learning_rate == 3e-5
    assert found.of({"method": "head"}).train.learning_rate == "auto"


def test_a_method_without_a_branch_is_named() -> None:
    by_method = {"lora": {"low": 1e-4, "high": 1e-2}}
    error = refused(
        train={"learning_rate": {"search": {"by_method": by_method}}}, method={"search": ["lora", "bitfit"]}
    )
    assert "bitfit" in error.message
    assert "else" in error.remedy


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ([], "empty"),
        ({"low": 1.0, "high": 1.0}, "not below high"),
        ({"low": 2.0, "high": 1.0}, "not below high"),
        ({"low": 0, "high": 1e-3, "log": True}, "cannot begin at 0"),
        ({"low": -1, "high": 1, "log": True}, "cannot begin at -1"),
        ({"low": 1e-5}, "no high"),
        ({"low": 1e-5, "hihg": 1e-3, "high": 1e-3}, "no key 'hihg'"),
        ({"low": 1e-5, "high": "much"}, "is no number"),
        ({"low": True, "high": 2}, "is no number"),
        ({"low": float("nan"), "high": 2}, "is no number"),
        ({"low": 1e-5, "high": 1e-3, "log": "yes"}, "log is 'yes'"),
        ({"low": 0.1, "high": 0.2, "step": 0.5}, "step 0.5"),
        ({"low": 0.1, "high": 0.2, "step": 0.01, "log": True}, "no step"),
        ([1e-4, 1e-4], "twice"),
        ("low", "followed by 'low'"),
        (None, "followed by None"),
        ({"by_method": {"lorra": [1e-4]}}, "no method 'lorra'"),
        ({"by_method": {}}, "by_method is a mapping"),
        ({"by_method": {"else": [1e-4]}, "low": 1}, "stands alone"),
    ],
)
def test_a_wrong_search_is_refused_with_its_place(spec: Any, says: str) -> None:
    error = refused(train={"learning_rate": {"search": spec}})
    assert says in error.message
    assert error.param == "train.learning_rate"
    assert error.code == "invalid_search"


def test_an_unknown_key_of_a_range_names_the_nearest() -> None:
    error = refused(train={"learning_rate": {"search": {"low": 1e-5, "hihg": 1e-3, "high": 1e-3}}})
    assert "'high'" in error.remedy


@pytest.mark.parametrize(
    ("key", "spec", "says"),
    [
        ("train.batch_size", [8, 0], "choice 2 of train.batch_size"),
        ("train.schedule", ["cosine", "cosin"], "choice 2 of train.schedule"),
        ("method", ["lora", "lorra"], "choice 2 of method: there is no method 'lorra'"),
        ("train.layer_decay", {"low": 0.5, "high": 1.5}, "high of train.layer_decay"),
        ("train.lerning_rate", [1e-4, 1e-3], "train.lerning_rate"),
        ("train.epochs", {"low": 1, "high": 2.5}, "only whole numbers"),
    ],
)
def test_what_a_recipe_refuses_is_found_before_anything_trains(key: str, spec: Any, says: str) -> None:
    first, _, last = key.partition(".")
    error = refused(**{first: {last: {"search": spec}} if last else {"search": spec}})
    assert says in error.message


def test_a_wrong_choice_below_a_choice_is_found() -> None:
    error = refused(method={"search": ["full", {"kind": "lora", "rank": {"search": [4, -1]}}]})
    assert "choice 2 of method.rank (lora)" in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"out": {"search": ["a", "b"]}},
        {"task": {"search": ["classify", "regress"]}},
        {"data": {"search": ["a.csv", "b.csv"]}},
        {"data": {"train": "a.csv", "share": {"search": [0.5, 1.0]}}},
        {"evaluate": {"bootstrap": {"search": [100, 200]}}},
        {"train": {"seed": {"search": [1, 2, 3]}}},
    ],
)
def test_what_would_make_trials_incomparable_cannot_be_searched(changes: dict[str, Any]) -> None:
    assert "cannot be searched" in refused(**changes).message


def test_other_keys_beside_search_are_refused() -> None:
    assert "beside search" in refused(method={"search": ["lora"], "rank": 8}).message


def test_a_column_may_be_called_search() -> None:
    found = Space.read({"data": {"train": "a.csv", "columns": {"search": "text"}}, "train": {"learning_rate": RATE}})
    assert found.first().data.columns == {"search": "text"}


def test_a_grid_multiplies_only_what_is_there() -> None:
    found = space(
        method={"search": [{"kind": "lora", "rank": {"search": [4, 8]}}, "full"]},
        train={"batch_size": {"search": {"low": 8, "high": 24, "step": 8}}},
    )
    grid = found.grid()
    assert len(grid) == len({str(params) for params in grid}) == (2 + 1) * 3
    assert grid[0] == {"method": "lora", "method.rank (lora)": 4, "train.batch_size": 8}
    assert grid[-1] == {"method": "full", "train.batch_size": 24}
    assert all(isinstance(found.of(params), Recipe) for params in grid)


def test_a_grid_needs_ends() -> None:
    with pytest.raises(UsageError) as caught:
        space(train={"learning_rate": RATE}).grid()
    assert caught.value.code == "no_grid"
    with pytest.raises(UsageError, match="combinations"):
        space(train={"batch_size": {"search": {"low": 1, "high": 20_000}}}).grid()


@pytest.mark.parametrize("values", [{"train": {"learning_rate": RATE}}, {"search": {"trials": 3}}, {"model": RATE}])
def test_a_run_says_that_it_needs_one_value(values: dict[str, Any]) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.build({"data": "train.csv", **values})
    assert caught.value.code == "recipe_has_search"
    assert "luthier search" in caught.value.remedy


def test_a_run_says_it_of_a_method_too() -> None:
    for method in ({"search": ["full", "lora"]}, {"kind": "lora", "rank": {"search": [4, 8]}}):
        with pytest.raises(RecipeError) as caught:
            Recipe.build({"data": "train.csv", "method": method})
        assert caught.value.code == "recipe_has_search"
        assert (caught.value.param or "").startswith("method")

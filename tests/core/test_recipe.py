"""The recipe: strict, with errors that name the nearest key, and the same again after YAML."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from luthier.core.errors import RecipeError
from luthier.core.recipe import METHODS, LoraMethod, Recipe, known_keys
from luthier.core.recipe_io import apply_overrides, read_yaml, set_key

DATA = {"data": {"train": "a.csv"}}


def fails(values) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        Recipe.build(values, where="r.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("values", "param", "said"),
    [
        ({"modle": "minilm"}, "modle", "'model'"),
        ({"train": {"epoch": 3}}, "train.epoch", "'epochs'"),
        ({"method": {"kind": "lora", "rnak": 4}}, "method.rnak", "'rank'"),
        ({"data": {"train": "a", "colums": {}}}, "data.colums", "'columns'"),
        ({"freeze": {"layer": 2}}, "freeze.layer", "'layers'"),
        ({"evaluate": {"fairness": {"groups": "x"}}}, None, "group"),
        ({"method": "loar"}, "method", "'lora'"),
        ({"method": {"kind": "fulll"}}, "method", "'full'"),
        ({"task": "clasify"}, "task", "'classify'"),
    ],
)
def test_a_wrong_key_or_name_is_answered_with_the_nearest(values, param, said):
    error = fails({**DATA, **values})
    assert said in str(error)
    assert str(error).startswith("r.yaml: ")
    if param is not None:
        assert error.param == param


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"train": {"epochs": 0}}, "train.epochs"),
        ({"train": {"epochs": "many"}}, "train.epochs"),
        ({"train": {"learning_rate": math.nan}}, "train.learning_rate"),
        ({"train": {"learning_rate": math.inf}}, "train.learning_rate"),
        ({"train": {"warmup": 1.0}}, "train.warmup"),
        ({"train": {"schedule": "step"}}, "train.schedule"),
        ({"data": {"train": "a", "validation": 1.5}}, "data.validation"),
        ({"method": {"kind": "lora", "rank": -1}}, "method.rank"),
        ({"head": {"pooling": "max"}}, "head.pooling"),
        ({"evaluate": {"bootstrap": 5}}, "evaluate.bootstrap"),
    ],
)
def test_a_wrong_value_names_its_key(values, param):
    error = fails({**DATA, **values})
    assert error.param == param
    assert param in error.message
    assert error.remedy


def test_more_unknown_keys_are_counted():
    assert "(2 more unknown keys.)" in str(fails({**DATA, "a": 1, "b": 2, "c": 3}))


def test_data_is_needed():
    assert "data" in fails({"model": "minilm"}).message


def test_an_option_of_one_method_cannot_stand_in_another():
    assert fails({**DATA, "method": {"kind": "bitfit", "rank": 4}}).param == "method.rank"


def test_short_forms():
    recipe = Recipe.build({"data": ["a.csv", "b.csv"], "method": "lora"})
    assert recipe.data.train == ["a.csv", "b.csv"]
    assert recipe.method == LoraMethod()
    for kind in METHODS:
        assert Recipe.build({"data": "a.csv", "method": kind}).method.kind == kind


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError):
        Recipe.build(DATA).model = "other"


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("train.epochs=5", "train.epochs", 5),
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("train.learning_rate=2.5E-5", "train.learning_rate", 2.5e-5),
        ("train.learning_rate=auto", "train.learning_rate", "auto"),
        ("method.kind=lora", "method.kind", "lora"),
        ("method=head", "method.kind", "head"),
        ("data.columns={label: category}", "data.columns", {"label": "category"}),
        ("data.columns={score: [x, 3], text: 1}", "data.columns", {"score": ["x", 3], "text": 1}),
        ("evaluate.baselines=[majority]", "evaluate.baselines", ["majority"]),
        ("data.test=null", "data.test", None),
        ("model=a=b", "model", "a=b"),
        ("data.group=e1e", "data.group", "e1e"),
        (" out = there", "out", "there"),
    ],
)
def test_set_takes_a_value_as_yaml(text, key, value):
    values = {"data": {"train": "a.csv"}}
    apply_overrides(values, [text])
    found = Recipe.build(values).model_dump()
    for name in key.split("."):
        found = found[name]
    assert found == value


@pytest.mark.parametrize("text", ["train.epochs", "=5", "data.columns={a", ""])
def test_a_bad_override_is_a_usage_error(text):
    with pytest.raises(RecipeError) as caught:
        apply_overrides({}, [text])
    assert caught.value.code == "invalid_override"
    assert caught.value.remedy


def test_set_key_opens_short_forms():
    values = {"method": "lora", "data": "a.csv"}
    set_key(values, "method.rank", 4)
    set_key(values, "data.test", "b.csv")
    assert values == {"method": {"kind": "lora", "rank": 4}, "data": {"train": "a.csv", "test": "b.csv"}}


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
columns = st.dictionaries(words, st.one_of(words, st.integers(0, 99), st.lists(st.one_of(words, st.integers(0, 99)))))


@settings(deadline=None, max_examples=50)
@given(columns=columns, train=words, rate=st.floats(1e-9, 1.0), epochs=st.integers(1, 99))
def test_yaml_with_reasons_gives_the_same_recipe(columns, train, rate, epochs):
    recipe = Recipe.build(
        {
            "data": {"train": train, "columns": columns},
            "method": {"kind": "lora", "rank": 3},
            "train": {"learning_rate": rate, "epochs": epochs},
        }
    )
    values = yaml.safe_load(recipe.to_yaml({"train.epochs": "because: # it is", "model": "the default"}))
    assert Recipe.build(values) == recipe


def test_reasons_stand_above_their_key():
    lines = Recipe.build(DATA).to_yaml({"train.epochs": "300 rows", "out": "the default"}).splitlines()
    assert lines[lines.index("  epochs: auto") - 1] == "  # 300 rows"
    assert lines[lines.index("out: runs") - 1] == "# the default"


def test_replace_validates():
    recipe = Recipe.build(DATA).replace(**{"train.epochs": 2, "method.kind": "head"})
    assert (recipe.train.epochs, recipe.method.kind) == (2, "head")
    with pytest.raises(RecipeError):
        recipe.replace(**{"train.epochs": 0})


def test_relative_paths_count_from_the_recipe(here):
    (here / "recipes").mkdir()
    (here / "recipes" / "a.csv").write_text("text,label\n", encoding="utf-8")
    (here / "recipes" / "r.yaml").write_text("data: {train: a.csv, test: 's3://b/c.csv'}\n", encoding="utf-8")
    recipe = Recipe.from_yaml("recipes/r.yaml", ["train.seed=3"])
    assert recipe.data.train == "recipes/a.csv"
    assert recipe.data.test == "s3://b/c.csv"
    assert recipe.train.seed == 3


@pytest.mark.parametrize(
    ("content", "code", "where"),
    [
        (None, "recipe_not_found", "r.yaml"),
        (b"\xff\xfe\x00", "recipe_unreadable", "r.yaml"),
        (b"model: minilm\ndata: {train: a\n", "recipe_not_yaml", "r.yaml:3"),
        (b"a: b\n c: d\n", "recipe_not_yaml", "r.yaml:2"),
        (b"- a\n", "recipe_not_mapping", "r.yaml"),
        (b"", "recipe_not_mapping", "r.yaml"),
        (b"!!python/object/apply:os.getcwd []\n", "recipe_not_yaml", "r.yaml:1"),
    ],
)
def test_a_bad_recipe_file_says_where(content, code, where, here):
    if content is not None:
        (here / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_yaml("r.yaml")
    assert (caught.value.code, caught.value.where) == (code, where)
    assert caught.value.remedy


def test_known_keys_are_the_keys_of_a_full_recipe():
    keys = set(known_keys())
    for kind in METHODS:
        values = Recipe.build({**DATA, "method": kind, "evaluate": {"fairness": {"group": "g"}}}).model_dump()
        for name, part in values.items():
            assert name in keys
            if isinstance(part, dict):
                assert {f"{name}.{key}" for key in part} <= keys
    assert known_keys("freeze.") == ["freeze.embeddings", "freeze.layers"]

"""A run as a recipe file, Python, a command line and a request: each of them is the same run."""

from __future__ import annotations

import argparse
import ast
import json
import shlex
from typing import Any

import pytest
import yaml
from wire import Wire, class_rows

from luthier.cli.recipes import recipe_of
from luthier.cli.train import configure
from luthier.core.recipe import Recipe

NAME = "-my 'own' $(rows).csv"


class Texts:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.headers = {"authorization": f"Bearer {wire.key('write')}"}
        files = wire.client().files
        self.rows = files.create(file=(NAME, class_rows()), purpose="user_data").id
        self.test = files.create(file=("test.csv", class_rows()), purpose="user_data").id

    def post(self, recipe: dict[str, Any], path: str = "recipes", **rest: Any) -> Any:
        return self.wire.http.post(f"/luthier/v1/{path}", json={"recipe": recipe, **rest}, headers=self.headers)


@pytest.fixture
def texts(plain_wire: Wire) -> Texts:
    return Texts(plain_wire)


def words_of(text: str) -> list[str]:
    """As a shell reads it: a backslash at the end of a line joins it with the next."""
    return shlex.split(text.replace("\\\n", ""))


def of_command(text: str) -> Recipe:
    parser = argparse.ArgumentParser()
    configure(parser)
    words = words_of(text)
    assert words[:2] == ["luthier", "train"]
    return recipe_of(parser.parse_args(words[2:]))


def of_python(text: str) -> Recipe:
    call = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return Recipe.build({one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg})


RECIPES: list[dict[str, Any]] = [
    {"data": {"train": "ROWS"}},
    {"data": "ROWS", "method": "lora"},
    {
        "model": "minilm", "task": "classify",
        "data": {"train": ["ROWS", "TEST"], "validation": 0.2, "test": "TEST", "columns": {"text": "text"}},
        "method": {"kind": "lora", "rank": 8}, "train": {"epochs": 3, "learning_rate": 1e-4, "seed": 5},
        "freeze": {"layers": 2}, "evaluate": {"baselines": ["majority"], "metrics": ["accuracy"]},
    },
]  # fmt: skip


@pytest.mark.parametrize("asked", RECIPES, ids=["short", "shorter", "long"])
def test_every_text_is_the_same_run(texts: Texts, asked: dict[str, Any]) -> None:
    def put(value: Any, ids: dict[str, str]) -> Any:
        if isinstance(value, dict):
            return {key: put(item, ids) for key, item in value.items()}
        if isinstance(value, list):
            return [put(item, ids) for item in value]
        return ids.get(value, value) if isinstance(value, str) else value

    recipe = put(asked, {"ROWS": texts.rows, "TEST": texts.test})
    local = put(asked, {"ROWS": NAME, "TEST": "test.csv"})
    answer = texts.post(recipe)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    wanted = Recipe.build({**local, "model": "minilm", "task": "classify"})
    assert Recipe.build(yaml.safe_load(told["yaml"])) == wanted
    assert of_python(told["python"]) == wanted
    assert of_command(told["command"]) == wanted
    words = words_of(told["curl"])
    assert words[:2] == ["curl", "http://localhost/luthier/v1/jobs"]
    body = json.loads(words[words.index("-d") + 1])
    assert body == {"recipe": told["recipe"]}
    assert texts.post(body["recipe"], "jobs").status_code == 200
    assert Recipe.build(told["recipe"]) == Recipe.build({**recipe, "model": "minilm", "task": "classify"})


def test_what_is_left_open_is_told_with_its_reason(texts: Texts) -> None:
    told = texts.post({"data": texts.rows, "train": {"epochs": 2}}, suffix="x", metadata={"a": "b"}).json()
    found = {one["key"]: one for one in told["auto"]}
    assert (found["model"]["value"], found["task"]["value"]) == ("minilm", "classify")
    assert found["train.learning_rate"]["value"] is None
    assert "train.epochs" not in found
    assert "# auto: recognised from the columns of the file\ntask: classify\n" in told["yaml"]
    body = json.loads(words_of(told["curl"])[-1])
    assert (body["suffix"], body["metadata"]) == ("x", {"a": "b"})
    assert "lu-" not in told["curl"]


def test_two_files_of_one_name_are_told_apart(texts: Texts) -> None:
    twin = texts.wire.client().files.create(file=("test.csv", class_rows(20)), purpose="user_data").id
    told = texts.post({"data": {"train": twin, "test": texts.test}, "task": "classify"}).json()
    read = Recipe.build(yaml.safe_load(told["yaml"]))
    assert read.data.train == f"{twin}-test.csv"
    assert read.data.test == f"{texts.test}-test.csv"


@pytest.mark.parametrize(
    ("recipe", "param"),
    [({"data": "/etc/passwd"}, "recipe.data.train"), ({"data": "ROWS", "trian": {}}, "recipe.trian"),
     ({"data": "ROWS", "train": {"epochs": 10**6}}, "recipe.train.epochs"), ({}, "recipe.data")],
)  # fmt: skip
def test_a_mistake_is_told_as_for_a_job(texts: Texts, recipe: dict[str, Any], param: str) -> None:
    asked = json.loads(json.dumps(recipe).replace("ROWS", texts.rows))
    answers = [texts.post(asked, path) for path in ("recipes", "jobs")]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["error"]["param"] == param

"""Even a random model writes JSON of the schema."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from tiny_causal import tiny_causal

from luthier.core.errors import UsageError
from luthier.core.generation import Sampling
from luthier.models.language_predictor import LanguageModel

jsonschema = pytest.importorskip("jsonschema")
pytest.importorskip("llguidance")

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "label": {"enum": ["good", "bad", "sno\N{SNOWMAN}w"]},
            "score": {"type": "integer", "minimum": 0, "maximum": 10},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
        },
        "required": ["label", "score", "tags"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "minItems": 1, "maxItems": 3},
    {"const": {"a": [1, 2.5]}},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    # the model has more logits than its tokenizer has tokens, as many published ones do
    return LanguageModel.load_base(str(tiny_causal(tmp_path_factory.mktemp("base"), vocab_size=352)))


@pytest.mark.parametrize("schema", SCHEMAS)
def test_answers_follow_the_schema(model: LanguageModel, schema: dict[str, Any]) -> None:
    settings = [Sampling(max_tokens=200, temperature=1.0, seed=seed, json_schema=schema) for seed in range(3)]
    settings.append(Sampling(max_tokens=200, json_schema=schema))
    for answer in model.generate(["Where is my parcel?"] * 4, settings):
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(answer.text), schema)


def test_without_keywords_any_object_is_written(model: LanguageModel) -> None:
    settings = [Sampling(max_tokens=60, temperature=2.0, seed=seed, json_schema={}) for seed in range(12)]
    found = [item.text for item in model.generate(["ok"] * 12, settings) if item.finish_reason == "stop"]
    assert len(found) > 2
    assert all(isinstance(json.loads(text), dict) for text in found)


def test_constrained_and_free_rows_share_a_batch(model: LanguageModel) -> None:
    free, bound = Sampling(max_tokens=10), Sampling(max_tokens=100, json_schema=SCHEMAS[2])
    one, two = model.generate(["thank you", "thank you"], [free, bound])
    assert one == model.generate(["thank you"], free)[0]
    assert json.loads(two.text) == {"a": [1, 2.5]}


def test_a_schema_that_cannot_be_followed_is_refused(model: LanguageModel) -> None:
    with pytest.raises(UsageError, match="objekt") as caught:
        model.generate(["ok"], Sampling(json_schema={"type": "objekt"}))
    assert caught.value.code == "invalid_json_schema"


def test_without_the_library_the_extra_is_named(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = LanguageModel(model.model, model.tokenizer, model.renderer, model.settings)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match=r"luthier\[json\]") as caught:
        fresh.generate(["ok"], Sampling(json_schema={}))
    assert caught.value.code == "extra_missing"

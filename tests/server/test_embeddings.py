"""Embeddings by the unmodified client, which asks for base64 by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import openai
import pytest
from openai.types import CreateEmbeddingResponse
from scripted import ScriptedEngine, add_model
from wire import Wire, refused, strictly

WIDTH = 4


def embeds(request: Any) -> Any:
    """In another order than they were asked in, as batches by length come."""
    for index, text in sorted(enumerate(request.body["texts"]), key=lambda pair: -len(pair[1])):
        yield "embedding", {"index": index, "values": [len(text), index, 0.1, -1e-9], "tokens": len(text) + 2}
    yield "end", {}


@pytest.fixture
def engine(both: tuple[Wire, ScriptedEngine]) -> ScriptedEngine:
    found = both[1].fresh()
    found.script = embeds
    return found


def embed(client: openai.OpenAI, **fields: Any) -> Any:
    return client.embeddings.create(**({"model": "minilm", "input": "text"} | fields))


def test_the_clients_own_way_gives_32_bit_floats(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    answer = embed(client, input=["a", "three"])
    assert [one.index for one in answer.data] == [0, 1]
    expected = np.array([[1, 0, 0.1, -1e-9], [5, 1, 0.1, -1e-9]], dtype=np.float32)
    assert np.array_equal(np.array([one.embedding for one in answer.data], dtype=np.float32), expected)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (10, 10)
    assert answer.model == "minilm"
    assert engine.asked[-1].op == "embed"
    assert engine.body == {"texts": ["a", "three"]}
    assert isinstance(raw(client, encoding_format="base64")["data"][0]["embedding"], str)


def raw(client: openai.OpenAI, **fields: Any) -> Any:
    return client.post("/embeddings", body={"model": "minilm", "input": "text"} | fields, cast_to=object)


def test_floats(client: openai.OpenAI) -> None:
    answer = embed(client, encoding_format="float", dimensions=WIDTH, user="u")
    strictly(CreateEmbeddingResponse, answer)
    assert answer.data[0].embedding == [4, 0, 0.1, -1e-9]
    assert raw(client)["data"][0]["embedding"] == [4, 0, 0.1, -1e-9]


def test_a_full_batch(client: openai.OpenAI) -> None:
    answer = embed(client, input=[f"{number}" for number in range(2048)])
    assert [one.embedding[1] for one in answer.data] == list(range(2048))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": WIDTH - 1}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_is_refused_says_where(client: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    assert refused(lambda: embed(client, **fields), openai.BadRequestError)["param"] == param


def test_which_models_embed(client: openai.OpenAI, both: tuple[Wire, ScriptedEngine], engine: ScriptedEngine) -> None:
    name = add_model(both[0], "ft:minilm:local:emb:abcdefgh", "classify").name
    assert embed(client, model=name).model == name
    assert engine.asked[-1].model is not None
    assert engine.asked[-1].model.name == name
    told = refused(lambda: embed(client, model="luthier-nano"), openai.BadRequestError)
    assert told["code"] == "model_does_not_embed"
    assert refused(lambda: embed(client, model="ada-002"), openai.NotFoundError)["code"] == "model_not_found"


def test_a_vector_that_is_missing_is_no_answer(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = lambda request: [("embedding", {"index": 0, "values": [1.0], "tokens": 1}), ("end", {})]
    refused(lambda: embed(client, input=["a", "b"]), openai.InternalServerError)

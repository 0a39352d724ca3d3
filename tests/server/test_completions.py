"""Completions, OpenAI's older way: texts go on."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import Completion
from scripted import ScriptedEngine, fails, says
from wire import refused, strictly

NANO = "luthier-nano"


def go_on(client: openai.OpenAI, **fields: Any) -> Any:
    return client.completions.create(**({"model": NANO, "prompt": "Once"} | fields))


def test_a_prompt_goes_on(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    answer = go_on(client, user="u")
    strictly(Completion, answer)
    assert answer.id.startswith("cmpl-")
    assert [(c.index, c.text, c.finish_reason, c.logprobs) for c in answer.choices] == [
        (0, "Hello there.", "stop", None)
    ]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 5, 12)
    assert engine.body == {
        "prompt": "Once", "n": 1, "sampling": {"max_tokens": 16, "temperature": 1.0, "top_p": 1.0},
    }  # fmt: skip


def test_several_prompts_and_choices_count_on(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    def script(request: Any) -> Any:
        return says(request.body["prompt"] + "1", request.body["prompt"] + "2")(request)

    engine.script = script
    fields = {"prompt": ["a", "b", "c"], "n": 2, "best_of": 2, "echo": True}
    answer = go_on(client, **fields)
    wanted = [p + p + n for p in "abc" for n in "12"]
    assert [(c.index, c.text) for c in answer.choices] == list(enumerate(wanted))
    assert answer.usage.prompt_tokens == 21
    texts = [""] * 6
    ends: dict[int, str] = {}
    for chunk in go_on(client, stream=True, **fields):
        value = chunk.model_dump(mode="json", warnings=False)
        for choice in value["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # null in OpenAI's chunks, not in its type
        strictly(Completion, value)
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert texts == wanted
    assert ends == dict.fromkeys(range(6), "stop")
    assert sorted(engine.closed) == sorted(request.id for request in engine.asked)


def test_a_streams_usage_comes_last(client: openai.OpenAI) -> None:
    found = list(go_on(client, stream=True, stream_options={"include_usage": True}))
    assert found[-1].choices == []
    assert found[-1].usage.total_tokens == 12
    assert "".join(chunk.choices[0].text for chunk in found[:-1]) == "Hello there."


def test_a_gap_is_filled(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    go_on(client, prompt="def f(", suffix="):\n    pass", stop="\n")
    assert engine.body["suffix"] == "):\n    pass"
    assert engine.body["sampling"]["stop"] == ["\n"]


def test_log_probabilities_are_lists_side_by_side(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    answer = go_on(client, logprobs=2)
    strictly(Completion, answer)
    assert engine.body["sampling"]["logprobs"] == 2
    told = answer.choices[0].logprobs
    assert told.tokens == ["Hel", "lo ", "the", "re."]
    assert told.text_offset == [0, 3, 6, 9]
    assert told.token_logprobs == [-0.5] * 4
    assert told.top_logprobs[0] == {"Hel": -0.5, "?": -1.5}
    parts = [chunk.choices[0].logprobs for chunk in go_on(client, logprobs=2, stream=True)]
    assert [place for part in parts if part for place in part.text_offset] == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": [""]}, "prompt"),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"prompt": ["a"] * 64, "n": 3}, "n"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"extra_body": {"use_beam_search": True}}, "use_beam_search"),
    ],
)
def test_what_is_refused_says_where(
    client: openai.OpenAI, engine: ScriptedEngine, fields: dict[str, Any], param: str
) -> None:
    assert refused(lambda: go_on(client, **fields), openai.BadRequestError)["param"] == param
    assert engine.asked == []


@pytest.mark.parametrize("stream", [False, True])
def test_one_prompt_that_fails_ends_all(client: openai.OpenAI, engine: ScriptedEngine, stream: bool) -> None:
    def script(request: Any) -> Any:
        return fails("context_length_exceeded")(request) if request.body["prompt"] == "b" else []

    engine.script, engine.silent = script, True
    told = refused(lambda: go_on(client, prompt=["a", "b", "c"], stream=stream), openai.BadRequestError)
    assert told["code"] == "context_length_exceeded"
    assert sorted(engine.closed) == sorted(request.id for request in engine.asked)


def test_an_error_in_the_middle_is_an_event(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script = fails("engine_full", "busy", after=[("piece", {"index": 0, "text": "Hel"})])
    with pytest.raises(openai.APIError) as caught:
        list(go_on(client, stream=True))
    assert caught.value.code == "engine_full"


def test_an_encoder_does_not_write(client: openai.OpenAI) -> None:
    told = refused(lambda: go_on(client, model="minilm"), openai.BadRequestError)
    assert told["code"] == "model_does_not_write"

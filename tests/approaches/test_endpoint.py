"""A model behind an endpoint: patience, and what counts as an answer."""

from __future__ import annotations

import pytest
from fake_endpoint import FakeEndpoint, completion

from luthier.approaches.endpoint import Endpoint, EndpointError
from luthier.core.conversation import Conversation, Message
from luthier.core.errors import UsageError
from luthier.core.generation import Sampling

SECRET = "sk-very-secret"
ASKED = Conversation((Message("system", "Be brief."), Message("user", "Where is it?")))


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def endpoint(server, **options):
    return Endpoint(server.url, "big", first_wait=0.01, **options)


def test_what_is_sent_is_openais_form():
    with FakeEndpoint(lambda body: "There.") as server:
        (found,) = endpoint(server).generate(
            [ASKED], Sampling(max_tokens=7, seed=3, stop=("\n",), json_schema={"type": "object"}, logprobs=2)
        )
    assert (found.text, found.prompt_tokens, found.completion_tokens) == ("There.", 11, 3)
    (body,) = server.bodies
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}
    ]  # fmt: skip
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("big", 7, 0.0, 3)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (body["stop"], body["logprobs"], body["top_logprobs"]) == (["\n"], True, 2)
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"


def test_answers_keep_their_order():
    with FakeEndpoint(lambda body: body["messages"][-1]["content"].upper()) as server:
        found = endpoint(server).generate([f"row {number}" for number in range(30)])
    assert [answer.text for answer in found] == [f"ROW {number}" for number in range(30)]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}),
        (500, b"<html>oops</html>", {}),
        (503, {"error": "busy"}, {}),
        (200, b"<html>a proxy's page</html>", {}),
        (200, b"[1, 2]", {}),
    ],
)
def test_passing_trouble_is_asked_again(trouble):
    with FakeEndpoint(lambda body: "ok", before=[trouble, trouble]) as server:
        (found,) = endpoint(server).generate([ASKED])
    assert found.text == "ok"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("reply", "said", "asked"),
    [
        ((401, {"error": {"message": "wrong key"}}, {}), "wrong key", 1),
        ((404, {"error": {"message": "no such model"}}, {}), "no such model", 1),
        ((500, {"error": {"message": "down"}}, {}), "down", 3),
        ((200, b"nonsense", {}), "no JSON object", 3),
        ((200, {"choices": []}, {}), "no chat completion", 1),
        ((200, {"choices": [{"message": {"content": 7}}]}, {}), "no chat completion", 1),
        ((200, {"choices": [{"message": "text"}]}, {}), "no chat completion", 1),
        ((302, b"", {"Location": "http://127.0.0.1:1/v1/chat/completions"}), "refused with 302", 1),
    ],
)
def test_lasting_trouble_is_told_without_the_key(reply, said, asked):
    with FakeEndpoint(lambda body: reply) as server, pytest.raises(EndpointError, match=said) as caught:
        endpoint(server, attempts=3).generate([ASKED])
    assert len(server.bodies) == asked
    assert SECRET not in str(caught.value)
    assert server.url in caught.value.where


def test_nothing_there_and_nothing_in_time():
    with FakeEndpoint(lambda body: "late") as server:
        server.delay = 0.5
        with pytest.raises(EndpointError, match="did not answer within"):
            endpoint(server, attempts=2, seconds=0.05).generate([ASKED])
        gone = endpoint(server, attempts=2)
    with pytest.raises(EndpointError, match="cannot be reached"):
        gone.generate([ASKED])


@pytest.mark.parametrize(
    ("words", "missing", "kept"),
    [
        ("response_format is not supported", "response_format", "temperature"),
        ("temperature must be 1 for this model", "temperature", "response_format"),
        ("Use max_completion_tokens instead", "max_tokens", "max_completion_tokens"),
        ("logprobs are not available", "logprobs", "response_format"),
    ],
)
def test_what_an_endpoint_lacks_is_left_out_from_then_on(words, missing, kept):
    def answer(body):
        return (400, {"error": {"message": words}}, {}) if missing in body else "fine"

    sampling = Sampling(json_schema={"type": "object"}, logprobs=1)
    with FakeEndpoint(answer) as server:
        model = endpoint(server)
        assert model.generate([ASKED], sampling)[0].text == "fine"
        assert model.generate([ASKED], sampling)[0].text == "fine"
    assert len(server.bodies) == 3  # the second question is right at once
    assert missing not in server.bodies[-1]
    assert kept in server.bodies[-1]


def test_a_call_of_a_tool_comes_whole():
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    with FakeEndpoint(lambda body: (200, completion(None, tool_calls=[call]), {})) as server:
        found, message = endpoint(server).complete(ASKED, Sampling())
    assert found.text == ""
    assert message.tool_calls == (call,)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a/v1", "http://", "file:///etc/passwd"])
def test_no_address_is_a_usage_error(url):
    with pytest.raises(UsageError) as caught:
        Endpoint(url, "m")
    assert caught.value.code == "invalid_endpoint"


def test_no_model_and_a_broken_key_are_usage_errors(monkeypatch):
    with pytest.raises(UsageError) as caught:
        Endpoint("http://localhost/v1", "")
    assert caught.value.code == "endpoint_without_model"
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(UsageError) as caught:
        Endpoint("http://localhost/v1", "m")
    assert caught.value.code == "invalid_key"
    assert "two words" not in str(caught.value)

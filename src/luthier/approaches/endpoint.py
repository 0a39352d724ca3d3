"""A model behind any OpenAI-compatible endpoint: asked patiently, believed only when its answer has the right shape."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from luthier.core import clock
from luthier.core.conversation import Conversation, Message, Prompt
from luthier.core.errors import LuthierError, UsageError
from luthier.core.generation import Generation, Piece, Sampling, TokenLogprob

ATTEMPTS = 5
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0
SECONDS_TO_ANSWER = 120.0
AT_ONCE = 8
"""Requests under way at the same time."""
LONGEST_PROMPT = 400_000
"""Characters; what is longer is surely more than the endpoint reads."""
KEY_VARIABLE = "OPENAI_API_KEY"
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class EndpointError(LuthierError):
    """An endpoint is away, refuses, or answers with something that is no answer."""

    default_code = "endpoint_failed"


class Endpoint:
    """`model` at `url` (the part before /chat/completions). A `ChatModel` and a `core.generation.Generator`.

    The key is read from the environment and is never shown. `attempts` and `first_wait` (seconds; doubled each time,
    with jitter) bound the patience; an answer's Retry-After is honoured. `on_this_machine`: its tokens cost only time.
    """

    local = False

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = KEY_VARIABLE,
        attempts: int = ATTEMPTS,
        first_wait: float = FIRST_WAIT,
        seconds: float = SECONDS_TO_ANSWER,
        at_once: int = AT_ONCE,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"{url!r} is no address of an endpoint.",
                remedy="Give it as https://host/v1, the part before /chat/completions.",
                code="invalid_endpoint",
                param="endpoint",
            )
        if not model:
            raise UsageError(
                "which of the endpoint's models is meant?", remedy="Give --name MODEL.", code="endpoint_without_model",
                param="name",
            )  # fmt: skip
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model = model
        self.on_this_machine = parts.hostname in _LOCAL_HOSTS
        self._key = os.environ.get(key_variable, "")
        if not self._key.isascii() or any(ord(letter) < 33 for letter in self._key):
            raise UsageError(
                f"the key in ${key_variable} holds letters that no key has.", remedy="Set it again, without spaces.",
                code="invalid_key", param="endpoint",
            )  # fmt: skip
        self._attempts, self._first_wait, self._seconds, self._at_once = attempts, first_wait, seconds, at_once
        self._without: set[str] = set()
        self._renamed = "max_tokens"

    @property
    def name(self) -> str:
        """The model's name and its host."""
        return f"{self.model} at {urlsplit(self.url).netloc}"

    def fits(self, conversation: Conversation, max_tokens: int) -> bool:
        """Whether it is of a sane length; the endpoint's own limit is not known here."""
        return sum(len(message.content) for message in conversation.messages) <= LONGEST_PROMPT

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Generation]:
        """Answer `prompts`, in order, several at a time. Raises `EndpointError`."""
        asked = sampling or Sampling()
        if len(prompts) == 1:
            return [self.complete(prompts[0], asked)[0]]
        with ThreadPoolExecutor(self._at_once) as pool:
            return [found for found, _ in pool.map(lambda prompt: self.complete(prompt, asked), prompts)]

    def stream_pieces(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> Iterator[Piece]:
        """Each answer as one piece: an endpoint is asked whole, so that a broken answer can be asked again."""
        for index, answer in enumerate(self.generate(prompts, sampling)):
            yield Piece(index, answer.text, answer.finish_reason)

    def likelihoods(self, prompt: Conversation, answers: Sequence[str]) -> list[float] | None:
        """None: chat endpoints tell only of tokens that they chose themselves."""
        return None

    def complete(self, prompt: Prompt, sampling: Sampling) -> tuple[Generation, Message]:
        """One answer, and the whole message with its calls of tools. Raises `EndpointError`."""
        body = self._body(prompt, sampling)
        while True:
            found = self._ask(body)
            if found is not None:
                return self._read(found)
            body = self._body(prompt, sampling)  # without what the endpoint does not know

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        conversation = Conversation((Message("user", prompt),)) if isinstance(prompt, str) else prompt
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message.to_dict() | _call_id(message) for message in conversation.messages],
            self._renamed: sampling.max_tokens,
            "temperature": sampling.temperature,
        }
        if conversation.tools:
            body["tools"] = [dict(tool) for tool in conversation.tools]
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
        if sampling.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": sampling.json_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {key: value for key, value in body.items() if key not in self._without}

    def _ask(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The JSON of an answer; None when the endpoint lacks something that can be left out from now on."""
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        last: EndpointError | None = None
        for attempt in range(self._attempts):
            if attempt:
                clock.sleep(self._wait(attempt, last))
            try:
                # no proxy and no redirect: what is sent reaches the named address and nothing else
                with httpx2.Client(trust_env=False, follow_redirects=False, timeout=self._seconds) as client:
                    answer = client.post(f"{self.url}/chat/completions", json=dict(body), headers=headers)
            except httpx2.TimeoutException:
                last = self._failed(f"did not answer within {self._seconds:.0f} seconds")
                continue
            except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
                last = self._failed(f"cannot be reached ({str(error)[:200] or type(error).__name__})")
                continue
            if answer.status_code == 200:
                try:
                    return _object(answer.text)
                except ValueError:
                    last = self._failed("answered with something that is no JSON object")
                    continue
            told = _refusal(answer.text)
            if answer.status_code in (400, 422) and self._can_do_without(body, told):
                return None
            last = self._failed(f"refused with {answer.status_code}: {told}", answer.headers.get("retry-after"))
            if answer.status_code not in _AGAIN:
                raise last
        assert last is not None
        raise last

    def _can_do_without(self, body: Mapping[str, Any], told: str) -> bool:
        """Whether the refusal names a setting that can be left out, or that has another name there."""
        if "max_completion_tokens" in told and self._renamed == "max_tokens":
            self._renamed = "max_completion_tokens"
            return True
        for key, words in _OPTIONAL.items():
            if key in body and any(word in told for word in words):
                self._without |= {key, "top_logprobs"} if key == "logprobs" else {key}
                return True
        return False

    def _wait(self, attempt: int, last: EndpointError | None) -> float:
        told = getattr(last, "retry_after", None)
        waited = clock.backoff(self._first_wait, attempt)
        return float(min(LONGEST_WAIT, max(waited, told or 0.0)))

    def _failed(self, what: str, retry_after: str | None = None) -> EndpointError:
        if self._key:
            what = what.replace(self._key, "***")  # some repeat what they were sent
        error = EndpointError(
            f"the endpoint {what}.", where=self.url, remedy="Is the address right, the model's name, and the key?",
            param="endpoint",
        )  # fmt: skip
        if retry_after is not None and retry_after.isascii() and retry_after.isdecimal():
            error.retry_after = float(retry_after[:6])  # type: ignore[attr-defined]
        return error

    def _read(self, answer: Mapping[str, Any]) -> tuple[Generation, Message]:
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            text = message.get("content") or ""
            if not isinstance(text, str):
                raise TypeError
            calls = tuple(dict(call) for call in message.get("tool_calls") or ())
            usage = answer.get("usage") or {}
            tokens = [int(usage.get(key) or 0) for key in ("prompt_tokens", "completion_tokens")]
            told = (choice.get("logprobs") or {}).get("content") or ()
            logprobs = tuple(TokenLogprob(str(one["token"]), float(one["logprob"])) for one in told)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise self._failed("answered with something that is no chat completion") from None
        found = Generation(text, str(choice.get("finish_reason") or "stop"), tokens[0], tokens[1], logprobs)
        return found, Message("assistant", text, tool_calls=calls)


_OPTIONAL: dict[str, tuple[str, ...]] = {
    "response_format": ("response_format", "json_schema", "guided"),
    "temperature": ("temperature",),
    "seed": ("seed",),
    "logprobs": ("logprobs",),
}
"""What can be left out, and the words by which an endpoint says that it does not know it."""


def _call_id(message: Message) -> dict[str, Any]:
    return {} if message.tool_call_id is None else {"tool_call_id": message.tool_call_id}


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _refusal(text: str) -> str:
    """The words of an error answer, whatever its shape."""
    try:
        found = _object(text)
    except ValueError:
        return " ".join(text.split())[:200] or "no words"
    error = found.get("error", found)
    told = error.get("message") if isinstance(error, dict) else error
    return str(told)[:300]

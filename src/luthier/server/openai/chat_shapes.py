"""OpenAI's ``chat.completion`` and ``chat.completion.chunk``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from luthier.jobs.ids import new_id
from luthier.server.openai.answers import now
from luthier.server.openai.writing import Answer, Delta, token_logprobs


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Counts of tokens; the prompt is counted once, however many answers there are."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(
    model: str, system_fingerprint: str, prompt_tokens: int, answers: Sequence[Answer], wants_logprobs: bool
) -> dict[str, Any]:
    """The whole answer."""
    return {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": now(),
        "model": model,
        "choices": [_choice(answer, wants_logprobs) for answer in sorted(answers, key=lambda one: one.index)],
        "usage": usage(prompt_tokens, sum(answer.completion_tokens for answer in answers)),
        "service_tier": "default",
        "system_fingerprint": system_fingerprint,
    }


def _choice(answer: Answer, wants_logprobs: bool) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.calls:
        message["tool_calls"] = answer.calls
    logprobs = {"content": token_logprobs(answer.logprobs or []), "refusal": None} if wants_logprobs else None
    return {
        "index": answer.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": answer.finish_reason,
    }


class Chunks:
    """The chunks of one stream, which share id and time; `with_usage` adds the field that the last one fills."""

    def __init__(self, model: str, system_fingerprint: str, *, with_usage: bool, wants_logprobs: bool) -> None:
        self._common = {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": now(),
            "model": model,
            "service_tier": "default",
            "system_fingerprint": system_fingerprint,
        }
        self._with_usage, self._wants_logprobs = with_usage, wants_logprobs

    def role(self, index: int) -> dict[str, Any]:
        """The first of a choice."""
        return self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def delta(self, delta: Delta) -> dict[str, Any]:
        """A piece of text."""
        return self._chunk(delta.index, {"content": delta.text}, logprobs=delta.logprobs)

    def finish(self, answer: Answer) -> Iterator[dict[str, Any]]:
        """The calls of a choice (each by its name, then its arguments), and its last chunk."""
        for number, call in enumerate(answer.calls):
            name = {"name": call["function"]["name"], "arguments": ""}
            head = {"index": number, "id": call["id"], "type": "function", "function": name}
            yield self._chunk(answer.index, {"tool_calls": [head]})
            rest = {"index": number, "function": {"arguments": call["function"]["arguments"]}}
            yield self._chunk(answer.index, {"tool_calls": [rest]})
        yield self._chunk(answer.index, {}, answer.finish_reason)

    def usage(self, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        """The very last one, which has no choice."""
        return {**self._common, "choices": [], "usage": usage(prompt_tokens, completion_tokens)}

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        told = {"content": token_logprobs(logprobs), "refusal": None} if self._wants_logprobs and logprobs else None
        choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish_reason}
        return {**self._common, "choices": [choice], **({"usage": None} if self._with_usage else {})}

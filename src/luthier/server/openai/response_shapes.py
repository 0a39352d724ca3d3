"""OpenAI's ``response``, and the events of one that is streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.jobs.ids import random_characters
from luthier.server.openai.answers import now
from luthier.server.openai.response_requests import ResponseRequest
from luthier.server.openai.writing import Answer, Delta, token_logprobs

_Event = tuple[str, dict[str, Any]]


class ResponseWriter:
    """One response while it grows.

    Its events follow each other as OpenAI's do: created, in_progress; for the text output_item.added,
    content_part.added, output_text.delta ..., output_text.done, content_part.done, output_item.done; for each call
    output_item.added, function_call_arguments.delta and .done, output_item.done; then completed (or incomplete).
    """

    def __init__(self, body: ResponseRequest) -> None:
        self._body = body
        self._id = "resp_" + random_characters(48)
        self._message_id = "msg_" + random_characters(48)
        self._created = now()
        self._number = 0
        self._text = ""
        self._logprobs: list[dict[str, Any]] = []
        self._open = False
        self._output: list[dict[str, Any]] = []

    def begin(self) -> Iterator[_Event]:
        """The engine has begun."""
        yield self._event("response.created", response=self.response("in_progress"))
        yield self._event("response.in_progress", response=self.response("in_progress"))

    def delta(self, delta: Delta) -> Iterator[_Event]:
        """A piece of text."""
        yield from self._open_text()
        self._text += delta.text
        self._logprobs += delta.logprobs
        yield self._text_event("response.output_text.delta", delta=delta.text, logprobs=self._told(delta.logprobs))

    def finish(self, answer: Answer, prompt_tokens: int) -> Iterator[_Event]:
        """The answer is whole."""
        cut = answer.finish_reason == "length"
        if self._open or not answer.calls:
            yield from self._open_text()
            yield from self._close_text("incomplete" if cut else "completed")
        for call in answer.calls:
            yield from self._call(call, "incomplete" if cut else "completed")
        status = "incomplete" if cut else "completed"
        yield self._event(f"response.{status}", response=self.finished(answer, prompt_tokens, self._output))

    def failed(self, error: dict[str, Any]) -> _Event:
        """The engine failed in the middle."""
        told = {"code": "server_error", "message": error["message"]}
        return self._event("response.failed", response=self.response("failed") | {"error": told})

    def whole(self, answer: Answer, prompt_tokens: int) -> dict[str, Any]:
        """The response that is not streamed."""
        for _ in self.delta(Delta(0, answer.text or "", answer.logprobs or [])) if answer.text else ():
            pass
        for _ in self.finish(answer, prompt_tokens):
            pass
        return self.finished(answer, prompt_tokens, self._output)

    def finished(self, answer: Answer, prompt_tokens: int, output: list[dict[str, Any]]) -> dict[str, Any]:
        cut = answer.finish_reason == "length"
        usage = {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + answer.completion_tokens,
        }
        return self.response("incomplete" if cut else "completed") | {
            "output": output,
            "usage": usage,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "completed_at": None if cut else now(),
        }

    def response(self, status: str) -> dict[str, Any]:
        """The response without its output."""
        body = self._body
        choice = body.tool_choice
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {"format": self._format()},
            "tool_choice": "auto" if choice is None else choice.model_dump() if choice.name else choice.type,
            "tools": [_tool(tool.model_dump()) for tool in body.tools or []],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }

    def _format(self) -> dict[str, Any]:
        wanted = None if self._body.text is None else self._body.text.format
        return {"type": "text"} if wanted is None else wanted.model_dump(by_alias=True, exclude_none=True)

    def _open_text(self) -> Iterator[_Event]:
        if self._open:
            return
        self._open = True
        item = {"id": self._message_id, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._text_event("response.content_part.added", part=self._part("", []))

    def _close_text(self, status: str) -> Iterator[_Event]:
        yield self._text_event("response.output_text.done", text=self._text, logprobs=self._told(self._logprobs))
        part = self._part(self._text, self._logprobs)
        yield self._text_event("response.content_part.done", part=part)
        item = {"id": self._message_id, "type": "message", "status": status, "content": [part], "role": "assistant"}
        self._output.append(item)
        yield self._event("response.output_item.done", output_index=0, item=item)

    def _call(self, call: dict[str, Any], status: str) -> Iterator[_Event]:
        place, arguments = len(self._output), call["function"]["arguments"]
        item = {
            "id": "fc_" + random_characters(48),
            "type": "function_call",
            "status": status,
            "arguments": arguments,
            "call_id": call["id"],
            "name": call["function"]["name"],
        }
        common = {"item_id": item["id"], "output_index": place}
        added = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", output_index=place, item=added)
        yield self._event("response.function_call_arguments.delta", **common, delta=arguments)
        yield self._event("response.function_call_arguments.done", **common, name=item["name"], arguments=arguments)
        self._output.append(item)
        yield self._event("response.output_item.done", output_index=place, item=item)

    def _part(self, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], "logprobs": self._told(logprobs), "text": text}

    def _told(self, logprobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """OpenAI's type for these has no place for unknown bytes: those of the replacement character stand in."""
        told = token_logprobs(logprobs) if self._body.wants_logprobs else []
        for one in told:
            for token in (one, *one["top_logprobs"]):
                token["bytes"] = list(token["token"].encode()) if token["bytes"] is None else token["bytes"]
        return told

    def _text_event(self, kind: str, **values: Any) -> _Event:
        return self._event(kind, item_id=self._message_id, output_index=0, content_index=0, **values)

    def _event(self, kind: str, **values: Any) -> _Event:
        self._number += 1
        return kind, {"type": kind, "sequence_number": self._number - 1, **values}


def _tool(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "strict": bool(values["strict"])}

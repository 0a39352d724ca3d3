"""Assistants as models of the API: ``assistant:<name>``, for each file in the folder that the operator names.

An assistant runs in a thread of its own, never in those of the store: it waits for the engine, whose requests need the
store. A model of this machine is asked through the engine, another by its endpoint. Nobody is
there to confirm a call, so only actions that need no confirmation run.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import Request, Response

from luthier.approaches.assistant import Answered, Assistant, Prepared, prepare, sources_of
from luthier.approaches.assistant_file import is_assistant, read_assistant
from luthier.approaches.chat_model import ChatModel
from luthier.approaches.endpoint import Endpoint
from luthier.core.conversation import Conversation, Message
from luthier.core.errors import LuthierError, UsageError
from luthier.core.generation import Generation, Sampling
from luthier.jobs.records import Identity
from luthier.server.errors import ApiError
from luthier.server.names import model_not_found
from luthier.server.openai.answering import all_replies, engine_request, model_to_ask, unless_gone
from luthier.server.openai.answers import json_response, now
from luthier.server.openai.chat_requests import ChatRequest
from luthier.server.openai.chat_shapes import Chunks, completion
from luthier.server.openai.streams import DONE, event, event_stream
from luthier.server.openai.writing import Answer, Delta
from luthier.server.state import AppState

PREFIX = "assistant:"
_FINGERPRINT = "fp_assistant"
_AT_ONCE = 32
"""Assistants that think at the same time; others wait."""
_LONGEST = 400_000
"""Characters of a prompt that a model of this machine is asked."""


def read_folder(folder: Path) -> dict[str, Prepared]:
    """The assistants of a folder by name, their knowledge read once. Raises `UsageError` for a file that is none, or a
    name that comes twice, and `DataError` for knowledge that is not there."""
    if not folder.is_dir():
        raise UsageError("there is no such folder of assistants.", where=str(folder), code="assistants_missing",
                         remedy="Give a folder that holds assistants' YAML files.", param="assistants")  # fmt: skip
    found: dict[str, Prepared] = {}
    for path in sorted(folder.iterdir()):
        if not is_assistant(path) or not path.is_file() or _is_document(path):
            continue
        file = read_assistant(path)
        if file.name in found:
            raise UsageError(f"two assistants are called {file.name!r}.", where=str(path), remedy="Rename one.",
                             code="duplicate_assistant", param="assistants")  # fmt: skip
        found[file.name] = prepare(file)
    return found


def _is_document(path: Path) -> bool:
    """An OpenAPI document that lies beside the assistants."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        return any(line.startswith(("openapi:", '"openapi"')) for line in handle)


def assistants_json(state: AppState) -> list[dict[str, Any]]:
    """Their entries in the list of models."""
    return [assistant_json(name) for name in state.assistants]


def assistant_json(name: str) -> dict[str, Any]:
    """One entry."""
    return {"id": PREFIX + name, "object": "model", "created": now(), "owned_by": "operator"}


async def answer_as_assistant(request: Request, body: ChatRequest, caller: Identity, state: AppState) -> Response:
    """A chat completion by an assistant. With `stream` the answer is sent once it is whole."""
    ready = state.assistants.get(body.model.removeprefix(PREFIX))
    if ready is None:
        raise model_not_found(body.model)
    asked = body.engine_body()
    if asked.get("tools") or body.choices != 1 or body.logprobs or asked["sampling"].get("json_schema") is not None:
        raise ApiError(
            400, "An assistant has tools and a form of its own: tools, n, logprobs and response_format are not taken.",
            param="model", code="unsupported_parameter",
        )  # fmt: skip
    known = {key: value for key, value in asked["sampling"].items() if key in Sampling.__dataclass_fields__}
    if "stop" in known:
        known["stop"] = tuple(known["stop"])
    said = await unless_gone(request, _answer(state, caller, ready, asked["messages"], Sampling(**known)))
    answer = Answer(0, said.text + sources_of(said), [], said.finish_reason, said.completion_tokens)
    if body.stream:
        return await event_stream(request, _events(body, said, answer))
    return json_response(completion(body.model, _FINGERPRINT, said.prompt_tokens, [answer], False))


async def _events(body: ChatRequest, said: Answered, answer: Answer) -> AsyncGenerator[bytes]:
    with_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = Chunks(body.model, _FINGERPRINT, with_usage=with_usage, wants_logprobs=False)
    yield event(chunks.role(0))
    words = (answer.text or "").split(" ")
    for number, word in enumerate(words):
        yield event(chunks.delta(Delta(0, word if number == 0 else f" {word}")))
    for chunk in chunks.finish(answer):
        yield event(chunk)
    if with_usage:
        yield event(chunks.usage(said.prompt_tokens, said.completion_tokens))
    yield DONE


async def _answer(
    state: AppState, caller: Identity, ready: Prepared, messages: Sequence[dict[str, Any]], sampling: Sampling
) -> Answered:
    file, loop = ready.file, asyncio.get_running_loop()
    asked = _EngineModel(state, caller, file.model, loop)

    def work() -> Answered:
        model: ChatModel = asked
        if file.endpoint is not None:
            model = Endpoint(file.endpoint.url, file.endpoint.name, key_variable=file.endpoint.key_env)
        turns = tuple(Message(str(one["role"]), str(one.get("content") or "")) for one in messages)
        while True:
            try:
                return Assistant(ready, model).respond(Conversation(turns), sampling)
            except ApiError as error:
                if error.code != "context_length_exceeded" or not asked.takes_less():
                    raise

    places: asyncio.Semaphore = state.extras.setdefault(__name__, asyncio.Semaphore(_AT_ONCE))  # type: ignore[assignment]
    try:
        async with places:
            return await _in_thread(work)
    except LuthierError as error:
        raise ApiError(502, f"The assistant could not answer: {error.message}", code="assistant_failed") from None
    finally:
        asked.stop()


async def _in_thread(work: Callable[[], Answered]) -> Answered:
    """Call `work` in a thread that does not keep the server from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answered] = loop.create_future()

    def settle(said: Answered | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        elif said is not None:
            done.set_result(said)

    def run() -> None:
        said, failed = None, None
        try:
            said = work()
        except Exception as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(settle, said, failed)

    threading.Thread(target=run, name="assistant", daemon=True).start()
    return await done


class _EngineModel:
    """A model of this machine, asked through the engine from a thread of the assistant's."""

    local = True

    def __init__(self, state: AppState, caller: Identity, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self._state, self._caller, self._loop = state, caller, loop
        self._asked: Future[Generation] | None = None
        self._stopped = False
        self._longest, self._sent, self._answered = _LONGEST, _LONGEST, 0

    def takes_less(self) -> bool:
        """Whether a prompt that was too long for the model can be tried with less knowledge: only the first one, so
        that no action is done twice, and only where the last try made it shorter."""
        if self._answered or self._sent > self._longest:
            return False
        self._longest = self._sent * 3 // 4
        return True

    def stop(self) -> None:
        """Ask nothing more: whoever wanted the answer is gone, or has it."""
        self._stopped = True
        if self._asked is not None:
            self._asked.cancel()

    def fits(self, conversation: Conversation, max_tokens: int) -> bool:
        return sum(len(message.content) for message in conversation.messages) <= self._longest

    def generate(self, prompts: Sequence[Conversation], sampling: Sampling | None = None) -> list[Generation]:
        found = []
        for prompt in prompts:
            if self._stopped:
                raise CancelledError
            self._sent = sum(len(message.content) for message in prompt.messages)
            self._asked = asyncio.run_coroutine_threadsafe(self._one(prompt, sampling or Sampling()), self._loop)
            found.append(self._asked.result())
            self._answered += 1
        return found

    def likelihoods(self, prompt: Conversation, answers: Sequence[str]) -> list[float] | None:
        return None

    async def _one(self, prompt: Conversation, sampling: Sampling) -> Generation:
        model = await model_to_ask(self._state, self._caller, self.name, does="write")
        body = {
            "messages": [message.to_dict() for message in prompt.messages],
            "n": 1,
            "sampling": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(sampling).items()
                if value is not None
            },
        }
        prompt_tokens, text, reason, written = 0, "", "stop", 0
        for reply in await all_replies(self._state, engine_request("generate", model.ref, self._caller, body)):
            if reply.event == "started":
                prompt_tokens = int(reply.data.get("prompt_tokens") or 0)
            elif reply.event == "answer":
                text, reason = str(reply.data.get("text") or ""), str(reply.data["finish_reason"])
                written = int(reply.data["completion_tokens"])
        return Generation(text, reason, prompt_tokens, written)

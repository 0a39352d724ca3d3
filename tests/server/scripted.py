"""An engine that answers from a script, and what the tests of answers need beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire import Wire

from luthier.core.answering import EngineReply, EngineRequest
from luthier.jobs.records import Job, Model

Said = tuple[str, dict[str, Any]]
"""A reply without the id of its request."""
Script = Callable[[EngineRequest], Iterable[Said]]


def pieces_of(text: str, size: int = 3) -> list[str]:
    return [text[place : place + size] for place in range(0, len(text), size)]


def says(*texts: str, finish_reason: str = "stop", prompt_tokens: int = 7, **answer: Any) -> Script:
    """Each of `n` answers is the next of `texts` (from the start again), in pieces of three characters."""

    def script(request: EngineRequest) -> Iterator[Said]:
        wants_logprobs = request.body["sampling"].get("logprobs") is not None
        yield "started", {"prompt_tokens": prompt_tokens}
        numbers = range(request.body["n"])
        told = [texts[number % len(texts)] for number in numbers]
        for place in range(max((len(pieces_of(text)) for text in told), default=0)):
            for number in numbers:
                pieces = pieces_of(told[number])
                if place < len(pieces):
                    yield "piece", {"index": number, "text": pieces[place]} | logprobs([pieces[place]], wants_logprobs)
        for number in numbers:
            pieces = pieces_of(told[number])
            yield (
                "answer",
                {
                    "index": number,
                    "text": told[number],
                    "finish_reason": finish_reason,
                    "completion_tokens": len(pieces) + 1,
                    **logprobs(pieces, wants_logprobs),
                    **answer,
                },
            )
        yield "end", {}

    return script


def logprobs(pieces: Sequence[str], wanted: bool) -> dict[str, Any]:
    if not wanted:
        return {}
    return {"logprobs": [{"token": one, "logprob": -0.5, "top": [[one, -0.5], ["?", -1.5]]} for one in pieces]}


def fails(code: str, kind: str = "user", message: str = "it does not go", after: Iterable[Said] = ()) -> Script:
    def script(request: EngineRequest) -> Iterator[Said]:
        yield from after
        yield "error", {"code": code, "message": message, "param": "messages", "kind": kind}

    return script


@dataclass
class ScriptedEngine:
    """`script` gives the replies; `asked` are all requests, `closed` those whose reader went away or was done."""

    script: Script = field(default_factory=lambda: says("Hello there."))
    asked: list[EngineRequest] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    silent: bool = False
    """After its script it says nothing more."""
    is_running: bool = True

    async def ask(self, request: EngineRequest) -> AsyncGenerator[EngineReply]:
        self.asked.append(request)
        try:
            for event, data in self.script(request):
                yield EngineReply.from_line(EngineReply(request.id, event, data).to_line())  # type: ignore[arg-type]
                await asyncio.sleep(0)
            if self.silent:
                await asyncio.Event().wait()
        finally:
            self.closed.append(request.id)

    def running(self) -> bool:
        return self.is_running

    def fresh(self) -> ScriptedEngine:
        """As new, for the next test of a module that shares a server."""
        self.__init__()  # type: ignore[misc]
        return self

    @property
    def body(self) -> dict[str, Any]:
        """Of the last request."""
        return self.asked[-1].body


@contextlib.contextmanager
def scripted_wire(home: Path, **settings: Any) -> Iterator[tuple[Wire, ScriptedEngine]]:
    wire = Wire(home, **settings)
    engine = ScriptedEngine()
    wire.state.engine = engine  # type: ignore[assignment]
    with wire.running():
        yield wire, engine


def add_model(wire: Wire, name: str, task: str, base: str = "minilm") -> Model:
    """A tuned model of the first project, without weights: a scripted engine needs none."""
    job, _ = wire.store.jobs.create(
        Job(
            id="ftjob-" + name.replace(":", "-"), project_id=wire.project, kind="openai", status="validating_files",
            model=base, base_model=base, task=task, training_file="file-1", created_at=1, seed=1, recipe={},
        ),
        [],
    )  # fmt: skip
    wire.store.jobs.validated(job.id, {}, [])
    claim = wire.queue.claim()
    assert claim is not None
    place = f"models/{job.id}/final"
    folder = wire.settings.home / "made" / job.id
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    wire.artefacts.put_folder(place, folder)
    model = Model(name, wire.project, job.id, base, task, "lora", place, 5)
    wire.queue.finish(claim, "succeeded", events=[], models=[model])
    return model

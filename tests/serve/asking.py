"""Asks a scheduler as a connection would, and waits for what it says."""

from __future__ import annotations

import itertools
import threading
from typing import Any

from luthier.core.answering import EngineOptions, EngineReply, EngineRequest, ModelRef
from luthier.serve.scheduler import Scheduler

WAIT_SECONDS = 60.0


class Said:
    """The replies to one request, while they come."""

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.replies: list[EngineReply] = []
        self._news = threading.Condition()

    def take(self, reply: EngineReply) -> None:
        reply.to_line()
        with self._news:
            self.replies.append(reply)
            self._news.notify_all()

    def wait(self, *events: str) -> Said:
        """Until one of these has come; by default the end."""
        wanted = events or ("end", "error")
        with self._news:
            if not self._news.wait_for(lambda: any(one.event in wanted for one in self.replies), WAIT_SECONDS):
                raise AssertionError(f"nothing of {wanted} among {self.replies}")
        return self

    def data(self, event: str) -> list[dict[str, Any]]:
        return [one.data for one in self.replies if one.event == event]

    @property
    def error(self) -> dict[str, Any]:
        self.wait()
        found = self.data("error")
        assert len(found) == 1, self.replies
        return found[0]

    @property
    def texts(self) -> list[str]:
        """Of the answers, by index; as pieces and whole they must be the same."""
        self.wait()
        assert not self.data("error"), self.data("error")
        answers = sorted(self.data("answer"), key=lambda one: one["index"])
        for answer in answers:
            shown = "".join(one["text"] for one in self.data("piece") if one["index"] == answer["index"])
            assert shown == answer["text"]
        return [answer["text"] for answer in answers]


class Engine:
    """A scheduler that runs."""

    def __init__(self, options: EngineOptions) -> None:
        self.scheduler = Scheduler(options)
        self.scheduler.start()
        self._numbers = itertools.count()

    def stop(self) -> None:
        self.scheduler.stop()

    def ask(self, op: Any, model: ModelRef | None = None, *, connection: object = "here", **body: Any) -> Said:
        said = Said(f"r{next(self._numbers)}")
        self.scheduler.submit(EngineRequest(said.id, op, model, "project", body), connection, said.take)
        return said

    def write(self, model: ModelRef, prompt: str = "Where is my parcel?", tokens: int = 8, **body: Any) -> Said:
        sampling = {"max_tokens": tokens, **body.pop("sampling", {})}
        return self.ask("generate", model, messages=[{"role": "user", "content": prompt}], sampling=sampling, **body)

    def status(self) -> dict[str, Any]:
        return self.ask("status").wait().data("status")[0]

    def loaded(self) -> set[str]:
        return {row["name"] for row in self.status()["models"]}

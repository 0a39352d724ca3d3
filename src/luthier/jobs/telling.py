"""What a worker says becomes the job's events: OpenAI's words and metrics, each under a key that a replay repeats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeGuard

from luthier.core import clock
from luthier.jobs.recipes import chosen
from luthier.jobs.records import NewEvent

_LONGEST = 2000
"""Characters of a message, and of each text of an answer to a fixed question."""
SAMPLES = "samples:"
"""Before the step, in the keys of events that hold answers to fixed questions."""
_MOST_SAMPLES = 20
"""Answers of one evaluation that are kept."""
_PACE = ("learning_rate", "grad_norm", "rows_per_second", "tokens_per_second")
"""What a step says beside OpenAI's metrics."""


class Telling:
    """Takes a worker's lines in order and gathers what is to be recorded.

    Attributes:
        events: not yet recorded; `taken` empties them.
        step, total_steps, estimated_finish, chosen: as the job's row has them; None where not known yet.
    """

    def __init__(self, named: Callable[[str], str]) -> None:
        """`named` replaces our paths in a text by what people call the files."""
        self._named = named
        self.events: list[NewEvent] = []
        self.step: int | None = None
        self.total_steps: int | None = None
        self.estimated_finish: int | None = None
        self.chosen: dict[str, Any] | None = None
        self._held: NewEvent | None = None
        self._samples: list[dict[str, Any]] = []

    def take(self, line: dict[str, Any]) -> None:
        """One event of the run."""
        kind, data = line["kind"], line.get("data") or {}
        if kind == "sample":
            self._sample(data)
            return
        self._answered(seconds_of(line))
        if kind == "step":
            self._release()
            self._step(data, seconds_of(line))
        elif kind == "evaluation":
            self._evaluation(data, seconds_of(line))
        elif kind not in ("judging", "forecast"):  # the last step of an epoch waits for its validation loss
            self._release()
        if kind == "checkpoint" and data.get("whole_epoch"):
            step = data["step"]
            self.events.append(
                NewEvent(f"checkpoint:{step}", f"Checkpoint created at step {step}", data={"step": step})
            )
        elif kind == "message":
            if "recipe" in data:
                self.chosen = chosen(data["recipe"], data.get("reasons") or {})
            more = {"tracking": data["tracking"]} if "tracking" in data else {}
            self._message(line.get("message", ""), line.get("level", "info"), seconds_of(line), more)
        elif kind == "gate" and data.get("id") == "G3" and "nothing is cut" not in data.get("detail", ""):
            self._message(f"Some samples are too long: {data['detail']}", "warn", seconds_of(line))

    def taken(self) -> list[NewEvent]:
        """The events so far, which are the caller's from now on."""
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        """Nothing more comes."""
        self._release()

    def _step(self, data: dict[str, Any], at: int) -> None:
        step, total = int(data["step"]), int(data["total_steps"])
        self.step, self.total_steps = step, total
        left = data.get("seconds_left")
        if _is_number(left):
            self.estimated_finish = int(clock.now().timestamp() + left)
        metrics = {"step": step, "total_steps": total, "train_loss": data.get("loss"),
                   "train_mean_token_accuracy": data.get("token_accuracy")}  # fmt: skip
        metrics |= {name: data.get(name) for name in _PACE}
        event = _metrics(f"step:{step}", metrics, at)
        if step % max(1, total // int(data.get("epochs") or 1)) == 0:
            self._held = event
        else:
            self.events.append(event)

    def _evaluation(self, data: dict[str, Any], at: int) -> None:
        step = int(data["step"])
        loss, accuracy = data.get("validation_loss"), data.get("validation_accuracy")
        found = {"valid_loss": loss, "full_valid_loss": loss, "valid_mean_token_accuracy": accuracy,
                 "full_valid_mean_token_accuracy": accuracy}  # fmt: skip
        if data.get("metric_name") not in (None, "loss"):
            found |= {"valid_metric": data.get("validation_metric"), "valid_metric_name": data["metric_name"]}
        held, self._held = self._held, None
        if held is not None and held.key == f"step:{step}":
            self.events.append(_metrics(held.key, {**held.data, **found}, held.created_at or at))
        elif _is_number(loss):  # the step itself was recorded before the worker was stopped
            known = {"step": step, "total_steps": self.total_steps, "train_loss": data.get("train_loss")}
            self.events.append(_metrics(f"evaluation:{step}", {**known, **found}, at))

    def _sample(self, data: dict[str, Any]) -> None:
        """The answers of one evaluation come one after another and are told together."""
        if self._samples and self._samples[-1]["step"] != data["step"]:
            self._samples = []  # a part of an evaluation that nothing followed: its worker died
        if len(self._samples) < _MOST_SAMPLES:
            texts = {name: plain_text(data.get(name)) for name in ("prompt", "reference", "output", "finish_reason")}
            self._samples.append({"step": int(data["step"]), **texts})

    def _answered(self, at: int) -> None:
        samples, self._samples = self._samples, []
        if samples:
            step = samples[0]["step"]
            answers = [{name: text for name, text in sample.items() if name != "step"} for sample in samples]
            words = f"Answers to {len(answers)} fixed questions at step {step}"
            self.events.append(
                NewEvent(f"{SAMPLES}{step}", words, data={"step": step, "samples": answers}, created_at=at)
            )

    def _release(self) -> None:
        if self._held is not None:
            self.events.append(self._held)
            self._held = None

    def _message(self, text: str, level: Any, at: int, data: dict[str, Any] | None = None) -> None:
        self.events += told(self._named(text), level, at, data)


def told(text: str, level: Any, at: int, data: dict[str, Any] | None = None) -> list[NewEvent]:
    """A message as an event, whose key is its text, so that a replay says it once; none for no text."""
    text = text[:_LONGEST]
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return [NewEvent(f"message:{key}", text, level=level, data=data or {}, created_at=at)] if text else []


def plain_text(value: Any) -> str:
    """A text as it is kept, in some length; the databases hold neither U+0000 nor half of a surrogate pair."""
    return str(value or "")[:_LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _metrics(key: str, data: dict[str, Any], at: int) -> NewEvent:
    """An event of step metrics; what is missing or not finite is left out."""
    kept = {name: value for name, value in data.items() if isinstance(value, str) or _is_number(value)}
    total = f"/{kept['total_steps']}" if "total_steps" in kept else ""
    named = (("training loss", "train_loss"), ("validation loss", "valid_loss"))
    losses = [f"{name}={kept[field]:.2f}" for name, field in named if field in kept]
    return NewEvent(key, f"Step {kept['step']}{total}: {', '.join(losses)}", type="metrics", data=kept, created_at=at)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def seconds_of(line: dict[str, Any]) -> int:
    """When a worker's line was said, in seconds since 1970."""
    try:
        return int(datetime.fromisoformat(line["created_at"]).timestamp())
    except (KeyError, TypeError, ValueError):
        return int(clock.now().timestamp())

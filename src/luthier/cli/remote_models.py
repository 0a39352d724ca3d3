"""Models on a server: what they answer, and a `Predictor` that asks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from luthier.cli.remote import Server, ServerError
from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError
from luthier.core.predictor import Prediction, SpanPrediction, TextInput
from luthier.core.recipe import LANGUAGE_TASKS

PREDICT = "/luthier/v1/predict"
ROWS_AT_ONCE = 256
ANSWERS_AT_ONCE = 16
"""Rows of one request to a model that writes."""


def task_of(server: Server, model: str) -> str:
    """What a model does, found out by asking it for one token, which an encoder refuses."""
    probe: dict[str, Any] = {"model": model, "texts": ["?"]}
    try:
        answer = server.post(PREDICT, {**probe, "max_tokens": 1})
    except ServerError as error:
        if error.param != "max_tokens":
            raise
        answer = server.post(PREDICT, probe)
    return str(answer["task"])


def answers(
    server: Server, model: str, task: str, rows: Iterable[dict[str, Any]], **options: Any
) -> Iterator[dict[str, Any]]:
    """The answers to `rows`, in order, as `luthier predict --json` writes them; a few rows are read ahead."""
    size = ANSWERS_AT_ONCE if task in LANGUAGE_TASKS else ROWS_AT_ONCE
    wanted = {name: value for name, value in options.items() if value is not None}
    rest = iter(rows)
    while block := list(islice(rest, size)):
        yield from server.post(PREDICT, {"model": model, "rows": block, **wanted})["data"]


def row_of(asked: Any) -> dict[str, Any]:
    """A text, a pair, a conversation, a prompt or a list of messages as a row of a request."""
    if isinstance(asked, str):
        return {"text": asked}
    if isinstance(asked, tuple):
        return {"text": asked[0], "text_pair": asked[1]}
    if isinstance(asked, list):
        return {"messages": asked}
    if isinstance(asked, Conversation) and not asked.tools:
        return {"messages": [message.to_dict() for message in asked.messages]}
    if isinstance(asked, Completion) and asked.suffix is None:
        return {"prompt": asked.prompt}
    raise DataError(
        "a row has tools or a gap to fill, which luthier predict does not send to a server.",
        remedy="Ask POST /v1/chat/completions or /v1/completions, which take them.",
        code="not_sent",
    )


class RemotePredictor:
    """A tuned model on a server that labels, counts or finds spans."""

    def __init__(self, server: Server, model: str, task: str) -> None:
        self.task = task
        self._server, self._model = server, model
        self._labels: tuple[str, ...] | None = None

    @property
    def labels(self) -> Sequence[str]:
        """Class or target names in the order of the model's outputs; span labels are not told beforehand."""
        if self._labels is None:
            answer = next(answers(self._server, self._model, self.task, [{"text": "?"}]))
            values = answer.get("scores") or answer.get("values") or {}
            self._labels = tuple(values) if isinstance(values, dict) else ()
        return self._labels

    def predict(self, texts: Sequence[TextInput]) -> list[Prediction]:
        """Answer `texts`, in order."""
        return list(self.stream(texts))

    def stream(self, texts: Iterable[TextInput]) -> Iterator[Prediction]:
        """Answer one by one, in order."""
        for answer in answers(self._server, self._model, self.task, map(row_of, texts)):
            yield prediction_of(self.task, answer)


def prediction_of(task: str, answer: dict[str, Any]) -> Prediction:
    """An answer of the server as one of ours."""
    if task == "extract":
        return Prediction(spans=tuple(SpanPrediction(**span) for span in answer["spans"]))
    if task == "regress":
        values = answer.get("values")
        named = values if isinstance(values, dict) else {}
        plain = tuple(named.values()) if named else tuple(values) if values else None
        return Prediction(score=answer["score"], scores=named, values=plain)
    labels = answer.get("labels")
    return Prediction(
        label=answer["label"], score=answer["score"], scores=answer["scores"] or {},
        labels=None if labels is None else tuple(labels), abstained=bool(answer.get("abstained")),
    )  # fmt: skip

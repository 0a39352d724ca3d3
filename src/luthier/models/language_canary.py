"""The canary of a model that writes: fixed beginnings of texts, and how it goes on from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from luthier.core import durable
from luthier.core.generation import Generation, Sampling
from luthier.models.canary import CANARY_JSON, FORMAT, judge
from luthier.models.causal_model import CausalModel
from luthier.models.chat_tokenizer import HuggingChatTokenizer
from luthier.models.generation.decoder import Decoder
from luthier.models.generation.request import Request

_QUESTIONS = (
    "The capital of France is",
    "Please answer in one word: yes or no?",
    "Dear customer, thank you for your message.",
    '{"name": "',
    "def main():\n    ",
    "1, 2, 3, 4,",
)
_KEPT = 3
"""Questions that are asked again: those where the tuned model differs most from its base."""
_TOKENS = 8
SAMPLING = Sampling(max_tokens=_TOKENS, logprobs=2)


def write_language_canary(model: CausalModel, tokenizer: HuggingChatTokenizer, folder: Path) -> None:
    """Ask `model`, and record its answers in `folder`."""
    questions = [_ids(tokenizer, text) for text in _QUESTIONS]
    tuned = _answers(model, tokenizer, questions, model.prefix())
    base = _base_answers(model, tokenizer, questions)
    effects = [0.0] * len(questions)
    if base is not None:
        effects = [difference(_record(ids, one), other) for ids, one, other in zip(questions, tuned, base, strict=True)]
    kept = sorted(range(len(questions)), key=lambda place: -effects[place])[:_KEPT]
    written: dict[str, Any] = {
        "format": FORMAT,
        "precision": model.precision,
        "answers": [_record(questions[place], tuned[place]) for place in kept],
        "base_differs_by": None if base is None else effects[kept[0]],
    }
    durable.write_json(folder / CANARY_JSON, written)


def language_questions(
    canary: dict[str, Any], tokenizer: HuggingChatTokenizer, adapter: str | None = None
) -> list[Request]:
    """The requests whose answers were recorded."""
    return [_request(tokenizer, answer["prompt"], adapter) for answer in canary["answers"]]


def check_language(canary: dict[str, Any], answers: Sequence[Generation], *, precision: str, name: str) -> None:
    """Raise `ModelError` where the answers are not those that were recorded."""
    found = max(difference(said, one) for said, one in zip(canary["answers"], answers, strict=True))
    judge(found, precision, canary["precision"], name)


def difference(recorded: dict[str, Any], answer: Generation) -> float:
    """How far an answer is from a recorded one, in nats. Where another token was chosen it is the lead that the
    recorded one had, little where the model was torn between two, and what follows is not compared."""
    found = 0.0
    said = zip(recorded["tokens"], recorded["logprobs"], recorded["margins"], strict=True)
    for (token, logprob, margin), now in zip(said, answer.logprobs, strict=False):
        if now.token != token:
            return max(found, float(margin))
        if not abs(now.logprob - logprob) <= 1e9:
            return float("inf")
        found = max(found, abs(now.logprob - logprob))
    return found if len(answer.logprobs) >= len(recorded["tokens"]) else float("inf")


def _ids(tokenizer: HuggingChatTokenizer, text: str) -> list[int]:
    start = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    return start + tokenizer.pieces(text)[0]


def _request(tokenizer: HuggingChatTokenizer, ids: Sequence[int], adapter: str | None = None) -> Request:
    return Request(tuple(ids), SAMPLING, tokenizer, frozenset(), adapter=adapter)


def _answers(
    model: CausalModel, tokenizer: HuggingChatTokenizer, questions: Sequence[Sequence[int]], prefix: Sequence[Any]
) -> list[Generation]:
    decoder = Decoder(
        model.backbone, context=max(len(ids) for ids in questions) + _TOKENS, precision=model.precision, prefix=prefix
    )
    return decoder.generate([_request(tokenizer, ids) for ids in questions])


def _base_answers(
    model: CausalModel, tokenizer: HuggingChatTokenizer, questions: Sequence[Sequence[int]]
) -> list[Generation] | None:
    """What the base would say; None where it cannot be asked without loading it again."""
    kind = model.method.kind
    if kind not in ("lora", "ia3", "prefix"):
        return None
    with contextlib.nullcontext() if kind == "prefix" else _without_adapter(model):
        return _answers(model, tokenizer, questions, ())


@contextlib.contextmanager
def _without_adapter(model: CausalModel) -> Iterator[None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with model.peft.disable_adapter():
            yield
    finally:
        for parameter in trained:  # PEFT may leave them frozen
            parameter.requires_grad_(True)


def _record(ids: Sequence[int], answer: Generation) -> dict[str, Any]:
    return {
        "prompt": list(ids),
        "tokens": [one.token for one in answer.logprobs],
        "logprobs": [one.logprob for one in answer.logprobs],
        "margins": [one.top[0][1] - one.top[1][1] for one in answer.logprobs],
    }

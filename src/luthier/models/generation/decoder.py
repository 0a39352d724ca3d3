"""Batched decoding of a list of requests with any causal model of transformers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from luthier.core.generation import Generation, Piece
from luthier.models.generation.forward import ModelForward
from luthier.models.generation.request import Request
from luthier.models.generation.running import Forward, RunningBatch

_PROMPT_TOKENS = 4096
"""More than for an engine: nobody watches the other answers stand still."""
Step = tuple[Piece, Generation | None]


class Decoder:
    """Answers requests.

    Args:
        model: a causal language model of transformers, also one in training (it is in eval mode while an answer
            is made, and then again as it was), with PEFT's modules in it or not.
        context: the longest prompt with answer, in tokens.
        precision: bf16 computes under autocast.
        prefix: of prefix tuning, see `RowCache`.
        named: `model` is a PeftModel of several adapters, and each request names its own.
        rows: requests that are answered at the same time.
        cache_tokens: columns of all rows of the cache together; one request may exceed it.
        forward: what computes instead of `model`, see `forward_of`; precision, prefix and named are then its own.
    """

    def __init__(
        self,
        model: Any,
        *,
        context: int,
        precision: str = "fp32",
        prefix: Sequence[tuple[Tensor, Tensor]] = (),
        named: bool = False,
        rows: int = 16,
        cache_tokens: int = 1 << 16,
        forward: Forward | None = None,
    ) -> None:
        self.model = model
        self.context = context
        self._forward: Forward = forward or ModelForward(model, precision=precision, prefix=prefix, named=named)
        self._rows = rows
        self._cache_tokens = cache_tokens

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """All answers, in order. Raises `UsageError` before anything is computed."""
        found: dict[int, Generation] = {}
        for piece, generation in self.stream(requests):
            if generation is not None:
                found[piece.index] = generation
        return [found[index] for index in range(len(requests))]

    def stream(self, requests: Sequence[Request]) -> Iterator[Step]:
        """Pieces as they come; the last one of a request with its whole answer."""
        batch = RunningBatch(
            self._forward,
            context=self.context,
            rows=self._rows,
            cache_tokens=self._cache_tokens,
            prompt_tokens=_PROMPT_TOKENS,
        )
        order = sorted(range(len(requests)), key=lambda index: -len(requests[index].ids))
        for index in order:
            batch.add(requests[index], index, index)
        return self._stream(batch)

    def _stream(self, batch: RunningBatch) -> Iterator[Step]:
        with evaluating(self.model):
            while batch.waiting or batch.active:
                for progress in batch.step():
                    if progress.error is not None:
                        raise progress.error
                    yield progress.piece, progress.generation


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, and afterwards each module as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

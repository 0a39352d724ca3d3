"""Batched decoding with any causal model of transformers.

Requests of equal length are read together, without padding; all that are being answered take one step
at a time, and the place of one that has finished goes to one that waits (continuous batching,
Yu et al. 2022, Orca). Shapes: B rows, W columns of the cache, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luthier.core.generation import Generation, Piece
from luthier.models.generation.cache import RowCache
from luthier.models.generation.request import Answer, Request
from luthier.models.generation.sampling import choose

_PREFILL_TOKENS = 4096
"""Tokens of prompts that are read at once; a longer prompt is read alone."""
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
    ) -> None:
        self.model = model
        self.context = context
        self._bf16 = precision == "bf16"
        self._prefix = prefix
        self._before = prefix[0][0].shape[2] if prefix else 0
        self._named = named
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
        answers = [Answer(index, request, self.context) for index, request in enumerate(requests)]
        return self._stream(answers)

    @torch.no_grad()
    def _stream(self, answers: list[Answer]) -> Iterator[Step]:
        waiting = deque(sorted(answers, key=lambda answer: -answer.length))
        active: list[Answer] = []
        cache = RowCache(0)
        with evaluating(self.model):
            while waiting or active:
                while group := self._next_group(waiting, len(active), cache.width if active else 0):
                    fresh = RowCache(len(group), self._prefix)
                    logits = self._read(group, fresh)
                    going = yield from _advance(group, logits)
                    if going:
                        if len(going) < len(group):
                            fresh.select(going)
                        if active:
                            cache.join(fresh)
                        else:
                            cache = fresh
                        active += [group[row] for row in going]
                if not active:
                    continue
                going = yield from _advance(active, self._step(active, cache))
                if len(going) < len(active):
                    active = [active[row] for row in going]
                    if active:
                        cache.select(going, min(cache.width - self._columns(answer) for answer in active))

    def _next_group(self, waiting: deque[Answer], active: int, width: int) -> list[Answer]:
        """Requests of one length that there is room for."""
        group: list[Answer] = []
        while waiting and active + len(group) < self._rows:
            length = waiting[0].length
            count = len(group) + 1
            if group and (length != group[0].length or count * length > _PREFILL_TOKENS):
                break
            if (active or group) and (active + count) * max(width, length) > self._cache_tokens:
                break
            group.append(waiting.popleft())
        return group

    def _columns(self, answer: Answer) -> int:
        """Columns of the cache that hold a request; its last token is not in it yet."""
        return self._before + answer.length - 1

    def _read(self, group: list[Answer], cache: RowCache) -> Tensor:
        device = next(self.model.parameters()).device
        ids = torch.tensor([answer.request.ids for answer in group], device=device)
        positions = torch.arange(self._before, self._before + ids.shape[1], device=device)
        return self._logits(ids, positions.expand_as(ids), None, cache, group)

    def _step(self, active: list[Answer], cache: RowCache) -> Tensor:
        device = next(self.model.parameters()).device
        ids = torch.tensor([[answer.ids[-1]] for answer in active], device=device)
        positions = torch.tensor([[self._columns(answer)] for answer in active], device=device)
        first = cache.width - positions
        mask = None
        if bool(first.any()):
            mask = torch.arange(cache.width + 1, device=device) >= first
        return self._logits(ids, positions, mask, cache, active)

    def _logits(
        self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: RowCache, answers: list[Answer]
    ) -> Tensor:
        """float32 [B, V] of the last position of each row."""
        options: dict[str, Any] = {}
        if self._named:
            options["adapter_names"] = [answer.request.adapter or "__base__" for answer in answers]
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            logits: Tensor = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **options,
            ).logits
        return logits[:, -1].float()


def _advance(answers: Sequence[Answer], logits_BV: Tensor) -> Generator[Step, None, list[int]]:
    """One token for each; gives the rows that go on."""
    allowed = logits_BV
    if any(answer.request.constraint is not None for answer in answers):
        allowed = torch.stack([answer.mask(logits) for answer, logits in zip(answers, logits_BV, strict=True)])
    tokens = choose(allowed, [answer.sampler for answer in answers])
    going = []
    for row, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
        piece = answer.take(token, logits_BV[row])
        if answer.finish_reason is None:
            going.append(row)
        if piece is not None:
            yield piece, None if piece.finish_reason is None else answer.generation()
    return going


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

"""A batch that runs: requests come and go between its steps (continuous batching, Yu et al. 2022, Orca).

What computes is a `Forward`; which rows there are, and what becomes of their logits, is decided here and nowhere
else. Shapes: B rows, T tokens of a prompt, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from luthier.core.errors import ModelError
from luthier.core.generation import Generation, Piece, TokenLogprob
from luthier.models.generation.request import Answer, Request
from luthier.models.generation.sampling import choose

_PROMPT_TOKENS = 4096
"""Tokens of prompts that are read between two steps when nobody waits for the next token."""


class Rows(Protocol):
    """The keys and values of some rows."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        ...

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Keep these rows only; returns them in the order that they have now."""
        ...

    def join(self, other: Any) -> None:
        """Add the rows of `other` after these."""
        ...


class Forward(Protocol):
    """Computes logits, float32 [B, V], of what follows the last token of each row."""

    def read(self, ids_BT: Tensor, adapters: Sequence[str | None]) -> tuple[Any, Tensor]:
        """Read prompts of one length: (their `Rows`, logits)."""
        ...

    def extend(self, rows: Any, ids_BT: Tensor) -> Tensor:
        """Read more tokens of the prompts of `rows`, which are of one length."""
        ...

    def step(self, rows: Any, ids_B: Tensor) -> Tensor:
        """Add one token to each row."""
        ...

    @property
    def device(self) -> torch.device:
        """Where ids belong."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What came of one request in a step: a piece; with the last one the whole answer; or an error, which is the
    last as well. `logprobs` are those of the tokens since the piece before, where they were asked for."""

    key: Hashable
    piece: Piece
    generation: Generation | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    error: Exception | None = None


class RunningBatch:
    """Answers requests, a token for each of them per step. One thread uses it.

    Args:
        context: the longest prompt with answer, in tokens.
        rows: requests that are answered at the same time; others wait.
        cache_tokens: columns of all rows of the cache together; one request may exceed it.
        prompt_tokens: of prompts, read between two steps while rows are answered; longer ones are read in parts
            of this size, so that the others do not stand still.
    """

    def __init__(
        self, forward: Forward, *, context: int, rows: int = 16, cache_tokens: int = 1 << 16, prompt_tokens: int = 512
    ) -> None:
        self.forward = forward
        self.context = context
        self._rows = rows
        self._cache_tokens = cache_tokens
        self._prompt_tokens = prompt_tokens
        self._waiting: deque[Answer] = deque()
        self._reading: _Reading | None = None
        self._active: list[Answer] = []
        self._cache: Any = None
        self._keys: dict[int, Hashable] = {}  # by the id of the answer

    @property
    def active(self) -> int:
        """Requests that are being answered."""
        return len(self._active)

    @property
    def waiting(self) -> int:
        """Requests whose prompt is not read yet."""
        return len(self._waiting) + (len(self._reading.group) if self._reading else 0)

    def add(self, request: Request, key: Hashable, index: int = 0) -> None:
        """Take a request; `index` is that of its pieces. Raises `UsageError` for what cannot be answered."""
        answer = Answer(index, request, self.context)
        self._keys[id(answer)] = key
        self._waiting.append(answer)

    def cancel(self, key: Hashable) -> None:
        """Forget the requests of this key; nothing more is said about them."""
        mine = {answer for answer in self._all() if self._keys[id(answer)] == key}
        self._forget(mine)
        self._waiting = deque(answer for answer in self._waiting if answer not in mine)
        if self._reading is not None:
            going = [row for row, answer in enumerate(self._reading.group) if answer not in mine]
            self._reading = self._reading.keep(going)
        self._keep([row for row, answer in enumerate(self._active) if answer not in mine])

    @torch.no_grad()
    def step(self) -> list[Progress]:
        """Read waiting prompts, then one token for all that are being answered.

        Never raises: an error while prompts are read is that of their requests, any other that of all that are being
        answered; what waits goes on.
        """
        found: list[Progress] = []
        try:
            self._read_prompts(found)
            if self._active:
                ids = torch.tensor([answer.ids[-1] for answer in self._active], device=self.forward.device)
                going = self._advance(self._active, self.forward.step(self._cache, ids), found)
                self._keep(going)
        except Exception as error:
            given_up = [*(self._reading.group if self._reading else ()), *self._active]
            self._reading, self._active, self._cache = None, [], None
            found += self._failed(given_up, error)
        return found

    def _read_prompts(self, found: list[Progress]) -> None:
        hurry = bool(self._active)
        budget = self._prompt_tokens if hurry else _PROMPT_TOKENS
        while budget > 0:
            if self._reading is None:
                group = self._next_group(budget)
                if not group:
                    break
                self._reading = _Reading(group)
            reading = self._reading
            try:
                budget -= reading.read(self.forward, budget if hurry else None)
            except Exception as error:  # whatever it is, it is these requests' own
                self._reading = None
                found += self._failed(reading.group, error)
                continue
            if reading.logits is not None:
                self._join(reading, found)
                self._reading = None

    def _join(self, reading: _Reading, found: list[Progress]) -> None:
        assert reading.logits is not None
        going = self._advance(reading.group, reading.logits, found)
        if not going:
            return
        group, rows = reading.group, reading.rows
        if len(going) < len(group):
            group = [group[row] for row in rows.keep(going)]
        if self._active:
            self._cache.join(rows)
        else:
            self._cache = rows
        self._active += group

    def _next_group(self, most_tokens: int) -> list[Answer]:
        """Requests of one length that there is room for."""
        group: list[Answer] = []
        active, width = len(self._active), self._cache.width if self._active else 0
        while self._waiting and active + len(group) < self._rows:
            length = self._waiting[0].length
            count = len(group) + 1
            if group and (length != group[0].length or count * length > most_tokens):
                break
            if (active or group) and (active + count) * max(width, length) > self._cache_tokens:
                break
            group.append(self._waiting.popleft())
        return group

    def _advance(self, answers: Sequence[Answer], logits_BV: Tensor, found: list[Progress]) -> list[int]:
        """One token for each; gives the rows that go on."""
        finite = logits_BV.amax(dim=-1).isfinite().tolist()  # also the sign of NaN in any place
        if not all(finite):
            logits_BV = torch.where(torch.tensor(finite, device=logits_BV.device).unsqueeze(1), logits_BV, 0.0)
        allowed = logits_BV
        if any(answer.request.constraint is not None for answer in answers):
            allowed = torch.stack([answer.mask(logits) for answer, logits in zip(answers, logits_BV, strict=True)])
        tokens = choose(allowed, [answer.sampler for answer in answers])
        going = []
        for row, (answer, token) in enumerate(zip(answers, tokens, strict=True)):
            try:
                if not finite[row]:
                    raise _not_finite()
                piece = answer.take(token, logits_BV[row])
            except Exception as error:  # of this row alone: a schema that cannot be followed any further
                found += self._failed([answer], error)
                continue
            if piece is not None:
                ended = piece.finish_reason is not None
                generation = answer.generation() if ended else None
                found.append(Progress(self._keys[id(answer)], piece, generation, answer.new_logprobs()))
            if answer.finish_reason is None:
                going.append(row)
            else:
                self._forget({answer})
        return going

    def _keep(self, rows: list[int]) -> None:
        if len(rows) == len(self._active):
            return
        self._active = [self._active[row] for row in self._cache.keep(rows)] if rows else []
        if not rows:
            self._cache = None

    def _failed(self, answers: Sequence[Answer], error: Exception) -> list[Progress]:
        found = [
            Progress(self._keys[id(one)], Piece(one.index, ""), error=error) for one in answers if id(one) in self._keys
        ]
        self._forget(set(answers))
        return found

    def _all(self) -> list[Answer]:
        return [*self._waiting, *(self._reading.group if self._reading else ()), *self._active]

    def _forget(self, answers: set[Answer]) -> None:
        for answer in answers:
            self._keys.pop(id(answer), None)


class _Reading:
    """Prompts of one length of which a part is read."""

    def __init__(self, group: list[Answer]) -> None:
        self.group = group
        self.rows: Any = None
        self.logits: Tensor | None = None
        self._read = 0

    def read(self, forward: Forward, most_tokens: int | None) -> int:
        """Read on, at most so many tokens (at least one of each); how many it were."""
        length = self.group[0].length
        count = length - self._read
        if most_tokens is not None:
            count = min(count, max(1, most_tokens // len(self.group)))
        stop = self._read + count
        ids = torch.tensor([answer.request.ids[self._read : stop] for answer in self.group], device=forward.device)
        if self._read:
            logits = forward.extend(self.rows, ids)
        else:
            self.rows, logits = forward.read(ids, [answer.request.adapter for answer in self.group])
        self._read = stop
        if stop == length:
            self.logits = logits
        return count * len(self.group)

    def keep(self, rows: list[int]) -> _Reading | None:
        """The same without others; None where nobody is left."""
        if not rows:
            return None
        if len(rows) < len(self.group):
            order = rows if self.rows is None else self.rows.keep(rows)
            self.group = [self.group[row] for row in order]
        return self


def _not_finite() -> ModelError:
    return ModelError(
        "the model's outputs are not finite, so it cannot choose a token.",
        remedy="Its weights are broken, or the prompt overflows its precision; try precision fp32.",
        code="nonfinite_output",
    )

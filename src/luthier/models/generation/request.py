"""What the decoder is asked, one prompt each, and the answer that grows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from luthier.core.errors import UsageError
from luthier.core.generation import Generation, Piece, Sampling, TokenLogprob
from luthier.core.text import ChatTokenizer
from luthier.models.generation.constrained import JsonConstraint
from luthier.models.generation.sampling import RowSampler, check_sampling
from luthier.models.generation.stopping import StopFinder, TextStream


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt as ids, and how it is to be answered.

    `stop_ids` end the answer and are not part of its text; `adapter` names one of the adapters that the model
    has (None: the base alone).
    """

    ids: tuple[int, ...]
    sampling: Sampling
    tokenizer: ChatTokenizer
    stop_ids: frozenset[int]
    constraint: JsonConstraint | None = None
    adapter: str | None = None


class Answer:
    """Request `index` while it is answered.

    Attributes:
        ids: the tokens so far, the end token included.
        finish_reason: None until the answer is whole.
    """

    def __init__(self, index: int, request: Request, context: int) -> None:
        check_sampling(request.sampling)
        if not request.ids:
            raise UsageError(
                "the prompt is empty, and a model needs something to go on from.",
                remedy="Give it at least one character.",
                code="empty_prompt",
            )
        room = context - len(request.ids)
        if room < 1:
            raise UsageError(
                f"the prompt has {len(request.ids):,} tokens, and this model's context of {context:,} leaves none "
                "for the answer.",
                remedy="Shorten the prompt, or choose a base with a longer context.",
                code="context_length_exceeded",
            )
        self.index, self.request = index, request
        self.sampler = RowSampler(request.sampling, request.ids)
        self.ids: list[int] = []
        self.finish_reason: str | None = None
        self._limit = min(room, request.sampling.max_tokens)
        self._stream = TextStream(request.tokenizer)
        self._stops = StopFinder(request.sampling.stop)
        self._pieces: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._told = 0

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.request.ids) + len(self.ids)

    def mask(self, logits_V: Tensor) -> Tensor:
        """Logits with -inf at the tokens that the schema does not allow here."""
        constraint = self.request.constraint
        if constraint is None:
            return logits_V
        return logits_V.masked_fill(~constraint.allowed().to(logits_V.device), -torch.inf)

    def take(self, token: int, logits_V: Tensor) -> Piece | None:
        """Add a token; what can be shown of it. `logits_V` are the model's own, before any setting."""
        request, constraint = self.request, self.request.constraint
        self.ids.append(token)
        self.sampler.accept(token)
        text, found = "", False
        ended = token in request.stop_ids
        if not ended:
            if request.sampling.logprobs is not None:
                self._logprobs.append(self._logprob(token, logits_V, request.sampling.logprobs))
            text, found = self._stops.push(self._stream.push(token))
            if constraint is not None:
                constraint.accept(token)
                ended = constraint.ended
        full = len(self.ids) >= self._limit
        if not found and (ended or full):
            rest, found = self._stops.push(self._stream.flush())
            text += rest if found else rest + self._stops.flush()
        if found or ended or full:
            self.finish_reason = "stop" if found or ended else "length"
        if not text and self.finish_reason is None:
            return None
        self._pieces.append(text)
        return Piece(self.index, text, self.finish_reason)

    def generation(self) -> Generation:
        """The answer when it is whole; end tokens are counted but have no log-probability."""
        assert self.finish_reason is not None
        return Generation(
            text="".join(self._pieces),
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.request.ids),
            completion_tokens=len(self.ids),
            logprobs=tuple(self._logprobs),
        )

    def new_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Those of the tokens since it was last asked for."""
        found = tuple(self._logprobs[self._told :])
        self._told = len(self._logprobs)
        return found

    def _logprob(self, token: int, logits_V: Tensor, alternatives: int) -> TokenLogprob:
        logprobs = torch.log_softmax(logits_V, dim=-1)
        best = logprobs.topk(min(alternatives, len(logprobs)))
        top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return TokenLogprob(
            self._spell(token), float(logprobs[token]), tuple((self._spell(index), value) for index, value in top)
        )

    def _spell(self, token: int) -> str:
        return self.request.tokenizer.decode([token], skip_special=False)

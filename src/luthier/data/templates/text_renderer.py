"""Prompts with completions, and plain text, as a base model that continues text reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from luthier.core.conversation import Completion, Prompt
from luthier.core.errors import DataError
from luthier.core.text import ChatTokenizer
from luthier.data.samples import Sample
from luthier.data.templates.boundary import Boundary, Pieces, first_at
from luthier.data.templates.fill_in_middle import FimTokens, cut_middle, find_fim_tokens
from luthier.data.templates.rendered import Rendered, TrainedTurn
from luthier.data.tokens import fingerprint

FORMAT = 1
"""Counts up when the same sample would be rendered differently: cached tokens are then made again."""


class TextRenderer:
    """Prompt and completion, then the end-of-text token; before them what the base's own tokenizer puts there.

    The completion and its end are learned; of a text without a prompt, all of it. A completion with a
    suffix becomes prefix, suffix, middle (PSM) where the vocabulary has the marks for it, and so does a share
    `fim_rate` of the texts without a prompt, cut at random places that depend on text and `seed`.
    """

    def __init__(self, tokenizer: ChatTokenizer, *, fim_rate: float = 0.0, seed: int = 0) -> None:
        self.tokenizer = tokenizer
        self.fim_rate = fim_rate
        self.seed = seed
        self._boundary = Boundary(tokenizer)

    @cached_property
    def fim(self) -> FimTokens | None:
        """The vocabulary's marks for fill-in-the-middle."""
        return find_fim_tokens(self.tokenizer)

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer, `fim_rate` and `seed`."""
        return fingerprint(FORMAT, "complete", self.tokenizer.fingerprint, self.fim_rate, self.seed)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The end-of-text token, and the one that ends a filled gap."""
        ends = {self.tokenizer.eos_id} if self.fim is None else {self.tokenizer.eos_id, self.fim.end}
        return tuple(sorted(ends))

    def prompt(self, prompt: Prompt) -> list[int]:
        """Ids of the beginning of a text."""
        if not isinstance(prompt, str):
            raise DataError(
                "this model continues text and takes no conversation.",
                remedy="Give it a text, or train it with task: chat.",
                code="not_a_text",
            )
        ids, _ = self.tokenizer.pieces(prompt)
        return self._begun(ids).ids + ids

    def fill_prompt(self, prefix: str, suffix: str) -> list[int]:
        """Ids that ask for what stands between `prefix` and `suffix`."""
        row = self._begun()
        self._before_middle(row, prefix, suffix, 0.0, self._fim_or_error(""))
        return row.ids

    def question(self, sample: Sample, turn: int) -> Prompt | None:
        """The prompt; None for plain text and gaps."""
        completion = _completion(sample)
        return completion.prompt if completion.prompt and completion.suffix is None else None

    def render(self, sample: Sample) -> list[Rendered]:
        """One row. Raises `DataError` for a suffix where the vocabulary has no marks."""
        return self.render_batch([sample])[0]

    def render_batch(self, samples: Sequence[Sample]) -> list[list[Rendered]]:
        """`render` for many samples, tokenised together."""
        completions = [_completion(sample) for sample in samples]
        pieces = self.tokenizer.pieces_batch([item.prompt + item.completion for item in completions])
        return [
            [self._one(completion, found, sample.place)]
            for completion, found, sample in zip(completions, pieces, samples, strict=True)
        ]

    def _one(self, completion: Completion, pieces: Pieces, where: str) -> Rendered:
        if completion.suffix is not None:
            gap = (completion.prompt, completion.completion, completion.suffix)
            return self._filled(gap, 0.0, self._fim_or_error(where))
        if self.fim_rate and not completion.prompt and self.fim is not None:
            cut = cut_middle(completion.completion, self.fim_rate, self.seed)
            if cut is not None:
                return self._filled(cut, 1.0, self.fim)
        return self._continued(completion, pieces)

    def _continued(self, completion: Completion, pieces: Pieces) -> Rendered:
        border = len(completion.prompt)
        text = completion.prompt + completion.completion
        if not self._boundary.agrees(text, border, pieces):
            pieces = self._boundary.split(text, border)
        ids, offsets = pieces
        row = self._begun(ids)
        begin = len(row.text) + border
        known = first_at(offsets, border)
        row.stretch(text, pieces, [0.0] * known + [1.0] * (len(ids) - known))
        if ids[known:][-1:] != [self.tokenizer.eos_id]:  # written out in the data already
            row.token(self.tokenizer.eos_id, 1.0)
        return row.rendered(begin)

    def _filled(self, gap: tuple[str, str, str], around: float, fim: FimTokens) -> Rendered:
        """`around` is the weight of prefix and suffix: of a plain text all is learned, as without the cut."""
        prefix, middle, suffix = gap
        row = self._begun()
        first = len(row.ids)
        self._before_middle(row, prefix, suffix, around, fim)
        row.weights[first] = 0.0  # nothing announces that a gap will come
        begin = 0 if around else len(row.text)
        pieces = self.tokenizer.pieces(middle)
        row.stretch(middle, pieces, [1.0] * len(pieces[0]))
        row.token(fim.end, 1.0)
        return row.rendered(begin)

    def _before_middle(self, row: _Row, prefix: str, suffix: str, weight: float, fim: FimTokens) -> None:
        for mark, text in ((fim.prefix, prefix), (fim.suffix, suffix)):
            row.token(mark, weight)
            pieces = self.tokenizer.pieces(text)
            row.stretch(text, pieces, [weight] * len(pieces[0]))
        row.token(fim.middle, weight)

    def _begun(self, ids: Sequence[int] = ()) -> _Row:
        """An empty row, or one with the beginning-of-text token where the tokenizer puts it; never a second one."""
        row = _Row(self.tokenizer)
        bos = self.tokenizer.bos_id
        if bos is not None and list(ids[:1]) != [bos]:
            row.token(bos, 0.0)
        return row

    def _fim_or_error(self, where: str) -> FimTokens:
        if self.fim is None:
            raise DataError(
                "this base model's vocabulary has no marks to fill in the middle of a text.",
                where=where,
                remedy="Leave the suffix out, or choose a base for code (StarCoder, Qwen coder, CodeLlama).",
                code="no_fim_tokens",
            )
        return self.fim


class _Row:
    """A row that grows, its text and offsets in step with its ids."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self.ids: list[int] = []
        self.weights: list[float] = []
        self.offsets: list[tuple[int, int]] = []
        self.text = ""

    def token(self, index: int, weight: float) -> None:
        """A token that no text stands for."""
        (spelled,) = self._tokenizer.tokens([index])
        self.stretch(spelled, ([index], [(0, len(spelled))]), [weight])

    def stretch(self, text: str, pieces: Pieces, weights: list[float]) -> None:
        """Tokens of a text."""
        ids, offsets = pieces
        shift = len(self.text)
        self.ids += ids
        self.weights += weights
        self.offsets += [(start + shift, end + shift) for start, end in offsets]
        self.text += text

    def rendered(self, begin: int) -> Rendered:
        """The finished row: what is learned begins at character `begin` and ends with the row."""
        turn = TrainedTurn(0, begin, len(self.text), self.weights[-1] > 0)
        return Rendered(self.ids, self.weights, self.text, self.offsets, (turn,))


def _completion(sample: Sample) -> Completion:
    if not isinstance(sample.target, Completion):
        raise DataError(
            "this row is no completion.",
            where=sample.place,
            remedy="Set task to chat for conversations, or give prompt and completion.",
            code="not_a_completion",
        )
    return sample.target

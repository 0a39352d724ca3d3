"""Conversations as a base model reads them: the one renderer of training and serving."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from luthier.core import clock
from luthier.core.conversation import Conversation, Message, Prompt
from luthier.core.errors import DataError
from luthier.core.text import ChatTokenizer
from luthier.data.samples import Sample
from luthier.data.templates.boundary import Boundary, Pieces, first_at
from luthier.data.templates.chat_template import ChatTemplate
from luthier.data.templates.default_template import default_template
from luthier.data.templates.parity import prefix_parity
from luthier.data.templates.rendered import Rendered, Renderer, TrainedTurn, end_of_turn_share
from luthier.data.templates.text_renderer import TextRenderer
from luthier.data.templates.turns import Draft, Ending, TurnFinder, find_ending
from luthier.data.tokens import fingerprint

__all__ = [
    "ChatRenderer",
    "Learn",
    "Rendered",
    "Renderer",
    "TextRenderer",
    "end_of_turn_share",
    "prefix_parity",
    "renderer_for",
]

Learn = Literal["all", "last"]
FORMAT = 1
"""Counts up when the same sample would be rendered differently: cached tokens are then made again."""


class ChatRenderer:
    """Conversations through a chat template.

    Args:
        tokenizer: the base's.
        template: a Jinja source; None = the base's own, or `default_template` where it has none.
        learn: all assistant turns, or the last one; both only where the message's weight is above 0.

    The whole text is tokenised at once, so that the ids are those of the tokenizer's own
    ``apply_chat_template``. Learned are the assistant's turns with their end-of-turn token and without
    the blanks after it: between ``{% generation %}`` marks where the template has them, else what the
    template writes after its generation prompt. A first turn by the assistant answers nothing and is not
    learned. Where the text before an answer is not what would be served, each answer has a row of its own.
    """

    def __init__(self, tokenizer: ChatTokenizer, template: str | None = None, learn: Learn = "all") -> None:
        self.tokenizer = tokenizer
        source = template if template is not None else tokenizer.chat_template or default_template(tokenizer)
        self.template = ChatTemplate(source, tokenizer.special_tokens)
        self.learn = learn
        self._boundary = Boundary(tokenizer)
        self._finder = TurnFinder(self.template, self.ending)

    @cached_property
    def ending(self) -> Ending:
        """How the template ends an answer."""
        return find_ending(self.template, self.tokenizer)

    @property
    def fingerprint(self) -> str:
        """Of the tokenizer, the template, the special tokens, `learn`, and today where the template asks for it."""
        today = clock.now().astimezone().date().isoformat() if self.template.dated else ""
        template = (self.template.source, self.template.special_tokens)
        return fingerprint(FORMAT, "chat", self.tokenizer.fingerprint, template, self.learn, today)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The token that ends an answer in this template, and the base's end-of-text token."""
        found = {self.tokenizer.eos_id}
        ids, _ = self.tokenizer.pieces(self.ending.end.strip())
        if ids and (len(ids) == 1 or self._boundary.is_special(ids[-1])):
            found.add(ids[-1])
        return tuple(sorted(found))

    def prompt(self, prompt: Prompt) -> list[int]:
        """Ids up to where the answer begins; a plain text is one user turn."""
        asked = Conversation((Message("user", prompt),)) if isinstance(prompt, str) else prompt
        text = self.template.render(self.template.messages(asked), asked.tools, add_generation_prompt=True)
        return self.tokenizer.pieces(text)[0]

    def question(self, sample: Sample, turn: int) -> Prompt | None:
        """What stands before message `turn`."""
        return _conversation(sample).before(turn)

    def render(self, sample: Sample) -> list[Rendered]:
        """One row, or one per learned answer where the template is not the same text for all of them.

        Raises `DataError` with the sample's place where the template refuses it.
        """
        return self.render_batch([sample])[0]

    def render_batch(self, samples: Sequence[Sample]) -> list[list[Rendered]]:
        """`render` for many samples."""
        drafts = [self._drafts(sample) for sample in samples]
        pieces = iter(self.tokenizer.pieces_batch([draft.text for group in drafts for draft in group]))
        return [
            self._finish(sample, group, [next(pieces) for _ in group])
            for sample, group in zip(samples, drafts, strict=True)
        ]

    def _turns(self, conversation: Conversation) -> list[int]:
        trained = [turn for turn in conversation.trained if turn > 0]
        return trained[-1:] if self.learn == "last" else trained

    def _drafts(self, sample: Sample) -> list[Draft]:
        conversation = _conversation(sample)
        return self._finder.drafts(conversation, self._turns(conversation), sample.place)

    def _finish(self, sample: Sample, drafts: list[Draft], pieces: list[Pieces]) -> list[Rendered]:
        rows = []
        for draft, whole in zip(drafts, pieces, strict=True):
            wrong = [b for b in draft.borders if not self._boundary.agrees(draft.text, b.start, whole)]
            if not wrong:
                rows.append(self._row(draft, whole))
            elif wrong == [draft.borders[-1]]:
                rows.append(self._row(draft, self._boundary.split(draft.text, wrong[0].start)))
            else:  # cut tokens of an earlier answer would stand in the prompts of later ones
                conversation = _conversation(sample)
                singly = self._finder.per_turn(conversation, self._turns(conversation), sample.place)
                return self._finish(sample, singly, self.tokenizer.pieces_batch([one.text for one in singly]))
        return rows

    def _row(self, draft: Draft, pieces: Pieces) -> Rendered:
        ids, offsets = pieces
        weights = [0.0] * len(ids)
        turns = []
        for border in draft.borders:
            first, after = first_at(offsets, border.start), first_at(offsets, border.end)
            weights[first:after] = [border.weight] * (after - first)
            ended = after > first and ids[after - 1] in self.stop_ids
            turns.append(TrainedTurn(border.turn, border.start, border.end, ended))
        return Rendered(ids, weights, draft.text, offsets, tuple(turns))


def renderer_for(
    task: str,
    tokenizer: ChatTokenizer,
    template: str | None = None,
    learn: Learn = "all",
    *,
    fim_rate: float = 0.0,
    seed: int = 0,
) -> ChatRenderer | TextRenderer:
    """The renderer of task chat or complete; a base that continues text has no template, and only it fills gaps."""
    if task == "chat":
        return ChatRenderer(tokenizer, template, learn)
    return TextRenderer(tokenizer, fim_rate=fim_rate, seed=seed)


def _conversation(sample: Sample) -> Conversation:
    if not isinstance(sample.target, Conversation):
        raise DataError(
            "this row is no conversation.",
            where=sample.place,
            remedy="Set task to complete for prompts and completions, or give messages.",
            code="not_a_conversation",
        )
    return sample.target

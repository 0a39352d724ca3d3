"""What the arms of one decision share: rows, scorers, index, encoder, the model that is asked, and the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from luthier.approaches.answering import Approach
from luthier.approaches.arm import Prices
from luthier.approaches.chat_model import ChatModel
from luthier.approaches.examples import Chooser, Fixed, Similar, diverse_rows, random_rows
from luthier.approaches.index import Embed, Index, Passage, unit
from luthier.approaches.questions import Asking
from luthier.approaches.scored import Scorer
from luthier.core import clock
from luthier.core.events import Listener, ignore
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.data.samples import Sample
from luthier.deciding.assistants import encoder_embed
from luthier.deciding.rows import DecisionRows, write_rows
from luthier.deciding.training import recipe_of

CHOOSING_ROWS, CHOOSING_TEXTS = 64, 24
"""Validation rows on which settings are chosen; texts take longer to write than labels."""
_TOKENS_PER_CHARACTER = 0.6


@dataclass
class Workshop:
    """One decision at work. `deadline` is in the clock's seconds."""

    rows: DecisionRows
    out: Path
    model: str | None
    chat: Callable[[], ChatModel]
    documents: list[tuple[str, str]]
    prices: Prices
    seed: int
    deadline: float
    overrides: Sequence[str] = ()
    tuned: dict[str, Any] = field(default_factory=dict)
    """Approaches of trainings that have ended, by method."""
    listener: Listener = ignore
    """Told that a training is alive."""

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.deadline - clock.monotonic()

    @property
    def writes(self) -> bool:
        """Whether answers are texts."""
        return self.rows.task in LANGUAGE_TASKS

    @cached_property
    def judged(self) -> Scorer:
        """On the held-out rows."""
        return Scorer(self.rows.form, self.rows.held_out, seed=self.seed)

    @cached_property
    def choosing(self) -> Scorer:
        """On the validation rows; where there are none, on some of the training rows."""
        rows = self.rows.validation or self.rows.train
        most = CHOOSING_TEXTS if self.writes else CHOOSING_ROWS
        return Scorer(self.rows.form, rows[:most], resamples=0, seed=self.seed)

    @cached_property
    def chat_model(self) -> ChatModel:
        """The model that is asked in words, loaded at first use."""
        return self.chat()

    @cached_property
    def max_tokens(self) -> int:
        """Of an answer: room for the longest but few of the training rows' answers."""
        plain = Asking(self.rows.form, "")
        lengths = [len(plain.answer(sample)) for sample in self.rows.train]
        return int(np.clip(_TOKENS_PER_CHARACTER * float(np.quantile(lengths, 0.98)) + 8, 16, 512))

    @cached_property
    def embed(self) -> Embed:
        """Texts to vectors, by the encoder. Raises `ModelError` where it is not there."""
        return encoder_embed(self.encoder)

    @cached_property
    def embeds(self) -> bool:
        """Whether the encoder is there; without it passages are searched by words only."""
        from luthier.core.errors import ModelError
        from luthier.models.catalogue import locate

        try:
            locate(self.encoder)
        except ModelError:
            return False
        return True

    @property
    def encoder(self) -> str:
        """The base that embeds: the one that is tuned, where it is an encoder."""
        return "minilm" if self.model is None or self.writes else self.model

    @property
    def encoder_name(self) -> str:
        """What people call it: of a folder its last part."""
        return Path(self.encoder).name

    @property
    def asking(self) -> Asking:
        """The plainest way to ask."""
        from luthier.approaches.questions import instructions

        return Asking(self.rows.form, instructions(self.rows.form)[0])

    def passages(self, rows: Sequence[Sample]) -> list[Passage]:
        """Rows as passages that are found by their question and show their answer."""
        found = []
        for number, row in enumerate(rows):
            question, answer = self.asking.question(row), self.asking.answer(row)
            shown = answer if self.writes else f"{question} -> {answer}"
            found.append(Passage(question, shown, f"row {row.line}", number))
        return found

    @cached_property
    def row_index(self) -> Index:
        """The training rows, by their questions."""
        return Index(self.passages(self.rows.train), self.embed if self.embeds else None)

    def changed_index(self, altered: dict[int, Sample]) -> tuple[Index, list[Sample]]:
        """The index and the rows, some of them exchanged."""
        rows = list(self.rows.train)
        for place, row in altered.items():
            rows[place] = row
        passages = self.passages(list(altered.values()))
        new = {
            place: Passage(passage.key, passage.text, passage.place, place)
            for place, passage in zip(altered, passages, strict=True)
        }
        return self.row_index.replaced(new), rows

    def chooser(self, choice: str, count: int, rows: Sequence[Sample], index: Index) -> Chooser:
        """`count` examples of `rows`, chosen as `choice` says."""
        if choice == "similar":
            return Similar(index, rows, count, index.searches[-1])
        if choice == "random":
            return Fixed(random_rows(rows, count, self.seed))
        vectors = unit(self.embed([self.asking.question(row) for row in rows]))
        return Fixed(diverse_rows(rows, vectors, count))

    @cached_property
    def files(self) -> dict[str, str]:
        """Training and validation rows as files, for trainings."""
        folder = self.out / "data"
        found = {"train": folder / "train.jsonl", "validation": folder / "validation.jsonl"}
        validation = self.rows.validation or self.rows.train[-1:]
        for name, rows in (("train", self.rows.train), ("validation", validation)):
            write_rows(found[name], rows, self.rows.form)
        return {name: str(path) for name, path in found.items()}

    def recipe(self, method: str) -> Recipe:
        """Of a training; a mistake in the overrides is a `RecipeError`."""
        return recipe_of(self.rows, method, self.model, self.files, self.out / "arms", self.overrides)

    def best(self, candidates: Sequence[tuple[str, Approach]]) -> tuple[str, Approach]:
        """The candidate with the best answers on the validation rows, by successive halving (Jamieson and Talwalkar
        2016): each round half of them are left and twice the rows are answered. The first wins a tie."""
        left = [(name, approach, list[Any]()) for name, approach in candidates]
        samples = self.choosing.samples
        rows = max(8, len(samples) // max(1, 2 ** (len(left) - 1).bit_length() // 2))
        while len(left) > 1 and self.left > 0:
            for _, approach, answered in left:
                answered += approach.answer(samples[len(answered) : rows])
            left.sort(key=lambda one: -self.choosing.value(one[2]))
            whole = rows >= len(samples)
            left = left[: 1 if whole else max(1, (len(left) + 1) // 2)]
            rows = min(2 * rows, len(samples))
        return left[0][0], left[0][1]

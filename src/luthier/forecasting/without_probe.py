"""The instant answer: rows are counted, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.data.dataset import Dataset
from luthier.data.prepare import names_of
from luthier.data.samples import Sample
from luthier.forecasting.fingerprint import known_model
from luthier.models.base_source import read_json
from luthier.models.catalogue import entries as catalogue
from luthier.models.catalogue import locate, place_of
from luthier.search import ledger
from luthier.search.forecast import Forecast
from luthier.search.machine import machine_key
from luthier.search.quick import BYTES_PER_TOKEN, quick, tokens_of_bytes
from luthier.search.workload import Base

_LOOKED_AT = 200_000
"""Rows that are read; more are thought to be like them."""


def from_shapes(recipe: Recipe) -> tuple[Forecast, Base]:
    """A forecast from the sizes of the rows. Raises `DataError`, `ModelError`."""
    train = Dataset.open(recipe.data.train, task=recipe.task, columns=recipe.data.columns)
    labels: set[str] = set()
    sizes, answers = [], []
    for sample in islice(train.samples(), _LOOKED_AT):
        size, answer = bytes_of(sample)
        sizes.append(size)
        answers.append(answer)
        labels.update(names_of(sample))
    if len(sizes) < 2:
        raise DataError(
            f"there is only {len(sizes)} row; training needs at least two.", where=train.sources[0],
            remedy="Add rows.", code="too_few_rows",
        )  # fmt: skip
    writes = train.task in LANGUAGE_TASKS
    model = recipe.model if recipe.model != "auto" else "luthier-nano" if writes else "minilm"
    entry = next((entry for entry in catalogue() if entry.name == model), None)
    place = place_of(entry) if entry is not None else None
    config = read_json((place or locate(model).path) / "config.json")
    validation = None
    if isinstance(recipe.data.validation, str | list):
        held = Dataset.open(recipe.data.validation, task=train.task, columns=recipe.data.columns)
        validation = tokens_of_bytes((bytes_of(sample)[0] for sample in held.samples()), train.task)
    test_rows = None
    if recipe.data.test is not None:
        test = Dataset.open(recipe.data.test, task=train.task, columns=recipe.data.columns)
        test_rows = _count(test.samples())
    found = quick(
        recipe, task=train.task, lengths=tokens_of_bytes(sizes, train.task), config=config, labels=len(labels) or 1,
        entries=ledger.recent(), machine=machine_key(), model=known_model(model), validation=validation,
        test_rows=test_rows, answer_tokens=sum(answers) / len(answers) / BYTES_PER_TOKEN[writes] + 1,
        parameters=None if entry is None else entry.parameters,
    )  # fmt: skip
    return found, Base.of(config)


def bytes_of(sample: Sample) -> tuple[int, int]:
    """(bytes of a row's text, bytes of what of it is an answer to be learned)."""
    target = sample.target
    if isinstance(target, Conversation):
        every = sum(len((turn.content or "").encode()) for turn in target.messages)
        return every, sum(len((target.messages[i].content or "").encode()) for i in target.trained)
    if isinstance(target, Completion):
        answer = len(target.completion.encode())
        return len((target.prompt or "").encode()) + answer, answer
    parts = [sample.input] if isinstance(sample.input, str) else sample.input
    return sum(len(part.encode()) for part in parts), 0


def _count(samples: Iterable[Sample]) -> int:
    return sum(1 for _ in samples)

"""General texts as samples: the shipped ones, and those in a user's files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Literal

from luthier.core.conversation import Completion, Conversation
from luthier.core.errors import DataError, RecipeError
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.dataset import Dataset
from luthier.data.samples import Sample

FEWEST_ANCHORS = 12
"""Below this many rows an interval says nothing, and 10 nearest neighbours are all there are."""
_REPLAY_OF = ("luthier-nano",)
"""Bases whose own training was of the kind of the shipped conversations."""


def replay_ships_with(base: str) -> bool:
    """Whether there are shipped general samples to mix into the training of the base of this name."""
    return base in _REPLAY_OF


def conversations(part: Literal["anchors", "replay"], task: str) -> list[Sample]:
    """Questions with answers; for complete as luthier-nano read them before it could chat."""
    return [_as_text(one) if task == "complete" else one for one in _shipped(f"conversations_{part}.jsonl", "chat")]


def topic_sentences() -> list[Sample]:
    """160 sentences, 16 about each of ten topics; the target is the topic."""
    return _shipped("sentences.jsonl", "classify")


def open_anchors(source: str | Sequence[str], task: str) -> list[Sample]:
    """A user's general texts; labels are not needed and not read.

    Raises:
        DataError: missing, empty, binary or not readable as `task`; `too_few_anchors`.
    """
    files = source if isinstance(source, str) else list(source)
    if task in LANGUAGE_TASKS:
        found = list(Dataset.open(files, task=task).samples())
    else:
        found = list(Dataset.open(files, task="classify", require_target=False).samples())
    if len(found) < FEWEST_ANCHORS:
        raise DataError(
            f"{len(found)} general texts are too few to measure forgetting: {FEWEST_ANCHORS} are needed.",
            where=files if isinstance(files, str) else files[0],
            remedy="Give more rows, or write evaluate.forgetting: true for those that come with Luthier.",
            code="too_few_anchors",
            param="evaluate.forgetting.anchors",
        )
    return found


def open_replay(
    source: str | Sequence[str] | None, task: str, base: str, columns: dict[str, str] | None
) -> list[Sample]:
    """General samples to mix into training: the user's, else those that come with the base.

    Raises:
        RecipeError: `no_replay` where there are none.
        DataError: the file cannot be read as samples of `task`.
    """
    if source is not None:
        files = source if isinstance(source, str) else list(source)
        return list(Dataset.open(files, task=task, columns=columns).samples())
    if task in LANGUAGE_TASKS and replay_ships_with(base):
        return conversations("replay", task)
    raise RecipeError(
        f"train.replay needs general samples, and none come with {base} for {task}.",
        remedy="Name a file of the same task in data.replay (an earlier data set, for example), or use "
        "train.kl_to_base or train.average, which need none.",
        code="no_replay",
        param="train.replay",
    )


def _shipped(name: str, task: str) -> list[Sample]:
    with resources.as_file(resources.files("luthier.data.general").joinpath(name)) as path:
        return list(Dataset.open(str(path), task=task).samples())


def _as_text(sample: Sample) -> Sample:
    assert isinstance(sample.target, Conversation)
    question, answer = (message.content for message in sample.target.messages)
    prompt = f"Question: {question}\nAnswer:"
    return Sample(prompt, None, Completion(prompt, f" {answer}"), None, sample.line, sample.source)

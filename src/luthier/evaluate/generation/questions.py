"""What a sample asks, and the answer that it holds as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.core.conversation import Completion, Conversation, Prompt
from luthier.data.samples import Sample


@dataclass(frozen=True, slots=True)
class Question:
    """`prompt` for the model, `text` of it for people, and the expected answer."""

    prompt: Prompt
    text: str
    reference: str


def question_of(sample: Sample) -> Question | None:
    """The last trained turn of a conversation, or a completion of a prompt.

    None where there is nothing to compare an answer with: plain text without a prompt, text with a gap, a turn
    that only calls tools. The loss is measured on those rows all the same.
    """
    target = sample.target
    if isinstance(target, Conversation):
        trained = target.trained
        reference = target.messages[trained[-1]].content if trained else ""
        return Question(target.question(), sample.text, reference) if reference else None
    if isinstance(target, Completion) and target.prompt and target.suffix is None:
        return Question(target.prompt, target.prompt, target.completion)
    return None


def item_of(sample: Sample, question: Question, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The row as graders see it: its columns, and prompt and reference_answer where no column is called so."""
    return {"prompt": question.text, "reference_answer": question.reference, **columns, "line": sample.line}


def prompt_of(sample: Sample) -> Prompt:
    """What a model that writes is asked of a row, as it is."""
    question = question_of(sample)
    return sample.text if question is None else question.prompt

"""What a model that writes is asked: an instruction, examples, sources, and the row itself, as a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.approaches.answers import AnswerForm
from luthier.approaches.chat_model import ChatModel
from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.recipe import LANGUAGE_TASKS
from luthier.data.samples import Sample

_TASK = {
    "classify": (
        "Classify the text. Answer with one of these labels: {labels}.",
        "You sort texts by what they say. The only labels are {labels}. Read the text and give the one label that "
        "fits best.",
        "Which of the following describes the text: {labels}? Decide by its meaning, not by single words.",
    ),
    "classify several": (
        "Give every label that applies to the text, and none that does not. The labels: {labels}.",
        "You mark texts. Several of these labels, or none, may hold: {labels}.",
    ),
    "regress": (
        "Give the text a number for each of: {labels}. Numbers lie between {low} and {high}.",
        "You judge texts by a number ({labels}), from {low} to {high}. Use the whole range.",
    ),
    "extract": (
        "Find every mention of these kinds in the text: {labels}. Copy each one exactly as it is written.",
        "You mark names in texts. The kinds are {labels}. List each mention, word for word, in the order of the text.",
    ),
    "chat": (
        "",
        "Answer helpfully and to the point.",
        "Answer in the style of the examples, and only what was asked.",
    ),
    "complete": ("", "Write what follows.", "Answer in the form of the examples, and nothing else."),
}


def instructions(form: AnswerForm) -> list[str]:
    """Instructions to choose from on validation rows, the plainest first."""
    key = "classify several" if form.task == "classify" and form.several_labels else form.task
    words = {
        "labels": ", ".join(form.labels) or "score", "low": f"{form.low:g}", "high": f"{form.high:g}",
    }  # fmt: skip
    return [text.format(**words) for text in _TASK[key]]


@dataclass(frozen=True)
class Asking:
    """A way to ask. `cite`: the answer shall name its sources; `plain`: a label is written by itself, without JSON."""

    form: AnswerForm
    instruction: str
    cite: bool = False
    plain: bool = False

    @property
    def writes(self) -> bool:
        """Whether the answer is a text and not one of the task's own values."""
        return self.form.task in LANGUAGE_TASKS

    def conversation(
        self, sample: Sample, examples: Sequence[Sample] = (), sources: Sequence[str] = ()
    ) -> Conversation:
        """The question of a row, after `examples`, with `sources` (passages) before it."""
        turns: list[Message] = []
        for example in examples:
            turns += [
                Message("user", self.question(example)),
                Message("assistant", self.answer(example)),
            ]
        before = _before(sample)
        own = [message for message in before if message.role in ("system", "developer")]
        system = "\n\n".join(text for text in (self.instruction, *(message.content for message in own)) if text)
        last = self.question(sample)
        if sources:
            given = "\n".join(f"[{number}] {text}" for number, text in enumerate(sources, start=1))
            wanted = " Name the sources that you use by their numbers, as in [1]." if self.cite else ""
            last = f"Sources:\n{given}\n\nUse the sources where they help.{wanted}\n\n{last}"
        told = [message for message in before if message.role not in ("system", "developer")][:-1]
        opening = [Message("system", system)] if system else []
        return Conversation((*opening, *turns, *told, Message("user", last)))

    def fitting(
        self, model: ChatModel, sample: Sample, examples: Sequence[Sample] = (), sources: Sequence[str] = (), *,
        max_tokens: int,
    ) -> Conversation:  # fmt: skip
        """The same with as many of the last examples, and of the first sources, as the model can read."""
        examples, sources = list(examples), list(sources)
        while True:
            found = self.conversation(sample, examples, sources)
            if model.fits(found, max_tokens) or not (examples or sources):
                return found
            if len(examples) >= len(sources):
                examples = examples[1:]
            else:
                sources = sources[:-1]

    def question(self, sample: Sample) -> str:
        """What the row asks, as the last user turn says it."""
        target = sample.target
        if isinstance(target, Conversation):
            return next((m.content for m in reversed(target.question().messages) if m.role == "user"), "")
        if isinstance(target, Completion):
            return target.prompt
        return sample.text if sample.text_pair is None else f"First: {sample.text}\nSecond: {sample.text_pair}"

    def answer(self, sample: Sample) -> str:
        """The answer that the row holds."""
        target = sample.target
        if isinstance(target, Conversation):
            trained = target.trained
            return target.messages[trained[-1]].content if trained else ""
        if isinstance(target, Completion):
            return target.completion
        if self.plain and isinstance(target, str):
            return target
        return self.form.write(sample)


def _before(sample: Sample) -> tuple[Message, ...]:
    """The turns that a row's question is made of; one alone where the row is no conversation."""
    if isinstance(sample.target, Conversation):
        return sample.target.question().messages
    return (Message("user", ""),)

"""A model asked in words: an instruction, perhaps examples, perhaps sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from luthier.approaches.answering import Usage
from luthier.approaches.chat_model import ChatModel
from luthier.approaches.examples import Chooser
from luthier.approaches.index import Index, Search
from luthier.approaches.questions import Asking
from luthier.core.conversation import Conversation, Message
from luthier.core.generation import Generation, Sampling
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample

MOST_SCORED = 20
"""Labels whose likelihoods are compared; of more, the model writes one itself."""
_EMPTY = "N/A"


class Sources:
    """Passages for a row: the `count` best of an index."""

    def __init__(self, index: Index, count: int, how: Search) -> None:
        self.index, self.count, self.how = index, count, how

    def __call__(self, question: str) -> list[str]:
        (found,) = self.index.search([question], self.count, self.how)
        return [passage.text for passage, _ in found]


class Prompted:
    """Answers rows by asking `model`.

    One of a few labels is chosen by its likelihood where the model tells it, divided by its likelihood for an empty
    text (Zhao et al. 2021, contextual calibration); else the answer is held to the task's JSON schema where the model
    can be held, and read with care.

    Args:
        choose: gives the examples of a row; None for none.
        sources: gives the passages of a row; None for none.
        max_tokens: of an answer.
    """

    def __init__(
        self,
        model: ChatModel,
        asking: Asking,
        *,
        choose: Chooser | None = None,
        sources: Sources | None = None,
        max_tokens: int = 64,
    ) -> None:
        self.model, self.max_tokens = model, max_tokens
        form = asking.form
        self._scored = (
            form.task == "classify" and not form.several_labels and len(form.labels) <= MOST_SCORED
            and model.likelihoods(Conversation((Message("user", _EMPTY),)), form.labels[:1]) is not None
        )  # fmt: skip
        self.asking = replace(asking, plain=self._scored)
        self.choose, self.sources = choose, sources
        self.usage = Usage()

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One answer per row, in order."""
        prompts = [self._prompt(sample) for sample in samples]
        if self._scored:
            return [self._likeliest(prompt) for prompt in prompts]
        schema = None if self.asking.writes else self.asking.form.schema
        logprobs = 0 if self.asking.form.task == "classify" else None
        sampling = Sampling(max_tokens=self.max_tokens, json_schema=schema, logprobs=logprobs)
        answers = self.model.generate(prompts, sampling)
        return [self._read(answer, sample) for answer, sample in zip(answers, samples, strict=True)]

    def _prompt(self, sample: Sample) -> Conversation:
        question = self.asking.question(sample)
        examples = self.choose(sample, question) if self.choose else []
        sources = self.sources(question) if self.sources else []
        return self.asking.fitting(self.model, sample, examples, sources, max_tokens=self.max_tokens)

    @cached_property
    def _nothing(self) -> Conversation:
        return self._prompt(Sample(_EMPTY))

    @cached_property
    def _bias(self) -> list[float]:
        return self._told(self._nothing)

    def _told(self, prompt: Conversation) -> list[float]:
        labels = self.asking.form.labels
        return self.model.likelihoods(prompt, labels) or [0.0] * len(labels)

    def _likeliest(self, prompt: Conversation) -> Prediction:
        found = self._told(prompt)
        values = [own - empty for own, empty in zip(found, self._bias, strict=True)]
        top = max(values)
        weights = [math.exp(value - top) for value in values]
        scores = {label: w / sum(weights) for label, w in zip(self.asking.form.labels, weights, strict=True)}
        label = max(scores, key=lambda name: scores[name])
        return Prediction(label=label, score=scores[label], scores=scores)

    def _read(self, answer: Generation, sample: Sample) -> Prediction:
        if not self.model.local:
            self.usage.prompt_tokens += answer.prompt_tokens
            self.usage.completion_tokens += answer.completion_tokens
            self.usage.requests += 1
        if self.asking.writes:
            return Prediction(output=answer.text.strip())
        found = self.asking.form.read(answer.text, sample.text)
        if answer.logprobs and found.label is not None:  # how sure it was of what it wrote
            found = replace(found, score=math.exp(min(0.0, sum(token.logprob for token in answer.logprobs))))
        return found

"""Models that write, as functions: for tests of what judges them."""

from __future__ import annotations

from luthier.core.conversation import Completion, Conversation, Message
from luthier.core.generation import Generation, Likelihood
from luthier.data.samples import Sample


class FakeWriter:
    """Answers with `answer(prompt text)`; its loss is `loss(sample)` per token (a word of the reference)."""

    def __init__(self, answer, loss=lambda sample: 1.0):
        self.answer, self.loss = answer, loss
        self.asked, self.largest_call, self.read_ahead = [], 0, 0

    def generate(self, prompts, sampling=None):
        self.asked += [text_of(prompt) for prompt in prompts]
        self.largest_call = max(self.largest_call, len(prompts))
        return [Generation(self.answer(text_of(prompt)), "stop", 1, 1) for prompt in prompts]

    def likelihood(self, samples):
        window = []
        for sample in samples:
            window.append(sample)
            if len(window) == 4:  # reads ahead, as a real one does
                yield from map(self._measure, window)
                window = []
        yield from map(self._measure, window)

    def _measure(self, sample):
        words = len(reference_of(sample).split())
        return Likelihood(self.loss(sample) * words, words, words / 2)


def text_of(prompt):
    return prompt if isinstance(prompt, str) else prompt.messages[-1].content


def reference_of(sample):
    target = sample.target
    return target.completion if isinstance(target, Completion) else target.messages[-1].content


def chat(question, answer, line=1):
    turns = (Message("system", "Be short."), Message("user", question), Message("assistant", answer))
    return Sample(question, target=Conversation(turns), line=line, source="test.jsonl")


def completion(prompt, answer, line=1, suffix=None):
    return Sample(prompt or answer, target=Completion(prompt, answer, suffix), line=line, source="test.jsonl")

"""Models that follow a script."""

from __future__ import annotations

import hashlib

import numpy as np

from luthier.core.generation import Generation


class Scripted:
    """A chat model that answers by `answer(conversation)`; `loves(conversation, answer)` gives log-likelihoods."""

    name = "scripted"

    def __init__(self, answer=None, loves=None, *, local=True, longest=10_000):
        self._answer, self._loves, self.local, self.longest = answer, loves, local, longest
        self.asked = []

    def fits(self, conversation, max_tokens):
        return sum(len(message.content) for message in conversation.messages) + max_tokens <= self.longest

    def generate(self, prompts, sampling=None):
        self.asked += [(prompt, sampling) for prompt in prompts]
        return [Generation(self._answer(prompt), "stop", 10, 2) for prompt in prompts]

    def likelihoods(self, prompt, answers):
        return None if self._loves is None else [self._loves(prompt, answer) for answer in answers]


def by_words(texts):
    """Vectors [n, 64] of hashed words: texts with the same words are alike."""
    found = np.zeros((len(texts), 64))
    for row, text in enumerate(texts):
        text = text if isinstance(text, str) else " ".join(text)
        for word in text.lower().split():
            found[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64] += 1
    return found + 1e-9

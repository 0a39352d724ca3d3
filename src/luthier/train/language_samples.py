"""Answers to the same few questions, before training and at every evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from luthier.core.conversation import Completion, Conversation, Prompt
from luthier.core.events import Event, Listener
from luthier.core.generation import Generator, Sampling
from luthier.core.rundir import RunDir
from luthier.data.samples import Sample

SHOWN_CHARACTERS = 600
"""Of a plain text, how much is given to be continued."""


def questions(samples: Iterable[Sample], count: int) -> list[tuple[Prompt, str]]:
    """(what is asked, the reference) of the first `count` samples."""
    found: list[tuple[Prompt, str]] = []
    for sample in islice(samples, count):
        target = sample.target
        if isinstance(target, Conversation):
            trained = target.trained
            found.append((target.question(), target.messages[trained[-1]].content if trained else ""))
        elif isinstance(target, Completion):
            if target.prompt:
                found.append((target.prompt, target.completion))
            else:
                half = min(len(target.completion) // 2, SHOWN_CHARACTERS // 4)
                found.append((target.completion[:half], target.completion[half:SHOWN_CHARACTERS]))
    return found


class Sampler:
    """Called with the step at each evaluation; answers greedily and keeps what was said."""

    def __init__(
        self, run: RunDir, writer: Generator, asked: Sequence[tuple[Prompt, str]], max_tokens: int, listener: Listener
    ) -> None:
        self._run, self._writer, self._asked, self._listener = run, writer, asked, listener
        self._sampling = Sampling(max_tokens=max_tokens)

    def __call__(self, step: int) -> None:
        answers = self._writer.generate([prompt for prompt, _ in self._asked], self._sampling)
        for (prompt, reference), answer in zip(self._asked, answers, strict=True):
            text = prompt if isinstance(prompt, str) else prompt.to_text()
            self._listener(
                Event("sample", data={"step": step, "prompt": text, "reference": reference, "output": answer.text,
                                      "finish_reason": answer.finish_reason})
            )  # fmt: skip

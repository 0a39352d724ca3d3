"""What was read of jobs lately, so that a thousand polls a second need no database."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
_MOST_PER_JOB = 8


class Memo(Generic[Value]):
    """Answers per job, at most `most` jobs, oldest out. Filled and dropped under the database's lock only; reading
    needs no lock, as each step is one operation of a dict."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: dict[str, dict[Hashable, Value]] = {}

    def get(self, job: str, question: Hashable = None) -> Value | None:
        """The answer, if it is known."""
        answers = self._jobs.get(job)
        return None if answers is None else answers.get(question)

    def put(self, job: str, answer: Value, question: Hashable = None) -> None:
        """Remember an answer."""
        answers = self._jobs.get(job)
        if answers is None:
            if len(self._jobs) >= self._most:
                self._jobs.pop(next(iter(self._jobs)), None)
            answers = self._jobs[job] = {}
        elif len(answers) >= _MOST_PER_JOB:
            answers.clear()
        answers[question] = answer

    def drop(self, job: str) -> None:
        """Forget what is known of a job: it has changed."""
        self._jobs.pop(job, None)

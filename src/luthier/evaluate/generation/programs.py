"""Generated Python code: does it compile, does it pass its row's tests. Only in the sandbox."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from luthier.core.conversation import Conversation
from luthier.evaluate.generation.questions import Question
from luthier.evaluate.generation.sandbox import Limits, run_python

LIMITS = Limits(seconds=10.0, cpu_seconds=10)
_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def program_of(question: Question, answer: str) -> str:
    """The program that an answer makes: the code blocks of a chat answer, or all of it; after its prompt where a
    text is continued."""
    if not isinstance(question.prompt, Conversation):
        return question.prompt + answer
    blocks = _FENCE.findall(answer)
    return "\n".join(blocks) if blocks else answer


def checks_of(item: Mapping[str, Any]) -> str | None:
    """The row's tests: column ``tests``, or HumanEval's ``test`` with ``entry_point``."""
    tests = item.get("tests")
    if isinstance(tests, list):
        return "\n".join(map(str, tests)) or None
    if isinstance(tests, str) and tests.strip():
        return tests
    check, entry = item.get("test"), item.get("entry_point")
    if isinstance(check, str) and isinstance(entry, str) and entry.isidentifier():
        return f"{check}\ncheck({entry})"
    return None


def compiles(program: str) -> bool:
    """Whether Python can compile it; nothing of it runs."""
    return run_python(f"compile({program!r}, 'answer.py', 'exec')", LIMITS).ok


def passes(program: str, tests: str) -> bool:
    """Whether the tests run to their end after the program; leaving early is not passing."""
    mark = secrets.token_hex(16)
    found = run_python(f"{program}\n\n{tests}\n\nprint({mark!r})\n", LIMITS)
    return found.ok and found.stdout.rstrip().endswith(mark)

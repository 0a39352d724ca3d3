"""Who works on which trial: what a study asks before it gives one away."""

from __future__ import annotations

from typing import Protocol


class Claims(Protocol):
    """Who works on which trial."""

    def take(self, number: int) -> bool:
        """Whether nobody else works on this trial; then it is ours, or was before."""

    def release(self, number: int) -> None:
        """Let go of it."""

"""One arm of a decision: an approach with what it took to build it, what it answers, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.approaches.answering import Usage
from luthier.approaches.scored import Score
from luthier.core.predictor import Prediction
from luthier.evaluate.intervals import Interval

Family = Literal["baseline", "prompt", "retrieval", "assistant", "fine-tuning"]
State = Literal["measured", "dropped", "failed", "not run"]


@dataclass(frozen=True, slots=True)
class Prices:
    """What time and tokens cost, in dollars. The machine's price is an assumption until the user names it.

    Attributes:
        hour: of this machine.
        prompt, completion: a million tokens that the endpoint reads and writes; None where nobody said.
    """

    hour: float = 0.10
    prompt: float | None = None
    completion: float | None = None

    def of(self, seconds: float, usage: Usage) -> float | None:
        """Dollars for so much time here and so many tokens there; None where a needed price is unknown."""
        found = seconds / 3600 * self.hour
        for tokens, price in ((usage.prompt_tokens, self.prompt), (usage.completion_tokens, self.completion)):
            if tokens:
                if price is None:
                    return None
                found += tokens / 1e6 * price
        return found


@dataclass(frozen=True, slots=True)
class Following:
    """What happens when knowledge changes: facts were altered in the index or the data, and asked for again.

    Attributes:
        share: of the altered facts that the arm then answered as they now are; without any training.
        asked: how many.
        seconds: until the change was in force; None where only training would bring it in.
    """

    share: Interval
    asked: int
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return {"share": self.share.to_dict(), "asked": self.asked, "seconds": self.seconds}


@dataclass
class Arm:
    """`name` is unique and is what people see; `detail` says which settings validation chose."""

    name: str
    family: Family
    detail: str = ""
    state: State = "measured"
    why: str = ""
    build_seconds: float = 0.0
    build_usage: Usage = field(default_factory=Usage)
    answer_seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)
    latency_ms: float | None = None
    predictions: list[Prediction] = field(default_factory=list)
    score: Score | None = None
    following: Following | None = None
    run: str | None = None
    second_half: float | None = None

    @property
    def rows(self) -> int:
        """Held-out rows that it has answered."""
        return len(self.predictions)

    def build_cost(self, prices: Prices) -> float | None:
        """Dollars."""
        return prices.of(self.build_seconds, self.build_usage)

    def thousand_cost(self, prices: Prices) -> float | None:
        """Dollars for 1,000 requests, answered one after another or in batches, as they were here."""
        if not self.rows:
            return None
        found = prices.of(self.answer_seconds, self.usage)
        return None if found is None else 1000 * found / self.rows

    def to_dict(self, prices: Prices) -> dict[str, Any]:
        """JSON, as `luthier decide --json` prints it."""
        return {
            "name": self.name,
            "family": self.family,
            "detail": self.detail,
            "state": self.state,
            "why": self.why,
            "rows": self.rows,
            "metrics": {name: one.to_dict() for name, one in self.score.metrics.items()} if self.score else {},
            "cost": {
                "build_seconds": self.build_seconds,
                "build": self.build_cost(prices),
                "per_1000": self.thousand_cost(prices),
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
            },
            "latency_ms": self.latency_ms,
            "changes": self.following.to_dict() if self.following else None,
            "run": self.run,
        }

"""The parity table: the same prompts through every form of a model (PITFALLS A1, A3).

No torch in here: answers are arrays, whatever library computed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier.core.errors import ModelError

Logits = npt.NDArray[np.float32]
"""Answers to one prompt: [..., outputs]; for a generative model [tokens, vocabulary]."""

KEPT_LIMIT = 0.9
"""How much of what the tune changed must be left."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a form may differ: largest logit difference, relative, and share of equal first choices."""

    difference: float
    agreement: float


LIMITS: dict[str, Limit] = {
    "fp32": Limit(1e-4, 0.99),
    "f16": Limit(5e-3, 0.99),
    "bf16": Limit(5e-2, 0.95),
    "q8_0": Limit(5e-2, 0.95),
}


@dataclass(frozen=True, slots=True)
class Parity:
    """One form, read again by `reader`, against the tuned model.

    Attributes:
        prompts, answers: how many prompts, and how many choices over all of them.
        difference: largest absolute difference of a logit, relative to the tuned model's largest logit.
        agreement: share of choices (next tokens, classes, tags) that are the same.
        kept: how much of the tune is left: the form's change from the untuned base, projected onto the
            tuned model's (1 = all); None where there is no untuned base to compare with.
    """

    form: str
    reader: str
    prompts: int
    answers: int
    difference: float
    agreement: float
    kept: float | None
    limit: Limit

    @property
    def ok(self) -> bool:
        """Within the limits; a form that answers with NaN is not."""
        kept = self.kept is None or self.kept >= KEPT_LIMIT
        return self.difference <= self.limit.difference and self.agreement >= self.limit.agreement and kept

    def to_dict(self) -> dict[str, Any]:
        """The row as parity.json has it; a difference that is no number is null."""
        return {
            "form": self.form,
            "reader": self.reader,
            "prompts": self.prompts,
            "answers": self.answers,
            "difference": self.difference if np.isfinite(self.difference) else None,
            "difference_limit": self.limit.difference,
            "agreement": self.agreement,
            "agreement_limit": self.limit.agreement,
            "kept": self.kept if self.kept is None or np.isfinite(self.kept) else None,
            "kept_limit": KEPT_LIMIT,
            "ok": self.ok,
        }


def compare(
    form: str,
    reader: str,
    tuned: Sequence[Logits],
    found: Sequence[Logits],
    dtype: str,
    untuned: Sequence[Logits] | None = None,
) -> Parity:
    """One row; `tuned`, `found` and `untuned` answer the same prompts in the same order.

    Raises `ModelError` when the form answers with another number of logits.
    """
    for one, other in zip(tuned, found, strict=True):
        if one.shape != other.shape:
            raise ModelError(
                f"the {form} form answers with logits of shape {list(other.shape)}, the tuned model with "
                f"{list(one.shape)}: nothing was published.",
                remedy="Export another form, and report this.",
                code="parity",
            )
    answers = sum(array[..., 0].size for array in tuned)
    largest = max(float(np.abs(array).max()) for array in tuned)
    # numpy's max gives NaN when there is one, Python's would not
    difference = float(np.max([np.abs(a - b).max() for a, b in zip(tuned, found, strict=True)]))
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(tuned, found, strict=True))
    kept = None if untuned is None else _kept(tuned, found, untuned)
    return Parity(form, reader, len(tuned), answers, difference / largest, same / answers, kept, LIMITS[dtype])


def refuse(rows: Sequence[Parity]) -> None:
    """Raise a `ModelError` for the first row above its limit (PITFALLS A3)."""
    for row in rows:
        if not row.ok:
            kept = "" if row.kept is None else f"; {row.kept:.0%} of the tune is left, {KEPT_LIMIT:.0%} must be"
            raise ModelError(
                f"the {row.form} form (read by {row.reader}) answers differently from the tuned model: a logit "
                f"differs by {row.difference:.1e} of the largest (limit {row.limit.difference:.1e}), "
                f"{row.agreement:.1%} of the choices are the same (limit {row.limit.agreement:.0%}){kept}. "
                "Nothing was published.",
                remedy="Export with a wider --dtype (f16 instead of q8_0, fp32 instead of f16 or bf16), or the "
                "adapter itself.",
                code="parity",
            )


def _kept(tuned: Sequence[Logits], found: Sequence[Logits], untuned: Sequence[Logits]) -> float | None:
    wanted, left = 0.0, 0.0
    for one, other, base in zip(tuned, found, untuned, strict=True):
        change = (one - base).astype(np.float64)
        wanted += float((change * change).sum())
        left += float((change * (other - base)).sum())
    return left / wanted if wanted > 0 else None

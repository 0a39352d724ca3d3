"""An arm that has been built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.approaches.answering import Approach
from luthier.data.samples import Sample
from luthier.deciding.workshop import Workshop

Change = Callable[[dict[int, Sample]], Approach]


@dataclass(frozen=True)
class Built:
    """An arm that can answer. `change` gives it with altered rows in what it looks things up in; None: it looks nothing
    up. `run` is the folder of a training."""

    approach: Approach
    detail: str = ""
    change: Change | None = None
    run: str | None = None


class NothingTuned(Exception):
    """An arm on top of a tuned model, and no training has ended."""


def best_tuned(shop: Workshop) -> tuple[str, Any, Approach]:
    """(method, model, approach) of the training that does best on the validation rows."""
    if not shop.tuned:
        raise NothingTuned
    method, approach = shop.best([(method, approach) for method, (_, approach) in shop.tuned.items()])
    return method, shop.tuned[method][0], approach

"""What one run is made of, whatever its task: put together by `encoder_parts` or `language_parts`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from luthier.core.recipe import Recipe
from luthier.data.tokens import TargetCoder, TokenTable
from luthier.models.task_model import TaskModel
from luthier.train.preflight import Preflight
from luthier.train.step import StepRunner
from luthier.train.validate import Judge

Save = Callable[[Path, dict[str, Any]], None]


@dataclass
class Parts:
    """The pieces that the loop, the gates and the proof work with.

    Attributes:
        recipe: without `auto`.
        before: what the probe's rows gave before the method was applied; None where that cannot differ.
        identity: what the run's identity depends on, besides data, base, tokens, method and seed.
        gates: gates of this task alone, after the common ones.
        save: writes the model into a folder, with settings for its luthier.json.
        tokenizer: the base's; a `models.tokenizer.Tokenizer`, or a renderer's chat tokenizer.
    """

    recipe: Recipe
    table: TokenTable
    model: TaskModel
    runner: StepRunner
    validator: Judge | None
    before: Tensor | None
    tokenizer: Any
    save: Save
    coder: TargetCoder | None = None
    identity: tuple[Any, ...] = ()
    gates: Callable[[Preflight], None] = lambda preflight: None
    on_evaluation: Callable[[int], None] = lambda step: None
    """Called with the step at each evaluation, and with 0 before the first step."""
    start: dict[str, Tensor] | None = None
    """What trains, as the base has it; kept where something leads back to it."""
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    """What the report says besides: trained tokens, tokens saved by shared prefixes."""
    gated: StepRunner | None = None
    """The runner on which the gates are run, where it is not the one that learns."""

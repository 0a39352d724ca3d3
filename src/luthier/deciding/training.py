"""Fine-tuning arms: a normal run within what is left of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.approaches.answering import Answered, Usage
from luthier.core import clock
from luthier.core.events import Event, Listener, ignore
from luthier.core.generation import Sampling
from luthier.core.predictor import Prediction
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.recipe_io import apply_overrides
from luthier.data.samples import Sample
from luthier.deciding.rows import DecisionRows
from luthier.evaluate.generation.questions import prompt_of

_FIRST_STEPS = 3
"""Steps after which the time of a training is foretold."""


class OutOfTime(Exception):
    """A training cannot end within its time; `seconds` is what it would need in all."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


class Watch:
    """A run's listener that ends it as soon as it is plain that it does not fit into `seconds`; `listener` is told
    that it is alive."""

    def __init__(self, seconds: float, listener: Listener = ignore) -> None:
        self._seconds, self._began, self._listener = seconds, clock.monotonic(), listener

    def __call__(self, event: Event) -> None:
        self._listener(Event("alive"))
        spent = clock.monotonic() - self._began
        if event.kind == "step" and event.data["step"] >= _FIRST_STEPS:
            left = float(event.data.get("seconds_left") or 0.0)
            if spent + left > self._seconds:
                raise OutOfTime(spent + left)
        elif spent > self._seconds:
            raise OutOfTime(spent)


def recipe_of(
    rows: DecisionRows, method: str, model: str | None, files: dict[str, str], out: Path, overrides: Sequence[str]
) -> Recipe:
    """The recipe of an arm's training; `overrides` are "key=value". Raises `RecipeError`."""
    values: dict[str, Any] = {
        "task": rows.task,
        "data": {"train": files["train"], "validation": files["validation"]},
        "method": {"kind": method},
        "evaluate": {"baselines": [], "generate_rows": 0, "samples": 0},
        "out": str(out),
    }
    if rows.task == "regress":
        values["data"]["columns"] = {"score": list(rows.form.labels)}
    if model is not None:
        values["model"] = model
    apply_overrides(values, list(overrides))
    return Recipe.build(values, where="luthier decide")


def train_arm(recipe: Recipe, seconds: float, listener: Listener = ignore) -> tuple[Any, str]:
    """(the tuned model, its run's folder). Raises `OutOfTime`, and what `luthier.train` raises."""
    from luthier import api

    run = api.train(recipe, listener=Watch(seconds, listener))
    return run.model(), str(run.path)


class Tuned:
    """A tuned model that writes, as an approach: rows are asked as they are."""

    def __init__(self, model: Any, max_tokens: int) -> None:
        self.model, self._max_tokens = model, max_tokens
        self.usage = Usage()

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One text per row, in order."""
        prompts = [prompt_of(sample) for sample in samples]
        answers = self.model.generate(prompts, Sampling(max_tokens=self._max_tokens))
        return [Prediction(output=answer.text.strip()) for answer in answers]


def approach_of(model: Any, task: str, max_tokens: int) -> Any:
    """The tuned model as an approach."""
    return Tuned(model, max_tokens) if task in LANGUAGE_TASKS else Answered(model)

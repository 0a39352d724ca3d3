"""The end of an automatic run: the winner trained afresh, or where time is short its trial brought to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier import api
from luthier.automatic.entry import Entry
from luthier.automatic.folder import AutoFolder
from luthier.automatic.plan import FINAL_VALIDATION, Request, recipe_of
from luthier.automatic.watch import TIME_OVER, Rest, Watch
from luthier.core import durable
from luthier.core.alarm import TimeIsUp, late
from luthier.core.errors import DataError, Interrupted, LuthierError, StorageError
from luthier.core.recipe import LANGUAGE_TASKS, Recipe
from luthier.core.recipe_io import flow
from luthier.core.rundir import RunDir

_LATE = "The last run did not end within the budget: the model is that of the winner's trial."


@dataclass(frozen=True)
class Ending:
    """How it ended.

    Attributes:
        recipe: that made the model.
        run: the last run with its proof; None where it could not be ended: the model is then that of the trial.
        is_fresh: whether the winner was trained from the beginning.
        note: what went wrong; empty for nothing.
    """

    recipe: Recipe
    run: api.Run | None
    is_fresh: bool
    note: str = ""


def last_recipe(shared: Recipe, winner: Entry, request: Request, *, epochs: int, baselines: list[str]) -> Recipe:
    """The winner as `luthier train` runs it: afresh with so many epochs, and no more validation rows than a run needs;
    with 0 epochs as its trial was."""
    more: dict[str, Any] = {"out": "runs", "evaluate.baselines": baselines}
    if not winner.candidate.is_closed:
        more["train.epochs"] = epochs or winner.epochs
    share = shared.data.validation
    if epochs and isinstance(share, float) and request.validation is None:
        more["data.validation"] = min(share, FINAL_VALIDATION)
    return recipe_of(shared, winner.candidate, request, **more)


def end(
    folder: AutoFolder, winner: Entry, recipe: Recipe, watch: Watch, rest: Rest, *, is_fresh: bool, candidates: int
) -> Ending:  # fmt: skip
    """Train or go on, prove, and make the result the best model, as long as there is more time than `rest`.

    Raises `Interrupted`, `StorageError`.
    """
    _write_recipe(folder, winner, recipe, candidates)
    run = folder.final if is_fresh else RunDir(folder.trial(winner.number, winner.candidate.name))
    changes = [f"evaluate.baselines={flow(recipe.evaluate.baselines)}"]
    try:
        with watch.leaving(rest):
            if run.report_json.is_file():
                found = api.Run(run.path, run.report() or {}, 0.0)
            elif run.recipe_yaml.is_file():
                found = api.resume(run.path, overrides=changes, listener=watch)
            else:
                durable.make_folder(run.path)
                found = api.train(recipe, run=run, listener=watch)
    except TimeIsUp:
        return Ending(recipe, None, is_fresh=False, note=_LATE)
    except (Interrupted, StorageError):
        raise
    except LuthierError as error:
        note = f"The last run failed: {error} The model is that of the winner's trial."
        return Ending(recipe, None, is_fresh=False, note=note)
    folder.point(run.model, winner.candidate.name)
    durable.remove_tree(folder.path / "best")
    return Ending(recipe, found, is_fresh=is_fresh)


def unproved(folder: AutoFolder, winner: Entry, recipe: Recipe, candidates: int) -> Ending:
    """The end where there is no time for a last run."""
    _write_recipe(folder, winner, recipe, candidates)
    return Ending(recipe, None, is_fresh=False, note=_LATE)


def _write_recipe(folder: AutoFolder, winner: Entry, recipe: Recipe, candidates: int) -> None:
    head = f"# Chosen by luthier auto from {candidates} candidates: {winner.candidate.name}.\n"
    durable.write_text(folder.recipe, head + recipe.to_yaml())


def nothing(folder: AutoFolder, error: str = TIME_OVER) -> DataError:
    """Why there is no first result: it is the time, or what the first candidate says."""
    if error == TIME_OVER:
        return late(str(folder.path))
    return DataError(
        f"nothing was trained: {error}", where=str(folder.path), remedy="Mend what it says, and begin again.",
        code="nothing_trained",
    )  # fmt: skip


def baselines_for(task: str, *, words: bool, roomy: bool) -> list[str]:
    """What the winner is held against: what time allows."""
    if task in LANGUAGE_TASKS:
        return ["base"] if roomy else []
    return ["majority", *(["tfidf"] if words else [])]

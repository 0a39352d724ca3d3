"""`luthier train RECIPE --remedy forgetting`: the plain run, then remedies one by one, and the run that forgot least
of those that are not worse at their task. Everything is on disk after each run, so it can be stopped and started."""

from __future__ import annotations

from pathlib import Path

from luthier.core import clock, durable
from luthier.core.errors import Interrupted, LuthierError, UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import read_yaml
from luthier.core.rundir import RunDir
from luthier.data.tokens import fingerprint
from luthier.evaluate.comparison import Comparison
from luthier.remedying.candidates import AVERAGES, CHANGES, ORDER, candidates, told
from luthier.remedying.choice import Attempt, Choice
from luthier.remedying.runs import Judging, trained_in

__all__ = [
    "AVERAGES",
    "CHANGES",
    "ORDER",
    "Attempt",
    "Choice",
    "Judging",
    "candidates",
    "not_worse",
    "remedy_forgetting",
    "trained_in",
]

PLAIN = "plain"
MARGIN = 0.01
"""Of the plain run's metric: a paired test on the loss of a few texts finds smaller differences than anybody feels."""


def remedy_forgetting(
    recipe: Recipe, *, budget_seconds: float, plain: Path | None = None, listener: Listener = ignore
) -> Choice:
    """Try remedies until the budget is used: none is begun that would not end in time, going by the slowest so far.

    `plain` is a finished run of `recipe` that measured its forgetting; else the first run is made here, whatever it
    takes. A second call with the same recipe goes on where the first was stopped, in the same folder of `recipe.out`.
    """
    if not recipe.evaluate.forgetting:
        recipe = recipe.replace(**{"evaluate.forgetting": True})
    folder = Path(recipe.out) / f"remedy-{fingerprint(recipe.model_dump(), str(plain or ''))[:12]}"
    durable.make_folder(folder)
    choice = Choice.read(folder)
    first = choice.attempt(PLAIN)
    if plain is not None:
        first.run = str(plain)
    _finish(first, recipe, folder, choice, listener)
    report = RunDir(first.run).report() or {}
    forgetting = report.get("forgetting")
    if plain is not None:  # what one like it will take
        first.seconds = float(report["cost"]["seconds_with_setup"])
    if not forgetting:
        raise UsageError(
            "this run did not measure what it forgot.",
            where=first.run,
            remedy=f"Measure it: luthier train --resume {first.run} --set evaluate.forgetting=true",
            code="forgetting_not_measured",
            param="remedy",
        )
    first.sentence = forgetting["verdict"]
    if first.outcome in ("kept", "gained"):
        return _chosen(choice, folder, PLAIN, f"Nothing was tried: {first.sentence}")
    resolved = Recipe.build(read_yaml(RunDir(first.run).recipe_yaml), where=first.run)
    judging = Judging(resolved, Path(first.run))
    left_out = []
    for name, changes in candidates(resolved, forgetting).items():
        attempt = choice.attempt(name)
        attempt.changes = changes
        spent = sum(one.seconds for one in choice.attempts if one.name != PLAIN or plain is None)
        slowest = max((one.seconds for one in choice.attempts), default=0.0)
        if not attempt.run and spent + slowest > budget_seconds:
            choice.attempts.remove(attempt)
            left_out.append(name)
            continue
        if attempt.verdict is None and not attempt.failed:
            listener(Event("message", f"Remedy {name}: {told(changes)}."))
            try:
                start = Path(first.run) if name in AVERAGES else None  # the same steps, and another end
                _finish(attempt, resolved.replace(**changes), folder, choice, listener, start)
                found = judging.compare(Path(attempt.run))
                attempt.verdict, attempt.sentence = found.verdict, found.sentence
                attempt.accepted = not_worse(found)
            except Interrupted:
                raise
            except LuthierError as error:
                attempt.failed = str(error)
                listener(Event("message", f"Remedy {name} cannot be tried: {error}", "warn"))
            choice.write(folder)
    return _decide(choice, folder, left_out)


def not_worse(comparison: Comparison) -> bool:
    """Not shown to be worse by a paired test, or by less than a hundredth, the whole interval of the difference."""
    return comparison.verdict != "worse" or -comparison.difference.low <= MARGIN * abs(comparison.theirs)


def _decide(choice: Choice, folder: Path, left_out: list[str]) -> Choice:
    """The least forgotten of those that are not worse at the task."""
    plain = choice.attempts[0]
    able = [one for one in choice.attempts if one.forgotten is not None and (one is plain or one.accepted)]
    best = min(able, key=lambda one: one.forgotten if one.forgotten is not None else float("inf"))
    tried = [one for one in choice.attempts if one is not plain and not one.failed]
    if best is plain:
        sentence = f"The plain run stays: none of {_count(tried)} forgot less without being worse at the task."
    else:
        assert best.forgotten is not None and plain.forgotten is not None
        found = best.sentence if best.sentence.startswith("cannot") else f"is {best.sentence}"
        sentence = (
            f"{best.name} ({told(best.changes)}) is kept: it forgot {best.forgotten:.3g} instead of "
            f"{plain.forgotten:.3g}, the least of {_count(tried)}, and at the task it {found}."
        )
    if left_out:
        sentence += f" Not tried within the budget: {', '.join(left_out)}."
    return _chosen(choice, folder, best.name, sentence)


def _count(tried: list[Attempt]) -> str:
    return f"{len(tried)} remedies" if len(tried) != 1 else "1 remedy"


def _chosen(choice: Choice, folder: Path, name: str, sentence: str) -> Choice:
    choice.chosen, choice.sentence = name, sentence
    choice.write(folder)
    return choice


def _finish(
    attempt: Attempt, recipe: Recipe, folder: Path, choice: Choice, listener: Listener, start: Path | None = None
) -> None:
    """Train the attempt, go on with it, or take it as it is; where its folder is, is on disk before it begins.

    From `start`, a finished run with the same steps, nothing is trained again.
    """
    if not attempt.run:
        attempt.run = str(folder / attempt.name)
        choice.write(folder)
    if RunDir(attempt.run).report() is None:
        began = clock.monotonic()
        try:
            trained_in(Path(attempt.run), recipe, listener, start)
        finally:
            attempt.seconds += clock.monotonic() - began
            choice.write(folder)
    forgetting = (RunDir(attempt.run).report() or {}).get("forgetting") or {}
    attempt.outcome, attempt.forgotten = forgetting.get("outcome"), forgetting.get("forgotten")
    choice.write(folder)

"""`luthier auto`: from data and a budget to a model, its recipe and its report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from luthier.automatic.ending import nothing
from luthier.automatic.folder import AutoFolder
from luthier.automatic.found import Automatic, report_of
from luthier.automatic.page import page_of
from luthier.automatic.plan import Request, asked
from luthier.automatic.session import MakeBench, Session
from luthier.automatic.timing import END
from luthier.automatic.usable import PassOn, kept_here
from luthier.core import clock, durable
from luthier.core.alarm import TimeIsUp, alarm
from luthier.core.errors import Interrupted, LuthierError, UsageError
from luthier.core.events import Event, Listener, ignore
from luthier.core.recipe import Recipe
from luthier.searching.clockwork import Clockwork
from luthier.searching.workbench import Workbench

BUDGET_SECONDS = 600.0


def auto(
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    task: str = "auto",
    model: str = "auto",
    columns: dict[str, Any] | None = None,
    validation: str | float | None = None,
    test: str | Path | None = None,
    budget: float | str = BUDGET_SECONDS,
    seed: int = 0,
    overrides: Sequence[str] = (),
    out: str | Path = "autos",
    resume: str | Path | None = None,
    listener: Listener = ignore,
    bench: MakeBench | None = None,
    spent: float = 0.0,
    pass_on: PassOn = kept_here,
) -> Automatic:
    """Choose method, rank, freezing, length and learning rate for `data`, within `budget`.

    Args:
        model: the base; minilm, for chat and complete luthier-nano.
        validation: rows on which candidates are compared, a share or a file; by default as many of the rows as
            telling them apart needs (10 to 20 %).
        test: judges the winner's fresh run, and nothing else sees it.
        budget: seconds for everything, or a text like "10m".
        overrides: keys of the recipe that hold for all candidates, "train.max_length=64".
        out: where its folder is made; `resume` names the folder of a run that was stopped, which goes on with the
            time that was left.
        bench: what trials run on, for those who have one. spent: seconds of the budget that are gone already.
        pass_on: takes each model that is the best from then on, and says what publishing the last one will take.

    Raises:
        UsageError, DataError, ModelError: before anything trains.
        Interrupted: after a signal; the best model so far is in the folder.
    """
    began = clock.monotonic()
    if (data is None) == (resume is None):
        raise UsageError(
            "luthier auto needs data, or the folder of a run to go on with.",
            remedy="Write luthier auto DATA, or luthier auto --resume DIR.", code="no_data", param="data",
        )  # fmt: skip
    if resume is not None:
        folder = AutoFolder.open(resume)
        request = Request.of(folder.request())
    else:
        plain = [str(item) for item in data] if isinstance(data, list | tuple) else [str(data)]
        request = asked(
            plain, budget=budget, task=task, model=model, columns=columns,
            validation=validation, test=None if test is None else str(test), seed=seed, overrides=tuple(overrides),
        )  # fmt: skip
        folder = AutoFolder.create(out, Path(plain[0]).name.split(".")[0] or "data", request.to_dict())
    return _sit(folder, request, listener, bench or _workbench, clock.monotonic() - began + spent, pass_on)


def _workbench(recipe: Recipe, listener: Listener) -> Workbench:
    return Workbench(recipe, listener=listener)


def _sit(
    folder: AutoFolder, request: Request, listener: Listener, bench: MakeBench, spent: float, pass_on: PassOn
) -> Automatic:  # fmt: skip
    clockwork = Clockwork(request.budget, folder.spent() + spent)
    session: Session | None = None
    is_new = not any(folder.journal())
    try:
        with folder.time().running(clockwork):
            with alarm(clockwork.left - END) if is_new else nullcontext():  # what has a model goes on, and says so
                session = Session(folder, request, listener, bench, clockwork, pass_on, spent)
            report = _work(session)
    except TimeIsUp:
        raise nothing(folder) from None
    except LuthierError:
        if session is None and is_new:  # the data or the model was refused: nothing is to be kept
            durable.remove_tree(folder.path)
        raise
    left = max(0.0, clockwork.left)
    listener(Event("message", f"Done in {clockwork.elapsed:.0f} s, {left:.0f} s before the end."))
    return Automatic(folder.path, report)


def _work(session: Session) -> dict[str, Any]:
    folder = session.folder
    try:
        session.run(draft=lambda: page_of(report_of(session, is_done=False)))
    except (Interrupted, KeyboardInterrupt) as stop:
        _write(session, is_done=False)
        raise Interrupted(
            "stopped on request; the best model so far is kept, and every trial.", where=str(folder.path),
            remedy=f"Go on with: luthier auto --resume {folder.path}", code="interrupted",
        ) from stop  # fmt: skip
    finally:
        folder.close()
    return _write(session, is_done=True)


def _write(session: Session, *, is_done: bool) -> dict[str, Any]:
    report = report_of(session, is_done=is_done)
    durable.write_json(session.folder.json, report)
    durable.write_text(session.folder.html, page_of(report))
    return report

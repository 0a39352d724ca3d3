"""`python -m benchmarks.automatic`: `luthier auto` against our own defaults and a tuned TF-IDF model, at equal time.

    python -m benchmarks.automatic --job "support-intents" auto --out results.jsonl
    python -m benchmarks.automatic --table results.jsonl

Each job is a process of its own with one budget for everything, its start included, in seconds of processor time on one
thread (so that what else runs on the machine counts for nobody), and adds one line with its answers to the test rows; a job whose line is there is not run again. Arms: `auto` (luthier auto), `default` (luthier train with
nothing set, patience and all; when the time is over, its best state so far), `tfidf` (a search over n-grams, weighting,
model and strength by cross-validation, then the best on all training rows). The test rows are the same for all, and
nothing but the judgement sees them.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.automatic_data import SETS, files_of, plain, restored

BUDGET = 60.0
ARMS = ("auto", "default", "tfidf")
DATA = Path(".bench") / "automatic"


def auto_arm(task: str, train: Path, test: list[Any], began: float, out: str) -> tuple[list[Any], str]:
    import luthier

    found = luthier.auto(train, task=task, budget=BUDGET, out=out, spent=time.process_time() - began)
    used = found.report["seconds"]
    return found.model().predict(test), f"{found.best['name']}; {len(found.trials)} candidates; {used:.1f} s"


def default_arm(task: str, train: Path, test: list[Any], began: float, out: str) -> tuple[list[Any], str]:
    import luthier
    from luthier.core.recipe import Recipe
    from luthier.core.rundir import RunDir
    from luthier.searching.workbench import Workbench

    class Over(Exception):
        """The time is over."""

    def hear(event: Any) -> None:
        if event.kind == "step" and time.process_time() - began > BUDGET - 4:
            raise Over

    recipe = Recipe.build({"task": task, "data": str(train), "out": out, "evaluate": {"baselines": ["majority"]}})
    run = RunDir.create(out, "default")
    try:
        trained = luthier.train(recipe, run=run, listener=hear)
        return trained.model().predict(test), f"{trained.report['cost']['epochs']} epochs"
    except Over:
        whole = Recipe.from_yaml(run.recipe_yaml)
        if not run.steps():
            return [], "no epoch ended in time"
        folder = run.path / "best"
        folder.mkdir()
        Workbench(whole).open(whole, run.path).export(folder)
        epochs = max((line.get("epoch", 0) for line in run.metrics() if line["kind"] == "evaluation"), default=0)
        return luthier.load(folder).predict(test), f"stopped by the clock after {epochs} epochs"


def tfidf_arm(task: str, train: Path, test: list[Any], began: float, out: str) -> tuple[list[Any], str]:
    from benchmarks.automatic_tfidf import tuned

    return tuned(task, train, test, began + BUDGET)


def job(name: str, arm: str, out: Path) -> None:
    from luthier.core import alarm, clock

    clock.monotonic = time.process_time
    alarm.signal = SimpleNamespace(
        SIGALRM=signal.SIGPROF, ITIMER_REAL=signal.ITIMER_PROF, signal=signal.signal, setitimer=signal.setitimer
    )  # fmt: skip
    task, train, test_file = files_of(name, DATA)
    test = [json.loads(line) for line in test_file.read_text(encoding="utf-8").splitlines()]
    inputs = [(row["text"], row["text_pair"]) if "text_pair" in row else row["text"] for row in test]
    began = time.process_time() - 2.0  # seconds that a process takes to start, about
    with tempfile.TemporaryDirectory() as folder:
        run = {"auto": auto_arm, "default": default_arm, "tfidf": tfidf_arm}[arm]
        answers, note = run(task, train, inputs, began, folder)
    seconds = time.process_time() - began
    entry = {"set": name, "arm": arm, "seconds": round(seconds, 1), "note": note, "budget": BUDGET,
             "answers": [plain(one) for one in answers]}  # fmt: skip
    with out.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(entry, ensure_ascii=False) + "\n")
    print(name, arm, entry["seconds"], note, flush=True)


def read(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Results by set and arm."""
    if not path.is_file():
        return {}
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(entry["set"], entry["arm"]): entry for entry in entries}


def judged(name: str, found: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any] | None:
    """Values, differences and verdicts of one set."""
    from luthier.data.samples import Span
    from luthier.evaluate.comparison import compare

    if any((name, arm) not in found for arm in ARMS):
        return None
    task, train_file, test_file = files_of(name, DATA)
    test = [json.loads(line) for line in test_file.read_text(encoding="utf-8").splitlines()]
    train = [json.loads(line) for line in train_file.read_text(encoding="utf-8").splitlines()]
    if task == "classify":
        references: list[Any] = [row["label"] for row in test]
        labels = sorted({row["label"] for row in train})
    elif task == "regress":
        references, labels = [(row["score"],) for row in test], ["score"]
    else:
        references = [tuple(Span(**span) for span in row["spans"]) for row in test]
        labels = sorted({span["label"] for row in train for span in row["spans"]})
    answers = {arm: [restored(one) for one in found[name, arm]["answers"]] for arm in ARMS}
    others = {arm: answers[arm] for arm in ARMS[1:] if answers[arm]}
    comparisons = compare(task, references, answers["auto"], others, labels=labels)
    return {
        "set": name, "task": task, "rows": (len(train), len(test)), "metric": comparisons[0].metric,
        "ours": comparisons[0].ours,
        "against": {one.name: (one.theirs, one.difference, one.verdict) for one in comparisons},
        "notes": {arm: found[name, arm]["note"] for arm in ARMS},
        "seconds": {arm: found[name, arm]["seconds"] for arm in ARMS},
    }  # fmt: skip


def table(path: Path) -> str:
    found = read(path)
    rows = [row for name in SETS if (row := judged(name, found)) is not None]
    head = (
        f"# `luthier auto` at equal time\n\nWritten by `python -m benchmarks.automatic --table`. Each arm had "
        f"{BUDGET:.0f} s of processor time on one thread for everything, its start included. The same test rows, which no arm saw; "
        "differences are paired, with 95 % intervals (bootstrap over the test rows). A win or a loss is one that the "
        "paired test and the interval both show; anything else is a tie.\n\n"
    )  # fmt: skip
    text = head
    for arm, title in (("default", "Against `luthier train` as it is"), ("tfidf", "Against TF-IDF, tuned")):
        counts = {"better": 0, "worse": 0, "tie": 0}
        lines = ["| data set | rows | metric | auto | " + arm + " | auto minus it | |", "|---|---|---|---|---|---|---|"]
        for row in rows:
            theirs, difference, verdict = row["against"].get(arm, (math.nan, None, "better"))
            verdict = "tie" if verdict not in counts else verdict
            counts[verdict] += 1
            between = "" if difference is None else (
                f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
            )
            lines.append(
                f"| {row['set']} | {row['rows'][0]:,} + {row['rows'][1]:,} | {row['metric']} | {row['ours']:.3f} | "
                f"{theirs:.3f} | {between} | {verdict} |"
            )
        text += f"## {title}\n\nBetter on {counts['better']}, tied on {counts['tie']}, worse on {counts['worse']} of "
        text += f"{len(rows)}.\n\n" + "\n".join(lines) + "\n\n"
    text += "## What was chosen\n\n| data set | auto | seconds | default | seconds | tfidf | seconds |\n"
    text += "|---|---|---|---|---|---|---|\n"
    for row in rows:
        cells = [f"{row['notes'][arm]} | {row['seconds'][arm]:.0f}" for arm in ARMS]
        text += f"| {row['set']} | " + " | ".join(cells) + " |\n"
    return text


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", nargs=2, metavar=("SET", "ARM"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/automatic.jsonl"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--list", action="store_true", help="the jobs that are not done, one a line")
    args = parser.parse_args(words)
    if args.list:
        done = read(args.out)
        for name in SETS:
            for arm in ARMS:
                if (name, arm) not in done:
                    print(f"{name}\t{arm}")
    elif args.job:
        job(args.job[0], args.job[1], args.out)
    elif args.table:
        print(table(args.table))


if __name__ == "__main__":
    main()

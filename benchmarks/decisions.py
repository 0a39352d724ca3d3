"""`python -m benchmarks.decisions`: how often is the recommended arm the best one on rows that the verdict did not see?

Each data set is one `luthier.decide`; results are appended to docs/benchmarks/decisions.jsonl as they come, and a data
set that is there already is not run again. `--table` writes docs/benchmarks/decisions.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import decision_data as data
from luthier.deciding import decide

RESULTS = data.ROOT / "docs" / "benchmarks" / "decisions.jsonl"
PAGE = RESULTS.with_suffix(".md")

SETS: dict[str, tuple[Callable[[Path], dict[str, str]], str, dict[str, Any]]] = {
    "support-intents": (data.example("support-intents"), "messages to a shop, 8 intents (ours)", {}),
    "finance-sentiment": (data.example("finance-sentiment"), "sentences about companies, 3 moods (ours)", {}),
    "banking, 20 rows": (data.banking_few, "Banking77, ten intents with telling names, two rows each", {}),
    "similarity": (data.similarity, "STS 2016, how alike two sentences are", {}),
    "diseases": (data.diseases, "NCBI, names of diseases in sentences", {}),
    "changed facts": (data.changed_facts, "a shop's questions; the facts changed after the rows were written (ours)",
                      {"knowledge": True}),
    "house style": (data.house_style, "replies in a house's own voice, new combinations (ours)", {}),
    "medicine": (data.medicine, "MedQuAD, questions with short answers, which stand in the documents",
                 {"knowledge": True}),
    "restaurants": (data.restaurants, "E2E, facts of a restaurant to a sentence", {}),
    "contract clauses": (data.example("contract-clauses"), "clauses to JSON (ours)", {}),
    "banking": (data.banking, "Banking77, 1,500 rows, 77 intents", {}),
}  # fmt: skip


def run(name: str, budget: float, overrides: list[str]) -> dict[str, Any]:
    """One decision, and its answer on the second half."""
    build, _, options = SETS[name]
    with tempfile.TemporaryDirectory() as folder:
        files = build(Path(folder) / "data")
        knowledge = [Path(folder) / "data" / "knowledge"] if options.get("knowledge") else []
        decided = decide(
            files["train"], test=files["test-a"], confirm=files["test-b"], knowledge=knowledge, budget=budget,
            out=Path(folder) / "out", overrides=overrides, listener=lambda event: print(event.message, flush=True),
        )  # fmt: skip
        found = decided.to_dict()
    found.pop("path")
    for arm in found["arms"]:
        arm.pop("run")  # a folder that is gone by now
    return {"name": name, "date": date.today().isoformat(), "budget": budget, **found}


def figure(metric: str, value: float | None) -> str:
    """A value as the table tells it."""
    from luthier.evaluate.report import told

    return "-" if value is None else told(metric, value)


def page(results: list[dict[str, Any]]) -> str:
    """The committed table."""
    rows, best, tied = [], 0, 0
    none = sum(not (one["confirmed"] or {}).get("chosen") for one in results)
    for one in results:
        metric, arms = one["metric"], {arm["name"]: arm for arm in one["arms"]}
        confirmed = one["confirmed"] or {}
        chosen, winner = confirmed.get("chosen"), confirmed.get("best")
        verdict = confirmed.get("verdict")
        best += verdict == "best"
        tied += verdict == "cannot tell them apart"
        interval, second = "-", "-"
        if chosen:
            first = arms[chosen]["metrics"][metric]
            interval = f"{figure(metric, first['value'])} ({figure(metric, first['low'])} to {figure(metric, first['high'])})"
            second = figure(metric, arms[chosen]["second_half"])
        rows.append(
            f"| {one['name']} | {SETS[one['name']][1]} | {one['rows']['train'] + one['rows']['validation']:,} | {metric} "
            f"| {chosen or 'none'} | {interval} | {second} | {winner}: "
            f"{figure(metric, arms[winner]['second_half'])} | {verdict or 'no recommendation'} |"
        )
    text = INTRODUCTION.format(
        count=len(results), best=best, tied=tied, other=len(results) - best - tied - none, none=none, day=max(one["date"] for one in results)
    )
    text += "| data set | what | rows | metric | recommended | on the first half | on the second half | best on the second half | recommended against it |\n"
    text += "|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for one in results:
        metric = one["metric"]
        text += f"\n## {one['name']}\n\n{one['verdict']['text']}\n\n"
        text += "| arm | state | first half | second half | build, s | latency, ms | follows changes |\n|---|---|---|---|---|---|---|\n"
        for arm in one["arms"]:
            cell = arm["metrics"].get(metric)
            value = "-" if cell is None else f"{figure(metric, cell['value'])} ({figure(metric, cell['low'])} to {figure(metric, cell['high'])})"
            state = arm["state"] if arm["state"] == "measured" else f"{arm['state']}: {arm['why']}"
            changes = arm["changes"]
            text += (
                f"| {arm['name']} | {state} | {value} | {figure(metric, arm['second_half'])} | "
                f"{arm['cost']['build_seconds']:.1f} | {'-' if arm['latency_ms'] is None else format(arm['latency_ms'], '.1f')} | "
                f"{'-' if changes is None else format(100 * changes['share']['value'], '.0f') + ' %'} |\n"
            )
    return text


INTRODUCTION = """# Decisions on data that the verdict did not see

Written by `python -m benchmarks.decisions --table` from decisions.jsonl; the data sets are built by
benchmarks/decision_data.py. Each test set was cut into two random halves: `luthier decide` saw the training rows and
the first half, recommended an arm, and then all arms answered the second half. Base models: MiniLM-L6 and luthier-nano,
on two CPU cores while other work ran; no hosted model was at hand, so the prompts are those of a model of 5 million
parameters and of an encoder. Last run {day}.

**Of {count} data sets the recommended arm was the best on the second half in {best}, could not be told apart from the
best in {tied}, and was worse than it in {other}; in {none} no arm gave a right answer and none was recommended.**

"""


def main() -> int:
    """Run what is missing, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets; all that are missing")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for each (600)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the trainings")
    parser.add_argument("--table", action="store_true", help="write the page and run nothing")
    args = parser.parse_args()
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    if args.table:
        order = list(SETS)
        latest = {one["name"]: one for one in known}
        PAGE.write_text(page(sorted(latest.values(), key=lambda one: order.index(one["name"]))), encoding="utf-8")
        return 0
    done = {one["name"] for one in known}
    for name in args.names or [name for name in SETS if name not in done]:
        print(f"== {name}", flush=True)
        result = run(name, args.budget, args.set)
        with RESULTS.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m benchmarks.remedies`: what each remedy against forgetting costs at the task, and what it keeps.

Every remedy is one `luthier.train` with the recipe of the plain run and the change that `luthier train --remedy
forgetting` makes. Results are appended to a JSON-lines file as they come, and a run that is there already is not made
again, so that the benchmark can be stopped and started (`--work` keeps the run folders). `--table` writes the page.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
PAGE = ROOT / "docs/benchmarks/remedies.md"
QUICK = {"evaluate.forgetting": True, "evaluate.samples": 0, "evaluate.generate_rows": 0}
EXTRA = {
    "kl_to_base 0.5": {"train.kl_to_base": 0.5},
    "kl_to_base 0.1, average 0.7": {"train.kl_to_base": 0.1, "train.average": 0.7},
    "l2_sp 0.1": {"train.l2_sp": 0.1},
}
"""Besides the changes of `luthier.remedying`: other strengths, and two at once."""


def recipe_of(name: str, work: Path) -> Any:
    """The plain recipe of a data set."""
    from luthier.core.recipe import Recipe

    if name in ("brand-voice-chat", "product-descriptions"):
        recipe = Recipe.from_yaml(ROOT / "examples" / name / "recipe.yaml").replace(**QUICK)
        return recipe.replace(**{"evaluate.baselines": ["base"]})
    return Recipe.build({
        "model": "minilm", "task": "classify", "method": "full", "evaluate": {"baselines": ["majority"], "forgetting": True},
        "data": {"train": str(banking(work)), "test": str(DATA / "banking77/test.csv"), "columns": {"label": "category"}},
    }).replace(**{"train.epochs": 6, "train.patience": 0})  # fmt: skip


def banking(work: Path) -> Path:
    """The first ten rows of each of Banking77's classes."""
    import csv

    target, seen = work / "banking77-10.csv", dict[str, int]()
    with open(DATA / "banking77/train.csv", encoding="utf-8") as source, open(target, "w", encoding="utf-8") as out:
        writer = csv.writer(out)
        rows = csv.reader(source)
        writer.writerow(next(rows))
        for text, label in rows:
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= 10:
                writer.writerow([text, label])
    return target


DATA_SETS = ("brand-voice-chat", "banking77-10")


def measure(name: str, remedy: str, changes: dict[str, Any], work: Path) -> dict[str, Any]:
    """One run, against the plain one on the test rows."""
    from luthier.core.rundir import RunDir
    from luthier.remedying import AVERAGES, Judging, trained_in

    recipe = recipe_of(name, work).replace(**changes)
    began = time.perf_counter()
    start = work / name / "plain" if remedy in AVERAGES else None
    run = trained_in(work / name / remedy.replace(" ", "-").replace(",", ""), recipe, start=start)
    report = RunDir(run).report()
    assert report is not None
    found = {
        "data": name, "remedy": remedy, "changes": changes, "seconds": time.perf_counter() - began,
        "training_seconds": report["cost"]["seconds"], "metric": report["primary_metric"], "rows": report["rows"],
        "task": report["metrics"][report["primary_metric"]],
        "forgetting": {key: report["forgetting"][key] for key in ("outcome", "measure", "base", "tuned", "forgotten", "seconds")},
        "tests": report["forgetting"]["sets"][0]["tests"], "curve": report["forgetting"]["curve"],
        "environment": report["environment"],
    }  # fmt: skip
    if remedy != "plain":
        plain = work / name / "plain"
        judging = Judging(recipe, trained_in(plain, recipe_of(name, work)), on="test")
        found["against_plain"] = judging.compare(run).to_dict()
    return found


def table(results: list[dict[str, Any]]) -> str:
    """One section per data set."""
    parts = []
    for name in dict.fromkeys(one["data"] for one in results):
        rows = [one for one in results if one["data"] == name]
        writes = "loss" in rows[0]["tests"]
        kept = "general loss (base {:.3f})" if writes else "same neighbours"
        head = f"| remedy | {rows[0]['metric']} | against plain | {kept.format(rows[0]['forgetting']['base'])} | 95 % interval | "
        head += "outcome | training s |" if writes else "probe (base {:.3f}) | outcome | training s |".format(rows[0]["tests"]["probe"]["base"])
        lines = [f"## {name}, {rows[0]['rows']:,} test rows\n", head, "|" + "---|" * (7 if writes else 8)]
        rows.sort(key=lambda one: (one["remedy"] != "plain", one["forgetting"]["forgotten"]))
        lines += [_line(one, writes) for one in rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(one: dict[str, Any], writes: bool) -> str:
    task, against = one["task"], one.get("against_plain")
    told = ""
    if against:
        difference = against["difference"]
        told = f"{against['verdict']} ({difference['low']:+.3f} to {difference['high']:+.3f})"
    changes = ", ".join(f"{key}: {json.dumps(value)}" for key, value in one["changes"].items())
    cells = [f"{one['remedy']}" + (f" (`{changes}`)" if changes else ""),
             f"{task['value']:.3f} ({task['low']:.3f} to {task['high']:.3f})", told]  # fmt: skip
    if writes:
        test = one["tests"]["loss"]
        low, high = -test["difference"]["high"], -test["difference"]["low"]
        cells += [f"{test['tuned']:.3f}", f"{low:+.3f} to {high:+.3f}"]
    else:
        same, probe = one["tests"]["neighbours"], one["tests"]["probe"]
        cells += [f"{same['tuned']:.3f}", f"{same['low']:.3f} to {same['high']:.3f}", f"{probe['tuned']:.3f}"]
    cells += [one["forgetting"]["outcome"], f"{one['training_seconds']:.0f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    import torch

    from luthier.core.recipe import Recipe
    from luthier.core.recipe_io import read_yaml
    from luthier.core.rundir import RunDir
    from luthier.remedying import candidates

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs/benchmarks/remedies.jsonl")
    parser.add_argument("--work", type=Path, default=ROOT / "build/remedies")
    parser.add_argument("--only", nargs="*", default=DATA_SETS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    results = []
    if options.results.exists():
        results = [json.loads(line) for line in options.results.read_text("utf-8").splitlines()]
    if options.table:
        text = PAGE.read_text("utf-8")
        PAGE.write_text(text.split("<!-- table -->")[0] + "<!-- table -->\n\n" + table(results), "utf-8")
        return
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    done = {(one["data"], one["remedy"]) for one in results}
    for name in options.only:
        plans: list[tuple[str, dict[str, Any]]] = [("plain", {})]
        for remedy, changes in plans:
            if (name, remedy) not in done:
                result = measure(name, remedy, changes, options.work)
                with open(options.results, "a", encoding="utf-8") as handle:
                    handle.write(json.dumps(result) + "\n")
                print(f"{name}, {remedy}: {result['task']['value']:.3f}, forgotten {result['forgetting']['forgotten']:.3f} "
                      f"({result['seconds']:.0f} s)", flush=True)  # fmt: skip
            if remedy == "plain":
                run = RunDir(options.work / name / "plain")
                resolved = Recipe.build(read_yaml(run.recipe_yaml)) if run.recipe_yaml.is_file() else recipe_of(name, options.work)
                forgetting = (run.report() or {}).get("forgetting")
                plans += [*candidates(resolved, forgetting).items(), *EXTRA.items()]


if __name__ == "__main__":
    main()

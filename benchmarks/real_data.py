"""`python -m benchmarks.real_data`: luthier on real data sets, with intervals and seconds.

Every job is one `luthier.train` with the recipe shown; results are appended to a JSON-lines file as
they come, and a job that is there already is not run again, so the benchmark can be stopped and
started. `--table` prints the committed table from such files. `--sweep` runs the grid behind the defaults.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BANKING = {"task": "classify", "train": "banking77/train.csv", "test": "banking77/test.csv"}
NCBI = {
    "task": "extract",
    "train": "ncbi_disease/train.tsv",
    "validation": "ncbi_disease/devel.tsv",
    "test": "ncbi_disease/test.tsv",
}
STS = {
    "task": "regress", "train": ["sts/2016.postediting.tsv", "sts/2016.question-question.tsv"],
    "test": "sts/2016.answer-answer.tsv", "columns": {"score": "0", "text": "1", "text_pair": "2"}, "validation": 0.15,
}  # fmt: skip
ALL = ["majority", "tfidf", "frozen"]


def jobs() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Name -> (data, recipe values)."""
    few = {"evaluate.baselines": ["majority"]}
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "banking77 full, 3 epochs": (BANKING, {"method": "full", "train.epochs": 3, "evaluate.baselines": ALL}),
        "banking77 lora": (BANKING, {"method": "lora", **few}),
        "banking77 adapter": (BANKING, {"method": "adapter", **few}),
        "banking77 adapter (pfeiffer)": (BANKING, {"method": {"kind": "adapter", "style": "pfeiffer"}, **few}),
        "banking77 bitfit": (BANKING, {"method": "bitfit", **few}),
        "banking77 ia3": (BANKING, {"method": "ia3", **few}),
        "banking77 head": (BANKING, {"method": "head", **few}),
        "banking77 full, 4 of 6 layers frozen": (
            BANKING,
            {"method": "full", "freeze.layers": 4, "train.epochs": 3, "evaluate.baselines": ["majority", "scratch"]},
        ),
        "ncbi_disease full": (NCBI, {"method": "full", "evaluate.baselines": ALL}),
        "ncbi_disease lora": (NCBI, {"method": "lora", **few}),
        
        "sts2016 full, 4 epochs": (STS, {"method": "full", "train.epochs": 4, "evaluate.baselines": ALL}),
        "sts2016 lora": (STS, {"method": "lora", **few}),
    }
    return found


def sweep() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The grid behind the defaults: three seeds each, judged on validation rows as well."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    grid: list[tuple[str, dict[str, Any]]] = [
        *((f"full rate {r:g}", {"method": "full", "train.learning_rate": r}) for r in (5e-5, 1e-4, 2e-4, 4e-4)),
        ("full rate 0.0001 dropout 0.1", {"method": "full", "train.learning_rate": 1e-4, "train.dropout": 0.1}),
        ("full rate 0.0002 dropout 0.1", {"method": "full", "train.learning_rate": 2e-4, "train.dropout": 0.1}),
        (
            "full rate 0.0001 head rate 0.0001",
            {"method": "full", "train.learning_rate": 1e-4, "train.head_learning_rate": 1e-4},
        ),
        *((f"lora rate {r:g}", {"method": "lora", "train.learning_rate": r}) for r in (5e-4, 1e-3, 2e-3)),
        *((f"adapter rate {r:g}", {"method": "adapter", "train.learning_rate": r}) for r in (5e-4, 1e-3, 2e-3)),
        *((f"head rate {r:g}", {"method": "head", "train.learning_rate": r}) for r in (2e-3, 5e-3, 2e-2)),
    ]
    for seed in (0, 1, 2):
        for name, values in grid:
            extra = {} if name.startswith("head") else {"train.epochs": 3}
            found[f"{name}, seed {seed}"] = (
                BANKING,
                {**values, **extra, "train.seed": seed, "evaluate.baselines": ["majority"], "evaluate.bootstrap": 100},
            )
    return found


def run_job(name: str, data: dict[str, Any], values: dict[str, Any], root: Path, out: str) -> dict[str, Any]:
    import luthier
    from luthier.core.recipe import Recipe, set_key

    def place(source: Any) -> Any:
        if isinstance(source, list):
            return [place(item) for item in source]
        return str(root / source) if isinstance(source, str) else source

    recipe: dict[str, Any] = {"model": "minilm", "task": data["task"], "out": out, "data": {}}
    for key in ("train", "validation", "test", "columns"):
        if key in data:
            recipe["data"][key] = data[key] if key == "columns" else place(data[key])
    for key, value in values.items():
        set_key(recipe, key, value)
    began = time.perf_counter()
    run = luthier.train(Recipe.build(recipe))
    report = run.report
    keep = (
        "metrics",
        "baselines",
        "comparisons",
        "verdict",
        "cost",
        "overfitting",
        "primary_metric",
        "rows",
        "environment",
        "curves",
        "calibration",
    )
    return {"job": name, "seconds": time.perf_counter() - began, "values": values, **{key: report[key] for key in keep}}


def cell(metrics: dict[str, Any], name: str) -> str:
    found = metrics[name]
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def table(paths: list[Path]) -> str:
    lines = [
        "| job | metric | value (95 % interval) | epochs, best | trained parameters | training s | whole job s | where | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in paths:
        for line in path.read_text().splitlines():
            r = json.loads(line)
            primary, cost = r["primary_metric"], r["cost"]
            share = cost["trainable_parameters"] / cost["total_parameters"]
            best = max((c["epoch"] for c in r["curves"] if c.get("validation_metric") is not None
                        and c["validation_metric"] == max(d["validation_metric"] for d in r["curves"])), default=cost["epochs"])  # fmt: skip
            lines.append(
                f"| {r['job']} | {primary} | {cell(r['metrics'], primary)} | {cost['epochs']}, {best} | "
                f"{cost['trainable_parameters']:,} ({share:.1%}) | {cost['seconds']:.0f} | {r['seconds']:.0f} | "
                f"{r['environment']['processor']} | {r['verdict']} |"
            )
            for name, metrics in r["baselines"].items():
                if len(r["baselines"]) > 1:
                    lines.append(
                        f"| ... baseline {name} | {primary} | {cell(metrics, primary) if metrics.get(primary, {}).get('value') is not None else 'undefined'} | | | | | | |"
                    )
    return "\n".join(lines) + "\n"


def sweep_table(path: Path) -> str:
    from collections import defaultdict

    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        r = json.loads(line)
        best = max(c["validation_metric"] for c in r["curves"])
        found[r["job"].rsplit(", seed", 1)[0]].append((best, r["metrics"]["accuracy"]["value"]))
    lines = [
        "| setting | seeds | validation accuracy, mean (range) | test accuracy, mean (range) |",
        "|---|---|---|---|",
    ]
    for name, values in found.items():
        cells = []
        for column in (0, 1):
            numbers = [value[column] for value in values]
            cells.append(f"{sum(numbers) / len(numbers):.4f} ({min(numbers):.4f} to {max(numbers):.4f})")
        lines.append(f"| {name} | {len(values)} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--results", type=Path, default=Path("docs/benchmarks/real_data.jsonl"))
    parser.add_argument("--only", nargs="*", help="jobs whose name contains one of these")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--table", nargs="*", type=Path)
    parser.add_argument("--sweep-table", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no job after this long")
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return
    if options.sweep_table:
        print(sweep_table(options.sweep_table))
        return
    done = set()
    if options.results.exists():
        done = {json.loads(line)["job"] for line in options.results.read_text().splitlines()}
    began = time.perf_counter()
    for name, (data, values) in (sweep() if options.sweep else jobs()).items():
        if name in done or (options.only and not any(part in name for part in options.only)):
            continue
        if time.perf_counter() - began > options.seconds:
            break
        with tempfile.TemporaryDirectory() as out:
            result = run_job(name, data, values, options.data, out)
        with open(options.results, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        print(f"{name}: {result['verdict']} ({result['seconds']:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

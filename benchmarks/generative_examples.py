"""`python -m benchmarks.generative_examples`: the generative examples, tuned from luthier-nano and from scratch.

Every example's own recipe is run with the baselines `base` (untuned) and `scratch` (the same architecture from
random weights, as many epochs) on its test rows. Results are appended to a JSON-lines file as they come, and an
example that is there already is not run again. `--table` prints the committed table; `--fill` writes answers before
and after tuning into the walk-throughs.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("brand-voice-chat", "product-descriptions", "contract-clauses", "code-completion")
KEPT = ("metrics", "baselines", "comparisons", "verdict", "cost", "rows", "answered", "samples", "curves", "notes",
        "headline_metric", "environment")  # fmt: skip
MARK = re.compile(r"(## Before and after\n).*?(?=\n## )", re.DOTALL)
SHOWN = 2
"""Questions that a walk-through shows."""


def run_example(name: str, out: str) -> dict[str, Any]:
    import luthier
    from luthier.core.recipe import Recipe

    recipe = Recipe.from_yaml(ROOT / "examples" / name / "recipe.yaml")
    recipe = recipe.replace(**{"evaluate.baselines": ["base", "scratch"], "out": out})
    began = time.perf_counter()
    report = luthier.train(recipe).report
    return {"example": name, "seconds": time.perf_counter() - began, **{key: report[key] for key in KEPT}}


def cell(metrics: dict[str, Any], name: str) -> str:
    found = metrics.get(name)
    if found is None or found["value"] is None:
        return ""
    low, high = found.get("low"), found.get("high")
    return f"{found['value']:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")


def table(results: list[dict[str, Any]]) -> str:
    """One row per example and model: loss, and the metric of its answers."""
    lines = [
        "| example | model | loss, nats a token (95 % interval) | answers (metric) | training s | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        headline = result["headline_metric"] or ""
        rows = [("tuned from luthier-nano", result["metrics"]), *result["baselines"].items()]
        for number, (name, metrics) in enumerate(rows):
            answers = f"{cell(metrics, headline)} ({headline})" if headline else ""
            last = f"{result['cost']['seconds']:.0f} | {result['verdict']}" if number == 0 else " | "
            lines.append(f"| {result['example'] if number == 0 else ''} | {name} | {cell(metrics, 'loss')} | {answers} | {last} |")
    return "\n".join(lines) + "\n"


def before_after(result: dict[str, Any]) -> str:
    """Answers to the first questions, before any step and of the kept state."""
    parts = [f"From one run of this recipe: {result['verdict']}\n"]
    for sample in result["samples"][:SHOWN]:
        asked = sample["prompt"].strip().splitlines()
        first, last = sample["answers"][0], sample["answers"][-1]
        parts.append("```text\nasked:  " + "\n        ".join(asked) + f"\nbefore: {_line(first['output'])}\n"
                     f"after:  {_line(last['output'])}\nwanted: {_line(sample['reference'])}\n```\n")  # fmt: skip
    return "\n".join(parts)


def _line(text: str) -> str:
    flat = "\n        ".join(text.strip().splitlines()).replace("```", "'''")
    return flat if len(flat) <= 500 else f"{flat[:500]}..."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs/benchmarks/generative_examples.jsonl")
    parser.add_argument("--only", nargs="*", default=EXAMPLES)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--fill", action="store_true")
    options = parser.parse_args()
    results = []
    if options.results.exists():
        results = [json.loads(line) for line in options.results.read_text("utf-8").splitlines()]
    if options.table:
        print(table(results))
        return
    if options.fill:
        for result in results:
            page = ROOT / "examples" / result["example"] / "README.md"
            section = before_after(result)
            page.write_text(MARK.sub(lambda found: f"{found.group(1)}\n{section}", page.read_text("utf-8")), "utf-8")  # noqa: B023
        return
    done = {result["example"] for result in results}
    for name in options.only:
        if name not in done:
            with tempfile.TemporaryDirectory() as out:
                result = run_example(name, out)
            with open(options.results, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(result) + "\n")
            print(f"{name}: {result['verdict']} ({result['seconds']:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

"""`python -m benchmarks.search_speed` (part of `make bench`): a search of 24 trials against Trainer + PEFT + Optuna.

LoRA's rank and learning rate, four of MiniLM's six layers frozen, on rows of Banking77. Each pair alternates the sides,
each in a fresh process; results are appended to a JSON-lines file as they come, and a run that is there already is not
run again. `--write` puts the table into docs/benchmarks/search_speed.md. `--toy` shows in a minute that it works.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.speed import ALLOCATOR, ROOT, write_rows

RESULTS = ROOT / "docs" / "benchmarks" / "search_speed.jsonl"
PAGE = ROOT / "docs" / "benchmarks" / "search_speed.md"
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"
DEMANDED = 3.0
SIZES: dict[str, dict[str, int]] = {
    "full": {"rows": 480, "held_out": 240, "epochs": 9, "batch": 32, "trials": 24},
    "large": {"rows": 800, "held_out": 400, "epochs": 9, "batch": 32, "trials": 24},
    "toy": {"rows": 64, "held_out": 32, "epochs": 3, "batch": 16, "trials": 4},
}
PEERS = {"halving": "successive halving", "median": "median", "hyperband": "Hyperband"}
TITLES = {"search": "`luthier search`", "plain": "Optuna's loop and pruner over luthier's workbench",
          "trainer": "Trainer + PEFT + Optuna"}  # fmt: skip


def write_split(folder: Path, rows: int, held_out: int) -> dict[str, str]:
    """train.csv and validation.csv: shuffled rows, and only labels that train has."""
    write_rows(folder / "all.csv", 3 * (rows + held_out), 1)
    with open(folder / "all.csv", encoding="utf-8", newline="") as handle:
        found = list(csv.DictReader(handle))
    random.Random(3).shuffle(found)
    train = found[:rows]
    known = {row["label"] for row in train}
    parts = {"train": train, "validation": [row for row in found[rows:] if row["label"] in known][:held_out]}
    paths = {}
    for name, part in parts.items():
        paths[name] = str(folder / f"{name}.csv")
        with open(paths[name], "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, ["text", "label"])
            writer.writeheader()
            writer.writerows(part)
    return paths


def measure(side: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One search in a fresh process with an empty cache."""
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    load = os.getloadavg()[0]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(job["threads"]))
    environment = {**os.environ, **ALLOCATOR, **threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                   "LUTHIER_CACHE": str(folder / f"cache-{time.monotonic_ns()}"), "SEARCH_BEGAN": repr(time.time())}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.search_worker", side, str(path)], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"load": load}


def best(run: dict[str, Any]) -> float:
    """The best validation score of a search."""
    return max(float(entry["value"]) for entry in run["evaluations"])


def time_to(run: dict[str, Any], score: float) -> float:
    """Seconds from the start of the process to the first evaluation with this score."""
    return min(float(entry["t"]) for entry in run["evaluations"] if entry["value"] >= score - 1e-9)


def final_loss(run: dict[str, Any]) -> float:
    """The validation loss of the evaluation with the best score (of these the lowest)."""
    found = max(run["evaluations"], key=lambda entry: (entry["value"], -entry["loss"]))
    return float(found["loss"])


def epochs_of(run: dict[str, Any]) -> int:
    """Epochs that were trained, all trials together."""
    return len(run["evaluations"])


def loss_differences(first: dict[str, Any], second: dict[str, Any]) -> list[float]:
    """Differences of the validation losses where both sides made the same trials; none where they did not."""
    one, other = ({(e["trial"], e["epoch"]): e["loss"] for e in run["evaluations"]} for run in (first, second))
    return [abs(one[key] - other[key]) for key in one] if one.keys() == other.keys() else []


def spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"**{values[0]:.2f}** (one pair)"
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


def line(ours: str, pruner: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """One line of the table: `ours` against the peer with this pruner."""
    middle = statistics.median
    whole = [theirs["wall"] / mine["wall"] for mine, theirs in pairs]
    busy = [theirs["cpu"] / mine["cpu"] for mine, theirs in pairs if "cpu" in mine and "cpu" in theirs]
    scores = [min(best(mine), best(theirs)) for mine, theirs in pairs]
    reach = [time_to(theirs, score) / time_to(mine, score) for (mine, theirs), score in zip(pairs, scores, strict=True)]
    seconds = [(time_to(mine, score), time_to(theirs, score)) for (mine, theirs), score in zip(pairs, scores, strict=True)]
    # `luthier search` promotes in another order, so from some trial on its suggestions are others
    same = [value for pair in pairs for value in loss_differences(*pair)] if ours == "plain" else []
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return (
        f"| {TITLES[ours]} | {PEERS[pruner]} | {spread(whole)} | {spread(busy) if busy else '-'} | {spread(reach)} | {DEMANDED:g} | "
        f"{middle(r['wall'] for r in mine):.0f} / {middle(r['wall'] for r in theirs):.0f} | "
        f"{middle(a for a, _ in seconds):.0f} / {middle(b for _, b in seconds):.0f} | "
        f"{middle(map(best, mine)):.4f} / {middle(map(best, theirs)):.4f} | "
        f"{middle(map(final_loss, mine)):.4f} / {middle(map(final_loss, theirs)):.4f} | "
        f"{middle(map(epochs_of, mine)):.0f} / {middle(map(epochs_of, theirs)):.0f} | "
        f"{f'{middle(same):.0e} / {max(same):.0e}' if same else 'other trials'} | "
        f"{1e3 * middle(r['besides'] / r['trials'] for r in mine):.0f} | "
        f"{middle(r['shared'] for r in mine):.1f} | "
        f"{middle(r['peak'] for r in mine) / 2**30:.2f} / {middle(r['peak'] for r in theirs) / 2**30:.2f} |"
    )


def table(results: list[dict[str, Any]], size: str) -> str:
    """The committed table, from results of one size."""
    runs = {(r["side"], r["pruner"], r["round"]): r for r in results if r["size"] == size}
    lines = [
        "| ours | the peer's pruner | whole search, ratio | the same in processor time | time to the same score, ratio | "
        "demanded | whole search s, "
        "ours / peer | to the score s | best accuracy | its validation loss | epochs trained | loss difference, median / largest | "
        "ours besides training, ms per trial | shared work s | peak GiB |",
        "|" + "---|" * 15,
    ]
    for ours in ("search", "plain"):
        for pruner in PEERS:
            pairs = [
                (runs[ours, pruner if ours == "plain" else "", number], theirs)
                for (side, name, number), theirs in sorted(runs.items())
                if side == "trainer" and name == pruner and (ours, pruner if ours == "plain" else "", number) in runs
            ]
            if pairs:
                lines.append(line(ours, pruner, pairs))
    return "\n".join(lines) + "\n"


def machine(results: list[dict[str, Any]], size: str) -> str:
    mine = [r for r in results if r["size"] == size]
    job, loads = SIZES[size], [r["load"] for r in mine]
    return (
        f"{mine[-1]['machine']}; {mine[-1]['versions']}; MiniLM-L6, LoRA on the upper two of six layers, ranks 4, 8, 16, "
        f"32, rates 2e-4 to 2e-2; {job['rows']} training and {job['held_out']} validation rows, batch {job['batch']}, "
        f"{job['trials']} trials of at most {job['epochs']} epochs; {max(r['round'] for r in mine) + 1} rounds with the "
        f"sampler's seeds 0 to {max(r['round'] for r in mine)}; load average before a run {min(loads):.1f} to "
        f"{max(loads):.1f}; {mine[-1]['date']}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", nargs="*", default=["search", "plain"], choices=["search", "plain"])
    parser.add_argument("--peers", nargs="*", default=["halving"], choices=list(PEERS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--toy", action="store_true", help="as few rows and trials as show that it works")
    parser.add_argument("--results", type=Path, help="a JSON-lines file that grows, and spares what is in it")
    parser.add_argument("--most", type=int, help="run so many searches at most, then stop")
    parser.add_argument("--write", action="store_true", help="write the table into the document")
    options = parser.parse_args()
    size = "toy" if options.toy else options.size
    if options.toy:
        options.rounds = 1
    kept = options.results or (RESULTS if options.write else None)
    results = [json.loads(text) for text in kept.read_text().splitlines()] if kept and kept.is_file() else []
    done = {(r["size"], r["side"], r["pruner"], r["round"]) for r in results}
    about = {
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "accelerate", "optuna")),
        "machine": f"{platform.machine()}, {options.threads} threads, fp32", "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job: dict[str, Any] = SIZES[size] | write_split(folder, SIZES[size]["rows"], SIZES[size]["held_out"])
        plan = [
            (side, pruner, number)
            for number in range(options.rounds)
            for side, pruner in [
                *(("search", "") for ours in options.ours if ours == "search"),
                *((side, peer) for peer in options.peers for side in ("trainer", "plain")
                  if side == "trainer" or "plain" in options.ours),
            ]
            if (size, side, pruner, number) not in done
        ]  # fmt: skip
        for side, pruner, number in plan[: options.most]:
            one = job | {"pruner": pruner, "seed": number, "threads": options.threads}
            found = measure(side, one, folder) | {"size": size, "side": side, "pruner": pruner, "round": number} | about
            results.append(found)
            print(f"  {side} {pruner} {number}: {found['wall']:.1f} s, best {best(found):.4f}", file=sys.stderr, flush=True)
            if kept:
                with open(kept, "a", encoding="utf-8") as handle:
                    handle.write(json.dumps(found) + "\n")
    sizes = [name for name in SIZES if any(r["size"] == name for r in results)]
    text = "\n".join(f"{machine(results, name)}\n{table(results, name)}" for name in sizes)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""`make bench`: luthier against transformers Trainer + PEFT, side by side, as ratios.

Each measurement alternates the two (A B A B ...), each in a fresh process with the same allocator
settings, on the same rows, batches, initial weights, optimizer and schedule. `--toy` shows in
seconds that it works; `--rows`, `--rounds` and `--only` choose more or less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.worker import BATCH

ROOT = Path(__file__).resolve().parents[1]
BANKING = ROOT.parent / "shared" / "data" / "banking77" / "train.csv"
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_MMAP_MAX_": "0", "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
}  # fmt: skip
FREE = {"embeddings": False, "layers": 0}
JOBS: dict[str, dict[str, Any]] = {
    "full": {"method": {"kind": "full"}, "freeze": FREE, "epochs": 1, "rate": 1e-4, "demanded": 1.5},
    "lora": {"method": {"kind": "lora"}, "freeze": FREE, "epochs": 1, "rate": 1e-3, "demanded": 1.3},
    "head": {"method": {"kind": "head"}, "freeze": FREE, "epochs": 2, "rate": 2e-3, "demanded": 50.0},
    "frozen4": {"method": {"kind": "full"}, "freeze": {"embeddings": True, "layers": 4}, "epochs": 2, "rate": 1e-4,
                "demanded": 2.0},
}  # fmt: skip
WARM = 3
"""Steps that are not counted."""


def write_rows(path: Path, count: int, words: int) -> None:
    """`count` real rows (Banking77; made-up words where it is not there), each `words` rows joined into one."""
    import csv

    if BANKING.exists():
        with open(BANKING, encoding="utf-8", newline="") as handle:
            rows = [(row["text"], row["category"]) for row in csv.DictReader(handle)]
    else:
        vocabulary = [f"word{i}" for i in range(500)]
        generator = random.Random(1)
        rows = [(" ".join(generator.choices(vocabulary, k=generator.randint(5, 30))), f"class{i % 10}")
                for i in range(4 * count)]  # fmt: skip
    random.Random(0).shuffle(rows)
    lengths = random.Random(2)
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        at = 0
        for _ in range(count):
            take = lengths.randint(1, words)
            part = [rows[(at + i) % len(rows)] for i in range(take)]
            at += take
            writer.writerow([" ".join(text for text, _ in part), part[0][1]])


def measure(side: str, job: dict[str, Any], folder: Path, allocator: bool) -> dict[str, Any]:
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "LUTHIER_CACHE": str(folder / f"cache-{time.monotonic_ns()}")}
    environment |= ALLOCATOR if allocator else {}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker", side, str(path)], cwd=ROOT, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    steps = found["steps"]
    first = len(steps) // 2 if job["epochs"] == 2 else WARM  # of two epochs the second counts
    seconds = steps[-1]["end"] - steps[first - 1]["end"]
    found["rows_per_second"] = sum(s["rows"] for s in steps[first:]) / seconds
    found["tokens_per_second"] = sum(s["tokens"] for s in steps[first:]) / seconds
    return found


def gemm_ceiling(threads: int) -> float:
    """GFLOP/s of this model's commonest product, best of many."""
    import torch

    torch.set_num_threads(threads)
    x, w = torch.randn(1024, 384), torch.randn(1536, 384)
    best = 1e9
    for _ in range(60):
        began = time.perf_counter()
        x @ w.t()
        best = min(best, time.perf_counter() - began)
    return 2 * 1024 * 384 * 1536 / best / 1e9


def compare(
    name: str, peer: str, job: dict[str, Any], rounds: int, folder: Path, allocator_peer: bool
) -> dict[str, Any]:
    ratios, ours, theirs = [], [], []
    for _ in range(rounds):
        a = measure("ours", {**job, "order": "bucketed"}, folder, True)
        b = measure("trainer", job, folder, allocator_peer)
        ours.append(a)
        theirs.append(b)
        ratios.append(a["rows_per_second"] / b["rows_per_second"])
        print(f"  {name} against {peer}: {ratios[-1]:.2f}", file=sys.stderr, flush=True)
    a, b = ours[-1], theirs[-1]
    same = job["order"] == "bucketed"
    difference = max(abs(x["loss"] - y["loss"]) for x, y in zip(a["steps"], b["steps"], strict=True)) if same else None
    middle = statistics.median
    return {
        "work": name, "peer": peer, "demanded": job["demanded"], "ratio": middle(ratios), "low": min(ratios),
        "high": max(ratios), "rows": middle(x["rows_per_second"] for x in ours),
        "peer_rows": middle(x["rows_per_second"] for x in theirs), "tokens": middle(x["tokens_per_second"] for x in ours),
        "loss_difference": difference, "loss": a["steps"][-1]["loss"], "peer_loss": b["steps"][-1]["loss"],
        "norm": a["steps"][-1]["norm"], "peer_norm": b["steps"][-1]["norm"], "peak": middle(x["peak"] for x in ours),
        "peer_peak": middle(x["peak"] for x in theirs), "wall": middle(x["wall"] for x in ours),
        "peer_wall": middle(x["wall"] for x in theirs),
    }  # fmt: skip


def table(results: list[dict[str, Any]], machine: str) -> str:
    lines = [
        machine, "",
        "| work | peer | ratio of rows/s, median (range) | demanded | ours, rows/s | peer, rows/s | ours, tokens/s | "
        "largest loss difference | final loss, ours / peer | last gradient norm, ours / peer | peak GiB, ours / peer | "
        "whole job s, ours / peer |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for r in results:
        difference = "other order" if r["loss_difference"] is None else f"{r['loss_difference']:.1e}"
        verdict = "" if r["low"] > 1 or r["high"] < 1 else " (no difference shown)"
        lines.append(
            f"| {r['work']} | {r['peer']} | **{r['ratio']:.2f}** ({r['low']:.2f} to {r['high']:.2f}){verdict} | "
            f"{r['demanded']:g} | {r['rows']:.1f} | {r['peer_rows']:.1f} | {r['tokens']:.0f} | {difference} | "
            f"{r['loss']:.4f} / {r['peer_loss']:.4f} | {r['norm']:.3f} / {r['peer_norm']:.3f} | "
            f"{r['peak'] / 2**30:.2f} / {r['peer_peak'] / 2**30:.2f} | {r['wall']:.0f} / {r['peer_wall']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1280)
    parser.add_argument("--joined", type=int, default=1, help="rows joined into one, 1 to this many: longer texts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(JOBS))
    parser.add_argument("--peers", nargs="*", default=["best", "plain", "random"])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--toy", action="store_true", help="as few rows as show that it works")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.toy:
        options.rows, options.rounds, options.only, options.peers = 8 * BATCH, 1, ["lora", "head"], ["best"]
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "rows.csv"
        write_rows(data, options.rows, options.joined)
        for work in options.only:
            job = {**JOBS[work], "data": str(data), "threads": options.threads, "precision": options.precision}
            peers = {
                "best": ("Trainer + PEFT, bucketed, our allocator settings", "bucketed", True),
                "plain": ("Trainer + PEFT, bucketed", "bucketed", False),
                "random": ("Trainer + PEFT, random order (its default)", "random", False),
            }
            for peer in options.peers:
                title, order, allocator = peers[peer]
                results.append(compare(work, title, {**job, "order": order}, options.rounds, folder, allocator))
    import torch

    where = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()}, {options.threads} threads"
    )
    ceiling = (
        ""
        if torch.cuda.is_available()
        else f"; GEMM ceiling measured in this run {gemm_ceiling(options.threads):.0f} GFLOP/s"
    )
    machine = (
        f"{where}; torch {torch.__version__}, transformers {version('transformers')}, peft {version('peft')}, accelerate "
        f"{version('accelerate')}; MiniLM-L6, {options.rows} rows (joined 1 to {options.joined}), batch {BATCH}, "
        f"{options.precision}, {options.rounds} rounds{ceiling}. head and frozen4: second epoch."
    )
    print(table(results, machine))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

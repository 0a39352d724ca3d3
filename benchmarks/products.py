"""float32 products by torch's BLAS and by oneDNN, and what oneDNN keeps: `python -m benchmarks.products [--threads 1]`.

The shapes are those of the linear layers of a 31 M and a 135 M Llama, 1,600 tokens. Prints GFLOP/s of the fastest of
some runs (processor time over the threads), and by how much a process grows within 200 lengths of a stream, with the
bound of `luthier.models.onednn` and without.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.engine import resident
from benchmarks.language_speed import machine, versions
from luthier.models import onednn
from luthier.models.products import prefers_onednn

TOKENS = 1600
SHAPES = ((1024, 512), (512, 512), (2816, 512), (512, 1408), (960, 576), (576, 576), (3072, 576), (576, 1536))
"""(outputs, inputs)."""
BOUNDS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
UNBOUNDED = "1024"
"""What both have by themselves."""


def rate(work: Callable[[], object], outputs: int, inputs: int, times: int = 6) -> float:
    """GFLOP/s by processor time, of all threads together."""
    seconds = []
    for _ in range(times):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return 2 * TOKENS * outputs * inputs / min(seconds) / 1e9 * torch.get_num_threads()


def table() -> str:
    lines = ["| outputs x inputs | BLAS | oneDNN | oneDNN, packed | BLAS, input gradient | oneDNN, input gradient |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for outputs, inputs in SHAPES:
        x, dy, weight = torch.randn(TOKENS, inputs), torch.randn(TOKENS, outputs), torch.randn(outputs, inputs)
        packed, turned = onednn.pack(weight, TOKENS), weight.t()
        ways: tuple[Callable[[], object], ...] = (
            lambda x=x, w=weight: x @ w.t(),  # type: ignore[misc]
            lambda x=x, w=weight: onednn.linear(x, w),  # type: ignore[misc]
            lambda x=x, w=packed: onednn.linear(x, w),  # type: ignore[misc]
            lambda dy=dy, w=weight: dy @ w,  # type: ignore[misc]
            lambda dy=dy, w=turned: onednn.linear(dy, w),  # type: ignore[misc]
        )
        cells = (f"{rate(way, outputs, inputs):.0f}" for way in ways)
        lines.append(f"| {outputs} x {inputs} | {' | '.join(cells)} |")
    return "\n".join(lines)


def growth() -> tuple[float, float]:
    """(MiB by which this process grows within 200 lengths, processor seconds)."""
    weights = [(inputs, torch.randn(outputs, inputs)) for outputs, inputs in SHAPES[:4]]

    def lengths(first: int, last: int) -> None:
        for rows in range(first, last):
            for inputs, weight in weights:
                onednn.linear(torch.randn(rows, inputs), weight)

    lengths(300, 301)
    before, begin = resident(), time.process_time()
    lengths(100, 300)
    return (resident() - before) / 2**20, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--growth", action="store_true", help="only what this process grows by")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.growth:
        print("{:.0f} MiB in {:.1f} s".format(*growth()))
        return
    print(f"{machine()}, {chosen.threads} thread(s), {versions(('torch',))}; "
          f"luthier takes {'oneDNN' if prefers_onednn() else 'BLAS'} here. GFLOP/s:\n\n{table()}\n")  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.products", "--threads", str(chosen.threads), "--growth"]
    free = {name: value for name, value in os.environ.items() if name not in BOUNDS}
    for name, environment in (("bounded", free), ("unbounded", free | dict.fromkeys(BOUNDS, UNBOUNDED))):
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment,
                              cwd=Path(__file__).resolve().parents[1]).stdout  # fmt: skip
        print(f"growth within 200 lengths, {name}: {said.strip()}")


if __name__ == "__main__":
    main()

"""What the allocator settings of the command line give: training steps with and without, alternating.

    .venv/bin/python scripts/allocator_bench.py [PAIRS]

Prints wall and system seconds and page faults of the same steps (the base model, every weight, AdamW),
and the ratio pair by pair. docs/design/0001-foundation.md has a result.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time

from luthier.cli.allocator import SETTINGS

LENGTHS = (64, 40, 24, 56, 48, 32) * 2


def steps() -> None:
    """Train a few steps on random tokens and print what they took."""
    import torch
    from transformers import AutoModel

    from luthier.models.catalogue import locate

    torch.manual_seed(0)
    model = AutoModel.from_pretrained(locate("minilm").path).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step(length: int) -> None:
        ids = torch.randint(1000, 20000, (16, length))
        model(input_ids=ids).last_hidden_state.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    for length in (64, 48, 32):
        step(length)
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for length in LENGTHS:
        step(length)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    system = after.ru_stime - before.ru_stime
    print(json.dumps({"wall": seconds, "system": system, "faults": after.ru_minflt - before.ru_minflt}))


def measure(settings: dict[str, str]) -> dict[str, float]:
    """One fresh process."""
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings
    command = [sys.executable, __file__, "--steps"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Pairs of processes, alternating."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    ratios = []
    for _ in range(pairs):
        plain, kept = measure({}), measure(SETTINGS)
        ratios.append(plain["wall"] / kept["wall"])
        print(f"plain {plain}\nkept  {kept}\nratio {ratios[-1]:.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f}, range {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    steps() if "--steps" in sys.argv else main()

"""`python -m benchmarks.side_by_side`: trials beside each other, as adapters in one process or as processes.

adapters: K LoRA trials take their steps together over one frozen trunk, as one stack of adapters (plain torch), against
the same K steps one after another, by the same code and by luthier's own. processes: two processes of one thread each
against one of two threads. docs/benchmarks/search_speed.md says what came out and what follows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.search_speed import ROOT, write_split
from benchmarks.speed import ALLOCATOR

STACKS = (1, 2, 4, 8)
RANK = 8


def fastest(work: Callable[[], object], times: int) -> float:
    """Median seconds of a call, after two that do not count."""
    seconds = []
    for number in range(times + 2):
        began = time.perf_counter()
        work()
        if number >= 2:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def stacked_step(model: Any, count: int, cached: Any, lengths: Any, targets: Any) -> Callable[[], object]:
    """One step of `count` trials over the top two layers of a BERT, by plain torch on padded rows: products of the
    frozen weights are taken once for all tokens of all trials, LoRA's thin ones per trial."""
    import torch
    from torch.nn import functional as F

    rows, longest = len(lengths), int(lengths.max())
    mask = torch.arange(longest) < lengths.unsqueeze(1)
    grid = torch.zeros(rows, longest, cached.shape[-1])
    grid[mask] = cached
    see = mask[:, None, None, :].repeat(count, 1, 1, 1)
    heads, width = model.config.num_attention_heads, model.config.hidden_size
    trained: list[Any] = []

    def adapter(outputs: int, inputs: int) -> tuple[Any, Any]:
        pair = torch.randn(count, RANK, inputs) * 0.05, torch.zeros(count, outputs, RANK)
        for part in pair:
            part.requires_grad_(True)
        trained.extend(pair)
        return pair

    def linear(module: Any, pair: Any, x: Any, first: bool) -> Any:
        """x [count, M, D], or [M, D] where all trials read the same; [count, M, N]."""
        down, up = pair
        base = F.linear(x, module.weight, module.bias)
        read = x.unsqueeze(0) if first else x
        return base + 2.0 * (read @ down.transpose(1, 2)) @ up.transpose(1, 2)

    blocks = []
    for block in model.layers[-2:]:
        a = block.attention
        parts = (a.self.query, a.self.key, a.self.value, a.output.dense, block.intermediate.dense, block.output.dense)
        blocks.append((block, [(part, adapter(*part.weight.shape)) for part in parts]))
    head = (torch.randn(count, width, 77) * 0.02).requires_grad_(True)
    optimizer = torch.optim.AdamW([*trained, head], lr=1e-3, fused=True)
    labels = targets.long().repeat(count)

    def step() -> None:
        x = grid.reshape(-1, width)
        for number, (block, parts) in enumerate(blocks):
            q, k, v, out, up, down = parts
            one = number == 0
            split = (count * rows, longest, heads, width // heads)
            qkv = [linear(*part, x, one).reshape(split).transpose(1, 2) for part in (q, k, v)]
            context = F.scaled_dot_product_attention(*qkv, attn_mask=see).transpose(1, 2).reshape(count, -1, width)
            attended = block.attention.output.LayerNorm(linear(*out, context, False) + x)
            wide = F.gelu(linear(*up, attended, False))
            x = block.output.LayerNorm(linear(*down, wide, False) + attended)
        first = x.reshape(count, rows, longest, width)[:, :, 0]
        loss = F.cross_entropy((first @ head).reshape(count * rows, 77), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def adapters(threads: int, rounds: int, times: int, rows: int) -> list[dict[str, Any]]:
    """Seconds per trial and step, by the number of trials that step together."""
    import torch

    from benchmarks.search_worker import recipe_of
    from luthier.data.packing import plan_epoch
    from luthier.searching.workbench import Workbench
    from luthier.train.collate import collate

    torch.set_num_threads(threads)
    found = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["LUTHIER_CACHE"] = f"{name}/cache"
        job = write_split(Path(name), 320, 77) | {"epochs": 3, "batch": rows}
        run = Workbench(recipe_of(job, RANK, 1e-3)).open(recipe_of(job, RANK, 1e-3), Path(name) / "trial")
        run.advance(1)
        ready = run._trial._ready
        assert ready is not None
        runner, table, model = ready.parts.runner, ready.parts.table, ready.parts.model
        batch = collate(table, plan_epoch(table.lengths, rows, seed=0, epoch=1)[4], False)
        assert runner.cache is not None
        cached = runner.cache.rows(batch.rows)

        def ours() -> None:
            ready.optimizer.zero_grad()
            runner.backward([batch])
            ready.optimizer.step(1.0)

        bare = stacked_base(model)
        for number in range(rounds):
            one = {"round": number, "threads": threads, "rows": rows, "tokens": batch.num_tokens, "ours": fastest(ours, times)}
            for count in STACKS:
                step = stacked_step(bare, count, cached, batch.lengths, batch.targets)
                one[f"stack_{count}"] = fastest(step, max(3, times // count)) / count
            found.append(one)
    return found


def stacked_base(model: Any) -> Any:
    """The frozen layers below PEFT's."""
    import copy

    bare = copy.deepcopy(model)
    bare.peft.unload()
    return bare.requires_grad_(False)


def trial_steps(path: str, threads: int, epochs: int) -> None:
    """One process: make everything ready, say so, wait for a line, train, tell the seconds."""
    import torch

    from benchmarks.search_worker import recipe_of
    from luthier.searching.workbench import Workbench

    torch.set_num_threads(threads)
    job = json.loads(Path(path).read_text()) | {"epochs": epochs + 1, "batch": 32}
    recipe = recipe_of(job, RANK, 1e-3)
    with tempfile.TemporaryDirectory() as name:
        run = Workbench(recipe).open(recipe, Path(name) / "trial")
        run.advance(1)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        rung = run.advance(epochs + 1)
        print(json.dumps({"seconds": time.perf_counter() - began, "loss": rung.loss}), flush=True)


def processes(rounds: int, epochs: int) -> list[dict[str, Any]]:
    """Epochs of trials per second: two threads in one process, and one in each of two."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        job = Path(name) / "job.json"
        job.write_text(json.dumps(write_split(Path(name), 800, 400)))
        for number in range(rounds):
            for count, threads in ((1, 1), (1, 2), (2, 1)):
                own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
                environment = {**os.environ, **ALLOCATOR, **own, "LUTHIER_CACHE": f"{name}/cache-{threads}"}
                command = [sys.executable, "-m", "benchmarks.side_by_side", "trial", str(job), str(threads), str(epochs)]
                children = [
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True) for _ in range(count)
                ]  # fmt: skip
                streams = [(child.stdin, child.stdout) for child in children]
                for _, out in streams:
                    assert out is not None
                    assert out.readline() == "ready\n"
                began = time.perf_counter()
                for into, _ in streams:
                    assert into is not None
                    into.write("go\n")
                    into.flush()
                losses = [json.loads(out.readline())["loss"] for _, out in streams if out is not None]
                seconds = time.perf_counter() - began
                for child in children:
                    child.communicate()
                found.append({"round": number, "processes": count, "threads": threads, "loss": losses[0],
                              "epochs_per_second": count * epochs / seconds})  # fmt: skip
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "trial":
        trial_steps(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["adapters", "processes"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=24, help="steps of one measurement")
    parser.add_argument("--rows", type=int, default=32, help="of a step")
    parser.add_argument("--epochs", type=int, default=3, help="that each process trains in one measurement")
    options = parser.parse_args()
    if options.what == "adapters":
        found = adapters(options.threads, options.rounds, options.times, options.rows)
    else:
        found = processes(options.rounds, options.epochs)
    for entry in found:
        print(json.dumps(entry))


if __name__ == "__main__":
    main()

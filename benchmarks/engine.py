"""The engine's decoding against transformers' ``generate``, side by side in one process, as ratios.

Both hold the same random Llama in float32 and answer the same prompts greedily with the same number of new tokens, in
turn (A B B A ...). Ours is `RunningBatch` over the fast path, sampling and text included; the peer is ``generate``
with its defaults (one padded batch, dynamic cache), under our allocator settings too. `--shape toy` shows in seconds
that it works. `--write` keeps the results in docs/benchmarks/engine.jsonl, newest last, and writes engine.md from
them. Exit status 1: an answer differs though the model was not undecided between two tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.causal_step import SHAPES
from benchmarks.language_speed import machine, versions
from luthier.cli.allocator import SETTINGS
from luthier.core.generation import Generation, Sampling
from luthier.models.generation import Decoder, Request
from luthier.models.generation.fast_choice import forward_of
from luthier.models.generation.fast_forward import FastForward

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmarks" / "engine.jsonl"
STREAMS, ADAPTERS, RANK = 16, 8, 16
LENGTH, SHORTEST, LONGEST = 100, 60, 140
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NEAR = 1e-3
"""A difference of two logits that rounding may turn round."""
TIMES = {"wall": "wall-clock time", "cpu": "processor time, since other work ran on the machine"}
WORK: dict[str, tuple[str, str, float]] = {
    "one": ("one stream", "transformers generate", 1.2),
    "batch": (f"{STREAMS} streams, prompts of {LENGTH} tokens", "transformers generate, one batch", 1.2),
    "mixed": (
        f"{STREAMS} streams, prompts of {SHORTEST} to {LONGEST} tokens",
        "transformers generate, one padded batch",
        1.2,
    ),
    "alone": (f"{STREAMS} streams at the same time", "ourselves, one after the other", 4.0),
    "adapters": (f"{STREAMS} streams, {ADAPTERS} LoRA adapters", "ourselves, all with the same adapter", 0.9),
    "base": (f"{STREAMS} streams, {ADAPTERS} LoRA adapters", "ourselves, the base alone", 0.0),
}
"""What is compared with what, and the least ratio that is demanded (0: none)."""


class Ids:
    """Shows ids, so that texts are compared token by token."""

    def decode(self, ids: Any, *, skip_special: bool = True) -> str:
        return "".join(f"<{index}>" for index in ids)


def parse(text: str) -> list[int]:
    return [int(part) for part in text[1:-1].split("><")]


class Sides:
    """Both models."""

    def __init__(self, shape: str, tokens: int) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        self.tokens, self.vocabulary = tokens, SHAPES[shape]["vocab_size"]
        torch.manual_seed(0)
        config = LlamaConfig(**SHAPES[shape], tie_word_embeddings=True, max_position_embeddings=1024,  # type: ignore[arg-type]
                             bos_token_id=None, eos_token_id=None, pad_token_id=0)  # fmt: skip
        self.stock = LlamaForCausalLM(config).eval()
        for parameter in self.stock.parameters():
            parameter.data.mul_(3)  # near-uniform logits would tie
        wrapped: Any = LlamaForCausalLM(config).eval()
        wrapped.load_state_dict(self.stock.state_dict())
        self.weights = sum(parameter.numel() * 4 for parameter in wrapped.parameters())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", init_lora_weights=False)
            wrapped = get_peft_model(wrapped, lora, adapter_name="a0").eval()
            for index in range(1, ADAPTERS):
                wrapped.add_adapter(f"a{index}", lora)
        before, began = resident(), time.perf_counter()
        forward = forward_of(wrapped, named=True, release=True)
        if not isinstance(forward, FastForward):
            raise SystemExit("the fast path does not know this model")
        self.packing, self.growth = time.perf_counter() - began, resident() - before
        self.decoder = Decoder(wrapped, context=1024, rows=STREAMS, forward=forward)

    def prompts(self, lengths: Sequence[int]) -> list[list[int]]:
        draw = random.Random(sum(lengths))
        return [[draw.randrange(self.vocabulary) for _ in range(length)] for length in lengths]

    def ours(
        self, prompts: list[list[int]], adapters: Sequence[str | None] = (), logprobs: int | None = None
    ) -> list[Generation]:
        names = adapters or [None] * len(prompts)
        sampling = Sampling(max_tokens=self.tokens, logprobs=logprobs)
        return self.decoder.generate(
            [Request(tuple(ids), sampling, Ids(), frozenset(), None, name)  # type: ignore[arg-type]
             for ids, name in zip(prompts, names, strict=True)]
        )  # fmt: skip

    def theirs(self, prompts: list[list[int]], **options: Any) -> Any:
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        with torch.inference_mode():
            return self.stock.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=self.tokens, pad_token_id=0, **options
            )

    def agreement(self, prompts: list[list[int]]) -> dict[str, Any]:
        """Rows with the same tokens, the largest difference of a chosen token's log-probability while they are the
        same, and how far apart the peer's two best logits were where a row first differed."""
        out = self.theirs(prompts, return_dict_in_generate=True, output_logits=True)
        tokens = out.sequences[:, -self.tokens :].tolist()
        same, largest, margins = 0, 0.0, []
        for row, answer in enumerate(self.ours(prompts, logprobs=0)):
            mine = parse(answer.text)
            same += mine == tokens[row]
            for step, (token, own) in enumerate(zip(tokens[row], mine, strict=True)):
                logits = out.logits[step][row].float()
                if token != own:
                    margins.append(float(logits[token] - logits[own]))
                    break
                told = answer.logprobs[step].logprob
                largest = max(largest, abs(float(logits.log_softmax(-1)[token]) - told))
        return {"same": f"{same}/{len(prompts)}", "difference": largest, "margins": margins}


def resident() -> int:
    """Bytes that the process holds; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)


def seconds(work: Callable[[], Any], clock: str) -> float:
    now = CLOCKS[clock]
    begin = now()
    work()
    return now() - begin


def pairs(sides: Sides) -> dict[str, tuple[Callable[[], Any], Callable[[], Any], int, list[list[int]] | None]]:
    """Per work: ours, the other, the answers of each, and the prompts whose answers are compared."""
    equal = sides.prompts([LENGTH] * STREAMS)
    mixed = sides.prompts([SHORTEST + index * (LONGEST - SHORTEST) // (STREAMS - 1) for index in range(STREAMS)])
    several = [f"a{row % ADAPTERS}" for row in range(STREAMS)]
    return {
        "one": (lambda: sides.ours(equal[:1]), lambda: sides.theirs(equal[:1]), 1, equal[:1]),
        "batch": (lambda: sides.ours(equal), lambda: sides.theirs(equal), STREAMS, equal),
        "mixed": (lambda: sides.ours(mixed), lambda: sides.theirs(mixed), STREAMS, mixed),
        "alone": (lambda: sides.ours(mixed), lambda: [sides.ours([prompt]) for prompt in mixed], STREAMS, None),
        "adapters": (lambda: sides.ours(equal, several), lambda: sides.ours(equal, ["a0"] * STREAMS), STREAMS, None),
        "base": (lambda: sides.ours(equal, several), lambda: sides.ours(equal), STREAMS, None),
    }


def compare(sides: Sides, names: Sequence[str], rounds: int, label: dict[str, Any]) -> list[dict[str, Any]]:
    """Alternate, after each side has run once; ratios pair by pair."""
    results = []
    for name, (ours, other, answers, prompts) in pairs(sides).items():
        if name not in names:
            continue
        agreement = {} if prompts is None else sides.agreement(prompts)  # warms both up
        if prompts is None:
            ours()
        mine, theirs, loads = [], [], []
        for number in range(rounds):
            loads.append(os.getloadavg()[0])
            order = [(ours, mine), (other, theirs)]
            for work, found in order if number % 2 == 0 else reversed(order):
                found.append(answers * sides.tokens / seconds(work, label["clock"]))
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        print(f"  {name}: {' '.join(f'{ratio:.2f}' for ratio in ratios)}", file=sys.stderr, flush=True)
        results.append(
            label | {"name": name, "ratios": ratios, "rates": mine, "peer_rates": theirs, "loads": loads, **agreement}
        )
    return results


def row(result: dict[str, Any]) -> str:
    work, peer, demanded = WORK[result["name"]]
    ratios = result["ratios"]
    agreement = "-"
    if "same" in result:
        agreement = f"{result['same']}, {result['difference']:.0e}"
        if result["margins"]:
            agreement += f" (they differ where two logits lay within {max(result['margins']):.0e})"
    cells = [
        work, peer, f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{demanded:g}" if demanded else "-", f"{statistics.median(result['rates']):.1f}",
        f"{statistics.median(result['peer_rates']):.1f}", agreement,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def section(results: list[dict[str, Any]]) -> str:
    """All results of one shape and setting."""
    last = results[-1]
    loads = sorted(load for result in results for load in result["loads"])
    toy = " This size only shows that the benchmark works: no claim follows from it." if last["shape"] == "toy" else ""
    where = (
        f"{last['machine']}, {last['threads']} thread(s), {TIMES[last['clock']]}, fp32; {last['versions']}; {last['tokens']} new tokens; "
        f"{last['rounds']} rounds; load average at the beginning of a round {loads[0]:.1f} to {loads[-1]:.1f}; "
        f"{last['date']}. Packing took {last['packing']:.1f} s, and the process grew by {last['growth'] / 2**20:.0f} MiB "
        f"(weights: {last['weights'] / 2**20:.0f} MiB).{toy}"
    )
    head = ("| work | against | ratio of tokens/s, median (range) | demanded | ours, tokens/s | other, tokens/s | "
            "same answers, largest difference of a log-probability |")  # fmt: skip
    return "\n\n".join([f"## {last['shape']}", where, "\n".join([head, "|---" * 7 + "|", *map(row, results)])])


def document(results: list[dict[str, Any]]) -> str:
    """The whole page; of what was measured again the newest stands."""
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for result in results:
        key = tuple(result[name] for name in ("shape", "machine", "threads", "clock", "tokens"))
        groups.setdefault(key, {})[result["name"]] = result
    ordered = [[found[name] for name in WORK if name in found] for found in groups.values()]
    return "\n\n".join([INTRODUCTION.strip(), *map(section, ordered)]) + "\n"


INTRODUCTION = f"""
# Speed of the engine

Written by `python -m benchmarks.engine --write` from engine.jsonl.

How it is measured: the same random Llama in float32 on both sides, the same prompts, greedy, the same number of new
tokens, in one process in turn (A B B A ...), both with luthier's allocator settings. Ours is what the engine runs:
the batch that requests join and leave, sampling and text included. Rates count new tokens over the whole time, the
reading of the prompts included. Ratios are paired: above 1, ours is faster. Absolute figures are only context: the
machine is shared. LoRA adapters have rank {RANK}, on all linear layers; rows take them in turn.
"""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    parser.add_argument("--tokens", type=int, default=48, help="new tokens of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", nargs="*", default=list(WORK), choices=WORK)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--clock", choices=CLOCKS, default="wall",
                        help="cpu: seconds of the processor, for a machine that is busy with other things; with --threads 1")  # fmt: skip
    parser.add_argument("--write", action="store_true", help=f"keep the results in {RESULTS.relative_to(ROOT)}")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    torch.set_num_threads(chosen.threads)
    sides = Sides(chosen.shape, chosen.tokens)
    label = {
        "date": date.today().isoformat(), "machine": machine(), "versions": versions(("torch", "transformers", "peft")),
        "shape": chosen.shape, "tokens": chosen.tokens, "rounds": chosen.rounds, "threads": chosen.threads,
        "clock": chosen.clock, "packing": sides.packing, "growth": sides.growth, "weights": sides.weights,
    }  # fmt: skip
    results = compare(sides, chosen.work, chosen.rounds, label)
    if chosen.write:
        with open(RESULTS, "a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(result) + "\n" for result in results)
        kept = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
        RESULTS.with_suffix(".md").write_text(document(kept), encoding="utf-8")
    print(section(results))
    wrong = [result["name"] for result in results if any(margin > NEAR for margin in result.get("margins", ()))]
    if wrong:
        raise SystemExit(f"other answers than the peer's: {', '.join(wrong)}")


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **SETTINGS})
    main()

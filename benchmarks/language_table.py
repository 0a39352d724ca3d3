"""docs/benchmarks/language_speed.md from kept results: a section per shape and setting, a row per comparison."""

from __future__ import annotations

import statistics
from typing import Any

INTRODUCTION = """# Speed of generative training

Written by `python -m benchmarks.language_speed --write` from language_speed.jsonl (`make bench`; the files are
benchmarks/language_speed.py and language_worker.py).

How it is measured: luthier's own `train` against each peer in turn (A B A B ...), each in a fresh process: the same
random Llama, the same LoRA weights (r=16, alpha 32, all linear layers), the same generated conversations (log-normal
lengths of 40 to 600 tokens, at most 512, 60 % prompt, a token per byte) in the same batches of 8, AdamW (fused),
schedule and clipping, no dropout. Ratios are paired: above 1, luthier is faster. Absolute figures are only context.

- Tokens are real ones, never padding; supervised are those with a loss.
- Steady state: the steps after the first 3 (8 where compiled). Whole job: from the start of the process to its end,
  imports, loading, compiling (its cache is empty) and the first steps included; luthier also reads and tokenises the
  text, which the peers are given as tokens. Where a run stops before the last row, the rest is added at its steady
  rate: such seconds are marked "est.", and those of complete jobs "measured".
- Share of the ceiling: products that LoRA training needs (attention's own left out) per second, over the fastest
  product of the model's shape measured in the same process.
- bucketed: rows of like length in a step, in the very batches that luthier makes. Random order is the peer's default;
  the batches then differ, and the losses are not compared.
- Load average: how many processes wanted a core before ours began; well above 0.5, the figures are of a busy machine.
  Processor time of the steady state is then the fairer ratio, with one thread; waiting threads count as working.
- Peak memory: the most that the process held (VmHWM), on a GPU the most that tensors held.
"""
HEAD = (
    "| work | peer | steady state, ratio | whole job, ratio | processor time, ratio | demanded | tokens/s, ours / peer | supervised tokens/s | "
    "largest loss difference | last loss | last gradient norm | peak GiB | ours, share of the ceiling | first step done, "
    "s | whole job, s |"
)


def ratio(values: list[float] | None) -> str:
    """Median and range; whether a difference was shown."""
    if values is None:
        return "-"
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.2f} (one pair)"
    shown = "" if min(values) > 1 or max(values) < 1 else ", no difference shown"
    return f"**{middle:.2f}** ({min(values):.2f} to {max(values):.2f}{shown})"


def pair(result: dict[str, Any], key: str, form: str, unit: float = 1.0) -> str:
    """ours / peer."""
    other = result.get(f"peer_{key}")
    return f"{result[key] / unit:{form}} / {'-' if other is None else format(other / unit, form)}"


def row(result: dict[str, Any]) -> str:
    difference = result["difference"]
    told = "measured" if result["measured"] else "est."
    cells = [
        result["work"], result["peer"], ratio(result["ratio"]), ratio(result["whole_ratio"]),
        ratio(result.get("busy_ratio")),
        "-" if result["demanded"] is None else f"{result['demanded']:g}", pair(result, "rate", ".0f"),
        pair(result, "judged_rate", ".0f"), "other order" if difference is None else f"{difference:.1e}",
        pair(result, "loss", ".4f"), pair(result, "norm", ".3f"), pair(result, "peak", ".2f", 2**30),
        "-" if result["share"] is None else f"{result['share']:.2f}", pair(result, "first_step", ".1f"), f"{pair(result, 'whole', '.0f')} {told}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def best(results: list[dict[str, Any]]) -> str:
    """Which setting of which peer is hardest to beat: by the lowest ratio, since absolute figures drift."""
    peers = [result for result in results if result["work"] == "LoRA"]  # not ourselves
    lines = []
    for key, what in (("ratio", "steady state"), ("whole_ratio", "whole job")):
        judged = [result for result in peers if result[key] is not None]
        if len(judged) > 1:
            first = min(judged, key=lambda result: statistics.median(result[key]))
            lines.append(f"Best peer, {what}: {first['peer']} ({ratio(first[key])}).")
    return "\n".join(lines)


def span(results: list[dict[str, Any]], key: str) -> str:
    """One value, or the lowest and the highest."""
    values = sorted({result[key] for result in results})
    told = [f"{value:,}" if isinstance(value, int) else value for value in values]
    return " to ".join(dict.fromkeys((told[0], told[-1])))


def section(results: list[dict[str, Any]]) -> str:
    """All results of one shape and setting."""
    first = results[-1]
    busy = sorted(load for result in results for load in result["loads"])
    gates = ", ours with its preflight gates" if first["preflight"] else ""
    where = (
        f"{first['machine']}, {first['threads']} threads, {first['precision']}; {first['versions']}; "
        f"{span(results, 'rows')} conversations, of which {span(results, 'steps')} steps of {first['batch']} were "
        f"run{gates}; {span(results, 'rounds')} rounds; GEMM ceiling {max(result['ceiling'] for result in results):.0f} "
        f"GFLOP/s; load average at the beginning of a round {busy[0]:.1f} to {busy[-1]:.1f}; {span(results, 'date')}."
    )
    table = [HEAD, "|" + "---|" * (HEAD.count("|") - 1), *(row(result) for result in results)]
    if first["shape"] == "toy":
        where += " This size only shows that the benchmark works: no claim follows from it."
    return "\n\n".join(part for part in (f"## {first['shape']}", where, "\n".join(table), best(results)) if part)


def sections(results: list[dict[str, Any]]) -> str:
    """A section per shape and setting; of comparisons that were made again the newest stands, however long it was."""
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for result in results:
        key = tuple(result[name] for name in ("shape", "machine", "threads", "precision", "preflight"))
        groups.setdefault(key, {})[result["name"]] = result
    return "\n\n".join(section(list(group.values())) for group in groups.values())


def document(results: list[dict[str, Any]]) -> str:
    """The whole page."""
    return f"{INTRODUCTION}\n{sections(results)}\n"

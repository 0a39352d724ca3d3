"""`make bench`, generative part: luthier against transformers Trainer + PEFT and TRL, side by side, as ratios.

LoRA r=16 on all linear layers of a random Llama, 8 conversations a step. Each measurement alternates the two
(A B A B ...), each in a fresh process. `--shape toy` shows in minutes that it works. `--write` keeps the results in
docs/benchmarks/language_speed.jsonl, newest last, and writes language_speed.md from the newest of each row after each
peer; so a long benchmark can be run in pieces (`--peers`, `--rounds`, `--steps`). Exit status 1: the two sides did not train the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.language_litgpt import model_config, write_rows
from benchmarks.language_table import document, sections
from benchmarks.language_worker import BATCH, RANK, SYSTEM_TOKENS
from luthier.cli.allocator import SETTINGS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmarks" / "language_speed.jsonl"
WARM, WARM_COMPILED = 3, 8
"""Steps that do not count in the steady state; compiled, shapes that are new are compiled again at first."""
STEPS = {"toy": 12, "31m": 30, "135m": 14}
LIMIT = 1e-4
"""Largest difference of the loss of any step, fp32."""
PLAIN: dict[str, Any] = {
    "side": "trainer", "order": "bucketed", "allocator": True, "compile": False, "padding_free": False,
    "checkpointing": False,
}  # fmt: skip
PEERS: dict[str, dict[str, Any]] = {
    "trainer": {**PLAIN, "title": "Trainer + PEFT, bucketed, our allocator settings"},
    "trainer-compiled": {**PLAIN, "title": "Trainer + PEFT, bucketed, our allocator settings, torch.compile",
                         "compile": True},
    "trainer-plain": {**PLAIN, "title": "Trainer + PEFT, bucketed", "allocator": False},
    "trl-default": {**PLAIN, "side": "trl", "title": "TRL SFTTrainer + PEFT, its defaults in fp32: random order, "
                    "gradient checkpointing", "order": "random", "allocator": False, "checkpointing": True},
    "trl": {**PLAIN, "side": "trl", "title": "TRL SFTTrainer + PEFT, bucketed, no checkpointing, our allocator settings"},
    "trl-padding-free": {**PLAIN, "side": "trl", "title": "TRL SFTTrainer + PEFT, padding-free, no checkpointing, our "
                         "allocator settings", "padding_free": True},
    "trl-compiled": {**PLAIN, "side": "trl", "title": "TRL SFTTrainer + PEFT, bucketed, no checkpointing, our allocator settings, "
                     "torch.compile", "compile": True},
}  # fmt: skip
DEMANDED = {"31m": {"trl-default": 4.0, "shared": 1.5, "best": 1.5}, "135m": {"trl-default": 2.5, "shared": 1.5, "best": 1.4}}


def launch(command: list[str], environment: dict[str, str], what: str) -> dict[str, Any]:
    """Run a process; the JSON of its last line."""
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(side: str, job: dict[str, Any]) -> dict[str, Any]:
    """One job of one side in a fresh process, with caches of its own."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "job.json"
        path.write_text(json.dumps(job))
        environment = {word: value for word, value in os.environ.items() if word not in SETTINGS}
        environment |= {
            "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(job["threads"]),
            "LUTHIER_CACHE": f"{name}/luthier", "HF_DATASETS_CACHE": f"{name}/datasets",
            "TORCHINDUCTOR_CACHE_DIR": f"{name}/inductor",
        }  # fmt: skip
        environment |= SETTINGS if job["allocator"] else {}
        return launch([sys.executable, "-m", "benchmarks.language_worker", side, str(path)], environment, side)


def settle(found: dict[str, Any], plan: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Rates of the steady state, and what the whole job takes: measured where all steps were done, else start-up
    and first steps as they were and the rest at that rate."""
    steps, order = found["steps"], plan["orders"][job["order"]]
    groups = [order[begin : begin + BATCH] for begin in range(0, len(order), BATCH)]
    tokens, judged = ([sum(plan[key][row] for row in rows) for rows in groups] for key in ("tokens", "judged"))
    told = [step.get("tokens", count) for step, count in zip(steps, tokens, strict=False)]
    if told != tokens[: len(steps)]:
        raise SystemExit("ours did not take the planned batches")
    warm, done = (WARM_COMPILED if job["compile"] else WARM), len(steps)
    seconds, busy = (steps[-1][clock] - steps[warm - 1][clock] for clock in ("end", "cpu"))
    rate = sum(tokens[warm:done]) / seconds
    left = sum(tokens[done:]) / rate
    return found | {
        "rate": rate, "judged_rate": sum(judged[warm:done]) / seconds, "first_step": steps[0]["end"],
        "busy_rate": sum(tokens[warm:done]) / busy,
        "whole": found["wall"] + left, "measured": done == len(groups),
        "share": useful(plan["shape"], sum(tokens[warm:done]), sum(judged[warm:done])) / seconds / 1e9,
    }  # fmt: skip


def useful(shape: dict[str, int], tokens: int, judged: int) -> float:
    """Floating-point operations of the products that LoRA training needs, without attention's own: forward and
    input gradient of the frozen matrices, three products of each LoRA matrix, the output matrix where judged."""
    width, inner = shape["hidden_size"], shape["intermediate_size"]
    keys = width * shape["num_key_value_heads"] // shape["num_attention_heads"]
    sides = [(width, width)] * 2 + [(width, keys)] * 2 + [(width, inner)] * 3
    frozen = sum(a * b for a, b in sides) * shape["num_hidden_layers"]
    lora = sum(RANK * (a + b) for a, b in sides) * shape["num_hidden_layers"]
    return float(tokens * (4 * frozen + 6 * lora) + judged * 4 * shape["vocab_size"] * width)


def compare(
    ours: dict[str, Any], other: tuple[str, dict[str, Any]], plan: dict[str, Any], rounds: int, label: dict[str, Any]
) -> dict[str, Any]:
    """Alternate the two; ratios pair by pair."""
    side, job = other
    pairs, loads = [], []
    for number in range(rounds):
        loads.append(os.getloadavg()[0])
        a = settle(measure("ours", ours), plan, ours)
        b = settle(measure(side, job), plan, job)
        pairs.append((a, b))
        print(f"  {label['name']}, round {number + 1}: steady {a['rate'] / b['rate']:.2f}, processor time "
              f"{a['busy_rate'] / b['busy_rate']:.2f}, whole job {b['whole'] / a['whole']:.2f}",
              file=sys.stderr, flush=True)  # fmt: skip
    mine, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    middle = statistics.median
    difference = None
    if job["order"] == ours["order"]:
        difference = max(
            abs(x["loss"] - y["loss"]) for a, b in pairs for x, y in zip(a["steps"], b["steps"], strict=True)
        )
    a, b = mine[-1], theirs[-1]
    result = label | {
        "loads": loads, "ratio": [x["rate"] / y["rate"] for x, y in pairs], "whole_ratio": [y["whole"] / x["whole"] for x, y in pairs],
        "busy_ratio": [x["busy_rate"] / y["busy_rate"] for x, y in pairs],
        "difference": difference, "loss": a["steps"][-1]["loss"], "peer_loss": b["steps"][-1]["loss"],
        "norm": a["steps"][-1]["norm"], "peer_norm": b["steps"][-1]["norm"], "measured": a["measured"],
        "share": middle(x["share"] / x["ceiling"] for x in mine), "ceiling": max(x["ceiling"] for x in mine),
    }  # fmt: skip
    for key in ("rate", "judged_rate", "first_step", "whole", "peak"):
        result |= {key: middle(x[key] for x in mine), f"peer_{key}": middle(x[key] for x in theirs)}
    return result


def against_litgpt(
    python: str, ours: dict[str, Any], plan: dict[str, Any], rounds: int, label: dict[str, Any]
) -> dict[str, Any]:
    """Whole jobs only: LitGPT has its own environment, order, schedule and loss."""
    folder = Path(ours["folder"])
    place = folder / "litgpt"
    place.mkdir()
    (place / "model_config.yaml").write_text(yaml.safe_dump(model_config(plan["shape"])))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / name).write_bytes((folder / "base" / name).read_bytes())
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    write_rows([json.loads(line)["messages"] for line in lines], folder / "litgpt-rows")
    (folder / "litgpt.json").write_text(json.dumps(ours))
    environment = os.environ | SETTINGS | {"OMP_NUM_THREADS": str(ours["threads"]), "TOKENIZERS_PARALLELISM": "false"}
    command = [python, str(Path(__file__).with_name("language_litgpt.py"))]
    launch([*command, "init", str(folder / "litgpt.json")], environment, "litgpt")
    pairs, loads = [], []
    for number in range(rounds):
        loads.append(os.getloadavg()[0])
        a = settle(measure("ours", ours), plan, ours)
        b = launch([*command, "train", str(folder / "litgpt.json")], environment, "litgpt")
        ends = [step["end"] for step in b["steps"]]
        left = len(plan["factors"]) - len(ends)
        b["whole"] = b["wall"] + left * (ends[-1] - ends[WARM - 1]) / (len(ends) - WARM)
        pairs.append((a, b))
        print(f"  litgpt, round {number + 1}: whole job {b['whole'] / a['whole']:.2f}", file=sys.stderr, flush=True)
    middle = statistics.median
    return label | {
        "loads": loads, "ratio": None, "whole_ratio": [b["whole"] / a["whole"] for a, b in pairs], "difference": None,
        "loss": pairs[-1][0]["steps"][-1]["loss"], "peer_loss": pairs[-1][1]["steps"][-1]["loss"],
        "norm": pairs[-1][0]["steps"][-1]["norm"], "measured": pairs[-1][0]["measured"],
        "share": middle(a["share"] / a["ceiling"] for a, _ in pairs), "ceiling": max(a["ceiling"] for a, _ in pairs),
        **{key: middle(a[key] for a, _ in pairs) for key in ("rate", "judged_rate", "first_step", "whole", "peak")},
        **{f"peer_{key}": middle(b[key] for _, b in pairs) for key in ("whole", "peak")},
        "versions": label["versions"] + f", litgpt {pairs[-1][1]['versions']['litgpt']} on torch "
        f"{pairs[-1][1]['versions']['torch']}",
    }  # fmt: skip


def faults(result: dict[str, Any]) -> list[str]:
    """Why a result must not be believed."""
    found = []
    difference = result["difference"]
    if difference is not None and result["precision"] == "fp32" and not difference < LIMIT:
        found.append(f"{result['name']}: losses differ by {difference:.1e}")
    norms = {key: result[key] for key in ("norm", "peer_norm") if key in result}
    return found + [
        f"{result['name']}: the last {key} is {norm}: nothing was trained"
        for key, norm in norms.items()
        if not (math.isfinite(norm) and norm > 0)
    ]


def machine() -> str:
    """The processor and what torch uses of it, without the machine's name."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []  # fmt: skip
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def versions(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {version(name)}" for name in names)


def needs_trl(peers: list[str]) -> bool:
    return any(PEERS[name]["side"] == "trl" for name in peers if name in PEERS)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=STEPS, default="31m")
    parser.add_argument("--rows", type=int, help="conversations of the whole job, 2000 (toy: 160)")
    parser.add_argument("--steps", type=int, help="steps that are measured; 0 = the whole job, nothing is extrapolated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["trainer", "trl-default", "trl", "trl-padding-free"],
                        choices=[*PEERS, "shared"], help="shared: ourselves, with a common system prompt")  # fmt: skip
    parser.add_argument("--litgpt", metavar="PYTHON", help="the interpreter of an environment with litgpt")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--preflight", action="store_true", help="ours with its gates, which peers do not have")
    parser.add_argument("--write", action="store_true", help=f"keep the results in {RESULTS.relative_to(ROOT)}")
    chosen = parser.parse_args()
    chosen.rows = chosen.rows or (160 if chosen.shape == "toy" else 2000)
    chosen.steps = STEPS[chosen.shape] if chosen.steps is None else chosen.steps or chosen.rows // BATCH
    if needs_trl(chosen.peers) and importlib.util.find_spec("trl") is None:
        parser.error("trl is not installed: pip install -c constraints.txt -e '.[bench]', or choose other --peers")
    slow = any(PEERS[name]["compile"] for name in chosen.peers if name in PEERS)
    least = (WARM_COMPILED if slow else WARM) + 2
    if chosen.rows % BATCH or not least <= chosen.steps <= chosen.rows // BATCH:
        parser.error(f"--rows must be a multiple of {BATCH}, and --steps {least} to rows / {BATCH}")
    return chosen


def main() -> None:
    chosen = options()
    common = {
        "shape": chosen.shape, "rows": chosen.rows, "steps": chosen.steps, "threads": chosen.threads,
        "precision": chosen.precision, "preflight": chosen.preflight, "shared": False, "shared_prefix": "auto",
        **{key: value for key, value in PLAIN.items() if key != "side"},
    }  # fmt: skip
    known = ("torch", "transformers", "peft", "accelerate")
    label = {
        "date": date.today().isoformat(), "machine": machine(), "versions": versions(known + ("trl",) * needs_trl(chosen.peers)),
        "batch": BATCH, "rounds": chosen.rounds,
        **{key: common[key] for key in ("shape", "rows", "steps", "threads", "precision", "preflight")},
    }  # fmt: skip
    demanded = DEMANDED.get(chosen.shape, {})
    results = []

    def keep(result: dict[str, Any]) -> None:
        results.append(result)
        if chosen.write:
            with open(RESULTS, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(result) + "\n")
            lines = RESULTS.read_text(encoding="utf-8").splitlines()
            text = document([json.loads(line) for line in lines])
            RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        prepared: dict[bool, tuple[dict[str, Any], dict[str, Any]]] = {}

        def job(shared: bool) -> tuple[dict[str, Any], dict[str, Any]]:
            """(the job of ours, its plan)."""
            if shared not in prepared:
                folder = Path(name) / ("shared" if shared else "plain")
                folder.mkdir()
                made = common | {"shared": shared, "folder": str(folder)}
                measure("prepare", made)
                prepared[shared] = made, json.loads((folder / "plan.json").read_text())
            return prepared[shared]

        for peer in chosen.peers:
            ours, plan = job(peer == "shared")
            if peer == "shared":
                part = SYSTEM_TOKENS * chosen.rows / sum(plan["tokens"])
                told = {"name": peer, "work": f"LoRA, shared system prompt of {part:.0%} of the tokens",
                        "peer": "ourselves, without shared_prefix"}  # fmt: skip
                other = "ours", ours | {"shared_prefix": False}
            else:
                told = {"name": peer, "work": "LoRA", "peer": PEERS[peer]["title"]}
                other = PEERS[peer]["side"], ours | PEERS[peer]
            told["demanded"] = demanded.get(peer, demanded.get("best"))
            result = compare(ours, other, plan, chosen.rounds, label | told)
            if peer == "shared":  # tokens that were not computed are counted as if they were
                result["share"] = None
            keep(result)
        if chosen.litgpt:
            ours, plan = job(False)
            told = {"name": "litgpt", "work": "LoRA", "peer": "LitGPT finetune_lora, random order (its only one)",
                    "demanded": demanded.get("best")}  # fmt: skip
            keep(against_litgpt(chosen.litgpt, ours, plan, chosen.rounds, label | told))
    print(sections(results))
    wrong = [fault for result in results for fault in faults(result)]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes", file=sys.stderr)

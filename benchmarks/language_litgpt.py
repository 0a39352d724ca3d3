"""LitGPT's side of the generative benchmark, run by an interpreter that has LitGPT and not luthier.

`PYTHON benchmarks/language_litgpt.py init|train JOB.json`: init writes a random model of the job's shape as
LitGPT keeps it; train is `litgpt finetune_lora` (its `setup`, with its own loop, loading, saving and merging)
on the same conversations in its own random order. It has no gradient clipping and no cosine of ours, so only
whole jobs are compared. Written for litgpt 0.5.13.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
LORA = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_query": True, "lora_key": True, "lora_value": True,
        "lora_projection": True, "lora_mlp": True, "lora_head": False}  # fmt: skip
STEP = re.compile(r"\| iter \d+ step \d+ \| loss train: ([\d.]+|nan),")
BATCH, RATE, CAP = 8, 1e-3, 512


class Watch(io.StringIO):
    """Standard output that remembers when each step was told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, float]] = []

    def write(self, text: str) -> int:
        found = STEP.search(text)
        if found:
            self.steps.append({"end": time.perf_counter() - BEGAN, "loss": float(found.group(1))})
        return len(text)


def write_rows(rows: list[list[dict[str, str]]], folder: Path) -> None:
    """The conversations as LitGPT's JSON data: prompt as it is rendered, answer, and a few rows to validate on."""
    samples = []
    for row in rows:
        asked = "".join(f"<|{message['role']}|>{message['content']}<|end|>" for message in row[:-1])
        samples.append({"instruction": f"{asked}<|assistant|>", "output": row[-1]["content"]})
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps(samples))
    (folder / "val.json").write_text(json.dumps(samples[:BATCH]))


def model_config(shape: dict[str, int]) -> dict[str, Any]:
    """The Llama shape in LitGPT's words."""
    return {
        "name": "bench", "block_size": 1024, "vocab_size": shape["vocab_size"],
        "padded_vocab_size": shape["vocab_size"], "n_layer": shape["num_hidden_layers"],
        "n_head": shape["num_attention_heads"], "n_embd": shape["hidden_size"],
        "n_query_groups": shape["num_key_value_heads"], "intermediate_size": shape["intermediate_size"],
        "rotary_percentage": 1.0, "parallel_residual": False, "bias": False, "norm_class_name": "RMSNorm",
        "mlp_class_name": "LLaMAMLP", "norm_eps": 1e-6,
    }  # fmt: skip


def init(folder: Path) -> dict[str, Any]:
    import torch
    from litgpt import GPT, Config

    torch.manual_seed(0)
    model = GPT(Config.from_file(folder / "litgpt" / "model_config.yaml"))
    torch.save(model.state_dict(), folder / "litgpt" / "lit_model.pth")
    return {}


def train(job: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    import torch
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.data import JSON
    from litgpt.finetune.lora import setup
    from litgpt.prompts import Default

    torch.set_num_threads(job["threads"])
    precision = "bf16-true" if job["precision"] == "bf16" else "32-true"
    # at its end it reads its own command line, to save and merge
    flags = [word for name, value in LORA.items() for word in (f"--{name}", str(value).lower())]
    sys.argv = ["litgpt", "finetune_lora", str(folder / "litgpt"), *flags, "--precision", precision]
    watch = Watch()
    with contextlib.redirect_stdout(watch):
        setup(
            folder / "litgpt", out_dir=out, precision=precision, **LORA,
            data=JSON(json_path=folder / "litgpt-rows", mask_prompt=True, prompt_style=Default()),
            train=TrainArgs(
                save_interval=None, log_interval=1, global_batch_size=BATCH, micro_batch_size=BATCH,
                lr_warmup_steps=max(1, round(0.06 * job["steps"])), epochs=1, max_steps=job["steps"],
                max_seq_length=CAP,
            ),
            eval=EvalArgs(interval=10**9, max_new_tokens=1, max_iters=1, initial_validation=False,
                          final_validation=False),
            optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": RATE, "weight_decay": 0.01}},
        )  # fmt: skip
    return {"steps": watch.steps}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("litgpt", "torch")}


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell how much memory a process needed")


def main() -> None:
    what, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    folder = Path(job["folder"])
    with tempfile.TemporaryDirectory() as out:
        result = init(folder) if what == "init" else train(job, folder, Path(out))
    result |= {"wall": time.perf_counter() - BEGAN, "peak": peak_bytes(), "versions": versions()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

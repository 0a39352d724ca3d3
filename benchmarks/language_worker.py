"""One measured generative job in a process of its own: `python -m benchmarks.language_worker SIDE JOB.json`.

SIDE is prepare (base, conversations and batches of a run, written into the job's folder), ours (luthier's
`train`), trainer (transformers Trainer + PEFT) or trl (SFTTrainer + PEFT). All train the same LoRA from the
same weights on the same rows in the same batches with the same optimizer and schedule. Ours begins with the
text; the peers find their rows tokenised. Prints one JSON line: per step loss, gradient norm, end time in
seconds since the start and processor time until then; wall seconds; peak memory.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
"""Before anything heavy is imported: start-up counts."""
BATCH, RANK, ALPHA, RATE, SEED, WARMUP = 8, 16, 32, 1e-3, 0, 0.06
SHORTEST, LONGEST, CAP, PROMPT = 40, 600, 512, 0.6
SYSTEM_TOKENS = 128
"""Of the common system prompt, in the rows that have one: half of their tokens."""
SPECIAL = ["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


# ---- what is measured -------------------------------------------------------------------------------


def texts(words: list[str], generator: random.Random, length: int) -> str:
    """Words of exactly `length` characters together, none of them a blank at an end."""
    text = ""
    while len(text) < length:
        text += generator.choice(words) + " "
    return text[: length - 1] + "e" if text[length - 1] == " " else text[:length]


def conversations(count: int, *, shared: bool) -> list[list[dict[str, str]]]:
    """`count` conversations of log-normal lengths (in tokens, a byte each), 60 % prompt.

    With `shared`, all begin with one system prompt, and what follows is shorter by as much.
    """
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 8))) for _ in range(400)]
    system = {"role": "system", "content": texts(words, generator, SYSTEM_TOKENS - 2)}
    cap = CAP - SYSTEM_TOKENS if shared else CAP
    rows = []
    for _ in range(count):
        drawn = generator.lognormvariate(4.7 if shared else 5.2, 0.6)
        length = min(cap, round(min(LONGEST, max(SHORTEST, drawn))))
        prompt = round(PROMPT * length)  # with three tokens of the template; the answer has one
        user = {"role": "user", "content": texts(words, generator, prompt - 3)}
        answer = {"role": "assistant", "content": texts(words, generator, length - prompt - 1)}
        rows.append([*([system] if shared else []), user, answer])
    return rows


def byte_tokenizer() -> Any:
    """A token for each byte, special tokens for roles and ends."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=SPECIAL[0], pad_token=SPECIAL[1],
        additional_special_tokens=SPECIAL[2:], model_max_length=1024,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def prepare(job: dict[str, Any], out: str) -> dict[str, Any]:
    """Write base/, rows.jsonl and plan.json: what the job's sides read."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.causal_step import SHAPES
    from luthier.data.language_table import encode_language
    from luthier.data.packing import plan_epoch
    from luthier.data.prepare import prepare as read
    from luthier.data.templates.renderer import renderer_for
    from luthier.models.chat_tokenizer import load_chat_tokenizer
    from luthier.train.optimizer import rate_factor

    folder = Path(job["folder"])
    shape: dict[str, Any] = {**SHAPES[job["shape"]]}
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        **shape, tie_word_embeddings=True, max_position_embeddings=1024, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(SEED)
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    rows = conversations(job["rows"], shared=job["shared"])
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as handle:
        handle.writelines(json.dumps({"messages": row}) + "\n" for row in rows)
    recipe = recipe_of(job, out)
    renderer = renderer_for("chat", load_chat_tokenizer(folder / "base"))
    table = encode_language(
        read(recipe.data, "chat", SEED).train, renderer, max_length=recipe.train.max_length, truncate="drop"
    )
    if len(table) != job["rows"]:
        raise SystemExit(f"{len(table)} of {job['rows']} rows are left: the generator made some too long")
    ids, labels, judged = [], [], []
    for begin, end in zip(table.starts[:-1], table.starts[1:], strict=True):
        inputs, targets = table.ids[begin:end].tolist(), table.targets[begin:end].astype(int).tolist()
        counts = (table.weights[begin:end] > 0).tolist()
        ids.append([*inputs, targets[-1]])
        labels.append([-100, *(target if count else -100 for target, count in zip(targets, counts, strict=True))])
        judged.append(sum(counts))
    bucketed = np.concatenate(plan_epoch(table.lengths, BATCH, seed=SEED, epoch=0, longest_first=True))
    steps = len(table) // BATCH
    plan = {
        "orders": {"bucketed": bucketed.tolist(), "random": np.random.default_rng(SEED).permutation(len(table)).tolist()},
        "tokens": table.lengths.tolist(), "judged": judged, "input_ids": ids, "labels": labels, "shape": shape,
        "factors": [rate_factor(step, steps, WARMUP, "cosine") for step in range(steps)],
    }  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    return {"rows": len(table)}


# ---- who does it ------------------------------------------------------------------------------------


def recipe_of(job: dict[str, Any], out: str) -> Any:
    from luthier.core.recipe import Recipe

    folder = Path(job["folder"])
    return Recipe.build(
        {
            "model": str(folder / "base"),
            "task": "chat",
            "data": {"train": str(folder / "rows.jsonl"), "validation": 0},
            "method": {"kind": "lora", "rank": RANK, "alpha": ALPHA},
            "train": {
                "epochs": 1, "batch_size": BATCH, "learning_rate": RATE, "head_learning_rate": RATE, "warmup": WARMUP,
                "schedule": "cosine", "weight_decay": 0.01, "max_length": CAP, "truncate": "drop", "patience": 0,
                "precision": job["precision"], "shared_prefix": job["shared_prefix"], "seed": SEED,
            },
            "evaluate": {"samples": 0},
            "out": out,
        }
    )  # fmt: skip


class Enough(Exception):
    """The steps that were asked for are done."""


def ours(job: dict[str, Any], out: str) -> dict[str, Any]:
    from luthier.core.events import Event
    from luthier.evaluate.scorers import scorer_for
    from luthier.train.run import new_run, train

    steps: list[dict[str, float]] = []
    said: list[str] = []

    def listen(event: Event) -> None:
        if event.kind == "message":
            said.append(event.message)
        if event.kind == "step":
            data = event.data
            steps.append({"loss": data["loss"], "norm": data["grad_norm"], "tokens": data["tokens"],
                          "end": time.perf_counter() - BEGAN, "cpu": time.process_time()})  # fmt: skip
            if len(steps) == job["steps"] < data["total_steps"]:
                raise Enough

    recipe = recipe_of(job, out)
    with contextlib.suppress(Enough):
        train(recipe, new_run(recipe), scorer_for=scorer_for, listener=listen, preflight=job["preflight"])
    return {"steps": steps, "said": said}


def peft_model(job: dict[str, Any]) -> Any:
    """The stock model under PEFT, with the LoRA weights that luthier draws."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(
        Path(job["folder"]) / "base", dtype=torch.float32, attn_implementation="sdpa"
    )
    torch.manual_seed(SEED + 1)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base, config)


def peer(side: str, job: dict[str, Any], out: str) -> dict[str, Any]:
    """transformers' Trainer or TRL's SFTTrainer, on rows in a given order."""
    import torch
    import transformers
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

    transformers.logging.set_verbosity_error()
    plan = json.loads((Path(job["folder"]) / "plan.json").read_text())
    order = plan["orders"][job["order"]]
    rows = [{"input_ids": plan["input_ids"][row], "labels": plan["labels"][row]} for row in order]
    tokenizer = AutoTokenizer.from_pretrained(Path(job["folder"]) / "base")
    model = peft_model(job)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adam = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01, fused=True)
    factors = plan["factors"]
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: factors[min(step, len(factors) - 1)])
    steps: list[dict[str, float]] = []

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append({"end": time.perf_counter() - BEGAN, "cpu": time.process_time()})

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            if logs and "loss" in logs:
                steps[-1] |= {"loss": float(logs["loss"]), "norm": float(logs["grad_norm"])}

    gpu = torch.cuda.is_available()
    settings: dict[str, Any] = {
        "output_dir": out, "per_device_train_batch_size": BATCH, "max_steps": job["steps"],
        "train_sampling_strategy": "sequential", "learning_rate": RATE, "max_grad_norm": 1.0, "logging_steps": 1,
        "logging_strategy": "steps", "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": SEED,
        "bf16": job["precision"] == "bf16", "use_cpu": not gpu, "dataloader_pin_memory": gpu,
        "torch_compile": job["compile"],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        if side == "trainer":
            run = Trainer(
                model=model, args=TrainingArguments(**settings), train_dataset=rows, callbacks=[Watch()],
                data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100), optimizers=(adam, schedule),
            )  # fmt: skip
        else:
            from datasets import Dataset
            from trl import SFTConfig, SFTTrainer

            if job["padding_free"]:
                settings |= {"padding_free": True, "max_length": None}
            run = SFTTrainer(
                model=model, args=SFTConfig(**settings, gradient_checkpointing=job["checkpointing"]),
                train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[Watch()],
                optimizers=(adam, schedule),
            )  # fmt: skip
        run.train()
    return {"steps": steps}


def peak_bytes() -> int:
    """The most memory that this process held; ru_maxrss would count what its parent held when it started it."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell how much memory a process needed")


def ceiling(hidden: int, inner: int) -> float:
    """GFLOP/s of the model's commonest product, the best of some, by the faster of torch's libraries."""
    import torch

    from luthier.models.products import linear

    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, w = torch.randn(2048, hidden, device=device), torch.randn(inner, hidden, device=device)
    best = 1e9
    for _ in range(20):
        began = time.perf_counter()
        linear(x, w)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * 2048 * hidden * inner / best / 1e9


def main() -> None:
    side, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    import torch

    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as out:
        own = {"prepare": prepare, "ours": ours}.get(side)
        result = own(job, out) if own else peer(side, job, out)
    result |= {"wall": time.perf_counter() - BEGAN, "peak": peak_bytes()}
    if side == "ours":
        shape = json.loads((Path(job["folder"]) / "plan.json").read_text())["shape"]
        result["ceiling"] = ceiling(shape["hidden_size"], shape["intermediate_size"])
    print(json.dumps(result))


if __name__ == "__main__":
    main()

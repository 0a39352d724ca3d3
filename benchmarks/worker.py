"""One measured job in a process of its own: `python -m benchmarks.worker SIDE JOB.json`.

SIDE is ours (luthier's `train`) or trainer (transformers Trainer + PEFT on the same model, with the same
initial weights, the same rows in the same batches, the same optimizer and schedule). Prints one
JSON line: per step loss, gradient norm and end time; rows; peak memory.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 32


def recipe_of(job: dict[str, Any], out: str) -> Any:
    from luthier.core.recipe import Recipe

    return Recipe.build(
        {
            "model": "minilm",
            "task": "classify",
            "data": {"train": job["data"], "validation": 0},
            "method": job["method"],
            "head": {"pooling": "stock", "dropout": 0.0},
            "freeze": job["freeze"],
            "train": {
                "epochs": job["epochs"], "batch_size": BATCH, "learning_rate": job["rate"],
                "head_learning_rate": job["rate"], "dropout": 0.0, "max_length": 256, "patience": 0,
                "precision": job["precision"],
            },
            "out": out,
        }
    )  # fmt: skip


def ours(job: dict[str, Any], out: str) -> dict[str, Any]:
    from luthier.core.events import Event
    from luthier.evaluate.scorers import scorer_for
    from luthier.train.run import new_run, train

    steps: list[dict[str, float]] = []

    def listen(event: Event) -> None:
        if event.kind == "step":
            data = event.data
            steps.append({"loss": data["loss"], "norm": data["grad_norm"], "rows": data["rows"],
                          "tokens": data["tokens"], "end": time.perf_counter()})  # fmt: skip

    recipe = recipe_of(job, out)
    train(recipe, new_run(recipe), scorer_for=scorer_for, listener=listen, preflight=False)
    return {"steps": steps}


def trainer(job: dict[str, Any], out: str) -> dict[str, Any]:
    import numpy as np
    import torch
    import transformers
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    from luthier.data.packing import plan_epoch
    from luthier.data.prepare import prepare
    from luthier.data.tokens import TargetCoder, encode_samples
    from luthier.models import methods
    from luthier.models.build import build
    from luthier.models.catalogue import locate
    from luthier.models.tokenizer import load_tokenizer
    from luthier.train.optimizer import rate_factor

    transformers.logging.set_verbosity_error()
    recipe = recipe_of(job, out)
    source = locate(recipe.model)
    tokenizer = load_tokenizer(source.path)
    prepared = prepare(recipe.data, "classify", 0)
    coder = TargetCoder("classify", tuple(prepared.labels))
    table = encode_samples(prepared.train, tokenizer, coder, max_length=256)
    torch.manual_seed(0)
    model = build(source, task="classify", labels=prepared.labels, pooling="stock", dropout=0.0, encoder_dropout=0.0)
    methods.apply(model, recipe.method, recipe.freeze)
    if job["order"] == "bucketed":  # the very batches that luthier makes
        order = np.concatenate(
            [np.concatenate(plan_epoch(table.lengths, BATCH, seed=0, epoch=e, longest_first=e == 0))
             for e in range(job["epochs"])]
        )  # fmt: skip
    else:
        generator = np.random.default_rng(0)
        order = np.concatenate([generator.permutation(len(table)) for _ in range(job["epochs"])])

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(order)

        def __getitem__(self, index: int) -> dict[str, Any]:
            row = order[index]
            ids = table.ids[table.starts[row] : table.starts[row + 1]].tolist()
            return {"input_ids": ids, "labels": int(table.targets[row])}

    steps: list[dict[str, float]] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            begin = len(steps) * BATCH
            rows = order[begin : begin + BATCH]
            steps.append({"rows": len(rows), "tokens": int(table.lengths[rows].sum()), "end": time.perf_counter()})

        def on_log(
            self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
        ) -> None:
            if logs and "loss" in logs:
                steps[-1] |= {"loss": float(logs["loss"]), "norm": float(logs["grad_norm"])}

    arguments = TrainingArguments(
        output_dir=out, per_device_train_batch_size=BATCH, num_train_epochs=1, train_sampling_strategy="sequential",
        learning_rate=job["rate"], weight_decay=0.01,
        max_grad_norm=1.0, logging_steps=1, logging_strategy="steps",
        save_strategy="no", report_to="none", disable_tqdm=True, seed=0, bf16=job["precision"] == "bf16",
        use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    import contextlib
    import io

    module = model.peft if model.peft is not None else model.backbone
    # the same schedule; transformers' own warm-up spends its first step at a rate of zero
    total = -(-len(table) // BATCH) * job["epochs"]
    decays = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    adam = torch.optim.AdamW(
        [{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=job["rate"], fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: rate_factor(step, total, 0.06, "cosine"))
    run = Trainer(
        optimizers=(adam, schedule), model=module, args=arguments, train_dataset=Rows(), callbacks=[Watch()],
        data_collator=DataCollatorWithPadding(tokenizer.hugging),
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run.train()
    return {"steps": steps}


def main() -> None:
    began = time.perf_counter()
    side, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    import torch

    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as out:
        result = ours(job, out) if side == "ours" else trainer(job, out)
    result["wall"] = time.perf_counter() - began
    result["peak"] = (
        torch.cuda.max_memory_allocated()
        if torch.cuda.is_available()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()

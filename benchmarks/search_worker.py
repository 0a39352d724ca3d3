"""One measured search in a process of its own: `python -m benchmarks.search_worker SIDE JOB.json`.

SIDE is search (`luthier search` up to its last trial), plain (Optuna's own loop and pruner over luthier's workbench: the
same suggestions and the same cuts as the peer) or trainer (transformers Trainer + PEFT in that loop, with the same
initial weights, rows, batches, optimizer and schedule). Prints one JSON line: every evaluation with its time since the
process was started, every trial, and what a search costs besides training and validation.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RATES = (2e-4, 2e-2)
RANKS = (4, 8, 16, 32)


class Watch:
    """Evaluations as they come."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.evaluations: list[dict[str, Any]] = []
        self.trial = -1

    @property
    def now(self) -> float:
        """Seconds since the process was started."""
        return time.time() - self._began

    def told(self, epoch: int, value: float, loss: float) -> None:
        self.evaluations.append({"t": self.now, "trial": self.trial, "epoch": epoch, "value": value, "loss": loss})


def recipe_values(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": job.get("model", "minilm"),
        "task": "classify",
        "data": {"train": job["train"], "validation": job["validation"]},
        "method": {"kind": "lora", "rank": 8, "alpha": 32},
        "head": {"pooling": "stock", "dropout": 0.0},
        "freeze": {"embeddings": True, "layers": job.get("frozen", 4)},
        "train": {
            "epochs": job["epochs"], "batch_size": job["batch"], "learning_rate": 1e-3, "head_learning_rate": 1e-3,
            "dropout": 0.0, "max_length": 64, "patience": 0, "precision": "fp32",
        },
    }  # fmt: skip


def recipe_of(job: dict[str, Any], rank: int, rate: float) -> Any:
    from luthier.core.recipe import Recipe

    changes = {"method.rank": rank, "train.learning_rate": rate, "train.head_learning_rate": 1e-3}
    return Recipe.build(recipe_values(job)).replace(**changes)


def study_of(job: dict[str, Any]) -> Any:
    """Optuna's study with its own pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruners: dict[str, Any] = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
        "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=job["epochs"], reduction_factor=3
        ),
    }
    sampler = optuna.samplers.TPESampler(seed=job["seed"])
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruners[job["pruner"]]())


def suggest(trial: Any) -> tuple[int, float]:
    return trial.suggest_categorical("rank", RANKS), trial.suggest_float("rate", *RATES, log=True)


class TimedBench:
    """A workbench that notes what every trial costs."""

    def __init__(self, recipe: Any, watch: Watch) -> None:
        from luthier.searching.workbench import Workbench

        def hear(event: Any) -> None:
            if event.kind == "evaluation":
                data = event.data
                watch.told(data["epoch"], data["validation_metric"], data["validation_loss"])

        self._bench, self._watch = Workbench(recipe, listener=hear), watch
        self.metric, self.higher_is_better = self._bench.metric, self._bench.higher_is_better
        self.ready, self.shared_before = watch.now, self._bench.shared_seconds
        self.trained: dict[str, float] = {}

    @property
    def shared(self) -> float:
        return self._bench.shared_seconds - self.shared_before

    def open(self, recipe: Any, folder: Path) -> Any:
        run, watch, trained = self._bench.open(recipe, folder), self._watch, self.trained
        number = int(folder.name)

        class Timed:
            def advance(self, epochs: int) -> Any:
                watch.trial = number
                rung = run.advance(epochs)
                trained[folder.name] = rung.seconds
                return rung

        return Timed()

    def facts(self, end: float) -> dict[str, float]:
        """What a search took besides training, validation and what trials share, in seconds."""
        return {"ready": self.ready, "shared": self.shared, "trained": sum(self.trained.values()),
                "besides": end - self.ready - self.shared - sum(self.trained.values())}  # fmt: skip


def search(job: dict[str, Any], out: str, watch: Watch) -> dict[str, Any]:
    from luthier.core.events import Event
    from luthier.searching import search as run_search

    class Over(BaseException):
        """The trials are done; the fresh run and its proof are no part of the measurement."""

    made: list[TimedBench] = []
    end = 0.0

    def listen(event: Event) -> None:
        nonlocal end
        if event.kind == "message" and "trained afresh" in event.message:
            end = watch.now
            raise Over

    def bench(recipe: Any, listener: Any) -> TimedBench:
        made.append(TimedBench(recipe, watch))
        return made[0]

    values = recipe_values(job)
    values["method"]["rank"] = {"search": list(RANKS)}
    values["train"]["learning_rate"] = {"search": {"low": RATES[0], "high": RATES[1], "log": True}}
    with contextlib.suppress(Over):
        run_search(values, out=out, bench=bench, listener=listen, trials=job["trials"], seed=job["seed"], repeat=0)
    return made[0].facts(end) | {"wall": end, "trials": len(made[0].trained)}


def plain(job: dict[str, Any], out: str, watch: Watch) -> dict[str, Any]:
    import optuna

    study = study_of(job)
    bench = TimedBench(recipe_of(job, 8, 1e-3), watch)

    def objective(trial: Any) -> float:
        run = bench.open(recipe_of(job, *suggest(trial)), Path(out) / f"{trial.number:04d}")
        for epoch in range(1, job["epochs"] + 1):
            value = run.advance(epoch).history[-1]["validation_metric"]
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(value)

    study.optimize(objective, n_trials=job["trials"])
    return bench.facts(watch.now) | {"wall": watch.now, "trials": len(study.trials)}


def trainer(job: dict[str, Any], out: str, watch: Watch) -> dict[str, Any]:
    import numpy as np
    import optuna
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
    recipe = recipe_of(job, 8, 1e-3)
    source = locate(recipe.model)
    tokenizer = load_tokenizer(source.path)
    prepared = prepare(recipe.data, "classify", 0)
    coder = TargetCoder("classify", tuple(prepared.labels))
    assert prepared.validation is not None
    table = encode_samples(prepared.train, tokenizer, coder, max_length=64)
    held_out = encode_samples(prepared.validation, tokenizer, coder, max_length=64)
    batch = job["batch"]
    # the very batches that luthier makes, and validation rows by length, so that little is padded
    order = np.concatenate(
        [np.concatenate(plan_epoch(table.lengths, batch, seed=0, epoch=e, longest_first=e == 0))
         for e in range(job["epochs"])]
    )  # fmt: skip
    by_length = np.argsort(-held_out.lengths, kind="stable")

    class Rows(torch.utils.data.Dataset[dict[str, Any]]):
        def __init__(self, of: Any, rows: Any) -> None:
            self.of, self.rows = of, rows

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> dict[str, Any]:
            row = self.rows[index]
            ids = self.of.ids[self.of.starts[row] : self.of.starts[row + 1]].tolist()
            return {"input_ids": ids, "labels": int(self.of.targets[row])}

    steps = -(-len(table) // batch)

    def objective(trial: Any) -> float:
        rank, rate = suggest(trial)
        chosen = recipe_of(job, rank, rate)
        watch.trial = trial.number
        model = build(
            source, task="classify", labels=prepared.labels, pooling="stock", dropout=0.0, encoder_dropout=0.0
        )
        methods.apply(model, chosen.method, chosen.freeze)
        module = model.peft
        heads = {id(parameter) for parameter in model.head_parameters()}
        groups: dict[tuple[bool, bool], list[Any]] = {}
        for parameter in module.parameters():
            if parameter.requires_grad:
                groups.setdefault((id(parameter) in heads, parameter.ndim > 1), []).append(parameter)
        adam = torch.optim.AdamW(
            [{"params": part, "lr": 1e-3 if is_head else rate, "weight_decay": 0.01 if matrix else 0.0}
             for (is_head, matrix), part in groups.items()],
            fused=True,
        )  # fmt: skip
        total = steps * job["epochs"]
        schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: rate_factor(step, total, 0.06, "cosine"))
        value = 0.0

        class Report(TrainerCallback):  # type: ignore[misc]
            def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
                nonlocal value
                epoch, value = state.global_step // steps, metrics["eval_accuracy"]
                watch.told(epoch, value, metrics["eval_loss"])
                trial.report(value, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

        arguments = TrainingArguments(
            output_dir=out, per_device_train_batch_size=batch, per_device_eval_batch_size=4 * batch, num_train_epochs=1,
            train_sampling_strategy="sequential", eval_strategy="steps", eval_steps=steps, logging_strategy="no",
            save_strategy="no", report_to="none", disable_tqdm=True, seed=0, use_cpu=not torch.cuda.is_available(),
            max_grad_norm=1.0, dataloader_pin_memory=False,
        )  # fmt: skip
        run = Trainer(
            optimizers=(adam, schedule), model=module, args=arguments, train_dataset=Rows(table, order),
            eval_dataset=Rows(held_out, by_length), callbacks=[Report()],
            data_collator=DataCollatorWithPadding(tokenizer.hugging),
            preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
            compute_metrics=lambda found: {"accuracy": float((found.predictions == found.label_ids).mean())},
        )  # fmt: skip
        run.train()
        return value

    import contextlib
    import io

    study, ready = study_of(job), watch.now
    with contextlib.redirect_stdout(io.StringIO()):
        study.optimize(objective, n_trials=job["trials"])
    return {"wall": watch.now, "ready": ready, "trials": len(study.trials)}


def main() -> None:
    side, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    watch = Watch(float(os.environ.get("SEARCH_BEGAN") or time.time()))
    import torch

    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as out:
        result = {"search": search, "plain": plain, "trainer": trainer}[side](job, out, watch)
    result["evaluations"] = watch.evaluations
    result["cpu"] = time.process_time()
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""A worker that learns nothing, without torch: a chain of hashes stands for the weights.

It speaks the same wire, keeps the same order (event, checkpoint, model, report), goes on from its checkpoints, and
misbehaves as the first question of its training file says: ``{"do": "segfault", "at": 3}``, or "segfault once", or
"segfault 4 times".
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from luthier.core import clock, durable
from luthier.core.errors import Interrupted, StorageError, TrainingError
from luthier.core.events import Event, Listener
from luthier.core.recipe import Recipe
from luthier.core.rundir import RunDir
from luthier.jobs.artefacts import sha256_of
from luthier.jobs.run_state import reopen
from luthier.jobs.worker import main
from luthier.jobs.worker_wire import Ask, Assignment
from luthier.train.journal import Journal
from luthier.train.signals import stop_flag

STEPS_PER_EPOCH = 5


def run_job(assignment: Assignment, listener: Listener, ask: Ask) -> dict[str, Any]:
    for path, digest in assignment.files.items():
        assert sha256_of(Path(path)) == digest
    recipe = Recipe.build(assignment.recipe)
    run = RunDir(assignment.run)
    if assignment.state is not None and not run.recipe_yaml.is_file():
        reopen(Path(assignment.state), run, recipe)
    durable.make_folder(run.path)
    row = json.loads(Path(str(recipe.data.train)).read_text(encoding="utf-8").splitlines()[0])
    orders = json.loads(row["messages"][0]["content"]) if row["messages"][0]["content"].startswith("{") else {}
    values = recipe.replace(
        **{"train.epochs": recipe.train.epochs if recipe.train.epochs != "auto" else 2}
    ).model_dump()
    values["train"]["batch_size"] = 4 if recipe.train.batch_size == "auto" else recipe.train.batch_size
    durable.write_text(run.recipe_yaml, Recipe.build(values).to_yaml())
    with Journal(run, listener) as journal:
        for step in run.epoch_models():  # as the real one does: it may have died before it told of them
            if run.checkpoint(step).is_dir():
                journal(Event("checkpoint", data={"step": step, "whole_epoch": True, "again": True}))
        if run.report() is None:
            journal(Event("message", "chat on fake", data={"recipe": values}))
            journal(Event("size", data={"checkpoint_bytes": orders.get("bytes", 1000)}))
            _train(run, values["train"]["epochs"], orders, journal)
    steps = values["train"]["epochs"] * STEPS_PER_EPOCH
    return {
        "model": str(run.model), "epochs": {str(s): str(run.epoch_model(s)) for s in run.epoch_models()},
        "trained_tokens": 10 * steps, "steps": steps, "metrics": {}, "verdict": "", "warnings": [], "task": "chat",
    }  # fmt: skip


def _train(run: RunDir, epochs: int, orders: dict[str, Any], listener: Journal) -> None:
    durable.sweep(run.checkpoints)
    step, state = 0, "start"
    if run.steps():
        step = run.steps()[-1]
        state = json.loads((run.checkpoint(step) / "state.json").read_text(encoding="utf-8"))["state"]
    listener.rewind(step, {s for s in range(step + 1) if s % STEPS_PER_EPOCH == 0})
    total = epochs * STEPS_PER_EPOCH
    with stop_flag() as should_stop:
        while step < total:
            clock.sleep(orders.get("seconds", 0.02))
            if step + 1 == orders.get("at"):
                _misbehave(orders["do"], listener, run)
            step += 1
            state = hashlib.sha256(f"{state}:{step}".encode()).hexdigest()
            data = {"step": step, "total_steps": total, "epochs": epochs, "loss": 1.0 / step, "token_accuracy": 0.5}
            listener(Event("step", data={**data, "seconds_left": 0.0}))
            whole = step % STEPS_PER_EPOCH == 0
            if whole:
                listener(Event("judging"))
                listener(Event("evaluation", data={"step": step, "validation_loss": 2.0 / step}))
                _model(run.epoch_model(step), state)
                for old in run.epoch_models()[:-3]:
                    durable.remove_tree(run.epoch_model(old))
            if whole or should_stop() or step % 2 == 0:
                listener(Event("saving"))
                with durable.atomic_folder(run.checkpoint(step)) as folder:
                    durable.write_bytes(folder / "padding", bytes(orders.get("padding", 0)))
                    durable.write_json(folder / "state.json", {"state": state})
                listener(Event("checkpoint", data={"step": step, "whole_epoch": whole}))
                for old in run.steps()[:-2]:
                    durable.remove_tree(run.checkpoint(old))
            if should_stop():
                raise Interrupted("stopped")
    listener(Event("finished", "done"))
    _model(run.model, state)
    durable.write_json(run.report_json, {"state": state})


def _model(target: Path, state: str) -> None:
    with durable.atomic_folder(target) as folder:
        durable.write_text(folder / "adapter_model.safetensors", state)


def _misbehave(what: str, listener: Listener, run: RunDir) -> None:
    what, _, often = what.partition(" ")
    if often:
        times = {"once": 1}.get(often) or int(often.removesuffix(" times"))
        done = run.path.parent / "once"  # a mark for each time
        count = len(done.read_text(encoding="utf-8")) if done.exists() else 0
        if count >= times:
            return
        durable.write_text(done, "x" * (count + 1))
    actions: dict[str, Callable[[], Any]] = {
        "segfault": lambda: ctypes.string_at(0), "exit": lambda: os._exit(3), "hang": lambda: clock.sleep(3600),
        "bug": lambda: [][0], "memory": lambda: _raise(MemoryError()),
        "disk": lambda: _raise(StorageError("full", code="disk_full")),
        "nan": lambda: _raise(TrainingError("training diverged: the loss is nan.", code="nonfinite_loss")),
        "workers": lambda: _raise(TrainingError("they died, perhaps out of memory.", code="workers_died")),
        "garbage": lambda: os.write(int(sys.argv[2]), b"\xff{no json\n"),
        "environment": lambda: _raise(TrainingError(json.dumps(dict(os.environ)), code="environment")),
    }  # fmt: skip
    actions[what]()


def _raise(error: BaseException) -> None:
    raise error


if __name__ == "__main__":
    main(sys.argv[1:], run_job)

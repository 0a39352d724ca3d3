"""Gates on the user's own model and data before the first step; a red one stops the run.

The numbers are those of docs/design: G2 nothing to learn, G3 silent cuts, G6 accumulation, G7 dead
parts, G8 memory, G9 leaks. What only the caller can know (G9) is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.core.errors import TrainingError
from luthier.core.events import Event, Listener
from luthier.data.tokens import TokenTable
from luthier.train.collate import Batch, collate
from luthier.train.memory import peak_memory_bytes
from luthier.train.optimizer import Optimizer
from luthier.train.step import StepRunner

PROBE_ROWS = 8
MAX_TOKENS = 16_384
"""Padded tokens of one micro-batch; more rows of a step come in several."""
TOLERANCE = 1e-4
"""Largest relative difference of a gradient when the same rows are cut into other batches (fp32)."""
BF16_TOLERANCE = 5e-2


@dataclass(frozen=True, slots=True)
class Gate:
    """One verdict."""

    id: str
    name: str
    ok: bool
    detail: str
    remedy: str = ""


class Preflight:
    """Runs the gates on real rows and puts everything back as it was."""

    def __init__(self, runner: StepRunner, table: TokenTable, listener: Listener) -> None:
        self.runner = runner
        self.table = table
        self.listener = listener
        self.gates: list[Gate] = []

    def report(self, gate: Gate) -> None:
        """Tell the listener; a red gate stops the run."""
        self.gates.append(gate)
        self.listener(
            Event(
                "gate",
                f"{gate.id} {gate.name}: {gate.detail}",
                "info" if gate.ok else "error",
                {"id": gate.id, "name": gate.name, "ok": gate.ok, "detail": gate.detail, "remedy": gate.remedy},
            )
        )
        if not gate.ok:
            raise TrainingError(
                f"preflight gate {gate.id} ({gate.name}) is red: {gate.detail}.",
                remedy=gate.remedy,
                code=f"gate_{gate.id.lower()}",
            )

    def run(self, logits_before_method: Tensor | None, make_optimizer: Callable[[], Optimizer], policy: str) -> None:
        """G2, G3, G6, G7, G8; `logits_before_method` are the probe's before the adapters went in."""
        self.report(self._targets())
        self.report(self._cut(policy))
        training = self.runner.forward.model.training
        self.runner.forward.model.eval()  # dropout would draw other numbers for other batches
        self.report(self._accumulation())
        self.report(self._alive(logits_before_method, make_optimizer))
        self.runner.forward.model.train(training)
        self.report(self._memory())

    def probe(self) -> Batch:
        """A few rows, spread over the table."""
        return probe(self.table, self.runner.task.per_token)

    def _targets(self) -> Gate:
        weights, rows = self.table.weights, len(self.table)
        per_token = self.runner.task.per_token
        sums = np.add.reduceat(weights, self.table.target_starts[:-1]) if per_token else weights
        learned = int((sums > 0).sum())
        ok = learned > 0 and bool(np.isfinite(self.table.targets).all())
        share = f", {np.count_nonzero(weights) / max(1, len(weights)):.0%} of their tokens" if per_token else ""
        return Gate(
            "G2", "something to learn", ok, f"{learned:,} of {rows:,} rows carry a target{share}",
            "Check the label column and train.max_length: everything to learn was cut or is missing.",
        )  # fmt: skip

    def _cut(self, policy: str) -> Gate:
        lengths, cut, dropped = self.table.lengths, self.table.cut, self.table.dropped
        share = (cut + dropped) / max(1, len(self.table) + dropped)
        what = {"drop": f"{dropped} rows dropped", "split": f"{cut} rows split"}.get(
            policy, f"{cut} rows lose their {policy}" + (f", {self.table.answers_cut} of them part of an answer"
                                                          if self.table.answers_cut else ""))  # fmt: skip
        detail = (
            f"tokens per row: median {int(np.median(lengths))}, 95 % up to {int(np.percentile(lengths, 95))}, "
            f"longest {self.table.longest}; " + (f"{what} ({share:.1%})" if cut or dropped else "nothing is cut")
        )
        return Gate(
            "G3", "length", share <= 0.5 or policy == "split", detail,
            "More than half of the rows would be cut: raise train.max_length, or choose a base with a longer context.",
        )  # fmt: skip

    def _gradients(self, batches: list[Batch]) -> dict[str, Tensor]:
        self.runner.backward(batches)
        found = {name: p.grad.clone() for name, p in self.runner.named() if p.grad is not None}
        self.runner.zero_grad()
        return found

    def _accumulation(self) -> Gate:
        per_token, probe = self.runner.task.per_token, self.probe()
        ones = [collate(self.table, probe.rows[i : i + 1], per_token) for i in range(len(probe.rows))]
        together, apart = self._gradients([probe]), self._gradients(ones)
        scale = _norm(together) or 1.0
        difference = max(float((together[name] - apart[name]).norm()) for name in together)
        tolerance = TOLERANCE if self.runner.forward.model.precision == "fp32" else BF16_TOLERANCE
        count = len(probe.rows)
        if difference >= tolerance * scale:
            # Rows that pull against each other leave little but rounding: it is measured by what was added up.
            scale = max(scale, sum(_norm(self._gradients([one])) for one in ones) / count)
        worst = difference / scale
        return Gate(
            "G6", "accumulation", worst < tolerance,
            f"1x{count} equals {count}x1 to {worst:.0e} of the gradient",
            "Gradients depend on how rows are batched. Please report this model as a bug.",
        )  # fmt: skip

    def _alive(self, before: Tensor | None, make_optimizer: Callable[[], Optimizer]) -> Gate:
        probe = self.probe()
        with torch.no_grad():
            fresh = self.runner.forward(probe)
        moved = 0.0 if before is None else float((fresh.cpu() - before.cpu()).abs().max())
        limit = 1e-4 if self.runner.forward.model.precision == "fp32" else 5e-2
        if moved > limit:
            return Gate("G7", "live parts", False, f"a fresh adapter changes the answers by {moved:.1e}",
                        "Please report this model and method as a bug.")  # fmt: skip
        saved = {name: p.detach().clone() for name, p in self.runner.named()}
        # Two steps: LoRA's A and an adapter's lower half get no gradient until the upper half has moved.
        optimizer = make_optimizer()
        vocabulary = self.runner.forward.vocabulary
        decayed = 1.0 if vocabulary is None else vocabulary.decayed
        for _ in range(2):
            self.runner.backward([probe])
            dead = [
                name for name, p in self.runner.named()
                if p.grad is None or not bool(torch.isfinite(p.grad).all()) or not bool(p.grad.any())
            ]  # fmt: skip
            optimizer.step(1.0)
            self.runner.zero_grad()
        with torch.no_grad():
            for name, parameter in self.runner.named():
                parameter.copy_(saved[name])
        if vocabulary is not None:
            vocabulary.decayed = decayed
        # A key bias adds the same to all scores of a query, so softmax takes it away: no gradient, ever.
        dead = [name for name in dead if not name.endswith(("key.bias", "k_lin.bias", "k.bias", "key_proj.bias"))]
        unchanged = "" if before is None else f"a fresh adapter moves the answers by {moved:.0e}; "
        return Gate(
            "G7", "live parts", not dead,
            f"{unchanged}all {len(saved)} trained tensors get a finite gradient"
            if not dead
            else f"{len(dead)} trained tensors get no finite gradient, the first is {dead[0]}",
            "Choose another method or freeze what cannot learn (freeze.embeddings, freeze.layers).",
        )  # fmt: skip

    def _memory(self) -> Gate:
        lengths = self.table.lengths
        rows = np.argsort(-lengths, kind="stable")[: self.runner.batch_size]
        batches = self.runner.cut(rows, lengths)
        try:
            self.runner.backward([collate(self.table, batches[0], self.runner.task.per_token)])
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            return Gate("G8", "memory", False, f"the longest batch ({len(rows)} rows, {int(lengths.max())} tokens) "
                        "does not fit", "Lower train.max_length or train.batch_size (with accumulate).")  # fmt: skip
        finally:
            self.runner.zero_grad()
        return Gate("G8", "memory", True, f"the longest batch fits; peak so far {peak_memory_bytes() / 2**30:.2f} GiB")


def probe(table: TokenTable, per_token: bool) -> Batch:
    """A few rows, spread over the table."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(PROBE_ROWS, len(table))).astype(np.int64))
    return collate(table, rows, per_token)


def leak_gate(leaks: dict[str, Any]) -> Gate:
    """G9 from the data's description: reported with places, not a reason to stop."""
    parts = [f"{entry['rows']} rows of {part} are also in train" for part, entry in leaks.items() if entry["rows"]]
    return Gate("G9", "leaks", True, "; ".join(parts) if parts else "no row of validation or test is in train",
                "See `luthier check` for both places." if parts else "")  # fmt: skip


def _norm(gradients: dict[str, Tensor]) -> float:
    """The length of all gradients together."""
    return math.sqrt(sum(float(one.square().sum()) for one in gradients.values()))

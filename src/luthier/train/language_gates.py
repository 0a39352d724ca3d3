"""Gates of generative runs: G1 the end of a turn, G4 one template, G5 packing; on real rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.data.samples import Sample
from luthier.data.templates.parity import prefix_parity
from luthier.data.templates.rendered import end_of_turn_share
from luthier.data.templates.renderer import Renderer
from luthier.data.tokens import TokenTable
from luthier.train.collate import collate
from luthier.train.language_step import LanguageRunner
from luthier.train.preflight import BF16_TOLERANCE, Gate, probe

ENOUGH_ENDS = 0.99


def end_gate(renderer: Renderer, samples: Sequence[Sample]) -> Gate:
    """G1: the token that ends a turn carries weight, or the model never learns to stop."""
    share = end_of_turn_share(row for rows in renderer.render_batch(samples) for row in rows)
    return Gate(
        "G1", "end of turn", share >= ENOUGH_ENDS, f"{share:.1%} of the trained turns end with a learned end token",
        "The chat template does not end the assistant's turn with a token that stops the model: set data.template.",
    )  # fmt: skip


def template_gate(renderer: Renderer, samples: Sequence[Sample]) -> Gate:
    """G4: what stands before an answer in training is what the served model is asked, token by token."""
    differences = prefix_parity(renderer, samples)
    return Gate(
        "G4", "one template", not differences,
        f"training and serving prompts are the same on {len(samples)} rows" if not differences else differences[0],
        "The chat template renders the same turns differently when more follow: set data.template.",
    )  # fmt: skip


def packing_gate(runner: LanguageRunner, table: TokenTable) -> Gate:
    """G5: rows packed into one stream give the logits that each gives alone."""
    rows = probe(table, per_token=True).rows
    model = runner.forward.model
    training = model.training
    model.eval()
    with torch.no_grad():
        packed = runner.forward(collate(table, rows, per_token=True))
        alone = torch.cat([runner.forward(collate(table, rows[i : i + 1], per_token=True)) for i in range(len(rows))])
    model.train(training)
    scale = float(alone.abs().max()) or 1.0
    worst = float((packed - alone).abs().max()) / scale
    limit = 1e-4 if model.precision == "fp32" else BF16_TOLERANCE
    return Gate(
        "G5", "packing", worst < limit, f"{len(rows)} rows packed give the logits of each alone to {worst:.0e}",
        "Packed neighbours see each other with this model. Please report it as a bug.",
    )  # fmt: skip

"""A generative base model becomes a `CausalModel`."""

from __future__ import annotations

import warnings

import torch
from transformers import AutoModelForCausalLM

from luthier.core.errors import ModelError
from luthier.models.base_source import BaseSource
from luthier.models.build import load_backbone, read_config
from luthier.models.causal_attention import ATTENTION
from luthier.models.causal_families import causal_family_of
from luthier.models.causal_model import CausalModel


def build_causal(
    source: BaseSource,
    *,
    task: str,
    seed: int = 0,
    from_scratch: bool = False,
    precision: str = "fp32",
    dropout: float = 0.0,
    gradient_checkpointing: bool = False,
) -> CausalModel:
    """Load (or with `from_scratch` only shape) the base, on the CPU and in training mode.

    `dropout` is set everywhere that the family has any. Weights are float32; `precision` bf16
    computes under autocast. The same seed gives the same weights, and the global random state is
    left as it was. Raises `ModelError` for an encoder, for a family that Luthier does not know, and
    when the weights cannot be read or are not whole.
    """
    config = read_config(source)
    family = causal_family_of(config, source.name, str(source.path))
    for key in family.dropouts:
        setattr(config, key, dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kwargs = {"attn_implementation": ATTENTION}
        backbone, drawn = load_backbone(AutoModelForCausalLM, source, config, from_scratch, kwargs)
    if drawn:  # an encoder's head may be new, an output matrix may not
        raise ModelError(
            f"its weights lack the output matrix ({', '.join(sorted(drawn)[:3])}): it was not saved as a "
            "generative model.",
            where=str(source.path),
            remedy="Choose the base as it was published for text generation (AutoModelForCausalLM).",
            code="weights_do_not_fit",
            param="model",
        )
    if gradient_checkpointing:
        with warnings.catch_warnings():
            # renamed in transformers 5.2x; this name works in all of transformers 5
            warnings.filterwarnings("ignore", message="`gradient_checkpointing_enable` is deprecated")
            backbone.gradient_checkpointing_enable({"use_reentrant": False})
        # asked for the sake of reentrant checkpointing: it would cost a backward pass through frozen layers
        backbone.disable_input_require_grads()
    return CausalModel(
        backbone, family, task=task, seed=seed, precision=precision, gradient_checkpointing=gradient_checkpointing
    ).train()

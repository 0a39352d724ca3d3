"""Tiny tuned language models on disk: a random base, a method whose new parameters are random too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from luthier.core.recipe import Method
from luthier.models import methods
from luthier.models.base_source import from_folder
from luthier.models.build_causal import build_causal
from luthier.models.chat_tokenizer import load_chat_tokenizer
from luthier.models.export_causal import save_causal


def tiny_tuned(base: Path, folder: Path, method: dict[str, Any], *, task: str = "chat", seed: int = 0) -> Path:
    """Write a model of `method` on `base` into `folder`; another `seed` answers otherwise."""
    source = from_folder(base, name=str(base))
    model = build_causal(source, task=task, seed=seed)
    methods.apply(model, TypeAdapter(Method).validate_python(method))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    folder.mkdir(parents=True, exist_ok=True)
    save_causal(model.eval(), load_chat_tokenizer(base), source, folder, {"max_length": 64})
    return folder

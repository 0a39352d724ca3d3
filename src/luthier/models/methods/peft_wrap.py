"""What the methods that PEFT implements share."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

from peft import PeftConfig, TaskType, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from luthier.core.recipe import LANGUAGE_TASKS
from luthier.models.quiet import quiet
from luthier.models.task_model import TaskModel


def task_options(model: TaskModel) -> dict[str, Any]:
    """The PEFT task type, and the parts of a stock head that are trained and saved whole."""
    if model.task in LANGUAGE_TASKS:
        return {"task_type": TaskType.CAUSAL_LM}
    if model.head is not None:
        return {"task_type": TaskType.FEATURE_EXTRACTION}
    kind = TaskType.TOKEN_CLS if model.task == "extract" else TaskType.SEQ_CLS
    names = [name for name, module in model.head_modules().items() if any(True for _ in module.parameters())]
    # PEFT adds "classifier" itself
    return {"task_type": kind, "modules_to_save": [name for name in names if name != "classifier"]}


def wrap(model: TaskModel, config: PeftConfig) -> None:
    """Put PEFT's modules into the backbone, in place."""
    with quiet(), warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5.23 renamed; can go when PEFT reads the new one
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        model.set_peft(get_peft_model(model.backbone, config))


def linear_paths(model: TaskModel, layers: range) -> list[str]:
    """Paths, inside a block, of all linear layers (GPT-2's are Conv1D) of the blocks `layers`; each once."""
    blocks = model.layers
    found = {
        name: None
        for index in layers
        for name, module in blocks[index].named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    return list(found)


def transposed(model: TaskModel) -> bool:
    """Whether the blocks keep their weights as [in, out] (GPT-2), which PEFT wants to be told."""
    return any(isinstance(module, Conv1D) for module in model.layers[0].modules())


def pattern(model: TaskModel, layers: range, paths: Iterable[str]) -> str:
    """The regular expression, as PEFT matches it, for these paths in these blocks."""
    blocks = re.escape(model.family.blocks)
    numbers = "|".join(str(index) for index in layers)
    return rf"(?:.*\.)?{blocks}\.(?:{numbers})\.(?:{'|'.join(re.escape(path) for path in paths)})"

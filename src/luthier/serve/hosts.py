"""Generative models in memory, each with the batch that it answers; a base may have any number of LoRA adapters."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft import PeftModel

from luthier.core.answering import EngineOptions
from luthier.core.errors import ModelError
from luthier.models.causal_model import CausalModel
from luthier.models.generation import PromptReader
from luthier.models.generation.fast_choice import forward_of
from luthier.models.generation.fast_forward import FastForward
from luthier.models.generation.forward import ModelForward
from luthier.models.generation.running import RunningBatch
from luthier.models.quiet import quiet
from luthier.serve.adapter_files import AdapterFiles
from luthier.serve.job import Job, Resident


@dataclass(eq=False)
class Voice(Resident):
    """A generative model as it is asked: its host, its adapter there, and the reader of its prompts."""

    host: Host = field(kw_only=True)
    reader: PromptReader = field(kw_only=True)
    adapter: str | None = None

    def forget(self, job: Job) -> None:
        """Take it out of the batch."""
        self.host.batch.cancel(job)


class Host:
    """One copy of weights, and the batch in which all that stand on it are answered.

    Args:
        key: same key, same base: the hashes of its files, or the `ModelRef` of a model that shares with nobody.
        model: in eval mode, on its device.
    """

    def __init__(self, key: object, model: CausalModel, context: int, options: EngineOptions, *, shared: bool) -> None:
        self.key = key
        self.context = context
        self.precision = model.precision
        self.vocabulary = int(model.output_weight.shape[0])
        self.bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        self._model: Any = model.backbone
        self._wrapped: Any = None
        self._count = 0
        forward = forward_of(model.backbone, precision=model.precision, prefix=model.prefix(), release=True)
        self.forward: FastForward | ModelForward = forward  # type: ignore[assignment]
        self.shared = shared
        self.config = model.config
        self.batch = RunningBatch(self.forward, context=context, rows=options.rows, cache_tokens=options.cache_tokens)

    def attach(self, files: AdapterFiles) -> str:
        """Put an adapter in, between two steps: the name that requests give it. Raises `ModelError`."""
        self._count += 1
        name = f"adapter_{self._count}"
        try:
            if isinstance(self.forward, FastForward):
                self.forward.put_adapter(name, files.pairs())
            else:
                self._insert(files.folder, name)
                self.forward.model, self.forward.named = self._wrapped.eval(), True
        except Exception as error:
            if self._wrapped is not None:
                with contextlib.suppress(ValueError):  # it came not so far
                    self._delete(name)
            raise ModelError(
                f"the adapter does not fit its base: {str(error).strip().splitlines()[0]}",
                remedy="Copy the model again from where it was trained, or train again.",
                code="broken_model",
                param="model",
            ) from error
        return name

    def detach(self, name: str) -> None:
        """Take an adapter out that no request uses."""
        if isinstance(self.forward, FastForward):
            self.forward.remove_adapter(name)
        else:
            self._delete(name)

    def _insert(self, folder: Path, name: str) -> None:
        with quiet(), warnings.catch_warnings():
            # PEFT 0.21 reads a property that transformers 5.23 renamed; can go when PEFT reads the new one
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            if self._wrapped is None:
                self._wrapped = PeftModel.from_pretrained(self._model, folder, adapter_name=name)
            else:
                self._wrapped.load_adapter(str(folder), adapter_name=name)

    def _delete(self, name: str) -> None:
        with warnings.catch_warnings():
            # PEFT says which adapter is active now, which nobody asks
            warnings.simplefilter("ignore")
            self._wrapped.delete_adapter(name)

"""Writing with a causal language model: sampling, stopping, constraints, batches, adapters."""

from __future__ import annotations

from luthier.models.generation.adapters import AdapterPool
from luthier.models.generation.decoder import Decoder
from luthier.models.generation.prompts import Asked, PromptReader
from luthier.models.generation.request import Request
from luthier.models.generation.sampling import check_sampling

__all__ = ["AdapterPool", "Asked", "Decoder", "PromptReader", "Request", "check_sampling"]

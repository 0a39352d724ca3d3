"""Prompt, retrieval, assistant or fine-tuning: every arm built and measured on the user's own rows, and the verdict.

Composes the approaches with training and the models; it stands above `luthier.api`.
"""

from luthier.deciding.decided import Decided
from luthier.deciding.run import decide

__all__ = ["Decided", "decide"]

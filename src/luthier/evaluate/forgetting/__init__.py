"""What a model forgot: judged on general texts that it was not tuned to, against its base on the same texts."""

from __future__ import annotations

from luthier.evaluate.forgetting.curve import Knee, TradeOff, knee_of
from luthier.evaluate.forgetting.readers import judge_reader, neighbour_agreement
from luthier.evaluate.forgetting.summary import Finding, summarise
from luthier.evaluate.forgetting.writers import judge_writer, mean_loss

__all__ = [
    "Finding",
    "Knee",
    "TradeOff",
    "judge_reader",
    "judge_writer",
    "knee_of",
    "mean_loss",
    "neighbour_agreement",
    "summarise",
]

"""Classification without one example: the label whose description is nearest in meaning to the text.

Yin, Hay and Roth 2019 ("Benchmarking zero-shot text classification"), by a sentence encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from luthier.approaches.answering import Usage
from luthier.approaches.index import Embed, unit
from luthier.core.predictor import Prediction
from luthier.data.samples import Sample

FORMS = ("{label}", "This text is about {label}.", "The topic is {label}.", "A message about: {label}")
_SHARPNESS = 20.0


def words_of_label(label: str) -> str:
    """A label as people say it: ``lost_or_stolenCard`` is "lost or stolen card"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[_\-/.]+", " ", parted).split()).lower() or label


class Described:
    """Compares a text with what its labels are called, or with the descriptions that the user gives."""

    def __init__(
        self,
        embed: Embed,
        labels: Sequence[str],
        *,
        form: str = FORMS[0],
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        self._embed, self._labels = embed, tuple(labels)
        told = descriptions or {}
        texts = [told.get(label) or form.format(label=words_of_label(label)) for label in self._labels]
        self._vectors = unit(embed(texts))
        self.usage = Usage()

    def answer(self, samples: Sequence[Sample]) -> list[Prediction]:
        """One label per row, in order."""
        if not samples:
            return []
        texts = [sample.text if sample.text_pair is None else f"{sample.text} {sample.text_pair}" for sample in samples]
        likeness = unit(self._embed(texts)) @ self._vectors.T
        weights = np.exp(_SHARPNESS * (likeness - likeness.max(axis=1, keepdims=True)))
        shares = weights / weights.sum(axis=1, keepdims=True)
        found = []
        for row in shares.tolist():
            best = int(np.argmax(row))
            scores = dict(zip(self._labels, row, strict=True))
            found.append(Prediction(label=self._labels[best], score=row[best], scores=scores))
        return found

"""What ``mlflow.pyfunc.load_model`` calls to open a model that was mirrored: MLflow's contract for loader modules."""

from __future__ import annotations

import dataclasses
from typing import Any


class Answering:
    """A tuned model with MLflow's word for answering."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[Any]:
        """Answers for texts: a list of texts, or a frame whose column ``text`` (else its first) holds them."""
        columns = getattr(model_input, "columns", None)
        if columns is not None:
            model_input = list(model_input["text" if "text" in columns else columns[0]])
        texts = [model_input] if isinstance(model_input, str) else [str(text) for text in model_input]
        answers = self._model.predict(texts)
        return [
            dataclasses.asdict(answer) if dataclasses.is_dataclass(answer) and not isinstance(answer, type) else answer
            for answer in answers
        ]


def _load_pyfunc(path: str) -> Answering:
    import luthier

    return Answering(luthier.load(path))

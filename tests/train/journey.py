"""What the tests of luthier.api share: files, and a training with quick settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toy import rows, write

import luthier


class Journey:
    """Files and a call with the quick settings of these tests."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.base = folder, base
        self.train_file = write(folder / "train.jsonl", rows("classify", 80))
        self.validation = write(folder / "validation.jsonl", rows("classify", 24, 1))
        self.test_file = write(folder / "test.jsonl", rows("classify", 30, 2))

    def train(self, **fields: Any) -> luthier.Run:
        options: dict[str, Any] = {
            "model": self.base, "task": "classify", "out": self.folder / "runs",
            "data": {"train": str(self.train_file), "validation": str(self.validation), "test": str(self.test_file)},
            "train__epochs": 2, "train__learning_rate": 3e-3, "train__batch_size": 8,
            "evaluate__bootstrap": 100, "evaluate__baselines": ["majority"],
        }  # fmt: skip
        return luthier.train(**{**options, **fields})

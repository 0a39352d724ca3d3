"""Workloads and ledger entries for the tests of forecasts."""

from __future__ import annotations

from typing import Any

from luthier.search.ledger import Entry
from luthier.search.workload import Base, Rows, Workload

MINILM = Base(6, 384, 1536, 12, 12, 30_522, 512, False)
NANO = Base(6, 256, 640, 4, 2, 4096, 1024, True)


def work(**changes: Any) -> Workload:
    """A classifier's run: 900 rows of 16 tokens, two epochs."""
    values: dict[str, Any] = {
        "task": "classify", "method": "lora", "train": Rows.of([16] * 900), "validation": Rows.of([16] * 100),
        "held_out_rows": 300, "outputs": 5, "rows_per_step": 16, "steps_per_epoch": 57, "batches_per_epoch": 57,
        "biggest_batch_tokens": 256, "epochs": 2, "patience": 2, "boundary": 0, "cached": False, "trainable": 700_000,
        "stepped": 700_000, "total": 23_000_000,
    }  # fmt: skip
    return Workload(**{**values, **changes})


def entry(**changes: Any) -> Entry:
    """A run that took twice what the formula says of its steps."""
    said = {"value": 20.0, "low": 15.0, "high": 27.0}
    values: dict[str, Any] = {
        "created_at": "2026-11-30T00:00:00+00:00", "machine": "cpu-2x1-aaaaaa", "model": "minilm",
        "workload": work().to_dict(), "stages": {"steps": 20.0, "setup": 1.0}, "formula": {"steps": 10.0, "setup": 1.0},
        "predicted": {"seconds": said, "peak_memory_bytes": {"value": 2.0e9, "low": 1.5e9, "high": 2.6e9},
                      "basis": "probe"},
        "actual": {"seconds": 22.0, "peak_memory_bytes": 2_200_000_000},
    }  # fmt: skip
    return Entry(**{**values, **changes})

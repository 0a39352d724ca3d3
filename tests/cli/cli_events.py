"""One event of each kind, as a run tells them."""

from __future__ import annotations

from luthier.core.events import Event


def events() -> list[Event]:
    """One of each kind."""
    gate = {"id": "G8", "name": "longest batch first", "ok": True, "detail": "0.4 GiB", "remedy": ""}
    step = {
        "step": 1,
        "total_steps": 4,
        "epoch": 0,
        "loss": 1.234,
        "grad_norm": 1.0,
        "learning_rate": 1e-4,
        "tokens_per_second": 12345.6,
        "rows_per_second": 300.0,
        "seconds_left": 125.0,
    }
    judged = {
        "epoch": 1,
        "step": 2,
        "train_loss": 0.5,
        "validation_loss": 0.6,
        "metric_name": "accuracy",
        "metric": 0.9,
        "best": True,
    }
    return [
        Event("message", "reading train.csv"),
        Event("gate", data=gate),
        Event("step", data=step),
        Event("step", data={**step, "step": 2}),
        Event("evaluation", data=judged),
        Event("checkpoint", "saved step 2"),
        Event("message", "one row was dropped", level="warn"),
        Event("finished", "trained in 12 s"),
    ]

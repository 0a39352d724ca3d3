"""How much a trained trial forgot, where that is an objective."""

from __future__ import annotations

from luthier import api
from luthier.core.rundir import RunDir


def forgetting_of(run: RunDir) -> float:
    """Less is better: of a model that writes how much its loss on general texts rose, of an encoder the share of
    general texts' neighbours that are no longer the same (docs/forgetting.md). The run's proof is made for it.

    Raises:
        LuthierError: what judging a run raises.
    """
    finished = api.resume(run.path, overrides=["evaluate.forgetting=true", "evaluate.baselines=[]"])
    found = finished.report["forgetting"]
    return float(found["forgotten"])

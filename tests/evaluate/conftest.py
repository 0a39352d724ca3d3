"""The tiny generative bases of the models' tests are here too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "models"))

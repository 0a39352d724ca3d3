"""`luthier auto`: model, method and hyperparameters chosen within a time budget."""

from luthier.automatic.found import Automatic
from luthier.automatic.run import auto

__all__ = ["Automatic", "auto"]

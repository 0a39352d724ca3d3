"""`luthier search`: where the room `search` meets training."""

from luthier.searching.found import Found
from luthier.searching.run import search

__all__ = ["Found", "search"]

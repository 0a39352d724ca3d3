"""Times as people type them."""

from luthier.core.durations import seconds_of

__all__ = ["seconds_of"]

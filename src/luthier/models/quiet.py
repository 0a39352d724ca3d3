"""Silence for libraries that print tables and bars while they load, one thread at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from transformers.utils import logging as transformers_logging

logging: Any = transformers_logging  # its setters carry no annotations
_ONE_AT_A_TIME = threading.RLock()
"""While transformers 5 loads a model, it replaces its own functions for the whole process, `tie_weights` among them.
Two loads that overlap put the replacement back as if it were the original, and no model is tied from then on."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers says nothing below an error inside this block; its settings are restored after it.

    Only one thread is in such a block: the settings are the process's, and so is what a load changes meanwhile.
    """
    with _ONE_AT_A_TIME:
        verbosity = logging.get_verbosity()
        bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()

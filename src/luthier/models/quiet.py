"""Silence for libraries that print tables and bars while they load."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers.utils import logging as transformers_logging

logging: Any = transformers_logging  # its setters carry no annotations


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers says nothing below an error inside this block; its settings are restored after it."""
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

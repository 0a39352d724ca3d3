"""Names that the service makes: OpenAI's prefix and 24 random characters."""

from __future__ import annotations

import secrets
from typing import Literal

Prefix = Literal[
    "file-", "ftjob-", "search-", "decision-", "auto-", "ftevent-", "ftckpt-", "upload_", "part_", "proj_", "key_",
    "ep_", "cp_", "req_", "chatcmpl-", "sess_", "ds_", "exp_", "search_",
]  # fmt: skip
JOB_PREFIXES = ("ftjob-", "search-", "decision-", "auto-")
"""Of the jobs of each kind: trainings, searches, decisions and automatic runs."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
"""Lower case only: ids become names of files, also where the file system ignores case."""
LENGTH = 24
"""Characters: 124 random bits."""


def new_id(prefix: Prefix) -> str:
    """A new id that nobody can guess."""
    return prefix + random_characters(LENGTH)


def random_characters(count: int) -> str:
    """`count` random lower case letters and digits."""
    number = secrets.randbelow(len(_ALPHABET) ** count)
    letters = []
    for _ in range(count):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)

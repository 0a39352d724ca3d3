"""The bases that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_bases import save_base

from luthier.models.base_source import BaseSource, from_folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BaseSource]:
    """base(family): a tiny random base model on disk, made once."""
    made: dict[str, BaseSource] = {}

    def get(family: str) -> BaseSource:
        if family not in made:
            folder = save_base(family, tmp_path_factory.mktemp(family))
            made[family] = from_folder(folder, name=str(folder))
        return made[family]

    return get

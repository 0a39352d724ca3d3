"""Parquet, one batch of rows in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from luthier.core.errors import DataError
from luthier.data.formats.base import Row
from luthier.data.samples import Finding
from luthier.data.sources import open_stored

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
_ROWS_PER_BATCH = 1024


class Parquet:
    """A Parquet file; the line of a row is its number from 1."""

    name = "parquet"

    def __init__(self, path: str) -> None:
        self.path = path

    @contextmanager
    def _open(self) -> Iterator[ParquetFile]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise DataError(
                "the reader of Parquet files is not installed.",
                where=self.path,
                remedy="Install it: pip install 'luthier[parquet]'.",
                code="missing_driver",
            ) from None
        with open_stored(self.path) as stream:
            try:
                with pq.ParquetFile(stream, pre_buffer=False) as file:
                    yield file
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"this is not a whole Parquet file: {error}.",
                    where=self.path,
                    remedy="Write or download it again.",
                    code="not_parseable",
                ) from None

    def header(self) -> list[str]:
        with self._open() as file:
            return list(file.schema_arrow.names)

    def rows(self) -> Iterator[Row | Finding]:
        number = 0
        with self._open() as file:
            for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH, use_threads=False):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, number, self.path)

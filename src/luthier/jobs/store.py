"""The store: everything the service remembers, in SQLite or PostgreSQL, behind one object.

Calls are synchronous and may come from any thread. Each is one transaction. A thing of another project is not
found. Records that are given back may be shared with other callers: nobody changes their dicts and lists.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from luthier.core import clock as real_clock
from luthier.jobs.database import Database
from luthier.jobs.job_rows import JobChanges
from luthier.jobs.leases import Leases
from luthier.jobs.store_curves import CurveStore
from luthier.jobs.store_datasets import DatasetStore
from luthier.jobs.store_endpoints import EndpointStore
from luthier.jobs.store_exports import ExportStore
from luthier.jobs.store_files import FileStore
from luthier.jobs.store_jobs import JobStore
from luthier.jobs.store_keys import KeyStore, ProjectStore
from luthier.jobs.store_models import ModelStore, PermissionStore
from luthier.jobs.store_sessions import SessionStore
from luthier.jobs.store_traffic import TrafficStore
from luthier.jobs.store_uploads import UploadStore


class Store:
    """Projects, keys and sessions, files, uploads, jobs, models, endpoints and permissions."""

    def __init__(self, database: Database, clock: ModuleType) -> None:
        self.database = database
        self.changes = JobChanges(database, clock)
        self.leases = Leases(clock, exclusive=database.exclusive)
        self.projects = ProjectStore(database, clock)
        self.sessions = SessionStore(database, clock)
        self.keys = KeyStore(database, clock, self.sessions.key_revoked)
        self.files = FileStore(database)
        self.datasets = DatasetStore(database)
        self.uploads = UploadStore(database, clock)
        self.jobs = JobStore(self.changes)
        self.curves = CurveStore(self.changes)
        self.models = ModelStore(database)
        self.endpoints = EndpointStore(database)
        self.exports = ExportStore(database)
        self.traffic = TrafficStore(database)
        self.permissions = PermissionStore(database, clock)

    @classmethod
    def open(cls, url: str | Path, *, clock: ModuleType = real_clock) -> Store:
        """Open a database and bring it to this version.

        Args:
            url: a path, ``sqlite:///path``, or ``postgresql+psycopg://user:password@host/name``.
            clock: a module with `now` and `monotonic`.

        Raises:
            StorageError: it cannot be used; the message says why and what to do.
            Unavailable: PostgreSQL does not answer.
        """
        return cls(Database(url), clock)

    def close(self) -> None:
        """Close the connections, and let go of an SQLite file."""
        self.database.close()

    def changed(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with a job's id after each commit of this process that changed it."""
        self.changes.listen(callback)

    def ping(self) -> None:
        """Ask the database for something; Unavailable or StorageError when it does not answer."""
        with self.database.read() as connection:
            connection.exec_driver_sql("SELECT 1").scalar_one()

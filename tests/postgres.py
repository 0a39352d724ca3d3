"""Databases for the tests: an SQLite file, or a private PostgreSQL, without rows when a test begins.

A plugin of tests/conftest.py, so that every folder of tests has `sqlite_url`, `postgres_url` and `database_url`.
Without PostgreSQL on the machine the tests skip; with LUTHIER_REQUIRE_POSTGRES=1 they fail.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
_SETTINGS = {"listen_addresses": "", "max_connections": "100", "shared_buffers": "32MB", "log_min_messages": "fatal"}
_START_SECONDS = 60.0
_SHARED = "luthier"


def _programs() -> Path | None:
    """The folder of initdb and postgres."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]))
    on_path = shutil.which("initdb")
    candidates = [*reversed(folders), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


class Postgres:
    """One cluster in a folder of its own, reached by a Unix socket only."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not below pytest's folder: its parents are closed to the user that postgres must run as.
        self.folder = Path(tempfile.mkdtemp(prefix="luthier-pg-", dir="/tmp"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # postgres refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        command = [programs / "initdb", "-D", self.folder / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        self._run([*command, "--locale=C", "--no-sync", "--no-instructions"])
        self.start()

    def _run(self, command: list[str | Path]) -> None:
        run = subprocess.run([*self._as_user, *command], cwd=self.folder, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = _FAST | _SETTINGS | {"unix_socket_directories": str(self.folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # Its end with ours, however we end: setpriv asks the kernel for that.
        prefix = [*(self._as_user or ["setpriv"]), "--pdeathsig=QUIT"] if shutil.which("setpriv") else []
        log = open(self.folder / "log", "ab")  # noqa: SIM115 - closed below
        with log:
            self._process = subprocess.Popen(
                [*prefix, self._programs / "postgres", "-D", self.folder / "data", *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, *, crash: bool = False) -> None:
        """Stop the server; `crash`: as if the machine had lost power, without closing anything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def restart(self, *, crash: bool = False) -> None:
        """Stop and start again."""
        self.stop(crash=crash)
        self.start()

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement as the superuser."""
        import psycopg

        place = f"host={self.folder} dbname={database} user=postgres connect_timeout=10"
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def create(self) -> str:
        """The name of a new database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def drop(self, name: str) -> None:
        """Remove a database and whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        """What `luthier serve --database` takes."""
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop(crash=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The cluster of this test process. A test that stops it starts it again."""
    programs = _programs()
    if programs is None:
        message = "PostgreSQL is not installed on this machine (apt-get install postgresql)"
        if os.environ.get("LUTHIER_REQUIRE_POSTGRES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    cluster = Postgres(programs)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def _shared_database(postgres: Postgres) -> str:
    """A database that is migrated already."""
    from luthier.jobs.store import Store

    postgres.execute(f"CREATE DATABASE {_SHARED} TEMPLATE template0")
    Store.open(postgres.url(_SHARED)).close()
    return _SHARED


@pytest.fixture
def postgres_url(postgres: Postgres, _shared_database: str) -> str:
    """The URL of a database in this program's version and without rows, which nobody else is connected to.

    It is emptied, not made anew: that takes a hundredth of the time.
    """
    from luthier.jobs.tables import metadata

    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_shared_database}'")
    tables = reversed(metadata.sorted_tables)
    postgres.execute(";".join(f'DELETE FROM "{table.name}"' for table in tables), _shared_database)
    return postgres.url(_shared_database)


@pytest.fixture
def empty_postgres_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a database of this test's own without any table."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that is migrated already."""
    from luthier.jobs.store import Store

    path = tmp_path_factory.mktemp("store") / "luthier.db"
    Store.open(path).close()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, _migrated_file: Path) -> str:
    """The URL of an SQLite file in this program's version and without rows."""
    path = tmp_path / "luthier.db"
    shutil.copyfile(_migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without rows: the test runs on both kinds."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        return url
    url = request.getfixturevalue("postgres_url")
    return url

"""Opening a database: new, old, newer, foreign, damaged, and killed in the middle of a migration."""

from __future__ import annotations

import logging
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from making import Making

from luthier.core.errors import LuthierError, StorageError
from luthier.jobs import database, migrations
from luthier.jobs.errors import Unavailable
from luthier.jobs.store import Store
from luthier.jobs.tables import metadata

FOLDER = Path(migrations.__file__).parent


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """A place where no table is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'luthier.db'}"
    return request.getfixturevalue("empty_postgres_url")


def script():
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return ScriptDirectory.from_config(config)


def test_the_head_is_the_last_version():
    assert script().get_heads() == [migrations.HEAD]


def test_the_migrations_make_the_tables_that_the_code_reads(empty_url):
    store = Store.open(empty_url)
    try:
        with store.database.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
    finally:
        store.close()


def test_what_was_stored_is_there_after_a_restart(empty_url):
    store = Store.open(empty_url)
    project = store.projects.default()
    job = Making(store, project).job()
    _, secret = store.keys.create(project.id, "x", "read")
    store.close()
    again = Store.open(empty_url)
    try:
        assert again.projects.default() == project
        assert again.jobs.get(project.id, job.id) == job
        assert again.keys.authenticate(secret)
    finally:
        again.close()


def test_a_job_of_a_process_that_is_gone_is_rescued(empty_url, moved_clock):
    store = Store.open(empty_url, clock=moved_clock)
    claim = Making(store, store.projects.default()).claim()
    store.close()
    again = Store.open(empty_url, clock=moved_clock)
    try:
        queue = Making(again, again.projects.default()).queue("next")
        if not again.database.exclusive:  # another server may be at work on it: it is watched for a lease first
            assert queue.rescue() == []
            moved_clock.pass_seconds(30)
        assert queue.rescue() == [claim.job.id]
    finally:
        again.close()


def test_a_newer_database_is_refused(empty_url):
    store = Store.open(empty_url)
    with store.database.write() as connection:
        connection.execute(sql.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StorageError) as error:
        Store.open(empty_url)
    assert error.value.code == "database_too_new"
    assert "9999" in str(error.value)
    assert "newer version" in str(error.value)


def test_a_database_of_somebody_else_is_refused_and_left_alone(empty_url):
    engine = sql.create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(sql.text("CREATE TABLE jobs (x INTEGER)"))
    engine.dispose()
    with pytest.raises(StorageError) as error:
        Store.open(empty_url)
    assert error.value.code == "database_foreign"
    engine = sql.create_engine(empty_url)
    assert sql.inspect(engine).get_table_names() == ["jobs"]
    engine.dispose()


KILLED = """
    import os, signal, sys
    import sqlalchemy as sql
    from luthier.jobs import database, migrations, upgrade
    from luthier.jobs.store import Store
    import alembic.command  # before the forks, once

    url, stride = sys.argv[1], int(sys.argv[2])

    def child(work):
        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def killed_at(number):
        def work():
            count = 0

            def before(*_):
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            sql.event.listen(sql.Engine, "before_cursor_execute", before)
            sql.event.listen(sql.Engine, "commit", before)
            Store.open(url)
        return work

    def untouched():
        engine = sql.create_engine(url)
        with engine.connect() as connection:
            names = sql.inspect(connection).get_table_names()
            whole = upgrade.version(connection) == migrations.HEAD
        engine.dispose()
        assert whole or names == [], names

    kills = 0
    while True:
        code = child(killed_at(1 + kills * stride))
        assert child(untouched) == 0
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        kills += 1
    Store.open(url).jobs.counts()
    print(kills)
"""


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_migration_that_is_killed_is_done_whole_the_next_time(empty_url, stride):
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), empty_url, str(stride)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout) >= 28 // stride


def test_two_servers_that_start_at_once_migrate_once(empty_postgres_url):
    stores, problems = [], []

    def start():
        try:
            stores.append(Store.open(empty_postgres_url))
        except LuthierError as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    default = {store.projects.default().id for store in stores}
    for store in stores:
        store.close()
    assert problems == []
    assert len(stores) == 3
    assert len(default) == 1


def test_a_second_process_is_refused(tmp_path):
    store = Store.open(tmp_path / "luthier.db")
    code = "import sys; from luthier.jobs.store import Store; Store.open(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "luthier.db"], capture_output=True, text=True)
    assert "the database is in use by another process" in run.stderr
    with pytest.raises(StorageError) as error:
        Store.open(tmp_path / "luthier.db")
    assert error.value.code == "in_use"
    store.close()
    Store.open(tmp_path / "luthier.db").close()


def test_only_the_owner_may_read_the_file(tmp_path):
    store = Store.open(tmp_path / "new" / "luthier.db")
    store.projects.default()
    store.close()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes.pop("luthier.db") == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("sound", [False, True])
def test_the_journal_follows_the_version_of_sqlite(tmp_path, monkeypatch, caplog, sound):
    monkeypatch.setattr(database.sqlite3, "sqlite_version_info", (3, 51, 3) if sound else (3, 51, 2))
    with caplog.at_level(logging.INFO, logger="luthier.jobs"):
        store = Store.open(tmp_path / "luthier.db")
    try:
        with store.database.read() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        assert pragmas == {"journal_mode": "wal" if sound else "persist", "synchronous": 2, "foreign_keys": 1}
        assert f"journal mode {pragmas['journal_mode']}, synchronous FULL" in caplog.text
        assert ("from 3.51.3 on" in caplog.text) is not sound
    finally:
        store.close()


def test_the_file_is_a_whole_database_for_others(tmp_path):
    store = Store.open(tmp_path / "luthier.db")
    store.projects.create("ü")
    store.close()
    connection = sqlite3.connect(f"file:{tmp_path / 'luthier.db'}?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT name FROM projects").fetchone() == ("ü",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("mysql://u:secret@host/x", "unsupported_database"),
        ("sqlite://", "unsupported_database"),
        ("sqlite:///:memory:", "unsupported_database"),
        ("://", "invalid_database_url"),
        ("nonsense://", "unsupported_database"),
    ],
)
def test_a_place_that_is_no_database_is_refused(url, code):
    with pytest.raises(StorageError) as error:
        Store.open(url)
    assert error.value.code == code
    assert "secret" not in str(error.value)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "luthier.db"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StorageError) as error:
        Store.open(path)
    assert error.value.code == "database_damaged"
    assert str(path) in str(error.value)
    path.unlink()
    Store.open(path).close()  # nothing is held any more


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / "luthier.db").mkdir()
    with pytest.raises(StorageError, match=r"luthier\.db"):
        Store.open(tmp_path / "luthier.db")


def test_a_postgres_that_is_away_is_said_so_without_the_password(tmp_path):
    with pytest.raises(Unavailable) as error:
        Store.open(f"postgresql+psycopg://someone:secret@/x?host={tmp_path}")
    assert error.value.code == "database_unavailable"
    assert "secret" not in str(error.value)
    assert "No such file" in str(error.value)


def test_a_postgres_that_cannot_hold_every_text_is_refused(postgres):
    name = postgres.create()
    postgres.drop(name)
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1'")
    try:
        with pytest.raises(StorageError) as error:
            Store.open(postgres.url(name))
        assert error.value.code == "database_encoding"
    finally:
        postgres.drop(name)

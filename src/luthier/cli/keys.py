"""`luthier keys`: makes, lists and ends the keys of a server, whether it runs or not."""

from __future__ import annotations

import argparse
import os
from typing import Any

from luthier.cli import output
from luthier.cli.parser import Formatter, Parser, add_common
from luthier.cli.server_address import add_server, wanted_server
from luthier.cli.service_probes import require_packages
from luthier.core.errors import StorageError, UsageError

SUMMARY = "Make, list and end the keys of a server."
USAGE = "luthier keys create|list|revoke [--home DIR | --server URL]"
EXAMPLE = """\
example:
  luthier keys create --name laptop --role read --days 30
  luthier keys list --json
  luthier keys revoke key_k3v9x2m7q0w8z5n1b6t4c8d2

Where no server runs on the home folder, the store itself is opened. Where one runs, or where --server or LUTHIER_SERVER
names one, it is asked, with the admin key in OPENAI_API_KEY or LUTHIER_API_KEY.
"""
ROLES = ("admin", "write", "read")
_DAY = 86400


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="", parser_class=Parser)
    made = {}
    for name, usage, what in (
        ("create", "luthier keys create [--name N] [--role R] [--project P] [--days N]", "make a key and show it once"),
        ("list", "luthier keys list [--json]", "all keys, without their secrets"),
        ("revoke", "luthier keys revoke ID", "end a key at once"),
    ):
        made[name] = actions.add_parser(
            name, usage=usage, help=what, description=what, formatter_class=Formatter, allow_abbrev=False
        )
    create = made["create"]
    create.add_argument("--name", default="unnamed", metavar="N", help="what it is for (unnamed)")
    create.add_argument("--role", default="write", metavar="R", help="admin, write or read (write)")
    create.add_argument("--project", metavar="P", help="id or name of its project, made where missing (the first)")
    create.add_argument("--days", type=float, metavar="N", help="after which it expires (never)")
    made["revoke"].add_argument("id", metavar="ID", help="key_..., as luthier keys list shows it")
    for sub in made.values():
        sub.add_argument("--home", metavar="DIR", help="the server's folder (~/.luthier)")
        sub.add_argument("--database", metavar="URL", help="where the store is, if not in the home folder")
        add_server(sub, optional=True)
        add_common(sub)


def run(args: argparse.Namespace) -> int:
    """Make, list or revoke."""
    if args.action is None:
        raise UsageError("say what to do: create, list or revoke.", remedy="See luthier keys --help.", code="no_action")
    if args.action == "create" and args.role not in ROLES:
        raise UsageError(f"there is no role {args.role!r}.", remedy="Roles: " + ", ".join(ROLES) + ".", param="role")
    elsewhere = os.environ.get("LUTHIER_SERVER") and args.home is None and args.database is None
    if wanted_server(args) is not None or elsewhere:
        return _show(args, _ask_server(args))
    try:
        return _show(args, _ask_store(args))
    except StorageError as error:
        if error.code != "in_use":
            raise
    return _show(args, _ask_server(args))


def _ask_store(args: argparse.Namespace) -> Any:
    require_packages()
    os.umask(0o077)
    from luthier.server import parts
    from luthier.server.luthier_api.keys import key_fields
    from luthier.server.settings import from_sources

    settings = from_sources({"home": args.home, "database": args.database}, os.environ)
    if settings.database is None and not (settings.home / "luthier.db").exists():
        raise UsageError(
            f"no server has its store in {settings.home}.",
            remedy="Name the server's folder with --home, or ask a running one with --server URL.",
            code="no_store",
            param="home",
        )
    store = parts.open_store(settings)
    try:
        if args.action == "list":
            return [key_fields(key) for key in store.keys.list()]
        if args.action == "revoke":
            owner = next((key.project_id for key in store.keys.list() if key.id == args.id), "")
            return key_fields(store.keys.revoke(owner, args.id))
        project = store.projects.default()
        if args.project:
            found = [known for known in store.projects.list() if args.project in (known.id, known.name)]
            project = found[0] if found else store.projects.create(args.project)
        from luthier.core import clock

        seconds = _seconds(args)
        expires = None if seconds is None else int(clock.now().timestamp()) + seconds
        key, secret = store.keys.create(project.id, args.name, args.role, expires)
        return {**key_fields(key), "secret": secret}
    finally:
        store.close()


def _ask_server(args: argparse.Namespace) -> Any:
    from luthier.cli.remote import Server

    server = Server.of(args)
    if args.action == "list":
        return server.get("/luthier/v1/keys")["data"]
    if args.action == "revoke":
        return server.delete(f"/luthier/v1/keys/{args.id}")
    body = {"name": args.name, "role": args.role}
    if args.project:
        known = server.get("/luthier/v1/projects")["data"]
        found = [project["id"] for project in known if args.project in (project["id"], project["name"])]
        body["project"] = (found or [server.post("/luthier/v1/projects", {"name": args.project})["id"]])[0]
    seconds = _seconds(args)
    return server.post("/luthier/v1/keys", body if seconds is None else {**body, "expires_in": seconds})


def _seconds(args: argparse.Namespace) -> int | None:
    if args.days is None:
        return None
    if not 0 < args.days <= 3660:
        raise UsageError("--days must be a number above 0, up to 3660.", param="days")
    return max(1, int(args.days * _DAY))


def _show(args: argparse.Namespace, found: Any) -> int:
    if args.json:
        output.print_json({"keys": found} if args.action == "list" else found)
        return 0
    if args.action == "create":
        output.note(f"The key {found['id']} ({found['role']}). It is not shown again:")
        print(found["secret"])
        return 0
    if args.action == "revoke":
        print(f"{found['id']} is revoked.")
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("id", "name", "role", "project", "made", "state"):
        table.add_column(column, no_wrap=column == "id")
    for key in found:
        table.add_row(key["id"], output.clean(key["name"], 40), key["role"], key["project"],
                      _day(key["created_at"]), _state(key))  # fmt: skip
    output.stdout_console().print(table)
    return 0


def _state(key: dict[str, Any]) -> str:
    from luthier.core import clock

    if key["revoked_at"] is not None:
        return f"revoked {_day(key['revoked_at'])}"
    if key["expires_at"] is None:
        return "valid"
    word = "valid until" if key["expires_at"] > clock.now().timestamp() else "expired"
    return f"{word} {_day(key['expires_at'])}"


def _day(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).date().isoformat()

"""`luthier serve`: the server, its workers and its inference engine, as one command."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import output
from luthier.cli.service_probes import require_packages
from luthier.core.errors import UsageError

if TYPE_CHECKING:
    from luthier.server.settings import ServerSettings

SUMMARY = "Serve OpenAI's API on this machine: files, fine-tuning jobs, models, answers."
USAGE = "luthier serve [--host 127.0.0.1] [--port 8321] [--home DIR] [--database URL]"
EXAMPLE = """\
example:
  luthier serve
  luthier serve --port 9000 --home /srv/luthier --log-format json
  luthier serve --database postgresql+psycopg://luthier@localhost/luthier --artefacts s3://bucket/luthier

The first start makes a key and shows it once. Every option is also a variable: LUTHIER_PORT, LUTHIER_HOME, ...
Ctrl-C ends in order: running jobs are saved, and go on at the next start. docs/service.md has more.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments. Their defaults are the settings' own, so that a variable can stand in."""
    where = parser.add_argument_group("where")
    where.add_argument("--host", metavar="H", help="address to listen on (127.0.0.1: this machine only)")
    where.add_argument("--port", type=int, metavar="N", help="port (8321); 0 takes a free one")
    where.add_argument("--home", metavar="DIR", help="the server's folder (~/.luthier)")
    where.add_argument("--database", metavar="URL", help="SQLite in the home folder, or postgresql+psycopg://...")
    where.add_argument("--assistants", metavar="DIR", help="assistants' YAML files, each the model assistant:<name>")
    where.add_argument("--artefacts", metavar="PLACE", help="in the home folder, or a folder, s3:// gs:// az://")
    where.add_argument("--track-mlflow", metavar="URL", help="mirror every job there (docs/tracking.md)")
    where.add_argument("--track-experiment", metavar="NAME", help="the MLflow experiment (luthier)")
    who = parser.add_argument_group("who may ask")
    who.add_argument(
        "--allowed-host", action="append", dest="allowed_hosts", metavar="NAME",
        help="a name that clients use for this server, beside localhost; may be repeated",
    )  # fmt: skip
    who.add_argument("--key-file", metavar="FILE", help="write the first key there (0600) instead of showing it")
    who.add_argument("--max-file-bytes", type=int, metavar="N", help="largest file (8 GiB)")
    who.add_argument("--max-project-bytes", type=int, metavar="N", help="all files and exports of a project (64 GiB)")
    who.add_argument(
        "--data-folder", action="append", dest="data_folders", metavar="DIR",
        help="a folder of this machine that data sets may be made of by path; may be repeated",
    )  # fmt: skip
    who.add_argument(
        "--allow-data-urls", action="store_true", default=None,
        help="fetch data sets from http(s) addresses that clients name (not of this network)",
    )  # fmt: skip
    who.add_argument("--requests-per-second", type=float, metavar="N", help="of one key (2000)")
    who.add_argument(
        "--insecure-allow-python-graders", action="store_true", default=None, dest="allow_python_graders",
        help="run Python code that clients send as a grader, in the sandbox",
    )  # fmt: skip
    how = parser.add_argument_group("how")
    how.add_argument("--workers", metavar="N", help="jobs that run at once: a number, or devices (one on each)")
    how.add_argument("--organisation", metavar="NAME", help="third part of a tuned model's name (local)")
    how.add_argument("--log-format", metavar="F", help="plain or json (plain)")
    how.add_argument("--log-level", metavar="L", help="debug, info, warning or error (info)")
    answers = parser.add_argument_group("how models answer")
    answers.add_argument("--engine-device", metavar="D", help="auto, cpu or cuda (auto)")
    answers.add_argument("--engine-precision", metavar="P", help="fp32, or bf16: half of the memory (fp32)")
    answers.add_argument(
        "--engine-memory-bytes", type=int, metavar="N", help="for the weights of all models (half of the machine's)"
    )
    answers.add_argument("--engine-rows", type=int, metavar="N", help="answers that one base writes at a time (16)")
    answers.add_argument("--engine-threads", type=int, metavar="N", help="of one product of matrices (one a core)")
    parser.add_argument("--debug", action="store_true", help="show the traceback when something fails")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    require_packages()
    settings = settings_of(args)
    _refuse_insecure(settings)
    os.umask(0o077)  # everything that is written from here on is its owner's alone
    from luthier.server import parts
    from luthier.server import run as running
    from luthier.web import ROUTERS

    with running.bind(settings) as listener:
        store = parts.open_store(settings)
        address = running.address_of(listener)
        _warn(settings)
        secret = parts.first_key(store)

        def ready() -> None:
            print(f"Luthier listens on {address} (home: {settings.home}). Ctrl-C stops it.", flush=True)
            if secret is not None:
                _show_key(secret, address, args.key_file)

        running.serve(settings, store, listener, ready, ROUTERS)
    return 0


def settings_of(args: argparse.Namespace) -> ServerSettings:
    """The settings that options and environment name."""
    from luthier.server.settings import ServerSettings, from_sources

    given: dict[str, Any] = {name: value for name, value in vars(args).items() if name in ServerSettings.model_fields}
    return from_sources(given, os.environ)


def _show_key(secret: str, address: str, key_file: str | None) -> None:
    """The only time that a key's secret is seen; it goes to no log."""
    print("A key was made for you. It is not shown again:" if key_file is None else f"A key was made: {key_file}")
    print(f"  export OPENAI_BASE_URL={address}/v1")
    if key_file is None:
        print(f"  export OPENAI_API_KEY={secret}", flush=True)
        return
    from luthier.core import durable

    durable.write_text(Path(key_file), secret + "\n")
    print(f"  export OPENAI_API_KEY=$(cat {key_file})", flush=True)


def _warn(settings: ServerSettings) -> None:
    if not settings.loopback:
        output.note(
            f"warning: listening on {settings.host}, which other machines reach, without TLS: keys and data pass in "
            "the clear. Put a proxy with TLS in front (docs/service.md)."
        )
    if settings.home.stat().st_mode & 0o077:
        output.note(f"warning: other users of this machine may read {settings.home}. Run chmod 700 on it.")
    for name in settings.insecure:
        output.note(f"warning: --insecure-{name.replace('_', '-')} is on.")


def _refuse_insecure(settings: ServerSettings) -> None:
    """What is insecure and seen by other machines must be said twice: as an option and as a variable."""
    for name in () if settings.loopback else settings.insecure:
        variable = f"LUTHIER_{name.upper()}"
        if os.environ.get(variable, "").lower() not in ("1", "true", "yes"):
            raise UsageError(
                f"--insecure-{name.replace('_', '-')} on {settings.host}, which other machines reach, is refused.",
                remedy=f"If it must be, set {variable}=1 as well.",
                code="insecure",
                param=name,
            )

"""Everything that a client does with a server, once: started by test_no_network in a namespace without network.

    python whole_flow.py FOLDER fast|train [COMMAND THAT STARTS PYTHON ...]

Prints one JSON document: the key, and what was seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import live
import openai

DATA_CANARY = "zebrafinch-7301"
TOKEN_CANARY = "hf_tokencanary4410"


def loopback_up() -> None:
    """A new network namespace has a loopback that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        wanted = struct.pack("16sH14x", b"lo", 0x1 | 0x40)  # up, running
        fcntl.ioctl(plug, 0x8914, wanted)  # SIOCSIFFLAGS


def rows(count: int) -> bytes:
    turns = (
        [{"role": "user", "content": f"{DATA_CANARY} asks {n}"}, {"role": "assistant", "content": f"{DATA_CANARY} {n}"}]
        for n in range(count)
    )
    return "".join(json.dumps({"messages": turn}) + "\n" for turn in turns).encode()


@contextlib.contextmanager
def watching_commands() -> Iterator[set[bytes]]:
    """The command lines of all processes of this machine while something is done."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(path.read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def refused(call: Any) -> int:
    try:
        call()
    except openai.APIStatusError as error:
        return error.status_code
    raise AssertionError("it was not refused")


def flow(server: live.Live, train: bool) -> dict[str, Any]:
    client = server.client(max_retries=0)
    file = client.files.create(file=("train.jsonl", rows(12)), purpose="fine-tune")
    assert DATA_CANARY in client.files.content(file.id).text
    client.post("/../luthier/v1/check", body={"file": file.id}, cast_to=object)
    ask: dict[str, Any] = {"messages": [{"role": "user", "content": DATA_CANARY}], "max_tokens": 4}
    models = ["luthier-nano"]
    if train:
        job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=file.id,
                                             hyperparameters={"n_epochs": 1})  # fmt: skip
        while (job := client.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed"):
            time.sleep(0.5)
        assert job.status == "succeeded", job.error
        models.append(str(job.fine_tuned_model))
    for model in models:
        assert client.chat.completions.create(model=model, **ask).choices
        assert list(client.chat.completions.create(model=model, stream=True, **ask))
    broken = rows(12) + b'{"messages": "' + DATA_CANARY.encode() + b'"}\n'
    bad = client.files.create(file=("bad.jsonl", broken), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="luthier-nano", training_file=bad.id)
    while (job := client.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed"):
        time.sleep(0.1)
    statuses = {
        "broken data": job.status,
        "wrong key": refused(client.with_options(api_key=server.key[:-1] + "_").models.list),
        "wrong role": refused(lambda: client.chat.completions.create(
            model="luthier-nano", messages=[{"role": DATA_CANARY, "content": DATA_CANARY}])),  # type: ignore[list-item]
        "picture": refused(lambda: client.chat.completions.create(model="luthier-nano", messages=[
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://203.0.113.7/x.png"}}]}])),
        "address as model": refused(lambda: client.chat.completions.create(model="http://203.0.113.7/m", **ask)),
        "hub id as model": refused(lambda: client.chat.completions.create(model="org/some-model", **ask)),
    }  # fmt: skip
    kept = next((server.home / "artefacts").rglob(file.id + "*"))
    kept.unlink()
    statuses["fault"] = refused(lambda: client.files.content(file.id))
    return statuses


def main() -> None:
    folder, kind, *prefix = sys.argv[1:]
    loopback_up()
    if prefix:  # what starts the server's Python, such as strace
        script = Path(folder) / "python"
        script.write_text("#!/bin/sh\nexec " + " ".join(prefix) + f' {sys.executable} "$@"\n')
        script.chmod(0o700)
        live.sys = types.SimpleNamespace(executable=str(script), path=sys.path)  # type: ignore[assignment]
    server = live.Live(Path(folder) / "home", environment={"HF_TOKEN": TOKEN_CANARY, "HF_HUB_OFFLINE": "0"})
    with watching_commands() as commands:
        server.start()
        try:
            statuses = flow(server, kind == "train")
        finally:
            server.stop()
    shown = [command.decode(errors="replace") for command in commands]
    print(json.dumps({"key": server.key, "statuses": statuses, "commands": shown}))


if __name__ == "__main__":
    main()

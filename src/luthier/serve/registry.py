"""Which models are in memory: found by what is asked for, least recently used out first. One thread uses it."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import Any

import torch

from luthier.core import clock
from luthier.core.answering import ModelRef
from luthier.core.errors import ModelError
from luthier.serve.encoders import Encoder
from luthier.serve.hosts import Host, Voice
from luthier.serve.job import Resident
from luthier.serve.loading import Parcel
from luthier.serve.replies import Busy


class Registry:
    """Args: memory_bytes of all weights together (0 = half of the machine's); idle_seconds until one leaves."""

    def __init__(self, memory_bytes: int, idle_seconds: float) -> None:
        self.memory_bytes = memory_bytes or _half_of_the_memory()
        self._idle_seconds = idle_seconds
        self._residents: dict[ModelRef, Resident] = {}
        self._leaving: list[Resident] = []
        self._hosts: dict[object, Host] = {}

    @property
    def hosts(self) -> list[Host]:
        """All hosts."""
        return list(self._hosts.values())

    @property
    def encoders(self) -> list[Encoder]:
        """All encoders."""
        return [one for one in self._all() if isinstance(one, Encoder)]

    @property
    def host_keys(self) -> frozenset[object]:
        """The keys of bases that adapters can be put into."""
        return frozenset(key for key, host in self._hosts.items() if host.shared)

    @property
    def bytes(self) -> int:
        """Of all weights."""
        return sum(host.bytes for host in self._hosts.values()) + sum(one.bytes for one in self._all())

    def find(self, ref: ModelRef) -> Resident | None:
        """Who answers for `ref`, unless it is to leave."""
        return self._residents.get(ref)

    def take(self, resident: Resident) -> None:
        """One more request; `give_back` when it ends."""
        resident.active += 1
        resident.used = clock.monotonic()

    def give_back(self, resident: Resident) -> None:
        """The inverse of `take`."""
        resident.active -= 1
        resident.used = clock.monotonic()
        if resident.leaving and not resident.active:
            self._leaving.remove(resident)
            self._clear(resident)

    def install(self, parcel: Parcel) -> Resident | None:
        """Put what was loaded to use; None where its host has left in between, so that it must be loaded again."""
        resident: Resident
        if parcel.encoder is not None:
            resident = parcel.encoder
        else:
            host = self._hosts.get(parcel.key) or parcel.host
            if host is None:
                return None
            assert parcel.reader is not None
            adapter = None if parcel.adapter is None else host.attach(parcel.adapter)
            resident = Voice(parcel.ref, parcel.bytes, host=host, reader=parcel.reader, adapter=adapter)
            self._hosts[host.key] = host
        resident.used = clock.monotonic()
        self._residents[parcel.ref] = resident
        self._leave(parcel.ref.name, besides=parcel.ref)  # a better model has taken the place of the one before
        return resident

    def unload(self, ref: ModelRef) -> None:
        """Forget a model, now or when its last request has ended. Its name is enough: who deletes a model may not know
        its folder any more. Asked for meanwhile, it is loaded anew, beside the one that leaves."""
        self._leave(ref.name)

    def _leave(self, name: str, besides: ModelRef | None = None) -> None:
        for resident in [one for one in self._residents.values() if one.ref.name == name and one.ref != besides]:
            if resident.active:
                resident.leaving = True
                self._leaving.append(self._residents.pop(resident.ref))
            else:
                self._unload(resident)

    def make_room(self, size: int) -> None:
        """Unload what was not used for longest until `size` bytes are free.

        Raises `ModelError` where it can never be, `Busy` where what is in use is too large now.
        """
        if size > self.memory_bytes:
            raise ModelError(
                f"this model needs {size / 2**30:.1f} GiB of memory, and {self.memory_bytes / 2**30:.1f} GiB are set "
                "aside for models.",
                remedy="Choose a smaller base, or give the engine more memory.",
                code="model_too_large",
                param="model",
            )
        while self.bytes + size > self.memory_bytes:
            oldest = self._oldest()
            if oldest is None:
                raise Busy("The models that are in use fill the memory.", remedy="Try again later.", code="memory_full")
            self._drop(oldest)

    def unload_idle(self) -> None:
        """Unload what nobody has asked for a long time."""
        now = clock.monotonic()
        while (oldest := self._oldest()) is not None and now - _used(oldest, self._voices) > self._idle_seconds:
            self._drop(oldest)

    def status(self) -> list[dict[str, Any]]:
        """One row per model; a base's bytes are told once, with the first that stands on it."""
        now, told, rows = clock.monotonic(), set[object](), []
        for one in self._all():
            size = one.bytes
            if isinstance(one, Voice) and one.host.key not in told:
                told.add(one.host.key)
                size += one.host.bytes
            rows.append(
                {
                    "name": one.ref.name,
                    "base": one.ref.base,
                    "folder": one.ref.folder,
                    "idle_seconds": 0.0 if one.active else max(0.0, now - one.used),
                    "bytes": size,
                    "active": one.active,
                    "canary": one.canary,
                }
            )
        return rows

    def _oldest(self) -> Resident | Host | None:
        """Of all that is not in use: an adapter, an encoder, or a host with all that stands on it."""
        free: list[Resident | Host] = [
            one
            for one in self._residents.values()
            if not one.active and (isinstance(one, Encoder) or (isinstance(one, Voice) and one.adapter is not None))
        ]
        free += [host for host in self._hosts.values() if not any(one.active for one in self._voices(host))]
        return min(free, key=lambda one: (_used(one, self._voices), isinstance(one, Host)), default=None)

    def _voices(self, host: Host) -> list[Voice]:
        return [one for one in self._all() if isinstance(one, Voice) and one.host is host]

    def _all(self) -> list[Resident]:
        """Also those that are answering their last requests."""
        return [*self._residents.values(), *self._leaving]

    def _drop(self, one: Resident | Host) -> None:
        if isinstance(one, Resident):
            self._unload(one)
            return
        for voice in self._voices(one):
            del self._residents[voice.ref]
        del self._hosts[one.key]
        _give_memory_back()

    def _unload(self, resident: Resident) -> None:
        del self._residents[resident.ref]
        self._clear(resident)

    def _clear(self, resident: Resident) -> None:
        """Free what a model that is known no more had for itself."""
        if isinstance(resident, Voice):
            host = resident.host
            if not self._voices(host):
                del self._hosts[host.key]
            elif resident.adapter is not None:
                host.detach(resident.adapter)
        _give_memory_back()


def _used(one: Resident | Host, voices: Any) -> float:
    if isinstance(one, Resident):
        return one.used
    return max((voice.used for voice in voices(one)), default=0.0)


def _half_of_the_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory // 2)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _give_memory_back() -> None:
    """To the system: our allocator settings keep it otherwise."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)

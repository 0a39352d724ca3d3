"""Who is answered when: one thread that owns all models and runs their batches, a step at a time in turn.

What takes long goes elsewhere: weights are loaded in a thread of their own, prompts are made in two others. Their
results come back as commands between steps. Nothing heavy is imported until that thread runs.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from luthier.core import clock
from luthier.core.answering import EngineOptions, EngineRequest
from luthier.core.errors import UsageError
from luthier.serve.job import Job, Resident
from luthier.serve.replies import Asked, Busy, Send

if TYPE_CHECKING:
    from luthier.models.generation import Request
    from luthier.models.generation.running import Progress
    from luthier.serve.bodies import Writing
    from luthier.serve.encoders import Encoder
    from luthier.serve.hosts import Host, Voice
    from luthier.serve.loads import Loads
    from luthier.serve.registry import Registry

_IDLE_LOOK_SECONDS = 1.0
_PREPARERS = 2
_log = logging.getLogger(__name__)


class Scheduler:
    """Takes requests from any thread. `start` before, `stop` at the end."""

    def __init__(self, options: EngineOptions) -> None:
        self._options = options
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="luthier-compute", daemon=True)
        self._preparing = ThreadPoolExecutor(_PREPARERS, "luthier-prepare")
        self._jobs: dict[tuple[object, str], Job] = {}
        self._registry: Registry
        self._loads: Loads
        self._count_lock = threading.Lock()
        self._count = 0
        self._stopped = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is under way ends without a word."""
        self._post(self._end)
        self._thread.join()

    def submit(self, request: EngineRequest, connection: object, send: Send) -> None:
        """Take a request; replies go to `send`."""
        asked = Asked(request, connection, send)
        if request.op == "cancel":
            self._post(lambda: self._cancel((connection, str(request.body.get("target")))))
            return
        if request.op == "status":  # also where there is too much to do
            self._post(lambda: self._status(asked))
            return
        with self._count_lock:
            full = self._count >= self._options.waiting
            self._count += not full
        if full:
            asked.fail(Busy("The inference engine has too much to do.", remedy="Try again later."))
        else:
            self._post(lambda: self._begin(asked))

    def forget(self, connection: object) -> None:
        """Cancel all requests of a connection that is gone."""

        def cancel() -> None:
            for key in [key for key in self._jobs if key[0] is connection]:
                self._cancel(key)

        self._post(cancel)

    def _post(self, command: Callable[[], None]) -> None:
        self._commands.put(command)

    # From here on everything runs in the thread.

    def _run(self) -> None:
        try:
            import torch

            from luthier.serve.loads import Loads
            from luthier.serve.registry import Registry

            if self._options.threads:
                torch.set_num_threads(self._options.threads)
            self._registry = Registry(self._options.memory_bytes, self._options.idle_seconds)
            self._loads = Loads(self._options, self._registry, self._post, self._serve, self._finish)
        except BaseException:
            _log.exception("the engine cannot compute")
            os._exit(1)
        while not self._stopped:
            worked = self._step()
            self._obey(wait=not worked)

    def _end(self) -> None:
        self._stopped = True
        self._loads.stop()
        self._preparing.shutdown(wait=False, cancel_futures=True)

    def _obey(self, wait: bool) -> None:
        """All commands that are there; where there is nothing else to do, wait for one."""
        try:
            command = self._commands.get(wait, _IDLE_LOOK_SECONDS) if wait else self._commands.get_nowait()
        except queue.Empty:
            if wait:
                self._guarded(self._registry.unload_idle)
            return
        self._guarded(command)
        while not self._commands.empty():
            self._guarded(self._commands.get())

    def _guarded(self, command: Callable[[], None]) -> None:
        try:
            command()
        except Exception:  # a mistake of ours: the other requests must not pay for it
            _log.exception("a command failed")

    def _step(self) -> bool:
        """One step of every batch and encoder that has something to do; whether there was one."""
        worked = False
        for host in self._registry.hosts:
            if host.batch.active or host.batch.waiting:
                worked = True
                for progress in host.batch.step():
                    self._progress(progress, host)
        for encoder in self._registry.encoders:
            if encoder.queue:
                worked = True
                for texts, error in encoder.step():
                    self._finish(self._jobs[texts.asked.key], error)
        return worked

    def _progress(self, progress: Progress, host: Host) -> None:
        job, error = progress.key, progress.error
        try:
            if error is None and not job.take(progress):  # type: ignore[attr-defined]
                return
        except Exception as failed:
            error = failed
        if error is not None:
            host.batch.cancel(job)
        if isinstance(job, Job):
            self._finish(job, error)
        elif error is not None:
            self._loads.refuse(job, error)  # type: ignore[arg-type]
        else:
            self._loads.judge(job)  # type: ignore[arg-type]

    def _begin(self, asked: Asked) -> None:
        if asked.key in self._jobs:
            asked.fail(UsageError("A request of this id is under way.", code="invalid_request", param="id"))
            self._uncount()
            return
        job = self._jobs[asked.key] = Job(asked)
        try:
            self._dispatch(job)
        except Exception as error:
            self._finish(job, error)

    def _uncount(self) -> None:
        with self._count_lock:
            self._count -= 1

    def _dispatch(self, job: Job) -> None:
        request = job.asked.request
        if request.op not in ("generate", "embed", "predict", "load", "unload"):
            raise UsageError(f"There is no operation {str(request.op)[:40]!r}.", code="invalid_request", param="op")
        ref = request.model
        if ref is None:
            raise UsageError("The request names no model.", code="invalid_request", param="model")
        if not all(isinstance(part, str) for part in (ref.name, ref.base, ref.folder or "")):
            raise UsageError("The model is not named by texts.", code="invalid_request", param="model")
        if request.op == "unload":
            self._registry.unload(ref)
            self._finish(job)
            return
        if self._loads.wait_for(ref, job):
            return
        resident = self._registry.find(ref)
        if resident is None:
            self._loads.begin(ref, job)
        else:
            self._serve(job, resident)

    def _status(self, asked: Asked) -> None:
        hosts, encoders = self._registry.hosts, self._registry.encoders
        found = {
            "models": self._registry.status(),
            "active": sum(host.batch.active for host in hosts) + sum(len(one.queue) for one in encoders),
            "waiting": sum(host.batch.waiting for host in hosts) + self._loads.waiting,
            "loading": self._loads.names,
            "requests": len(self._jobs),
            "bytes": self._registry.bytes,
            "memory_bytes": self._registry.memory_bytes,
        }
        asked.say("status", found)
        asked.say("end")

    def _serve(self, job: Job, resident: Resident) -> None:
        """A model that is ready takes a job."""
        from luthier.serve.encoders import Encoder

        job.resident = resident
        self._registry.take(resident)
        operation = job.asked.request.op
        try:
            if operation == "load":
                job.asked.say("end", {"seconds": clock.monotonic() - job.began, "canary": resident.canary})
                self._finish(job)
            elif isinstance(resident, Encoder):
                self._read(job, resident)
            elif operation == "generate":
                self._write(job, resident)  # type: ignore[arg-type]
            else:
                raise UsageError(
                    f"The model {resident.ref.name!r} writes; it does not {operation}.",
                    code=f"model_does_not_{operation}",
                    param="model",
                )
        except Exception as error:
            self._finish(job, error)

    def _read(self, job: Job, encoder: Encoder) -> None:
        from luthier.serve.bodies import read_texts
        from luthier.serve.encoders import Texts

        encoder.check(job.asked.request.op)
        job.texts = Texts(job.asked, read_texts(job.asked.request.body))
        encoder.queue.append(job.texts)

    def _write(self, job: Job, voice: Voice) -> None:
        from luthier.serve.writing import prepare

        future = self._preparing.submit(prepare, job.asked.request.body, voice.reader, voice.adapter)
        future.add_done_callback(lambda done: self._post(lambda: self._prepared(job, voice, done)))

    def _prepared(self, job: Job, voice: Voice, done: Future[tuple[Writing, list[Request]]]) -> None:
        from luthier.serve.writing import Written, template_of

        if job.asked.ended or done.cancelled():
            return
        try:
            writing, requests = done.result()
            for index, request in enumerate(requests):
                voice.host.batch.add(request, job, index)
            job.written = Written(job.asked, writing, template_of(voice.reader))
            job.asked.say("started", {"prompt_tokens": len(requests[0].ids)})
        except Exception as error:
            self._finish(job, error)

    def _cancel(self, key: tuple[object, str]) -> None:
        job = self._jobs.get(key)
        if job is not None:
            job.asked.ended = True
            self._loads.forget(job)
            self._finish(job)

    def _finish(self, job: Job, error: BaseException | None = None) -> None:
        """The last word; and everything that the job held is given back."""
        if self._jobs.get(job.asked.key) is not job:
            return
        del self._jobs[job.asked.key]
        self._uncount()
        resident = job.resident
        if resident is not None:
            resident.forget(job)
        if error is not None:
            job.asked.fail(error)
        else:
            job.asked.say("end")
        if resident is not None:
            self._registry.give_back(resident)

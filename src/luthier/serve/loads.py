"""Models that are on their way into memory, the requests that wait for them, and the canary at the end of the way.

All in the scheduler's thread, except that the loader works in its own and asks from there for room.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from luthier.core.answering import EngineOptions, ModelRef
from luthier.core.generation import Generation
from luthier.models.generation.running import Progress
from luthier.models.language_canary import check_language, language_questions
from luthier.serve.hosts import Voice
from luthier.serve.job import Job, Resident
from luthier.serve.loading import Loader, Parcel
from luthier.serve.registry import Registry
from luthier.serve.replies import Busy

Post = Callable[[Callable[[], None]], None]
"""Runs something in the scheduler's thread, soon; from any thread."""
Found = TypeVar("Found")
_LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Check:
    """A canary that is being asked."""

    voice: Voice
    canary: dict[str, Any]
    answers: dict[int, Generation] = field(default_factory=dict)
    over: bool = False
    """It was judged: what else came of the same step is of no interest."""

    def take(self, progress: Progress) -> bool:
        """What came of it in a step; whether all answers are there."""
        if progress.generation is not None:
            self.answers[progress.piece.index] = progress.generation
        return len(self.answers) == len(self.canary["answers"])


class Loads:
    """Loads one model after the other.

    Args:
        serve: called with each job that waited and the model that is ready.
        fail: called with each job that waited for a model that cannot be served.
    """

    def __init__(
        self,
        options: EngineOptions,
        registry: Registry,
        post: Post,
        serve: Callable[[Job, Resident], None],
        fail: Callable[[Job, BaseException], None],
    ) -> None:
        self._registry, self._post, self._serve, self._fail = registry, post, serve, fail
        self._loader = Loader(options, self._make_room)
        self._thread = ThreadPoolExecutor(1, "luthier-load")
        self._waiting: dict[ModelRef, list[Job]] = {}
        self._stopped = False

    @property
    def names(self) -> list[str]:
        """Models that are being loaded."""
        return [ref.name for ref in self._waiting]

    @property
    def waiting(self) -> int:
        """Requests that wait for them."""
        return sum(len(jobs) for jobs in self._waiting.values())

    def wait_for(self, ref: ModelRef, job: Job) -> bool:
        """Let a job wait for a model that is being loaded; False where it is not."""
        if ref in self._waiting:
            self._waiting[ref].append(job)
            return True
        return False

    def begin(self, ref: ModelRef, job: Job) -> None:
        """Load a model, for a job."""
        self._waiting[ref] = [job]
        self._load(ref)

    def forget(self, job: Job) -> None:
        """A job that waits no more; the model is loaded all the same."""
        for jobs in self._waiting.values():
            if job in jobs:
                jobs.remove(job)

    def stop(self) -> None:
        """Begin no other load."""
        self._stopped = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def judge(self, check: Check) -> None:
        """All answers are there: the model is served, or not."""
        if check.over:
            return
        voice = check.voice
        try:
            answers = [check.answers[index] for index in range(len(check.answers))]
            check_language(check.canary, answers, precision=voice.host.precision, name=voice.ref.name)
        except Exception as error:
            self.refuse(check, error)
            return
        check.over = True
        voice.canary = "passed"
        self._release(voice.ref, voice)
        self._registry.give_back(voice)

    def refuse(self, check: Check, error: BaseException) -> None:
        """A model that does not answer as it should is not served; each question may say so, once is enough."""
        if check.over:
            return
        check.over = True
        ref = check.voice.ref
        _log.error("%s is not served: %s", ref.name, error)
        self._registry.unload(ref)
        self._registry.give_back(check.voice)
        self._give_up(ref, error)

    def _load(self, ref: ModelRef) -> None:
        future = self._thread.submit(self._load_now, ref)
        future.add_done_callback(lambda done: self._post(lambda: self._loaded(ref, done)))

    def _load_now(self, ref: ModelRef) -> Parcel:
        """In the loader's thread. What was loaded before is installed when this asks which hosts there are."""
        return self._loader.load(ref, self._ask_scheduler(lambda: self._registry.host_keys))

    def _make_room(self, size: int) -> None:
        self._ask_scheduler(lambda: self._registry.make_room(size))

    def _ask_scheduler(self, question: Callable[[], Found]) -> Found:
        """In the loader's thread: let the scheduler's answer, and wait."""
        answer: Future[Found] = Future()

        def find() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)

        self._post(find)
        while not self._stopped:
            with contextlib.suppress(TimeoutError):
                return answer.result(_LOOK_SECONDS)
        raise Busy("The engine is stopping.")

    def _loaded(self, ref: ModelRef, done: Future[Parcel]) -> None:
        if done.cancelled():
            return
        try:
            parcel = done.result()
            resident = self._registry.install(parcel)
        except BaseException as error:
            self._give_up(ref, error)
            return
        if resident is None:
            self._load(ref)
        elif parcel.canary is None:
            if ref.folder is not None and isinstance(resident, Voice):
                _log.warning("%s was saved without a canary: nobody knows whether it answers as trained", ref.name)
            self._release(ref, resident)
        else:
            assert isinstance(resident, Voice)
            self._ask_canary(resident, parcel.canary)

    def _ask_canary(self, voice: Voice, canary: dict[str, Any]) -> None:
        check = Check(voice, canary)
        self._registry.take(voice)
        try:
            for index, request in enumerate(language_questions(canary, voice.reader.tokenizer, voice.adapter)):
                voice.host.batch.add(request, check, index)
        except Exception as error:
            voice.host.batch.cancel(check)
            self.refuse(check, error)

    def _give_up(self, ref: ModelRef, error: BaseException) -> None:
        for job in self._waiting.pop(ref, []):
            self._fail(job, error)

    def _release(self, ref: ModelRef, resident: Resident) -> None:
        _log.info("%s is loaded", ref.name)
        for job in self._waiting.pop(ref, []):
            self._serve(job, resident)

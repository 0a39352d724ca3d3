"""A fake `luthier.api` with behaviour: the command line is tested before, and without, training."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cli_events import events
from fake_server import KEY, FakeServer, serving

from luthier.core import clock, durable
from luthier.core.errors import ModelError
from luthier.core.events import Listener, ignore
from luthier.core.predictor import Prediction, SpanPrediction, TextInput
from luthier.core.recipe import Recipe
from luthier.core.recipe_io import apply_overrides, read_yaml

REPORT: dict[str, Any] = {
    "task": "classify",
    "metrics": {
        "accuracy": {"value": 0.934, "low": 0.921, "high": 0.946},
        "macro_f1": {"value": 0.93, "low": 0.91, "high": 0.95},
        "log_loss": {"value": float("nan"), "low": None, "high": None},
    },
    "baselines": {"majority": {"accuracy": {"value": 0.125, "low": 0.07, "high": 0.19}}},
    "verdict": "Fine-tuning pays: 0.93 against 0.13.",
    "warnings": [],
    "cost": {"seconds": 12.5, "trainable_parameters": 100},
    "data": {"test": "abc"},
}


@dataclass
class FakeRun:
    path: Path
    metrics: dict[str, float]
    report: dict[str, Any]
    seconds: float = 12.5


@dataclass
class FakePredictor:
    """Answers with the text's length; knows how far it has read ahead."""

    task: str = "classify"
    labels: Sequence[str] = ("long", "short")
    threshold: float | None = None
    window: int = 3
    furthest: int = 0

    def answer(self, text: TextInput) -> Prediction:
        first = text if isinstance(text, str) else text[0]
        if self.task == "regress":
            return Prediction(score=float(len(first)))
        if self.task == "extract":
            return Prediction(spans=(SpanPrediction(0, 2, "start", first[:2], 0.75),))
        score = min(0.99, 0.5 + len(first) / 100)
        scores = {"long": score, "short": 1 - score}
        if self.threshold is not None and score < self.threshold:
            return Prediction(None, score, scores, abstained=True)
        return Prediction("long", score, scores)

    def stream(self, texts: Iterable[TextInput]) -> Iterator[Prediction]:
        window: list[TextInput] = []
        for number, text in enumerate(texts, start=1):
            self.furthest = number
            window.append(text)
            if len(window) == self.window:
                yield from map(self.answer, window)
                window = []
        yield from map(self.answer, window)


@dataclass
class FakeReport:
    ok: bool

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "task": "classify", "rows": 2, "findings": [], "stats": {}}


@dataclass
class FakeEvaluation:
    def to_dict(self) -> dict[str, Any]:
        return {
            "metrics": REPORT["metrics"],
            "rows": 120,
            "baselines": REPORT["baselines"],
            "comparisons": [],
        }


@dataclass
class FakeApi:
    """What the verbs asked for is in `calls`; set `fails` to see what they do with an error."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    fails: BaseException | None = None
    ok: bool = True
    predictor: FakePredictor = field(default_factory=FakePredictor)

    def _note(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if self.fails is not None:
            raise self.fails

    def check(self, data: Any, **options: Any) -> FakeReport:
        self._note("check", {"data": data, **options})
        return FakeReport(self.ok)

    def train(self, recipe: Recipe, *, listener: Listener = ignore) -> FakeRun:
        self._note("train", recipe)
        for event in events():
            listener(event)
        return make_run(Path(recipe.out) / "20260102-101500-fake", recipe)

    def resume(self, path: str, *, overrides: Sequence[str] = (), listener: Listener = ignore) -> FakeRun:
        self._note("resume", (path, list(overrides)))
        values = read_yaml(Path(path) / "recipe.yaml")
        apply_overrides(values, list(overrides))
        return make_run(Path(path), Recipe.build(values))

    def load(self, path: str, *, threshold: float | None = None) -> FakePredictor:
        self._note("load", path)
        if not Path(path).is_dir():
            raise ModelError("there is no trained model here.", where=path, remedy="Give a run folder.")
        self.predictor.threshold = threshold
        return self.predictor

    def evaluate(self, model: str, data: Any, *, listener: Listener = ignore, **options: Any) -> FakeEvaluation:
        self._note("evaluate", {"model": model, "data": data, **options})
        return FakeEvaluation()


def make_run(path: Path, recipe: Recipe) -> FakeRun:
    """A run folder as small as one can be."""
    durable.write_text(path / "recipe.yaml", recipe.to_yaml())
    report = {**REPORT, "metrics": {name: REPORT["metrics"][name] for name in ("accuracy", "macro_f1")}}
    durable.write_json(path / "report.json", report)
    return FakeRun(path, {name: cell["value"] for name, cell in REPORT["metrics"].items()}, REPORT)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """`luthier.api`, replaced."""
    fake = FakeApi()
    module = types.ModuleType("luthier.api")
    for name in ("check", "train", "resume", "load", "evaluate"):
        setattr(module, name, getattr(fake, name))
    monkeypatch.setitem(sys.modules, "luthier.api", module)
    import luthier

    monkeypatch.setattr(luthier, "api", module, raising=False)
    return fake


@pytest.fixture
def data_csv(here: Path) -> Path:
    """A small data file in an otherwise empty working directory."""
    path = here / "train.csv"
    path.write_text("text,label\nwhat a film,good\nnever again,bad\n", encoding="utf-8")
    return path


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def luthier(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run one command in this process."""
    from luthier.cli.main import main

    def call(*words: Any) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A small server that the command line finds, and that it does not wait for."""
    monkeypatch.setenv("LUTHIER_API_KEY", KEY)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LUTHIER_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(clock, "sleep", lambda seconds: None)
    with serving(FakeServer()) as server:
        monkeypatch.setenv("LUTHIER_SERVER", server.url)
        yield server

"""The folder that `export.save` or `export_causal.save_causal` wrote becomes the model that it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import set_peft_model_state_dict
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file

from luthier.core.errors import ModelError
from luthier.core.recipe import LANGUAGE_TASKS, FreezeSpec, Method
from luthier.core.rundir import BEST_JSON
from luthier.models import methods
from luthier.models.base_source import BaseSource, from_folder, read_json, refuse_code
from luthier.models.build import build
from luthier.models.build_causal import build_causal
from luthier.models.catalogue import locate
from luthier.models.causal_model import CausalModel
from luthier.models.export import ADAPTER_SAFETENSORS, FORMAT, SETTINGS_JSON
from luthier.models.quiet import quiet
from luthier.models.task_model import TaskModel
from luthier.models.tokenizer import Tokenizer, load_tokenizer
from luthier.models.trainable import load_trainable_state
from luthier.models.weights_header import check_weights


def model_folder(path: str | Path) -> Path:
    """The folder with luthier.json: `path` itself, its ``model/`` when it is a run, that of its ``best/`` when it is a
    search, or the best model so far when it is an automatic run."""
    path = Path(path)
    best = [path / str(read_json(path / BEST_JSON).get("model"))] if (path / BEST_JSON).is_file() else []
    for folder in (path, path / "model", path / "best" / "model", *best):
        if (folder / SETTINGS_JSON).is_file():
            return folder
    raise ModelError(
        "there is no trained model here.",
        where=str(path),
        remedy=_remedy(path),
        code="run_model_not_found",
    )


def _remedy(path: Path) -> str:
    """How to get a model: from what was begun in this folder, or elsewhere."""
    for verb, begun in (("auto", "request.json"), ("search", "search.yaml"), ("train", "recipe.yaml")):
        if (path / begun).is_file():
            return f"It has not come to a model yet: go on with luthier {verb} --resume {path}"
    return "Give the folder that `luthier train`, `search` or `auto` printed last, or a model/ folder."


def load_run_model(folder: Path, *, precision: str = "fp32") -> tuple[TaskModel, Tokenizer, dict[str, Any]]:
    """(model in eval mode, tokenizer, settings): the settings are luthier.json.

    An adapter needs its base: it is located again as the run located it, and refused with a
    `ModelError` when its weights are no longer those that the adapter was trained on.
    """
    settings = read_settings(folder)
    layout = settings["layout"]
    whole = layout in ("transformers", "sentence-transformers")
    source = from_folder(folder, name=settings["base"]["name"]) if whole else base_of(settings["base"])
    model = build(
        source,
        task=settings["task"],
        labels=settings["labels"],
        several_labels=settings["several_labels"],
        pooling=settings["pooling"],
        precision=precision,
    )
    if layout == "sentence-transformers":
        assert model.head is not None
        model.head.load_state_dict(_tensors(folder / "2_Dense" / "model.safetensors"))
    elif not whole:
        _adapt(model, folder, settings)
    model.eval()
    return model, load_tokenizer(folder if whole else source.path), settings


def load_causal_run(folder: Path, *, precision: str = "fp32") -> tuple[CausalModel, Path, dict[str, Any]]:
    """(model in eval mode, folder of its tokenizer, settings) of what `export_causal.save_causal` wrote.

    The tokenizer is always the run's own: its chat template is the one that was trained with.
    """
    settings = read_settings(folder)
    if settings["task"] not in LANGUAGE_TASKS:
        raise ModelError(
            f"this model was trained for {settings['task']}: it writes no text.",
            where=str(folder),
            remedy="Use luthier predict, or give a run of the tasks chat or complete.",
            code="not_generative",
        )
    whole = settings["layout"] == "transformers"
    source = from_folder(folder, name=settings["base"]["name"]) if whole else base_of(settings["base"])
    model = build_causal(source, task=settings["task"], precision=precision)
    if not whole:
        _adapt(model, folder, settings)
    model.eval()
    return model, folder, settings


def continue_from(model: TaskModel, folder: Path) -> None:
    """Put the weights of a tuned model into `model`, which has the same base and method, as a start.

    Raises `ModelError` where they do not fit.
    """
    settings = read_settings(folder)
    if (model.task, (model.method, model.freeze)) != (settings["task"], method_of(settings)):
        raise ModelError(
            "the tuned model was trained for another task or with another method.",
            where=str(folder),
            remedy="Go on with its own task and method.",
            code="cannot_continue",
        )
    layout = settings["layout"]
    if layout == "sentence-transformers":
        assert model.head is not None
        model.head.load_state_dict(_tensors(folder / "2_Dense" / "model.safetensors"))
        if model.peft is not None:
            with quiet():
                set_peft_model_state_dict(model.peft, _tensors(folder / "adapter" / "adapter_model.safetensors"))
    elif layout != "transformers":
        _load_adapter(model, folder, layout)


def read_settings(folder: Path) -> dict[str, Any]:
    """The luthier.json of a model folder, which must bring no code of its own."""
    settings = read_json(folder / SETTINGS_JSON)
    if settings.get("format") != FORMAT:
        raise ModelError(
            f"the model has format {settings.get('format')!r}, and this Luthier reads format {FORMAT}.",
            where=str(folder / SETTINGS_JSON),
            remedy="Update Luthier, or train again.",
            code="unknown_format",
        )
    refuse_code(folder)
    return settings


def method_of(settings: dict[str, Any]) -> tuple[Method, FreezeSpec]:
    """How the model of these settings was trained; keys that are younger than it have their defaults."""
    method: Method = TypeAdapter(Method).validate_python(settings["method"])
    return method, FreezeSpec(**settings["freeze"])


def _adapt(model: TaskModel, folder: Path, settings: dict[str, Any]) -> None:
    """Put the adapter's modules into the base as in training, and its tensors into them."""
    methods.apply(model, *method_of(settings))
    _load_adapter(model, folder, settings["layout"])


def _load_adapter(model: TaskModel, folder: Path, layout: str) -> None:
    if layout == "peft":
        with quiet():
            set_peft_model_state_dict(model.peft, _tensors(folder / "adapter_model.safetensors"))
    else:
        load_trainable_state(model, _tensors(folder / ADAPTER_SAFETENSORS))


def base_of(base: dict[str, Any]) -> BaseSource:
    """The base that an adapter stands on, with the weights that it was trained on."""
    source = locate(base["path"] or base["name"], revision=base["revision"] or None)
    for filename, expected in base["sha256"].items():
        if source.sha256.get(filename) != expected:
            raise ModelError(
                f"the base model {base['name']} has changed since the adapter was trained on it "
                f"({filename} is another file).",
                where=str(source.path),
                remedy="Bring back the base model as it was, or train again.",
                code="base_changed",
            )
    return source


def _tensors(path: Path) -> dict[str, Any]:
    check_weights(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the saved weights cannot be read: {error}.",
            where=str(path),
            remedy="Copy the run again from where it was trained, or resume it from its last checkpoint.",
            code="broken_model",
        ) from error

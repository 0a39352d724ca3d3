"""A base model and a task become a `TaskModel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from luthier.core.errors import ModelError, RecipeError
from luthier.data.tags import bio_labels
from luthier.models.base_source import BaseSource
from luthier.models.families import family_of
from luthier.models.quiet import quiet
from luthier.models.task_model import LinearHead, TaskModel
from luthier.models.weights_header import check_weights


def choose_pooling(source: BaseSource, task: str) -> str:
    """What `head.pooling: auto` means: mean (or first, if it was trained so) for a sentence encoder
    that classifies or regresses, else stock; extract is always stock."""
    return source.embedding_pooling if source.sentence_encoder and task != "extract" else "stock"


def build(
    source: BaseSource,
    *,
    task: str,
    labels: Sequence[str],
    several_labels: bool = False,
    pooling: str = "stock",
    dropout: float | None = None,
    encoder_dropout: float | None = None,
    seed: int = 0,
    from_scratch: bool = False,
    precision: str = "fp32",
) -> TaskModel:
    """Load (or with `from_scratch` only shape) the base and put a new head on it.

    `labels` are classes, targets or span labels. `dropout` is the head's (None: what the base's
    configuration says), `encoder_dropout` the encoder's. Weights are float32; `precision` bf16
    computes under autocast. The same seed gives the same weights, and the global random state is
    left as it was. A head that the base already has for exactly these labels is kept.
    Raises `ModelError` when the weights cannot be read or do not fit the architecture.
    """
    if task == "extract" and pooling != "stock":
        raise RecipeError(
            f"head.pooling {pooling!r} gives one vector per text, and extract labels every token.",
            remedy="Use head.pooling: stock (or auto).",
            param="head.pooling",
        )
    config = read_config(source)
    family = family_of(config, str(source.path))
    outputs = bio_labels(labels) if task == "extract" else list(labels)
    # a key that stands in no file (DeBERTa's cls_dropout) is no attribute either
    rates = (getattr(config, key, None) for key in family.head_dropout)
    own_dropout = next(rate for rate in rates if rate is not None)
    known = [config.id2label[index] for index in sorted(config.id2label)]  # JSON sorts "10" before "2"
    if encoder_dropout is not None:
        for key in family.dropouts:
            setattr(config, key, encoder_dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if pooling == "stock":
            config.id2label = dict(enumerate(outputs))
            config.label2id = {name: index for index, name in enumerate(outputs)}
            config.problem_type = _problem_type(task, several_labels)
            auto: Any = AutoModelForTokenClassification if task == "extract" else AutoModelForSequenceClassification
            backbone, drawn = load_backbone(auto, source, config, from_scratch, {})
            head = None
        else:
            kwargs = {"add_pooling_layer": False} if family.optional_pooler else {}
            backbone, drawn = load_backbone(AutoModel, source, config, from_scratch, kwargs)
            head = LinearHead(config.hidden_size, len(outputs), own_dropout if dropout is None else dropout)
        model = TaskModel(
            backbone,
            family,
            task=task,
            labels=labels,
            outputs=outputs,
            several_labels=several_labels,
            pooling=pooling,
            head=head,
            seed=seed,
            precision=precision,
        )
        if pooling == "stock":
            foreign = not from_scratch and known != outputs and not any("classifier" in key for key in drawn)
            _prepare_stock_head(model, foreign, own_dropout, dropout, encoder_dropout)
    return model


def read_config(source: BaseSource) -> Any:
    """The base's transformers configuration; `ModelError` where it cannot be used."""
    try:
        with quiet():
            return AutoConfig.from_pretrained(source.path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"its config.json cannot be used: {str(error).strip().splitlines()[0]}",
            where=str(source.path),
            remedy="Choose a model of a family that transformers itself knows.",
            code="broken_model",
            param="model",
        ) from error


def load_backbone(
    auto: Any, source: BaseSource, config: Any, from_scratch: bool, kwargs: dict[str, Any]
) -> tuple[Any, set[str]]:
    """The backbone, and the tensors that were drawn anew: only the head may be missing from the file."""
    with quiet():
        if from_scratch:
            return auto.from_config(config, trust_remote_code=False, dtype=torch.float32, **kwargs), set()
        for file in sorted(source.path.glob("*.safetensors")):
            check_weights(file)
        try:
            backbone, info = auto.from_pretrained(
                source.path,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **kwargs,
            )
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelError(
                f"its weights cannot be loaded: {str(error).strip().splitlines()[0]}",
                where=str(source.path),
                remedy="Fetch the model again, or choose another.",
                code="broken_model",
                param="model",
            ) from error
    mismatched = {entry[0] if isinstance(entry, tuple) else entry for entry in info["mismatched_keys"]}
    drawn = {*info["missing_keys"], *mismatched}
    trunk = backbone.base_model
    names = {name for name, _ in trunk.named_parameters() if not name.startswith("pooler.")}
    prefix = "" if trunk is backbone else f"{backbone.base_model_prefix}."
    lost = sorted(key for key in drawn if key.removeprefix(prefix) in names)
    if lost:
        raise ModelError(
            f"its weights do not fit its config.json: {len(lost)} tensors are missing or have another shape "
            f"({', '.join(lost[:3])}...).",
            where=str(source.path),
            remedy="Fetch the model again; weights and config.json must be of one model.",
            code="weights_do_not_fit",
            param="model",
        )
    return backbone, drawn


def _problem_type(task: str, several_labels: bool) -> str | None:
    if task == "extract":
        return None
    if task == "regress":
        return "regression"
    return "multi_label_classification" if several_labels else "single_label_classification"


def _prepare_stock_head(
    model: TaskModel, foreign: bool, own_dropout: float, dropout: float | None, encoder_dropout: float | None
) -> None:
    """A classifier that came with the base for other labels means nothing here: draw it anew."""
    modules = [module for top in model.head_modules().values() for module in top.modules()]
    if foreign:
        # the classifier is the layer that gives the logits, or a small module that ends with it
        last = [module for module in model.backbone.classifier.modules() if isinstance(module, nn.Linear)][-1]
        nn.init.normal_(last.weight, std=model.config.initializer_range)
        nn.init.zeros_(last.bias)
    wanted = dropout if dropout is not None else own_dropout if encoder_dropout is not None else None
    if wanted is not None:
        for module in modules:
            if isinstance(module, nn.Dropout):
                module.p = wanted

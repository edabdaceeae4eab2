"""Targets from Hugging Face transformers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..weights import hub_commit, snapshot, with_revision
from .preprocess import ProcessorTransform
from .target import Loaded, Target, build_seeded

if TYPE_CHECKING:
    from torch import nn


# What the architecture and the preprocessing of a model are read from.
_CONFIGURATION = ("config.json", "*.json")


def huggingface_model(
    name_or_path: str,
    revision: str | None = None,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    label: str | None = None,
) -> Target:
    """Returns a vision model of Hugging Face transformers as a target, with its own image processor.

    Of an image-text model (CLIP, SigLIP), the vision tower.

    Args:
        name_or_path: a local folder, or a name on the Hub (looked up in the local cache first).
        revision: branch, tag or commit on the Hub; None: main. Has no effect on a local folder.
        classes: names of the outputs; by default those of the model's configuration.
        device: device to run on.
        label: name of the target in records; by default the last part of `name_or_path`.
    """

    def load(read_weights: bool = True) -> Loaded:
        patterns = None if read_weights else _CONFIGURATION
        folder = snapshot(name_or_path, revision=revision, patterns=patterns)
        config, model, processor = _read(folder, name_or_path, read_weights=read_weights)
        settings = config.to_dict()
        # Where the model was read from, and how: not what it computes (its weights become float32).
        for key in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            settings.pop(key, None)
        names = classes if classes is not None else _class_names(config)
        identity = {"source": "huggingface", **settings}
        preprocess = ProcessorTransform(processor)
        return Loaded(model, preprocess, names, identity, hub_commit(folder))

    name = name_or_path.rstrip("/").rpartition("/")[2]
    label = label or with_revision(name, name_or_path, revision)
    return Target(label, load, device, load_untrained=partial(load, read_weights=False))


def _read(folder: Path, name: str, *, read_weights: bool) -> tuple[Any, nn.Module, Any]:
    """Reads configuration, network and image processor; without weights, they are random."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoImageProcessor

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model = _from_pretrained(folder, name, config) if read_weights else _from_config(config)
        if hasattr(config, "vision_config"):
            model = model.vision_model
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"transformers cannot load {name}: {first}",
            "give a local folder with config.json, preprocessor_config.json and the weights, "
            "or download the whole model into the Hugging Face cache first",
        ) from error
    return config, model.float(), processor


def _auto_class(config: Any) -> Any:
    from transformers import AutoModel, AutoModelForImageClassification

    classifies = any("ImageClassification" in kind for kind in config.architectures or ())
    return AutoModelForImageClassification if classifies else AutoModel


def _from_config(config: Any) -> Any:
    return build_seeded(0, _auto_class(config).from_config, config)


def _from_pretrained(folder: Path, name: str, config: Any) -> Any:
    model, report = build_seeded(
        0,  # weights that the file lacks (often a pooling layer) are random, but always the same
        _auto_class(config).from_pretrained,
        folder,
        config=config,
        local_files_only=True,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"]))
        warnings.warn(f"{name} has no weights for {missing}: they are random", stacklevel=2)
    return model


def _class_names(config: Any) -> list[str] | None:
    """Returns the class names of a configuration; None for the placeholders LABEL_0, LABEL_1, ..."""
    names = [config.id2label[i] for i in range(len(config.id2label or {}))]
    placeholders = all(name == f"LABEL_{i}" for i, name in enumerate(names))
    return None if placeholders else names

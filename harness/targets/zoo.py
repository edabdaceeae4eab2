"""Targets from the model libraries: torchvision, timm and Hugging Face."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError, nearest
from ..weights import snapshot
from . import checkpoints
from .known_models import unknown_model
from .preprocess import ProcessorTransform
from .target import Loaded, Target

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


def torchvision_model(
    name: str = "resnet50",
    weights: str | None = "DEFAULT",
    checkpoint: str | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    seed: int = 0,
    label: str | None = None,
    **settings: Any,
) -> Target:
    """A model of torchvision.

    Args:
        name: as in `torchvision.models.list_models()`.
        weights: a member of the model's weights enum; read from torch's hub cache, or downloaded. With
            `checkpoint`, only its preprocessing is used. None: random weights, and the preprocessing
            of the enum's first member.
        checkpoint: a local file with weights for this architecture.
        num_classes: number of outputs, where a checkpoint has another than ImageNet's.
        classes: names of the outputs; by default those of the weights enum.
        device: where it runs.
        seed: of random weights.
        label: what the target is called in records; by default `name`.
        settings: passed on to the model's builder (`image_size=384`).
    """
    random = weights is None and checkpoint is None
    settings |= {} if num_classes is None else {"num_classes": num_classes}
    label = label or (f"{name}-random{seed}" if random else name)

    def load() -> Loaded:
        import torchvision
        from torchvision.transforms._presets import ImageClassification

        if name not in torchvision.models.list_models():
            raise unknown_model("torchvision", name)
        enum = torchvision.models.get_model_weights(name)
        chosen = _weights_member(name, enum, weights)
        preset = chosen or next(iter(enum), None)
        known = None if chosen is None else chosen.meta.get("categories")
        if checkpoint is None and chosen is not None:
            model = _pretrained_torchvision(name, chosen, settings)
        else:
            model = _built(seed, torchvision.models.get_model, name, **_no_weights(name), **settings)
            if checkpoint is not None:
                checkpoints.apply(model, checkpoints.load_checkpoint(checkpoint))
                known = None if num_classes not in (None, len(known or ())) else known
        return Loaded(
            model,
            preset.transforms() if preset else ImageClassification(crop_size=224),
            _names(classes if classes is not None else known),
            {"source": "torchvision", "name": name, **settings},
        )

    return Target(label, load, device)


def timm_model(
    name: str,
    pretrained: bool = True,
    checkpoint: str | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    seed: int = 0,
    label: str | None = None,
    **settings: Any,
) -> Target:
    """A vision model of timm, with the preprocessing that its weights were evaluated with.

    Args:
        name: as in `timm.list_models(pretrained=True)`.
        pretrained: whether to load timm's weights, from the Hugging Face cache or by download.
        checkpoint: a local file with weights for this architecture, instead.
        num_classes: number of outputs, where a checkpoint has another.
        classes: names of the outputs.
        device: where it runs.
        seed: of random weights.
        label: what the target is called in records; by default `name`.
        settings: passed on to `timm.create_model` (`img_size=384`).
    """
    pretrained = pretrained and checkpoint is None
    random = not pretrained and checkpoint is None
    settings |= {} if num_classes is None else {"num_classes": num_classes}

    def load() -> Loaded:
        import timm
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        if ":" not in name and not timm.is_model(name):
            raise unknown_model("timm", name)
        source = _timm_weights(name) if pretrained else {}
        try:
            model = _built(seed, timm.create_model, name, pretrained=pretrained, **source, **settings)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"timm cannot load {name}: {error}",
                "without a network, set checkpoint= to a local file, or pretrained=false",
            ) from error
        if checkpoint is not None:
            checkpoints.apply(model, checkpoints.load_checkpoint(checkpoint))
        preprocess: Any = create_transform(**resolve_model_data_config(model), is_training=False)
        return Loaded(model, preprocess, _names(classes), {"source": "timm", "name": name, **settings})

    return Target(label or (f"{name}-random{seed}" if random else name), load, device)


def huggingface_model(
    name_or_path: str,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    label: str | None = None,
) -> Target:
    """A vision model of Hugging Face transformers, with its own image processor.

    Of a model of pictures and texts (CLIP, SigLIP), the vision tower.

    Args:
        name_or_path: a local folder, or a name on the hub (looked for in the local cache first).
        classes: names of the outputs; by default those of the model's configuration.
        device: where it runs.
        label: what the target is called in records; by default the last part of `name_or_path`.
    """

    def load() -> Loaded:
        config, model, processor = _pretrained_huggingface(name_or_path)
        settings = config.to_dict()
        for volatile in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            settings.pop(volatile, None)
        names = classes if classes is not None else _huggingface_classes(config)
        identity = {"source": "huggingface", **settings}
        return Loaded(model, ProcessorTransform(processor), _names(names), identity)

    return Target(label or name_or_path.rstrip("/").rpartition("/")[2], load, device)


def _timm_weights(name: str) -> dict[str, Any]:
    """Says where the weights of a model lie: in the cache, or downloaded, if timm has them on the hub.

    Raises:
        InputError: if they cannot be had; says what to download.
    """
    from timm.models import get_pretrained_cfg

    known = None if ":" in name else get_pretrained_cfg(name)
    if known is None or known.custom_load or not str(known.hf_hub_id or "").startswith("timm/"):
        return {}
    file = known.hf_hub_filename or "model.safetensors"
    try:
        folder = snapshot(str(known.hf_hub_id), patterns=[file])
    except InputError as error:
        hint = (
            f"download {file} of {known.hf_hub_id} and set target.checkpoint= to it, or pretrained=false"
        )
        raise InputError(f"timm cannot load {name}: {error.message}", hint) from error
    return {"pretrained_cfg_overlay": {"file": str(folder / file)}}


def _pretrained_huggingface(name_or_path: str) -> tuple[Any, nn.Module, Any]:
    """Reads configuration, network and image processor: from the folder, the cache, or the hub."""
    from safetensors import SafetensorError

    folder = snapshot(name_or_path)
    try:
        return _read_huggingface(folder, name_or_path)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"transformers cannot load {name_or_path}: {first}",
            "give a local folder with config.json, preprocessor_config.json and the weights, "
            "or download the whole model into the Hugging Face cache first",
        ) from error


def _read_huggingface(folder: Path, name: str) -> tuple[Any, nn.Module, Any]:
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    classifies = any("ImageClassification" in kind for kind in config.architectures or ())
    model, report = _built(
        0,  # what the file has no weights for (often a pooling layer) is random, but always the same
        (AutoModelForImageClassification if classifies else AutoModel).from_pretrained,
        folder,
        config=config,
        local_files_only=True,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"]))
        warnings.warn(f"{name} has no weights for {missing}: they are random", stacklevel=2)
    if hasattr(config, "vision_config"):
        model = model.vision_model
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return config, model.float(), processor


def _huggingface_classes(config: Any) -> list[str] | None:
    names = [config.id2label[i] for i in range(len(config.id2label or {}))]
    placeholders = all(name == f"LABEL_{i}" for i, name in enumerate(names))
    return None if placeholders else names


def _weights_member(name: str, enum: Any, weights: str | None) -> Any:
    """Returns the member of a model's weights enum, by its short or full name."""
    if weights is None:
        return None
    short = weights.rpartition(".")[2]
    if short not in enum.__members__:
        known = ", ".join(enum.__members__)
        raise InputError(
            f"torchvision's {name} has no weights {weights!r}",
            nearest(short, enum.__members__) or f"use one of {known}, or null for random weights",
        )
    return enum[short]


def _pretrained_torchvision(name: str, weights: Any, settings: dict[str, Any]) -> nn.Module:
    import torchvision

    path = checkpoints.hub_file(weights.url)
    try:
        # torchvision's own builder, since it knows how the weights of each architecture are named
        return torchvision.models.get_model(name, weights=weights, progress=False, **settings)
    except (RuntimeError, EOFError, OSError) as error:
        raise checkpoints.damaged(path, error) from error
    except ValueError as error:
        raise InputError(
            f"torchvision's {name} with weights {weights.name}: {error}",
            "these settings need weights: null or a checkpoint",
        ) from error


def _no_weights(name: str) -> dict[str, None]:
    """The builder's arguments for random weights; a segmentation network has a backbone with its own."""
    from torchvision.models import get_model_builder

    parameters = inspect.signature(get_model_builder(name)).parameters
    return {key: None for key in ("weights", "weights_backbone") if key in parameters}


def _built(seed: int, build: Callable[..., T], *args: Any, **settings: Any) -> T:
    """Builds a network with random weights of `seed`, leaving the global generator as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(*args, **settings)


def _names(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if classes is None else tuple(classes)

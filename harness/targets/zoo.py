"""Targets from the model libraries torchvision and timm."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from ..errors import InputError, nearest
from ..weights import hub_commit, snapshot
from . import checkpoints
from .known_models import unknown_model
from .target import Loaded, Target, build_seeded

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def torchvision_model(
    name: str = "resnet50",
    weights: str | None = "DEFAULT",
    checkpoint: str | None = None,
    rename: str | None = None,
    num_classes: Annotated[int, Ge(1)] | None = None,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    seed: int = 0,
    label: str | None = None,
    **settings: Any,
) -> Target:
    """Returns a model of torchvision as a target.

    Args:
        name: a name from `torchvision.models.list_models()`.
        weights: a member of the model's weights enum; read from torch's hub cache, or downloaded. With
            `checkpoint`, only its preprocessing is used. None: random weights, and the preprocessing
            of the enum's first member.
        checkpoint: a file with weights for this architecture, or `package:<package>/<path>`.
        rename: how to rename the checkpoint's tensors, see `renaming.rename`; None: not at all.
        num_classes: number of outputs, if it is not ImageNet's 1000.
        classes: names of the outputs; by default those of the weights enum.
        device: device to run on.
        seed: seed of random weights.
        label: name of the target in records; by default `name`.
        settings: passed on to the model's builder (`image_size=384`).
    """
    settings |= {} if num_classes is None else {"num_classes": num_classes}

    def load(read_weights: bool = True) -> Loaded:
        import torchvision
        from torchvision.transforms._presets import ImageClassification

        if name not in torchvision.models.list_models():
            raise unknown_model("torchvision", name)
        enum = torchvision.models.get_model_weights(name)
        chosen = _weights_member(name, enum, weights)
        preset = chosen or next(iter(enum), None)
        categories = None if chosen is None else chosen.meta.get("categories")
        with _accepted(name, settings):
            if read_weights and checkpoint is None and chosen is not None:
                model = _pretrained_torchvision(name, chosen, settings)
            else:
                model = build_seeded(
                    seed, torchvision.models.get_model, name, **_no_weights(name), **settings
                )
        if read_weights and checkpoint is not None:
            checkpoints.load_into(model, checkpoint, rename)
            # The enum's names are kept only where the checkpoint may have the same classes.
            categories = categories if num_classes in (None, len(categories or ())) else None
        return Loaded(
            model,
            preset.transforms() if preset else ImageClassification(crop_size=224),
            classes if classes is not None else categories,
            {"source": "torchvision", "name": name, **settings},
        )

    random = weights is None and checkpoint is None
    return Target(
        label or _default_label(name, random, seed),
        load,
        device,
        load_untrained=partial(load, read_weights=False),
    )


def timm_model(
    name: str,
    pretrained: bool = True,
    revision: str | None = None,
    checkpoint: str | None = None,
    rename: str | None = None,
    num_classes: Annotated[int, Ge(1)] | None = None,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    seed: int = 0,
    label: str | None = None,
    **settings: Any,
) -> Target:
    """Returns a vision model of timm as a target, with the preprocessing its weights were evaluated with.

    Args:
        name: a name from `timm.list_models(pretrained=True)`, or "hf-hub:<org>/<model>".
        pretrained: whether to load timm's weights, from the Hugging Face cache or by download.
        revision: branch, tag or commit of these weights on the Hub; None: main.
        checkpoint: a file with weights for this architecture, instead of timm's, or
            `package:<package>/<path>`.
        rename: how to rename the checkpoint's tensors, see `renaming.rename`; None: not at all.
        num_classes: number of outputs, if the checkpoint has another than the architecture's.
        classes: names of the outputs.
        device: device to run on.
        seed: seed of random weights.
        label: name of the target in records; by default `name`.
        settings: passed on to `timm.create_model` (`img_size=384`).
    """
    pretrained = pretrained and checkpoint is None
    settings |= {} if num_classes is None else {"num_classes": num_classes}

    def load(read_weights: bool = True) -> Loaded:
        import timm
        from timm.data.config import resolve_model_data_config
        from timm.data.transforms_factory import create_transform

        if ":" not in name and not timm.is_model(name):
            raise unknown_model("timm", name)
        # The architecture of "hf-hub:..." is known from files on the Hub only.
        from_timm = pretrained and (read_weights or ":" in name)
        weights = _timm_weights(name, revision) if from_timm else None
        path = f"{name}@{revision}" if revision and ":" in name else name
        with _accepted(name, settings):
            model = _create_timm(path, weights, settings, pretrained=from_timm, seed=seed)
        if read_weights and checkpoint is not None:
            checkpoints.load_into(model, checkpoint, rename)
        preprocess: Any = create_transform(**resolve_model_data_config(model), is_training=False)
        identity = {"source": "timm", "name": name, **settings}
        commit = hub_commit(weights.parent) if weights else None
        return Loaded(model, preprocess, classes, identity, commit)

    random = not pretrained and checkpoint is None
    default = _default_label(name, random, seed)
    return Target(
        label or (f"{default}@{revision}" if revision and pretrained else default),
        load,
        device,
        load_untrained=partial(load, read_weights=False),
    )


@contextmanager
def _accepted(name: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """Turns a builder's refusal of a further setting into an `InputError`."""
    try:
        yield
    except TypeError as error:
        # Without further settings, it is not the user's mistake.
        if not settings:
            raise
        raise InputError(
            f"{name} cannot be built with the settings {', '.join(f'target.{key}' for key in settings)}: "
            f"{error}",
            "remove the unknown setting, or correct its value",
        ) from error


def _default_label(name: str, random: bool, seed: int) -> str:
    return f"{name}-random{seed}" if random else name


def _weights_member(name: str, enum: Any, weights: str | None) -> Any:
    """Returns the member of a model's weights enum, by its short or full name."""
    if weights is None:
        return None
    short = weights.rpartition(".")[2]
    if short not in enum.__members__:
        names = ", ".join(enum.__members__)
        raise InputError(
            f"torchvision's {name} has no weights {weights!r}",
            nearest(short, enum.__members__) or f"use one of {names}, or null for random weights",
        )
    return enum[short]


def _pretrained_torchvision(name: str, weights: Any, settings: Mapping[str, Any]) -> nn.Module:
    import torchvision

    path = checkpoints.hub_file(weights.url)
    try:
        # torchvision's own builder renames the weights of some architectures (DenseNet).
        return torchvision.models.get_model(name, weights=weights, progress=False, **settings)
    except (RuntimeError, EOFError, OSError) as error:
        raise checkpoints.damaged(path, error) from error
    except ValueError as error:
        raise InputError(
            f"torchvision's {name} with weights {weights.name}: {error}",
            "these settings need weights: null or a checkpoint",
        ) from error


def _no_weights(name: str) -> dict[str, None]:
    """Returns the builder's arguments for random weights; segmentation networks have a backbone's too."""
    from torchvision.models import get_model_builder

    parameters = inspect.signature(get_model_builder(name)).parameters
    return {key: None for key in ("weights", "weights_backbone") if key in parameters}


def _create_timm(
    name: str, weights: Path | None, settings: Mapping[str, Any], *, pretrained: bool, seed: int
) -> nn.Module:
    """Builds a model of timm; `weights` is the file to read if timm need not find it."""
    import timm

    overlay = dict(settings.get("pretrained_cfg_overlay", {}))
    overlay |= {"file": str(weights)} if weights else {}
    merged = {**settings, "pretrained_cfg_overlay": overlay or None}
    try:
        return build_seeded(seed, timm.create_model, name, pretrained=pretrained, **merged)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"timm cannot load {name}: {error}",
            "without a network, set target.checkpoint= to a local file, or target.pretrained=false",
        ) from error


def _timm_weights(name: str, revision: str | None) -> Path | None:
    """Returns the file of a model's weights, from the cache or downloaded; None if timm must find it.

    timm would ask the Hub before it looks into the cache.

    Raises:
        InputError: if it cannot be downloaded; says what to download. If there is no revision to choose.
    """
    from timm.models import get_pretrained_cfg

    config = None if ":" in name else get_pretrained_cfg(name)
    if config is None or config.custom_load or not str(config.hf_hub_id or "").startswith("timm/"):
        if revision and not name.startswith("hf-hub:"):
            raise InputError(
                f"timm's weights of {name} have no revisions: they are not on the Hub",
                "leave out revision=",
            )
        return None
    file, repository = config.hf_hub_filename or "model.safetensors", str(config.hf_hub_id)
    try:
        return snapshot(repository, patterns=[file], revision=revision) / file
    except InputError as error:
        hint = f"download {file} of {repository} and set target.checkpoint= to it, or pretrained=false"
        raise InputError(f"timm cannot load {name}: {error.message}", hint) from error

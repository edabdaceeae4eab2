"""Lists the names of models that can be loaded."""

from __future__ import annotations

from ..errors import InputError, nearest


def known_models(source: str) -> list[str]:
    """Returns the names of all models of "torchvision" or "timm", sorted.

    timm's include the tags of its pretrained weights (`vit_small_patch16_224.dino`).

    Raises:
        InputError: for any other source.
    """
    if source == "torchvision":
        import torchvision

        return torchvision.models.list_models()
    if source == "timm":
        import timm

        return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})
    raise InputError(f"no list of models for {source!r}", "use torchvision or timm")


def unknown_model(source: str, name: str) -> InputError:
    """Returns the error for a model that `source` does not have, with the nearest names."""
    hint = nearest(name, known_models(source)) or f"see `dissectbench list models source={source}`"
    return InputError(f"{source} has no model {name!r}", hint)

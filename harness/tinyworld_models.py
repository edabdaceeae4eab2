"""Finds the models of tinyworld in a configuration, and refuses them for other images.

They know tinyworld's images and words only. For a photograph they return a description like for any other
image, and nothing in it shows that it is meaningless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..datasets.probing_set import ProbingSet, Subset
from .errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

MADE_FOR_TINYWORLD = "made for tinyworld, not for these images"
"""Key of these models in `FinishedRun.models`, which the footers of tables show."""

_PACKAGE = "dissectbench.datasets.tinyworld"
_RENDERER = "dissectbench.harness.foundation.Rendered"
_INSTEAD = {
    "encoder": "encoder=clip_vit_b16",
    "concepts": "concepts=words20k",
    "captioner": "captioner=blip",
    "generator": "generator=stable_diffusion",
    "milan_tinyworld": "method=[milan,...]",
    "target": "target=resnet50",
    "references": "references=imagenet",
    "tinyworld_clip_cosine": "metric=[clip_cosine,...]",
}


def tinyworld_models(
    config: DictConfig, probe: ProbingSet, *, scored: bool, metrics: Sequence[str]
) -> list[str]:
    """Returns the names of tinyworld's models that a run uses on images other than tinyworld's.

    Args:
        config: the configuration of a run.
        probe: its probing set.
        scored: whether references are used.
        metrics: the nodes of the metrics that are used.

    Returns:
        Configuration groups ("encoder", "concepts", "target") and names of methods and metrics; empty if
        the probing set is tinyworld.
    """
    from omegaconf import OmegaConf

    from ..datasets.tinyworld.tinyworld import TinyWorld

    if isinstance(probe.whole if isinstance(probe, Subset) else probe, TinyWorld):
        return []
    values: Any = OmegaConf.to_container(config, resolve=True)
    # A target in memory has no node.
    used = {"target": values.get("target"), **(values.get("method") or {})}
    if scored:
        used["references"] = values.get("references")
    names = [name for key, node in used.items() for name in _names(key, node)]
    # A metric is chosen as a whole: its encoder is no setting of its own.
    names += [key for key in metrics if next(_names(key, values["metric"][key]), None)]
    return list(dict.fromkeys(names))


def refuse_tinyworld_models(config: DictConfig, names: list[str], probe: str) -> None:
    """Refuses the models that the setting `allow_tinyworld` does not name.

    Args:
        config: the configuration of a run.
        names: what `tinyworld_models` returned.
        probe: name of the probing set, for the message.

    Raises:
        InputError: names the models, real ones to use instead, and the setting that allows them.
    """
    refused = [name for name in names if name not in config.allow_tinyworld]
    if refused:
        instead = " ".join(_INSTEAD[name] for name in refused if name in _INSTEAD)
        raise InputError(
            f"{', '.join(refused)}: made for the images of tinyworld, but the probing set is {probe}",
            f"use models for real images ({instead}), or allow these by name, and every table says so: "
            f"allow_tinyworld=[{','.join(names)}]",
        )


def _names(key: str, node: Any) -> Iterator[str]:
    """Yields the key of every node of tinyworld, in a node or at the node itself."""
    if not isinstance(node, Mapping):
        return
    if _made_for_tinyworld(node):
        yield key
        return
    for name, child in node.items():
        yield from _names(str(name), child)


def _made_for_tinyworld(node: Mapping[str, Any]) -> bool:
    texts = [str(value) for value in node.values() if isinstance(value, str)]
    return node.get("_target_") == _RENDERER or any(_PACKAGE in text for text in texts)

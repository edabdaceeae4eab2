"""Describes the units of a model in memory: the entry for notebooks and scripts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.image_folders import FlatFolder, ImageFolder
from ..datasets.image_list import ImageList
from ..datasets.image_listing import subfolders
from ..datasets.probing_set import ProbingSet
from .config import compose
from .dissection import Dissection
from .errors import InputError
from .files import fingerprint
from .parts import assemble
from .progress import Progress
from .run import activations, execute

if TYPE_CHECKING:
    from torch import nn

    from ..methods.method import Method
    from .targets.target import Target

Images = ProbingSet | str | os.PathLike[str] | Sequence[Any]


def dissect(
    model: nn.Module | Target,
    images: Images,
    *,
    preprocess: Callable[[Any], Any] | None = None,
    layers: Sequence[str],
    methods: Sequence[str | Method] = ("network_dissection",),
    units: str | int | Sequence[int] = "all",
    settings: Sequence[str] = (),
    name: str | None = None,
    runs: str | os.PathLike[str] = "runs",
    progress: Progress | None = None,
) -> Dissection:
    """Describes units of a model in memory. Prints nothing unless `progress` is given.

    The run is stored like one of the command line and shares activations and caches with it: calling
    the function again, or with more units or layers, repeats no finished work. Network and images are
    identified by weights and contents, so a changed network is another run.

    Args:
        model: a network, or a `Target`.
        images: a folder (with one sub-folder per class, or flat), a list of paths, PIL images or uint8
            arrays [H, W, 3], or a `ProbingSet`.
        preprocess: from an RGB image (PIL) to the network's input, float [C, H, W]; for a network.
        layers: dotted paths of modules.
        methods: names, as in `dissectbench list method`, or objects.
        units: "all", a number (a seeded sample of that size), or indices.
        settings: further settings, such as "encoder=clip_vit_b16" or "seed=1".
        name: name of the run; by default made of target, probing set and a hash of all that matters.
        runs: the folder of all runs.
        progress: shows progress bars, for example `Progress()`.

    Raises:
        InputError: for invalid arguments, settings or images.

    Example:
        >>> result = dissect(model, "photos", preprocess=look, layers=["layer4"])   # doctest: +SKIP
        >>> result.descriptions                                                      # doctest: +SKIP
        >>> result["layer4", 17]                                                     # doctest: +SKIP
    """
    target, probe = _target(model, preprocess), _probing_set(images)
    named = [method for method in methods if isinstance(method, str)]
    objects = [method for method in methods if not isinstance(method, str)]
    composed = compose(
        [
            *("~target", "~probe", f"method=[{','.join(named)}]"),
            f"layers={_quoted(layers)}",
            f"units={units if isinstance(units, (str, int)) else list(units)}",
            # Without class names there is nothing to score against; `settings` may choose references.
            *("final_layer=null", *settings),
        ]
    )
    parts = assemble(composed, target=target, probe=probe, methods=objects)
    if name is None:
        inputs = [target.fingerprint(), probe.fingerprint(), composed.text]
        identity = [*inputs, *(dict(method.identity()) for method in objects)]
        name = f"{target.name}-{probe.name}-{fingerprint(identity)[:8]}"
    parts = replace(parts, settings=composed.renamed(name))
    with warnings.catch_warnings():
        # tqdm, which model libraries import, misses ipywidgets in a notebook; no bar of it is drawn.
        warnings.filterwarnings("ignore", "IProgress not found")
        finished = execute(parts, runs=runs, progress=progress)
    # Stored by now: this opens them.
    stored = activations(parts.taps, parts.probe, parts.activation_settings, Path(runs), Progress("none"))
    return Dissection(finished, stored)


def _target(model: Any, preprocess: Callable[[Any], Any] | None) -> Target:
    from .targets.target import Target

    if isinstance(model, Target):
        if preprocess is not None:
            raise InputError("preprocess is given with a Target", "a Target has its own preprocessing")
        return model
    if preprocess is None:
        raise InputError(
            "preprocess is not given",
            "give the function that turns an RGB image into the network's input: preprocess=...",
        )
    return Target.of(model, preprocess)


def _probing_set(images: Images) -> ProbingSet:
    if isinstance(images, ProbingSet):
        return images
    if not isinstance(images, (str, os.PathLike)):
        return ImageList(images)
    folder = Path(images)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", "give a folder of images, or a list of images")
    if subfolders(folder):
        return ImageFolder(folder, annotations=["classes", "colours"], mask_size=112)
    return FlatFolder(folder, annotations="colours", mask_size=112)


def _quoted(layers: Sequence[str]) -> str:
    """Returns names of layers in Hydra's grammar; a name such as "0" must stay text."""
    if isinstance(layers, str):
        raise InputError(f"layers is the text {layers!r}", f"give a list: layers=[{layers!r}]")
    return f"[{','.join(repr(str(layer)) for layer in layers)}]"

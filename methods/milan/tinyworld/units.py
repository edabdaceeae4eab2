"""Units of networks of the embedded world as annotated exemplars, in the layout of MILANNOTATIONS."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....datasets.milannotations import COLUMNS, FILE
from ....datasets.tinyworld.canvas import SIZE
from ....datasets.tinyworld.tinyworld import TinyWorld
from ....harness.activations.forward_pass import probe_layers
from ....harness.cache import Cache
from ....harness.files import atomic_open
from ....harness.probe import ProbedLayer
from ....harness.progress import Progress
from ....harness.targets.target import Target
from ..exemplar_files import ExemplarFolder, write_exemplars
from ..settings import ExemplarSettings
from ..training.dataset import AnnotatedExemplars, open_annotated
from .annotations import annotate, find
from .census import World

log = logging.getLogger(__name__)

EXEMPLARS = ExemplarSettings(image_size=SIZE)
"""Pictures as large as they were rendered: the embedded networks know no other size."""


def annotated_units(
    target: Target,
    probe: TinyWorld,
    world: World,
    layers: Sequence[str],
    folder: Path,
    *,
    limit: int,
    seed: int,
    progress: Progress | None = None,
) -> AnnotatedExemplars:
    """Finds the exemplars of a network's units, and says in words what their masks cover.

    What an earlier call has left in the folder is not computed again. Dead units, and those whose masks
    are all empty, are left out.

    Args:
        target: the network.
        probe: the pictures that it is shown.
        world: the same, as words.
        layers: whose units.
        folder: `<folder>/<target>-<pictures>` is where they lie.
        limit: at most so many units of a layer, drawn at random.
        seed: of that draw and of the wordings.
        progress: shows how far it is.
    """
    found = probe_layers(
        target,
        probe,
        layers,
        store=folder / "activations",
        cache=Cache(folder / "cache"),
        progress=progress,
    )
    place = folder / f"{target.name}-{probe.fingerprint()[:8]}"
    rows = []
    for number, (name, layer) in enumerate(found.items()):
        units = _chosen(layer, limit, [seed, number])
        shown = write_exemplars(layer, place / name, EXEMPLARS, units, progress=progress)
        rows += _rows(name, shown, world, [seed, number])
    with atomic_open(place / FILE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    return open_annotated(place)


def _chosen(layer: ProbedLayer, limit: int, seed: Sequence[int]) -> list[int]:
    alive = np.flatnonzero(~layer.dead)
    return sorted(np.random.default_rng(seed).permutation(alive)[:limit].tolist())


def _rows(
    layer: str, shown: ExemplarFolder, world: World, seed: Sequence[int]
) -> list[tuple[str, int, str]]:
    rows = []
    for unit, ids, masks in zip(shown.units.tolist(), shown.ids, shown.masks, strict=True):
        under = world.under(ids, masks[:, 0])
        if under is None:
            log.warning("%s, unit %d: nothing is marked", layer, unit)
            continue
        texts = annotate(find(under, world.census), np.random.default_rng([*seed, unit]))
        rows += [(layer, unit, text) for text in texts]
    return rows

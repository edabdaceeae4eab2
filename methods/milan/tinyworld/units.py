"""Generates annotated exemplars of tinyworld networks, in the layout of MILANNOTATIONS."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
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
from .annotations import annotate, common_content
from .word_statistics import ProbingSetWords

log = logging.getLogger(__name__)

EXEMPLARS = ExemplarSettings(image_size=SIZE)
"""Exemplar images have the size of rendered images: tinyworld networks are trained on no other."""

TRAINING_SEEDS, PROBING_SEED = (4, 5, 6, 8, 9), 0
"""Seeds of the probing sets: for the units in training, and for those of the networks held out."""


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes:
        training_images: images that each network is trained on.
        probing_images: images of each probing set, which exemplars are taken from.
        units_per_layer: maximum number of units per layer.
        seed: of the choice of units, of their wordings and of MILAN's training.
    """

    training_images: int = 10_000
    probing_images: int = 1200
    units_per_layer: int = 128
    seed: int = 0


def annotated_units(
    target: Target,
    probe: TinyWorld,
    words: ProbingSetWords,
    layers: Sequence[str],
    folder: Path,
    *,
    limit: int,
    seed: int,
    progress: Progress | None = None,
) -> AnnotatedExemplars:
    """Writes the exemplars of a network's units, and annotations of what their masks cover.

    Exemplars that are already in the folder are not computed again. Dead units, and units whose masks are
    all empty, are left out.

    Args:
        target: the network.
        probe: the probing set.
        words: the words of the same probing set.
        layers: layers of the units.
        folder: the data set is written to `<folder>/<target>-<fingerprint of the probing set>`.
        limit: maximum number of units per layer, drawn at random.
        seed: of that draw and of the wordings.
        progress: shows the progress.
    """
    probed = probe_layers(
        target,
        probe,
        layers,
        store=folder / "activations",
        cache=Cache(folder / "cache"),
        progress=progress,
    )
    data = folder / f"{target.name}-{probe.fingerprint()[:8]}"
    rows = []
    for number, (name, layer) in enumerate(probed.items()):
        units = _chosen(layer, limit, [seed, number])
        exemplars = write_exemplars(layer, data / name, EXEMPLARS, units, progress=progress)
        rows += _annotation_rows(name, exemplars, words, [seed, number])
    with atomic_open(data / FILE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    return open_annotated(data)


def _chosen(layer: ProbedLayer, limit: int, seed: Sequence[int]) -> list[int]:
    alive = np.flatnonzero(~layer.dead)
    return sorted(np.random.default_rng(seed).permutation(alive)[:limit].tolist())


def _annotation_rows(
    layer: str, exemplars: ExemplarFolder, words: ProbingSetWords, seed: Sequence[int]
) -> list[tuple[str, int, str]]:
    """Returns the rows (layer, unit, text) of the annotations of a layer."""
    rows = []
    units = exemplars.units.tolist()
    for unit, images, masks in zip(units, exemplars.ids, exemplars.masks, strict=True):
        marked = words.under(images, masks[:, 0])
        if marked is None:
            log.warning("%s, unit %d: all masks are empty", layer, unit)
            continue
        # One generator per unit: its wordings do not depend on which other units are annotated.
        generator = np.random.default_rng([*seed, unit])
        texts = annotate(common_content(marked, words.overall), generator)
        rows += [(layer, unit, text) for text in texts]
    return rows

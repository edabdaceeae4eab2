"""Opens the stored values and the images of a finished run, without its target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import ProbingSet, Subset
from ..config import build
from ..errors import InputError, one_of
from ..files import fingerprint
from ..finished_run import FinishedRun
from ..probe import Exemplars, strongest_images
from ..run_folder import PROBING_SET
from .store import MANIFEST, Manifest

_STORE = ".activations"
_RECOMPUTE = "rerun the command of the run: it computes the activations again and describes nothing again"


@dataclass(frozen=True)
class StoredValues:
    """The values of one layer of a finished run.

    Attributes:
        layer: name of the layer.
        values: float32 [images, units], memory-mapped; pooled as the run pooled them.
        images: index of each row's image in the whole probing set; images that could not be read have
            no row.
    """

    layer: str
    values: NDArray[np.float32]
    images: NDArray[np.int64]

    def exemplars(self, unit: int, k: int) -> Exemplars:
        """Returns the (at most) `k` images with the highest values, by row, as in records."""
        return strongest_images(np.asarray(self.values[:, unit]), k)


def stored_values(run: FinishedRun, layer: str) -> StoredValues:
    """Finds the values of a layer in the store next to the run.

    The layer is found by its fingerprint in `identity.json`, so neither the target nor its weights are
    needed.

    Raises:
        InputError: if the run has no such layer, or its activations are no longer stored.
    """
    layers = [name.removeprefix("layer/") for name in run.identity if name.startswith("layer/")]
    one_of("layer", layer, layers)
    store, wanted = run.path.parent / _STORE, run.identity[f"layer/{layer}"]
    pool = str(run.settings.activations.get("pool", "mean"))
    for folder, manifest in _manifests(store):
        skipped = sorted(image.index for image in manifest.skipped)
        depends_on = [folder.name, skipped, pool]
        # As in `StoredLayer`: a run that reads kept maps has another fingerprint for the same values.
        if wanted not in (fingerprint(depends_on), fingerprint([*depends_on, "float16"])):
            continue
        values = np.load(folder / f"{pool}.npy", mmap_mode="r", allow_pickle=False)
        left_out = set(skipped)
        rows = [index for index in range(len(values) + len(skipped)) if index not in left_out]
        return StoredValues(layer, values, np.asarray(rows, np.int64))
    raise InputError(f"the activations of layer {layer} of {run.path} are not in {store}", _RECOMPUTE)


def _manifests(store: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yields the folder and the manifest of every complete layer."""
    for path in sorted(store.glob(f"*/{MANIFEST}")):
        # Folders that a pass is still writing have a suffix; damaged ones are computed again by a run.
        if path.parent.suffix:
            continue
        try:
            yield path.parent, Manifest.read(path)
        except (InputError, TypeError, KeyError):
            continue


def stored_images(run: FinishedRun, values: StoredValues) -> ProbingSet:
    """Builds the probing set of a run from its settings; image i is the one of row i of the values.

    Raises:
        InputError: if the images were given as objects in memory, are missing, or have changed.
    """
    if run.settings.get("probe") is None:
        raise InputError(
            f"{run.path}: the images were given in Python and are not part of the run",
            "use `layers` of the `Dissection` that `dissect` returned",
        )
    probe: ProbingSet = build(run.settings.probe, "probe")
    stored = run.identity.get(PROBING_SET, {}).get("fingerprint")
    if stored is not None and probe.fingerprint() != stored:
        raise InputError(
            f"{run.path}: the images of the probing set {probe.name} have changed since the run",
            "restore the image files, or repeat the run under another name",
        )
    return Subset(probe, values.images.tolist()) if len(values.images) < len(probe) else probe

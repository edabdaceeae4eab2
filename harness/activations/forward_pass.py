"""The pass: a probing set is shown to a target once, and every layer's activations are kept.

One pass serves all layers and all methods. What is stored already is not computed again; what an
interrupted pass has left is completed. Values do not depend on batch size or workers: bitwise on the
CPU, and for one batch size on an accelerator (see `loading.block_size`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from ...datasets.probing_set import ProbingSet
from ..cache import Cache
from ..errors import InputError
from ..probe import tail_length
from ..targets.layers import Taps
from .batches import Block, Skipped, full_precision, load, retry
from .layer_writer import LayerWriter, Wanted
from .settings import DEFAULTS, ActivationSettings, OnError
from .store import FORMAT, Manifest, Maps, Slot, locked
from .stored_layer import Source, StoredLayer

if TYPE_CHECKING:
    from ..progress import Progress
    from ..targets.layers import LayerInfo, LayerSpec
    from ..targets.target import Target

Advance = Callable[[int], None]

SHARD = 512
"""Images after which the pass saves a point to go on from (once the block in hand is done)."""

SECONDS = 60.0
"""Time after which it does so in any case: large networks take long for a shard."""

log = logging.getLogger(__name__)


def probe_layers(
    target: Target,
    probe: ProbingSet,
    layers: Sequence[str | Mapping[str, Any] | LayerSpec] | Taps,
    *,
    store: Path,
    cache: Cache,
    settings: ActivationSettings = DEFAULTS,
    progress: Progress | None = None,
) -> dict[str, StoredLayer]:
    """Shows the probing set to the target once and returns its layers, by name.

    Args:
        target: the network.
        probe: the images.
        layers: which layers, as `Taps` takes them; or the `Taps` of this target, which then observe
            the network only once in all.
        store: folder of the stored activations; shared by runs and processes.
        cache: for what methods derive.
        settings: see `ActivationSettings`.
        progress: shows how far it is.

    Raises:
        UnreadableImageError: if an image cannot be read and `settings.on_error` is "raise".
        InputError: for an empty probing set, activations that are not finite, a full disk.
    """
    if len(probe) == 0:
        raise InputError(f"probing set {probe.name} holds no image", "check its folder")
    taps = layers if isinstance(layers, Taps) else Taps(target, layers)
    if taps.target is not target:
        raise ValueError(f"the taps are for {taps.target.name}, not for {target.name}")
    infos, on_error = taps.info, settings.on_error
    source = Source(target, settings.batch_size, settings.workers)
    slots = {name: Slot(Path(store), name, _recipe(target, info, probe)) for name, info in infos.items()}
    wanted = _wanted(infos, len(probe), settings)
    found = {name: _find(slots[name], probe, wanted[name], on_error) for name in infos}
    missing = [name for name in infos if found[name] is None]
    with locked([slots[name] for name in missing]):
        for name in missing:  # another process may have been here while this one waited
            slots[name].publish()
            found[name] = _find(slots[name], probe, wanted[name], on_error)
        jobs = {
            name: _writer(slots[name], infos[name], probe, wanted[name], on_error)
            for name in missing
            if found[name] is None
        }
        if jobs:
            _Pass(source, probe, taps, jobs, on_error).run(progress)
    return {
        name: StoredLayer(
            slots[name], taps.only([name]), probe, source, cache, settings.pool, wanted[name]
        )
        for name in infos
    }


def _recipe(target: Target, info: LayerInfo, probe: ProbingSet) -> dict[str, Any]:
    """Everything that a layer's activations depend on."""
    return {
        "format": FORMAT,
        "target": target.fingerprint(),
        "layer": asdict(info),
        "images": probe.fingerprint(),
    }


def _wanted(
    infos: Mapping[str, LayerInfo], images: int, settings: ActivationSettings
) -> dict[str, Wanted]:
    """Divides the budgets: memory for tails by their lengths, room for maps in the order of layers."""
    sizes = {name: images * info.map_shape[0] * info.map_shape[1] for name, info in infos.items()}
    tail = settings.quantile_tail
    lengths = {name: tail_length(sizes[name], tail) * info.n_units for name, info in infos.items()}
    wanted, left = {}, settings.map_budget_gb * 1e9
    for name, info in infos.items():
        maps: Maps = "not asked for"
        if settings.keep_maps:
            needed = 2 * sizes[name] * info.n_units
            maps = "kept" if needed <= left else "over budget"
            left -= needed if maps == "kept" else 0
        budget = int(settings.tail_budget_gb * 1e9 * lengths[name] / sum(lengths.values()))
        wanted[name] = Wanted(tail, budget, maps)
    return wanted


def _find(slot: Slot, probe: ProbingSet, wanted: Wanted, on_error: OnError) -> Manifest | None:
    """Returns the manifest of stored activations that serve; None if the layer must be computed."""
    manifest = slot.find()
    if manifest is None or not wanted.met_by(manifest):
        return None
    return manifest if _still_unreadable(probe, manifest.skipped, on_error) else None


def _writer(
    slot: Slot, info: LayerInfo, probe: ProbingSet, wanted: Wanted, on_error: OnError
) -> LayerWriter:
    writer = LayerWriter(slot, info, probe, wanted)
    if not _still_unreadable(probe, writer.skipped, on_error):
        writer.restart()
    if wanted.maps == "over budget":
        log.warning(
            "%s: its feature maps are over the budget and are recomputed when needed "
            "(activations.map_budget_gb)",
            slot.layer,
        )
    return writer


def _still_unreadable(probe: ProbingSet, skipped: Sequence[Skipped], on_error: OnError) -> bool:
    """Whether images that were left out once still cannot be read; where that may not be, raises."""
    for image in skipped:
        if retry(probe, image.index) is None:
            return False
    if skipped and on_error == "raise":
        raise skipped[0].error()
    return True


class _Pass:
    """Shows the images to the target once, for every layer that lacks them.

    Args:
        source: the target and how it is shown images.
        probe: the images.
        taps: reads all the layers that were asked for.
        jobs: the writer of each layer; they may stand at different images.
        on_error: what to do with an unreadable image.
    """

    def __init__(
        self,
        source: Source,
        probe: ProbingSet,
        taps: Taps,
        jobs: Mapping[str, LayerWriter],
        on_error: OnError,
    ) -> None:
        self._source, self._probe, self._taps = source, probe, taps
        self._jobs, self._on_error = jobs, on_error

    def run(self, progress: Progress | None) -> None:
        """Completes every layer and publishes it."""
        import torch

        writers = self._jobs.values()
        edges = sorted({writer.done for writer in writers} | {len(self._probe)})
        title = f"{len(writers)} layers of {self._source.target.name}"
        task = progress.task(title, edges[-1] - edges[0]) if progress else nullcontext(_ignore)
        try:
            with task as advance, ThreadPoolExecutor(torch.get_num_threads()) as threads:
                for start, end in pairwise(edges):
                    self._show(start, end, advance, threads)
                device = str(self._source.target.device)
                _each(threads, writers, partial(LayerWriter.publish, device=device))
        finally:
            for writer in writers:
                writer.close()

    def _show(self, start: int, end: int, advance: Advance, threads: Executor) -> None:
        """Shows the images from `start` to `end` for the layers that have got as far as `start`."""
        target, size = self._source.target, self._source.block
        jobs = {name: writer for name, writer in self._jobs.items() if writer.done <= start}
        batches = [range(first, min(first + size, end)) for first in range(start, end, size)]
        blocks = load(self._probe, target, batches, size, self._source.workers)
        saved, saved_at = start, monotonic()
        with self._taps.only(list(jobs)) as taps, full_precision(target.device):
            for batch, block in zip(batches, blocks, strict=True):
                self._take_in(block, taps, list(jobs.values()), threads)
                whole = batch.stop - saved >= SHARD or batch.stop == end
                if whole or monotonic() - saved_at > SECONDS:
                    saved, saved_at = batch.stop, monotonic()
                    _each(threads, jobs.values(), partial(LayerWriter.commit, done=saved))
                advance(len(batch))

    def _take_in(
        self, block: Block, taps: Taps, writers: Sequence[LayerWriter], threads: Executor
    ) -> None:
        if block.skipped and self._on_error == "raise":
            raise block.skipped[0].error()
        for writer in writers:
            writer.skipped.extend(block.skipped)
        if block.pictures is None:
            return
        maps = taps.read(block.pictures)
        pooled = {writer: writer.pool(block, maps[writer.info.name]) for writer in writers}
        _each(threads, writers, lambda writer: writer.gather(*pooled[writer]))


def _ignore(_steps: int) -> None:
    """Shows no progress."""


def _each(threads: Executor, writers: Iterable[LayerWriter], work: Callable[[LayerWriter], None]) -> None:
    """Does something for every layer at the same time; the first layer's error counts."""
    for _ in threads.map(work, writers):
        pass

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
from typing import TYPE_CHECKING, Any, Literal

from ...datasets.probing import ProbingSet
from ..cache import Cache
from ..errors import InputError
from ..probe import tail_length
from .batches import Block, Skipped, full_precision, load, retry
from .layer_writer import LayerWriter, Wanted
from .store import FORMAT, Manifest, Maps, Slot, locked
from .stored_layer import Pool, Source, StoredLayer

if TYPE_CHECKING:
    from ..progress import Progress
    from ..targets.layers import LayerInfo, LayerSpec, Taps
    from ..targets.target import Target

OnError = Literal["fail", "skip"]
Advance = Callable[[int], None]

SHARD = 512
"""Images after which the pass saves a point to go on from (once the block in hand is done)."""

SECONDS = 60.0
"""Time after which it does so in any case: large networks take long for a shard."""

log = logging.getLogger(__name__)


def probe_layers(
    target: Target,
    probe: ProbingSet,
    layers: Sequence[str | Mapping[str, Any] | LayerSpec],
    *,
    store: Path,
    cache: Cache,
    pool: Pool = "mean",
    batch_size: int = 64,
    workers: int = 0,
    tail: float = 0.01,
    on_error: OnError = "fail",
    keep_maps: Literal["float16"] | None = None,
    map_budget_gb: float = 4.0,
    tail_budget_gb: float = 0.5,
    progress: Progress | None = None,
) -> dict[str, StoredLayer]:
    """Shows the probing set to the target once and returns its layers, by name.

    Args:
        target: the network.
        probe: the images.
        layers: which layers, as `Taps` takes them.
        store: folder of the stored activations; shared by runs and processes.
        cache: for what methods derive.
        pool: how a map becomes a value; both ways are stored, this one is handed out.
        batch_size: images at a time on an accelerator; on the CPU it is fixed.
        workers: processes that decode images; 0 for this one.
        tail: upper fraction of all positions to keep for exact quantiles.
        on_error: what to do with an unreadable image: "fail", or "skip": leave it out and list it.
        keep_maps: "float16" keeps feature maps on the disk, layer by layer while they fit the budget.
        map_budget_gb: the budget for kept maps.
        tail_budget_gb: memory for the tails of all layers; beyond it they go through the disk.
        progress: shows how far it is.

    Raises:
        UnreadableImageError: if an image cannot be read and `on_error` is "fail".
        InputError: for settings out of range, an empty probing set, activations that are not finite, a
            full disk.
    """
    from ..targets.layers import LayerSpec, Taps

    _check(probe, batch_size=batch_size, workers=workers, tail=tail, pool=pool, on_error=on_error)
    specs = {spec.name: spec for spec in map(LayerSpec.of, layers)}
    with Taps(target, list(specs.values())) as taps:
        infos = taps.info
    source = Source(target, batch_size, workers)
    slots = {name: Slot(Path(store), name, _recipe(target, info, probe)) for name, info in infos.items()}
    wanted = _wanted(infos, len(probe), tail, tail_budget_gb, map_budget_gb if keep_maps else None)
    found = {name: _find(slots[name], probe, wanted[name], on_error) for name in specs}
    missing = [name for name in specs if found[name] is None]
    with locked([slots[name] for name in missing]):
        for name in missing:  # another process may have been here while this one waited
            slots[name].publish()
            found[name] = _find(slots[name], probe, wanted[name], on_error)
        jobs = {
            specs[name]: _writer(slots[name], infos[name], probe, wanted[name], on_error)
            for name in missing
            if found[name] is None
        }
        if jobs:
            _Pass(source, probe, taps, jobs, on_error).run(progress)
    return {
        name: StoredLayer(slots[name], specs[name], infos[name], probe, source, cache, pool, wanted[name])
        for name in specs
    }


def _check(probe: ProbingSet, **settings: Any) -> None:
    if len(probe) == 0:
        raise InputError(f"probing set {probe.name} holds no image", "check its folder")
    for name, choices in (("pool", ("mean", "max")), ("on_error", ("fail", "skip"))):
        if settings[name] not in choices:
            raise InputError(f"{name}={settings[name]!r}", f"use {' or '.join(choices)}")
    if settings["batch_size"] < 1 or settings["workers"] < 0:
        raise InputError(
            f"probe.batch_size={settings['batch_size']}, probe.workers={settings['workers']}",
            "the batch size is at least 1, the number of workers at least 0",
        )
    if not 0 < settings["tail"] <= 1:
        raise InputError(f"probe.tail={settings['tail']}", "it is a fraction: above 0, at most 1")


def _recipe(target: Target, info: LayerInfo, probe: ProbingSet) -> dict[str, Any]:
    """Everything that a layer's activations depend on."""
    return {
        "format": FORMAT,
        "target": target.fingerprint(),
        "layer": asdict(info),
        "images": probe.fingerprint(),
    }


def _wanted(
    infos: Mapping[str, LayerInfo], images: int, tail: float, tail_gb: float, map_gb: float | None
) -> dict[str, Wanted]:
    """Divides the budgets: memory for tails by their lengths, room for maps in the order of layers."""
    sizes = {name: images * info.map_shape[0] * info.map_shape[1] for name, info in infos.items()}
    lengths = {name: tail_length(sizes[name], tail) * info.n_units for name, info in infos.items()}
    wanted, left = {}, (map_gb or 0) * 1e9
    for name, info in infos.items():
        maps: Maps = "not asked for"
        if map_gb is not None:
            needed = 2 * sizes[name] * info.n_units
            maps = "kept" if needed <= left else "over budget"
            left -= needed if maps == "kept" else 0
        budget = int(tail_gb * 1e9 * lengths[name] / sum(lengths.values()))
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
            "(probe.map_budget_gb)",
            slot.layer,
        )
    return writer


def _still_unreadable(probe: ProbingSet, skipped: Sequence[Skipped], on_error: OnError) -> bool:
    """Whether images that were left out once still cannot be read; where that may not be, raises."""
    for image in skipped:
        if retry(probe, image.index) is None:
            return False
    if skipped and on_error == "fail":
        raise skipped[0].error()
    return True


class _Pass:
    """Shows the images to the target once, for every layer that lacks them.

    Args:
        source: the target and how it is shown images.
        probe: the images.
        taps: for all the layers that were asked for; entered before.
        jobs: the writer of each layer; they may stand at different images.
        on_error: what to do with an unreadable image.
    """

    def __init__(
        self,
        source: Source,
        probe: ProbingSet,
        taps: Taps,
        jobs: Mapping[LayerSpec, LayerWriter],
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
        from ..targets.layers import Taps

        target, size = self._source.target, self._source.block
        jobs = {spec: writer for spec, writer in self._jobs.items() if writer.done <= start}
        batches = [range(first, min(first + size, end)) for first in range(start, end, size)]
        blocks = load(self._probe, target, batches, size, self._source.workers)
        saved, saved_at = start, monotonic()
        all_layers = len(jobs) == len(self._taps.info)
        with (
            self._taps if all_layers else Taps(target, list(jobs)) as taps,
            full_precision(target.device),
        ):
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
        if block.skipped and self._on_error == "fail":
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

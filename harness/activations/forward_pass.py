"""The pass: shows a probing set to a target once and stores the activations of every layer.

One pass serves all layers and all methods. Stored activations are not computed again, and an interrupted
pass is resumed. Values do not depend on the batch size or the number of workers: bitwise on the CPU, and
for one batch size on an accelerator (see `batches.block_size`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from ...datasets.probing_set import ProbingSet
from ..cache import Cache
from ..devices import full_precision
from ..errors import InputError
from ..probe import tail_length
from ..targets.layers import Taps
from .batches import Block, Skipped, block_size, load, retry
from .layer_writer import LayerWriter
from .settings import DEFAULTS, ActivationSettings, OnError
from .store import LayerRequest, Maps, locked
from .stored_layer import StoredLayer

if TYPE_CHECKING:
    from ..progress import Progress
    from ..targets.layers import LayerSpec
    from ..targets.target import Target

SHARD = 512
"""Images after which the pass saves its state (after the current batch)."""

SECONDS = 60.0
"""Time after which it saves its state in any case: a large network takes long for a shard."""

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
        layers: the layers, as `Taps` takes them; or `Taps` of this target, so that a network that they
            have already observed is not observed again.
        store: folder of the stored activations; shared by runs and processes.
        cache: for arrays that methods derive.
        settings: see `ActivationSettings`.
        progress: shows the progress.

    Raises:
        UnreadableImageError: if an image cannot be read and `settings.on_error` is "raise".
        InputError: for an empty probing set, activations that are not finite, a full disk.
    """
    if len(probe) == 0:
        raise InputError(f"probing set {probe.name} contains no images", "check its folder")
    taps = layers if isinstance(layers, Taps) else Taps(target, layers)
    if taps.target is not target:
        raise ValueError(f"the taps are for {taps.target.name}, not for {target.name}")
    requests = _requests(Path(store), taps, probe, settings)
    missing = [r for r in requests.values() if not _is_stored(r, probe, settings.on_error)]
    with locked(missing):
        for request in missing:
            request.publish()  # a process that was killed just before it could
        # Another process may have stored them while this one waited for the lock.
        missing = [r for r in missing if not _is_stored(r, probe, settings.on_error)]
        writers = {r.info.name: _writer(r, probe, settings.on_error) for r in missing}
        if writers:
            _Pass(taps, probe, writers, settings).run(progress)
    return {
        name: StoredLayer(request, taps, probe, settings, cache) for name, request in requests.items()
    }


def stored_layers(
    probe: ProbingSet, taps: Taps, *, store: Path, cache: Cache, settings: ActivationSettings = DEFAULTS
) -> dict[str, StoredLayer]:
    """Returns layers whose activations are stored; computes nothing.

    Args: see `probe_layers`.

    Raises:
        InputError: if the activations of a layer are not stored.
    """
    requests = _requests(Path(store), taps, probe, settings)
    for name, request in requests.items():
        if request.find() is None:
            raise InputError(
                f"layer {name}: its activations are not in {store}",
                "rerun the command of the run, which computes them again",
            )
    return {
        name: StoredLayer(request, taps, probe, settings, cache) for name, request in requests.items()
    }


def _requests(
    store: Path, taps: Taps, probe: ProbingSet, settings: ActivationSettings
) -> dict[str, LayerRequest]:
    """Divides the budgets: memory by the lengths of tails, disk space in the order of layers."""
    target, images = taps.target.fingerprint(), probe.fingerprint()
    positions = {
        name: len(probe) * info.map_shape[0] * info.map_shape[1] for name, info in taps.info.items()
    }
    lengths = {
        name: tail_length(positions[name], settings.quantile_tail) * info.n_units
        for name, info in taps.info.items()
    }
    requests, space = {}, settings.map_budget_gb * 1e9
    for name, info in taps.info.items():
        maps: Maps = "not_requested"
        if settings.keep_maps:
            needed = 2 * positions[name] * info.n_units  # bytes of float16
            maps = "kept" if needed <= space else "over_budget"
            space -= needed if maps == "kept" else 0
        budget = int(settings.tail_budget_gb * 1e9 * lengths[name] / sum(lengths.values()))
        requests[name] = LayerRequest(store, info, target, images, settings.quantile_tail, budget, maps)
    return requests


def _is_stored(request: LayerRequest, probe: ProbingSet, on_error: OnError) -> bool:
    manifest = request.find()
    return manifest is not None and _still_unreadable(probe, manifest.skipped, on_error)


def _writer(request: LayerRequest, probe: ProbingSet, on_error: OnError) -> LayerWriter:
    writer = LayerWriter(request, probe)
    if not _still_unreadable(probe, writer.skipped, on_error):
        writer.restart()
    if request.maps == "over_budget":
        log.warning(
            "%s: its feature maps are over the budget and are recomputed when needed "
            "(activations.map_budget_gb)",
            request.info.name,
        )
    return writer


def _still_unreadable(probe: ProbingSet, skipped: Sequence[Skipped], on_error: OnError) -> bool:
    """Whether images that were left out before still cannot be read.

    Raises:
        UnreadableImageError: if so and `on_error` is "raise".
    """
    for image in skipped:
        if retry(probe, image.index) is None:
            return False
    if skipped and on_error == "raise":
        raise skipped[0].error()
    return True


class _Pass:
    """Shows the images to the target once, for every layer that is not stored.

    Args:
        taps: reads all layers that were requested.
        probe: the images.
        writers: the writer of each layer that is not stored, by name; they may have got to different
            images.
        settings: how to load images.
    """

    def __init__(
        self,
        taps: Taps,
        probe: ProbingSet,
        writers: Mapping[str, LayerWriter],
        settings: ActivationSettings,
    ) -> None:
        self._taps, self._target, self._probe = taps, taps.target, probe
        self._writers, self._settings = writers, settings

    def run(self, progress: Progress | None) -> None:
        """Completes every layer and publishes it."""
        import torch

        writers = self._writers.values()
        edges = sorted({writer.done for writer in writers} | {len(self._probe)})
        title = f"{len(writers)} layers of {self._target.name}"
        task = progress.task(title, edges[-1] - edges[0]) if progress else nullcontext(_ignore)
        try:
            with task as advance, ThreadPoolExecutor(torch.get_num_threads()) as threads:
                for start, end in pairwise(edges):
                    self._show(start, end, advance, threads)
                device = str(self._target.device)
                _run_all(threads, [partial(writer.publish, device) for writer in writers])
        finally:
            for writer in writers:
                writer.close()

    def _show(self, start: int, end: int, advance: Callable[[int], None], threads: Executor) -> None:
        """Shows the images from `start` to `end`, for the layers that lack them."""
        settings, size = self._settings, block_size(self._target, self._settings.batch_size)
        writers = [writer for writer in self._writers.values() if writer.done <= start]
        batches = [range(first, min(first + size, end)) for first in range(start, end, size)]
        blocks = load(self._probe, self._target, batches, size, settings.workers)
        saved, saved_at = start, monotonic()
        taps = self._taps.only([writer.info.name for writer in writers])
        with taps, full_precision(self._target.device):
            for batch, block in zip(batches, blocks, strict=True):
                self._take(block, taps, writers, threads)
                shard_is_full = batch.stop - saved >= SHARD or batch.stop == end
                if shard_is_full or monotonic() - saved_at > SECONDS:
                    saved, saved_at = batch.stop, monotonic()
                    _run_all(threads, [partial(writer.commit, saved) for writer in writers])
                advance(len(batch))

    def _take(self, block: Block, taps: Taps, writers: Sequence[LayerWriter], threads: Executor) -> None:
        if block.skipped and self._settings.on_error == "raise":
            raise block.skipped[0].error()
        for writer in writers:
            writer.skipped.extend(block.skipped)
        if block.inputs is None:
            return
        maps = taps.read(block.inputs)
        _run_all(threads, [writer.take(block, maps[writer.info.name]) for writer in writers])


def _ignore(_steps: int) -> None:
    """Shows no progress."""


def _run_all(threads: Executor, work: Iterable[Callable[[], None]]) -> None:
    """Runs the functions in threads; if some fail, raises the error of the first of them in the list."""
    for _ in threads.map(lambda function: function(), work):
        pass

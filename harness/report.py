"""Makes the report of a run: chooses images, reads their maps, draws regions, writes the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .cache import Cache
from .description_vectors import description_sentences
from .errors import InputError
from .finished_run import FinishedRun
from .progress import Progress
from .report_evidence import illustrate, illustration_consumers, open_methods
from .report_thumbnails import Thumbnails

if TYPE_CHECKING:
    from ..methods.method import Method
    from ..methods.upsample import Upsampling
    from ..results.report.images import RunImages, ShownImage, UnitImages
    from .activations.map_pass import MapConsumer
    from .probe import ProbedLayer
    from .records import UnitId

REPORT = "report"
"""Folder of the report in the folder of a run."""

_COLUMNS = 32  # units whose values are read at once
_BINS = 40
_QUANTILE = 0.005  # of regions, where Network Dissection did not describe the unit


def report_run(
    run: FinishedRun,
    folder: Path | None = None,
    *,
    others: Sequence[FinishedRun] = (),
    layers: Mapping[str, ProbedLayer] | None = None,
    methods: Sequence[Method] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Writes the report of a run and returns the path of its page.

    Args:
        run: a run; its descriptions may be incomplete.
        folder: the folder to write; None: `report` in the folder of the run.
        others: further runs, which the page shows next to it.
        layers: the layers of the run; None: they are opened again through the settings of the run. Where
            the images or the activations no longer exist, the report has no images and says why.
        methods: the methods of the run, which illustrate their evidence; None: they are built again from
            the settings of the run.
        progress: shows the pass over the maps, if they are not in the cache.

    Raises:
        InputError: if the folder holds no descriptions, or the report cannot be written.
    """
    from ..results.report.report import write_report

    for each in (run, *others):
        if each.selection is None:
            raise InputError(
                f"{each.path} holds no descriptions", "a report is made of a folder of `run`"
            )
    images = _images(run, layers, progress, methods=methods)
    further = [(other, _images(other, None, progress)) for other in others]
    sentences = description_sentences([run, *others])
    return write_report(run, images, folder or run.path / REPORT, others=further, sentences=sentences)


def unit_html(run: FinishedRun, unit: UnitId, *, layers: Mapping[str, ProbedLayer] | None = None) -> str:
    """Returns the section of one selected unit as HTML for another page: with its images, without script.

    Args:
        run: the run.
        unit: the unit.
        layers: the layer of the unit; None: it is opened again, see `report_run`.
    """
    from ..results.report import standalone_unit, unit_reports

    only = {unit.layer: [unit.index]}
    images = _images(run, layers, only=only)
    [of_unit] = unit_reports(run, images.units, only)
    return standalone_unit(of_unit, images)


def units_page(run: FinishedRun, units: Sequence[UnitId], progress: Progress | None = None) -> str:
    """Returns a page with the sections of selected units: one file, with its images and without script.

    Args:
        run: the run.
        units: the units.
        progress: shows the pass over the maps, if they are not in the cache.
    """
    from ..results.report import section, unit_reports

    only: dict[str, list[int]] = {}
    for unit in units:
        only.setdefault(unit.layer, []).append(unit.index)
    images = _images(run, None, progress, only=only)
    reports = {(report.layer, report.index): report for report in unit_reports(run, images.units, only)}
    in_order = [reports[unit.layer, unit.index] for unit in units]
    names = ", ".join(f"{unit.layer}:{unit.index}" for unit in units)
    return section.units_page(in_order, images, f"{names} of {units[0].target}")


def _images(
    run: FinishedRun,
    layers: Mapping[str, ProbedLayer] | None,
    progress: Progress | None = None,
    *,
    only: Mapping[str, Sequence[int]] | None = None,
    methods: Sequence[Method] | None = None,
) -> RunImages:
    """Returns the images of a run, or why there are none."""
    from ..results.report.images import RunImages

    try:
        layers = open_layers(run) if layers is None else layers
        methods = open_methods(run) if methods is None else methods
        return run_images(run, layers, progress, only=only, methods=methods)
    except InputError as error:
        return RunImages(missing=str(error))


def open_layers(run: FinishedRun) -> dict[str, ProbedLayer]:
    """Opens the stored activations of a run.

    Raises:
        InputError: if the images, the target or the activations are missing or have changed.
    """
    from .activations.forward_pass import stored_layers
    from .config import build
    from .parts import layer_specs, probing_sets
    from .targets.layers import Taps

    config = run.settings
    if config.get("target") is None or config.get("probe") is None:
        raise InputError("the target or the images of the run were given in memory")
    probe, _ = probing_sets(config)
    taps = Taps(build(config.target, "target"), layer_specs(config.layers))
    settings = build(config.activations, "activations")
    runs = run.path.resolve().parent
    layers = stored_layers(
        probe, taps, store=runs / ".activations", cache=Cache(runs / ".cache"), settings=settings
    )
    for name, layer in layers.items():
        if run.identity.get(f"layer/{name}") != layer.fingerprint:
            raise InputError(f"the images or the target have changed since the run (layer {name})")
    return dict(layers)


def report_consumers(
    layers: Mapping[str, ProbedLayer],
    units: Mapping[str, Sequence[int]],
    methods: Sequence[Method] = (),
) -> list[MapConsumer]:
    """Returns what gathers the maps of the images that the report shows, for the pass over the maps.

    Args:
        layers: the layers.
        units: the selected units of each layer.
        methods: methods that illustrate their evidence.
    """
    from .activations.exemplar_maps import exemplar_consumers

    consumers: list[MapConsumer] = []
    for name, layer in layers.items():
        chosen = _choose(layer, units[name])
        if chosen.units:
            consumers += exemplar_consumers(layer, chosen.units, chosen.images)
            consumers += illustration_consumers(methods, layer, chosen.units)
    return consumers


def run_images(
    run: FinishedRun,
    layers: Mapping[str, ProbedLayer],
    progress: Progress | None = None,
    *,
    only: Mapping[str, Sequence[int]] | None = None,
    methods: Sequence[Method] = (),
) -> RunImages:
    """Returns the images, regions, histograms and illustrated evidence of units.

    Args:
        run: the run.
        layers: its layers.
        progress: shows the pass over the maps, if they are not in the cache.
        only: some of the selected units, by layer; None: all.
        methods: methods that illustrate their evidence.

    Raises:
        InputError: if an image cannot be read any more.
    """
    from ..results.report.images import RunImages
    from ..results.report.neighbours import correlated_units
    from .activations.map_pass import run_map_pass

    assert run.selection is not None
    wanted = run.selection.units if only is None else only
    selected = {name: wanted[name] for name in layers if name in wanted}
    present = {name: layers[name] for name in selected}
    run_map_pass(report_consumers(present, selected, methods), progress)
    thumbnails = Thumbnails()
    units: dict[tuple[str, int], UnitImages] = {}
    notes: list[str] = []
    for name, layer in present.items():
        try:
            thresholds = region_thresholds(run, layer)
        except InputError as error:
            thresholds = None
            notes.append(f"No regions are drawn for layer {name}: {error}")
        of_layer = dict(_unit_images(layer, selected[name], thresholds, upsampling(run), thumbnails))
        ranges = {
            unit: (images.histogram.low, images.histogram.high) for (_, unit), images in of_layer.items()
        }
        evidence, missing = illustrate(run, methods, layer, ranges, thumbnails)
        notes += missing
        units |= {
            key: replace(images, evidence=evidence.get(key[1], {})) for key, images in of_layer.items()
        }
    # A few units are shown alone, without links to others.
    for key, near in (correlated_units(present, selected) if only is None else {}).items():
        units[key] = replace(units[key], correlated=near)
    return RunImages(units, thumbnails.files, notes=tuple(notes))


def active_masks(
    maps: NDArray[np.float32], thresholds: NDArray[np.float64], shape: tuple[int, int], how: Upsampling
) -> NDArray[np.bool_]:
    """Returns where maps exceed their thresholds: bool [n, *shape], over the part that the target saw.

    The same arithmetic as the masks of Network Dissection and MILAN have.

    Args:
        maps: float32 [n, h, w].
        thresholds: float64 [n].
        shape: (H, W) of the masks.
        how: how maps are up-sampled.
    """
    import torch

    from ..methods.upsample import grid, upsample
    from .probe import Region

    over = grid(shape, (maps.shape[1], maps.shape[2]), Region(), how)
    with torch.inference_mode():
        upsampled = upsample(torch.from_numpy(maps), over)
        return (upsampled > torch.from_numpy(thresholds)[:, None, None]).numpy()


@dataclass(frozen=True)
class _Chosen:
    """The units of a layer that are not dead, and their images: int64 [units, images], in three bands."""

    units: list[int]
    images: NDArray[np.int64]
    bands: tuple[int, ...]
    columns: Mapping[int, NDArray[np.float32]]


def _choose(layer: ProbedLayer, units: Sequence[int]) -> _Chosen:
    from ..results.report.bands import choose_images

    alive = [unit for unit in units if not layer.dead[unit]]
    columns, rows, bands = {}, [], ()
    for start in range(0, len(alive), _COLUMNS):
        block = alive[start : start + _COLUMNS]
        # Values are stored image by image: one strided read for several units.
        for unit, column in zip(block, np.ascontiguousarray(layer.values[:, block].T), strict=True):
            chosen = choose_images(column)
            bands = tuple(map(len, chosen))
            rows.append(np.concatenate(chosen))
            columns[unit] = column
    images = np.stack(rows) if rows else np.empty((0, 0), np.int64)
    return _Chosen(alive, images, bands, columns)


def _unit_images(
    layer: ProbedLayer,
    units: Sequence[int],
    thresholds: NDArray[np.float64] | None,
    how: Upsampling,
    thumbnails: Thumbnails,
) -> Iterator[tuple[tuple[str, int], UnitImages]]:
    from ..results.report.images import UnitImages

    chosen = _choose(layer, units)
    if not chosen.units:
        return
    regions = _regions(layer, chosen, thresholds, how)
    ends = np.cumsum((0, *chosen.bands))
    for row, unit in enumerate(chosen.units):
        column = chosen.columns[unit]
        bands = []
        for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            bands.append(
                tuple(
                    _shown(thumbnails, layer, int(index), float(column[index]), regions.get((row, rank)))
                    for rank, index in enumerate(chosen.images[row, start:end], start)
                )
            )
        threshold = None if thresholds is None or not regions else float(thresholds[unit])
        yield (layer.name, unit), UnitImages(bands[0], bands[1], bands[2], _histogram(column), threshold)


def _regions(
    layer: ProbedLayer, chosen: _Chosen, thresholds: NDArray[np.float64] | None, how: Upsampling
) -> dict[tuple[int, int], str]:
    """Returns the outline of the active region by row and rank; none for maps of one cell."""
    from ..results.pages.svg import outline
    from ..results.report.images import SIZE
    from .activations.exemplar_maps import read_exemplar_maps

    if thresholds is None or layer.map_shape == (1, 1):
        return {}
    of_row = thresholds[chosen.units]
    regions = {}
    for _, positions, maps in read_exemplar_maps(layer, chosen.units, chosen.images):
        rows, ranks = np.divmod(positions, chosen.images.shape[1])
        masks = active_masks(maps, of_row[rows], (SIZE, SIZE), how)
        for row, rank, mask in zip(rows.tolist(), ranks.tolist(), masks, strict=True):
            regions[row, rank] = outline(mask)
    return regions


def region_thresholds(run: FinishedRun, layer: ProbedLayer) -> NDArray[np.float64]:
    """Returns float64 [units]: the thresholds of Network Dissection, also where it did not run.

    Raises:
        InputError: if the stored activations do not reach down to the quantile.
    """
    recorded = {
        record.unit.index: record.evidence["threshold"]
        for record in run.records
        if record.unit.layer == layer.name
        and record.method == "network_dissection"
        and "threshold" in record.evidence
    }
    assert run.selection is not None
    alive = {unit for unit in run.selection.units[layer.name] if not layer.dead[unit]}
    thresholds = (
        np.full(layer.n_units, np.inf) if alive <= recorded.keys() else layer.threshold(_QUANTILE)
    )
    for unit, threshold in recorded.items():
        thresholds[unit] = threshold
    return thresholds


def upsampling(run: FinishedRun) -> Upsampling:
    """Returns how Network Dissection up-sampled maps in this run."""
    from ..methods.upsample import Upsampling

    mode, _ = run.identity.get("method/network_dissection", {}).get("upsampling", ("half_pixel", None))
    # Anchors are counted in pixels of the label planes, which a thumbnail does not have.
    return Upsampling("half_pixel" if mode == "anchored" else mode)


def _histogram(column: NDArray[np.float32]) -> Any:
    from ..results.report.images import Histogram

    finite = column[np.isfinite(column)].astype(np.float64)
    counts, edges = np.histogram(finite, bins=_BINS)
    return Histogram(tuple(counts.tolist()), float(edges[0]), float(edges[-1]))


def _shown(
    thumbnails: Thumbnails, layer: ProbedLayer, index: int, value: float, region: str | None
) -> ShownImage:
    """Returns an image as a unit's section shows it."""
    from ..results.report.images import ShownImage

    name = _name(layer, index, layer.probe.locate(index))
    return ShownImage(thumbnails.of_image(layer, index), name, value, region)


def _name(layer: ProbedLayer, index: int, place: str) -> str:
    """Returns the class of an image, or its file name."""
    probe = layer.probe
    if probe.classes is not None and probe.labels is not None:
        return probe.classes[int(probe.labels[index])]
    return Path(place).name

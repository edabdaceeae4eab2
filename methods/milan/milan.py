"""MILAN: captions of units, written by a model trained on people's descriptions of units.

Hernandez, Schwettmann, Bau, Bagashvili, Torralba and Andreas, "Natural Language Descriptions of Deep
Visual Features", ICLR 2022.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ...harness.activations.exemplar_maps import exemplar_consumers
from ...harness.activations.map_pass import MapConsumer
from ...harness.devices import resolve
from ...harness.errors import InputError, one_of
from ...harness.files import file_digest
from ...harness.illustrations import Illustration
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ...harness.targets.factory import from_factory
from ...harness.targets.target import Target
from ...harness.weights import PACKAGE_PREFIX, snapshot
from ..method import Method
from .checkpoint_files import CONFIG, load_checkpoint
from .checkpoints import Checkpoint
from .decoder import Caption, Decoder
from .encoder import PyramidEncoder
from .exemplars import TopImages, mask_thresholds, top_images
from .masked_exemplars import masked_exemplars
from .settings import DecodingOverrides, ExemplarOverrides, ExemplarSettings, Variant
from .unit_features import UnitFeatures, encoder_fingerprint

PUBLISHED = "http://milan.csail.mit.edu/models/"
"""URL of the published checkpoints."""
NAMES = ("base", "cls", "gen", "imagenet", "places365", "alexnet", "resnet152", "biggan")
"""Names of the published checkpoints: milan-base.pth, ..."""

_FORMAT = 1  # version of the computation from activations to description


class MILAN(Method):
    """Describes a unit by the caption d with the largest log p(d|E) - lambda log p(d).

    E are the unit's exemplars: its top images, each with a mask of where the unit is active. An encoder
    computes a feature vector of each, a decoder writes captions from these, and a language model
    penalises captions that fit any unit (section 3). docs/methods/milan.md lists the differences between
    the paper, the published program and this class.

    The exemplars of all units are encoded first, each image once; then captions are written for a block
    of units at a time. The memory does not grow with the number of units. A description depends neither
    on the block nor on the other units. In the published program it does, through a second stop that its
    language model counts for captions shorter than the longest search of the batch: `official` counts it
    as for a unit in a batch of its own.

    Args:
        checkpoint: a published file, a folder written by `dissectbench milan`, or
            `package:<package>/<path>` of such a folder.
        name: name of the method in records and tables.
        encoder: the image network, for a checkpoint without it: a target, or the
            `package.module:function` that makes one (see `from_factory`). Otherwise ignored.
        label: name of the checkpoint in tables; None: its file or folder name.
        variant: "paper"; or "official", with the published program's exemplars (see
            `ExemplarSettings`) and counting.
        exemplars: settings that replace those of the checkpoint's training.
        decoding: settings of the search that replace the checkpoint's.
        keep_candidates: number of captions kept as candidates.
        block: number of units captioned together.
        device: where encoder and decoder compute.

    Raises:
        InputError: if the checkpoint does not exist, or a setting is unknown or out of range.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        name: str = "milan",
        encoder: Target | str | None = None,
        label: str | None = None,
        variant: Variant = "paper",
        exemplars: ExemplarOverrides | None = None,
        decoding: DecodingOverrides | None = None,
        keep_candidates: int = 10,
        block: int = 64,
        device: str = "auto",
    ) -> None:
        self.name = name
        self.variant: Variant = one_of(f"{name}.variant", variant, get_args(Variant))
        for setting, value in (("keep_candidates", keep_candidates), ("block", block)):
            if value < 1:
                raise InputError(f"{name}.{setting} must be at least 1, not {value}")
        self._exemplars = exemplars or ExemplarOverrides()
        self._decoding = decoding or DecodingOverrides()
        self.path = locate(checkpoint, f"method.{name}.checkpoint")
        self.encoder = from_factory(encoder, device=device) if isinstance(encoder, str) else encoder
        self.label = label or self.path.stem
        self.keep_candidates, self.block, self.device = keep_candidates, block, device

    def models(self) -> Mapping[str, str]:
        """See `Method.models`."""
        return {self.name: self.label}

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`. Reads the checkpoint."""
        decoder = self._decoder
        # The settings of a folder contain the hash of its weights.
        file = self.path / CONFIG if self.path.is_dir() else self.path
        return {
            "format": _FORMAT,
            "checkpoint": file_digest(file),
            "encoder": None if self._checkpoint.has_encoder else self._encoder_name,
            "exemplars": self.exemplars.identity(),
            "decoding": asdict(decoder.decoding),
            "counting": decoder.counting,
            "keep_candidates": self.keep_candidates,
        }

    # The checkpoint is read, and networks are built, on first use: the plan of a run needs neither.

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return load_checkpoint(self.path)

    @cached_property
    def exemplars(self) -> ExemplarSettings:
        """The settings of exemplars. Reads the checkpoint."""
        settings = {**self._checkpoint.exemplars, **self._exemplars.values()}
        return ExemplarSettings(**settings, variant=self.variant)

    @cached_property
    def _decoder(self) -> Decoder:
        counting = self._decoding.counting or ("one_more" if self.variant == "official" else None)
        return Decoder.of(
            self._checkpoint,
            device=resolve(self.device),
            counting=counting,
            **self._decoding.values(),
        )

    @cached_property
    def _encoder(self) -> PyramidEncoder:
        network = None if self._checkpoint.has_encoder or not self.encoder else self.encoder.model
        try:
            return self._checkpoint.build_encoder(network).to(resolve(self.device))
        except InputError as error:
            hint = f"{error.hint} (method.{self.name}.encoder)"
            raise InputError(f"checkpoint {self.path}: {error.message}", hint) from error

    @cached_property
    def _encoder_name(self) -> str:
        return encoder_fingerprint(self._encoder)

    def map_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """See `Method.map_consumers`: maps of the units' exemplars, unless their features are cached."""
        top = top_images(layer, _alive(layer, units), self.exemplars.count)
        top = top.rows(self._features(layer, top).missing())
        return exemplar_consumers(layer, top.units.tolist(), top.indices)

    def illustration_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """See `Method.illustration_consumers`: maps of the units' exemplars."""
        top = top_images(layer, _alive(layer, units), self.exemplars.count)
        return exemplar_consumers(layer, top.units.tolist(), top.indices)

    def illustrations(
        self, layer: ProbedLayer, records: Sequence[Description]
    ) -> Iterator[tuple[int, Illustration]]:
        """See `Method.illustrations`: the exemplars with their masks. Reads the checkpoint's settings."""
        return masked_exemplars(layer, records, self.exemplars)

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. A unit's seconds include its share of the work for several units."""
        alive = _alive(layer, units)
        top = top_images(layer, alive, self.exemplars.count)
        thresholds, captions = mask_thresholds(layer, self.exemplars), self._captions(layer, top)
        rows = {unit: row for row, unit in enumerate(alive)}
        for unit in units:
            if layer.dead[unit]:
                yield Description(layer.unit(unit), self.name, None, "dead")
            elif unit not in rows:
                reason = {"reason": "its activations are not all finite"}
                yield Description(layer.unit(unit), self.name, None, "failed", evidence=reason)
            else:
                # The generator yields in the order of `alive`, which is the order of this loop.
                best, seconds = next(captions)
                description = self._description(layer, top, rows[unit], best, float(thresholds[unit]))
                yield replace(description, seconds=seconds)

    def _features(self, layer: ProbedLayer, top: TopImages) -> UnitFeatures:
        return UnitFeatures(layer, top, self.exemplars, self._encoder, self._encoder_name)

    def _captions(self, layer: ProbedLayer, top: TopImages) -> Iterator[tuple[list[Caption], float]]:
        """Yields the best captions of each unit, the best one first, and its share of the seconds."""
        if not len(top.units):
            return
        started = time.perf_counter()
        features = self._features(layer, top)
        features.compute()
        encoding = (time.perf_counter() - started) / len(top.units)
        for start in range(0, len(top.units), self.block):
            started = time.perf_counter()
            block = range(start, min(start + self.block, len(top.units)))
            captions = self._decoder.n_best(features.read(block), self.keep_candidates)
            seconds = encoding + (time.perf_counter() - started) / len(block)
            yield from ((of_unit, seconds) for of_unit in captions)

    def _description(
        self, layer: ProbedLayer, top: TopImages, row: int, captions: Sequence[Caption], threshold: float
    ) -> Description:
        best, unit = captions[0], layer.unit(int(top.units[row]))
        evidence: dict[str, Any] = {
            "images": top.indices[row].tolist(),
            "maxima": top.values[row].tolist(),
            "threshold": threshold,
            "log_prob": best.log_prob,
            "lm_log_prob": best.lm_log_prob,
        }
        candidates = tuple(
            Candidate(c.text, c.score, {"log_prob": c.log_prob, "lm_log_prob": c.lm_log_prob})
            for c in captions
        )
        if not best.text.strip():
            evidence = {"reason": "its best caption contains no words", **evidence}
            return Description(unit, self.name, None, "failed", candidates=candidates, evidence=evidence)
        return Description(unit, self.name, best.text, "ok", best.score, candidates, evidence=evidence)


def _alive(layer: ProbedLayer, units: Sequence[int]) -> list[int]:
    """Returns the units that have exemplars: those that are not dead and have only finite values."""
    finite = np.isfinite(layer.maxima.max(axis=0)) & np.isfinite(layer.maxima.min(axis=0))
    return [unit for unit in units if finite[unit] and not layer.dead[unit]]


def locate(checkpoint: str, setting: str) -> Path:
    """Returns the file or folder of a checkpoint.

    Args:
        checkpoint: a path, or `package:<package>/<path>`.
        setting: name of the setting in messages.

    Raises:
        InputError: if it does not exist; says what to download.
    """
    if checkpoint.startswith(PACKAGE_PREFIX):
        return snapshot(checkpoint)
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    files = ", ".join(f"milan-{name}.pth" for name in NAMES)
    raise InputError(
        f"no such checkpoint of MILAN: {checkpoint}",
        f"download one of {files} from {PUBLISHED} and give its path ({setting}=...)",
    )

"""MILAN: a unit is described by a captioner that learnt from people what units look for.

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

from ...harness.devices import resolve
from ...harness.errors import InputError, one_of
from ...harness.files import file_digest
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ...harness.targets.target import Target, from_factory
from ...harness.weights import PACKAGE_PREFIX, snapshot
from ..method import Method
from .checkpoints import CONFIG, Checkpoint, load_checkpoint
from .decoder import Caption, Decoder
from .encoder import PyramidEncoder
from .exemplars import TopImages, levels, top_images
from .settings import DecodingOverrides, ExemplarOverrides, ExemplarSettings, Variant
from .unit_vectors import UnitVectors, encoder_fingerprint

PUBLISHED = "http://milan.csail.mit.edu/models/"
"""Where the published checkpoints lie."""
NAMES = ("base", "cls", "gen", "imagenet", "places365", "alexnet", "resnet152", "biggan")
"""What they are called: milan-base.pth, ..."""

_FORMAT = 1  # of what leads from the activations to a description


class MILAN(Method):
    """Describes a unit by the caption d with the largest log p(d|E) - lambda log p(d).

    E are the unit's exemplars: its top images, each with a mask of where the unit is active. An image
    network makes a vector of each, a decoder captions of these, and a language model tells what is
    said of any unit (section 3). docs/methods/milan.md lists where the paper, the published program and
    this class differ.

    The exemplars of all units asked for go through the encoder first, each picture once; then captions
    are written for a block of units at a time. The memory does not grow with the number of units. A
    description depends neither on the block nor on which other units are asked for. In the published
    program it does, through one stop too many that its language model counts where a caption ends
    before the longest search of its batch: `official` counts it as for a unit that is alone.

    Args:
        checkpoint: a published file, a folder written by `dissectbench milan`, or
            `package:<package>/<path>` of such a folder.
        name: of the method in records and tables.
        encoder: the image network, for a checkpoint without it: a target, or the
            `package.module:function` that makes one (see `from_factory`). Otherwise ignored.
        label: name of the checkpoint in tables; None: its file or folder name.
        variant: "paper"; or "official", with the published program's exemplars (see
            `ExemplarSettings`) and counting.
        exemplars: settings that differ from those of the checkpoint's training.
        decoding: settings of the search that differ from the checkpoint's.
        keep_candidates: captions kept as candidates.
        block: units captioned together.
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
        file = self.path / CONFIG if self.path.is_dir() else self.path  # the former names the weights
        borrowed = None if self._checkpoint.has_encoder else self._encoder_name
        return {
            "format": _FORMAT,
            "checkpoint": file_digest(file),
            "encoder": borrowed,
            "exemplars": self.exemplars.identity(),
            "decoding": asdict(decoder.decoding),
            "counting": decoder.counting,
            "keep_candidates": self.keep_candidates,
        }

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return load_checkpoint(self.path)

    @cached_property
    def exemplars(self) -> ExemplarSettings:
        """What is looked at. Reads the checkpoint."""
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

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. A unit's seconds are its share of what is done for several."""
        finite = np.isfinite(layer.maxima.max(axis=0)) & np.isfinite(layer.maxima.min(axis=0))
        alive = [unit for unit in units if finite[unit] and not layer.dead[unit]]
        top = top_images(layer, alive, self.exemplars.count)
        limits, captions = levels(layer, self.exemplars), self._captions(layer, top)
        rows = {unit: row for row, unit in enumerate(alive)}
        for unit in units:
            if layer.dead[unit]:
                yield Description(layer.unit(unit), self.name, None, "dead")
            elif unit not in rows:
                reason = {"reason": "its activations are not all finite"}
                yield Description(layer.unit(unit), self.name, None, "failed", evidence=reason)
            else:
                found, seconds = next(captions)
                described = self._description(layer, top, rows[unit], found, float(limits[unit]))
                yield replace(described, seconds=seconds)

    def _captions(self, layer: ProbedLayer, top: TopImages) -> Iterator[tuple[list[Caption], float]]:
        """Yields the best captions of each unit, the best one first, and its share of the seconds."""
        if not len(top.units):
            return
        started = time.perf_counter()
        vectors = UnitVectors(layer, top, self.exemplars, self._encoder, self._encoder_name)
        vectors.compute()
        shared = (time.perf_counter() - started) / len(top.units)
        for start in range(0, len(top.units), self.block):
            started = time.perf_counter()
            block = range(start, min(start + self.block, len(top.units)))
            found = self._decoder.n_best(vectors.read(block), self.keep_candidates)
            share = shared + (time.perf_counter() - started) / len(block)
            yield from ((captions, share) for captions in found)

    def _description(
        self, layer: ProbedLayer, top: TopImages, row: int, captions: Sequence[Caption], level: float
    ) -> Description:
        best, name = captions[0], layer.unit(int(top.units[row]))
        evidence: dict[str, Any] = {
            "images": top.indices[row].tolist(),
            "maxima": top.values[row].tolist(),
            "level": level,
            "log_prob": best.log_prob,
            "lm_log_prob": best.lm_log_prob,
        }
        candidates = tuple(
            Candidate(one.text, one.score, {"log_prob": one.log_prob, "lm_log_prob": one.lm_log_prob})
            for one in captions
        )
        if not best.text.strip():
            evidence = {"reason": "its best caption holds no words", **evidence}
            return Description(name, self.name, None, "failed", candidates=candidates, evidence=evidence)
        return Description(name, self.name, best.text, "ok", best.score, candidates, evidence=evidence)


def locate(checkpoint: str, setting: str) -> Path:
    """Returns the file or folder of a checkpoint.

    Args:
        checkpoint: a path, or `package:<package>/<path>`.
        setting: name of the setting in messages.

    Raises:
        InputError: if it is not there; says what to download.
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

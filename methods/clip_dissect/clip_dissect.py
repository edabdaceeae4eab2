"""CLIP-Dissect: a unit is described by the concept that an image-text model sees where it is active.

Oikarinen and Weng, "CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision
Networks", ICLR 2023.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...datasets.concepts import ConceptSet
from ...harness.errors import InputError, nearest, one_of
from ...harness.foundation.protocols import ImageTextEncoder
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ..method import Method
from .cosines import EmbeddingCosines
from .embeddings import image_embeddings, text_embeddings
from .similarity import SIMILARITIES, Similarities, strongest

_FORMAT = 1  # of kept rankings
_RANKED = np.dtype([("concept", "<i4"), ("score", "<f4")])
_EXEMPLARS = 10
_NOT_PARAMETERS = ("population", "baseline", "seed")  # they follow from other settings


class CLIPDissect(Method):
    """Describes a unit by the concept most similar to it, as seen through an image-text model.

    Images and concepts are embedded by `encoder`; a similarity function compares the activations of a
    unit with the cosines between all images and each concept (section 3; `similarity` has the formulas).

    The mutual-information functions subtract a prior, a mean over units: which units is part of the
    answer. Here it is a fixed population, by default all units of the layer that are not dead, whatever
    units are asked for. docs/methods/clip_dissect.md lists where the paper, the published program and
    this class differ.

    Args:
        encoder: the image-text model.
        concepts: the words to choose from.
        similarity: "soft_wpmi", "wpmi", "rank_reorder", "cos_similarity" or "cos_similarity_cubed".
        top: how many concepts to keep as candidates.
        variant: "paper"; or "official", which behaves as the published program does when it describes a
            whole layer: dead units enter the prior, and the random order that `rank_reorder` compares
            with is estimated from five (here: seeded) permutations.
        population: the units over which the prior is taken: "alive", the layer's units that are not
            dead; "layer", all of them; or a list of units. None: what the variant says.
        seed: of the permutations.
        **parameters: of the similarity function, such as `top_k`, `a`, `lam`.

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    name = "clip_dissect"

    def __init__(
        self,
        encoder: ImageTextEncoder,
        concepts: ConceptSet,
        similarity: str = "soft_wpmi",
        top: int = 10,
        variant: Literal["paper", "official"] = "paper",
        population: Literal["alive", "layer"] | Sequence[int] | None = None,
        seed: int = 0,
        **parameters: Any,
    ) -> None:
        one_of("clip_dissect.similarity", similarity, SIMILARITIES)
        one_of("clip_dissect.variant", variant, ("paper", "official"))
        if top < 1:
            raise InputError(f"clip_dissect.top must be at least 1, not {top}")
        if len(concepts.words) < 2:
            raise InputError(
                f"the concept set {concepts.name} has {len(concepts.words)} concepts, not two"
            )
        self.encoder, self.concepts, self.top, self.variant = encoder, concepts, top, variant
        self.similarity, self.seed = similarity, seed
        self.parameters = _parameters(similarity, parameters)
        self.has_prior = "population" in _keywords(SIMILARITIES[similarity])
        self.population = _population_setting(population, variant)

    def models(self) -> Mapping[str, str]:
        """See `Method.models`."""
        return {"image-text model": self.encoder.name}

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`."""
        return {**self._ranking_identity(), "top": self.top}

    def _ranking_identity(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "similarity": self.similarity,
            "parameters": dict(self.parameters),
            "variant": self.variant,
            "population": self.population if self.has_prior else None,
            "seed": self.seed if self.similarity == "rank_reorder" else None,
            "encoder": self.encoder.fingerprint(),
            "concepts": self.concepts.fingerprint(),
        }

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. The layer is ranked as a whole, whatever units are asked for."""
        started = time.perf_counter()
        finite = _finite(layer)
        ranking = self._ranking(layer, finite)
        settings = self._evidence(layer, finite)
        share = (time.perf_counter() - started) / layer.n_units  # each unit bears its part of the pass
        for unit in units:
            started = time.perf_counter()
            description = self._description(layer, unit, bool(finite[unit]), ranking[unit], settings)
            seconds = share + time.perf_counter() - started
            yield replace(description, seconds=seconds)

    def _description(
        self,
        layer: ProbedLayer,
        unit: int,
        finite: bool,
        ranked: NDArray[np.void],
        settings: Mapping[str, Any],
    ) -> Description:
        name = layer.unit(unit)
        if not finite:
            reason = "its activations are not all finite"
            return Description(name, self.name, None, "failed", evidence={"reason": reason})
        if layer.dead[unit]:
            return Description(name, self.name, None, "dead")
        if ranked["concept"][0] < 0:
            reason = "its most activating images are all equally active, so they have no order"
            return Description(name, self.name, None, "failed", evidence={"reason": reason})
        candidates = tuple(
            Candidate(self.concepts.words[entry["concept"]], float(entry["score"])) for entry in ranked
        )
        evidence = {
            **settings,
            "margin": float(ranked["score"][0]) - float(ranked["score"][1]),
            "exemplars": layer.exemplars(unit, _EXEMPLARS).indices.tolist(),
        }
        best = candidates[0]
        return Description(
            name, self.name, best.text, "ok", best.score, candidates[: self.top], evidence=evidence
        )

    def _evidence(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> dict[str, Any]:
        """What holds for every unit of the layer."""
        evidence = {
            "similarity": self.similarity,
            "parameters": dict(self.parameters),
            "variant": self.variant,
            "images": len(layer.values),
            "concepts": len(self.concepts.words),
        }
        if self.has_prior:
            which = self.population if isinstance(self.population, str) else "list"
            size = len(self._population(layer, finite))
            evidence["population"] = {"units": which, "size": size}
        return evidence

    def _ranking(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> NDArray[np.void]:
        """Returns [units, kept] records of concept and score, best first; concept -1: no scores."""
        kept = min(max(self.top, 2), len(self.concepts.words))
        key = {"layer": layer.fingerprint, "kept": kept, **self._ranking_identity()}

        def compute() -> NDArray[np.void]:
            ranking = np.zeros((layer.n_units, kept), _RANKED)
            ranking["concept"] = -1
            found = self._similarities(layer, finite)
            best = strongest(found.scores.T, kept)
            best[found.undefined] = -1
            ranking["concept"][finite] = best
            ranking["score"][finite] = np.take_along_axis(found.scores, best, axis=1)
            return ranking

        return layer.cache.array("clip_dissect", key, compute)

    def _similarities(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> Similarities:
        """Compares the units with finite activations with all concepts."""
        images = image_embeddings(self.encoder, layer.probe, layer.cache)
        texts = text_embeddings(self.encoder, self.concepts.words, layer.cache)
        settings = dict(self.parameters)
        if self.has_prior:
            settings["population"] = np.searchsorted(
                np.flatnonzero(finite), self._population(layer, finite)
            )
        if self.similarity == "rank_reorder":
            settings["baseline"] = "permutations" if self.variant == "official" else "exact"
            settings["seed"] = self.seed
        values = layer.values if finite.all() else layer.values[:, finite]
        try:
            return SIMILARITIES[self.similarity](values, EmbeddingCosines(images, texts), **settings)
        except ValueError as error:
            raise InputError(
                f"clip_dissect.similarity={self.similarity} on {layer.name}: {error}",
                f"its settings are {', '.join(f'{k}={v}' for k, v in self.parameters.items()) or 'none'}",
            ) from error

    def _population(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Returns the units of the layer over which the prior is taken, ascending."""
        if not isinstance(self.population, str):
            return _given(self.population, layer, finite)
        return np.flatnonzero(finite if self.population == "layer" else finite & ~layer.dead)


def _population_setting(population: str | Sequence[int] | None, variant: str) -> str | list[int]:
    if population is None:
        return "layer" if variant == "official" else "alive"
    if not isinstance(population, str):
        return [int(unit) for unit in population]
    one_of("clip_dissect.population", population, ("alive", "layer"))
    return population


def _given(population: Sequence[int], layer: ProbedLayer, finite: NDArray[np.bool_]) -> NDArray[np.int64]:
    units = np.unique(np.asarray(population, np.int64))
    if len(units) == 0 or units[0] < 0 or units[-1] >= layer.n_units:
        raise InputError(
            f"clip_dissect.population must list units of {layer.name}, 0 to {layer.n_units - 1}",
            "or set it to alive or layer",
        )
    return units[finite[units]]


def _finite(layer: ProbedLayer) -> NDArray[np.bool_]:
    return np.isfinite(layer.values.max(axis=0)) & np.isfinite(layer.values.min(axis=0))


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    signature = inspect.signature(function)
    return {k: p.default for k, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


def _parameters(similarity: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all parameters of a similarity function: those given, and its defaults."""
    keywords = _keywords(SIMILARITIES[similarity])
    known = {name: value for name, value in keywords.items() if name not in _NOT_PARAMETERS}
    for name in given:
        if name not in known:
            raise InputError(
                f"clip_dissect: {similarity} has no parameter {name!r}; {nearest(name, known)}".rstrip(
                    "; "
                ),
                f"it has {', '.join(known) or 'none'}",
            )
    return {**known, **given}

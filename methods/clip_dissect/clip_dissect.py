"""CLIP-Dissect: describes a unit by the concept that an image-text model finds in its active images.

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
from ...harness.foundation.embeddings import image_embeddings, text_embeddings
from ...harness.foundation.protocols import ImageTextEncoder
from ...harness.illustrations import Illustration
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ..method import Method
from .activation_order import strongest
from .concept_images import concept_illustrations
from .cosines import EmbeddingCosines
from .similarity import SIMILARITIES, Similarities

_FORMAT = 2  # of cached rankings
_RANKED = np.dtype([("concept", "<i4"), ("score", "<f4")])
_UNDEFINED, _TIED = -1, -2  # in place of a concept: the unit has no scores, or only equal ones
_EXEMPLARS = 10  # listed in the evidence
_NOT_PARAMETERS = ("population", "baseline", "seed")  # determined by other settings


class CLIPDissect(Method):
    """Describes a unit by the most similar concept, according to an image-text model.

    Images and concepts are embedded by `encoder`. A similarity function compares the activations of a
    unit with the cosines between all images and each concept (section 3; see the module `similarity`).

    The mutual-information functions subtract a prior, a mean over units, so scores depend on which units
    these are. Here they are a fixed population, by default all units of the layer that are not dead,
    independent of the units asked for. docs/methods/clip_dissect.md lists the differences between the
    paper, the published program and this class.

    Args:
        encoder: the image-text model.
        concepts: the concept set.
        similarity: "soft_wpmi", "wpmi", "rank_reorder", "cos_similarity" or "cos_similarity_cubed".
        keep_candidates: number of concepts kept as candidates.
        variant: "paper"; or "official", which behaves as the published program when it describes a whole
            layer: dead units are part of the prior, and the random order that `rank_reorder` compares
            with is estimated from five (here: seeded) permutations.
        prior_population: units over which the prior is computed: "alive", the layer's units that are not
            dead; "layer", all of them; or a list of units. None: "alive" or "layer", by `variant`.
        seed: seed of the permutations.
        **parameters: parameters of the similarity function, such as `top_k` or `prior_weight`.

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    name = "clip_dissect"

    def __init__(
        self,
        encoder: ImageTextEncoder,
        concepts: ConceptSet,
        similarity: str = "soft_wpmi",
        keep_candidates: int = 10,
        variant: Literal["paper", "official"] = "paper",
        prior_population: Literal["alive", "layer"] | Sequence[int] | None = None,
        seed: int = 0,
        **parameters: Any,
    ) -> None:
        one_of("clip_dissect.similarity", similarity, SIMILARITIES)
        one_of("clip_dissect.variant", variant, ("paper", "official"))
        if keep_candidates < 1:
            raise InputError(f"clip_dissect.keep_candidates must be at least 1, not {keep_candidates}")
        if len(concepts.words) < 2:
            raise InputError(
                f"the concept set {concepts.name} has fewer than two concepts ({len(concepts.words)})"
            )
        self.encoder, self.concepts, self.variant = encoder, concepts, variant
        self.similarity, self.seed, self.keep_candidates = similarity, seed, keep_candidates
        self.parameters = _parameters(similarity, parameters)
        self.has_prior = "population" in _keywords(SIMILARITIES[similarity])
        self.prior_population = _population_setting(prior_population, variant)

    def models(self) -> Mapping[str, str]:
        """See `Method.models`."""
        return {"image-text model": self.encoder.name}

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`."""
        return {**self._ranking_identity(), "keep_candidates": self.keep_candidates}

    def _ranking_identity(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "similarity": self.similarity,
            "parameters": dict(self.parameters),
            "variant": self.variant,
            "prior_population": self.prior_population if self.has_prior else None,
            "seed": self.seed if self.similarity == "rank_reorder" else None,
            "encoder": self.encoder.fingerprint(),
            "concepts": self.concepts.fingerprint(),
        }

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. All units of the layer are ranked, even if few are described."""
        started = time.perf_counter()
        lack = _lack_of_images(self.parameters, len(layer.values))
        if lack is not None:
            yield from self._failed(layer, units, lack)
            return
        finite = _finite(layer)
        ranking = self._ranking(layer, finite)
        evidence = self._evidence(layer, finite)
        share = (time.perf_counter() - started) / layer.n_units  # split evenly over all units
        for unit in units:
            started = time.perf_counter()
            description = self._description(layer, unit, bool(finite[unit]), ranking[unit], evidence)
            seconds = share + time.perf_counter() - started
            yield replace(description, seconds=seconds)

    def illustrations(
        self, layer: ProbedLayer, records: Sequence[Description]
    ) -> Iterator[tuple[int, Illustration]]:
        """See `Method.illustrations`: the best concepts, each with the most similar images."""
        return concept_illustrations(layer, records, self.encoder, self.concepts)

    def _failed(self, layer: ProbedLayer, units: Sequence[int], reason: str) -> Iterator[Description]:
        """Yields failed records, except for dead units, which are dead under any settings."""
        for unit in units:
            if layer.dead[unit]:
                yield Description(layer.unit(unit), self.name, None, "dead")
            else:
                evidence = {"reason": reason}
                yield Description(layer.unit(unit), self.name, None, "failed", evidence=evidence)

    def _description(
        self,
        layer: ProbedLayer,
        unit: int,
        finite: bool,
        ranked: NDArray[np.void],
        shared_evidence: Mapping[str, Any],
    ) -> Description:
        unit_id = layer.unit(unit)
        if finite and layer.dead[unit]:
            return Description(unit_id, self.name, None, "dead")
        reason = _undecided(finite, int(ranked["concept"][0]), shared_evidence)
        if reason is not None:
            return Description(unit_id, self.name, None, "failed", evidence={"reason": reason})
        candidates = tuple(
            Candidate(self.concepts.words[entry["concept"]], float(entry["score"])) for entry in ranked
        )
        evidence = {
            **shared_evidence,
            "margin": float(ranked["score"][0]) - float(ranked["score"][1]),
            "exemplars": layer.exemplars(unit, _EXEMPLARS).indices.tolist(),
        }
        best, kept = candidates[0], candidates[: self.keep_candidates]
        return Description(unit_id, self.name, best.text, "ok", best.score, kept, evidence)

    def _evidence(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> dict[str, Any]:
        """Returns the evidence that is the same for every unit of the layer."""
        evidence = {
            "similarity": self.similarity,
            "parameters": dict(self.parameters),
            "variant": self.variant,
            "images": len(layer.values),
            "concepts": len(self.concepts.words),
        }
        if self.has_prior:
            which = self.prior_population if isinstance(self.prior_population, str) else "list"
            size = len(self._population(layer, finite))
            evidence["population"] = {"units": which, "size": size}
        return evidence

    def _ranking(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> NDArray[np.void]:
        """Returns [units, kept] pairs of concept and score, best first.

        Units without a best concept have `_UNDEFINED` or `_TIED` in place of the concepts.
        """
        # At least two, because the evidence contains the margin over the second concept.
        kept = min(max(self.keep_candidates, 2), len(self.concepts.words))
        key = {"layer": layer.fingerprint, "kept": kept, **self._ranking_identity()}

        def compute() -> NDArray[np.void]:
            ranking = np.zeros((layer.n_units, kept), _RANKED)
            ranking["concept"] = _UNDEFINED
            similarities = self._similarities(layer, finite)
            best = strongest(similarities.scores.T, kept)
            ranking["score"][finite] = np.take_along_axis(similarities.scores, best, axis=1)
            best[similarities.undefined] = _UNDEFINED
            best[similarities.tied] = _TIED
            ranking["concept"][finite] = best
            return ranking

        return layer.cache.array("clip_dissect", key, compute)

    def _similarities(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> Similarities:
        """Compares all units with finite activations with all concepts."""
        images = image_embeddings(self.encoder, layer.probe, layer.cache)
        texts = text_embeddings(self.encoder, self.concepts.words, layer.cache)
        settings = dict(self.parameters)
        if self.has_prior:
            # Positions among the units with finite activations: the others are left out below.
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
            parameters = ", ".join(f"{k}={v}" for k, v in self.parameters.items()) or "none"
            raise InputError(
                f"clip_dissect.similarity={self.similarity} on {layer.name}: {error}",
                f"its parameters: {parameters}; image-text model: {self.encoder.name}",
            ) from error

    def _population(self, layer: ProbedLayer, finite: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Returns the units of the layer over which the prior is computed, ascending."""
        if not isinstance(self.prior_population, str):
            return _listed_units(self.prior_population, layer, finite)
        return np.flatnonzero(finite if self.prior_population == "layer" else finite & ~layer.dead)


def _population_setting(population: str | Sequence[int] | None, variant: str) -> str | list[int]:
    if population is None:
        return "layer" if variant == "official" else "alive"
    if not isinstance(population, str):
        return [int(unit) for unit in population]
    one_of("clip_dissect.prior_population", population, ("alive", "layer"))
    return population


def _listed_units(
    population: Sequence[int], layer: ProbedLayer, finite: NDArray[np.bool_]
) -> NDArray[np.int64]:
    units = np.unique(np.asarray(population, np.int64))
    if len(units) == 0 or units[0] < 0 or units[-1] >= layer.n_units:
        raise InputError(
            f"clip_dissect.prior_population must list units of {layer.name}, 0 to {layer.n_units - 1}",
            "list such units, or use alive or layer",
        )
    return units[finite[units]]


def _lack_of_images(parameters: Mapping[str, Any], images: int) -> str | None:
    """Returns why a similarity function needs more images than there are; None if there are enough."""
    top_k, top_fraction = parameters.get("top_k"), parameters.get("top_fraction")
    if top_k is not None and top_k > images:
        return (
            f"clip_dissect.top_k={top_k} is more than the {images} images of the probing set: "
            f"set +method.clip_dissect.top_k={images} or lower, or add images"
        )
    # One image has no order.
    if top_fraction is not None and np.floor(top_fraction * images) < 2:
        return (
            f"clip_dissect.top_fraction={top_fraction} is less than two of the {images} images of the "
            "probing set: set a higher +method.clip_dissect.top_fraction, or add images"
        )
    return None


def _undecided(finite: bool, best: int, evidence: Mapping[str, Any]) -> str | None:
    """Returns why a unit that is not dead has no best concept; None if it has one."""
    if not finite:
        return "its activations are not all finite"
    if best == _UNDEFINED:
        return "its most activating images are all equally active, so they have no order"
    if best != _TIED:
        return None
    reason = "all concepts have the same score, so none can be chosen"
    if evidence.get("population", {}).get("size") == 1:
        # With prior_weight=1 the unit's own prior cancels its scores.
        reason += "; the prior is computed over a single unit, see prior_population and prior_weight"
    return reason


def _finite(layer: ProbedLayer) -> NDArray[np.bool_]:
    # The maximum of a unit with a NaN is NaN, so no bool array [images, units] is needed.
    return np.isfinite(layer.values.max(axis=0)) & np.isfinite(layer.values.min(axis=0))


def _keywords(function: Callable[..., Any]) -> dict[str, Any]:
    signature = inspect.signature(function)
    return {k: p.default for k, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


def _parameters(similarity: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all parameters of a similarity function: its defaults, replaced by `settings`."""
    keywords = _keywords(SIMILARITIES[similarity])
    defaults = {name: value for name, value in keywords.items() if name not in _NOT_PARAMETERS}
    for name in settings:
        if name not in defaults:
            hint = f"{nearest(name, defaults)} parameters: {', '.join(defaults) or 'none'}"
            raise InputError(f"clip_dissect: {similarity} has no parameter {name!r}", hint.strip())
    return {**defaults, **settings}

"""Describe-and-Dissect: candidates from captions of a unit's top images, selected by synthetic images.

Bai, Iyer, Oikarinen, Kulkarni and Weng, "Interpreting Neurons in Deep Vision Networks with Language
Models", TMLR 2025.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.activations.map_pass import MapConsumer
from ...harness.errors import InputError, one_of
from ...harness.foundation.caption_cache import cached_captions
from ...harness.foundation.key_phrases import KeyPhrases
from ...harness.foundation.pricing import Prices
from ...harness.foundation.protocols import (
    Captioner,
    ImageGenerator,
    ImageTextEncoder,
    LanguageModel,
)
from ...harness.foundation.reply_cache import CachedLanguageModel
from ...harness.illustrations import Illustration
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ..method import ExpectedCalls, Method
from .candidates import Proposal, propose
from .crops import Variant
from .expected_calls import expected_calls
from .prompts import prompts_fingerprint
from .selection import (
    PRODUCTS,
    SCORING_FUNCTIONS,
    RankedImages,
    best_first,
    candidate_scores,
    keep_distinct,
)
from .settings import (
    CandidateSettings,
    ExemplarSettings,
    LabelSettings,
    ScoringSettings,
    SyntheticImageSettings,
)
from .step_images import step_illustrations
from .steps import Steps
from .synthetic import SyntheticImages, SyntheticResults
from .top_images import Cropping, TopImage, map_consumers, top_images

_FORMAT = 1  # version of everything between activations and descriptions
_BETWEEN_LABELS = "; "  # a label may contain commas
_FREE = Prices(0.0, 0.0)  # of a language model without an account


class DescribeAndDissect(Method):
    """Describes a unit by the candidate whose synthetic images it responds to most.

    Step 1: of the unit's exemplars and their crops around its active regions, those with the strongest
    responses are kept. Step 2: a captioner captions them, and a language model makes candidates of the
    captions. Step 3: a generator makes images of every candidate. One candidate is selected by the
    unit's responses to these images and by their similarity to the unit's own top images.
    docs/methods/dnd.md lists the differences between the paper, the published program and this class.

    Units are described in blocks: each step handles all units of a block together, and the memory does
    not grow with the number of units. A description depends neither on the block nor on other units.

    Args:
        captioner: captions images.
        language_model: simplifies and summarises captions; None: the captions are the candidates.
        generator: generates images of a candidate.
        encoder: embeds images for the scoring functions with image products, and labels if there are
            several and no sentence encoder.
        exemplars: settings of step 1.
        candidates: settings of step 2.
        synthetic_images: settings of the images in step 3.
        scoring: settings of the selection in step 3.
        labels: settings of the labels of a description.
        variant: "paper"; or "official", which crops, breaks ties and compares images as the published
            program does (see `crops` and `selection`).
        block: number of units described together.
        seed: seed of the orders of captions and of the synthetic images.

    Raises:
        InputError: if a setting is unknown or out of range.
    """

    name = "describe_and_dissect"

    def __init__(
        self,
        captioner: Captioner,
        language_model: LanguageModel | None,
        generator: ImageGenerator,
        encoder: ImageTextEncoder,
        *,
        exemplars: ExemplarSettings | None = None,
        candidates: CandidateSettings | None = None,
        synthetic_images: SyntheticImageSettings | None = None,
        scoring: ScoringSettings | None = None,
        labels: LabelSettings | None = None,
        variant: Variant = "paper",
        block: int = 32,
        seed: int = 0,
    ) -> None:
        one_of("describe_and_dissect.variant", variant, ("paper", "official"))
        if block < 1:
            raise InputError(f"describe_and_dissect.block must be at least 1, not {block}")
        self.captioner, self.language_model, self.encoder = captioner, language_model, encoder
        self.exemplars = exemplars or ExemplarSettings()
        self.candidates = candidates or CandidateSettings()
        self.scoring = scoring or ScoringSettings()
        self.labels = labels or LabelSettings()
        self.variant: Variant = variant
        self.block, self.seed = block, seed
        self.synthetic_images = SyntheticImages(
            generator, synthetic_images or SyntheticImageSettings(), seed
        )

    @property
    def cropping(self) -> Cropping:
        """How images are cropped: the official variant has attention crops of its own."""
        official = self.variant == "official" and self.exemplars.crops == "attention"
        return "official" if official else self.exemplars.crops

    @property
    def _embeds_images(self) -> bool:
        return self.scoring.enabled and self.scoring.function in PRODUCTS

    def _models(self) -> dict[str, Any]:
        """Returns the foundation models that are used with these settings, by role."""
        models: dict[str, Any] = {"captioner": self.captioner}
        if self.language_model is not None:
            models["language model"] = self.language_model
        if self.scoring.enabled:
            models["generator"] = self.synthetic_images.generator
        several, sentence_encoder = self.labels.count > 1, self.labels.sentence_encoder
        if self._embeds_images or (several and sentence_encoder is None):
            models["image-text model"] = self.encoder
        if several and sentence_encoder is not None:
            models["sentence encoder"] = sentence_encoder
        return models

    def models(self) -> Mapping[str, str]:
        """See `Method.models`."""
        return {role: model.name for role, model in self._models().items()}

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`. Settings of steps that are switched off are left out."""
        identity: dict[str, Any] = {
            "format": _FORMAT,
            "images": self.exemplars.count,
            "crops": self.cropping,
            "seed": self.seed,
            "max_candidates": self.candidates.max_candidates,
            "models": {role: model.fingerprint() for role, model in self._models().items()},
        }
        if self.language_model is not None:
            identity["language_model"] = {
                "prompts": prompts_fingerprint(),
                "summaries": self.candidates.summaries,
                "tries": self.candidates.tries,
            }
        if self.scoring.enabled:
            images, scoring = self.synthetic_images.settings, self.scoring
            identity["selection"] = {
                "images": images.count,
                "stored": [images.format, images.size],
                "scoring": [scoring.function, self.variant, scoring.top_k, scoring.top_images],
            }
        if self.labels.count > 1:
            identity["labels"] = [self.labels.count, self.labels.max_similarity]
        return identity

    def expected_calls(self, units: int) -> ExpectedCalls | None:
        """See `Method.expected_calls`."""
        if self.language_model is None or isinstance(self.language_model, KeyPhrases):
            return None
        account = self.language_model.account
        return expected_calls(
            units,
            self.exemplars.count,
            self.candidates.summaries,
            max_tokens=self.language_model.max_tokens or 0,
            prices=account.prices if account else _FREE,
        )

    def map_consumers(self, layer: ProbedLayer, units: Sequence[int]) -> Sequence[MapConsumer]:
        """See `Method.map_consumers`: maps of the units' exemplars, for the crops."""
        return map_consumers(layer, units, self.exemplars.count, self.cropping)

    def illustrations(
        self, layer: ProbedLayer, records: Sequence[Description]
    ) -> Iterator[tuple[int, Illustration]]:
        """See `Method.illustrations`: captioned images, and synthetic images with responses."""
        return step_illustrations(layer, records, self.synthetic_images)

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. A unit's seconds are its share of its block's."""
        for start in range(0, len(units), self.block):
            yield from self._describe_block(layer, units[start : start + self.block])

    def _describe_block(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        started = time.perf_counter()
        alive = [unit for unit in units if not layer.dead[unit]]
        results = self._run_steps(layer, alive)
        seconds = (time.perf_counter() - started) / max(len(alive), 1)
        for unit in units:
            if layer.dead[unit]:
                yield Description(layer.unit(unit), self.name, None, "dead")
            else:
                yield replace(self._description(layer, unit, results), seconds=seconds)

    def _run_steps(self, layer: ProbedLayer, units: Sequence[int]) -> _BlockResults:
        """Runs all steps for a block of units; a unit that fails in one is missing from the next."""
        # Each step runs for all units before the next one, so that every model gets large batches.
        steps = Steps()
        images = steps.run(lambda some: self._top_images(layer, some), dict.fromkeys(units))
        proposals = steps.run(lambda some: self._proposals(layer, some), images)
        texts: dict[int, tuple[str, ...]] = {}
        for unit, proposal in proposals.items():
            if proposal.candidates:
                texts[unit] = proposal.candidates[: self.candidates.max_candidates]
            else:
                steps.failures[unit] = _why_no_candidate(proposal)
        ranked = self._ranked(layer, texts, images, steps)
        labels = steps.run_each(lambda _, candidates: self._labels(candidates), ranked)
        return _BlockResults(images, proposals, ranked, labels, steps.failures)

    def _description(self, layer: ProbedLayer, unit: int, results: _BlockResults) -> Description:
        """Returns the record of a unit that is not dead."""
        evidence: dict[str, Any] = {
            "images": [image.evidence() for image in results.images.get(unit, ())]
        }
        cost_usd = 0.0
        if (proposal := results.proposals.get(unit)) is not None:
            evidence |= proposal.evidence()
            evidence["left_out"] = list(proposal.candidates[self.candidates.max_candidates :])
            cost_usd = proposal.cost_usd
        unit_id = layer.unit(unit)
        if unit not in results.labels:  # it failed in a step, and keeps the evidence of the steps before
            evidence = {"reason": results.failures[unit], **evidence}
            return Description(unit_id, self.name, None, "failed", evidence=evidence, cost_usd=cost_usd)
        ranked, text = results.ranked[unit], _BETWEEN_LABELS.join(results.labels[unit])
        return Description(
            unit_id, self.name, text, "ok", ranked[0].score, ranked, evidence, cost_usd=cost_usd
        )

    def _top_images(self, layer: ProbedLayer, units: Iterable[int]) -> dict[int, tuple[TopImage, ...]]:
        """Step 1, with captions of the images that are kept."""
        by_unit = top_images(layer, list(units), self.exemplars.count, self.cropping)
        # Units often share exemplars: each image is captioned once.
        pixels = {
            top.key: top.image for of_unit in by_unit.values() for top in of_unit if top.image is not None
        }
        texts = cached_captions(self.captioner, pixels.values(), layer.cache)
        captions = dict(zip(pixels, texts, strict=True))
        return {
            unit: tuple(
                replace(top, caption=captions[top.key]) if top.image is not None else top
                for top in of_unit
            )
            for unit, of_unit in by_unit.items()
        }

    def _proposals(
        self, layer: ProbedLayer, images: Mapping[int, Sequence[TopImage]]
    ) -> dict[int, Proposal]:
        """Step 2."""
        model = self.language_model and CachedLanguageModel(self.language_model, layer.cache)
        captions = {
            layer.unit(unit): [top.caption for top in of_unit if top.caption]
            for unit, of_unit in images.items()
        }
        proposals = propose(
            captions,
            model,
            summaries=self.candidates.summaries,
            tries=self.candidates.tries,
            seed=self.seed,
        )
        return {unit: proposals[layer.unit(unit)] for unit in images}

    def _ranked(
        self,
        layer: ProbedLayer,
        texts: Mapping[int, tuple[str, ...]],
        images: Mapping[int, Sequence[TopImage]],
        steps: Steps,
    ) -> dict[int, tuple[Candidate, ...]]:
        """Step 3: the candidates of each unit, the best first."""
        if not self.scoring.enabled:
            return {unit: tuple(map(Candidate, of_unit)) for unit, of_unit in texts.items()}
        own_embeddings = steps.run(
            lambda some: self._own_embeddings({unit: images[unit] for unit in some}), texts
        )
        encoder = self.encoder if self._embeds_images else None
        synthetic = steps.run(
            lambda some: self.synthetic_images.results(
                layer, {unit: texts[unit] for unit in some}, encoder
            ),
            own_embeddings,
        )
        return steps.run_each(
            lambda unit, results: self._scored(texts[unit], own_embeddings[unit], results), synthetic
        )

    def _own_embeddings(
        self, images: Mapping[int, Sequence[TopImage]]
    ) -> dict[int, NDArray[np.float32] | None]:
        """Embeds the units' top images, each once; None if the scoring function needs no embeddings."""
        if not self._embeds_images:
            return dict.fromkeys(images)
        kept = {
            unit: [top for top in of_unit if top.image is not None] for unit, of_unit in images.items()
        }
        pixels = {top.key: top.image for of_unit in kept.values() for top in of_unit if top.image}
        embeddings = self.encoder.encode_images(pixels.values())
        rows = {key: row for row, key in enumerate(pixels)}
        return {unit: embeddings[[rows[top.key] for top in of_unit]] for unit, of_unit in kept.items()}

    def _scored(
        self,
        texts: Sequence[str],
        own_embeddings: NDArray[np.float32] | None,
        synthetic: SyntheticResults,
    ) -> tuple[Candidate, ...]:
        ranked = RankedImages.of(
            synthetic.responses,
            own_embeddings,
            synthetic.embeddings,
            top_k=self.scoring.top_k,
            top_images=self.scoring.top_images,
            variant=self.variant,
        )
        function = self.scoring.function
        scores, details = SCORING_FUNCTIONS[function](ranked).tolist(), candidate_scores(ranked)
        seeds = [self.synthetic_images.seeds(text) for text in texts]
        return tuple(
            Candidate(
                texts[i],
                scores[i],
                {
                    **asdict(details[i]),
                    "seeds": seeds[i],
                    "responses": synthetic.responses[i].tolist(),
                },
            )
            for i in best_first(ranked, function)
        )

    def _labels(self, candidates: Sequence[Candidate]) -> list[str]:
        """Returns the best candidates that differ from each other, the best first."""
        texts = [candidate.text for candidate in candidates]
        if self.labels.count == 1:
            return texts[:1]
        sentence_encoder = self.labels.sentence_encoder
        encode = sentence_encoder.encode if sentence_encoder else self.encoder.encode_texts
        vectors = encode(texts)  # of length 1, so that products are cosines
        distinct = keep_distinct(texts, vectors @ vectors.T, self.labels.max_similarity)
        return distinct[: self.labels.count]


@dataclass(frozen=True)
class _BlockResults:
    """Results of all steps for a block, by unit; a unit that failed is missing from later steps.

    Attributes:
        images: step 1.
        proposals: step 2.
        ranked: step 3, the candidates of each unit, the best first.
        labels: the labels of each description.
        failures: the reason of each unit without labels.
    """

    images: Mapping[int, tuple[TopImage, ...]]
    proposals: Mapping[int, Proposal]
    ranked: Mapping[int, tuple[Candidate, ...]]
    labels: Mapping[int, list[str]]
    failures: Mapping[int, str]


def _why_no_candidate(proposal: Proposal) -> str:
    if not proposal.captions:
        return "the captioner has no caption for its images"
    problems = [answer.tries[-1].problem for answer in proposal.summaries]
    return f"no candidate: {problems[0]}" if problems else "its captions contain no words"

"""Describe-and-Dissect: captions of a unit's top images become candidates, which synthetic images judge.

Bai, Iyer, Oikarinen, Kulkarni and Weng, "Interpreting Neurons in Deep Vision Networks with Language
Models", TMLR 2025.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.errors import InputError, one_of
from ...harness.foundation.caption_cache import cached_captions
from ...harness.foundation.image_cache import Format
from ...harness.foundation.pricing import Prices
from ...harness.foundation.protocols import (
    Captioner,
    ImageGenerator,
    ImageTextEncoder,
    LanguageModel,
    SentenceEncoder,
)
from ...harness.foundation.reply_cache import CachedLanguageModel
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from ..method import ExpectedCalls, Method
from .candidates import Proposal, propose
from .expected_calls import expected_calls
from .prompts import prompts_fingerprint
from .selection import (
    PRODUCTS,
    SCORINGS,
    Contest,
    Variant,
    best_first,
    candidate_scores,
    keep_distinct,
)
from .steps import Steps
from .synthetic import Drawn, Studio, picture_size
from .top_images import Cropping, Shown, top_images

_FORMAT = 1  # of what leads from the activations to a description
_SEVERAL = "; "  # between the labels of one unit
_FREE = Prices(0.0, 0.0)


class DescribeAndDissect(Method):
    """Describes a unit by the candidate whose synthetic images it responds to most.

    Step 1: among the unit's exemplars and the parts of them in which it is active, the strongest are
    kept. Step 2: a captioner says what these show, a language model makes candidates of it. Step 3:
    a generator draws every candidate; the unit's response to the pictures, and how much these look like
    its own top images, choose one. docs/methods/dnd.md lists where the paper, the published program and
    this class differ.

    Units go through in blocks, everything of a block in one batch; the memory does not grow with the
    number of units. A description depends neither on the block nor on the other units.

    Args:
        captioner: says what a picture shows.
        language_model: simplifies and summarises captions; None: the captions are the candidates.
        generator: draws what a candidate says.
        encoder: embeds pictures for the scoring functions with image products, and labels where there
            are several and no `sentence_encoder`.
        images: exemplars per unit, and how many of exemplars and crops are captioned.
        crops: "attention"; "off"; or "official", as the published program cuts.
        summaries: how many times the captions are summarised.
        images_per_candidate: synthetic images.
        scoring: "mean", "median", "sq_mean", "topk_sq_mean", "image_products" or
            "topk_sq_image_products".
        selection: False: the first candidate is the description; nothing is drawn.
        variant: "paper"; or "official", which cuts, breaks ties and compares images as the published
            program does (see `selection` and `crops`).
        labels: how many labels a description may hold.
        label_similarity: a further label is kept if it is at most this similar to those before it.
        sentence_encoder: measures that similarity; None: the texts' embeddings by `encoder`.
        block: units at once.
        seed: of the captions' orders and of the synthetic images.
        max_candidates: of a unit; later ones are left out, and recorded.
        beta: best positions that `topk_sq_mean` looks at.
        t: strongest images that the image products look at.
        tries: of a request to the language model whose reply cannot be used.
        image_format: in which synthetic images are kept: "png" or "webp".
        image_size: [width, height] in which they are kept; None: as they are drawn.

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
        images: int = 10,
        crops: Cropping = "attention",
        summaries: int = 5,
        images_per_candidate: int = 10,
        scoring: str = "topk_sq_image_products",
        selection: bool = True,
        variant: Variant = "paper",
        labels: int = 1,
        label_similarity: float = 0.81,
        sentence_encoder: SentenceEncoder | None = None,
        block: int = 32,
        seed: int = 0,
        max_candidates: int = 20,
        beta: int = 5,
        t: int = 10,
        tries: int = 3,
        image_format: Format = "png",
        image_size: Sequence[int] | None = None,
    ) -> None:
        one_of("describe_and_dissect.crops", crops, ("attention", "official", "off"))
        one_of("describe_and_dissect.scoring", scoring, SCORINGS)
        one_of("describe_and_dissect.variant", variant, ("paper", "official"))
        one_of("describe_and_dissect.image_format", image_format, ("png", "webp"))
        _at_least_one(images=images, summaries=summaries, images_per_candidate=images_per_candidate)
        _at_least_one(labels=labels, block=block, max_candidates=max_candidates)
        _at_least_one(beta=beta, t=t, tries=tries)
        self.captioner, self.language_model, self.encoder = captioner, language_model, encoder
        self.images, self.summaries, self.tries = images, summaries, tries
        self.cropping: Cropping = "official" if variant == "official" and crops == "attention" else crops
        self.scoring, self.selection = scoring, selection
        self.variant: Variant = variant
        self.labels, self.label_similarity, self.sentence_encoder = (
            labels,
            label_similarity,
            sentence_encoder,
        )
        self.block, self.seed, self.max_candidates, self.beta, self.t = (
            block,
            seed,
            max_candidates,
            beta,
            t,
        )
        self.studio = Studio(
            generator, images_per_candidate, seed, image_format, picture_size(image_size)
        )

    @property
    def _embeds_images(self) -> bool:
        return self.selection and self.scoring in PRODUCTS

    def _parts(self) -> dict[str, Any]:
        """The foundation models that the settings make use of."""
        parts: dict[str, Any] = {"captioner": self.captioner}
        if self.language_model is not None:
            parts["language model"] = self.language_model
        if self.selection:
            parts["generator"] = self.studio.generator
        if self._embeds_images or (self.labels > 1 and self.sentence_encoder is None):
            parts["image-text model"] = self.encoder
        if self.labels > 1 and self.sentence_encoder is not None:
            parts["sentence encoder"] = self.sentence_encoder
        return parts

    def models(self) -> Mapping[str, str]:
        """See `Method.models`."""
        return {role: part.name for role, part in self._parts().items()}

    def identity(self) -> Mapping[str, Any]:
        """See `Method.identity`. What a setting switches off is no part of it."""
        found: dict[str, Any] = {
            "format": _FORMAT,
            "images": self.images,
            "crops": self.cropping,
            "seed": self.seed,
            "max_candidates": self.max_candidates,
            "models": {role: part.fingerprint() for role, part in self._parts().items()},
        }
        if self.language_model is not None:
            asked = {"prompts": prompts_fingerprint(), "summaries": self.summaries, "tries": self.tries}
            found["language_model"] = asked
        if self.selection:
            found["selection"] = {
                "images": self.studio.images,
                "stored": [self.studio.format, self.studio.size],
                "scoring": [self.scoring, self.variant, self.beta, self.t],
            }
        if self.labels > 1:
            found["labels"] = [self.labels, self.label_similarity]
        return found

    def expected_calls(self, units: int) -> ExpectedCalls | None:
        """See `Method.expected_calls`."""
        if self.language_model is None:
            return None
        account = self.language_model.account
        return expected_calls(
            units,
            self.images,
            self.summaries,
            max_tokens=self.language_model.max_tokens or 0,
            prices=account.prices if account else _FREE,
        )

    def describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """See `Method.describe`. A unit's seconds are its share of its block's."""
        for start in range(0, len(units), self.block):
            yield from self._describe(layer, units[start : start + self.block])

    def _describe(self, layer: ProbedLayer, units: Sequence[int]) -> Iterator[Description]:
        """Describes a block of units, step by step."""
        started = time.perf_counter()
        steps = Steps()
        alive = [unit for unit in units if not layer.dead[unit]]
        shown = steps.run(lambda some: self._shown(layer, some), dict.fromkeys(alive))
        proposals = steps.run(lambda some: self._proposals(layer, some), shown)
        for unit, proposal in proposals.items():
            if not proposal.candidates:
                steps.failures[unit] = _why_none(proposal)
        texts = {unit: self._competing(found) for unit, found in proposals.items() if found.candidates}
        ranked = self._ranked(layer, texts, shown, steps)
        chosen = steps.run(
            lambda some: {unit: self._labels(found) for unit, found in some.items()}, ranked
        )
        share = (time.perf_counter() - started) / max(len(alive), 1)
        for unit in units:
            if unit not in alive:
                yield Description(layer.unit(unit), self.name, None, "dead")
                continue
            evidence = _evidence(shown.get(unit, ()), proposals.get(unit), self.max_candidates)
            cost = proposals[unit].cost_usd if unit in proposals else 0.0
            if unit in chosen:
                best, labels = ranked[unit], chosen[unit]
                found = Description(
                    layer.unit(unit), self.name, _SEVERAL.join(labels), "ok", best[0].score, best
                )
            else:
                found = Description(layer.unit(unit), self.name, None, "failed")
                evidence = {"reason": steps.failures[unit], **evidence}
            yield replace(found, evidence=evidence, seconds=share, cost_usd=cost)

    def _shown(self, layer: ProbedLayer, units: Iterable[int]) -> dict[int, tuple[Shown, ...]]:
        """Step 1, and the captions of what it keeps."""
        found = top_images(layer, list(units), self.images, self.cropping)
        pictures = {
            one.key: one.picture for shown in found.values() for one in shown if one.picture is not None
        }
        said = cached_captions(self.captioner, pictures.values(), layer.cache)
        captions = dict(zip(pictures, said, strict=True))
        return {
            unit: tuple(replace(s, caption=captions[s.key]) if s.picture else s for s in shown)
            for unit, shown in found.items()
        }

    def _proposals(self, layer: ProbedLayer, shown: Mapping[int, Sequence[Shown]]) -> dict[int, Proposal]:
        """Step 2."""
        model = self.language_model and CachedLanguageModel(self.language_model, layer.cache)
        captions = {
            layer.unit(unit): [one.caption for one in found if one.caption]
            for unit, found in shown.items()
        }
        found = propose(captions, model, summaries=self.summaries, tries=self.tries, seed=self.seed)
        return {unit: found[layer.unit(unit)] for unit in shown}

    def _competing(self, proposal: Proposal) -> tuple[str, ...]:
        return proposal.candidates[: self.max_candidates]

    def _ranked(
        self,
        layer: ProbedLayer,
        texts: Mapping[int, tuple[str, ...]],
        shown: Mapping[int, Sequence[Shown]],
        steps: Steps,
    ) -> dict[int, tuple[Candidate, ...]]:
        """Step 3: each unit's candidates, the best one first."""
        if not self.selection:
            return {unit: tuple(map(Candidate, found)) for unit, found in texts.items()}
        own = steps.run(lambda some: self._own({unit: shown[unit] for unit in some}), texts)
        encoder = self.encoder if self._embeds_images else None
        drawn = steps.run(
            lambda some: self.studio.draw(layer, {unit: texts[unit] for unit in some}, encoder), own
        )
        return steps.run(
            lambda some: {unit: self._judged(texts[unit], own[unit], some[unit]) for unit in some}, drawn
        )

    def _own(self, shown: Mapping[int, Sequence[Shown]]) -> dict[int, NDArray[np.float32] | None]:
        """Embeds the units' top images, each once."""
        if not self._embeds_images:
            return dict.fromkeys(shown)
        top = {unit: [one for one in found if one.picture is not None] for unit, found in shown.items()}
        pictures = {one.key: one.picture for found in top.values() for one in found if one.picture}
        embedded = self.encoder.encode_images(pictures.values())
        rows = {key: row for row, key in enumerate(pictures)}
        return {unit: embedded[[rows[one.key] for one in found]] for unit, found in top.items()}

    def _judged(
        self, texts: Sequence[str], own: NDArray[np.float32] | None, drawn: Drawn
    ) -> tuple[Candidate, ...]:
        contest = Contest.of(
            drawn.responses, own, drawn.embeddings, beta=self.beta, t=self.t, variant=self.variant
        )
        scores, details = SCORINGS[self.scoring](contest).tolist(), candidate_scores(contest)
        return tuple(
            Candidate(texts[i], scores[i], {**asdict(details[i]), "seeds": self.studio.seeds(texts[i])})
            for i in best_first(contest, self.scoring)
        )

    def _labels(self, ranked: Sequence[Candidate]) -> list[str]:
        """Returns the best candidates that say something new, the best one first."""
        texts = [candidate.text for candidate in ranked]
        if self.labels == 1:
            return texts[:1]
        encode = self.sentence_encoder.encode if self.sentence_encoder else self.encoder.encode_texts
        vectors = encode(texts)
        return keep_distinct(texts, vectors @ vectors.T, self.label_similarity)[: self.labels]


def _evidence(shown: Sequence[Shown], proposal: Proposal | None, most: int) -> dict[str, Any]:
    """What led to a description; `orders` count the captions of the proposal."""
    found: dict[str, Any] = {"images": [one.evidence() for one in shown]}
    if proposal is not None:
        found |= proposal.evidence()
        found["left_out"] = list(proposal.candidates[most:])
    return found


def _why_none(proposal: Proposal) -> str:
    if not proposal.captions:
        return "the captioner says nothing of its images"
    problems = [answer.tries[-1].problem for answer in proposal.summaries]
    return f"no candidate could be had: {problems[0]}" if problems else "its captions hold no words"


def _at_least_one(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise InputError(f"describe_and_dissect.{name} must be at least 1, not {value}")

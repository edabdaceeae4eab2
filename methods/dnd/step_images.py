"""Shows the images that were captioned, and the synthetic images of candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...harness.illustrations import WHOLE, EvidenceImage, Illustration
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description
from .synthetic import SyntheticImages

CANDIDATES, BEST, OTHERS = 4, 5, 3
"""Number of candidates that are shown, of images of the best one, and of images of each other one."""

_STRONGEST = (
    "Its synthetic images with the strongest responses. Below each image: the response of the unit."
)
_SYNTHETIC = "Its first synthetic images; the record does not have the responses to them."


def step_illustrations(
    layer: ProbedLayer, records: Sequence[Description], synthetic: SyntheticImages
) -> Iterator[tuple[int, Illustration]]:
    """Yields the captioned images of each unit, and synthetic images of its best candidates."""
    for record in records:
        captioned = [image for image in record.evidence.get("images", ()) if "caption" in image]
        if captioned:
            images = (
                EvidenceImage(
                    image["image"],
                    image["caption"],
                    image["response"],
                    WHOLE if image["box"] is None else tuple(image["box"]),
                )
                for image in captioned
            )
            note = "Below each image: the response of the unit, and the caption."
            yield record.unit.index, Illustration("Captioned images and crops", tuple(images), note)
        for rank, candidate in enumerate(record.candidates[:CANDIDATES], 1):
            if "seeds" in candidate.details:
                yield record.unit.index, _of_candidate(layer, candidate, rank, synthetic)


def _of_candidate(
    layer: ProbedLayer, candidate: Candidate, rank: int, synthetic: SyntheticImages
) -> Illustration:
    """Returns the synthetic images of a candidate with the strongest responses."""
    seeds = candidate.details["seeds"]
    responses = candidate.details.get("responses")
    files = synthetic.stored(candidate.text, seeds, layer.cache)
    order = range(len(seeds)) if responses is None else np.argsort(-np.asarray(responses), kind="stable")
    chosen = [int(i) for i in order][: BEST if rank == 1 else OTHERS]
    images = []
    for i in chosen:
        file = files[i]
        if file is not None:
            images.append(EvidenceImage(file, value=None if responses is None else float(responses[i])))
    notes = []
    if rank == 1:
        notes.append(_SYNTHETIC if responses is None else _STRONGEST)
    if len(images) < len(chosen):
        notes.append(f"{len(chosen) - len(images)} images are no longer in the cache.")
    score = "" if candidate.score is None else f", score {candidate.score:.4g}"
    return Illustration(f"Candidate {rank}: {candidate.text}{score}", tuple(images), " ".join(notes))

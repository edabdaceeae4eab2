"""Finds the images of the probing set that are most similar to a concept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...harness.foundation.embeddings import stored_image_embeddings, stored_text_embeddings
from ...harness.illustrations import EvidenceImage, Illustration
from ...harness.probe import ProbedLayer
from ...harness.records import Candidate, Description

if TYPE_CHECKING:
    from ...datasets.concepts import ConceptSet
    from ...harness.foundation.protocols import ImageTextEncoder

CONCEPTS, IMAGES = 4, 4
"""Number of concepts that are illustrated, and of images of each."""

_NOTE = (
    "The images that the image-text model finds most similar to the concept. Below each image: the value "
    "of the unit, and the cosine of image and concept."
)
_GONE = "The embeddings of the images or concepts are no longer in the cache."


def concept_illustrations(
    layer: ProbedLayer,
    records: Sequence[Description],
    encoder: ImageTextEncoder,
    concepts: ConceptSet,
) -> Iterator[tuple[int, Illustration]]:
    """Yields the best concepts of each unit with the images that are most similar to them.

    Similarities are products of cached embeddings.
    """
    described = [record for record in records if record.candidates]
    images = stored_image_embeddings(encoder, layer.probe, layer.cache)
    texts = stored_text_embeddings(encoder, concepts.words, layer.cache)
    if images is None or texts is None:
        for record in described:
            yield record.unit.index, Illustration("Images most similar to the best concepts", note=_GONE)
        return
    rows = {word: row for row, word in enumerate(concepts.words)}
    # Units of a block often share concepts.
    words = dict.fromkeys(c.text for record in described for c in record.candidates[:CONCEPTS])
    known = [word for word in words if word in rows]
    nearest = dict(zip(known, most_similar(images, texts[[rows[w] for w in known]]), strict=True))
    for record in described:
        for rank, candidate in enumerate(record.candidates[:CONCEPTS], 1):
            if candidate.text in nearest:
                found = nearest[candidate.text]
                yield record.unit.index, _illustration(layer, record, candidate, rank, found)


def _illustration(
    layer: ProbedLayer,
    record: Description,
    candidate: Candidate,
    rank: int,
    nearest: Sequence[tuple[int, float]],
) -> Illustration:
    images = tuple(
        EvidenceImage(index, f"cosine {cosine:.3f}", float(layer.values[index, record.unit.index]))
        for index, cosine in nearest
    )
    return Illustration(
        f"Concept {rank}: {candidate.text}, score {candidate.score:.4g}",
        images,
        "" if rank > 1 else _NOTE,
    )


def most_similar(
    shards: Sequence[NDArray[np.float32]], texts: NDArray[np.float32], count: int = IMAGES
) -> list[list[tuple[int, float]]]:
    """Returns for each text the images with the highest cosines, highest first, ties by image index.

    Args:
        shards: the images' embeddings, float32 [images, d] each, of length 1.
        texts: float32 [texts, d], of length 1.
        count: number of images.
    """
    best: list[list[tuple[int, float]]] = [[] for _ in texts]
    first = 0
    for shard in shards:
        cosines = np.asarray(texts) @ np.asarray(shard).T
        for row, of_text in enumerate(cosines):
            order = np.argsort(-of_text, kind="stable")[:count]
            best[row] += [(first + int(index), float(of_text[index])) for index in order]
        first += len(shard)
    return [sorted(of_text, key=lambda pair: (-pair[1], pair[0]))[:count] for of_text in best]

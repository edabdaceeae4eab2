"""How much each image shows what a text says: by an image-text model, or by annotations."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.probing_set import Annotations, ProbingSet
from ...harness.cache import Cache
from ...harness.errors import InputError
from ...harness.foundation.embeddings import image_embeddings, text_embeddings
from ...harness.foundation.protocols import ImageTextEncoder

_TEXTS = 64  # per matrix product; always filled up, so that a text's result does not depend on the others


@dataclass(frozen=True)
class PresenceBlock:
    """The presence of some texts in all images.

    Attributes:
        texts: the texts.
        values: float32 [texts, images].
    """

    texts: Sequence[str]
    values: NDArray[np.float32]


class Presence(ABC):
    """A source of concept presence.

    Attributes:
        name: what it is called in the names of metrics, such as "simulation".
        meaning: its definition in a few words.
        is_probability: whether one half separates images that show the text from the others.
    """

    name: str
    meaning: str
    is_probability: bool = True

    @abstractmethod
    def blocks(self, probe: ProbingSet, texts: Sequence[str], cache: Cache) -> Iterator[PresenceBlock]:
        """Yields the presence of distinct texts, in blocks; texts without any are left out.

        Raises:
            InputError: if the images lack what the presence is computed from.
        """

    def missing(self) -> str:
        """Returns why a text that `blocks` leaves out has no presence."""
        return "no presence"

    def models(self) -> Mapping[str, str]:
        """Returns the names of the models used, by their role."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """Returns everything the presence depends on, besides images and texts. JSON-able."""
        return {}


class Simulated(Presence):
    """Presence simulated by an image-text model: the cosine of image and text, raw or as a probability.

    With `scale`, the probability is 1 / (1 + exp(-scale (cosine + shift))): Linear Explanations use
    SigLIP SO400M with scale 58 and shift -0.13. Without it, the cosine itself is used, which ranks images
    equally; for measures that count images with a presence of at least one half, it needs a scale.

    Args:
        encoder: the image-text model.
        scale: slope of the probability; None for the cosine.
        shift: added to the cosine.
        template: pattern in which `{}` is the text.

    Raises:
        InputError: if the template has no `{}`.
    """

    name = "simulation"

    def __init__(
        self,
        encoder: ImageTextEncoder,
        scale: float | None = None,
        shift: float = 0.0,
        template: str = "{}",
    ) -> None:
        if template.count("{}") != 1:
            raise InputError(f"presence.template is {template!r}", "it must contain {} once")
        self.encoder, self.scale, self.shift, self.template = encoder, scale, shift, template
        self.is_probability = scale is not None
        self.meaning = "cosine of image and text" if scale is None else "probability that the text fits"

    def blocks(self, probe: ProbingSet, texts: Sequence[str], cache: Cache) -> Iterator[PresenceBlock]:
        """See `Presence.blocks`; every text has a presence."""
        images = image_embeddings(self.encoder, probe, cache)
        prompts = [self.template.replace("{}", text) for text in texts]
        # Cached, because metrics with the same texts follow one another.
        embeddings = text_embeddings(self.encoder, prompts, cache) if prompts else images[:0]
        for start in range(0, len(texts), _TEXTS):
            block, rows = texts[start : start + _TEXTS], embeddings[start : start + _TEXTS]
            filled = np.zeros((_TEXTS, images.shape[1]), np.float32)
            filled[: len(rows)] = rows
            cosines = (filled @ images.T)[: len(rows)]
            yield PresenceBlock(block, cosines if self.scale is None else self._probability(cosines))

    def _probability(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        from scipy.special import expit

        assert self.scale is not None
        return expit(np.float32(self.scale) * (cosines + np.float32(self.shift)))

    def models(self) -> Mapping[str, str]:
        """The image-text model."""
        return {"image-text model": self.encoder.name}

    def identity(self) -> Mapping[str, Any]:
        """Name and fingerprint of the encoder, and the settings."""
        settings = {"scale": self.scale, "shift": self.shift, "template": self.template}
        return {"encoder": self.encoder.name, "fingerprint": self.encoder.fingerprint(), **settings}


class Annotated(Presence):
    """Presence by the annotations of the probing set: 1 where an image has the label, else 0.

    A text is the label of the same name; case, underscores and a leading article do not count. The
    classes of the images are labels too.
    """

    name = "annotation"
    meaning = "presence of the text as a label of the image"

    def blocks(self, probe: ProbingSet, texts: Sequence[str], cache: Cache) -> Iterator[PresenceBlock]:
        """See `Presence.blocks`; texts that are no label are left out."""
        names, present = annotated_presence(probe, cache)
        rows = {plain(name): row for row, name in reversed(list(enumerate(names)))}
        for text in texts:
            if plain(text) in rows:
                yield PresenceBlock([text], present[[rows[plain(text)]]].astype(np.float32))

    def missing(self) -> str:
        """The text is no label."""
        return "no label of this name"


def annotated_presence(probe: ProbingSet, cache: Cache) -> tuple[list[str], NDArray[np.bool_]]:
    """Returns the names of labels and classes, and which images have them, bool [labels, images].

    Raises:
        InputError: if the probing set has neither annotations nor classes.
    """
    annotations, classes, labels = probe.annotations, probe.classes, probe.labels
    if annotations is None and (classes is None or labels is None):
        raise InputError(
            f"probing set {probe.name} has neither annotations nor classes",
            "use a probing set with labels, or metric=[simulation_correlation], which needs none",
        )
    names: list[str] = []
    rows: list[NDArray[np.bool_]] = []
    if annotations is not None:
        key = {"annotations": annotations.fingerprint()}
        names += [label.name for label in annotations.labels]
        rows.append(cache.array("label_presence", key, lambda: _label_presence(annotations, len(probe))))
    if classes is not None and labels is not None:
        names += classes
        rows.append(np.arange(len(classes))[:, None] == labels[None, :])
    return names, np.concatenate(rows)


def plain(text: str) -> str:
    """Returns a text as labels are compared: lower case, single spaces, no leading article."""
    words = re.sub(r"[\W_]+", " ", text.casefold()).strip()
    return re.sub(r"^(an?|the) ", "", words)


def _label_presence(annotations: Annotations, images: int) -> NDArray[np.bool_]:
    present = np.zeros((len(annotations.labels), images), np.bool_)
    for index in range(images):
        annotation = annotations.of(index)
        numbers = np.unique(annotation.planes)
        # Label i has number i + 1; 0 means unlabelled.
        present[numbers[numbers > 0] - 1, index] = True
        present[np.array(annotation.whole, np.int64) - 1, index] = True
    return present

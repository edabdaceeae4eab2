"""Captions images with the nearest concept of a concept set, by an image-text model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Protocol

from annotated_types import Ge

from ..errors import InputError
from ..files import fingerprint
from .protocols import ImageTextEncoder

if TYPE_CHECKING:
    from PIL.Image import Image


class Concepts(Protocol):
    """The part of a concept set that the captioner uses."""

    @property
    def name(self) -> str:
        """Name in records and tables."""
        ...

    @property
    def words(self) -> Sequence[str]:
        """The words or phrases."""
        ...


class ConceptCaptioner:
    """Captions an image with the concept nearest to it; implements `protocols.Captioner`.

    The ablation of Describe-and-Dissect that uses CLIP and a fixed concept set instead of BLIP.

    Args:
        encoder: embeds images and concepts.
        concepts: the possible captions; of equally near concepts, the first one is used.
        template: text around a concept, with "{}" in its place; embedded, but not part of the caption.
        batch_size: images that are embedded, and cached, together.

    Raises:
        InputError: if the concept set is empty, or the template has no place for a concept.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        concepts: Concepts,
        template: str = "{}",
        batch_size: Annotated[int, Ge(1)] = 16,
    ) -> None:
        if not concepts.words:
            raise InputError(f"captioner.concepts: {concepts.name} has no concepts")
        if template.count("{}") != 1:
            raise InputError(f"captioner.template={template!r} must contain {{}} once, for the concept")
        self.encoder, self.concepts, self.template = encoder, concepts, template
        self.batch_size = batch_size
        self.name = f"{encoder.name} with {concepts.name}"

    def fingerprint(self) -> str:
        """Hash of the encoder, the concepts and the template."""
        words = list(self.concepts.words)
        return fingerprint(["concept captioner", self.encoder.fingerprint(), words, self.template])

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns the concept nearest to each image, by the cosine of their embeddings."""
        words = list(self.concepts.words)
        texts = [self.template.replace("{}", word) for word in words]
        concepts = self.encoder.encode_texts(texts)
        # One product per image: of a product of all, the last bits depend on the number of images.
        return [words[(concepts @ image).argmax()] for image in self.encoder.encode_images(images)]

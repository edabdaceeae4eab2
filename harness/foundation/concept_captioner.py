"""An image-text model and a concept set in the place of a captioner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..errors import InputError
from ..files import fingerprint
from .protocols import ImageTextEncoder

if TYPE_CHECKING:
    from PIL.Image import Image


class Concepts(Protocol):
    """What is needed of a concept set."""

    @property
    def name(self) -> str:
        """What it is called in records and tables."""
        ...

    @property
    def words(self) -> Sequence[str]:
        """The words or phrases."""
        ...


class ConceptCaptioner:
    """Captions a picture by the concept nearest to it; implements `protocols.Captioner`.

    The ablation of Describe-and-Dissect that has CLIP and a fixed concept set instead of BLIP.

    Args:
        encoder: embeds pictures and concepts.
        concepts: what can be said; of equally near ones, the first is.
        template: what the concepts are put into to be embedded, at its "{}"; not part of the caption.

    Raises:
        InputError: if there are no concepts, or the template has no place for them.
    """

    def __init__(self, encoder: ImageTextEncoder, concepts: Concepts, template: str = "{}") -> None:
        if not concepts.words:
            raise InputError(f"captioner.concepts: {concepts.name} has no concepts")
        if template.count("{}") != 1:
            raise InputError(f"captioner.template={template!r} must hold {{}} once, for the concept")
        self.encoder, self.concepts, self.template = encoder, concepts, template
        self.name = f"{encoder.name} with {concepts.name}"

    def fingerprint(self) -> str:
        """Hash of the encoder, the concepts and the template."""
        words = list(self.concepts.words)
        return fingerprint(["concept captioner", self.encoder.fingerprint(), words, self.template])

    def caption(self, images: Sequence[Image]) -> list[str]:
        """Returns the concept nearest to each picture, by the cosine of their embeddings."""
        words = list(self.concepts.words)
        texts = [self.template.replace("{}", word) for word in words]
        cosines = self.encoder.encode_images(images) @ self.encoder.encode_texts(texts).T
        return [words[best] for best in cosines.argmax(axis=1).tolist()]

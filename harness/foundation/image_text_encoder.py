"""The common part of the image-text encoders: batches, caching of texts, normalisation.

A model is loaded when the first embedding is requested, and once per process. An embedding does not
depend on the other images or texts of its batch.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..devices import resolve
from ..errors import InputError, at_least, one_of
from ..fixed_batches import batch_rows, batches_by_shape, fixed_batches
from .precision import DTYPES, Precision
from .text_models import refuse_string

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_LOG = logging.getLogger(__name__)
# Threads and not processes: Pillow and torch release Python's lock while they resize and convert.
_PREPROCESS_THREADS = 8


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts, all padded to the context length.

    Attributes:
        inputs: inputs of the text tower by name, each [n, context].
        lengths: int64 [n], the number of leading positions that each text's embedding depends on.
        uncut: number of tokens of each text before it was cut at the context length.
    """

    inputs: Mapping[str, torch.Tensor]
    lengths: NDArray[np.int64]
    uncut: Sequence[int]

    @property
    def context(self) -> int:
        """Context length of the model."""
        return next(iter(self.inputs.values())).shape[1]


@dataclass(frozen=True)
class Towers:
    """A loaded model of either library, and the embeddings of texts so far.

    Attributes:
        device: device of the model.
        preprocess: turns an image into an input of the image tower.
        tokenize: turns texts into inputs of the text tower.
        embed_images: [n, channels, height, width] to [n, d], not normalised.
        embed_texts: inputs by name, each [n, length], to [n, d], not normalised.
        texts: embedding by text.
    """

    device: torch.device
    preprocess: Callable[[Image], torch.Tensor]
    tokenize: Callable[[list[str]], Tokens]
    embed_images: Callable[[torch.Tensor], torch.Tensor]
    embed_texts: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    texts: dict[str, NDArray[np.float32]] = field(default_factory=dict)


# By fingerprint and not by object: several methods and metrics may configure the same model.
_LOADED: dict[tuple[str, str], Towers] = {}
_LOADING = threading.Lock()


class Encoder(ABC):
    """Common part of the encoders; implements `protocols.ImageTextEncoder`.

    Args:
        name: name in records and tables.
        device: see `devices.resolve`.
        batch_size: images, or texts, per forward pass on a GPU; see `fixed_batches.batch_rows`.
        precision: "fp32", "fp16" or "bf16".

    Raises:
        InputError: if a setting is out of range.
    """

    def __init__(self, name: str, device: str, batch_size: int, precision: Precision) -> None:
        self.name, self.device = name, device
        self.batch_size = at_least("encoder.batch_size", batch_size, 1)
        self.precision: Precision = one_of("encoder.precision", precision, DTYPES)

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of weights, preprocessing, tokenizer and precision; does not load the model."""

    @abstractmethod
    def _load(self, device: torch.device) -> Towers: ...

    @property
    def _towers(self) -> Towers:
        device = resolve(self.device)
        key = (self.fingerprint(), str(device))
        # Several methods and metrics may request the same model at the same time.
        with _LOADING:
            if key not in _LOADED:
                _LOADED[key] = self._load(device)
            return _LOADED[key]

    def encode_images(self, images: Iterable[Image]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Images are consumed in batches, never all in memory."""
        import torch

        towers = self._towers
        rows = batch_rows(towers.device, self.batch_size)
        # Two batches ahead: the threads prepare the next images while the device computes.
        pixels = _in_threads(towers.preprocess, images, ahead=2 * rows)
        embedded = [
            self._unit_norm(towers.embed_images, torch.stack(batch).to(towers.device))[:count]
            for batch, count in fixed_batches(pixels, rows)
        ]
        return np.concatenate(embedded) if embedded else np.empty((0, self._width()), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Texts have no template; each distinct text is embedded once.

        Texts longer than the model's context are cut there, as by the model's own tokenizer, and counted
        in a warning.

        Raises:
            TypeError: if `texts` is a plain string (its characters would be embedded).
        """
        refuse_string(texts)
        towers = self._towers
        new = [text for text in dict.fromkeys(texts) if text not in towers.texts]
        if new:
            towers.texts.update(zip(new, self._embed(towers, new), strict=True))
        if not texts:
            return np.empty((0, self._width()), np.float32)
        return np.stack([towers.texts[text] for text in texts])

    def _width(self) -> int:
        return self.encode_texts([""]).shape[1]

    def _embed(self, towers: Towers, texts: list[str]) -> NDArray[np.float32]:
        tokens = towers.tokenize(texts)
        if too_long := sum(length > tokens.context for length in tokens.uncut):
            _LOG.warning(
                "%s: %d of %d texts are longer than the model's context and were cut there",
                self.name,
                too_long,
                len(texts),
            )

        def shape(i: int) -> tuple[int, bool]:
            # A text that fills the context has no padding. Without padding in the whole batch,
            # transformers omits the attention mask, which selects another kernel: a batch holds either
            # padded texts or full ones.
            return int(tokens.lengths[i]), tokens.uncut[i] >= tokens.context

        embedded: dict[int, NDArray[np.float32]] = {}
        rows = batch_rows(towers.device, self.batch_size)
        for batch, count in batches_by_shape(range(len(texts)), shape, rows):
            length, _ = shape(batch[0])
            inputs = {k: v[batch, :length].to(towers.device) for k, v in tokens.inputs.items()}
            vectors = self._unit_norm(towers.embed_texts, inputs)
            embedded.update(zip(batch[:count], vectors, strict=False))
        return np.stack([embedded[i] for i in range(len(texts))])

    def _unit_norm(self, embed: Callable[[Any], torch.Tensor], inputs: Any) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode(), _exact_convolutions(self.precision):
            # In float32, also after a tower in half precision, in which the norm would be rounded.
            rows = torch.nn.functional.normalize(embed(inputs).float(), dim=-1).cpu().numpy()
        # Half precision overflows in some models; NaN would pass unnoticed into every ranking.
        if not np.isfinite(rows).all():
            raise InputError(
                f"embeddings of {self.name} are not finite with encoder.precision={self.precision}",
                "use encoder.precision=fp32, or check the weights",
            )
        return rows


def _in_threads(
    function: Callable[[Image], torch.Tensor], images: Iterable[Image], ahead: int
) -> Iterator[torch.Tensor]:
    """Yields `function(image)` in order, computed in threads at most `ahead` images in advance."""
    with ThreadPoolExecutor(_PREPROCESS_THREADS) as pool:
        waiting: deque[Future[torch.Tensor]] = deque()
        for image in images:
            waiting.append(pool.submit(function, image))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _exact_convolutions(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """In fp32, disables TF32, to which CUDA rounds the inputs of convolutions by default."""
    import torch

    if precision != "fp32" or not torch.cuda.is_available():
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

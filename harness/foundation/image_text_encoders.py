"""Encoders of images and texts into one space: CLIP and its kin, through open_clip or transformers.

Nothing is loaded before the first embedding is asked for, and no model is loaded twice in a process.
An embedding does not depend on what else is embedded with it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..devices import resolve
from ..errors import InputError
from ..files import fingerprint
from ..weights import settings_digest, snapshot, weights_digest, with_commit, with_revision
from .open_clip_files import HUB_PREFIX, Source

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Precision = Literal["fp32", "fp16", "bf16"]
_LOG = logging.getLogger(__name__)
_PREPROCESS_THREADS = 8
_TEXT_LENGTH_STEP = 8


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts, all padded to the context length.

    Attributes:
        inputs: the text tower's inputs by name, each [n, context].
        lengths: int64 [n], how many leading positions the embedding of each text depends on.
        too_long: how many of the texts had to be cut at the context length.
    """

    inputs: Mapping[str, torch.Tensor]
    lengths: NDArray[np.int64]
    too_long: int


@dataclass(frozen=True)
class Towers:
    """A loaded model, whatever library it is from, and the texts it has embedded so far."""

    device: torch.device
    preprocess: Callable[[Image], torch.Tensor]
    tokenize: Callable[[list[str]], Tokens]
    embed_images: Callable[[torch.Tensor], torch.Tensor]
    embed_texts: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    texts: dict[str, NDArray[np.float32]] = field(default_factory=dict)


_LOADED: dict[tuple[str, str], Towers] = {}
_LOADING = threading.Lock()


class Encoder(ABC):
    """What the encoders have in common; implements `protocols.ImageTextEncoder`.

    Args:
        name: what the model is called in records and tables.
        device: see `devices.resolve`.
        batch_size: images, or texts, at once; embeddings do not depend on it.
        precision: "fp32", "fp16" or "bf16".
    """

    def __init__(self, name: str, device: str, batch_size: int, precision: Precision) -> None:
        if precision not in ("fp32", "fp16", "bf16"):
            raise InputError(f"encoder.precision={precision} is unknown", "use fp32, fp16 or bf16")
        if batch_size < 1:
            raise InputError(f"encoder.batch_size={batch_size} must be at least 1")
        self.name, self.device, self.batch_size = name, device, batch_size
        self.precision: Precision = precision

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of weights, preprocessing, tokenizer and precision; loads no model."""

    @abstractmethod
    def _load(self, device: torch.device) -> Towers: ...

    @property
    def _towers(self) -> Towers:
        device = resolve(self.device)
        key = (self.fingerprint(), str(device))
        with _LOADING:
            if key not in _LOADED:
                _LOADED[key] = self._load(device)
            return _LOADED[key]

    def encode_images(self, images: Iterable[Image]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Images are consumed in batches, never all in memory."""
        import torch

        towers = self._towers
        pixels = _in_threads(towers.preprocess, images, ahead=2 * self.batch_size)
        rows = [
            self._unit_norm(towers.embed_images, torch.stack(batch).to(towers.device))
            for batch in _batches(pixels, self.batch_size)
        ]
        return np.concatenate(rows) if rows else np.empty((0, self._width()), np.float32)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [n, d], unit norm. Raw strings, no template; each distinct text once.

        A text longer than the model's context is cut there, as the model's own tokenizer does it, and
        counted in a warning.

        Raises:
            TypeError: if `texts` is one string (its characters would be embedded).
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, not a plain string")
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
        if tokens.too_long:
            _LOG.warning(
                "%s: %d of %d texts are longer than the model's context and were cut there",
                self.name,
                tokens.too_long,
                len(texts),
            )
        # Texts of one padded length go together: the length is a text's own, so its batch cannot matter.
        order = np.argsort(tokens.lengths, kind="stable")
        rows: dict[int, NDArray[np.float32]] = {}
        for length, group in itertools.groupby(order.tolist(), key=lambda i: int(tokens.lengths[i])):
            for batch in _batches(group, self.batch_size):
                inputs = {k: v[batch, :length].to(towers.device) for k, v in tokens.inputs.items()}
                rows.update(zip(batch, self._unit_norm(towers.embed_texts, inputs), strict=True))
        return np.stack([rows[i] for i in range(len(texts))])

    def _unit_norm(self, embed: Callable[[Any], torch.Tensor], inputs: Any) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode(), _exact_convolutions(self.precision):
            rows = torch.nn.functional.normalize(embed(inputs).float(), dim=-1).cpu().numpy()
        if not np.isfinite(rows).all():
            raise InputError(
                f"embeddings of {self.name} are not finite with encoder.precision={self.precision}",
                "use encoder.precision=fp32, or check the weights",
            )
        return rows


class OpenClipEncoder(Encoder):
    """An image-text model of open_clip.

    OpenAI's weights need an architecture with QuickGELU (`ViT-B-16-quickgelu`); the wrong one is refused.

    Args:
        model: an architecture of open_clip; or a folder in open_clip's own layout
            (`open_clip_config.json`, weights, tokenizer) as `local-dir:<folder>`,
            `package:<package>/<path>` or `hf-hub:<org>/<model>`, which brings its own weights.
        pretrained: which training the weights are from, by open_clip's name; it settles the
            preprocessing. None: your own weights, with open_clip's default preprocessing.
        checkpoint: a local file with these weights (.safetensors, .bin, .pt; also OpenAI's own
            TorchScript files); None: the Hugging Face cache, then the hub.
        revision: branch, tag or commit on the Hub; None: main. For weights from the Hub only.
        name: what it is called in tables; by default made of `model` and `pretrained`.
        device: see `devices.resolve`.
        batch_size: images, or texts, at once.
        precision: "fp32" (default), "fp16" or "bf16".
    """

    def __init__(
        self,
        model: str = "ViT-B-16-quickgelu",
        pretrained: str | None = "openai",
        *,
        checkpoint: str | None = None,
        revision: str | None = None,
        name: str | None = None,
        device: str = "auto",
        batch_size: int = 64,
        precision: Precision = "fp32",
    ) -> None:
        own = pretrained is None or ":" in model
        label = model if own else f"{model}/{pretrained}"
        from_hub = model.startswith(HUB_PREFIX) or (not own and checkpoint is None)
        label = f"{label}@{revision}" if revision and from_hub else label
        super().__init__(name or label, device, batch_size, precision)
        self.model, self.pretrained, self.checkpoint = model, pretrained, checkpoint
        self.revision = revision

    @functools.cached_property
    def _source(self) -> Source:
        return Source.find(self.model, self.pretrained, self.checkpoint, self.revision)

    @functools.cached_property
    def _fingerprint(self) -> str:
        weights = weights_digest(self._source.weights)
        digest = fingerprint(["open_clip", weights, dict(self._source.settings), self.precision])
        return with_commit(digest, self._source.folder)

    def fingerprint(self) -> str:
        """Hash of weights, architecture, preprocessing, tokenizer and precision."""
        return self._fingerprint

    def _load(self, device: torch.device) -> Towers:
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict

        model: Any = self._source.build(self.precision, device)
        settings: Any = {**self._source.preprocess, "size": model.visual.image_size}
        settings = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), settings))
        preprocess: Any = image_transform_v2(settings, is_train=False)
        dtype = open_clip.get_input_dtype(self.precision)
        return Towers(
            device=device,
            preprocess=preprocess,
            tokenize=functools.partial(
                _open_clip_tokens, open_clip.get_tokenizer(self._source.spec), model
            ),
            embed_images=lambda pixels: model.encode_image(pixels.to(dtype)),
            embed_texts=lambda inputs: _open_clip_texts(model, inputs["text"]),
        )


def _open_clip_tokens(tokenizer: Any, model: Any, texts: list[str]) -> Tokens:
    import torch

    ids = tokenizer(texts)
    n, context = ids.shape
    if getattr(tokenizer, "tokenizer", None) is None:
        whole = [len(tokenizer.encode(text)) + 2 for text in texts]
    else:
        cleaned = [tokenizer.clean_fn(text) for text in texts]
        whole = [len(row) for row in tokenizer.tokenizer(cleaned, verbose=False)["input_ids"]]
    used = np.full(n, context)
    if _reads_only_up_to_the_end_token(model):
        pool, end = model.text_pool_type, model.text_eos_id
        last = ids.argmax(dim=-1) if pool == "argmax" else (ids == end).to(torch.int32).argmax(dim=-1)
        used = np.minimum((last.numpy() // _TEXT_LENGTH_STEP + 1) * _TEXT_LENGTH_STEP, context)
    return Tokens({"text": ids}, used.astype(np.int64), sum(length > context for length in whole))


def _reads_only_up_to_the_end_token(model: Any) -> bool:
    """Whether what is behind the end of a text cannot matter: most of the work is then saved."""
    import open_clip

    causal = isinstance(model, open_clip.CLIP) and model.attn_mask is not None
    return causal and model.text_pool_type in ("argmax", "eos")


def _open_clip_texts(model: Any, ids: torch.Tensor) -> torch.Tensor:
    import torch

    length = ids.shape[1]
    if length == getattr(model, "context_length", length):
        return model.encode_text(ids)
    shorter = {
        "positional_embedding": model.positional_embedding[:length],
        "attn_mask": model.attn_mask[:length, :length],
    }
    return torch.func.functional_call(model, shorter, (), {"text": ids})[1]


class HuggingFaceEncoder(Encoder):
    """An image-text model of transformers with `get_image_features` and `get_text_features`.

    Args:
        model: a folder, `package:<package>/<path>` or a hub name (`openai/clip-vit-base-patch16`,
            `google/siglip-base-patch16-224`).
        revision: branch, tag or commit on the Hub; None: main. For Hub models only.
        name: what it is called in tables; by default `model`.
        device: see `devices.resolve`.
        batch_size: images, or texts, at once.
        precision: "fp32" (default), "fp16" or "bf16".
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        name: str | None = None,
        device: str = "auto",
        batch_size: int = 64,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(name or with_revision(model, model, revision), device, batch_size, precision)
        self.model, self.revision = model, revision

    @functools.cached_property
    def _folder(self) -> Path:
        return snapshot(self.model, revision=self.revision)

    @functools.cached_property
    def _fingerprint(self) -> str:
        weights, settings = weights_digest(self._folder), settings_digest(self._folder)
        digest = fingerprint(["transformers", weights, settings, self.precision])
        return with_commit(digest, self._folder)

    def fingerprint(self) -> str:
        """Hash of weights, configuration, preprocessing, tokenizer and precision."""
        return self._fingerprint

    def _load(self, device: torch.device) -> Towers:
        import torch
        from transformers import AutoModel, AutoProcessor

        folder = self._folder
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.precision]
        try:
            model: Any = AutoModel.from_pretrained(folder).eval().requires_grad_(False)
            processor: Any = AutoProcessor.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"cannot load {folder} as a model of transformers: {error}") from error
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise InputError(f"{self.model} ({type(model).__name__}) does not embed images and texts")
        model.to(device=device, dtype=dtype)
        context = min(
            processor.tokenizer.model_max_length, model.config.text_config.max_position_embeddings
        )
        return Towers(
            device=device,
            preprocess=lambda image: processor.image_processor(image, return_tensors="pt")[
                "pixel_values"
            ][0],
            tokenize=functools.partial(_transformers_tokens, processor.tokenizer, context),
            embed_images=lambda pixels: _features(
                model.get_image_features(pixel_values=pixels.to(dtype))
            ),
            embed_texts=lambda inputs: _features(model.get_text_features(**inputs)),
        )


def _transformers_tokens(tokenizer: Any, context: int, texts: list[str]) -> Tokens:
    whole = [len(row) for row in tokenizer(texts, verbose=False)["input_ids"]]
    inputs = tokenizer(
        texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt"
    )
    lengths = np.full(len(texts), context, np.int64)
    return Tokens(dict(inputs), lengths, sum(length > context for length in whole))


def _features(output: Any) -> torch.Tensor:
    """The embedding itself: newer versions of transformers wrap it in an output object."""
    return getattr(output, "pooler_output", output)


def _in_threads(
    function: Callable[[Image], torch.Tensor], images: Iterable[Image], ahead: int
) -> Iterator[torch.Tensor]:
    """Yields `function(image)` in order, working at most `ahead` images ahead of its reader."""
    with ThreadPoolExecutor(_PREPROCESS_THREADS) as pool:
        waiting: deque[Future[torch.Tensor]] = deque()
        for image in images:
            waiting.append(pool.submit(function, image))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _exact_convolutions(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """In fp32, keeps CUDA from rounding the inputs of convolutions to TF32, as it does by default."""
    import torch

    if precision != "fp32" or not torch.cuda.is_available():
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

"""Training of a MILAN: the decoder p(d|E) and the language model p(d), on annotated exemplars.

Where the published program goes wrong, this one does what it meant to: the weights of the best epoch are
kept as a copy; decoder and language model hold out the same units, with all their texts; the words of
these units are not in the vocabulary unless others use them too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ....harness.errors import InputError
from ....harness.files import fingerprint, read_json, write_json
from ....harness.progress import Progress
from ....harness.targets.fingerprints import weights_digest
from ..attention import AttentionDecoder, DecoderSizes
from ..checkpoints import Checkpoint, EncoderConfig, load_checkpoint, save_checkpoint
from ..encoder import PyramidEncoder
from ..language_model import CaptionLanguageModel, LanguageModelSizes
from ..settings import DecodingSettings
from ..tokenizer import TOKENIZER, tokenize
from ..vocabulary import Vocabulary
from .dataset import AnnotatedExemplars, agreed
from .features import unit_features
from .fitting import Epoch, FitSettings, fit, seeded
from .tasks import Corpus, DecoderTask, LanguageModelTask, Split, split_units

RECORD, STATES = "training.json", ("decoder.pt", "language_model.pt")
_PIXELS = ("encoder.mean", "encoder.std")


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained, and how; by default with the published sizes and constants.

    Attributes:
        embedding: length of a word's vector in the decoder.
        hidden: length of the decoder's state.
        attention: length of the vectors that are compared to choose an exemplar.
        dropout: of the decoder.
        language_model: sizes of the language model; None: none is trained.
        decoding: how the trained MILAN searches for captions.
        fit_decoder: of the decoder; its epochs are judged by BLEU of greedy captions.
        fit_language_model: of the language model; judged by the loss on what was held out.
        attention_penalty: weight of mean (1 - sum of an exemplar's weights over the words)^2.
        hold_out: share of the units that no network learns from.
        seed: of the units held out and of the first weights.
    """

    embedding: int = 128
    hidden: int = 512
    attention: int = 512
    dropout: float = 0.5
    language_model: LanguageModelSizes | None = field(default_factory=LanguageModelSizes)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)
    fit_decoder: FitSettings = field(default_factory=lambda: FitSettings(batch=64))
    fit_language_model: FitSettings = field(default_factory=lambda: FitSettings(batch=128))
    attention_penalty: float = 1.0
    hold_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.attention) < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                f"embedding={self.embedding}, hidden={self.hidden}, attention={self.attention} must be "
                f"positive, dropout={self.dropout} from 0 to below 1"
            )
        if not 0 < self.hold_out < 1:
            raise InputError(f"hold_out={self.hold_out} must lie between 0 and 1")
        if self.language_model is None and self.decoding.strategy not in ("greedy", "beam"):
            raise InputError(
                f"strategy={self.decoding.strategy} needs a language model", "use strategy=beam or greedy"
            )


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        checkpoint: the trained MILAN.
        split: the units learnt from and held out.
        decoder: epochs of the decoder; their score is BLEU.
        language_model: epochs of the language model; their score is minus the loss.
    """

    checkpoint: Checkpoint
    split: Split
    decoder: tuple[Epoch, ...]
    language_model: tuple[Epoch, ...]


def train(
    features: NDArray[np.float32],
    texts: Sequence[Sequence[str]],
    encoder: PyramidEncoder,
    folder: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    *,
    split: Split | None = None,
    exemplars: Mapping[str, Any] | None = None,
    keep_encoder: bool = True,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Trained:
    """Trains a MILAN, and writes it to a folder with the record of its training.

    An interrupted training goes on after its last epoch and ends with the same weights; a finished
    one is read.

    Args:
        features: [units, k, feature], the encoder's vectors of each unit's exemplars (`unit_features`).
        texts: the texts of each unit.
        encoder: what the features are from.
        folder: where the checkpoint, `training.json` and, until the end, the state of training lie.
        settings: sizes and constants.
        split: which units to learn from; None: drawn by `settings.seed`.
        exemplars: what the features are of, see `Checkpoint`; None: as published.
        keep_encoder: whether the weights of the encoder are written with it; without them the network
            has to be given when MILAN is used.
        device: where to compute.
        progress: shows how many epochs are done.

    Raises:
        InputError: if there are too few units, or the folder holds another training.
        ValueError: if the features do not fit the texts or the encoder, or are not finite.
    """
    settings, folder = settings or TrainingSettings(), Path(folder)
    if len(features) != len(texts) or features.shape[2] != encoder.size:
        raise ValueError(
            f"features {features.shape} for {len(texts)} units and vectors of {encoder.size}"
        )
    if keep_encoder:
        _check_known(encoder)
    words = [[tokenize(text) for text in several] for several in texts]
    split = split or split_units(len(texts), settings.hold_out, settings.seed)
    digest = weights_digest(encoder.model)
    shown = dict(exemplars or {})
    data = [words, _digest(features), encoder.name, digest, shown]
    key = fingerprint([asdict(settings), asdict(split), data, keep_encoder])
    if (folder / RECORD).is_file():
        return _finished(folder, key)
    vocabulary = Vocabulary.of((text for unit in split.train for text in words[unit]), TOKENIZER)
    corpus = Corpus(vocabulary, features, words, split)
    state, epochs, lm_epochs = _learnt(corpus, settings, folder, key, torch.device(device), progress)
    if keep_encoder:
        state |= _state("encoder", encoder)
    else:
        state |= {name: tensor for name, tensor in _state("encoder", encoder).items() if name in _PIXELS}
    config = EncoderConfig(encoder.name, None if keep_encoder else digest)
    sizes, lm, decoding = _sizes(corpus, settings), settings.language_model, settings.decoding
    checkpoint = Checkpoint(vocabulary, sizes, lm, decoding, config, state, exemplars=shown)
    save_checkpoint(checkpoint, folder)
    trained = Trained(checkpoint, split, epochs, lm_epochs)
    _record(trained, folder, key, settings)
    return trained


def train_annotated(
    data: Sequence[AnnotatedExemplars],
    encoder: PyramidEncoder,
    folder: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    *,
    keep_encoder: bool = True,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Trained:
    """Trains a MILAN on annotated exemplars; their features are kept in `features` in the folder.

    Raises:
        InputError: see `train` and `unit_features`.
    """
    if keep_encoder:
        _check_known(encoder)
    features = unit_features(data, encoder.to(device), Path(folder) / "features", progress=progress)
    return train(
        features,
        [texts for part in data for texts in part.texts],
        encoder,
        folder,
        settings,
        exemplars=agreed([(part.name, part.settings) for part in data]),
        keep_encoder=keep_encoder,
        device=device,
        progress=progress,
    )


def _check_known(encoder: PyramidEncoder) -> None:
    """Refuses, before anything is trained, to keep an encoder that could not be built again."""
    try:
        known = PyramidEncoder.named(encoder.name).state_dict()
    except InputError as error:
        raise InputError(error.message, "set keep_encoder=false for a network of your own") from None
    if {n: t.shape for n, t in known.items()} != {n: t.shape for n, t in encoder.state_dict().items()}:
        raise InputError(
            f"the encoder is not the {encoder.name} of torchvision",
            "set keep_encoder=false for a network of your own",
        )


def _learnt(
    corpus: Corpus,
    settings: TrainingSettings,
    folder: Path,
    key: str,
    device: torch.device,
    progress: Progress | None,
) -> tuple[dict[str, Tensor], tuple[Epoch, ...], tuple[Epoch, ...]]:
    """Trains both networks; returns their weights and epochs."""
    with seeded(torch.device("cpu"), settings.seed, "decoder"):
        decoder = AttentionDecoder(_sizes(corpus, settings)).to(device)
    task = DecoderTask(decoder, corpus, settings.decoding.length, settings.attention_penalty)
    epochs = fit(task, settings.fit_decoder, folder / STATES[0], key, progress=progress)
    state = _state("decoder", decoder)
    if settings.language_model is None:
        return state, epochs, ()
    with seeded(torch.device("cpu"), settings.seed, "language model"):
        lm = CaptionLanguageModel(corpus.vocabulary, settings.language_model).to(device)
    lm_task = LanguageModelTask(lm, corpus, settings.fit_language_model.batch)
    lm_epochs = fit(lm_task, settings.fit_language_model, folder / STATES[1], key, progress=progress)
    return state | _state("lm", lm), epochs, lm_epochs


def _sizes(corpus: Corpus, settings: TrainingSettings) -> DecoderSizes:
    return DecoderSizes(
        len(corpus.vocabulary),
        corpus.features.shape[2],
        settings.embedding,
        settings.hidden,
        settings.attention,
        settings.dropout,
    )


def _state(part: str, network: nn.Module) -> dict[str, Tensor]:
    """Returns the weights by their names in a checkpoint."""
    return {f"{part}.{name}": tensor.cpu() for name, tensor in network.state_dict().items()}


def _digest(features: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(f"{features.dtype} {features.shape}".encode())
    for block in np.array_split(features, max(1, len(features) // 256)):
        if not np.isfinite(block).all():
            raise ValueError("the features are not all finite")
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def _record(trained: Trained, folder: Path, key: str, settings: TrainingSettings) -> None:
    """Writes what the training was; from then on its state is not needed any more."""
    record: dict[str, Any] = {
        "key": key,
        "settings": asdict(settings),
        "split": asdict(trained.split),
        "decoder": [asdict(epoch) for epoch in trained.decoder],
        "language_model": [asdict(epoch) for epoch in trained.language_model],
    }
    write_json(folder / RECORD, record)
    for name in STATES:
        (folder / name).unlink(missing_ok=True)


def _finished(folder: Path, key: str) -> Trained:
    record = read_json(folder / RECORD)
    if record["key"] != key:
        raise InputError(
            f"{folder} holds a MILAN trained with other data or settings", "choose another folder"
        )
    split = Split(tuple(record["split"]["train"]), tuple(record["split"]["held_out"]))
    epochs = [tuple(Epoch(**epoch) for epoch in record[n]) for n in ("decoder", "language_model")]
    return Trained(load_checkpoint(folder), split, *epochs)

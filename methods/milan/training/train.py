"""Trains a MILAN, decoder p(d|E) and language model p(d), on annotated exemplars.

Three points differ from the published program, whose effect was not intended: the weights of the best
epoch are copied rather than referenced; decoder and language model hold out the same units with all their
annotations; the vocabulary is that of the units for training.
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
from ..checkpoint_files import load_checkpoint, save_checkpoint
from ..checkpoints import Checkpoint, EncoderConfig
from ..encoder import PyramidEncoder
from ..language_model import CaptionLanguageModel, LanguageModelSizes
from ..settings import DecodingSettings
from ..tokenizer import TOKENIZER, tokenize
from ..vocabulary import Vocabulary
from .dataset import AnnotatedExemplars, agreed
from .dataset_features import dataset_features
from .fitting import Epoch, FitSettings, fit, seeded
from .tasks import Corpus, DecoderTask, LanguageModelTask, Split, Texts, split_units

RECORD, STATES = "training.json", ("decoder.pt", "language_model.pt")
_PIXEL_STATISTICS = ("encoder.mean", "encoder.std")


@dataclass(frozen=True)
class TrainingSettings:
    """Sizes of the networks and settings of their training; the defaults are the published ones.

    Attributes:
        embedding: length of a word's embedding in the decoder.
        hidden: length of the decoder's state.
        attention: length of the vectors that the attention compares.
        dropout: of the decoder.
        language_model: sizes of the language model; None: none is trained.
        decoding: how the trained MILAN searches for captions.
        fit_decoder: training of the decoder; an epoch's score is BLEU of greedy captions.
        fit_language_model: training of the language model; an epoch's score is minus the held-out loss.
        attention_penalty: weight of mean (1 - sum of an exemplar's weights over the words)^2.
        hold_out: share of the units that no network is trained on.
        seed: of the choice of units held out and of the initial weights.

    Raises:
        InputError: if a setting is out of range.
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
        if min(self.embedding, self.hidden, self.attention) < 1:
            raise InputError(
                f"embedding={self.embedding}, hidden={self.hidden}, attention={self.attention} must be "
                "positive"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout={self.dropout} must be at least 0 and less than 1")
        if not 0 < self.hold_out < 1:
            raise InputError(f"hold_out={self.hold_out} must be between 0 and 1")
        if self.language_model is None and self.decoding.strategy not in ("greedy", "beam"):
            raise InputError(
                f"decoding.strategy={self.decoding.strategy} needs a language model",
                "use decoding.strategy=beam or greedy",
            )

    def decoder_sizes(self, vocabulary: int, feature: int) -> DecoderSizes:
        """Returns the sizes of the decoder, for a number of words and a length of feature vectors."""
        return DecoderSizes(
            vocabulary, feature, self.embedding, self.hidden, self.attention, self.dropout
        )


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        checkpoint: the trained MILAN.
        split: the units for training and those held out.
        decoder: epochs of the decoder; their score is BLEU.
        language_model: epochs of the language model; their score is minus the held-out loss.
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

    An interrupted training resumes after its last epoch and ends with the same weights; a finished one is
    read from the folder.

    Args:
        features: [units, count, size], features of each unit's exemplars (`dataset_features`).
        texts: the annotations of each unit.
        encoder: the encoder that computed the features.
        folder: for the checkpoint, `training.json` and, until the end, the state of the training.
        settings: sizes and training settings.
        split: which units to train on; None: drawn with `settings.seed`.
        exemplars: settings of the exemplars, see `Checkpoint`; None: the published ones.
        keep_encoder: whether the checkpoint contains the weights of the encoder; without them, the
            network has to be given when MILAN is used.
        device: where to compute.
        progress: shows how many epochs are done.

    Raises:
        InputError: if there are too few units, or the folder contains another training.
        ValueError: if the features do not fit the texts or the encoder, or are not finite.
    """
    settings, folder, exemplars = settings or TrainingSettings(), Path(folder), dict(exemplars or {})
    _check_features(features, len(texts), encoder)
    if keep_encoder:
        _check_torchvision(encoder)
    words = [[tokenize(text) for text in of_unit] for of_unit in texts]
    split = split or split_units(len(texts), settings.hold_out, settings.seed)
    data = [words, _digest(features), encoder.name, weights_digest(encoder.model), exemplars]
    key = fingerprint([asdict(settings), asdict(split), data, keep_encoder])
    if (folder / RECORD).is_file():
        return _finished(folder, key)
    corpus = _corpus(features, words, split)
    state, epochs, lm_epochs = _fit(corpus, settings, folder, key, torch.device(device), progress)
    checkpoint = Checkpoint(
        corpus.vocabulary,
        settings.decoder_sizes(len(corpus.vocabulary), encoder.size),
        settings.language_model,
        settings.decoding,
        EncoderConfig(encoder.name, None if keep_encoder else weights_digest(encoder.model)),
        state | _encoder_state(encoder, keep_encoder),
        exemplars=exemplars,
    )
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
    """Trains a MILAN on annotated exemplars; their features are kept in `<folder>/features`.

    Raises:
        InputError: see `train` and `dataset_features`.
    """
    if keep_encoder:
        _check_torchvision(encoder)  # before the features are computed, which takes long
    exemplars = agreed([(part.name, part.settings) for part in data])
    features = dataset_features(data, encoder.to(device), Path(folder) / "features", progress=progress)
    return train(
        features,
        [texts for part in data for texts in part.texts],
        encoder,
        folder,
        settings,
        exemplars=exemplars,
        keep_encoder=keep_encoder,
        device=device,
        progress=progress,
    )


def _check_features(features: NDArray[np.float32], units: int, encoder: PyramidEncoder) -> None:
    if len(features) != units or features.shape[2] != encoder.size:
        raise ValueError(f"features {features.shape} for {units} units and vectors of {encoder.size}")


def _check_torchvision(encoder: PyramidEncoder) -> None:
    """Rejects an encoder that could not be built from a checkpoint: only its weights are stored there."""
    hint = "set keep_encoder=false for a network of your own"
    try:
        known = PyramidEncoder.named(encoder.name).state_dict()
    except InputError as error:
        raise InputError(error.message, hint) from None
    if {n: t.shape for n, t in known.items()} != {n: t.shape for n, t in encoder.state_dict().items()}:
        raise InputError(f"the encoder is not the {encoder.name} of torchvision", hint)


def _corpus(features: NDArray[np.float32], words: Sequence[Texts], split: Split) -> Corpus:
    vocabulary = Vocabulary.of((text for unit in split.train for text in words[unit]), TOKENIZER)
    return Corpus(vocabulary, features, words, split)


def _fit(
    corpus: Corpus,
    settings: TrainingSettings,
    folder: Path,
    key: str,
    device: torch.device,
    progress: Progress | None,
) -> tuple[dict[str, Tensor], tuple[Epoch, ...], tuple[Epoch, ...]]:
    """Trains both networks; returns their weights and epochs."""
    sizes = settings.decoder_sizes(len(corpus.vocabulary), corpus.features.shape[2])
    # Initial weights are drawn on the CPU, so that they do not depend on the device.
    with seeded(torch.device("cpu"), settings.seed, "decoder"):
        decoder = AttentionDecoder(sizes).to(device)
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


def _state(part: str, network: nn.Module) -> dict[str, Tensor]:
    """Returns the weights by their names in a checkpoint."""
    return {f"{part}.{name}": tensor.cpu() for name, tensor in network.state_dict().items()}


def _encoder_state(encoder: PyramidEncoder, keep_weights: bool) -> dict[str, Tensor]:
    """Returns the encoder's weights and pixel statistics, or the statistics only."""
    state = _state("encoder", encoder)
    return state if keep_weights else {name: state[name] for name in _PIXEL_STATISTICS}


def _digest(features: NDArray[np.float32]) -> str:
    """Returns a hash of the features; reads some units at a time.

    Raises:
        ValueError: if they are not all finite.
    """
    digest = hashlib.sha256(f"{features.dtype} {features.shape}".encode())
    for block in np.array_split(features, max(1, len(features) // 256)):
        if not np.isfinite(block).all():
            raise ValueError("the features are not all finite")
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def _record(trained: Trained, folder: Path, key: str, settings: TrainingSettings) -> None:
    """Writes the record of a finished training, and removes the states to resume it from."""
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
    """Reads a finished training from its folder.

    Raises:
        InputError: if it is another training.
    """
    record = read_json(folder / RECORD)
    if record["key"] != key:
        raise InputError(
            f"{folder} contains a MILAN trained with other data or settings", "choose another folder"
        )
    split = Split(tuple(record["split"]["train"]), tuple(record["split"]["held_out"]))
    epochs = [tuple(Epoch(**epoch) for epoch in record[n]) for n in ("decoder", "language_model")]
    return Trained(load_checkpoint(folder), split, *epochs)

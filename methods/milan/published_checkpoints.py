"""Translates published MILAN checkpoints; `published_pickle.py` reads the files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...harness.errors import InputError
from .attention import DecoderSizes
from .checkpoints import Checkpoint, EncoderConfig
from .language_model import LanguageModelSizes
from .published_pickle import unpickle
from .settings import DecodingSettings
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

_CLASSIFIERS = ("encoder.encoder.model.fc.", "encoder.encoder.model.classifier.")


def read_published(path: Path) -> Checkpoint:
    """Reads a published checkpoint.

    Raises:
        InputError: if it does not exist, is damaged or not a MILAN, or refers to objects that could run
            code.
    """
    content = unpickle(path)
    try:
        return _checkpoint(content["properties"], _renamed(content["state_dict"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"checkpoint {path} is not a MILAN: {reason}",
            "expected the properties, children and state_dict of a published MILAN decoder",
        ) from None


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names the weights `encoder.*`, `lm.*` and `decoder.*`; drops those of the encoder's classifier."""
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith(("encoder.", "lm.")):
            if not name.startswith(_CLASSIFIERS):
                renamed[name.replace("encoder.encoder.", "encoder.", 1)] = tensor
        else:
            renamed[f"decoder.{name}"] = tensor
    return renamed


def _checkpoint(properties: Mapping[str, Any], state: Mapping[str, Tensor]) -> Checkpoint:
    """Builds the checkpoint from the file's settings.

    Every setting is read from the file, because the defaults of the published program have changed.
    """
    vocabulary = _vocabulary(properties["indexer"]["properties"])
    feature, hidden = state["decoder.init_h.0.weight"].shape[1], int(properties["hidden_size"])
    sizes = DecoderSizes(
        len(vocabulary),
        feature,
        int(properties["embedding_size"]),
        hidden,
        int(properties["attention_hidden_size"] or min(hidden, feature)),
        float(properties["dropout"]),
    )
    language_model = None
    if properties["lm"] is not None:
        lm = properties["lm"]["properties"]
        language_model = LanguageModelSizes(
            int(lm["embedding_size"]), int(lm["hidden_size"]), int(lm["layers"]), float(lm["dropout"])
        )
        if _vocabulary(lm["indexer"]["properties"]) != vocabulary:
            raise ValueError("decoder and language model have different vocabularies")
    strategy = str(properties["strategy"])
    if language_model is not None and strategy in ("greedy", "beam"):
        # With a language model, the published program subtracts it at every word unless it reranks.
        strategy = f"mi-{strategy}"
    decoding = DecodingSettings(
        strategy,  # type: ignore[arg-type] - checked by DecodingSettings
        int(properties["length"]),
        int(properties["beam_size"]),
        float(properties["temperature"]),
    )
    encoder = EncoderConfig(str(properties["encoder"]["properties"]["config"]))
    return Checkpoint(vocabulary, sizes, language_model, decoding, encoder, state, official=True)


def _vocabulary(indexer: Mapping[str, Any]) -> Vocabulary:
    missing = [name for name in ("start", "stop", "pad", "unk") if not indexer[name]]
    if missing:
        raise ValueError(f"its vocabulary has no token for {', '.join(missing)}")
    return Vocabulary(tuple(indexer["vocab"]["properties"]["tokens"]), "spacy")

"""A trained MILAN in a file: vocabulary, sizes, settings and weights.

Two formats are read: the project's own, a folder with `config.json` and `model.safetensors`, and that of
the published checkpoints, which `convert` turns into the former.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...harness.errors import InputError
from ...harness.files import atomic_path, file_digest, read_json, write_json
from ...harness.targets import checkpoints
from ...harness.targets.fingerprints import weights_digest
from . import published_checkpoints as published
from .attention import AttentionDecoder, DecoderSizes
from .encoder import PyramidEncoder
from .language_model import CaptionLanguageModel, LanguageModelSizes
from .settings import DecodingSettings, ExemplarSettings
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor, nn

    Network = TypeVar("Network", bound=nn.Module)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FORMAT = 1
_HEADS = ("encoder.encoder.model.fc.", "encoder.encoder.model.classifier.")


@dataclass(frozen=True)
class EncoderConfig:
    """The network that MILAN looks at exemplars with.

    Attributes:
        network: a name of torchvision, or the name of a network that is given to `build_encoder`.
        digest: hash of that network's weights, where they are not in the checkpoint.
    """

    network: str
    digest: str | None = None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained MILAN.

    Attributes:
        vocabulary: its words.
        sizes: of the decoder.
        language_model: sizes of the language model; None where there is none.
        decoding: how captions are searched for, unless a user asks for something else.
        encoder: the network behind the features.
        state: weights on the CPU; names begin with `decoder.`, `lm.` and `encoder.`, the last of which
            may be absent.
        official: whether it is one of the published checkpoints, or made from one.
        exemplars: `count`, `quantile` and `image_size` of the exemplars that it learnt from, see
            `ExemplarSettings`; what is missing is as published.

    Raises:
        InputError: if such a setting is out of range.
    """

    vocabulary: Vocabulary
    sizes: DecoderSizes
    language_model: LanguageModelSizes | None
    decoding: DecodingSettings
    encoder: EncoderConfig
    state: Mapping[str, Tensor]
    official: bool = False
    exemplars: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ExemplarSettings(**self.exemplars)

    def part(self, name: str) -> dict[str, Tensor]:
        """Returns the weights of `decoder`, `lm` or `encoder` by their names in it."""
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in self.state.items() if k.startswith(prefix)}

    @property
    def has_encoder(self) -> bool:
        """Whether the weights of the encoder are in the checkpoint."""
        return any(name.startswith("encoder.model.") for name in self.state)

    def build_decoder(self) -> AttentionDecoder:
        """Returns the decoder in evaluation mode.

        Raises:
            InputError: if the weights do not fit.
        """
        return _filled(lambda: AttentionDecoder(self.sizes), self.part("decoder"), "decoder")

    def build_language_model(self) -> CaptionLanguageModel | None:
        """Returns the language model in evaluation mode; None if there is none.

        Raises:
            InputError: if the weights do not fit.
        """
        if (sizes := self.language_model) is None:
            return None
        return _filled(
            lambda: CaptionLanguageModel(self.vocabulary, sizes), self.part("lm"), "language model"
        )

    def build_encoder(self, network: nn.Module | None = None) -> PyramidEncoder:
        """Returns the encoder; its weights come from the checkpoint and are never downloaded.

        Args:
            network: for a checkpoint without them, the network that it was trained with.

        Raises:
            InputError: if the weights are missing, do not fit, or are not those of the training.
        """
        state, name = self.part("encoder"), self.encoder.network
        if self.has_encoder:
            encoder = _filled(lambda: PyramidEncoder.named(name), state, f"encoder ({name})")
        elif network is None:
            raise InputError(
                f"the checkpoint does not hold the weights of its encoder, {name}",
                f"give the network {name} with the weights it was trained with",
            )
        else:
            pixels = {key: state[key].flatten().tolist() for key in ("mean", "std") if key in state}
            encoder = PyramidEncoder(network, name, **pixels)
            if self.encoder.digest not in (None, weights_digest(encoder.model)):
                raise InputError(
                    f"the network given is not {name} with the weights that MILAN was trained with",
                    "a decoder understands one encoder only: give that one",
                )
        if encoder.size != self.sizes.feature:
            raise InputError(
                f"the decoder reads vectors of {self.sizes.feature} numbers, but the encoder ({name}) "
                f"gives {encoder.size}",
                "the checkpoint belongs to another kind of encoder",
            )
        return encoder

    def verify(self) -> None:
        """Builds every part whose weights are there.

        Raises:
            InputError: if one cannot be built.
        """
        self.build_decoder()
        self.build_language_model()
        if self.has_encoder:
            self.build_encoder()


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads and verifies a checkpoint.

    Args:
        path: the project's own folder, or a published file.

    Raises:
        InputError: if there is none, it is damaged, it is something else, its parts do not fit, or it
            refers to what could run code.
    """
    path = Path(path).expanduser()
    checkpoint = _own(path) if path.is_dir() else _published(path)
    try:
        checkpoint.verify()
    except InputError as error:
        raise InputError(f"checkpoint {path}: {error.message}", error.hint) from None
    return checkpoint


def save_checkpoint(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Writes a checkpoint in the project's own format; it counts once `config.json` is there."""
    import torch
    from safetensors.torch import save_file

    folder = Path(folder)
    # Published weights may be views of one record, which this format cannot hold.
    state = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in checkpoint.state.items()
    }
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(state, temporary)
    config = {
        "format": _FORMAT,
        "official": checkpoint.official,
        "vocabulary": asdict(checkpoint.vocabulary),
        "decoder": asdict(checkpoint.sizes),
        "language_model": checkpoint.language_model and asdict(checkpoint.language_model),
        "decoding": asdict(checkpoint.decoding),
        "encoder": asdict(checkpoint.encoder),
        "exemplars": dict(checkpoint.exemplars),
        "weights": file_digest(folder / WEIGHTS),
    }
    write_json(folder / CONFIG, config)


def convert(path: str | Path, out: str | Path) -> Checkpoint:
    """Rewrites a published checkpoint in the project's own format, in the folder `out`; returns it.

    Raises:
        InputError: as `load_checkpoint` does.
    """
    checkpoint = load_checkpoint(path)
    save_checkpoint(checkpoint, out)
    return checkpoint


def _filled(build: Any, state: Mapping[str, Tensor], what: str) -> Any:
    """Builds a network without initialising it, and fills in its weights."""
    import torch

    with torch.device("meta"):
        network = build()
    try:
        checkpoints.apply(network.to_empty(device="cpu"), state)
    except InputError as error:
        hint = "the file is damaged, or its weights are those of another architecture"
        raise InputError(f"{what}: {error.message}", hint) from None
    return network.eval().requires_grad_(False)


def _own(folder: Path) -> Checkpoint:
    """Reads the project's own format."""
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"the folder {folder} holds no MILAN: it has no {CONFIG}",
            "give a folder that `dissectbench milan` wrote, or a published .pth file",
        )
    config = read_json(folder / CONFIG)
    state = checkpoints.load_checkpoint(folder / WEIGHTS)
    try:
        if config["format"] != _FORMAT:
            raise ValueError(f"format {config['format']}, not {_FORMAT}")
        if config["weights"] != file_digest(folder / WEIGHTS):
            raise ValueError(f"it was not written together with {WEIGHTS}")
        words, language_model = config["vocabulary"], config["language_model"]
        return Checkpoint(
            Vocabulary(tuple(words["tokens"]), words["tokenizer"]),
            DecoderSizes(**config["decoder"]),
            None if language_model is None else LanguageModelSizes(**language_model),
            DecodingSettings(**config["decoding"]),
            EncoderConfig(**config["encoder"]),
            state,
            config["official"],
            config["exemplars"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / CONFIG} is damaged or of another version: {error}", "convert or train it again"
        ) from None


def _published(path: Path) -> Checkpoint:
    """Reads the format of the published checkpoints."""
    content = published.read(path)
    try:
        return _translated(content["properties"], _renamed(content["state_dict"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"checkpoint {path} is not one of MILAN: {reason}",
            "expected the properties, children and state_dict of a published MILAN decoder",
        ) from None


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sorts the weights under `encoder.`, `lm.` and `decoder.`; those of the classifier are left out."""
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith(("encoder.", "lm.")):
            if not name.startswith(_HEADS):
                renamed[name.replace("encoder.encoder.", "encoder.", 1)] = tensor
        else:
            renamed[f"decoder.{name}"] = tensor
    return renamed


def _translated(properties: Mapping[str, Any], state: Mapping[str, Tensor]) -> Checkpoint:
    """Takes every setting from the file: the program that wrote it has had several defaults."""
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
        # With a language model, the published program lets it in at every word unless it reranks.
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

"""A trained MILAN: vocabulary, sizes, settings and weights, and the networks built from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ...harness.errors import InputError
from ...harness.targets import checkpoints
from ...harness.targets.fingerprints import weights_digest
from .attention import AttentionDecoder, DecoderSizes
from .encoder import PyramidEncoder
from .language_model import CaptionLanguageModel, LanguageModelSizes
from .settings import DecodingSettings, ExemplarSettings
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor, nn

    Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class EncoderConfig:
    """The network that computes the features of exemplars.

    Attributes:
        network: a name of torchvision, or the name of a network that is passed to `build_encoder`.
        digest: hash of that network's weights, if they are not in the checkpoint.
    """

    network: str
    digest: str | None = None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained MILAN.

    Attributes:
        vocabulary: its words.
        sizes: of the decoder.
        language_model: sizes of the language model; None if there is none.
        decoding: how captions are searched for, unless a user overrides it.
        encoder: the network that computes the features.
        state: weights on the CPU; names begin with `decoder.`, `lm.` and `encoder.`; the last may be
            missing.
        official: whether it is one of the published checkpoints, or was converted from one.
        exemplars: `count`, `quantile` and `image_size` of the exemplars in its training, see
            `ExemplarSettings`; a missing setting has the published value.

    Raises:
        InputError: if a setting of the exemplars is out of range.
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
        """Returns the weights of `decoder`, `lm` or `encoder`, by their names in that network."""
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
        return _load(lambda: AttentionDecoder(self.sizes), self.part("decoder"), "decoder")

    def build_language_model(self) -> CaptionLanguageModel | None:
        """Returns the language model in evaluation mode; None if there is none.

        Raises:
            InputError: if the weights do not fit.
        """
        if (sizes := self.language_model) is None:
            return None
        return _load(
            lambda: CaptionLanguageModel(self.vocabulary, sizes), self.part("lm"), "language model"
        )

    def build_encoder(self, network: nn.Module | None = None) -> PyramidEncoder:
        """Returns the encoder; its weights come from the checkpoint and are never downloaded.

        Args:
            network: for a checkpoint without them, the network that was used in its training.

        Raises:
            InputError: if the weights are missing, do not fit, or are not those of the training.
        """
        state, name = self.part("encoder"), self.encoder.network
        if self.has_encoder:
            encoder = _load(lambda: PyramidEncoder.named(name), state, f"encoder ({name})")
        elif network is None:
            raise InputError(
                f"the checkpoint does not contain the weights of its encoder, {name}",
                f"give the network {name} with the weights it had in the training of MILAN",
            )
        else:
            pixels = {key: state[key].flatten().tolist() for key in ("mean", "std") if key in state}
            encoder = PyramidEncoder(network, name, **pixels)
            if self.encoder.digest not in (None, weights_digest(encoder.model)):
                raise InputError(
                    f"the network is not {name} with the weights it had in the training of MILAN",
                    "give that network: a decoder is trained on the features of one encoder",
                )
        if encoder.size != self.sizes.feature:
            raise InputError(
                f"the decoder expects feature vectors of {self.sizes.feature} numbers, but the encoder "
                f"({name}) computes {encoder.size}",
                "the checkpoint was trained with another kind of encoder",
            )
        return encoder

    def verify(self) -> None:
        """Builds every network whose weights are in the checkpoint.

        Raises:
            InputError: if one cannot be built.
        """
        self.build_decoder()
        self.build_language_model()
        if self.has_encoder:
            self.build_encoder()


def _load(build: Callable[[], Network], state: Mapping[str, Tensor], name: str) -> Network:
    """Builds a network and loads its weights.

    Raises:
        InputError: if they do not fit.
    """
    import torch

    with torch.device("meta"):  # skips the initialisation, which would draw from the global generator
        network = build()
    try:
        checkpoints.apply(network.to_empty(device="cpu"), state)
    except InputError as error:
        hint = "the file is damaged, or its weights are those of another architecture"
        raise InputError(f"{name}: {error.message}", hint) from None
    return network.eval().requires_grad_(False)

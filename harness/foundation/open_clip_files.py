"""Finds the files of open_clip models (weights, preprocessing, tokenizer) and builds the models."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, nearest
from ..files import file_digest, read_json
from ..weights import PACKAGE_PREFIX, settings_digest, snapshot, weights_digest

if TYPE_CHECKING:
    import torch

LOCAL_PREFIX, HUB_PREFIX = "local-dir:", "hf-hub:"
_TOKENIZER_FILES = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class OpenClipFiles:
    """The files and settings of one open_clip model.

    Attributes:
        spec: the name by which open_clip loads it: an architecture, or `local-dir:<folder>`.
        weights: the file with the weights, or the folder that contains it.
        preprocess: open_clip's preprocessing settings that differ from its defaults.
        settings: everything that embeddings depend on besides the weights; JSON-able.
    """

    spec: str
    weights: Path
    preprocess: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def find(
        cls, model: str, pretrained: str | None, checkpoint: str | None, revision: str | None = None
    ) -> OpenClipFiles:
        """Finds a model on this machine, or downloads its weights.

        Args:
            model: see `OpenClipEncoder`, also for the other arguments.
            pretrained: open_clip's name of the weights.
            checkpoint: a local file with the weights.
            revision: revision of the repository on the Hub.

        Raises:
            InputError: if the model is unknown, cannot be found or downloaded, or its parts do not belong
                together.
        """
        for prefix in (LOCAL_PREFIX, HUB_PREFIX, PACKAGE_PREFIX):
            if model.startswith(prefix):
                return _of_folder(_folder(model, prefix, revision))
        return _of_architecture(model, pretrained, checkpoint, revision)

    @property
    def folder(self) -> Path:
        """The folder that contains the weights."""
        return self.weights if self.weights.is_dir() else self.weights.parent

    def build(self, precision: str, device: torch.device) -> torch.nn.Module:
        """Returns the model with its weights, in eval mode.

        Raises:
            InputError: if the weights cannot be read or are those of another architecture.
        """
        import open_clip

        try:
            if _is_torchscript(self.weights):
                model = _from_torchscript(self.spec, self.weights, precision).to(device)
            else:
                # With `local-dir:`, open_clip finds the weights itself and warns of `pretrained`.
                file = None if self.spec.startswith(LOCAL_PREFIX) else str(self.weights)
                model = open_clip.create_model(
                    self.spec,
                    pretrained=file,
                    precision=precision,
                    device=device,
                    # Otherwise open_clip continues with random weights if it finds none.
                    require_pretrained=True,
                )
        except Exception as error:  # every file format has its own errors for unreadable files
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"cannot load {self.weights} as {self.spec}: {reason}",
                "check that the file is complete and contains the weights of this architecture",
            ) from error
        return model.eval().requires_grad_(False)


def _folder(model: str, prefix: str, revision: str | None) -> Path:
    if prefix == LOCAL_PREFIX:
        folder = Path(model.removeprefix(prefix)).expanduser()
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}", f"encoder.model={model} must name a folder")
        return folder
    return snapshot(model.removeprefix(HUB_PREFIX), revision=revision)


def _of_folder(folder: Path) -> OpenClipFiles:
    config = read_json(folder / "open_clip_config.json")
    if "model_cfg" not in config:
        raise InputError(f"{folder / 'open_clip_config.json'} has no entry model_cfg")
    weights_digest(folder)  # raises if there are none: open_clip would continue with random weights
    settings = {"folder": settings_digest(folder)}
    return OpenClipFiles(f"{LOCAL_PREFIX}{folder}", folder, config.get("preprocess_cfg", {}), settings)


def _of_architecture(
    model: str, pretrained: str | None, checkpoint: str | None, revision: str | None
) -> OpenClipFiles:
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise InputError(
            f"open_clip has no model {model!r}; {nearest(model, open_clip.list_models())}",
            f"write a folder as {LOCAL_PREFIX}<folder>, a model on the Hub as {HUB_PREFIX}<org>/<model>",
        )
    tag = _tag(model, pretrained) if pretrained is not None else {}
    if tag:
        _check_activation(model, config, needed=bool(tag.get("quick_gelu")), weights=str(pretrained))
    weights = _checkpoint(model, pretrained, tag, checkpoint, revision)
    if _is_torchscript(weights):  # only OpenAI published such files, all trained with QuickGELU
        _check_activation(model, config, needed=True, weights=str(weights))
    keys = ("mean", "std", "interpolation", "resize_mode")
    preprocess = {key: tag[key] for key in keys if key in tag}
    # The architecture's values and not its name: another version of open_clip may define it differently.
    settings = {"model": config, "preprocess": preprocess, "tokenizer": _tokenizer_digest(config)}
    return OpenClipFiles(model, weights, preprocess, settings)


def _tag(model: str, pretrained: str) -> Mapping[str, Any]:
    import open_clip

    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        return tag
    if Path(pretrained).expanduser().is_file():
        raise InputError(
            f"encoder.pretrained must be open_clip's name of the weights, not a file: {pretrained}",
            "set encoder.checkpoint to the file, and encoder.pretrained to the name of its weights "
            "(or null for your own)",
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    raise InputError(
        f"open_clip has no weights {pretrained!r} for {model}", f"it has {', '.join(tags) or 'none'}"
    )


def _check_activation(model: str, config: Mapping[str, Any], *, needed: bool, weights: str) -> None:
    """Refuses weights trained with QuickGELU in a model with GELU.

    open_clip would load them without an error, and the embeddings would be wrong.
    """
    if needed and not config.get("quick_gelu", False):
        raise InputError(
            f"the weights {weights} were trained with QuickGELU, which {model} does not use",
            f"set encoder.model={model}-quickgelu",
        )


def _checkpoint(
    model: str,
    pretrained: str | None,
    tag: Mapping[str, Any],
    checkpoint: str | None,
    revision: str | None,
) -> Path:
    if checkpoint is not None:
        file = Path(checkpoint).expanduser()
        if not file.is_file():
            raise InputError(f"no such file: {file}", "encoder.checkpoint must be a file with weights")
        return file
    if not tag:
        raise InputError(
            f"there are no weights for {model}",
            "set encoder.pretrained to one of open_clip's names, or encoder.checkpoint to a file",
        )
    # `<org>/<model>/<file>`, or `<org>/<model>/` for weights with open_clip's usual file names.
    repository, _, name = tag.get("hf_hub", "").rpartition("/")
    if not repository:
        raise InputError(
            f"the weights {pretrained} of {model} are not on the Hub",
            f"download {tag.get('url', 'them')} and set encoder.checkpoint to the file",
        )
    return _from_hub(model, repository, _names(name), str(pretrained), revision)


def _names(name: str) -> tuple[str, ...]:
    """Returns the possible names of the weight file, the preferred one first."""
    if not name:
        return ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return (str(Path(name).with_suffix(".safetensors")), name)


def _from_hub(
    model: str, repository: str, names: tuple[str, ...], pretrained: str, revision: str | None
) -> Path:
    reasons = []
    for name in dict.fromkeys(names):
        try:
            return snapshot(repository, patterns=[name], revision=revision) / name
        except InputError as error:
            reasons.append(error.message)
    download = f"hf download {repository} {names[0]}"
    download += "" if revision is None else f" --revision {revision}"
    raise InputError(
        f"cannot get the weights {pretrained} of {model}: {reasons[0]}",
        f"on a machine with network run `{download} --local-dir FOLDER`, "
        f"copy the file here and set encoder.checkpoint=FOLDER/{names[0]}",
    )


def _tokenizer_digest(config: Mapping[str, Any]) -> str:
    name = config["text_cfg"].get("hf_tokenizer_name")
    if name:
        return settings_digest(snapshot(name, patterns=_TOKENIZER_FILES))
    # CLIP's own tokenizer, whose vocabulary is a file of the package open_clip.
    from open_clip.tokenizer import default_bpe

    return file_digest(default_bpe())


def _is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, the form in which OpenAI published CLIP."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    # torch.save writes zip archives, too, but only TorchScript puts its constants into them.
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _from_torchscript(architecture: str, path: Path, precision: str) -> torch.nn.Module:
    import open_clip
    import torch

    config: dict[str, Any] = open_clip.get_model_config(architecture) or {}
    state = torch.jit.load(path, map_location="cpu").state_dict()
    for key in ("input_resolution", "context_length", "vocab_size"):
        state.pop(key, None)  # sizes, which OpenAI's files store next to the weights
    model = open_clip.CLIP(**config, cast_dtype=open_clip.get_cast_dtype(precision))
    model.load_state_dict(state)
    dtype = open_clip.get_input_dtype(precision)
    if dtype is not None:
        open_clip.convert_weights_to_lp(model, dtype=dtype)
    return model

"""Reads and writes checkpoints: the project's own format, and the published files.

The project's own format is a folder with `config.json` and `model.safetensors`; `convert` rewrites a
published file in it.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ...harness.errors import InputError
from ...harness.files import atomic_path, file_digest, read_json, write_json
from ...harness.targets import checkpoints
from .attention import DecoderSizes
from .checkpoints import Checkpoint, EncoderConfig
from .language_model import LanguageModelSizes
from .published_checkpoints import read_published
from .settings import DecodingSettings
from .vocabulary import Vocabulary

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FORMAT = 1


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads and verifies a checkpoint.

    Args:
        path: a folder in the project's own format, or a published file.

    Raises:
        InputError: if it does not exist, is damaged or not a MILAN, its parts do not fit, or it refers to
            objects that could run code.
    """
    path = Path(path).expanduser()
    checkpoint = _read_folder(path) if path.is_dir() else read_published(path)
    try:
        checkpoint.verify()
    except InputError as error:
        raise InputError(f"checkpoint {path}: {error.message}", error.hint) from None
    return checkpoint


def save_checkpoint(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Writes a checkpoint in the project's own format; it is complete once `config.json` exists."""
    import torch
    from safetensors.torch import save_file

    folder = Path(folder)
    # Published weights may share a record, which safetensors does not allow.
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
        # Detects weights and settings of two checkpoints in one folder.
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


def _read_folder(folder: Path) -> Checkpoint:
    """Reads the project's own format."""
    if not (folder / CONFIG).is_file():
        raise InputError(
            f"the folder {folder} contains no MILAN: it has no {CONFIG}",
            "give a folder written by `dissectbench milan`, or a published .pth file",
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

"""The commands `dissectbench milan convert`, `train` and `exemplars`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import build, compose
from ..devices import resolve
from ..errors import InputError
from ..parts import layer_specs, probing_sets
from ..progress import Progress
from ..run import activations
from ..unit_selection import select_units
from .console import terminal

if TYPE_CHECKING:
    from torch import nn

    from ...methods.milan.checkpoints import Checkpoint
    from ...methods.milan.encoder import PyramidEncoder
    from ...methods.milan.training.train import Trained


def convert_command(options: argparse.Namespace) -> int:
    """Rewrites a published checkpoint as a folder of JSON and safetensors."""
    from ...methods.milan.checkpoint_files import CONFIG, convert

    file: Path = options.file.expanduser()
    if file.is_dir():
        raise InputError(f"{file} is a folder", "give the published .pth file")
    out: Path = options.out or file.with_suffix("")
    # A converted checkpoint may be written again; anything else in the folder is left alone.
    if out == file or (out.exists() and not (out / CONFIG).is_file() and not _empty(out)):
        raise InputError(f"{out} already exists", "give another folder: --out DIR")
    checkpoint = convert(file, out)
    encoder = None if checkpoint.has_encoder else "MODULE:FUNCTION"
    _print(f"{_summary(checkpoint)}\nwritten to {out}\n{_usage(out, encoder)}")
    if encoder:
        network = checkpoint.encoder.network
        _print(f"MODULE:FUNCTION returns {network} with the weights it had in the training of MILAN")
    return 0


def _empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _summary(checkpoint: Checkpoint) -> str:
    decoding, language_model = checkpoint.decoding, checkpoint.language_model
    encoder = "" if checkpoint.has_encoder else " (not in the checkpoint)"
    return (
        f"MILAN with {len(checkpoint.vocabulary.tokens)} words over {checkpoint.encoder.network}"
        f"{encoder}, {'a' if language_model else 'no'} language model; strategy {decoding.strategy}, "
        f"beam {decoding.beam}, temperature {decoding.temperature:g}"
    )


def _usage(folder: Path, encoder: str | None) -> str:
    settings = {"checkpoint": folder} if encoder is None else {"checkpoint": folder, "encoder": encoder}
    overrides = " ".join(f"method.milan.{name}={value}" for name, value in settings.items())
    return f"to describe units with it: dissectbench run method=[milan] {overrides}"


def train_command(options: argparse.Namespace) -> int:
    """Trains a MILAN on annotated exemplars; after an interruption, the same command resumes."""
    from ...methods.milan.training.dataset import open_annotated
    from ...methods.milan.training.train import train_annotated

    # A path may contain "=".
    paths = [word for word in options.settings if "=" not in word or Path(word).exists()]
    overrides = [word for word in options.settings if "=" in word and not Path(word).exists()]
    if not paths:
        raise InputError("no data set given", "dissectbench milan train DATA... --out DIR")
    config = compose(overrides, root="milan_train", config_dir=options.config_dir).config
    _check_numbers(config.training, compose(root="milan_train").config.training, "training")
    settings = build(config.training, "training")
    layers = None if config.layers is None else list(config.layers)
    with _temporary_folder(options.out) as unpacked:
        data = [
            open_annotated(
                path,
                options.images,
                layers=layers,
                per_unit=config.per_unit,
                # The number, because archives in different folders may have the same name.
                unpacked=unpacked / str(number) / Path(path).stem,
            )
            for number, path in enumerate(paths)
        ]
        encoder, is_function = _encoder(options, config), ":" in options.encoder
        trained = train_annotated(
            data,
            encoder,
            options.out,
            settings,
            keep_encoder=not is_function,
            device=resolve(config.device),
            progress=Progress(),
        )
    usage = _usage(options.out, options.encoder if is_function else None)
    _print(f"{_summary(trained.checkpoint)}\n{_quality(trained)}\nwritten to {options.out}\n{usage}")
    return 0


@contextmanager
def _temporary_folder(out: Path) -> Iterator[Path]:
    """Yields a folder in `out` for the content of archives, which is removed at the end.

    A process that is killed leaves it behind; the next command with the same `out` removes it first.
    """
    is_new, folder = not out.exists(), out / ".unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # it is removed only if nothing was written to it
                out.rmdir()


def _check_numbers(settings: Any, defaults: Any, name: str) -> None:
    """Rejects non-numeric values of numeric settings, which would fail late and without their name."""
    for key, default in defaults.items():
        value = settings.get(key) if hasattr(settings, "get") else None
        if hasattr(default, "items"):
            _check_numbers(value, default, f"{name}.{key}")
        elif isinstance(default, (int, float)) and not isinstance(value, (int, float, type(None))):
            raise InputError(f"{name}.{key}={value} is not a number", f"the default is {default}")


def _encoder(options: argparse.Namespace, config: Any) -> PyramidEncoder:
    """Returns the encoder that `--encoder` and `--weights` name."""
    from ...methods.milan.encoder import PyramidEncoder
    from ..targets.factory import from_factory

    name, pixels = options.encoder, config.encoder
    if ":" not in name:
        PyramidEncoder.named(name)  # rejects other networks before their weights are downloaded
        network = _torchvision(name, options.weights, pixels.num_classes)
    elif options.weights:
        raise InputError("--weights cannot be used with a function", f"load the weights in {name} itself")
    else:
        network = from_factory(name, device="cpu").model
    return PyramidEncoder(network, name, list(pixels.mean), list(pixels.std))


def _torchvision(name: str, weights: Path | None, num_classes: int | None) -> nn.Module:
    from ..targets.zoo import torchvision_model

    try:
        file = str(weights) if weights else None
        target = torchvision_model(
            name, "IMAGENET1K_V1", checkpoint=file, num_classes=num_classes, device="cpu"
        )
        return target.model
    except InputError as error:
        # The option of this command, instead of the setting of a target.
        hint = error.hint and error.hint.partition(";")[0]
        hint = hint and hint.replace("set target.checkpoint= to", "give --weights with")
        raise InputError(error.message, hint) from error


def _quality(trained: Trained) -> str:
    best = max(trained.decoder, key=lambda epoch: epoch.score)
    text = (
        f"trained on {len(trained.split.train)} units, {len(trained.split.held_out)} held out; "
        f"BLEU of greedy captions {best.score:.2f} (best of {len(trained.decoder)} epochs)"
    )
    if trained.language_model:
        best = max(trained.language_model, key=lambda epoch: epoch.score)
        text += f", mean log p of a word by the language model {best.score:.3f}"
    return text


def exemplars_command(options: argparse.Namespace) -> int:
    """Writes the exemplars of some layers in the published layout, one folder per layer."""
    from ...methods.milan.exemplar_files import write_exemplars
    from ...methods.milan.settings import ExemplarSettings
    from ..targets.layers import Taps

    exemplars = ExemplarSettings(options.exemplars, options.quantile, options.image_size, options.variant)
    overrides = [*options.settings, "method=[]", "metric=[]"]
    config = compose(overrides, config_dir=options.config_dir).config
    probe, target = probing_sets(config)[0], build(config.target, "target")
    taps, progress = Taps(target, layer_specs(config.layers)), Progress()
    passed = build(config.activations, "activations")
    for name, layer in activations(taps, probe, passed, options.runs, progress).items():
        selection = config.units if isinstance(config.units, (int, str)) else list(config.units)
        units = select_units(selection, name, layer.n_units, config.seed)
        folder = write_exemplars(layer, options.out / name, exemplars, units, progress=progress)
        _print(f"{name}: {len(folder.units)} units with {folder.ids.shape[1]} exemplars in {folder.path}")
    return 0


def _print(text: str) -> None:
    terminal().print(text, highlight=False, markup=False, soft_wrap=True)

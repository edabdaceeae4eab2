"""`dissectbench milan`: published checkpoints converted, a MILAN trained, exemplars written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import build, compose
from ..devices import resolve
from ..errors import InputError
from ..progress import Progress
from ..run import activations, layer_specs
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
        raise InputError(f"{file} is a folder", "give the .pth file as it was published")
    out: Path = options.out or file.with_suffix("")
    if out == file or (out.exists() and not (out / CONFIG).is_file() and not _empty(out)):
        raise InputError(f"{out} is there already", "give another folder: --out DIR")
    checkpoint = convert(file, out)
    _say(f"{_summary(checkpoint)}\nwritten to {out}\n{_use(out)}")
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


def _use(folder: Path, **settings: object) -> str:
    given = {"checkpoint": folder, **settings}
    overrides = " ".join(f"method.milan.{name}={value}" for name, value in given.items())
    return f"describe with it: dissectbench run method=[milan] {overrides}"


def train_command(options: argparse.Namespace) -> int:
    """Trains a MILAN on annotated exemplars; the same command goes on where it was interrupted."""
    from ...methods.milan.training.dataset import open_annotated
    from ...methods.milan.training.train import train_annotated

    paths = [word for word in options.settings if "=" not in word or Path(word).exists()]
    overrides = [word for word in options.settings if "=" in word and not Path(word).exists()]
    if not paths:
        raise InputError("no data set is given", "dissectbench milan train DATA... --out DIR")
    config = compose(overrides, root="milan_train", config_dir=options.config_dir).config
    _refuse_texts(config.training, compose(root="milan_train").config.training, "training")
    settings = build(config.training, "training")
    layers = None if config.layers is None else list(config.layers)
    data = [
        open_annotated(path, options.images, layers=layers, per_unit=config.per_unit) for path in paths
    ]
    encoder, own = _encoder(options, config), ":" in options.encoder
    trained = train_annotated(
        data,
        encoder,
        options.out,
        settings,
        keep_encoder=not own,
        device=resolve(config.device),
        progress=Progress(),
    )
    use = _use(options.out, **({"encoder": options.encoder} if own else {}))
    _say(f"{_summary(trained.checkpoint)}\n{_quality(trained)}\nwritten to {options.out}\n{use}")
    return 0


def _refuse_texts(given: Any, default: Any, name: str) -> None:
    """Refuses what is no number where there was one."""
    for key, usual in default.items():
        value = given.get(key) if hasattr(given, "get") else None
        if hasattr(usual, "items"):
            _refuse_texts(value, usual, f"{name}.{key}")
        elif isinstance(usual, (int, float)) and not isinstance(value, (int, float, type(None))):
            raise InputError(f"{name}.{key}={value} is no number", f"by default it is {usual}")


def _encoder(options: argparse.Namespace, config: Any) -> PyramidEncoder:
    """Returns the encoder that `--encoder` and `--weights` name."""
    from ...methods.milan.encoder import PyramidEncoder
    from ..targets.target import from_factory

    name, pixels = options.encoder, config.encoder
    if ":" not in name:
        PyramidEncoder.named(name)  # refuses another network before its weights are downloaded
        network = _torchvision(name, options.weights, pixels.num_classes)
    elif options.weights:
        raise InputError("--weights with a network of your own", "let the function load its weights")
    else:
        network = from_factory(name, device="cpu").model
    return PyramidEncoder(network, name, list(pixels.mean), list(pixels.std))


def _torchvision(name: str, weights: Path | None, num_classes: int | None) -> nn.Module:
    from ..targets.zoo import torchvision_model

    try:
        file = str(weights) if weights else None
        return torchvision_model(name, "IMAGENET1K_V1", file, num_classes, device="cpu").model
    except InputError as error:
        hint = error.hint and error.hint.replace("set checkpoint= to", "give --weights with")
        raise InputError(error.message, hint) from error


def _quality(trained: Trained) -> str:
    best = max(trained.decoder, key=lambda epoch: epoch.score)
    text = (
        f"{len(trained.split.train)} units learnt from, {len(trained.split.held_out)} held out: "
        f"BLEU of greedy captions {best.score:.2f}, the best of {len(trained.decoder)} epochs"
    )
    if trained.language_model:
        best = max(trained.language_model, key=lambda epoch: epoch.score)
        text += f"; the language model's log p of a word {best.score:.3f}"
    return text


def exemplars_command(options: argparse.Namespace) -> int:
    """Writes the exemplars of some layers in the layout of the published program, a folder each."""
    from ...methods.milan.exemplar_files import write_exemplars
    from ...methods.milan.settings import ExemplarSettings
    from ..targets.layers import Taps

    chosen = ExemplarSettings(options.exemplars, options.quantile, options.image_size, options.variant)
    overrides = [*options.settings, "method=[]", "metric=[]"]
    config = compose(overrides, config_dir=options.config_dir).config
    probe, target = build(config.probe, "probe"), build(config.target, "target")
    taps, progress = Taps(target, layer_specs(config.layers)), Progress()
    passed = build(config.activations, "activations")
    for name, layer in activations(taps, probe, passed, options.runs, progress).items():
        wanted = config.units if isinstance(config.units, (int, str)) else list(config.units)
        units = select_units(wanted, name, layer.n_units, config.seed)
        found = write_exemplars(layer, options.out / name, chosen, units, progress=progress)
        _say(f"{name}: {len(found.units)} units with {found.ids.shape[1]} exemplars in {found.path}")
    return 0


def _say(text: str) -> None:
    terminal().print(text, highlight=False, markup=False, soft_wrap=True)

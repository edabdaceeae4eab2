"""Trains tinyworld's MILAN: `python -m dissectbench.methods.milan.tinyworld.train`.

Trains some networks on tinyworld, computes the exemplars of their units, annotates them from the labels
under their masks, trains MILAN on the annotations, measures it on units of networks that it was not
trained on, and writes `weights/milan` with its model card. Steps finished before an interruption are not
repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ....datasets.tinyworld import cache_folder, probing_set
from ....datasets.tinyworld.networks import MEAN, STD, WEIGHTS, resnet
from ....datasets.tinyworld.training.images import TRAINING_SEED, image_set
from ....datasets.tinyworld.training.saving import write_card
from ....harness.files import fingerprint
from ....harness.progress import Progress
from ....harness.targets.target import Target
from ..checkpoint_files import load_checkpoint, save_checkpoint
from ..checkpoints import Checkpoint
from ..decoder import Decoder
from ..encoder import PyramidEncoder
from ..language_model import LanguageModelSizes
from ..settings import DecodingSettings
from ..training.dataset import AnnotatedExemplars, agreed
from ..training.dataset_features import dataset_features
from ..training.fitting import FitSettings
from ..training.tasks import Split
from ..training.train import Trained, TrainingSettings, train
from .model_card import Evaluation, card
from .networks import ENCODER, HELD_OUT, LAYERS, TRAINING_NETWORKS, NetworkSpec, trained_network
from .quality import Annotations, measure
from .units import PROBING_SEED, TRAINING_SEEDS, Scale, annotated_units
from .word_statistics import ProbingSetWords

FOLDER = WEIGHTS / "milan"
EXAMPLES = 30
"""Units of tinyworld's classifier that the card shows."""

SETTINGS = TrainingSettings(
    embedding=64,
    hidden=128,
    attention=128,
    dropout=0.5,
    language_model=LanguageModelSizes(64, 128, 2, 0.5),
    # Of 0, 0.02, 0.05, 0.1 and 0.2, this temperature gives the best BLEU on held-out units.
    decoding=DecodingSettings("rerank", length=15, beam=20, temperature=0.05),
    fit_decoder=FitSettings(batch=64, epochs=60, patience=8),
    fit_language_model=FitSettings(batch=128, epochs=60, patience=4),
)


def held_out_units(data: Sequence[AnnotatedExemplars], share: float, seed: int) -> Split:
    """Holds out a share of the units, each with its exemplars from all probing sets."""
    # The same unit occurs in several data sets, one per probing set: "<network>-<probing set>".
    units = [
        (part.name.rpartition("-")[0], unit.layer, unit.unit) for part in data for unit in part.units
    ]
    distinct = sorted(set(units))
    order = np.random.default_rng(seed).permutation(len(distinct))
    held_out = {distinct[i] for i in order[: max(1, round(share * len(distinct)))].tolist()}
    rows = range(len(units))
    return Split(
        tuple(row for row in rows if units[row] not in held_out),
        tuple(row for row in rows if units[row] in held_out),
    )


def halved(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the checkpoint with matrices as float16; vectors and the encoder's mean and std stay."""
    state = {
        name: value.half() if value.ndim > 1 and not name.startswith("encoder.") else value
        for name, value in checkpoint.state.items()
    }
    return replace(checkpoint, state=state)


def describe(checkpoint: Checkpoint, features: NDArray[np.float32]) -> list[str]:
    """Returns MILAN's description of each unit."""
    return [caption.text for caption in Decoder.of(checkpoint).describe(features)]


class UnitSource:
    """Trains networks and computes the annotated exemplars of their units, once; keeps both on disk.

    Args:
        folder: where everything is kept.
        scale: how much is computed.
        progress: shows the progress.
    """

    def __init__(self, folder: Path, scale: Scale, progress: Progress) -> None:
        self.folder, self.scale, self.progress = folder, scale, progress
        network, prepare = resnet()
        self.classifier = Target.of(network, prepare, name=ENCODER, device="cpu")
        self.encoder = PyramidEncoder(network, ENCODER, MEAN, STD)

    def target(self, spec: NetworkSpec) -> Target:
        """Returns a trained network."""
        images = image_set(TRAINING_SEED, self.scale.training_images)
        return trained_network(spec, images, self.folder / "networks", self.progress)

    def units(self, targets: Sequence[Target], seed: int) -> list[AnnotatedExemplars]:
        """Returns the units of networks, with exemplars from the probing set with this seed."""
        probe = probing_set(self.scale.probing_images, seed)
        words = ProbingSetWords(probe)
        return [
            annotated_units(
                target,
                probe,
                words,
                LAYERS,
                self.folder / "units",
                limit=self.scale.units_per_layer,
                seed=self.scale.seed,
                progress=self.progress,
            )
            for target in targets
        ]

    def features(self, data: Sequence[AnnotatedExemplars]) -> NDArray[np.float32]:
        """Returns the encoder's vectors of the exemplars."""
        return dataset_features(data, self.encoder, self.folder / "features", progress=self.progress)


def train_milan(
    source: UnitSource,
    networks: Sequence[NetworkSpec] = TRAINING_NETWORKS,
    settings: TrainingSettings = SETTINGS,
) -> tuple[Trained, list[tuple[str, ...]]]:
    """Trains MILAN on units of networks; returns it and the annotations that it was trained on."""
    targets = [source.target(spec) for spec in networks]
    data = [part for seed in TRAINING_SEEDS for part in source.units(targets, seed)]
    texts, seed = [texts for part in data for texts in part.texts], source.scale.seed
    specs = [asdict(spec) for spec in networks]
    key = fingerprint([asdict(source.scale), asdict(settings), specs, TRAINING_SEEDS])
    trained = train(
        source.features(data),
        texts,
        source.encoder,
        source.folder / f"model-{key[:16]}",
        replace(settings, seed=seed),
        split=held_out_units(data, settings.hold_out, seed),
        exemplars=agreed([(part.name, part.settings) for part in data]),
        keep_encoder=False,
        progress=source.progress,
    )
    return trained, [texts[unit] for unit in trained.split.train]


def evaluate(source: UnitSource, checkpoint: Checkpoint, training: Annotations) -> Evaluation:
    """Describes the units of two networks that MILAN was not trained on, and scores the descriptions.

    Args:
        source: of the units.
        checkpoint: the trained MILAN.
        training: annotations of the units that it was trained on.
    """
    targets = [source.target(HELD_OUT), source.classifier]
    data = source.units(targets, PROBING_SEED)
    descriptions = [describe(checkpoint, source.features([part])) for part in data]
    quality = {
        target.name: measure(texts, part.texts, training)
        for target, texts, part in zip(targets, descriptions, data, strict=True)
    }
    units, texts = data[-1].units, descriptions[-1]  # of the classifier
    order = np.random.default_rng(source.scale.seed).permutation(len(units))[:EXAMPLES].tolist()
    return Evaluation(
        quality,
        [text for unit, text in zip(units, texts, strict=True) if unit.layer == "fc"],
        [(f"{units[i].layer}, {units[i].unit}", texts[i], units[i].texts[0]) for i in sorted(order)],
    )


def main() -> None:
    """Trains and saves MILAN, measures the weights as they were saved, and writes the model card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for setting, value in asdict(Scale()).items():
        parser.add_argument(
            f"--{setting.replace('_', '-')}", type=int, default=value, help="default: %(default)s"
        )
    scale = Scale(**vars(parser.parse_args()))
    torch.set_num_threads(1)  # with more threads, sums are formed in another order
    source = UnitSource(cache_folder() / "training" / "milan", scale, Progress())
    trained, training = train_milan(source)
    save_checkpoint(halved(trained.checkpoint), FOLDER)
    evaluation = evaluate(source, load_checkpoint(FOLDER), training)
    source.progress.console.print(evaluation)
    write_card(FOLDER, "tinyworld-milan", card(scale, trained, evaluation))


if __name__ == "__main__":
    main()

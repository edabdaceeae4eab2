"""Trains the embedded MILAN: `python -m dissectbench.methods.milan.tinyworld.train`.

Trains some networks of the embedded world, takes the exemplars of their units, says in words what their
masks cover, lets MILAN learn that, measures it on units of networks it knows nothing of, and writes
`weights/milan`, with its model card. Whatever was finished when it was interrupted is used again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ....datasets.tinyworld import cache_folder, probing_set
from ....datasets.tinyworld.networks import MEAN, STD, WEIGHTS, resnet
from ....datasets.tinyworld.training.images import TRAINING_SEED, image_set
from ....datasets.tinyworld.training.saving import write_card
from ....datasets.tinyworld.words import OBJECTS
from ....harness.files import fingerprint
from ....harness.progress import Progress
from ....harness.targets.target import Target
from ..checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from ..decoder import Decoder
from ..encoder import PyramidEncoder
from ..language_model import LanguageModelSizes
from ..settings import DecodingSettings
from ..training.dataset import AnnotatedExemplars, agreed
from ..training.features import unit_features
from ..training.fitting import FitSettings
from ..training.tasks import Split
from ..training.train import Trained, TrainingSettings, train
from .annotations import PER_UNIT
from .census import World
from .networks import LAYERS, Course, trained
from .quality import LAYER, Quality, Texts, measure, names_class
from .units import EXEMPLARS, annotated_units

FOLDER = WEIGHTS / "milan"
ENCODER = "tinyworld-resnet"
EXAMPLES = 30
COURSES = (
    Course("objects-plain", "objects", 32, 11, epochs=6),
    Course("objects-narrow", "objects", 16, 14, epochs=6),
    Course("colours-plain", "colours", 16, 13, epochs=6),
    Course("textures-plain", "textures", 16, 15, epochs=6),
    Course("words-resnet", "words", None, 12, epochs=4),
)
HELD_OUT = Course("objects-resnet", "objects", None, 16, epochs=6)
"""MILAN learns nothing of this network."""

SHOWN, PROBING = (4, 5, 6, 8, 9), 0
"""Worlds whose pictures are exemplars: of the units learnt from, and of the networks held out."""

# Of 0, 0.02, 0.05, 0.1 and 0.2, this weight of the language model has the best BLEU on held-out units.
SETTINGS = TrainingSettings(
    embedding=64,
    hidden=128,
    attention=128,
    dropout=0.5,
    language_model=LanguageModelSizes(64, 128, 2, 0.5),
    decoding=DecodingSettings("rerank", length=15, beam=20, temperature=0.05),
    fit_decoder=FitSettings(batch=64, epochs=60, patience=8),
    fit_language_model=FitSettings(batch=128, epochs=60, patience=4),
)


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    Attributes:
        pictures: that a network is trained on.
        images: that its units choose their exemplars from.
        limit: units of a layer.
        seed: of the units chosen, of their wordings and of what MILAN learns.
    """

    pictures: int = 10_000
    images: int = 1200
    limit: int = 128
    seed: int = 0


def held_out_units(data: Sequence[AnnotatedExemplars], share: float, seed: int) -> Split:
    """Holds out a share of the units of every layer, each unit with all its sets of exemplars."""
    keys = [(part.name.rpartition("-")[0], unit.layer, unit.unit) for part in data for unit in part.units]
    distinct = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(distinct))
    held = {distinct[i] for i in order[: max(1, round(share * len(distinct)))].tolist()}
    rows = range(len(keys))
    return Split(
        tuple(row for row in rows if keys[row] not in held),
        tuple(row for row in rows if keys[row] in held),
    )


def halved(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the same MILAN with matrices as float16; vectors, and what pixels are divided by, stay."""
    state = {
        name: value.half() if value.ndim > 1 and not name.startswith("encoder.") else value
        for name, value in checkpoint.state.items()
    }
    return replace(checkpoint, state=state)


def describe(checkpoint: Checkpoint, features: NDArray[np.float32]) -> list[str]:
    """Returns MILAN's description of each unit."""
    return [caption.text for caption in Decoder.of(checkpoint).describe(features)]


class Workshop:
    """Where the units of networks are made, and kept.

    Args:
        folder: for everything that takes time.
        scale: how much is computed.
        progress: shows how far it is.
    """

    def __init__(self, folder: Path, scale: Scale, progress: Progress) -> None:
        self.folder, self.scale, self.progress = folder, scale, progress
        network, self._prepare = resnet()
        self.embedded = Target.of(ENCODER, network, self._prepare, device="cpu")
        self.encoder = PyramidEncoder(network, ENCODER, MEAN, STD)

    def target(self, course: Course) -> Target:
        """Returns a trained network."""
        shown = image_set(TRAINING_SEED, self.scale.pictures)
        return trained(course, shown, self.folder / "networks", self.progress)

    def units(self, targets: Sequence[Target], seed: int) -> list[AnnotatedExemplars]:
        """Returns units of networks, with exemplars from the world `seed`."""
        probe = probing_set(self.scale.images, seed)
        world, scale = World(probe), self.scale
        return [
            annotated_units(
                target,
                probe,
                world,
                LAYERS,
                self.folder / "units",
                limit=scale.limit,
                seed=scale.seed,
                progress=self.progress,
            )
            for target in targets
        ]

    def features(self, data: Sequence[AnnotatedExemplars]) -> NDArray[np.float32]:
        """Returns the vectors of the exemplars."""
        return unit_features(data, self.encoder, self.folder / "features", progress=self.progress)


def texts_of(data: Sequence[AnnotatedExemplars]) -> list[tuple[str, ...]]:
    """Returns the annotations of all units."""
    return [texts for part in data for texts in part.texts]


def learn(
    workshop: Workshop, courses: Sequence[Course] = COURSES, settings: TrainingSettings = SETTINGS
) -> tuple[Trained, list[tuple[str, ...]]]:
    """Trains MILAN on units of networks; returns it and the annotations of the units learnt from."""
    targets = [workshop.target(course) for course in courses]
    data = [part for seed in SHOWN for part in workshop.units(targets, seed)]
    texts, seed = texts_of(data), workshop.scale.seed
    made_of = [asdict(workshop.scale), asdict(settings), [asdict(course) for course in courses], SHOWN]
    found = train(
        workshop.features(data),
        texts,
        workshop.encoder,
        workshop.folder / f"model-{fingerprint(made_of)[:16]}",
        replace(settings, seed=seed),
        split=held_out_units(data, settings.hold_out, seed),
        exemplars=agreed([(part.name, part.settings) for part in data]),
        keep_encoder=False,
        progress=workshop.progress,
    )
    return found, [texts[unit] for unit in found.split.train]


@dataclass(frozen=True)
class Report:
    """What is measured of a trained MILAN.

    Attributes:
        quality: by network.
        classes: descriptions of the units of the embedded classifier's last layer, by unit.
        examples: some units of the embedded classifier, with a description and an annotation.
    """

    quality: Mapping[str, Quality]
    classes: Sequence[str]
    examples: Sequence[tuple[str, str, str]]

    @property
    def named(self) -> int:
        """How many descriptions of the last layer name the class, or one of its parts."""
        return sum(names_class(text, kind) for text, kind in zip(self.classes, OBJECTS, strict=True))


def examine(workshop: Workshop, checkpoint: Checkpoint, learnt: Texts) -> Report:
    """Lets MILAN describe the units of two networks that it did not learn from."""
    targets = [workshop.target(HELD_OUT), workshop.embedded]
    quality, said, data = {}, [], []
    for part in workshop.units(targets, PROBING):
        data, said = part.units, describe(checkpoint, workshop.features([part]))
        name = targets[len(quality)].name
        quality[name] = measure(said, [unit.texts for unit in data], learnt)
    order = np.random.default_rng(workshop.scale.seed).permutation(len(data))[:EXAMPLES].tolist()
    return Report(
        quality,
        [text for unit, text in zip(data, said, strict=True) if unit.layer == "fc"],
        [(f"{data[i].layer}, {data[i].unit}", said[i], data[i].texts[0]) for i in sorted(order)],
    )


def main() -> None:
    """Trains, saves, loads what was saved, measures that, and writes the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    for setting, value in asdict(Scale()).items():
        parser.add_argument(f"--{setting}", type=int, default=value)
    scale = Scale(**vars(parser.parse_args()))
    torch.set_num_threads(1)  # more threads add up in another order
    workshop = Workshop(cache_folder() / "training" / "milan", scale, Progress())
    found, learnt = learn(workshop)
    save_checkpoint(halved(found.checkpoint), FOLDER)
    report = examine(workshop, load_checkpoint(FOLDER), learnt)
    workshop.progress.console.print(report)
    write_card(FOLDER, "tinyworld-milan", card(scale, found, report))


def card(scale: Scale, found: Trained, report: Report) -> dict[str, str]:
    """Returns the sections of the model card."""
    networks = "\n".join(f"- {course.name}: {course.told}" for course in COURSES)
    rows = "\n".join(_row(f"{name} ({q.units})", q) for name, q in report.quality.items())
    examples = "\n".join(f"| {name} | {said} | {true} |" for name, said, true in report.examples)
    classes = "\n".join(f"| {k} | {t} |" for k, t in zip(OBJECTS, report.classes, strict=True))
    split, decoder, worlds = found.split, found.decoder, ", ".join(map(str, SHOWN))
    count, size = EXEMPLARS.count, EXEMPLARS.image_size
    return {
        "What it is": f"""
A MILAN (Hernandez et al., ICLR 2022) with a small decoder and language model. It looks at exemplars with
the embedded classifier, {ENCODER}, whose weights are not repeated here. Exemplars: {count} pictures
of {size} x {size}, masks above the {1 - EXEMPLARS.quantile:.2f} quantile.

No person annotated a unit. Annotations are generated from the labels of the pictures: what most of a
unit's exemplars show under their masks, more than all pictures do, in {PER_UNIT} wordings.
""",
        "Measured": f"""
On units of networks that it did not learn from, with exemplars from world {PROBING}: {HELD_OUT.name}
({HELD_OUT.told}), of which it knows nothing, and {ENCODER}, with which it looks.
BERTScore is F1 with layer {LAYER} of all-MiniLM-L6-v2, no idf, no rescaling, against the annotation that
suits best; "exact" is the share of the descriptions that are an annotation word for word.

| network (units) | | BERTScore | BLEU | exact |
|---|---|---|---|---|
{rows}

"Constant" says the commonest annotation of all units; "shuffled" gives each description to another unit.

Of the {len(OBJECTS)} units of the classifier's last layer, **{report.named}** are described by their
class or a part of it.

| class | description |
|---|---|
{classes}

Some other units of {ENCODER}, chosen at random:

| layer, unit | description | annotation |
|---|---|---|
{examples}
""",
        "Training": f"""
Up to {scale.limit} units of each layer of these networks, trained on {scale.pictures} pictures of world
{TRAINING_SEED}:

{networks}

Exemplars from {scale.images} pictures each of the worlds {worlds}: {len(split.train)} sets
learnt from, {len(split.held_out)} held out to stop training (decoder after {len(decoder)} epochs,
BLEU {max(epoch.score for epoch in decoder):.3f}; language model after {len(found.language_model)}), seed
{scale.seed}, 1 CPU thread. Again with `python -m dissectbench.methods.milan.tinyworld.train`.
""",
        "Storage": "Matrices as float16, computed in float32.",
    }


def _row(name: str, quality: Quality) -> str:
    cases = {"MILAN": quality.milan, "constant": quality.constant, "shuffled": quality.shuffled}
    lines = []
    for case, scores in cases.items():
        mark = "**" if case == "MILAN" else ""
        numbers = (
            f"{mark}{scores.bertscore:.3f}{mark} | {mark}{scores.bleu:.3f}{mark} | {scores.exact:.1%}"
        )
        lines.append(f"| {name} | {case} | {numbers} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

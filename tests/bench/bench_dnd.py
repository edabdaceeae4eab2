"""Describe-and-Dissect of 32 units against the original's order: everything one by one, nothing shared.

The target is the embedded world's network. What lies outside - captioner, language model, generator -
are stand-ins that take the time of a call and of each picture in it. The original's order makes the calls
that the same units need by themselves: each image is shown and captioned alone, each request waits
for the one before it, each candidate is drawn for itself. It is timed on a few of the units and
extended to all of them: no unit's work depends on the others there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dissectbench.harness.foundation.conversations import positions
from dissectbench.harness.foundation.key_phrases import KeyPhrases
from dissectbench.harness.foundation.protocols import Message, Reply

BOUND = 8.0
UNITS, FEW, PICTURES = 32, 2, 64
CONCURRENCY = 8  # as OpenAIChat has it by default
SECONDS = {"captioner": (0.02, 0.002), "language model": (0.5, 0.0), "generator": (0.03, 0.001)}


def wait(part: str, pictures: int = 0) -> None:
    """Takes the time of one call."""
    call, each = SECONDS[part]
    time.sleep(call + each * pictures)


class Named:
    """A part outside that counts its calls."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    def fingerprint(self) -> str:
        """Its name is all there is to it."""
        return self.name


class Captioner(Named):
    """Says which of a few colours a picture is nearest to, on average."""

    batch_size = 16
    colours = np.array([[200, 60, 60], [60, 160, 60], [60, 60, 200], [60, 60, 60], [200, 200, 200]])
    words = ("red boat", "green tree", "blue sea", "night", "bright sky")

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """One caption per picture, with a word about its size."""
        self.calls += 1
        wait("captioner", len(images))
        means = [np.asarray(image.convert("RGB"), float).mean((0, 1)) for image in images]
        nearest = [int(((self.colours - mean) ** 2).sum(1).argmin()) for mean in means]
        return [
            f"a {self.words[i]} with {image.width} dots" for i, image in zip(nearest, images, strict=True)
        ]


class Talker(Named):
    """Key phrases, after the time that a server takes; several requests at once."""

    account = max_tokens = None

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """As `OpenAIChat`: equal conversations are sent once."""
        groups = positions(conversations)
        self.calls += len(groups)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for asked, reply in zip(groups, pool.map(self._answer, groups), strict=True):
                yield from ((index, reply) for index in groups[asked])

    def _answer(self, conversation: Sequence[Message]) -> Reply:
        wait("language model")
        [(_, reply)] = KeyPhrases().reply([conversation])
        return reply


class Painter(Named):
    """Noise in a colour that belongs to the text, after the time that a pipeline takes for a batch."""

    batch_size = 16

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
        """One picture per prompt and seed."""
        for start in range(0, len(prompts), self.batch_size):
            batch = range(start, min(start + self.batch_size, len(prompts)))
            self.calls += 1
            wait("generator", len(batch))
            yield from (self._picture(prompts[i], seeds[i]) for i in batch)

    def _picture(self, prompt: str, seed: int) -> Image.Image:
        colour = np.random.default_rng(list(prompt.encode())).integers(0, 192, 3)
        noise = np.random.default_rng(seed).integers(0, 64, (64, 64, 3))
        return Image.fromarray((colour + noise).astype(np.uint8))


class Eye(Named):
    """Embeds a picture by its colours."""

    def encode_images(self, images: Any) -> NDArray[np.float32]:
        """Unit rows."""
        rows = [np.asarray(i.convert("RGB").resize((4, 4)), np.float32).ravel() + 1 for i in images]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Not needed for one label."""
        raise NotImplementedError


def parts() -> tuple[Any, ...]:
    """Captioner, language model, generator, encoder."""
    return Captioner("captioner"), Talker("talker"), Painter("painter"), Eye("eye")


def original(layer: Any, target: Any, records: Sequence[Any]) -> float:
    """Seconds for the calls behind `records`, one after the other, every image alone."""
    import torch

    captioner, talker, painter, _ = parts()
    start = time.perf_counter()
    for record in records:
        evidence = record.evidence
        pictures = [_picture(layer, one) for one in evidence["images"]]
        for picture in pictures:
            _show(target, picture, torch)
        captions = [captioner.caption([picture])[0] for picture in pictures[: len(evidence["captions"])]]
        for said in (*captions, *evidence["summaries"]):
            list(talker.reply([[Message("user", f"- {said}")]]))
        for candidate in record.candidates:
            seeds = candidate.details["seeds"]
            for picture in painter.generate([candidate.text] * len(seeds), seeds):
                _show(target, picture, torch)
    return time.perf_counter() - start


def _picture(layer: Any, shown: dict[str, Any]) -> Image.Image:
    picture = layer.probe.image(shown["image"])
    if shown["box"] is None:
        return picture
    sides = np.array([*picture.size, *picture.size])
    return picture.crop(tuple(np.round(sides * shown["box"]).astype(int).tolist()))


def _show(target: Any, picture: Image.Image, torch: Any) -> None:
    with torch.inference_mode():
        target.model(target.preprocess(picture)[None])


def run() -> dict[str, Any]:
    """Measures both on the same units."""
    import torch

    from dissectbench.datasets.tinyworld import probing_set
    from dissectbench.harness.activations.forward_pass import probe_layers
    from dissectbench.harness.cache import Cache
    from dissectbench.harness.targets.target import from_factory
    from dissectbench.methods.dnd.describe_and_dissect import DescribeAndDissect

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        factory = "dissectbench.datasets.tinyworld.networks:resnet"
        target = from_factory(factory, name="tinyworld-resnet", device="cpu")
        probe = probing_set(images=PICTURES, seed=0, root=folder / "world")
        layers = probe_layers(
            target, probe, ["layer4"], store=folder / "store", cache=Cache(folder / "c")
        )
        layer, made = layers["layer4"], parts()
        units = np.flatnonzero(~layer.dead)[:UNITS].tolist()
        sizes: list[int] = []
        model = target.model
        hook = model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
        start = time.perf_counter()
        records = list(DescribeAndDissect(*made).describe(layer, units))
        ours = time.perf_counter() - start
        hook.remove()
        theirs = original(layer, target, records[:FEW]) / FEW * len(units)
    ratio = theirs / ours
    described = sum(record.status == "ok" for record in records)
    details = {
        "units": len(units),
        "described": described,
        "seconds": round(ours, 2),
        "original_seconds": round(theirs, 2),
        "original_timed_on_units": FEW,
        "smallest_batch_of_the_target": min(sizes),
        "calls": {part.name: part.calls for part in made[:3]},
        "seconds_of_a_call_and_of_a_picture": SECONDS,
        "requests_at_once": CONCURRENCY,
    }
    ok = ratio >= BOUND and min(sizes) > 1 and described == len(units)
    return {"name": "dnd", "ratio": round(ratio, 2), "bound": BOUND, "ok": ok, "details": details}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run()) + "\n")

"""Compares Describe-and-Dissect on 32 units with the original order: one call at a time, nothing shared.

The target is tinyworld's network. Captioner, language model and generator are stand-ins that sleep for
the duration of a call and of each image in it. In the original order each image is shown and captioned on
its own, each request waits for the previous one, and each candidate's images are generated separately. It
is timed on a few units and extrapolated to all of them, because units do not depend on each other there.
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
UNITS, FEW, IMAGES = 32, 2, 64
CONCURRENCY = 8  # the default of OpenAIChat
# Seconds of a call, and of each image in it.
SECONDS = {"captioner": (0.02, 0.002), "language model": (0.5, 0.0), "generator": (0.03, 0.001)}


def wait(model: str, images: int = 0) -> None:
    """Sleeps for the duration of one call."""
    call, each = SECONDS[model]
    time.sleep(call + each * images)


class Named:
    """A stand-in for a model; counts its calls."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    def fingerprint(self) -> str:
        """Returns the name."""
        return self.name


class Captioner(Named):
    """Captions an image by the nearest of a few colours to its mean."""

    batch_size = 16
    colours = np.array([[200, 60, 60], [60, 160, 60], [60, 60, 200], [60, 60, 60], [200, 200, 200]])
    words = ("red boat", "green tree", "blue sea", "night", "bright sky")

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """Returns one caption per image, which contains the image's width."""
        self.calls += 1
        wait("captioner", len(images))
        means = [np.asarray(image.convert("RGB"), float).mean((0, 1)) for image in images]
        nearest = [int(((self.colours - mean) ** 2).sum(1).argmin()) for mean in means]
        return [
            f"a {self.words[i]} with {image.width} dots" for i, image in zip(nearest, images, strict=True)
        ]


class ChatModel(Named):
    """Key phrases, after the response time of a server; several requests run concurrently."""

    account = max_tokens = None

    def reply(
        self, conversations: Sequence[Sequence[Message]], sample: int = 0
    ) -> Iterator[tuple[int, Reply]]:
        """Sends equal conversations once, as `OpenAIChat` does."""
        groups = positions(conversations)
        self.calls += len(groups)
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for conversation, reply in zip(groups, pool.map(self._answer, groups), strict=True):
                yield from ((index, reply) for index in groups[conversation])

    def _answer(self, conversation: Sequence[Message]) -> Reply:
        wait("language model")
        [(_, reply)] = KeyPhrases().reply([conversation])
        return reply


class Generator(Named):
    """Noise in a colour derived from the text, after the time that a pipeline takes for a batch."""

    batch_size = 16

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
        """Yields one image per prompt and seed."""
        for start in range(0, len(prompts), self.batch_size):
            batch = range(start, min(start + self.batch_size, len(prompts)))
            self.calls += 1
            wait("generator", len(batch))
            yield from (self._image(prompts[i], seeds[i]) for i in batch)

    def _image(self, prompt: str, seed: int) -> Image.Image:
        colour = np.random.default_rng(list(prompt.encode())).integers(0, 192, 3)
        noise = np.random.default_rng(seed).integers(0, 64, (64, 64, 3))
        return Image.fromarray((colour + noise).astype(np.uint8))


class Encoder(Named):
    """Embeds an image by its colours."""

    def encode_images(self, images: Any) -> NDArray[np.float32]:
        """Returns rows of length 1."""
        rows = [np.asarray(i.convert("RGB").resize((4, 4)), np.float32).ravel() + 1 for i in images]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Not used with one label."""
        raise NotImplementedError


def models() -> tuple[Any, ...]:
    """Returns captioner, language model, generator and encoder."""
    return Captioner("captioner"), ChatModel("chat model"), Generator("generator"), Encoder("encoder")


def original(layer: Any, target: Any, records: Sequence[Any]) -> float:
    """Returns the seconds of the calls for `records` in the original order, image by image."""
    import torch

    captioner, chat_model, generator, _ = models()
    start = time.perf_counter()
    for record in records:
        evidence = record.evidence
        images = [_image(layer, entry) for entry in evidence["images"]]
        for image in images:
            _show(target, image, torch)
        captions = [captioner.caption([image])[0] for image in images[: len(evidence["captions"])]]
        for text in (*captions, *evidence["summaries"]):
            list(chat_model.reply([[Message("user", f"- {text}")]]))
        for candidate in record.candidates:
            seeds = candidate.details["seeds"]
            for image in generator.generate([candidate.text] * len(seeds), seeds):
                _show(target, image, torch)
    return time.perf_counter() - start


def _image(layer: Any, entry: dict[str, Any]) -> Image.Image:
    """Returns the image or crop that an entry of the evidence names."""
    image = layer.probe.image(entry["image"])
    if entry["box"] is None:
        return image
    sides = np.array([*image.size, *image.size])
    return image.crop(tuple(np.round(sides * entry["box"]).astype(int).tolist()))


def _show(target: Any, image: Image.Image, torch: Any) -> None:
    with torch.inference_mode():
        target.model(target.preprocess(image)[None])


def run() -> dict[str, Any]:
    """Times both on the same units."""
    import torch

    from dissectbench.datasets.tinyworld import probing_set
    from dissectbench.harness.activations.forward_pass import probe_layers
    from dissectbench.harness.cache import Cache
    from dissectbench.harness.targets.factory import from_factory
    from dissectbench.methods.dnd.describe_and_dissect import DescribeAndDissect

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        factory = "dissectbench.datasets.tinyworld.networks:resnet"
        target = from_factory(factory, name="tinyworld-resnet", device="cpu")
        probe = probing_set(images=IMAGES, seed=0, root=folder / "world")
        layers = probe_layers(
            target, probe, ["layer4"], store=folder / "store", cache=Cache(folder / "c")
        )
        layer, parts = layers["layer4"], models()
        units = np.flatnonzero(~layer.dead)[:UNITS].tolist()
        sizes: list[int] = []
        model = target.model
        hook = model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        start = time.perf_counter()
        records = list(DescribeAndDissect(*parts).describe(layer, units))
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
        "calls": {part.name: part.calls for part in parts[:3]},
        "seconds_of_a_call_and_of_an_image": SECONDS,
        "requests_at_once": CONCURRENCY,
    }
    ok = ratio >= BOUND and min(sizes) > 1 and described == len(units)
    return {"name": "dnd", "ratio": round(ratio, 2), "bound": BOUND, "ok": ok, "details": details}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run()) + "\n")

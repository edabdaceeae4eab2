"""Benchmark of MILAN: 256 units with an encoder over resnet18, against one unit after the other.

The probing set has 400 images. Top images are random, so that units share as few images as possible: the
256 x 15 exemplars show all of them. The decoder has the published sizes and 5,000 words. Its weights are
random, and its preference for stop is set so that searches are as long as with trained weights: the 50
captions of a unit have about 5 words, the longest 11.

The baseline works on one unit at a time, in the order of the published program: the encoder processes
the unit's 15 exemplars; a beam search of 50 extends all beams until the last has stopped, carries a copy
of the exemplars' features with every beam, and computes the attention's keys from them at every word; the
language model scores the 50 captions. Making the exemplars is not counted in the baseline, but it is in
the time of MILAN. A unit costs about the same whatever their number: the baseline is timed on two numbers
of units, and extrapolated to all of them.

The second part compares the peak memory for 64 and for 512 units.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from dissectbench.datasets.probing_set import ProbingSet
from dissectbench.harness.cache import Cache
from dissectbench.harness.probe import ArrayLayer
from dissectbench.methods.milan.attention import AttentionDecoder, DecoderSizes, Memory
from dissectbench.methods.milan.checkpoint_files import load_checkpoint, save_checkpoint
from dissectbench.methods.milan.checkpoints import Checkpoint, EncoderConfig
from dissectbench.methods.milan.encoder import PyramidEncoder
from dissectbench.methods.milan.exemplars import stream_exemplars, top_images
from dissectbench.methods.milan.language_model import CaptionLanguageModel, LanguageModelSizes
from dissectbench.methods.milan.milan import MILAN
from dissectbench.methods.milan.settings import (
    DecodingOverrides,
    DecodingSettings,
    ExemplarOverrides,
    ExemplarSettings,
)
from dissectbench.methods.milan.vocabulary import Vocabulary

IMAGES, UNITS, WORDS, BEAM, COUNT = 400, 256, 5000, 50, 15
LENGTH, SHARPNESS, STOP = 11, 30.0, 20.0  # of captions, and of the decoder's last layer
FEW, MANY = 2, 6  # units that the baseline is timed on
BOUND, MEMORY_BOUND = 5.0, 1.05


class Noise(ProbingSet):
    """Images of coloured noise, `size` x `size` pixels."""

    name = "noise"

    def __init__(self, images: int, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return self.images

    def image(self, index: int) -> Image.Image:
        """Returns blocks of random colours, drawn with the index as seed."""
        small = np.random.default_rng(index).integers(0, 256, (14, 14, 3), np.uint8)
        return Image.fromarray(small).resize((self.size, self.size))

    def locate(self, index: int) -> str:
        """Returns a name with the index."""
        return f"noise {index}"

    def fingerprint(self) -> str:
        """Returns number and size of the images."""
        return f"noise {self.images} {self.size}"


def random_milan(folder: Path, words: int, sizes: dict[str, int]) -> Path:
    """Writes a checkpoint over resnet18 with random weights."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(words)), "words-1")
    encoder = PyramidEncoder(resnet18(), "resnet18")
    decoder_sizes = DecoderSizes(len(vocabulary), encoder.size, **sizes)
    lm_sizes = LanguageModelSizes(hidden=decoder_sizes.hidden)
    decoder = AttentionDecoder(decoder_sizes)
    parts = {
        "decoder": decoder,
        "lm": CaptionLanguageModel(vocabulary, lm_sizes),
        "encoder": encoder,
    }
    with torch.no_grad():
        last: Any = decoder.output[1]
        last.weight.mul_(SHARPNESS)
        last.bias[len(vocabulary.tokens) :] = -50.0
        last.bias[vocabulary.stop] = STOP
    state = {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}
    decoding, config = DecodingSettings(beam=BEAM, length=LENGTH), EncoderConfig("resnet18")
    save_checkpoint(Checkpoint(vocabulary, decoder_sizes, lm_sizes, decoding, config, state), folder)
    return folder


def layer_of(folder: Path, images: int, units: int, size: int) -> ArrayLayer:
    """Returns a layer of random maps."""
    maps = np.random.default_rng(0).standard_normal((images, units, 7, 7), dtype=np.float32)
    return ArrayLayer(maps, Noise(images, size), Cache(folder))


class OneByOne:
    """Describes one unit at a time, with the operations of the published program in their order."""

    def __init__(self, path: Path) -> None:
        checkpoint = load_checkpoint(path)
        lm = checkpoint.build_language_model()
        assert lm is not None
        self.encoder, self.decoder, self.lm = checkpoint.build_encoder(), checkpoint.build_decoder(), lm
        self.vocabulary, self.decoding = checkpoint.vocabulary, checkpoint.decoding
        self.steps: list[int] = []  # number of steps of each search

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> tuple[str, float]:
        """Returns the caption of one unit and its score."""
        features = self.encode(images, masks)
        tokens, sums = self.search(features)
        texts = functional.pad(tokens, (1, 0), value=self.vocabulary.start)
        log_probs = self.lm(texts[:, :-1]).gather(2, texts[:, 1:, None])[..., 0]
        log_probs = log_probs.masked_fill(texts[:, :-1] == self.vocabulary.stop, 0.0).sum(dim=1)
        scores = sums - self.decoding.temperature * log_probs
        best = int(scores.argmax())
        return self.vocabulary.caption(tokens[best].tolist()), float(scores[best])

    def encode(self, images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> torch.Tensor:
        """Returns features [count, size]; the unit's exemplars are one batch."""
        levels = self.encoder.maps(torch.from_numpy(images).float() / 255)
        weights = torch.from_numpy(masks[:, None]).float()
        pooled = []
        for level in levels:
            weight = functional.interpolate(
                weights, level.shape[2:], mode="bilinear", align_corners=False
            )
            total = weight.sum(dim=(2, 3), keepdim=True)
            pooled.append((level * weight / total.where(total > 0, 1.0)).sum(dim=(2, 3)))
        return torch.cat(pooled, dim=1)

    def search(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns tokens [beam, length] and sums of log p."""
        network, stop = self.decoder, self.vocabulary.stop
        _, state = network.begin(features[None])
        hidden, cell = state.hidden[0], state.cell[0]
        tokens = torch.full((1, 0), 0)
        last, sums = torch.tensor([self.vocabulary.start]), torch.zeros(1)
        while tokens.shape[1] < self.decoding.length and not bool((last == stop).all()):
            copies = features.expand(len(last), *features.shape).contiguous()
            keys = network.attend.key_to_hidden(copies)
            attended, _ = network.look(Memory(copies, keys), hidden[:, None])
            log_probs, hidden, cell = network.read(last, attended[:, 0], hidden, cell)
            log_probs[last == stop] = -torch.inf
            log_probs[last == stop, stop] = 0.0
            gains, following = log_probs.topk(BEAM)
            sums, chosen = (sums[:, None] + gains).flatten().topk(BEAM)
            parents, last = chosen // BEAM, following.flatten()[chosen]
            tokens = torch.cat([tokens[parents], last[:, None]], dim=1)
            hidden, cell = hidden[parents], cell[parents]
        self.steps.append(tokens.shape[1])
        return tokens, sums


def exemplars_of(
    layer: ArrayLayer, units: Sequence[int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Returns images [count, 3, size, size] and masks [count, size, size] of each unit's exemplars."""
    settings = ExemplarSettings()
    shape = (settings.image_size, settings.image_size)
    images = np.empty((len(units), COUNT, 3, *shape), np.uint8)
    masks = np.empty((len(units), COUNT, *shape), np.bool_)
    for exemplar in stream_exemplars(layer, top_images(layer, units), settings):
        images[exemplar.rows, exemplar.ranks] = exemplar.pixels
        masks[exemplar.rows, exemplar.ranks] = exemplar.masks
    return list(zip(images, masks, strict=True))


def clock() -> NDArray[np.float64]:
    """Returns wall and CPU seconds; other processes on the machine hardly affect the latter."""
    return np.array([time.perf_counter(), time.process_time()])


def compare() -> dict[str, Any]:
    """Times both in one process: the baseline before and after, of which the shorter time counts."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        path = random_milan(Path(name) / "milan", WORDS, {})
        layer = layer_of(Path(name), IMAGES, UNITS, 224)
        method, baseline = MILAN(str(path), device="cpu", keep_candidates=BEAM), OneByOne(path)
        method.identity()  # reads the checkpoint, which the baseline has done already
        exemplars = exemplars_of(layer, range(MANY))
        few, many = [], []
        captions: list[tuple[str, float]] = []

        def one_by_one() -> None:
            for units, times in ((FEW, few), (MANY, many)):
                start = clock()
                captions[:] = [baseline(*unit) for unit in exemplars[:units]]
                times.append((clock() - start) / units)

        one_by_one()
        start = clock()
        records = list(method.describe(layer, range(UNITS)))
        seconds = clock() - start
        one_by_one()
    each = np.min(many, axis=0)
    images = len({image for record in records for image in record.evidence["images"]})
    same = [
        record.candidates[0].text == text and abs((record.candidates[0].score or 0) - score) < 1e-3
        for record, (text, score) in zip(records, captions, strict=False)
    ]
    words = [len(c.text.split()) for record in records for c in record.candidates]
    return {
        "probing_set": IMAGES,
        "words_of_a_caption": round(float(np.mean(words)), 1),
        "words_of_the_longest": round(float(np.mean(baseline.steps)), 1),
        "different_images": images,
        "seconds": round(seconds[0], 2),
        "cpu_seconds": round(seconds[1], 2),
        "one_by_one_seconds": round(each[0] * UNITS, 2),
        "one_by_one_cpu_seconds": round(each[1] * UNITS, 2),
        "one_by_one_seconds_per_unit": [round(np.min(few, axis=0)[0], 3), round(each[0], 3)],
        "one_by_one_timed_on_units": [FEW, MANY],
        "same_captions": all(same),
    }


def memory(units: int) -> dict[str, float]:
    """Returns the peak memory of describing `units` units with a small MILAN and small images."""
    import resource

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        path = random_milan(Path(name) / "milan", 50, {"embedding": 16, "hidden": 32, "attention": 32})
        layer = layer_of(Path(name), 100, 512, 32)
        method = MILAN(
            str(path),
            device="cpu",
            exemplars=ExemplarOverrides(image_size=32),
            decoding=DecodingOverrides(beam=5, length=5),
        )
        described = sum(len(record.candidates) == 5 for record in method.describe(layer, range(units)))
        stored = sum(file.stat().st_size for file in Path(name).glob("milan_features/*.npy"))
    assert described == units
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak_mb": round(peak / 1e6, 1), "features_mb": round(stored / 1e6, 1)}


def measured(*arguments: str) -> dict[str, Any]:
    """Runs one part in its own process and returns its result."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def run() -> list[dict[str, Any]]:
    """Runs all parts."""
    details = measured("compare")
    ratio = details["one_by_one_seconds"] / details["seconds"]
    peaks = {units: measured("memory", units) for units in ("64", "512")}
    growth = peaks["512"]["peak_mb"] / peaks["64"]["peak_mb"]
    return [
        {
            "name": "MILAN, 256 units over resnet18 and 400 images, against one unit after the other",
            "ratio": round(ratio, 2),
            "bound": BOUND,
            "ok": bool(ratio >= BOUND and details["same_captions"]),
            "details": details,
        },
        {
            "name": "peak memory of MILAN, 512 / 64 units",
            "ratio": round(growth, 3),
            "bound": MEMORY_BOUND,
            "ok": growth <= MEMORY_BOUND,
            "details": peaks,
        },
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["compare"]:
        print(json.dumps(compare()))
    elif sys.argv[1:2] == ["memory"]:
        print(json.dumps(memory(int(sys.argv[2]))))
    else:
        print(json.dumps(run(), indent=2))

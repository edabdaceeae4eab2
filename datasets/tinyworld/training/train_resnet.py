"""Trains the classifier: `python -m dissectbench.datasets.tinyworld.training.train_resnet`.

Writes `weights/resnet/model.safetensors` and its model card.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from ..networks import MEAN, STD, WEIGHTS, TinyResNet, resnet
from ..words import OBJECTS
from .images import HELD_OUT_SEED, TRAINING_SEED, ImageSet, image_set
from .loops import SHIFT, Schedule, augment, fit, normalise, to_batch
from .options import parse_options
from .saving import save_weights, write_card

BATCH, PEAK_RATE, WEIGHT_DECAY, SMOOTHING = 64, 3e-3, 0.02, 0.05


def train(training: ImageSet, epochs: int, seed: int) -> TinyResNet:
    """Returns a classifier of the main object, trained with AdamW and cross-entropy."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():  # torch's initialisers use the global generator only
        torch.manual_seed(seed)
        model = TinyResNet().to(memory_format=torch.channels_last)  # twice as fast on a CPU
    classes = torch.from_numpy(training.classes)

    def losses_of(chosen: torch.Tensor, _: int) -> dict[str, torch.Tensor]:
        logits = model(normalise(augment(training.pixels[chosen.numpy()], generator)))
        return {"loss": functional.cross_entropy(logits, classes[chosen], label_smoothing=SMOOTHING)}

    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    # fit is a generator: list runs it to the end.
    list(fit(optimiser, Schedule(epochs, BATCH, PEAK_RATE), len(classes), generator, losses_of))
    return model


@torch.inference_mode()
def accuracy_by_class(model: nn.Module, images: ImageSet) -> dict[str, float]:
    """Returns the share of the images of each class that are classified correctly."""
    predicted = [
        model(normalise(to_batch(pixels))).argmax(1).numpy()
        for pixels in np.array_split(images.pixels, max(1, len(images.pixels) // 100))
    ]
    correct = np.concatenate(predicted) == images.classes
    return {name: float(correct[images.classes == i].mean()) for i, name in enumerate(OBJECTS)}


def main() -> None:
    """Trains and saves, then measures the saved weights and writes the model card."""
    options = parse_options(__doc__, epochs=6)
    start = time.perf_counter()
    model = train(image_set(TRAINING_SEED, options.training_images), options.epochs, options.seed)
    minutes = (time.perf_counter() - start) / 60
    save_weights(model.state_dict(), WEIGHTS / "resnet" / "model.safetensors")
    held_out = image_set(HELD_OUT_SEED, options.held_out_images)
    by_class = accuracy_by_class(resnet()[0], held_out)
    counts = np.bincount(held_out.classes, minlength=len(OBJECTS))
    accuracy = float(np.average(list(by_class.values()), weights=counts))
    Console().print(f"held-out accuracy {accuracy:.1%} after {minutes:.1f} minutes")
    write_card(WEIGHTS / "resnet", "tinyworld-resnet", card(options, accuracy, by_class, minutes))


def card(
    options: argparse.Namespace, accuracy: float, by_class: dict[str, float], minutes: float
) -> dict[str, str]:
    """Returns the sections of the model card."""
    rows = "\n".join(f"| {name} | {value:.1%} |" for name, value in by_class.items())
    return {
        "Model": f"""
A bottleneck ResNet with torchvision's module names, a quarter of ResNet-50's channels, two blocks per
stage, and a dilated last stage. It classifies the main object of a tinyworld image, one of {len(OBJECTS)}
classes. Input: RGB, 96 x 96, in [0, 1], minus {MEAN}, divided by {STD}.
""",
        "Quality": f"""
Accuracy on {options.held_out_images} images of seed {HELD_OUT_SEED}, none of them used for training:
**{accuracy:.1%}**.

| class | accuracy |
|---|---|
{rows}
""",
        "Training": f"""
{options.training_images} images of seed {TRAINING_SEED}, {options.epochs} epochs, seed {options.seed},
AdamW (peak rate {PEAK_RATE}, weight decay {WEIGHT_DECAY}), batches of {BATCH}, cross-entropy with label
smoothing {SMOOTHING}, mirrored at random and shifted by up to {SHIFT} pixels; {minutes:.0f} minutes on
{torch.get_num_threads()} CPU thread(s). To train it again:

`python -m dissectbench.datasets.tinyworld.training.train_resnet`
""",
        "Storage": "Kernels and matrices are stored as float16 and computed in float32.",
    }


if __name__ == "__main__":
    main()

"""Command line options of the training scripts."""

from __future__ import annotations

import argparse


def parse_options(description: str | None, **epochs: int) -> argparse.Namespace:
    """Parses --images, --held-out, --seed and the numbers of epochs.

    Args:
        description: text of --help.
        epochs: name and default of each number of epochs; `image_epochs=8` adds --image-epochs.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--images", type=int, default=10_000, help="number of training images")
    parser.add_argument("--held-out", type=int, default=1000, help="number of images to measure on")
    for name, default in epochs.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()

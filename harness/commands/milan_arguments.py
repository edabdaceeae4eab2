"""The arguments of `dissectbench milan`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `dissectbench milan train`."""
    parser.add_argument(
        "settings",
        nargs="+",
        metavar="DATA|KEY=VALUE",
        help="data sets (zip archives or folders), and settings, such as training.seed=1",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--encoder",
        default="resnet101",
        metavar="NAME",
        help="image network: a ResNet or AlexNet of torchvision, or package.module:function "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of that network (default: torchvision's for ImageNet)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of class folders, for data sets without images (imagenet/val)",
    )
    parser.add_argument("--config-dir", metavar="DIR", help="folder of your own configurations")


def add_exemplars_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `dissectbench milan exemplars`, besides settings and runs."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write; one folder per layer in it",
    )
    parser.add_argument(
        "--exemplars", type=int, default=15, metavar="N", help="exemplars per unit (default: %(default)s)"
    )
    parser.add_argument(
        "--quantile",
        type=float,
        default=0.01,
        metavar="FRACTION",
        help="upper fraction of all positions that is above a mask's threshold (default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="PIXELS",
        help="height and width of exemplar images (default: %(default)s)",
    )
    parser.add_argument(
        "--variant",
        default="paper",
        choices=("paper", "official"),
        help="official: exemplars as in the published program (default: %(default)s)",
    )

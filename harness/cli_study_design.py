"""Defines the arguments of `dissectbench study design | adopt | power`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Actions = argparse._SubParsersAction


def add_design(
    actions: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the action; see `add_study` for the arguments."""
    parser = command(actions, "design", "Design a study of finished runs and description files.")
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="RUN|FILE.csv",
        help="finished runs of one target, and description files; images are those of the first run",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="STUDY", help="the folder to write")
    parser.add_argument(
        "--kind",
        default="rating",
        choices=("rating",),
        help="rating: rate all descriptions of a unit and choose the best (default: %(default)s)",
    )
    _add_units(parser)
    _add_descriptions(parser)
    _add_images(parser)
    _add_tasks(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(command=lazy("study_design", "design_command"))


def _add_units(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("units")
    group.add_argument(
        "--units",
        metavar="N|LIST",
        help="a number: a random sample over all layers; or a list, such as layer4:17,fc:3",
    )
    group.add_argument(
        "--per-layer", type=int, metavar="N", help="a random sample of each layer (default: 50)"
    )
    group.add_argument(
        "--layer", action="append", default=[], metavar="NAME", help="sample this layer; repeatable"
    )
    group.add_argument(
        "--incomplete",
        action="store_true",
        help="also use units that some method does not describe (default: units with a description by "
        "every method)",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of every random choice (default: %(default)s)"
    )


def _add_descriptions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("descriptions")
    group.add_argument(
        "--methods", metavar="NAMES", help="methods, separated by commas, in the order of tables"
    )
    group.add_argument(
        "--below-threshold",
        default="best",
        choices=("best", "leave-out"),
        help="for a description below its method's own threshold: show the best candidate, or none "
        "(default: %(default)s)",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images", type=int, default=10, metavar="N", help="exemplars of a unit (default: %(default)s)"
    )
    group.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="N",
        help="height and width in pixels (default: %(default)s)",
    )
    group.add_argument(
        "--regions",
        default="none",
        choices=("none", "outline", "crop"),
        help="draw a line around the region where the unit is active, or show only this region "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--contact-sheet", action="store_true", help="show the exemplars of a unit as one image"
    )


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tasks")
    group.add_argument(
        "--attention",
        type=int,
        metavar="N",
        help="number of attention checks (default: one in 25 tasks, at least one)",
    )
    group.add_argument(
        "--gold-tasks",
        type=int,
        default=0,
        metavar="N",
        help="number of gold tasks that are made of units: a text about a very different unit must be "
        "rated low (default: %(default)s)",
    )
    group.add_argument(
        "--gold",
        type=Path,
        metavar="FILE",
        help="gold tasks of your own: layer, unit, description, expected (high or low)",
    )
    group.add_argument(
        "--repeat",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of tasks that are shown again, up to 0.5 (default: %(default)s)",
    )
    add_task_settings(group)


def add_task_settings(group: argparse._ArgumentGroup) -> None:
    """Adds the options about tasks that do not depend on how they were made."""
    group.add_argument(
        "--raters", type=int, default=3, metavar="N", help="answers per task (default: %(default)s)"
    )
    group.add_argument("--title", metavar="TEXT", help="what raters read as the title")
    for name in ("instructions", "consent"):
        group.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"your {name} text, in Markdown")
    numbers = (
        ("--min-seconds", 10.0, "an answer in less time is flagged as too fast"),
        ("--seconds", 60.0, "expected time of a task, for the plan"),
        ("--reward", 0.0, "US dollars paid for one answered task"),
    )
    for option, default, what in numbers:
        group.add_argument(
            option, type=float, default=default, metavar="X", help=f"{what} (default: %(default)s)"
        )
    group.add_argument(
        "--fee",
        type=float,
        metavar="SHARE",
        help="the platform's share on top of the reward (default: 0.2, from ten raters 0.4)",
    )


def add_adopt(
    actions: Actions,
    command: Callable[[Actions, str, str], argparse.ArgumentParser],
    lazy: Callable[[str, str], Callable[[argparse.Namespace], int]],
) -> None:
    """Adds the action; see `add_study` for the arguments."""
    parser = command(actions, "adopt", "Make the folder of a study that was designed elsewhere.")
    parser.add_argument(
        "batch",
        type=Path,
        metavar="BATCH.csv",
        help="the input table of the batch: task_id, image_url_1 ..., description_1 ...",
    )
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        metavar="KEY.csv",
        help="which description is whose: task_id, layer, unit, slot, method",
    )
    parser.add_argument(
        "--attention", type=Path, metavar="FILE", help="attention checks: task_id, correct_slot"
    )
    parser.add_argument(
        "--image-folder",
        type=Path,
        metavar="DIR",
        help="folder of the images, to copy them under opaque names without metadata (default: none)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="STUDY", help="the folder to write")
    add_task_settings(parser.add_argument_group("tasks"))
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(command=lazy("study_adopt", "adopt_command"))

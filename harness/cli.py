"""The command line. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .errors import InputError

EXIT_OK, EXIT_UNEXPECTED, EXIT_INPUT, EXIT_FAILED_UNITS, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

EPILOG = """\
Settings are given as key=value, in Hydra's grammar:
  dissectbench run name=demo                            the main job on the embedded world
  dissectbench run experiment=resnet50_imagenet         ResNet-50 on ImageNet (asks for its folders)
  dissectbench run target=resnet18 probe=imagefolder probe.root=photos layers=[layer4] units=50
  dissectbench list layers target=resnet18
  dissectbench score labels.csv --layer fc --references imagenet
  dissectbench milan convert milan-base.pth

Exit codes: 0 done; 2 something for you to mend; 3 done, but some units failed; 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; a user's mistake is a sentence on stderr."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (rest[0].startswith("-") or not hasattr(options, "settings")):
        parser.error(f"unrecognised argument {rest[0]!r}")
    if rest:
        options.settings = [*options.settings, *rest]
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING, format="%(levelname)s %(message)s"
    )
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    try:
        return options.command(options)
    except InputError as error:
        print(f"dissectbench: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_INPUT
    except KeyboardInterrupt:
        print("dissectbench: interrupted; the same command goes on from here", file=sys.stderr)  # noqa: T201
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dissectbench",
        description="Compare methods that say in words what the units of a vision network do.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dissectbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_score(commands)
    _add_table(commands)
    _add_list(commands)
    _add_doctor(commands)
    _add_milan(commands)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, summary: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--verbose", action="store_true", help="say more, with tracebacks of failed units"
    )
    parser.add_argument(
        "--offline", action="store_true", help="never use the network, not even to look for weights"
    )
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings, such as units=50")
    parser.add_argument("--config-dir", metavar="DIR", help="folder of your own configurations")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(os.environ.get("DISSECTBENCH_RUNS", "runs")),
        metavar="DIR",
        help="where runs, activations and caches are kept (default: %(default)s)",
    )


def _add_run(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "run", "Describe the units of some layers, score the final layer, print tables."
    )
    _add_settings(parser)
    _add_runs(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration and the plan, then stop"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try units again that are on record as failed"
    )
    parser.set_defaults(command=_run)


def _add_score(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "score", "Score CSV files of descriptions against references, in one table."
    )
    parser.add_argument(
        "settings",
        nargs="+",
        metavar="FILE.csv|KEY=VALUE",
        help="files of descriptions, and settings such as metric=[minilm_cosine]",
    )
    parser.add_argument("--layer", default="fc", help="which layer's rows to take (default: %(default)s)")
    parser.add_argument(
        "--references",
        default="imagenet",
        help="a choice of references, a text file with one line a unit, or milannotations:PATH of "
        "MILANNOTATIONS (default: %(default)s)",
    )
    parser.add_argument(
        "--alternatives", action="store_true", help="each synonym of a line is a reference of its own"
    )
    parser.add_argument(
        "--over",
        default="maximum",
        choices=("maximum", "mean", "both"),
        help="what counts of a unit's several references (default: %(default)s)",
    )
    parser.add_argument("--config-dir", metavar="DIR", help="folder of your own configurations")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write scores and tables to this folder"
    )
    parser.set_defaults(command=_score)


def _add_table(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "table", "Print the tables of finished runs.")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="run folders, such as runs/demo"
    )
    parser.add_argument(
        "--format", default="terminal", choices=("terminal", "csv", "markdown", "latex", "svg")
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="print this table alone, such as scores_fc; repeatable",
    )
    parser.set_defaults(command=_table)


def _add_list(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "list", "List layers of a target, runs, or the choices of a configuration group."
    )
    parser.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="layers, models, runs, or a group: target, probe, method, metric, ...",
    )
    _add_settings(parser)
    _add_runs(parser)
    parser.set_defaults(command=_list)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "doctor", "Check the installation, the models at hand, the disk and the device."
    )
    _add_runs(parser)
    parser.set_defaults(command=_doctor)


def _add_milan(commands: argparse._SubParsersAction) -> None:
    summary = "Convert published checkpoints of MILAN, train one, write exemplars."
    parser = commands.add_parser("milan", help=summary, description=summary)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_milan_convert(actions)
    _add_milan_train(actions)
    _add_milan_exemplars(actions)


def _add_milan_convert(actions: argparse._SubParsersAction) -> None:
    parser = _command(actions, "convert", "Rewrite a published checkpoint as JSON and safetensors.")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a published file, such as milan-base.pth"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write (default: FILE without its ending)"
    )
    parser.set_defaults(command=_milan_convert)


def _add_milan_train(actions: argparse._SubParsersAction) -> None:
    parser = _command(actions, "train", "Train a MILAN on annotated exemplars, or go on with it.")
    parser.add_argument(
        "settings",
        nargs="+",
        metavar="DATA|KEY=VALUE",
        help="zips or folders of MILANNOTATIONS, and settings such as training.seed=1",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--encoder",
        default="resnet101",
        metavar="NAME",
        help="a ResNet or AlexNet of torchvision, or package.module:function (default: %(default)s)",
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="its weights; default: ImageNet's, by torchvision"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="class folders of the images that data sets without pictures count (imagenet/val)",
    )
    parser.add_argument("--config-dir", metavar="DIR", help="folder of your own configurations")
    parser.set_defaults(command=_milan_train)


def _add_milan_exemplars(actions: argparse._SubParsersAction) -> None:
    parser = _command(actions, "exemplars", "Write exemplars of layers in the published layout.")
    _add_settings(parser)
    _add_runs(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where a folder a layer is made"
    )
    parser.add_argument(
        "--exemplars", type=int, default=15, help="exemplars per unit (default: %(default)s)"
    )
    parser.add_argument(
        "--quantile",
        type=float,
        default=0.01,
        help="upper fraction of all positions, above a mask's threshold (default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=224,
        help="height and width of exemplar images, in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--variant",
        default="paper",
        choices=("paper", "official"),
        help="official: as the published program makes exemplars (default: %(default)s)",
    )
    parser.set_defaults(command=_milan_exemplars)


def _run(options: argparse.Namespace) -> int:
    from .commands.run import run_command

    return run_command(options)


def _score(options: argparse.Namespace) -> int:
    from .commands.run import score_command

    return score_command(options)


def _table(options: argparse.Namespace) -> int:
    from .commands.run import table_command

    return table_command(options)


def _list(options: argparse.Namespace) -> int:
    from .commands.list_ import list_command

    return list_command(options)


def _doctor(options: argparse.Namespace) -> int:
    from .commands.doctor import doctor_command

    return doctor_command(options)


def _milan_convert(options: argparse.Namespace) -> int:
    from .commands.milan import convert_command

    return convert_command(options)


def _milan_train(options: argparse.Namespace) -> int:
    from .commands.milan import train_command

    return train_command(options)


def _milan_exemplars(options: argparse.Namespace) -> int:
    from .commands.milan import exemplars_command

    return exemplars_command(options)


if __name__ == "__main__":
    sys.exit(main())

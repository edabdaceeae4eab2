"""The command line. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__, exit_codes
from .cli_leaderboard import add_leaderboard
from .cli_reproduce import add_reproduce
from .cli_study import add_study
from .cli_units import add_figure, add_report, add_show
from .commands.milan_arguments import add_exemplars_arguments, add_train_arguments
from .completion import complete, complete_settings
from .errors import InputError, nearest

EPILOG = """\
Settings are given as key=value, in Hydra's grammar:
  dissectbench run name=demo                            the demo on tinyworld
  dissectbench run experiment=resnet50_imagenet         ResNet-50 on ImageNet (asks for its folders)
  dissectbench run target=resnet18 probe=imagefolder probe.root=photos layers=[layer4] units=50
  dissectbench list layers target=resnet18
  dissectbench score labels.csv --layer fc --references imagenet
  dissectbench import labels.csv --out imported.csv
  dissectbench show runs/demo layer4:17 fc:3
  dissectbench report runs/demo
  dissectbench figure runs/demo --select random --out figure.pdf
  dissectbench export runs/demo --layout dnd
  dissectbench milan convert milan-base.pth
  dissectbench reproduce dnd_poster_table1 --published data

Exit codes: 0 finished; 2 invalid input or configuration; 3 finished, but some units failed;
130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; invalid input is reported in a sentence on stderr."""
    parser = _parser()
    complete(parser)
    options, rest = parser.parse_known_args(arguments)
    # argparse fills `settings` from the first group of words only: settings after an option end up in
    # `rest`.
    if rest and (rest[0].startswith("-") or not hasattr(options, "settings")):
        parser.error(f"unrecognised argument {rest[0]!r}")
    if rest:
        options.settings = [*options.settings, *rest]
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING, format="%(levelname)s %(message)s"
    )
    if options.offline:
        # Before a command imports the Hugging Face libraries, which read these variables at import.
        os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    try:
        code = options.command(options)
        # Here, because a closed pipe that Python finds at exit is an error.
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"dissectbench: {error}", file=sys.stderr)  # noqa: T201
        return exit_codes.INVALID_INPUT
    except KeyboardInterrupt:
        print("dissectbench: interrupted; rerun the same command to resume", file=sys.stderr)  # noqa: T201
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does. Python flushes stdout again at exit and would
        # print a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.OK


class _Parser(argparse.ArgumentParser):
    """Names the nearest choices when a command or the value of an option is misspelt."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            hint = f"{nearest(str(value), choices)} choose from {', '.join(choices)}".strip()
            raise argparse.ArgumentError(action, f"there is no {value!r}; {hint}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dissectbench",
        description="Compare methods that describe the units of a vision network in words.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dissectbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_score(commands)
    _add_table(commands)
    _add_import(commands)
    _add_export(commands)
    _add_list(commands)
    _add_doctor(commands)
    _add_milan(commands)
    add_show(commands, _command, _lazy)
    add_report(commands, _command, _lazy)
    add_figure(commands, _command, _lazy)
    add_leaderboard(commands, _command, _lazy)
    add_reproduce(commands, _command, _lazy)
    add_study(commands, _command, _lazy)
    return parser


def _command(commands: argparse._SubParsersAction, name: str, summary: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--verbose", action="store_true", help="log more, including tracebacks of failed units"
    )
    parser.add_argument(
        "--offline", action="store_true", help="never use the network, not even to look up weights"
    )
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    settings = parser.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings, such as units=50"
    )
    settings.completer = complete_settings  # type: ignore[attr-defined]  # argcomplete's convention
    _add_config_dir(parser)


def _add_config_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-dir", metavar="DIR", help="folder of your own configurations")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        type=Path,
        metavar="FILE",
        help="the layout of the files, in YAML (default: recognised by the header)",
    )


def _add_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(os.environ.get("DISSECTBENCH_RUNS", "runs")),
        metavar="DIR",
        help="folder of runs, activations and caches (default: %(default)s)",
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
        "--multirun",
        action="store_true",
        help="run every combination of settings with several values, such as seed=0,1,2",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="describe units again whose record has failed"
    )
    _add_json(parser)
    parser.set_defaults(command=_lazy("run", "run_command"))


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
    parser.add_argument("--layer", default="fc", help="the layer to score (default: %(default)s)")
    parser.add_argument(
        "--references",
        default="imagenet",
        help="a choice of references, a text file with one line per unit, or milannotations:PATH of "
        "MILANNOTATIONS (default: %(default)s)",
    )
    parser.add_argument(
        "--alternatives", action="store_true", help="treat each synonym of a line as a separate reference"
    )
    _add_layout(parser)
    parser.add_argument(
        "--reduce",
        default="best",
        choices=("best", "mean", "both"),
        help="how the scores against several references of a unit are reduced (default: %(default)s)",
    )
    _add_config_dir(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write scores and tables to this folder"
    )
    _add_json(parser)
    parser.set_defaults(command=_lazy("score", "score_command"))


def _add_table(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "table", "Print the tables of finished runs.")
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="run folders, such as runs/demo"
    )
    parser.add_argument(
        "--format", default="terminal", choices=("terminal", "csv", "markdown", "latex", "json", "svg")
    )
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="print only this table, such as scores_fc; repeatable",
    )
    parser.set_defaults(command=_lazy("table", "table_command"))


def _add_import(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "import", "Convert description files of other tools, in any layout, to one CSV file."
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="CSV files, or folders of CSV files"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the CSV file to write")
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="the layer to import, or the layer of files without a column for it (default: all layers)",
    )
    parser.add_argument(
        "--method", metavar="NAME", help="name of the method (default: tool and file name)"
    )
    _add_layout(parser)
    _add_json(parser)
    parser.set_defaults(command=_lazy("import_", "import_command"))


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "export", "Write descriptions of a run in an original program's layout.")
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder, such as runs/demo")
    parser.add_argument(
        "--layout",
        required=True,
        choices=("dnd", "milan", "clip_dissect", "netdissect"),
        help="whose file layout",
    )
    parser.add_argument(
        "--method", metavar="NAME", help="whose descriptions (default: the layout's own method)"
    )
    parser.add_argument(
        "--layer", action="append", metavar="NAME", help="export only this layer; repeatable"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: RUN/exports/LAYOUT)"
    )
    _add_json(parser)
    parser.set_defaults(command=_lazy("export", "export_command"))


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
    _add_json(parser)
    parser.set_defaults(command=_lazy("list_", "list_command"))


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "doctor",
        "Check the installation, the locally available models, the disk and the device.",
    )
    _add_runs(parser)
    _add_json(parser)
    parser.set_defaults(command=_lazy("doctor", "doctor_command"))


def _add_milan(commands: argparse._SubParsersAction) -> None:
    summary = "Convert published checkpoints of MILAN, train a MILAN, write exemplars."
    # Not by `_command`: its actions have the options --verbose and --offline.
    parser = commands.add_parser("milan", help=summary, description=summary)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_milan_convert(actions)
    _add_milan_train(actions)
    _add_milan_exemplars(actions)


def _add_milan_convert(actions: argparse._SubParsersAction) -> None:
    parser = _command(actions, "convert", "Convert a published checkpoint to JSON and safetensors.")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a published checkpoint, such as milan-base.pth"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write (default: FILE without its suffix)"
    )
    parser.set_defaults(command=_lazy("milan", "convert_command"))


def _add_milan_train(actions: argparse._SubParsersAction) -> None:
    parser = _command(
        actions, "train", "Train a MILAN on annotated exemplars; resumes after an interruption."
    )
    add_train_arguments(parser)
    parser.set_defaults(command=_lazy("milan", "train_command"))


def _add_milan_exemplars(actions: argparse._SubParsersAction) -> None:
    parser = _command(actions, "exemplars", "Write the exemplars of layers in the published layout.")
    _add_settings(parser)
    _add_runs(parser)
    add_exemplars_arguments(parser)
    parser.set_defaults(command=_lazy("milan", "exemplars_command"))


def _lazy(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Returns a command that imports its module when it is called: `--help` loads no library."""

    def command(options: argparse.Namespace) -> int:
        loaded = importlib.import_module(f".commands.{module}", __package__)
        return getattr(loaded, function)(options)

    return command


if __name__ == "__main__":
    sys.exit(main())

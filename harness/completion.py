"""Shell completion of commands, options and settings, by argcomplete."""

from __future__ import annotations

import argparse
import os
from typing import Any


def complete(parser: argparse.ArgumentParser) -> None:
    """Prints completions and exits if the shell asks for them; otherwise does nothing."""
    # The shell sets this variable. Without it the library is not even imported.
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


def complete_settings(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Returns the settings that begin with `prefix`: `target=resnet18`, `units=`, ...

    Configuration groups are completed with their choices, other top-level settings with their names.
    """
    import yaml

    from .config import groups, shipped

    choices = groups(getattr(parsed_args, "config_dir", None))
    root = yaml.safe_load((shipped() / "config.yaml").read_text("utf-8"))
    names = [f"{name}=" for name in root if name != "defaults"]
    settings = [f"{group}={choice}" for group, all_ in choices.items() for choice in all_]
    return sorted(setting for setting in [*settings, *names] if setting.startswith(prefix))

"""Composes the configuration with Hydra, checks it, and builds objects from its nodes.

The configuration is the registry: every component is a node with a `_target_`. Users' own nodes are YAML
files in a folder given by `--config-dir`, which is searched together with the shipped folder.
"""

from __future__ import annotations

import copy
import importlib.resources
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, nearest
from .setting_types import check_node

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Settings:
    """A composed configuration.

    Attributes:
        config: the components and settings.
        text: the same as resolved YAML, as `config.yaml` stores it.
    """

    config: DictConfig
    text: str

    def renamed(self, name: str) -> Settings:
        """Returns the same settings for a run of another name."""
        from omegaconf import OmegaConf

        config = copy.deepcopy(self.config)
        config.name = name
        return Settings(config, OmegaConf.to_yaml(config, resolve=True))


def shipped() -> Path:
    """Returns the folder of the configurations shipped with the package."""
    return Path(str(importlib.resources.files("dissectbench.harness.conf")))


def compose(
    overrides: Sequence[str] = (),
    *,
    root: str = "config",
    config_dir: str | None = None,
    only: str | None = None,
) -> Settings:
    """Composes the configuration `root` with overrides in Hydra's grammar.

    A run for which neither target, nor probing set, nor experiment is chosen is the demo
    (`experiment=demo`): nothing else works without data or weights of the user.

    Args:
        overrides: such as `target=resnet50`, `units=50`, `probe.root=/data/val`. `target=module:function`
            is short for `target=factory target.factory=module:function`.
        root: "config" for runs, "score" for scoring files.
        config_dir: folder of the user's own configurations, searched first.
        only: the node that is used, such as "target": values missing elsewhere are no error.

    Raises:
        InputError: for an unknown setting or choice (with the nearest names), a missing value or a
            value that cannot be read.
    """
    import hydra
    from omegaconf import OmegaConf

    overrides = [part for override in overrides for part in _expanded(override)]
    demo = ["experiment=demo"] if root == "config" and _is_demo(overrides) else []
    with _initialized(config_dir) as extra, _explained(root, [*demo, *overrides], config_dir):
        config = hydra.compose(root, [*extra, *demo, *overrides])
        # Before resolving: an interpolation of a missing value raises an error about the
        # interpolation.
        _refuse_missing(config, only)
        used = config if only is None else config[only]
        text = OmegaConf.to_yaml(used, resolve=True)
    return Settings(config, text)


def _expanded(override: str) -> list[str]:
    """Returns `target=my_models:build` as the two settings that it abbreviates.

    `probe.split` with a number is `held_out`. With a word, it is the split of a Hugging Face data set.
    """
    group, _, choice = override.partition("=")
    if group == "probe.split" and re.fullmatch(r"[\d.,]+|null", choice):
        return [f"held_out={choice}"]
    if group == "target" and ":" in choice:
        return ["target=factory", f"target.factory={choice}"]
    return [override]


def _is_demo(overrides: Sequence[str]) -> bool:
    """Whether no override chooses an experiment, or a target or probing set other than tinyworld."""
    # `~target` removes the node: the target is an object in memory.
    chosen = [override.lstrip("+~").partition("=") for override in overrides]
    return not any(
        group == "experiment" or (group in ("target", "probe") and choice != "tinyworld")
        for group, _, choice in chosen
    )


def build(node: DictConfig | Any, what: str) -> Any:
    """Builds the object that a node describes.

    Args:
        node: a node with a `_target_`; its children with one are built first.
        what: its path in the configuration, for messages.

    Raises:
        InputError: if its `_target_` cannot be imported, a setting is unknown or has the wrong type, or
            the component refuses a value.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    check_node(what, plain)
    try:
        # Components get plain lists and dictionaries: OmegaConf's containers are neither, and are not
        # JSON-able.
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        # Hydra wraps what a constructor raises. An InputError inside is already a message for the user.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from error
        raise InputError(
            f"{what} cannot be built from its configuration: {_first_line(error.__cause__ or error)}",
            f"check the node `{what}` (run with --dry-run prints the whole configuration)",
        ) from error


def groups(config_dir: str | None = None) -> dict[str, dict[str, str]]:
    """Returns the choices of every configuration group, with the first comment of each file."""
    found: dict[str, dict[str, str]] = {}
    for folder in [shipped(), *([Path(config_dir)] if config_dir else [])]:
        for file in sorted(folder.glob("*/*.yaml")):
            lines = [line[2:] for line in file.read_text("utf-8").splitlines() if line.startswith("# ")]
            # `# @package` is a directive of Hydra and describes nothing.
            comment = next((line for line in lines if not line.startswith("@package")), "")
            found.setdefault(file.parent.name, {})[file.stem] = comment
    return found


@contextmanager
def _initialized(config_dir: str | None) -> Iterator[list[str]]:
    """Initializes Hydra; yields the overrides that add the user's folder."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    extra: list[str] = []
    if config_dir is not None:
        folder = Path(config_dir).resolve()
        if not folder.is_dir():
            raise InputError(f"--config-dir {config_dir}: no such folder")
        # In quotes: a path may contain characters of Hydra's grammar, such as `=`.
        extra = [f"hydra.searchpath=['file://{folder}']"]
        _importable(folder)
    _importable(Path.cwd())
    GlobalHydra.instance().clear()  # a notebook or an earlier call may have initialized it
    with initialize_config_dir(str(shipped()), version_base="1.3"):
        yield extra


def _importable(folder: Path) -> None:
    # Console scripts do not put the working directory on the path, but users' own classes are there.
    # It is appended, so that it cannot hide an installed package.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@contextmanager
def _explained(root: str, overrides: Sequence[str], config_dir: str | None) -> Iterator[None]:
    """Turns Hydra's errors into an `InputError` of one sentence."""
    from hydra.errors import (
        ConfigCompositionException,
        HydraException,
        MissingConfigException,
        OverrideParseException,
    )
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    # The special exceptions come first: all of Hydra's derive from HydraException.
    except OverrideParseException as error:
        raise InputError(
            f"cannot read the setting {error.override!r}", "write it as key=value"
        ) from error
    except MissingConfigException as error:
        raise _unknown_choice(error.missing_cfg_file or "", config_dir) from error
    except (ConfigCompositionException, HydraException) as error:
        raise _unknown_setting(_first_line(error), root, overrides, config_dir) from error
    except OmegaConfBaseException as error:
        raise InputError(f"configuration: {_first_line(error)}") from error


def _unknown_choice(missing: str, config_dir: str | None) -> InputError:
    group, _, choice = missing.rpartition("/")
    known = groups(config_dir).get(group, {})
    return InputError(
        f"{group}={choice}: there is no such {group}",
        f"{nearest(choice, known)} Known: {', '.join(known)}.".strip(),
    )


def _unknown_setting(
    message: str, root: str, overrides: Sequence[str], config_dir: str | None
) -> InputError:
    import re

    from hydra import compose as hydra_compose

    # Hydra reports an unknown key in one of these sentences; the key is the useful part.
    match = re.search(r"(?:override|append to config|delete) '([^']+)'|Key '([^']+)'", message)
    if match is None:
        return InputError(f"configuration: {message}")
    key = (match.group(1) or match.group(2)).split("=")[0]
    # Only the choices of groups: they determine which settings exist, and one of the rest is wrong.
    known = groups(config_dir)
    chosen = [override for override in overrides if override.partition("=")[0] in known]
    config = hydra_compose(root, chosen)
    parent, _, last = key.rpartition(".")
    node: Any = config
    for part in parent.split(".") if parent else []:
        node = node.get(part, {}) if hasattr(node, "get") else {}
    names = [str(name) for name in node if not str(name).startswith("_")] if hasattr(node, "keys") else []
    close = nearest(last, names)
    return InputError(
        f"unknown setting {key!r}",
        f"{close} {f'Settings of {parent}' if parent else 'Settings'}: {', '.join(names)}.".strip(),
    )


def _refuse_missing(config: DictConfig, only: str | None) -> None:
    from omegaconf import OmegaConf

    missing = sorted(key for key in OmegaConf.missing_keys(config) if only in (None, key.split(".")[0]))
    if missing:
        group = missing[0].split(".")[0]
        raise InputError(
            f"{missing[0]} is not set",
            f"give it a value: {' '.join(f'{key}=...' for key in missing)} "
            f"(`dissectbench list {group}` lists other choices)",
        )


def _first_line(error: BaseException | None) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

"""The settings of a run that belong to no component, with their types and ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Le, Lt, MinLen

from .setting_types import check_value

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class TableSettings:
    """Settings of the tables; the node `table`.

    Attributes:
        control_text: the description that the constant control gives to every unit.
        resamples: number of resamples of the bootstrap and of the permutation test.
    """

    control_text: Annotated[str, MinLen(1)]
    resamples: Annotated[int, Ge(1), Le(10_000_000)]


@dataclass(frozen=True)
class RunSettings:
    """Settings at the top level of the configuration of a run; config.yaml says what they mean."""

    name: str | None
    layers: str | int | list[Any] | dict[str, Any]
    final_layer: str | int | None
    held_out: Annotated[float, Ge(0), Lt(1)] | None
    units: Literal["all"] | Annotated[int, Ge(1)] | list[Annotated[int, Ge(0)]]
    seed: Annotated[int, Ge(0), Le(2**63 - 1)]
    device: str
    report: bool
    allow_tinyworld: list[str]


def check_run_settings(config: DictConfig) -> None:
    """Checks the type and the range of every setting of a run that belongs to no component.

    Raises:
        InputError: names the setting, its value, and what it can be.
    """
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(config, resolve=True)
    for prefix, owner in (("", RunSettings), ("table.", TableSettings)):
        node = values["table"] if prefix else values
        for name, hint in get_type_hints(owner, include_extras=True).items():
            check_value(f"{prefix}{name}", node.get(name), hint)

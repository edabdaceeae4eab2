"""Reads YAML files that users write into models; messages name the file and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from ..harness.errors import InputError

Name = Annotated[str, StringConstraints(strict=True, min_length=1)]


class Model(BaseModel):
    """A node of a YAML file: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Model)


def read_model(path: Path, kind: type[M], **defaults: Any) -> M:
    """Reads a YAML file.

    Args:
        path: the file.
        kind: the model of its content.
        defaults: values of keys that the file does not have.

    Raises:
        InputError: if the file cannot be read, is not valid YAML, or does not have the keys of the model.
    """
    content = _content(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping of keys to values")
    try:
        return kind.model_validate({**defaults, **content})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InputError(f"{path}, {key}: {first['msg']}", _hint(first)) from None


def _hint(error: Any) -> str | None:
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return "write printed numbers in quotes: '50.00' keeps its zeros"
    return None


def _content(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason})") from error
    try:
        return yaml.load(text, Loader=_Loader)
    # ValueError: such as a date without such a day, or an integer of thousands of digits.
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, which YAML would overwrite silently, and aliases.

    A few nested aliases can stand for billions of values.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: aliases are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"mapping at line {line}: the key {key!r} is repeated")
        return super().construct_mapping(node, deep)

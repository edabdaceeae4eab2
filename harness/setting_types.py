"""Checks the values of settings against type hints: of a constructor, or of the settings of a run."""

from __future__ import annotations

import builtins
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge

from .errors import InputError, nearest

_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", NoneType: "null"}


def check_value(setting: str, value: Any, hint: Any) -> None:
    """Checks one value, as a configuration holds it, against a type hint.

    Lists are accepted for every kind of sequence, integers for floats, and nothing is converted:
    "3" is not an integer, and true is not a number. NaN and infinity are refused.

    Args:
        setting: full name of the setting, for the message.
        value: numbers, texts, lists, mappings or None.
        hint: the type, with ranges as `Annotated[int, Ge(1)]`. Types that a configuration cannot
            hold, such as classes of this package, are not checked.

    Raises:
        InputError: if the value has another type, is out of range, or is not finite.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{setting} is {value}", f"use {in_words(hint)}")
    try:
        # Strict, and in JSON mode: a configuration has lists where Python has tuples.
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        content = json.dumps(value)
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError):
        return
    try:
        adapter.validate_json(content, strict=True)
    except ValidationError as error:
        if all(problem["type"] == "needs_python_object" for problem in error.errors()):
            return  # a class: its own constructor checks
        raise InputError(f"{setting} is {value!r}", f"use {in_words(hint)}") from error


def check_node(what: str, node: Any) -> None:
    """Checks the settings of a configuration node, and of the nodes in it, against what they build.

    Args:
        what: path of the node in the configuration, for messages.
        node: plain lists and mappings; those with a `_target_` are checked.

    Raises:
        InputError: for an unknown setting, a value of a wrong type or out of range, or a negative seed.
    """
    if isinstance(node, list):
        for index, child in enumerate(node):
            check_node(f"{what}.{index}", child)
    if not isinstance(node, Mapping):
        return
    settings = {key: value for key, value in node.items() if not str(key).startswith("_")}
    for name, value in settings.items():
        check_node(f"{what}.{name}", value)
    if "_target_" in node:
        _check_arguments(what, str(node["_target_"]), settings)


def _check_arguments(what: str, path: str, settings: Mapping[str, Any]) -> None:
    from hydra.utils import get_object

    try:
        target = get_object(path)
        parameters = inspect.signature(target).parameters
    except Exception:
        return  # building the node reports it, with the reason
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    for name, value in settings.items():
        if name not in named:
            if open_ended:
                continue
            raise InputError(
                f"{what}.{name}: there is no such setting",
                f"{nearest(name, named)} Settings of {what}: {', '.join(named)}.".strip(),
            )
        if not _has_component(value):
            hint = _evaluated(parameters[name].annotation, target)
            if hint is not None:
                check_value(f"{what}.{name}", value, hint)
            # No generator takes a negative seed; said here once instead of in every constructor.
            if name == "seed" and value is not None:
                check_value(f"{what}.{name}", value, Annotated[int, Ge(0)])


def _has_component(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_has_component, value.values()))
    return isinstance(value, list) and any(map(_has_component, value))


def _evaluated(annotation: Any, target: Callable[..., Any]) -> Any | None:
    """Returns a parameter's type, or None if it has none or refers to names that are not imported."""
    if annotation is inspect.Parameter.empty:
        return None
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(target.__module__)
    try:
        # Each by itself: `get_type_hints` fails for all if one refers to a name under TYPE_CHECKING.
        return eval(annotation, {**vars(builtins), **vars(module or builtins)})
    except NameError:
        return None


def in_words(hint: Any) -> str:
    """Returns a type hint in words: "an integer of at least 1", "one of mean, max, or null"."""
    return ", or ".join(dict.fromkeys(_alternatives(hint)))


def _alternatives(hint: Any) -> Iterator[str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    elif origin is Literal:
        named = [str(argument) for argument in arguments if argument is not None]
        yield named[0] if len(named) == 1 else f"one of {', '.join(named)}"
        if None in arguments:
            yield "null"
    elif hasattr(hint, "__metadata__"):  # Annotated
        ranges = " and ".join(text for limit in hint.__metadata__ for text in _limits(limit))
        yield f"{in_words(arguments[0])} {ranges}".rstrip()
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield "a mapping"
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        items = [argument for argument in arguments if argument is not Ellipsis]
        if origin is tuple and len(items) == len(arguments):
            yield f"a list of {len(items)} values ({', '.join(map(in_words, items))})"
        else:
            yield f"a list ({in_words(items[0])})" if items else "a list"
    else:
        yield _WORDS.get(hint) or getattr(hint, "__name__", str(hint))


def _limits(limit: Any) -> Iterator[str]:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    yield from (f"{text} {getattr(limit, name)}" for name, text in words.items() if hasattr(limit, name))
    if getattr(limit, "min_length", 0):
        yield f"with at least {limit.min_length} entries"

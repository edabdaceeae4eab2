"""Labels of methods: their names, with what distinguishes the settings where there are several."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...harness.errors import InputError, nearest
from .bundle import Bundle

_LONGEST = 60
_HASH = 8
"""Characters of a hash that a label shows."""


def method_labels(bundles: Sequence[Bundle]) -> dict[tuple[str, str], str]:
    """Returns a label for every method name and fingerprint.

    One method with several settings is labelled by the settings that differ, such as
    "network_dissection (quantile=0.01)", or by its hash where they are too long.
    """
    identities: dict[str, dict[str, Mapping[str, Any]]] = {}
    for bundle in bundles:
        for name, method in bundle.info.methods.items():
            identities.setdefault(name, {})[method.fingerprint] = method.identity
    return {
        (name, key): f"{name} ({differences[key]})" if differences else name
        for name, by_key in identities.items()
        for differences in [_differences(by_key)]
        for key in by_key
    }


def labelled(name: str, labels: Sequence[str]) -> str:
    """Returns the label that a user means by a name: the label itself, or the only one of that name.

    Raises:
        InputError: if there is none, or there are several.
    """
    if name in labels:
        return name
    matching = [label for label in labels if label.startswith(f"{name} (")]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise InputError(
            f"the method {name} was submitted with several settings",
            f"give one of: {', '.join(matching)}",
        )
    hint = f"{nearest(name, labels)} Methods: {', '.join(labels)}.".strip()
    raise InputError(f"no method is named {name!r}", hint)


def _differences(identities: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns what distinguishes each identity from the others; empty if there is only one."""
    if len(identities) == 1:
        return {}
    flat = {key: dict(_flat("", identity)) for key, identity in identities.items()}
    names = sorted({name for settings in flat.values() for name in settings})
    differing = [name for name in names if len({settings.get(name) for settings in flat.values()}) > 1]
    texts = {
        key: ", ".join(f"{name}={settings[name]}" for name in differing if name in settings)
        for key, settings in flat.items()
    }
    if len(set(texts.values())) == len(texts) and all(
        0 < len(text) <= _LONGEST for text in texts.values()
    ):
        return texts
    return {key: key[:_HASH] for key in identities}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields each setting with its full name and its value in short."""
    if isinstance(value, Mapping):
        for key, content in value.items():
            yield from _flat(f"{name}.{key}" if name else key, content)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield name, text[:_HASH] if re.fullmatch("[0-9a-f]{64}", text) else text

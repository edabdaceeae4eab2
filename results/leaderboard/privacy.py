"""Removes keys, and paths of the user's computer, from what a bundle publishes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REMOVED = "(left out)"

# Whole words of a setting's name: `api_key` and `key_variable`, not `max_tokens` or `keep_candidates`.
_SECRET_WORDS = {
    *("key", "keys", "apikey", "token", "secret", "secrets", "password", "passwd", "passphrase"),
    *("credential", "credentials", "auth", "authorization", "cookie", "cookies", "bearer"),
}
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk)-[\w-]{12,}"  # OpenAI, Anthropic, Stripe
    r"|\bhf_\w{12,}|\bgh[opsur]_\w{12,}|\bgithub_pat_\w{12,}|\bglpat-[\w-]{12,}"
    r"|\bA(?:KIA|SIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}|\bxox[abeoprs]-[\w-]{8,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web token
    r"|(?i:\bbearer\s+)[\w.~+/-]{8,}=*"
)
# User and password, and the query, of an address: both may hold a key.
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/@]+@)?([^\s?#]*)(?:\?[^\s#]*)?", re.IGNORECASE)
# The folders of an absolute path, also after "file://" and in the middle of a message. A slash after a
# word, a dot or another slash belongs to a relative path, a name ("a/b") or an address.
_FOLDERS = re.compile(
    r"file:///?(?:[^\s\"'`<>|:;,]*/)?|(?<![\w./:~\\-])(?:~[\w.-]*/|/(?![/\s])|[A-Za-z]:[\\/]|\\\\)"
    r"(?:[^/\\\n\"'`<>|:;,()=]+[\\/])*"
)
_UP = re.compile(r"(?:\.\.[\\/])+(?:[^/\\\n\"'`<>|:;,()=]+[\\/])*")


def cleaned(value: Any) -> Any:
    """Returns a JSON-able value without keys and without folders of the computer.

    * The value of a setting whose name has a word such as "key", "token" or "password" is left out.
    * Keys of well-known services are left out of every text.
    * Addresses lose user, password and query.
    * Absolute paths, and paths that lead upwards, are reduced to their last part: "/home/ada/photos" is
      "photos".
    """
    if isinstance(value, Mapping):
        return {
            cleaned(str(name)): REMOVED if content and _is_secret(str(name)) else cleaned(content)
            for name, content in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [cleaned(content) for content in value]
    return clean_text(value) if isinstance(value, str) else value


def clean_text(text: str) -> str:
    """Returns a text without keys and folders; see `cleaned`."""
    text = _SECRETS.sub(REMOVED, text)
    text = _FOLDERS.sub("", text)
    text = _UP.sub("", text)
    return _ADDRESS.sub(r"\1\2", text)


def _is_secret(name: str) -> bool:
    # "apiKey" has the words "api" and "key".
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    return not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", words.lower()))

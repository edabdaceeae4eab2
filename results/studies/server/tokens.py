"""Tokens of raters, panels and administrators, signatures of forms, and completion codes.

All are HMACs with the keys of the study, so none is stored: any command can make a link again, and it is
verified without a table of links. Every text that is signed starts with its purpose, so that a token of
one purpose is never valid for another.
"""

from __future__ import annotations

import base64
import hmac
import re

from ..study import Study

_MAC = 32
"""Hexadecimal digits of a token: 128 bits cannot be guessed."""
_TOKEN = re.compile(r"[0-9a-f]{48}")
_CODE = re.compile(r"[0-9A-F]{6}[A-Z2-7]{10}")


def slug(study: Study) -> str:
    """Returns the name of a study in addresses: the first digits of the hash of its design."""
    return study.design[:12]


def rater_token(study: Study, rater: str) -> str:
    """Returns the secret part of a rater's link.

    Args:
        study: the study.
        rater: what `Study.rater` returns, 16 hexadecimal digits.
    """
    return rater + study.sign("admin", f"rater:{rater}")[:_MAC]


def rater_of(study: Study, token: str) -> str | None:
    """Returns the rater of a link's secret part, or None if it is wrong; takes constant time."""
    if not _TOKEN.fullmatch(token):
        return None
    rater = token[:-_MAC]
    return rater if hmac.compare_digest(token, rater_token(study, rater)) else None


def admin_token(study: Study) -> str:
    """Returns the secret part of the address of the admin page."""
    return study.sign("admin", "page")[:_MAC]


def panel_token(study: Study, panel: str) -> str:
    """Returns the secret part of the study URL that a panel sends its participants to."""
    return study.sign("admin", f"panel:{panel}")[:_MAC]


def form_signature(study: Study, rater: str, form: str) -> str:
    """Returns the hidden field that shows that a form was sent by this server to this rater.

    Args:
        study: the study.
        rater: the rater.
        form: a task id, or "consent".
    """
    return study.sign("admin", f"form:{rater}:{form}")[:_MAC]


def equal(given: str, expected: str) -> bool:
    """Returns whether two tokens are equal, in a time that does not depend on their content."""
    # As bytes: compare_digest raises TypeError for text that is not ASCII.
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def completion_code(study: Study, rater: str) -> str:
    """Returns the code of a rater who has finished: 6 digits of the rater and a signature of 50 bits."""
    prefix = rater[:6].upper()
    return f"{prefix}-{_base32(study, f'rater:{prefix}')}"


def panel_code(study: Study, panel: str) -> str:
    """Returns the code of all participants of a panel, which compares it with a code that it was told."""
    return f"C{_base32(study, f'panel:{panel}')}"


def code_prefix(study: Study, code: str) -> str | None:
    """Returns the first digits of the rater that a completion code belongs to; None if it is forged.

    Case, spaces and hyphens do not count, because people type codes.
    """
    plain = re.sub(r"[\s-]", "", code).upper()
    if not _CODE.fullmatch(plain):
        return None
    prefix = plain[:6]
    return prefix.lower() if equal(plain[6:], _base32(study, f"rater:{prefix}")) else None


def _base32(study: Study, text: str) -> str:
    digest = bytes.fromhex(study.sign("completion", text))
    return base64.b32encode(digest).decode()[:10]

"""Templates with escaping, data blocks, and the Content-Security-Policy of a page."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_BASE = "dissectbench.results.pages"


@cache
def environment(package: str) -> Environment:
    """Returns the templates of a package (its folder `templates`), with everything escaped.

    It is made once: a new one would compile the template of a unit again for every unit.

    Args:
        package: full name, such as "dissectbench.results.report".
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str, package: str = _BASE) -> str:
    """Returns the text of a style or script that is part of a package."""
    return importlib.resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def json_block(value: Any) -> str:
    """Returns a value as JSON that is safe inside a `<script>` element.

    `<` is written as an escape where it could end the element or open a comment or a script in it. Other
    tags stay readable, and a block of HTML small.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return re.sub(r"<(?=[/!sS])", r"\\u003c", text)


def content_security_policy(
    scripts: Sequence[str], styles: Sequence[str], *, own_files: bool = False, served: bool = False
) -> str:
    """Returns a policy that allows these inline scripts and styles, images, and nothing else.

    Args:
        scripts: texts of the inline scripts.
        styles: texts of the inline styles.
        own_files: whether the page also loads scripts and images from its own folder.
        served: whether a server sends the page and the policy as a header, with its own images and forms.
    """
    # A page opened from the disk has the origin `file:`, for which browsers disagree about 'self'.
    own = " 'self' file:" if own_files else ""
    directives = [
        "default-src 'none'",
        f"script-src {_hashes(scripts)}{own}",
        f"style-src {_hashes(styles)}",
        "img-src 'self'" if served else f"img-src data:{own}",
        "base-uri 'none'",
        "form-action 'self'" if served else "form-action 'none'",
    ]
    if served:
        # Browsers ignore this directive in a page: it only works as a header.
        directives.append("frame-ancestors 'none'")
    return "; ".join(directives)


def _hashes(texts: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

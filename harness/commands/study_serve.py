"""`dissectbench study serve`: serves the rating page of studies."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

from .. import exit_codes
from .console import show_json, terminal


def study_serve_command(options: argparse.Namespace) -> int:
    """Prints the addresses and serves until Ctrl-C."""
    from ...results.studies import Study
    from ...results.studies.server import admin_paths, listen, serve

    studies = [Study(folder) for folder in options.folders]
    paths = admin_paths(studies)
    with listen(options.host, options.port) as listening:
        host = f"[{options.host}]" if ":" in options.host else options.host
        base = options.url.rstrip("/") if options.url else f"http://{host}:{listening.getsockname()[1]}"
        admin = {folder: base + path for folder, path in paths.items()}
        if options.json:
            show_json({"url": base, "admin": admin})
        else:
            console = terminal()
            console.print(f"Serving {len(studies)} studies at {base}; stop with Ctrl-C.", soft_wrap=True)
            for folder, address in admin.items():
                # Not wrapped: an address must stay one word.
                console.print(f"{folder}: admin page {address}", highlight=False, soft_wrap=True)
            console.print("Links for raters: dissectbench study export STUDY --to links")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):  # the way to stop it
            serve(studies, listening, proxies=options.proxies)
    return exit_codes.OK

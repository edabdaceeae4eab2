"""Runs the rating page."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from ....harness.errors import InputError
from ..study import Study
from .tokens import admin_token, slug


def admin_paths(studies: Sequence[Study]) -> Mapping[str, str]:
    """Returns the path of the admin page of each study, by the folder of the study.

    Raises:
        InputError: for two folders with the same design, whose addresses would be equal.
    """
    if len({slug(study) for study in studies}) < len(studies):
        raise InputError("two of the folders contain the same design", "serve one of them")
    return {str(study.path): f"/a/{slug(study)}/{admin_token(study)}/" for study in studies}


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket; connections wait in it until `serve` runs.

    Args:
        host: a name or address; only "127.0.0.1" and "::1" keep other machines out.
        port: the port; 0 chooses a free one.

    Raises:
        InputError: if the address is unknown or in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error}", "choose another address: --host HOST --port PORT"
        ) from error


def serve(studies: Sequence[Study], listening: socket.socket, *, proxies: str = "127.0.0.1") -> None:
    """Serves studies until it is interrupted.

    Args:
        studies: the studies.
        listening: see `listen`.
        proxies: addresses of the proxies whose header X-Forwarded-For is believed, separated by commas.

    Raises:
        InputError: for a study that cannot be served.
    """
    import uvicorn

    from .app import make_app

    config = uvicorn.Config(
        make_app(studies),
        # Addresses contain tokens, so no request is logged.
        access_log=False,
        log_level="warning",
        server_header=False,
        forwarded_allow_ips=proxies,
        timeout_keep_alive=30,
        # A request in excess is answered with 503 instead of memory.
        limit_concurrency=2000,
        timeout_graceful_shutdown=10,
        ws="none",
    )
    uvicorn.Server(config).run(sockets=[listening])

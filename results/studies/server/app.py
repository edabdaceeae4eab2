"""The web application: routes of raters, panels and administrators."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..study import Study
from .admin import Admin
from .forms import FormError
from .limits import SecurityHeaders, WrongTokens
from .operations import visit
from .panels import PANELS, participant
from .rater_pages import RaterPages, redirect
from .render import policy, render
from .settings import read_settings
from .store import NotStoredError, Store
from .tokens import admin_token, equal, panel_token, rater_of, rater_token, slug

_LOG = logging.getLogger(__name__)
_IMAGES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_IMAGES |= {".gif": "image/gif"}
_MESSAGES = {
    404: "There is no such page. Please check that the link is complete.",
    405: "This address does not accept this kind of request.",
    429: "Too many wrong links were tried from your network. Please wait a minute and try again.",
    503: "The server could not store this. Nothing is lost: please go back and send it again.",
}


@dataclass(frozen=True)
class Served:
    """One study that is served.

    Attributes:
        study: the study.
        store: its database.
        images: content type of every image by file name.
    """

    study: Study
    store: Store
    images: dict[str, str]


def make_app(studies: Sequence[Study], *, wrong_tokens: WrongTokens | None = None) -> Starlette:
    """Returns the application that serves studies; it closes their databases when it ends.

    Args:
        studies: the studies.
        wrong_tokens: the limit of wrong tokens.

    Raises:
        InputError: for a study without a key, with invalid settings, or served by another process.
    """
    served: dict[str, Served] = {}
    try:
        for study in studies:
            store = Store(study, read_settings(study))
            served[slug(study)] = Served(study, store, _images(study))
    except BaseException:
        for entry in served.values():
            entry.store.close()
        raise
    server = _Server(served, wrong_tokens or WrongTokens())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        for entry in served.values():
            entry.store.close()

    app = Starlette(
        routes=server.routes(),
        middleware=[Middleware(SecurityHeaders, policy=policy())],
        exception_handlers={
            HTTPException: _http_error,
            NotStoredError: _not_stored,
            FormError: _form_error,
        },
        lifespan=lifespan,
    )
    # A redirect to the address with a slash would contain the host that the request claims.
    app.router.redirect_slashes = False
    return app


def _images(study: Study) -> dict[str, str]:
    """Lists the files that are served, once: no path of a request is ever opened.

    Links are left out, because they may lead out of the folder.
    """
    files = sorted(study.images.iterdir()) if study.images.is_dir() else []
    return {
        file.name: _IMAGES[file.suffix.lower()]
        for file in files
        if file.suffix.lower() in _IMAGES and file.is_file() and not file.is_symlink()
    }


Handler = Callable[[Request, Served, str], Awaitable[Response]]


class _Server:
    """Finds the study and the person of a request, and calls the function of the page."""

    def __init__(self, served: dict[str, Served], wrong_tokens: WrongTokens) -> None:
        self._served, self._wrong_tokens = served, wrong_tokens

    def routes(self) -> list[Route]:
        """Returns all routes."""
        pages, admin = RaterPages(), Admin()
        rater = "/s/{study}/{token}"
        return [
            Route("/", _home),
            Route("/health", _health),
            Route("/favicon.ico", _no_icon),
            Route("/p/{study}/{panel}/{token}", self._panel),
            Route(rater, self._rater(_with_slash)),
            Route(rater + "/", self._rater(pages.start)),
            Route(rater + "/consent", self._rater(pages.consent), methods=["POST"]),
            Route(rater + "/instructions", self._rater(pages.instructions)),
            Route(rater + "/task/{number}", self._rater(pages.task)),
            Route(rater + "/answer", self._rater(pages.answer), methods=["POST"]),
            Route(rater + "/done", self._rater(pages.done)),
            Route(rater + "/images/{name}", self._rater(_image)),
            Route("/a/{study}/{token}", self._admin(_with_slash)),
            Route("/a/{study}/{token}/", self._admin(admin.overview)),
            Route("/a/{study}/{token}/results.csv", self._admin(admin.results)),
            Route("/a/{study}/{token}/raters.csv", self._admin(admin.raters)),
        ]

    def _rater(self, page: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            address = self._checked(request)
            served = self._served.get(request.path_params["study"])
            rater = served and rater_of(served.study, request.path_params["token"])
            if served is None or rater is None:
                raise self._wrong(address)
            return await page(request, served, rater)

        return endpoint

    def _admin(self, page: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            address = self._checked(request)
            served = self._served.get(request.path_params["study"])
            if served is None or not equal(request.path_params["token"], admin_token(served.study)):
                raise self._wrong(address)
            return await page(request, served, "")

        return endpoint

    async def _panel(self, request: Request) -> Response:
        """Notes who arrives from a panel, and sends them on to an address of their own."""
        address = self._checked(request)
        served, panel = self._served.get(request.path_params["study"]), request.path_params["panel"]
        if (
            served is None
            or panel not in PANELS
            or not equal(request.path_params["token"], panel_token(served.study, panel))
        ):
            raise self._wrong(address)
        person = participant(panel, request.query_params)
        if person is None:
            message = (
                f"{PANELS[panel].title} did not say who you are. Please open the study from there again."
            )
            return _message(400, message)
        rater = served.study.rater(panel, person[0])
        await served.store.run(visit(rater, time.time(), panel, person[1]))
        return redirect(f"../../../s/{slug(served.study)}/{rater_token(served.study, rater)}/")

    def _checked(self, request: Request) -> str:
        address = request.client.host if request.client else ""
        if self._wrong_tokens.blocked(address):
            raise HTTPException(429, headers={"retry-after": "60"})
        return address

    def _wrong(self, address: str) -> HTTPException:
        self._wrong_tokens.count(address)
        return HTTPException(404)


async def _home(_request: Request) -> Response:
    return _message(
        200, "This server shows studies to people who were invited. Please use your own link."
    )


async def _health(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _no_icon(_request: Request) -> Response:
    return Response(status_code=204)


async def _with_slash(request: Request, _served: Served, _person: str) -> Response:
    return redirect(request.path_params["token"] + "/")


async def _image(request: Request, served: Served, _rater: str) -> Response:
    name = request.path_params["name"]
    if name not in served.images:
        raise HTTPException(404)
    # The name is a hash of the content, so a copy in the browser never becomes outdated.
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    path = served.study.images / name
    if not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, headers=headers, media_type=served.images[name])


def _message(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    page = render("message.html", title="Rating page", message=message, link="", label="", contact="")
    return HTMLResponse(page, status, headers)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = _MESSAGES.get(error.status_code, error.detail)
    return _message(error.status_code, message, dict(error.headers or {}))


async def _form_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FormError)
    # The rest of a body that is too long is not read.
    headers = {"connection": "close"} if error.status == 413 else None
    return _message(error.status, str(error), headers)


async def _not_stored(_request: Request, error: Exception) -> Response:
    _LOG.error("nothing was stored: %s", error)
    return _message(503, _MESSAGES[503])

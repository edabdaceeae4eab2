"""The pages of administrators: progress, and the answers as files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from .progress import progress
from .render import render
from .results import raters_csv, results_csv, turk_time

if TYPE_CHECKING:
    from starlette.requests import Request

    from .app import Served


class Admin:
    """The pages, each for (request, study, nobody). They read the database by other connections."""

    async def overview(self, _request: Request, served: Served, _nobody: str) -> Response:
        """Shows the progress."""
        state = await run_in_threadpool(progress, served.study, served.store.settings)
        page = render(
            "admin.html",
            title=served.study.settings.title,
            design=served.study.design[:12],
            now=turk_time(time.time()),
            figures=state.figures,
            tables=state.tables,
        )
        return HTMLResponse(page)

    async def results(self, _request: Request, served: Served, _nobody: str) -> Response:
        """Downloads the answers."""
        return _download(await run_in_threadpool(results_csv, served.study), "results", served)

    async def raters(self, _request: Request, served: Served, _nobody: str) -> Response:
        """Downloads the raters."""
        return _download(await run_in_threadpool(raters_csv, served.study), "raters", served)


def _download(text: str, name: str, served: Served) -> Response:
    file = f"{name}_{served.study.design[:12]}.csv"
    headers = {"content-disposition": f'attachment; filename="{file}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

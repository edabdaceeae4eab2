"""The pages of raters: consent, instructions, tasks, completion."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from ..study import CONSENT, INSTRUCTIONS, Task
from .forms import LONGEST_COMMENT, FormError, read_answer, read_form
from .operations import LINK, Visit, consent, show_next, submit, visit
from .panels import PANELS, return_url
from .render import markdown, render
from .tokens import completion_code, equal, form_signature, panel_code

if TYPE_CHECKING:
    from starlette.requests import Request

    from .app import Served

_FORGED = "This form does not belong to you. Please open your own link again."
_CONSENT_FORM = "consent"


def redirect(address: str) -> Response:
    """Returns a redirect that the browser follows with GET, to an address relative to the present one."""
    return Response(status_code=303, headers={"location": address})


class RaterPages:
    """The pages, each for (request, study, rater)."""

    async def start(self, _request: Request, served: Served, rater: str) -> Response:
        """The address of a rater's link: leads to wherever the rater is."""
        state = await served.store.run(visit(rater, time.time()))
        if not state.consented:
            return HTMLResponse(_consent_page(served, rater, state))
        if state.finished or not state.more:
            return redirect("done")
        return redirect(f"task/{state.answered + 1}" if state.answered else "instructions")

    async def consent(self, request: Request, served: Served, rater: str) -> Response:
        """Notes the consent."""
        form = await read_form(request)
        if not equal(form.get("form", ""), form_signature(served.study, rater, _CONSENT_FORM)):
            raise FormError(403, _FORGED)
        await served.store.run(consent(rater, time.time()))
        return redirect("instructions")

    async def instructions(self, _request: Request, served: Served, rater: str) -> Response:
        """Shows the instructions."""
        state = await served.store.run(visit(rater, time.time()))
        if not state.consented:
            return redirect("./")
        text = _markdown_file(served.study.path / INSTRUCTIONS)
        title = served.study.settings.title
        page = render("instructions.html", title=title, text=text, number=state.answered + 1)
        return HTMLResponse(page)

    async def task(self, request: Request, served: Served, rater: str) -> Response:
        """Shows the task of this number, or leads to the present one."""
        text = request.path_params["number"]
        # Not a convertor of the route: int() raises for thousands of digits.
        if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
            raise HTTPException(404)
        number = int(text)
        following = await served.store.run(show_next(rater, number, time.time()))
        if following is None:
            return redirect("../")
        if number <= following.answered:
            return _answered_page(served, following.answered)
        if following.task is None:
            return redirect("../done")
        if number != following.answered + 1:
            return redirect(str(following.answered + 1))
        task = served.study.tasks[following.task]
        progress = (number, following.total)
        return HTMLResponse(_task_page(served, rater, task, progress, {}, (), root="../"))

    async def answer(self, request: Request, served: Served, rater: str) -> Response:
        """Stores an answer, and leads to the next task."""
        study = served.study
        form = await read_form(request)
        task = study.tasks.get(form.get("task_id", ""))
        if task is None or not equal(form.get("form", ""), form_signature(study, rater, task.id)):
            raise FormError(403, _FORGED)
        if form.get("design", "") != study.design:
            raise FormError(409, "The study was changed. Please open your link again.")
        answer = read_answer(study.settings, task, form)
        if answer.problems:
            number = (await served.store.run(visit(rater, time.time()))).answered + 1
            page = _task_page(served, rater, task, (number, number), answer.values, answer.problems)
            return HTMLResponse(page, 422)
        operation = submit(rater, task.id, answer.values, answer.seconds, time.time())
        return redirect(f"task/{await served.store.run(operation) + 1}")

    async def done(self, _request: Request, served: Served, rater: str) -> Response:
        """Shows the completion code, if the rater is done as of now or was before."""
        state = await served.store.run(visit(rater, time.time()))
        if not state.consented or (state.more and not state.finished):
            return redirect("./")
        study, settings = served.study, served.store.settings
        title, contact = study.settings.title, settings.contact
        if not state.finished:
            message = (
                "No task is open at the moment: others are working on the last ones. "
                "Thank you for coming; please try again later."
            )
            page = render(
                "message.html",
                title=title,
                message=message,
                link="./",
                label="Try again",
                contact=contact,
            )
            return HTMLResponse(page)
        panel = PANELS[state.source].title if state.source != LINK else ""
        page = render(
            "done.html",
            title=title,
            answered=state.answered,
            more=state.more,
            code=completion_code(study, rater),
            panel=panel,
            panel_code=panel_code(study, state.source) if panel else "",
            url=return_url(study, settings, state.source, state.parameters) if panel else "",
            contact=contact,
        )
        return HTMLResponse(page)


def _consent_page(served: Served, rater: str, state: Visit) -> str:
    study = served.study
    return render(
        "consent.html",
        title=study.settings.title,
        text=_markdown_file(study.path / CONSENT),
        signature=form_signature(study, rater, _CONSENT_FORM),
        panel=PANELS[state.source].title if state.source != LINK else "",
        contact=served.store.settings.contact,
    )


def _answered_page(served: Served, answered: int) -> Response:
    page = render(
        "message.html",
        title=served.study.settings.title,
        message="You have answered this task; answers cannot be changed.",
        link=str(answered + 1),
        label="Continue with the next task",
        contact="",
    )
    return HTMLResponse(page)


def _task_page(
    served: Served,
    rater: str,
    task: Task,
    progress: tuple[int, int],
    values: Mapping[str, str],
    problems: tuple[str, ...],
    *,
    root: str = "",
) -> str:
    settings = served.study.settings
    return render(
        "task.html",
        root=root,
        title=settings.title,
        kind=settings.kind,
        task=task,
        number=progress[0],
        total=progress[1],
        scale=list(range(settings.scale[0], settings.scale[1] + 1)),
        columns=_columns(len(task.images)),
        design=served.study.design,
        signature=form_signature(served.study, rater, task.id),
        values=defaultdict(str, values),
        problems=problems,
        longest=LONGEST_COMMENT,
    )


def _columns(images: int) -> int:
    """Returns the number of columns that keeps the images large and the grid low."""
    return next(columns for columns in (1, 2, 3, 4, 5) if images <= columns**2 or columns == 5)


@lru_cache(maxsize=64)
def _markdown_file(path: Path) -> str:
    """The files are part of the frozen design, so their text does not change."""
    return markdown(path.read_text(encoding="utf-8"))

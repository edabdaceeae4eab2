"""Writes rating studies: descriptions of runs and files, exemplars of a run."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..progress import Progress
from .frame import OpenFrame
from .images import ImageSettings, write_exemplars

if TYPE_CHECKING:
    from ...results.studies import Study
    from ...results.studies.design.rating import RatingDesign
    from ...results.studies.design.units import UnitRule


def design_rating_study(
    frame: OpenFrame,
    rule: UnitRule,
    design: RatingDesign,
    images: ImageSettings,
    out: Path,
    *,
    instructions: str | None = None,
    consent: str | None = None,
    progress: Progress | None = None,
) -> tuple[Study, tuple[str, ...]]:
    """Writes a rating study; returns it, and what its designer should know.

    The same arguments write the same bytes, except for `secret.json`.

    Args:
        frame: the descriptions and the layers, see `open_frame`.
        rule: how the units are chosen.
        design: tasks and checks.
        images: how exemplars are shown.
        out: the folder to write.
        instructions: Markdown that raters read before the first task; None for the default text.
        consent: Markdown that raters read first; None for the default text.
        progress: shows the writing of images.

    Raises:
        InputError: if the study cannot be made, or the folder exists with another content.
    """
    from ...results.studies.design.rating import draft_tasks, rating_files, rating_settings
    from ...results.studies.design.texts import default_consent, default_instructions
    from ...results.studies.design.units import choose_study_units
    from ...results.studies.study import check_new_study, write_study

    check_new_study(out)
    chosen = choose_study_units(frame.frame, rule)
    tasks = draft_tasks(frame.frame, chosen, design, frame.strongest)
    settings = rating_settings(frame.frame, tasks, design, {"images": asdict(images)})
    with tempfile.TemporaryDirectory() as folder:
        files = write_exemplars(
            frame.run, frame.layers, tasks.shown, images, Path(folder), progress or Progress("none")
        )
        content = rating_files(
            tasks,
            design.seed,
            files,
            default_instructions() if instructions is None else instructions,
            default_consent(design.work) if consent is None else consent,
        )
        study = write_study(out, settings, content)
    return study, (*frame.frame.notes, *tasks.chosen.notes)

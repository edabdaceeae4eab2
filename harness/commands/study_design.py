"""`dissectbench study design`: writes the folder of a study and prints its plan."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import exit_codes
from ..errors import InputError
from ..progress import Progress
from .console import notices, show_json, terminal

if TYPE_CHECKING:
    from ...results.studies import Study
    from ...results.studies.design.rating import RatingDesign, WorkSettings
    from ...results.studies.design.units import UnitRule


def design_command(options: argparse.Namespace) -> int:
    """Designs a study; see `dissectbench.harness.studies`."""
    from ..studies.frame import open_frame
    from ..studies.images import ImageSettings
    from ..studies.rating import design_rating_study

    # Everything that needs no run is checked first.
    rule, design = _unit_rule(options), _design(options)
    images = ImageSettings(options.images, options.image_size, options.regions, options.contact_sheet)
    texts = texts_of(options)
    methods = _names("--methods", options.methods)
    frame = open_frame(options.sources, methods=methods, below_threshold=options.below_threshold)
    study, notes = design_rating_study(
        frame, rule, design, images, options.out, progress=Progress(), **texts
    )
    print_study(study, notes, as_json=options.json)
    return exit_codes.OK


def print_study(study: Study, notes: Sequence[str], *, as_json: bool) -> None:
    """Prints how the units of a new study were chosen, its plan, and notes for its designer."""
    from ...results.studies.design.plan import study_plan
    from ...results.studies.design.texts import PLACEHOLDER

    notes = list(notes)
    if PLACEHOLDER in (study.path / "consent.md").read_text(encoding="utf-8"):
        notes.append("consent.md has gaps in [brackets]: give your own text with --consent FILE")
    plan = study_plan(study)
    for note in notes:
        notices(as_json=True).print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        content = {"study": str(study.path), "design": study.design, "units": study.settings.units}
        show_json({**content, "plan": plan.to_json(), "notes": notes})
        return
    for line in (
        study.settings.units,
        *plan.lines(),
        f"study: {study.path} (design {study.design[:12]})",
    ):
        terminal().print(line, highlight=False, markup=False, soft_wrap=True)


def texts_of(options: argparse.Namespace) -> dict[str, str | None]:
    """Returns the texts of --instructions and --consent; None for the default ones."""
    from ...results.studies.design.texts import read_text

    return {
        name: read_text(f"--{name}", path) if (path := getattr(options, name)) else None
        for name in ("instructions", "consent")
    }


def _unit_rule(options: argparse.Namespace) -> UnitRule:
    from ...results.studies.design.units import UnitRule

    units = options.units
    count = int(units) if units is not None and units.strip().lstrip("-").isdecimal() else None
    return UnitRule(
        named=_names("--units", units) if count is None else (),
        count=count,
        per_layer=options.per_layer,
        layers=options.layer,
        incomplete=options.incomplete,
        seed=options.seed,
    )


def _names(option: str, text: str | None) -> list[str]:
    """Returns the names of a list separated by commas; none without the option."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise InputError(f"{option} names nothing", "separate names by commas")
    return names


def _design(options: argparse.Namespace) -> RatingDesign:
    from ...results.studies.design.checks import CheckSettings
    from ...results.studies.design.rating import RatingDesign

    title = RatingDesign.title if options.title is None else options.title
    return RatingDesign(
        title=title,
        seed=options.seed,
        work=work_settings(options),
        checks=CheckSettings(options.attention, options.gold_tasks, options.gold, options.repeat),
    )


def work_settings(options: argparse.Namespace) -> WorkSettings:
    """Returns the settings of time and pay."""
    from ...results.studies.design.rating import WorkSettings

    return WorkSettings(options.raters, options.min_seconds, options.seconds, options.reward, options.fee)

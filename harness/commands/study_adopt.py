"""`dissectbench study adopt`: makes the folder of a study that was designed elsewhere."""

from __future__ import annotations

import argparse

from .. import exit_codes
from .study_design import print_study, texts_of, work_settings


def adopt_command(options: argparse.Namespace) -> int:
    """Adopts a batch; see `dissectbench.results.studies.design.adopt`."""
    from ...results.studies.design.adopt import Adopted, adopt_study
    from ...results.studies.design.rating import RatingDesign
    from ...results.studies.design.texts import default_consent, default_instructions

    title = RatingDesign.title if options.title is None else options.title
    design = RatingDesign(
        title=title,
        work=work_settings(options),
    )
    texts = texts_of(options)
    study, notes = adopt_study(
        Adopted(options.batch, options.key, options.attention, options.image_folder),
        design,
        default_instructions() if texts["instructions"] is None else texts["instructions"],
        default_consent(design.work) if texts["consent"] is None else texts["consent"],
        options.out,
    )
    print_study(study, notes, as_json=options.json)
    return exit_codes.OK

"""Loads models of transformers, diffusers and sentence-transformers, with errors that name the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError


@contextmanager
def loading(folder: Path, what: str, *, needs: str, report: bool = True) -> Iterator[None]:
    """Hides progress bars while a model is loaded, and turns the libraries' errors into `InputError`.

    Args:
        folder: folder of the model.
        what: kind of model, for the message: "a captioner".
        needs: files that the folder must contain, for the message.
        report: whether transformers may warn of missing and unexpected tensors; False where the caller
            checks them.

    Raises:
        InputError: if the files are missing, damaged or of another kind of model.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    # Both are settings of the whole process, so they are restored afterwards.
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    if not report:
        logging.set_verbosity_error()
    try:
        yield
    # The libraries have no common base class of errors: unreadable files fail with any of these.
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot load {what} from {folder}: {reason[0]}",
            f"the folder must contain {needs}; download it again",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()

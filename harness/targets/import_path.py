"""Imports and calls user functions given as "package.module:function"."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, nearest


def import_object(path: str) -> Callable[..., Any]:
    """Returns the function that "package.module:function" or "path/to/file.py:function" names.

    Modules in the working directory are found too, which Python does not search for a console script;
    installed packages take precedence.

    Raises:
        InputError: if there is no such module or function, or importing it fails.
    """
    module_name, colon, attribute = path.partition(":")
    if not (module_name and colon and attribute):
        raise InputError(f"{path!r} is not an import path", "write package.module:function")
    file = Path(module_name).expanduser().resolve() if module_name.endswith(".py") else None
    if file is not None and not file.is_file():
        raise InputError(f"no such file: {module_name}")
    # The folder of a file stays on the path: worker processes import the module under the same name.
    here = str(Path.cwd() if file is None else file.parent)
    if here not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()
    module_name = module_name if file is None else file.stem
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Otherwise the module exists, and one that it imports is missing.
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise InputError(
                f"no module named {error.name!r} for {path!r}",
                f"run from the folder that contains it ({here} was searched), or install its package",
            ) from error
        raise _failed(f"importing {module_name}", error) from error
    except Exception as error:
        raise _failed(f"importing {module_name}", error) from error
    if file is not None and Path(module.__file__ or "").resolve() != file:
        raise InputError(
            f"{path!r}: another module is called {module_name!r} too ({module.__file__})",
            "rename the file",
        )
    if not hasattr(module, attribute):
        hint = nearest(attribute, [name for name in vars(module) if not name.startswith("_")])
        raise InputError(f"module {module_name} has no {attribute!r}", hint or None)
    function = getattr(module, attribute)
    if not callable(function):
        raise InputError(f"{path} is a {type(function).__name__}, not a function")
    return function


def call_user(path: str, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Calls a user function; turns any exception into an `InputError` with file and line."""
    try:
        return function(*arguments, **settings)
    except InputError:
        raise
    except Exception as error:
        raise _failed(f"calling {path}", error) from error


def _failed(doing: str, error: Exception) -> InputError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return InputError(
        f"{doing} failed: {type(error).__name__}: {error}", f"at {last.filename}:{last.lineno}"
    )

"""Shows progress: bars on a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Shows the progress of tasks on stderr.

    Args:
        mode: "bars", "plain" (a line at the end of each task), "none", or "auto": bars on a terminal,
            plain lines elsewhere.
    """

    def __init__(self, mode: str = "auto") -> None:
        # Rich would draw in the output of a notebook's cell with widgets that may not be installed.
        self.console = Console(stderr=True, force_jupyter=False)
        self.mode = mode if mode != "auto" else ("bars" if sys.stderr.isatty() else "plain")

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Callable[..., None]]:
        """Yields a function to call after each step; its argument is the number of steps (default 1)."""
        start = time.monotonic()
        if self.mode == "bars":
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Bars(*columns, console=self.console, transient=True) as bars:
                bar = bars.add_task(description, total=total)
                yield lambda steps=1: bars.advance(bar, steps)
        else:
            yield lambda _steps=1: None
        if self.mode != "none":
            seconds = time.monotonic() - start
            self.console.print(f"[green]✓[/] {description}: {total} in {seconds:.1f} s", highlight=False)

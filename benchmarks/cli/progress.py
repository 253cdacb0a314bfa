"""Progress of a long command: a bar with rate and time left on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import click

EVERY = 30  # seconds between two lines where there is no terminal


def duration(seconds: float) -> str:
    """Return seconds as readable text: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def pace(rate: float) -> str:
    """Return steps per second as readable text: 3.20/s, or 20 s each."""
    return f"{rate:.2f}/s" if rate >= 0.1 else f"{duration(1 / rate)} each"


class Progress:
    """Show progress on standard error; a context manager, as a bar on a terminal must be removed at the end.

    Without a terminal, a line is printed after the first step if at least `every` seconds are left, and then every `every`
    seconds. `total` may be unknown (None), as for a camera.
    """

    def __init__(
        self,
        total: int | None,
        done: int = 0,
        unit: str = "photos",
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.before, self.unit, self.every, self.clock = total, done, unit, every, clock
        self.done: float = 0  # in this session
        self.begun = self.said = clock()
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn(self.unit), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                       TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total, completed=self.before, rate="", note="")
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count steps done, of which some may be parts of one; `note` says what the last one was."""
        first, now = not self.done, self.clock()
        self.done += steps
        rate = self.done / max(now - self.begun, 1e-9)
        if self.bar is not None:
            self.bar.update(self.task, advance=steps, rate=pace(rate), note=note)
            return
        left = math.inf if self.total is None else (self.total - self.before - self.done) / rate
        if (first and left >= self.every) or now - self.said >= self.every:
            self.said = now
            of = "" if self.total is None else f" of {self.total}"
            rest = f", about {duration(left)} left" if 0 < left < math.inf else ""
            suffix = f" ({note})" if note else ""
            click.echo(f"{self.before + int(self.done + 1e-6)}{of} {self.unit}, {pace(rate)}{rest}{suffix}", err=True)

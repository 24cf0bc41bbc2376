"""How far a call is, for a person who waits: a bar on stderr, gone when the answer is there."""

from __future__ import annotations

import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from host.observability.escape import escaped
from protocol.lifecycle import ProgressValue

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


ECHO = 3
"""Columns that stay free: the `^C` that a terminal prints would wrap, and the wrong line would be cleared."""


def wants_bar() -> bool:
    """Whether somebody looks: what is piped on has nobody who does."""
    return sys.stdout.isatty() and sys.stderr.isatty()


class Bar:
    """Shown from the first word of the plugin's on. Use as a context manager."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, value: ProgressValue) -> None:
        total = value.total if value.total is not None and value.total > 0 else None
        text = " ".join(escaped(value.message).split())
        if self._progress is None:
            self._progress = _bar()
            self._progress.start()
            self._task = self._progress.add_task(text, total=total)
        self._progress.update(self._task, completed=value.done, total=total, description=text, refresh=True)


def _bar() -> Progress:
    # rich is for those who see something of it: most calls are over before it could be imported
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    return Progress(
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=Console(stderr=True, width=max(20, shutil.get_terminal_size().columns - ECHO)),
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )

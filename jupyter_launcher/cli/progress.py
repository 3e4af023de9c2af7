"""Progress on stderr: phases with their times, and a bar where the total is known."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

from jupyter_launcher.models import Event, EventKind

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["Progress", "choose_progress"]

_PLAIN_SECONDS = 1.0


class Progress(Protocol):
    """Shows events."""

    def show(self, event: Event) -> None:
        """Show an event."""

    def stop_drawing(self) -> None:
        """Draw no more, so that other text can be written. What was drawn stays; later events are drawn below."""


def choose_progress(kind: str) -> Progress:
    """The display for ``rich``, ``plain``, ``none``, or ``auto``: drawn on a terminal, lines elsewhere."""
    if kind == "rich" or (kind == "auto" and sys.stderr.isatty()):
        return _Drawn()
    return _Lines(quiet=kind == "none")


class _Lines:
    """A line for each phase that ended, for each warning, and once a second for one that makes progress."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._last_progress = 0.0

    def stop_drawing(self) -> None:
        pass

    def show(self, event: Event) -> None:
        if self._quiet or event.kind is EventKind.STARTED:
            return
        if event.kind is EventKind.PROGRESS:
            if not event.total or time.monotonic() - self._last_progress < _PLAIN_SECONDS:
                return
            self._last_progress = time.monotonic()
            line = f"{event.phase.value}: {event.detail}"
        elif event.kind is EventKind.WARNING:
            line = f"warning: {event.detail}"
        else:
            line = f"{event.phase.value}: {event.kind.value} after {event.seconds:.2f} s {event.detail}"
        sys.stderr.write(f"{line.rstrip()}\n")
        sys.stderr.flush()


class _Drawn:
    """A line for each phase, redrawn in place."""

    def __init__(self) -> None:
        self._drawing: RichProgress | None = None

    def stop_drawing(self) -> None:
        if self._drawing is not None:
            self._drawing.stop()
            self._drawing = None

    def show(self, event: Event) -> None:
        if self._drawing is None:
            self._drawing = _create_drawing()
            self._drawing.start()
        if event.kind is EventKind.WARNING:
            self._drawing.console.print(f"warning: {event.detail}", style="yellow", markup=False, highlight=False)
            return
        task = self._task(self._drawing, event)
        if event.kind is EventKind.PROGRESS:
            self._drawing.update(task, total=event.total or None, completed=event.done, detail=event.detail)
        elif event.kind is not EventKind.STARTED:
            mark = "[red]✗[/]" if event.kind is EventKind.FAILED else "[green]✓[/]"
            self._drawing.update(task, total=1, completed=1, mark=mark, seconds=event.seconds, detail=event.detail)

    def _task(self, drawing: RichProgress, event: Event) -> TaskID:
        # Found by what is drawn: an interrupt may come between the drawing and any record of it.
        drawn = [task.id for task in drawing.tasks if task.description == event.phase.value and not task.finished]
        if drawn and event.kind is not EventKind.STARTED:
            return drawn[-1]
        return drawing.add_task(event.phase.value, total=None, mark="", seconds=None, detail="")


def _create_drawing() -> RichProgress:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Mark(ProgressColumn):
        spinner = SpinnerColumn()

        def render(self, task: Task) -> RenderableType:
            return Text.from_markup(task.fields["mark"]) if task.fields["mark"] else self.spinner.render(task)

    class Seconds(ProgressColumn):
        def render(self, task: Task) -> Text:
            seconds = task.fields["seconds"]
            return Text(f"{(task.elapsed or 0.0) if seconds is None else seconds:7.2f} s")

    class Bar(ProgressColumn):
        bar = BarColumn(bar_width=24)

        def render(self, task: Task) -> RenderableType:
            known = task.total is not None and not task.fields["mark"]
            return self.bar.render(task) if known else Text("")

    return RichProgress(
        Mark(),
        TextColumn("{task.description:<10}", markup=False),
        Seconds(),
        Bar(),
        TextColumn("{task.fields[detail]}", style="dim", markup=False),
        console=Console(stderr=True),
    )

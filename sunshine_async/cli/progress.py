"""Progress of a job at a terminal: a bar and a few figures, in lines that fit the width; or notes.

The figures stand in order of weight, and no figure is broken: a figure that doesn't fit begins a new
line. So a narrow terminal shows the same as a wide terminal, in more lines. Only the error of a
service that is gone is cut at the end of a line.
"""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sunshine_async.cli.streams import escape_controls
from sunshine_async.jobs.progress import Progress

_BAR: Final = 10  # columns at least
_NAME: Final = 24  # columns at most
_WIDE: Final = 60  # columns from which on the name of the file is shown
_GAP: Final = "  "
_SHORT: Final = 0.95  # seconds: a decimal is shown
_SLOW: Final = 10  # rows a second up to which a decimal is shown


def progress_figures(now: Progress) -> list[str]:
    """Return the figures of *now*, in order of weight."""
    if now.lines is not None:
        if now.lines_share is None:
            return [f"{now.lines:,} lines read"]
        return [f"{int(100 * now.lines_share)} % read", f"{now.lines:,} lines"]
    figures = [f"{now.rows:,} rows", f"{now.rate:,.{int(0 < now.rate < _SLOW)}f}/s"]
    if now.share is not None:
        figures.insert(0, f"{int(100 * now.share)} %")
    if now.left is not None and now.held is None:
        figures.append(f"{format_duration(now.left)} left")
    if now.not_done:
        figures.append(f"{now.not_done:,} not done")
    figures += wait_figures(now)
    if now.limit is not None:
        figures.append(f"at most {now.limit:,.{int(now.limit < _SLOW)}f} calls/s")
    if now.throttled:
        figures.append(f"{now.throttled:,} throttled")
    return [escape_controls(figure) for figure in figures]


def wait_figures(now: Progress) -> list[str]:
    """Return the reason why the job sends nothing now, in a list; an empty list if the job sends."""
    if now.held is not None:
        return [f"waiting for the service{': ' if now.held else ''}{now.held}"]
    return [f"asked to wait {format_duration(now.paused)}"] if now.paused else []


def fill_lines(figures: Sequence[str], width: int, first: int) -> list[str]:
    """Return *figures* in lines of *width* columns, of which the first line has *first* columns."""
    lines = [""]
    for figure in figures:
        longer = f"{lines[-1]}{_GAP}{figure}" if lines[-1] else figure
        if len(longer) <= (first if len(lines) == 1 else width):
            lines[-1] = longer
        else:
            lines.append(figure)
    return lines


class ProgressLines:
    """Lines for a terminal: the name, a bar and the first figures, then the further figures."""

    def __init__(self, name: str) -> None:
        self.now = Progress()
        self._name: Final = escape_controls(name)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give rich the lines for the width of now."""
        now, width = self.now, options.max_width
        name = Text(self._name if width >= _WIDE else "")
        name.truncate(_NAME, overflow="ellipsis")
        room = width - _BAR - len(_GAP) - name.cell_len - len(_GAP) * bool(name)
        first, *further = fill_lines(progress_figures(now), width, room)
        share = now.share if now.lines is None else now.lines_share
        line = Table.grid(expand=True, padding=(0, len(_GAP), 0, 0))
        cells = [name] * bool(name)
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        total = None if share is None else 1.0
        line.add_row(*cells, ProgressBar(total=total, completed=share or 0.0), Text(first))
        yield line
        for text in further:
            yield Text(text, no_wrap=True, overflow="ellipsis")


class ProgressDisplay:
    """Progress of a job: lines on a terminal that are drawn anew, or notes."""

    def __init__(
        self, note: Callable[[str], None], lines: ProgressLines, live: Live | None
    ) -> None:
        self._note: Final = note
        self._lines: Final = lines
        self._live: Final = live

    @property
    def interval(self) -> float:
        """Seconds between two updates."""
        return 10.0 if self._live is None else 0.1

    def update(self, now: Progress) -> None:
        """Show *now*."""
        if self._live is None:
            self._note(", ".join(progress_figures(now)))
            return
        self._lines.now = now
        self._live.refresh()

    def close(self) -> None:
        """Restore the terminal."""
        if self._live is not None:
            self._live.stop()


def format_duration(seconds: float) -> str:
    """Return *seconds* as ``0.4 s``, ``5 s``, ``2:05`` or ``1:02:05``."""
    if 0 < seconds < _SHORT:
        return f"{max(seconds, 0.01):.1g} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_latency(seconds: float) -> str:
    """Return the duration of a call as ``120 ms`` or ``1.5 s``."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"

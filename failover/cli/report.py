"""How the demo looks: a live line while it runs, a table when it has ended."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.table import Table

from failover.cli.progress import seconds_bar
from failover.cli.tally import Tally

__all__ = ["LiveLine", "table"]


class LiveLine:
    """Shows progress in one line on a terminal; elsewhere only what happens, a line each.

    Args:
        console: Where.
        seconds: How long it will take.
    """

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._progress = seconds_bar(console)
        self._task = self._progress.add_task("", total=seconds)
        self._shown = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line, above the live one if there is one."""
        self._console.print(text)

    def show(self, tally: Tally, elapsed: float) -> None:
        """Draw the live line anew, at most twenty times a second."""
        if self._progress.disable or 0 < elapsed - self._shown < 0.05:  # noqa: PLR2004  # seconds
            return
        self._shown = elapsed
        text = f"{tally.raised} raised, {tally.confirmed} confirmed, {tally.lost} lost, {tally.in_flight} in flight"
        self._progress.update(self._task, completed=elapsed, description=text, refresh=True)


def table(tally: Tally) -> Table:
    """The numbers of a run."""
    drawn = Table(title="What became of the events", title_justify="left", show_header=False)
    drawn.add_column()
    drawn.add_column(justify="right")
    drawn.add_row("raised", str(tally.raised))
    drawn.add_row("confirmed", str(tally.confirmed))
    for name, number in tally.confirmed_by.items():
        drawn.add_row(f"  by {name}", str(number))
    drawn.add_row("lost", str(tally.lost), style="bold red" if tally.lost else "bold green")
    drawn.add_row("possible duplicates, by the receipts", str(tally.possible_duplicates))
    drawn.add_row("processed twice, by the subscribers", str(tally.processed_twice))
    drawn.add_row("confirmed, but processed by nobody", str(tally.not_processed))
    drawn.add_row("moved on to another subscriber", str(len(tally.moved_on)))
    if tally.move_on_ms is not None:
        drawn.add_row("time to move on, median", f"{tally.move_on_ms[0]:.1f} ms")
        drawn.add_row("time to move on, longest", f"{tally.move_on_ms[1]:.1f} ms")
    return drawn

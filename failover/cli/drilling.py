"""How a drill looks in a terminal: a progress bar while it runs, and what came of it."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.table import Table

from failover.cli.progress import seconds_bar
from failover.cli.terminal import printable
from failover.drill.checks import Verdict
from failover.drill.recorder import Recorder
from failover.drill.result import LABELS, Result
from failover.outcome import Outcome
from failover.testing.checkers import Finding

__all__ = ["Bar", "show_result"]

_STEPS: Final = 100
_SHOWN: Final = 3  # findings of one check
_EVENTS: Final = 5  # events behind one finding


class Bar:
    """A progress bar on a terminal; elsewhere only what happens, a line each.

    Args:
        console: Where.
        seconds: How long the load lasts.
        quiet: Say nothing of what happens.
    """

    def __init__(self, console: Console, seconds: float, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._step = seconds / _STEPS
        self._shown = 0.0
        self._progress = seconds_bar(console)
        self._task = self._progress.add_task("", total=seconds)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self._quiet:
            self._console.print(text)

    def show(self, elapsed: float, recorder: Recorder) -> None:
        """Draw the bar anew, a hundred times in all."""
        if self._progress.disable or elapsed < self._shown + self._step:
            return
        self._shown = elapsed
        totals = recorder.totals
        lost = totals.ended - totals.confirmed
        under_way = totals.raised - totals.ended
        text = f"{totals.raised} raised, {totals.confirmed} confirmed, {lost} not, {under_way} under way"
        self._progress.update(self._task, completed=elapsed, description=text, refresh=True)


def show_result(console: Console, result: Result) -> None:
    """Print the numbers, the verdicts and what is behind them."""
    name = printable(result.drill.name)
    console.print(_numbers(result))
    console.print(_subscribers(result))
    for verdict in result.verdicts:
        word, style = _word(verdict)
        console.print(word, style=style, end=" ")
        said = verdict.skipped or verdict.shown
        console.print(printable(verdict.name.replace("_", " ") + (f": {said}" if said else "")))
        for finding in verdict.findings[:_SHOWN]:
            console.print(printable(f"       {_told(finding, result.recorder.began)}"))
        if len(verdict.findings) > _SHOWN:
            console.print(f"       and {len(verdict.findings) - _SHOWN} more")
    failed = sum(not verdict.holds for verdict in result.verdicts)
    skipped = sum(bool(verdict.skipped) for verdict in result.verdicts)
    judged = len(result.verdicts) - skipped
    unjudged = f", {skipped} not judged" if skipped else ""
    place = f"{result.drill.drill.on}, seed {result.drill.drill.seed}"
    if failed:
        console.print(f"{name}: {failed} of {judged} checks failed{unjudged} ({place})", style="bold red")
    else:
        console.print(f"{name}: all {judged} checks hold{unjudged} ({place})", style="bold green")


def _word(verdict: Verdict) -> tuple[str, str]:
    if verdict.skipped:
        return "not judged", "yellow"
    return ("ok", "green") if verdict.holds else ("FAILED", "bold red")


def _told(finding: Finding, began: float) -> str:
    behind = ", ".join(finding.events[:_EVENTS]) + (", …" if len(finding.events) > _EVENTS else "")
    events = f" (event {behind})" if behind else ""
    return f"at {finding.at - began:.3f} s: {finding.text}{events}"


def _numbers(result: Result) -> Table:
    drawn = Table(
        title=f"{printable(result.drill.name)}: what became of the events", title_justify="left", show_header=False
    )
    drawn.add_column()
    drawn.add_column(justify="right")
    for name, value in result.numbers().items():
        shown = f"{value * 1e3:.1f} ms" if isinstance(value, float) else "none" if value is None else str(value)
        drawn.add_row(LABELS[name], shown, style="bold red" if name == "not_confirmed" and value else None)
    return drawn


def _subscribers(result: Result) -> Table:
    rows = result.per_subscriber()
    outcomes = [one.value for one in Outcome if any(one.value in row["attempts"] for row in rows)]
    drawn = Table("subscriber", *outcomes, "processed", title="Attempts, by subscriber", title_justify="left")
    for column in drawn.columns[1:]:
        column.justify = "right"
    for row in rows:
        told = "not told" if row["processed"] is None else str(row["processed"])
        drawn.add_row(row["name"], *(str(row["attempts"].get(outcome, 0)) for outcome in outcomes), told)
    return drawn

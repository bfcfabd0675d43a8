"""The bar that runs along a stretch of time."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

__all__ = ["seconds_bar"]


def seconds_bar(console: Console) -> Progress:
    """A bar of seconds and of what happened so far; gone afterwards, and nothing at all where there is no terminal.

    Args:
        console: Where.
    """
    return Progress(
        TextColumn("{task.completed:.1f} of {task.total:.1f} s"),
        BarColumn(),
        TextColumn("{task.description}"),
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not console.is_terminal,
    )

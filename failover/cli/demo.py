"""`failover demo`: one of three real subscribers is killed and brought back, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from failover.cli.report import LiveLine, table
from failover.cli.tally import Tally
from failover.cli.terminal import FAILED, friendly, printable, show_json, stderr, stdout
from failover.cli.trial import Plan, run

__all__ = ["demo"]


def demo(
    *,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=3600, metavar="SECONDS", help="How long events are raised.")
    ] = 6.0,
    rate: Annotated[float, typer.Option(min=1, max=20_000, metavar="RATE", help="Events a second.")] = 500.0,
    subscribers: Annotated[
        int, typer.Option(min=1, max=16, metavar="N", help="How many; with 1, killing it must lose events.")
    ] = 3,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long each has to confirm.")] = 0.5,
    work: Annotated[
        float, typer.Option(min=0, max=1, metavar="SECONDS", help="How long a subscriber takes for an event.")
    ] = 0.003,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Kill a subscriber under load and see that nothing is lost.

    Starts three real subscribers, each a process of its own, and raises events
    at a steady rate to a group that fails over between them. After a third of
    the time the first one is killed, after two thirds it's brought back. Then
    the receipts are counted and compared with what the subscribers themselves
    say they have processed.

    Exit status:
      0  every event was confirmed, and processed by who confirmed it
      1  something was lost, or a subscriber could not be started
      2  an option is wrong

    Examples:
      failover demo
      failover demo --seconds 20 --rate 2000
      failover demo --subscribers 1
      failover demo --json
    """
    console = stderr()
    with friendly():
        plan = Plan(seconds=seconds, rate=rate, subscribers=subscribers, timeout=timeout, work=work)
        with LiveLine(console, seconds) as line:
            tally = asyncio.run(run(plan, line))
    if as_json:
        show_json(tally.to_dict())
    else:
        _show(tally)
    raise typer.Exit(0 if tally.good else FAILED)


def _show(tally: Tally) -> None:
    console = stdout()
    console.print()
    console.print(table(tally))
    if tally.example is not None:
        console.print("\nThe receipt of an event that moved on:\n")
        console.print(printable(tally.example.explain()))
    if tally.good:
        console.print(f"\nNothing was lost: all {tally.raised} events were confirmed, and processed by who confirmed.")
    else:
        console.print(f"\n{tally.lost} events were lost; {tally.not_processed} were confirmed but not processed.")

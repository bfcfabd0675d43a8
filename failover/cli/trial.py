"""What the demo does: events at a steady rate, while the first subscriber is killed and brought back."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Final, Protocol

from attrs import field, frozen

from failover.cli.processes import Process
from failover.cli.tally import Tally
from failover.event import Event
from failover.group import Group
from failover.sink import check_seconds
from failover.sinks.jsonrpc import jsonrpc
from failover.strategies.failover import Failover

__all__ = ["Plan", "Progress", "run"]

_IN_FLIGHT: Final = 4096  # what is due beyond that waits: the machine is too slow for the rate
_TICK: Final = 0.1  # seconds; progress is told at least that often


def _seconds(_: object, attribute: object, value: float) -> None:
    check_seconds(getattr(attribute, "name", ""), value)


@frozen(kw_only=True)
class Plan:
    """What to do.

    Args:
        seconds: How long events are raised; the first subscriber is killed after a third of it and back after two.
        rate: Events a second.
        subscribers: How many; with one, killing it loses events.
        timeout: Seconds for one attempt.
        work: Seconds that a subscriber takes to process an event.

    Raises:
        ConfigError: a time that isn't positive.
    """

    seconds: float = field(validator=_seconds)
    rate: float
    subscribers: int
    timeout: float = field(validator=_seconds)
    work: float

    @property
    def quarantine(self) -> float:
        """Seconds for which a failed subscriber is left alone: short, so that its return is seen."""
        return self.seconds / 12


class Progress(Protocol):
    """Who is told how it goes."""

    def say(self, text: str) -> None:
        """Something happened."""

    def show(self, tally: Tally, elapsed: float) -> None:
        """The counts as they are, `elapsed` seconds after the beginning."""


async def run(plan: Plan, progress: Progress) -> Tally:
    """Do it, and check what is said to be confirmed against the subscribers' own accounts.

    Raises:
        OSError: a subscriber could not be started, or not be brought back.
    """
    processes = [Process(f"subscriber {number}", plan.work) for number in range(1, plan.subscribers + 1)]
    tally = Tally(confirmed_by=Counter({process.name: 0 for process in processes}))
    try:
        async with AsyncExitStack() as stack:
            for process in processes:
                stack.push_async_callback(process.stop)
            async with asyncio.TaskGroup() as tasks:
                for process in processes:
                    tasks.create_task(process.start())
            for process in processes:
                progress.say(f"{process.name} listens on {process.socket}")
            await _deliver(plan, processes, tally, progress)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    tally.check({process.name: process.processed for process in processes})
    return tally


async def _deliver(plan: Plan, processes: list[Process], tally: Tally, progress: Progress) -> None:
    """Deliver to a group of these subscribers while something happens to the first of them."""
    sinks = [jsonrpc(process.socket, name=process.name, timeout=plan.timeout) for process in processes]
    async with Group("demo", Failover(*sinks, quarantine=plan.quarantine)) as group, asyncio.TaskGroup() as tasks:
        tasks.create_task(_interfere(plan, processes[0], progress))
        await _raise_events(plan, group, tally, progress, tasks)


async def _raise_events(plan: Plan, group: Group, tally: Tally, progress: Progress, tasks: asyncio.TaskGroup) -> None:
    """Raise each event when it's due, whatever became of the ones before it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    total = max(1, round(plan.seconds * plan.rate))

    async def deliver(number: int) -> None:
        tally.count(number, await group.deliver(Event("E_DEMO", {"number": number})))

    while tally.raised < total:
        elapsed = loop.time() - began
        due = min(total, int(elapsed * plan.rate) + 1, tally.raised + _IN_FLIGHT - tally.in_flight)
        for number in range(tally.raised, due):
            tasks.create_task(deliver(number))
            tally.raised += 1
        progress.show(tally, elapsed)
        await asyncio.sleep(min(_TICK, max(0.001, began + tally.raised / plan.rate - loop.time())))


async def _interfere(plan: Plan, process: Process, progress: Progress) -> None:
    """Kill a subscriber and bring it back."""
    await asyncio.sleep(plan.seconds / 3)
    await process.kill()
    progress.say(f"{process.name} killed")
    await asyncio.sleep(plan.seconds / 3)
    await process.start()
    progress.say(f"{process.name} is back")

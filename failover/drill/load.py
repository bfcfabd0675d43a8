"""The load of a drill: events at their time, whatever became of the ones before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from failover.drill.plan import Drill
from failover.drill.recorder import Recorder
from failover.group import Group

__all__ = ["raise_events"]

_TICK: Final = 0.1  # seconds; progress is told at least that often


async def raise_events(
    drill: Drill, *, group: Group, recorder: Recorder, rng: Random, prefix: str, show: Callable[[float], object]
) -> None:
    """Raise all events of a drill and wait until each has its receipt.

    Args:
        drill: What it says of the load.
        group: Where they go.
        recorder: Is told of each.
        rng: For arrivals at random.
        prefix: What the events' ids begin with.
        show: Called with the seconds that have passed, now and then.
    """
    load = drill.load
    loop = asyncio.get_running_loop()
    began = recorder.began
    calls = [asyncio.Lock() for _ in range(load.keys)]
    free = asyncio.Semaphore(load.in_flight)

    async def deliver(number: int) -> None:
        try:
            if calls:
                async with calls[number % len(calls)]:
                    await _deliver(drill, group, recorder, number, prefix)
            else:
                await _deliver(drill, group, recorder, number, prefix)
        finally:
            free.release()

    async with asyncio.TaskGroup() as tasks:
        for number, due in enumerate(_times(drill, rng), 1):
            while (left := began + due - loop.time()) > 0:
                await asyncio.sleep(min(left, _TICK))
                show(loop.time() - began)
            await free.acquire()
            tasks.create_task(deliver(number))
        while (left := began + drill.drill.duration - loop.time()) > 0:
            await asyncio.sleep(min(left, _TICK))
            show(loop.time() - began)


def _times(drill: Drill, rng: Random) -> Iterator[float]:
    """When each event is due, seconds after the beginning."""
    at = 0.0
    for number in range(drill.events):
        if drill.load.arrivals == "steady":
            yield number / drill.load.rate
        else:
            at += rng.expovariate(drill.load.rate)
            if at >= drill.drill.duration:
                return
            yield at


async def _deliver(drill: Drill, group: Group, recorder: Recorder, number: int, prefix: str) -> None:
    load = drill.load
    params: dict[str, Any] = {**load.params, "number": number}
    key = ""
    if load.keys:
        key = params["key"] = f"call-{number % load.keys}"
    if load.poison_every and number % load.poison_every == 0:
        params["poison"] = True
    event = recorder.event(load.event, params, id=f"{prefix}{number}")
    within = drill.group.within
    now = asyncio.get_running_loop().time()
    recorder.raised(event, now, deadline=None if within is None else now + within, key=key)
    await group.deliver(event, within=within)

"""What peers cost that do nothing useful: one that is a black hole, and 10,000 that are idle."""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import time
from typing import Any, Final

from attrs import frozen

from failover import ConnectionOptions, Event, Group, jsonrpc
from failover.strategies import Failover, Parallel
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.processes import BenchmarkError, Subscriber
from tests.benchmarks.race import Result, Settings
from tests.benchmarks.sheet import Bound, Sheet, work

__all__ = ["BlackHole", "Idle", "main", "opened_sinks"]

_CALLERS: Final = 64
_SPARE_FILES: Final = 100
_SETTLED: Final = 0.6  # seconds after which a first connect to a black hole has been given up
_SLICE: Final = 0.4
_WINDOW: Final = ConnectionOptions(in_flight=_CALLERS)
_PATIENT: Final = ConnectionOptions(connect_timeout=60.0)  # thousands of connects at once take their time


@frozen
class BlackHole:
    """What a black-holed peer costs a healthy one: as a neighbour, and as the first choice of its own group."""

    name: str = "black-hole"
    title: str = "A healthy peer, 64 in flight: what a black-holed one costs it"

    def run(self, settings: Settings) -> Result:
        """Measure in pairs of slices with and without, whose order changes."""
        columns = ("% of throughput", "least", "most", "% of cpu per event")
        sheet = Sheet(self.name, columns)
        pairs = 20 if settings.seconds >= 1 else 2
        for case, name in (
            ("beside", "64 callers wait for it in another group"),
            ("first", "it is the first of the group, quarantined"),
        ):
            settings.say(f"{self.name}: {case}")
            with Subscriber() as healthy, Subscriber("--black-hole") as hole:
                found = work("bystanders", "black-hole", [healthy.port, hole.port, case, pairs])
            cost = found["throughput"]
            figures = [statistics.median(cost), min(cost), max(cost), statistics.median(found["cpu"])]
            # Its core is busy all the time: processor time per event is throughput, without what other programs took.
            bounds = (Bound(columns[3], 1.0),) if case == "beside" else ()
            sheet.add(name, dict(zip(columns, figures, strict=True)), *bounds, raw=found)
        return sheet.result


@frozen
class Idle:
    """What 10,000 idle connections cost: a share of a core, alone and while another connection works."""

    name: str = "idle"
    title: str = "10,000 idle connections"

    def run(self, settings: Settings) -> Result:
        """Measure, with as many connections as this process may open if that is less."""
        sheet = Sheet(self.name, ("% of a core",), digits=3)
        count = min(
            10_000 if settings.seconds >= 1 else 2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _SPARE_FILES
        )
        settings.say(f"{self.name}: {count} connections")
        with Subscriber() as subscriber, Subscriber() as busy:
            found = work(
                "bystanders", "idle", [subscriber.port, busy.port, count, 3.0 * min(settings.seconds, 1.0)], timeout=120
            )
            opened = subscriber.finish()["connections"]
            if opened != count:
                raise BenchmarkError(f"{opened} connections were opened, not {count}")
        sheet.add(f"{count:,} idle", {"% of a core": found["idle"]}, Bound("% of a core", 1.0), raw=found)
        sheet.add(
            "more for 100 events/s on another",
            {"% of a core": found["busy_beside"] - found["busy_alone"]},
            Bound("% of a core", 1.0),
        )
        sheet.add("those 100 events/s by themselves", {"% of a core": found["busy_alone"]})
        return sheet.result


def opened_sinks(port: int, count: int) -> Group:
    """A group of so many sinks, each with a connection of its own to the same subscriber."""
    sinks = (
        jsonrpc(f"127.0.0.1:{port}", name=f"{at}", dedicated=True, options=_PATIENT, timeout=60) for at in range(count)
    )
    return Group("idle", Parallel(*sinks))


async def _black_hole(healthy: int, hole: int, case: str, pairs: int) -> dict[str, list[float]]:
    """Percent lost in each pair of slices."""
    event = Event(METHOD, request_params())
    found: dict[str, list[float]] = {"throughput": [], "cpu": []}
    sinks = {
        name: lambda port=port, name=name: jsonrpc(f"127.0.0.1:{port}", name=name, options=_WINDOW)
        for name, port in (("healthy", healthy), ("hole", hole))
    }

    async def again(group: Group) -> None:
        while True:
            await group.deliver(event)
            counts[group.name] += 1

    async def work_on(group: Group) -> list[asyncio.Task[None]]:
        await group.open()
        return [asyncio.create_task(again(group)) for _ in range(_CALLERS)]

    async def stop(group: Group, callers: list[asyncio.Task[None]]) -> None:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await group.aclose()

    async def measured(*, holed: bool) -> tuple[float, float]:
        beside = Group("beside", Failover(sinks["hole"](), quarantine=0))
        names = ["hole", "healthy"] if holed and case == "first" else ["healthy", "hole"]
        if case == "beside":
            names.remove("hole")
        group = Group("healthy", Failover(*(sinks[name]() for name in names)))
        waiting = await work_on(beside) if holed and case == "beside" else []
        working = await work_on(group)
        await asyncio.sleep(_SETTLED)
        before, began, used = counts["healthy"], time.perf_counter(), time.process_time()
        await asyncio.sleep(_SLICE)
        done = counts["healthy"] - before
        took, used = time.perf_counter() - began, time.process_time() - used
        await stop(beside, waiting)
        await stop(group, working)
        return done / took, used / done

    counts = {"healthy": 0, "beside": 0}
    for turn in range(pairs):
        slices = {holed: await measured(holed=holed) for holed in ((False, True) if turn % 2 else (True, False))}
        found["throughput"].append(100 * (1 - slices[True][0] / slices[False][0]))
        found["cpu"].append(100 * (slices[True][1] / slices[False][1] - 1))
    return found


async def _idle(port: int, busy: int, count: int, seconds: float) -> dict[str, float]:
    """Percent of a core."""
    event = Event(METHOD, request_params())

    async def share(group: Group | None) -> float:
        used, end = time.process_time(), time.perf_counter() + seconds
        while group is not None and time.perf_counter() < end:
            assert (await group.deliver(event)).confirmed
            await asyncio.sleep(0.01)
        await asyncio.sleep(max(0.0, end - time.perf_counter()))
        return 100 * (time.process_time() - used) / seconds

    async with Group("busy", Failover(jsonrpc(f"127.0.0.1:{busy}"))) as other:
        await other.deliver(event)
        busy_alone = await share(other)
        async with opened_sinks(port, count) as group:
            receipt = await group.deliver(event)  # once over each, so that all of them work
            assert receipt.confirmed, receipt.explain()[:1000]
            await asyncio.sleep(0.1)
            return {"idle": await share(None), "busy_beside": await share(other), "busy_alone": busy_alone}


def main() -> None:
    """Measure one case and print the figures."""
    case, arguments = sys.argv[1], json.loads(sys.argv[2])
    run: Any = _black_hole if case == "black-hole" else _idle
    print(json.dumps(asyncio.run(run(*arguments))))


if __name__ == "__main__":
    main()

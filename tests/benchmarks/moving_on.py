"""Time to move on: from a reset until the second socket has confirmed all, and from a timeout until it is seen."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from failover import ConnectionOptions, Event, Group, Outcome, Receipt, jsonrpc
from failover.strategies import Failover
from tests.benchmarks.ours import loop_factory
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.processes import Subscriber
from tests.benchmarks.race import Result, Settings
from tests.benchmarks.sheet import Bound, Sheet, work

__all__ = ["Reset", "Silence", "main"]

_IN_FLIGHT: Final = 64
_CONNECTING: Final = 0.03  # seconds; what connects on the loopback interface has connected by then
_STAGGERED: Final = 0.05  # seconds over which events of the mixed case begin


@frozen
class Reset:
    """After a reset with 64 in flight: milliseconds until all are confirmed by the second socket, which is warm."""

    name: str = "reset"
    title: str = "Milliseconds from a reset with 64 in flight until all are confirmed by the (warm) second socket"

    def run(self, settings: Settings) -> Result:
        """Measure, a fresh group for each reset."""
        sheet = Sheet(self.name, ("median ms", "least ms", "p90 ms", "worst ms"))
        rounds = 25 if settings.seconds >= 1 else 6
        for case in ("await asyncio", "await uvloop", "many asyncio", "many uvloop"):
            mode, loop = case.split()
            settings.say(f"{self.name}: {case}")
            held = ("--silent-after", "0", "--reset-held", str(_IN_FLIGHT))
            with Subscriber(*held) as first, Subscriber() as second:
                ended = work("moving_on", "reset", [first.port, second.port], mode, loop, [rounds])["ended"]
                took = sorted((at - first.wait_reset()) / 1e6 for at in ended)
            figures = {
                "median ms": statistics.median(took),
                "least ms": took[0],
                "p90 ms": took[int(0.9 * (len(took) - 1))],
                "worst ms": took[-1],
            }
            sheet.add(case, figures, Bound("median ms", 1.0), raw=took)
        return sheet.result


@frozen
class Silence:
    """After silence: by how many milliseconds the timeout is overshot, seen by whoever awaits the receipt."""

    name: str = "silence"
    title: str = "Milliseconds from the timeout until the caller has the receipt that says so (negative: early)"

    def run(self, settings: Settings) -> Result:
        """Measure."""
        sheet = Sheet(self.name, ("least ms", "median ms", "worst of a round ms", "worst ms"))
        rounds = 5 if settings.seconds >= 1 else 2
        cases: dict[str, tuple[list[float], int, float]] = {
            "1 in flight": ([0.1], 1, 0.0),
            "64 in flight": ([0.1], 64, 0.0),
            "1,024 in flight": ([0.1], 1024, 0.0),
            "1,024 in flight, not begun at once": ([0.1], 1024, _STAGGERED),
            "four timeouts, 256 each": ([0.1, 0.12, 0.2, 0.25], 256, _STAGGERED),
        }
        for case, (timeouts, each, spread) in cases.items():
            settings.say(f"{self.name}: {case}")
            with Subscriber("--silent-after", "0") as subscriber:
                late: list[list[float]] = work(
                    "moving_on", "silence", [subscriber.port], timeouts, [each, rounds], [spread]
                )["late_ms"]
            every = [one for turn in late for one in turn]
            figures = {
                "least ms": min(every),
                "median ms": statistics.median(every),
                "worst of a round ms": statistics.median(max(turn) for turn in late),
                "worst ms": max(every),
            }
            bounds = Bound("least ms", float("inf"), 0.0), Bound("worst of a round ms", 10.0)
            sheet.add(case, figures, *bounds, raw=[[min(turn), max(turn)] for turn in late])
        return sheet.result


async def _reset(ports: list[int], mode: str, rounds: int) -> dict[str, Any]:
    """Deliver 64 events to a socket that takes them and resets the connection; say when all were confirmed."""
    ended: list[int] = []
    first, second = (f"127.0.0.1:{port}" for port in ports)
    events = [Event(METHOD, request_params()) for _ in range(_IN_FLIGHT)]
    confirmed: list[int] = []

    async def timed(group: Group, event: Event) -> Receipt:
        receipt = await group.deliver(event)
        confirmed.append(time.perf_counter_ns())
        return receipt

    async with Group("warm", jsonrpc(second)) as warm:  # keeps its connection while the groups come and go
        await warm.deliver(events[0])
        for _ in range(rounds):
            async with Group("moving on", Failover(jsonrpc(first), jsonrpc(second))) as group:
                await asyncio.sleep(_CONNECTING)
                if mode == "many":
                    receipts: Sequence[Receipt] = await group.deliver_many(events)
                else:
                    async with asyncio.TaskGroup() as tasks:
                        delivered = [tasks.create_task(timed(group, event)) for event in events]
                    receipts = [task.result() for task in delivered]
                ended.append(max(confirmed, default=0) or time.perf_counter_ns())
                confirmed.clear()
            for receipt in receipts:
                outcomes = [attempt.outcome for attempt in receipt.attempts]
                assert outcomes == [Outcome.UNCONFIRMED, Outcome.CONFIRMED], receipt.explain()
    return {"ended": ended}


async def _silence(port: int, timeouts: list[float], each: int, rounds: int, spread: float) -> dict[str, Any]:
    """Deliver to a silent socket and say, event by event, how long after its timeout the receipt was there."""
    options = ConnectionOptions(in_flight=len(timeouts) * each)
    late: list[list[float]] = []
    chance = random.Random(1)
    event = Event(METHOD, request_params())
    sinks = [jsonrpc(f"127.0.0.1:{port}", name=f"{one:g} s", timeout=one, options=options) for one in timeouts]
    groups = [Group(sink.name, Failover(sink, quarantine=0)) for sink in sinks]

    async def one(group: Group, timeout: float) -> float:
        await asyncio.sleep(chance.random() * spread)
        began = time.perf_counter_ns()
        receipt = await group.deliver(event)
        took = time.perf_counter_ns() - began
        assert receipt.outcome is Outcome.UNCONFIRMED, receipt.explain()
        return took / 1e6 - timeout * 1e3

    for group in groups:
        await group.open()
    await asyncio.sleep(_CONNECTING)
    for _ in range(rounds):
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(one(group, timeout))
                for group, timeout in zip(groups, timeouts, strict=True)
                for _ in range(each)
            ]
        late.append([task.result() for task in running])
    for group in groups:
        await group.aclose()
    return {"late_ms": late}


def main() -> None:
    """Measure one case against the subscribers of these ports and print the figures."""
    case, *arguments = sys.argv[1:]
    if case == "reset":
        ports, mode, loop, (rounds,) = json.loads(arguments[0]), arguments[1], arguments[2], json.loads(arguments[3])
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            print(json.dumps(runner.run(_reset(ports, mode, rounds))))
    else:
        (port,), timeouts, (each, rounds), (spread,) = map(json.loads, arguments)
        print(json.dumps(asyncio.run(_silence(port, timeouts, each, rounds, spread))))


if __name__ == "__main__":
    main()

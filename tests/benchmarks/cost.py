"""What an event costs in processor time: against children, nesting, connections and the size of its params."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

from attrs import frozen

from failover import ConnectionOptions, Event, Group, jsonrpc
from failover.strategies import Failover, Parallel, RoundRobin
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.processes import Subscriber
from tests.benchmarks.race import Result, Settings
from tests.benchmarks.sheet import Sheet, work

__all__ = ["COSTS", "PATIENT", "Cost", "main", "per_event"]

_WINDOW: Final = 64
_SLICE: Final = 0.12  # seconds
PATIENT: Final = ConnectionOptions(in_flight=_WINDOW, connect_timeout=60.0)
"""A connection for what is measured: it takes as many as are under way, and has time."""
_EACH: Final = 10_000  # a fan-out's slice ends after so many attempts at the latest


@frozen
class Cost:
    """One table: cases that differ in one number, measured in interleaved slices in one process.

    Args:
        name: For ``--only`` and the JSON.
        title: Over the table.
        kinds: What is varied, by the names that `group_of` knows.
        steps: The numbers.
        quick: Those of them that a quick look takes.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    steps: tuple[int, ...]
    quick: tuple[int, ...]

    def run(self, settings: Settings) -> Result:
        """Measure."""
        full = settings.seconds >= 1
        steps = self.steps if full else self.quick
        sheet = Sheet(self.name, tuple(f"{step:,}" for step in steps))
        for kind in self.kinds:
            settings.say(f"{self.name}: {kind}")
            with Subscriber() as first, Subscriber() as second:
                ports = [first.port, second.port]
                found: dict[str, list[float]] = work("cost", kind, ports, steps, [7 if full else 2], timeout=120)
            figures = {f"{int(step):,}": statistics.median(slices) for step, slices in found.items()}
            sheet.add(kind, figures, raw=found)
        return sheet.result


COSTS: Final = (
    Cost(
        "children",
        "Microseconds of processor time per event against the number of children (Parallel: per child)",
        ("Failover", "Failover, all but the last quarantined", "RoundRobin", "Parallel"),
        (3, 10, 100, 1000),
        (3, 100),
    ),
    Cost(
        "nesting",
        "Microseconds per event against the levels of Failover around a socket (0: a group of the bare socket)",
        ("levels", "levels, deliver_many"),
        (0, 1, 2, 3, 4, 5),
        (0, 5),
    ),
    Cost(
        "connections",
        "Microseconds per event against the number of connections it is spread over",
        ("connections",),
        (1, 10, 100, 1000, 10_000),
        (1, 1000),
    ),
    Cost(
        "params",
        "Microseconds per event against bytes of params",
        ("bytes", "bytes, deliver_many"),
        (60, 256, 1024, 4096, 16_384, 65_536),
        (60, 65_536),
    ),
)


def group_of(kind: str, step: int, ports: list[int]) -> Group:
    """The group of one case."""
    first, second = (f"127.0.0.1:{port}" for port in ports)

    def children(count: int, *, dedicated: bool = False) -> Iterable[Any]:
        return (jsonrpc(first, name=f"{at}", options=PATIENT, dedicated=dedicated, timeout=60) for at in range(count))

    match kind:
        case "Failover" | "Failover, all but the last quarantined":
            tree: Any = Failover(*children(step))
        case "RoundRobin":
            tree = RoundRobin(*children(step))
        case "Parallel":
            tree = Parallel(*children(step))
        case "connections":
            tree = RoundRobin(*children(step, dedicated=True))
        case "levels" | "levels, deliver_many":
            tree = jsonrpc(first, options=PATIENT)
            for level in range(step):
                other = jsonrpc(second, name=f"other {level}", options=PATIENT)
                tree = Failover(tree, other, name=f"level {level}")
        case _:
            tree = Failover(jsonrpc(first, options=PATIENT), jsonrpc(second, options=PATIENT))
    return Group(f"{kind} {step}", tree)


async def per_event(
    group: Group, fresh: Callable[[], Event], *, many: bool = False, most: int = _EACH, seconds: float = _SLICE
) -> float:
    """Microseconds of this process's time per event.

    Args:
        group: Delivers them, so many at a time as a window has.
        fresh: Makes one.
        many: Whether by `deliver_many`.
        most: After so many it is enough.
        seconds: And after so long.
    """
    count = 0
    end = time.perf_counter() + seconds

    async def one_by_one() -> None:
        nonlocal count
        while count < most and time.perf_counter() < end:
            count += 1
            receipt = await group.deliver(fresh())
            assert receipt.confirmed, receipt.explain()[:1000]

    used = time.process_time()
    if many:
        while time.perf_counter() < end:
            receipts = await group.deliver_many([fresh() for _ in range(4 * _WINDOW)])
            assert all(receipt.confirmed for receipt in receipts)
            count += len(receipts)
    else:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_WINDOW, most)):
                tasks.create_task(one_by_one())
    return (time.process_time() - used) / count * 1e6


async def _run(kind: str, ports: list[int], steps: list[int], rounds: int) -> dict[int, list[float]]:
    many = kind.endswith("deliver_many")
    found: dict[int, list[float]] = {step: [] for step in steps}
    async with AsyncExitStack() as stack:
        groups: dict[int, Group] = {}
        events: dict[int, Callable[[], Event]] = {}
        for step in steps:
            params = request_params(step if kind.startswith("bytes") else 64)
            events[step] = lambda params=params: Event(METHOD, params)
            groups[step] = await stack.enter_async_context(group_of(kind, step, ports))
            for _ in range(step if kind == "connections" else 1):  # every connection is made before it is measured
                assert (await groups[step].deliver(events[step]())).confirmed
            if kind.endswith("quarantined"):
                strategy: Any = groups[step].sink
                for child in strategy.children[:-1]:
                    strategy.take_out(child, 3600.0, "benchmark", asyncio.get_running_loop().time())
        for turn in range(rounds):
            for step in steps if turn % 2 else reversed(steps):
                each = step if kind == "Parallel" else 1
                took = await per_event(groups[step], events[step], many=many, most=max(_EACH // each, 1))
                found[step].append(took / each)
    return found


def main() -> None:
    """Measure one row and print the figures."""
    kind, (ports, steps, (rounds,)) = sys.argv[1], map(json.loads, sys.argv[2:])
    print(json.dumps(asyncio.run(_run(kind, ports, steps, rounds))))


if __name__ == "__main__":
    main()

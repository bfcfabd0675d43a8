"""What those who observe cost per event that is confirmed at once: nobody, a function, each adapter, all of them."""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog
from attrs import frozen
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client import CollectorRegistry

from failover import Event, Group, jsonrpc
from failover.adapters.log import Log
from failover.adapters.otel import Traces
from failover.adapters.prometheus import Metrics
from failover.adapters.structlog import StructLog
from failover.records import Observer
from failover.strategies import Failover
from tests.benchmarks.cost import PATIENT, per_event
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.processes import Subscriber
from tests.benchmarks.race import Result, Settings
from tests.benchmarks.sheet import Sheet, work

__all__ = ["CASES", "NONE", "Observers", "main"]

NONE: Final = "nobody"
_US: Final = "us"
_MORE: Final = "us more"
_OF_NONE: Final = "x nobody"


def _nobody() -> Sequence[Observer]:
    return ()


def _log() -> Observer:
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    return Log(logger)


def _traces(sampler: Sampler) -> Observer:
    return Traces(TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("benchmark"))


CASES: Final[Mapping[str, Callable[[], Sequence[Observer]]]] = {
    NONE: _nobody,
    "a function that does nothing": lambda: [lambda _: None],
    "Log, at INFO": lambda: [_log()],
    "StructLog, at INFO": lambda: [StructLog(structlog.get_logger())],
    "Metrics": lambda: [Metrics(CollectorRegistry())],
    "Traces, sampled out": lambda: [_traces(ALWAYS_OFF)],
    "Traces, recorded, not exported": lambda: [_traces(ALWAYS_ON)],
    "Log, Metrics and Traces": lambda: [_log(), Metrics(CollectorRegistry()), _traces(ALWAYS_ON)],
}


@frozen
class Observers:
    """The section; differences and ratios are taken within a round, and their median is shown."""

    name: str = "observers"
    title: str = "Microseconds of processor time per event, by who observes the group"

    def run(self, settings: Settings) -> Result:
        """Measure all cases in one process."""
        full = settings.seconds >= 1
        settings.say(f"{self.name}: {len(CASES)} of them")
        with Subscriber() as first, Subscriber() as second:
            ports = [first.port, second.port]
            found: dict[str, list[float]] = work("observers", ports, [0.1 if full else 0.02, 9 if full else 2])
        sheet = Sheet(self.name, (_US, _MORE, _OF_NONE))
        for name, took in found.items():
            pairs = list(zip(took, found[NONE], strict=True))
            figures = {
                _US: statistics.median(took),
                _MORE: statistics.median(one - none for one, none in pairs),
                _OF_NONE: statistics.median(one / none for one, none in pairs),
            }
            sheet.add(name, figures, raw=took)
        return sheet.result


async def _run(ports: Sequence[int], seconds: float, rounds: int) -> dict[str, list[float]]:
    params = request_params()
    found: dict[str, list[float]] = {name: [] for name in CASES}
    async with AsyncExitStack() as stack:
        groups: dict[str, Group] = {}
        for name, observers in CASES.items():
            sinks = (jsonrpc(f"127.0.0.1:{port}", options=PATIENT, timeout=60) for port in ports)
            group = Group(name, Failover(*sinks), observers=observers())
            groups[name] = await stack.enter_async_context(group)
            assert (await group.deliver(Event(METHOD, params))).confirmed
        for turn in range(rounds):
            for name in CASES if turn % 2 else reversed(CASES):
                found[name].append(
                    await per_event(groups[name], lambda: Event(METHOD, params), most=sys.maxsize, seconds=seconds)
                )
    return found


def main() -> None:
    """Measure all cases and print the figures."""
    ports, (seconds, rounds) = map(json.loads, sys.argv[1:])
    print(json.dumps(asyncio.run(_run(ports, seconds, rounds))))


if __name__ == "__main__":
    main()

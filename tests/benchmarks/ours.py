"""This framework under the same load: a Failover group of two, with receipts, quarantine and counters on."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable

from failover import ConnectionOptions, Event, Group, Outcome, jsonrpc
from failover.strategies import Failover
from tests.benchmarks.pacing import paced
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.recorder import Recorder

__all__ = ["arguments", "event_source", "group_of", "loop_factory", "main"]

_CONFIRMED = Outcome.CONFIRMED
_WINDOWS = 4  # a batch is so many times what may be in flight


def group_of(ports: list[int], window: int, busy_poll: int = 64) -> Group:
    """A Failover group over these ports of the loopback interface, each with a window of its own."""
    options = ConnectionOptions(in_flight=max(window, 1), busy_poll=busy_poll)
    return Group("benchmark", Failover(*(jsonrpc(f"127.0.0.1:{port}", options=options) for port in ports)))


def event_source(size: int, *, premade: bool) -> Callable[[], Event]:
    """What gives the next event: one made for each delivery, as users do, or the same one again and again."""
    params = request_params(size)
    if premade:
        event = Event(METHOD, params)
        return lambda: event
    return lambda: Event(METHOD, params)


async def _one_by_one(group: Group, recorder: Recorder, fresh: Callable[[], Event], window: int) -> None:
    """Keep `window` deliveries under way, each in a task of its own."""
    clock = time.perf_counter_ns
    deliver = group.deliver
    record = recorder.record

    async def worker() -> None:
        while recorder.going:
            began = clock()
            recorder.sent += 1
            receipt = await deliver(fresh())
            record(clock() - began)
            recorder.answered += 1
            if receipt.outcome is not _CONFIRMED:
                recorder.lost += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(window):
            tasks.create_task(worker())


async def _batches(group: Group, recorder: Recorder, fresh: Callable[[], Event], window: int) -> None:
    """Deliver batches, in which the connection keeps `window` under way."""
    while recorder.going:
        began = time.perf_counter_ns()
        receipts = await group.deliver_many([fresh() for _ in range(window * _WINDOWS)])
        took = (time.perf_counter_ns() - began) // _WINDOWS  # what one window of it took
        recorder.latencies.extend([took] * len(receipts))
        recorder.sent += len(receipts)
        recorder.answered += len(receipts)
        recorder.lost += sum(receipt.outcome is not _CONFIRMED for receipt in receipts)


async def _on_schedule(group: Group, recorder: Recorder, fresh: Callable[[], Event], rate: float) -> None:
    """Begin deliveries when they are due, whatever became of the ones before."""
    async with asyncio.TaskGroup() as tasks:

        async def one(due: int) -> None:
            receipt = await group.deliver(fresh())
            recorder.record(time.perf_counter_ns() - due)
            recorder.answered += 1
            recorder.lost += receipt.outcome is not _CONFIRMED

        def start(due: int) -> None:
            recorder.sent += 1
            tasks.create_task(one(due))

        await paced(rate, start, lambda: recorder.going)


async def _run(options: argparse.Namespace) -> Recorder:
    fresh = event_source(options.size, premade=options.premade)
    window = 0 if options.rate else options.window
    recorder = Recorder(options.name, window=window, rate=options.rate, size=options.size)
    loop = asyncio.get_running_loop()
    async with group_of(options.ports, options.window if window else 1024, options.busy_poll) as group:
        await group.deliver(fresh())  # connected from here on, as the other contenders are
        recorder.begin()
        timers = [loop.call_later(options.warmup, recorder.begin)]
        timers.append(loop.call_later(options.warmup + options.seconds, recorder.end))
        if options.rate:
            await _on_schedule(group, recorder, fresh, options.rate)
        elif options.mode == "many":
            await _batches(group, recorder, fresh, window)
        else:
            await _one_by_one(group, recorder, fresh, window)
        recorder.end()
        for timer in timers:
            timer.cancel()
    return recorder


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all of our own contenders share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--ports", type=lambda text: [int(port) for port in text.split(",")], required=True)
    parser.add_argument("--name", default="ours")
    parser.add_argument("--premade", action="store_true", help="make the event once, not for each delivery")
    parser.add_argument("--busy-poll", type=int, default=64, help="turns of the loop after a write without sleeping")
    parser.add_argument("--window", type=int, default=64, help="requests in flight")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warmup", type=float, default=0.1, help="seconds left out of the figures")
    parser.add_argument("--size", type=int, default=64, help="bytes of params")
    return parser


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a loop of this kind: asyncio's own, or uvloop's."""
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def main() -> None:
    """Run against two subscribers and print the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--mode", choices=("await", "many"), default="await")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--rate", type=float, default=0.0, help="instead of a window: requests per second")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        print(runner.run(_run(options)).report())


if __name__ == "__main__":
    main()

"""This framework under the same load: a Failover group of two, with receipts, quarantine and counters on."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable

from failover import ConnectionOptions, Event, Group, Receipt, jsonrpc
from failover.strategies import Failover
from tests.benchmarks.pacing import paced
from tests.benchmarks.payload import METHOD, request_params
from tests.benchmarks.recorder import Recorder

__all__ = ["group_of", "main", "takes"]


def group_of(ports: list[int], window: int) -> Group:
    """A Failover group over these ports of the loopback interface, each with a window of its own."""
    options = ConnectionOptions(in_flight=max(window, 1))
    return Group("benchmark", Failover(*(jsonrpc(f"127.0.0.1:{port}", options=options) for port in ports)))


def takes(recorder: Recorder, receipt: Receipt) -> None:
    """Count what did not go as it should: every event of a benchmark must be confirmed."""
    recorder.answered += 1
    if not receipt.confirmed:
        recorder.lost += 1


async def _one_by_one(group: Group, recorder: Recorder, params: dict[str, str | int], window: int) -> None:
    """Keep `window` deliveries under way, each in a task of its own."""
    clock = time.perf_counter_ns

    async def worker() -> None:
        while recorder.going:
            began = clock()
            recorder.sent += 1
            receipt = await group.deliver(Event(METHOD, params))
            recorder.record(clock() - began)
            takes(recorder, receipt)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(window):
            tasks.create_task(worker())


async def _batches(group: Group, recorder: Recorder, params: dict[str, str | int], window: int) -> None:
    """Deliver batches, in which the connection keeps `window` under way."""
    while recorder.going:
        began = time.perf_counter_ns()
        events = [Event(METHOD, params) for _ in range(window * 16)]
        receipts = await group.deliver_many(events)
        recorder.sent += len(events)
        took = (time.perf_counter_ns() - began) // 16  # what one window of it took
        for receipt in receipts:
            recorder.record(took)
            takes(recorder, receipt)


async def _on_schedule(group: Group, recorder: Recorder, params: dict[str, str | int], rate: float) -> None:
    """Begin deliveries when they are due, whatever became of the ones before."""
    async with asyncio.TaskGroup() as tasks:

        async def one(due: int) -> None:
            receipt = await group.deliver(Event(METHOD, params))
            recorder.record(time.perf_counter_ns() - due)
            takes(recorder, receipt)

        def start(due: int) -> None:
            recorder.sent += 1
            tasks.create_task(one(due))

        await paced(rate, start, lambda: recorder.going)


async def _run(options: argparse.Namespace) -> Recorder:
    params = request_params(options.size)
    window = 0 if options.rate else options.window
    recorder = Recorder(options.name, window=window, rate=options.rate, size=options.size)
    loop = asyncio.get_running_loop()
    async with group_of(options.ports, options.window if window else 1024) as group:
        await group.deliver(Event(METHOD, params))  # connected from here on, as the other contenders are
        recorder.begin()
        timers = [loop.call_later(options.warmup, recorder.begin)]
        timers.append(loop.call_later(options.warmup + options.seconds, recorder.end))
        if options.rate:
            await _on_schedule(group, recorder, params, options.rate)
        elif options.mode == "many":
            await _batches(group, recorder, params, window)
        else:
            await _one_by_one(group, recorder, params, window)
        recorder.end()
        for timer in timers:
            timer.cancel()
    return recorder


def main() -> None:
    """Run against two subscribers and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=lambda text: [int(port) for port in text.split(",")], required=True)
    parser.add_argument("--name", default="ours")
    parser.add_argument("--mode", choices=("await", "many"), default="await")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--window", type=int, default=64, help="requests in flight")
    parser.add_argument("--rate", type=float, default=0.0, help="instead of a window: requests per second")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warmup", type=float, default=0.1, help="seconds left out of the figures")
    parser.add_argument("--size", type=int, default=64, help="bytes of params")
    options = parser.parse_args()
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if options.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(runner.run(_run(options)).report())


if __name__ == "__main__":
    main()
